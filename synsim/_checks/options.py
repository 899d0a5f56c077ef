"""Settings by name: one of several, yes or no, options of a class."""

import difflib
from collections.abc import Iterable, Sequence
from inspect import Parameter, signature

import numpy as np
import torch
from torch import Tensor

from synsim._checks.numbers import as_whole
from synsim._checks.words import require


def flag(value: object, what: str) -> bool:
    """A yes or no.

    Args:
        value: a bool of Python, NumPy or torch (0-d), or 0 or 1.
        what: its name in the message.

    Returns:
        The value as a bool.

    Raises:
        ValueError: if it is something else, such as the text "False", which Python takes for true.
    """
    truth = isinstance(value, Tensor) and value.dtype == torch.bool and value.ndim == 0
    if truth or isinstance(value, bool | np.bool_) or as_whole(value) in (0, 1):
        return bool(value)
    raise ValueError(f"{what} must be True or False, got {value!r}.")


def choice(value: object, what: str, options: Sequence[str]) -> str:
    """One of several names.

    Args:
        value: the name given.
        what: what it names, in the message.
        options: the names allowed.

    Returns:
        The name.

    Raises:
        ValueError: if it is none of them; the message says which is close.
    """
    if isinstance(value, str):
        if value in options:
            return value
        close = difflib.get_close_matches(value.lower(), options, n=1)
    else:
        close = []
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise ValueError(f"{what} must be one of {', '.join(options)}, got {value!r}.{hint}")


def options_of(kind: type, what: str, options: Iterable[str]) -> None:
    """Refuse options that a class does not take, with those that it takes.

    Args:
        kind: the class.
        what: what it is called in the message.
        options: names of options.

    Raises:
        ValueError: if one is not among its arguments.
    """
    arguments = signature(kind).parameters.values()
    if any(argument.kind is Parameter.VAR_KEYWORD for argument in arguments):
        return
    known = tuple(argument.name for argument in arguments)
    for option in options:
        require(bool(known), f"{what}: takes no arguments, got {option!r}.")
        choice(option, f"{what}: an option", known)
