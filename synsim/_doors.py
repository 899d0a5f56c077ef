"""What annotations promise, held at the door: one decorator, instead of a check of the type in each function.

Numbers of NumPy are numbers here, and so are tensors that hold one; True is no number, and "False" is no False.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import fields
from functools import cache, wraps
from inspect import Parameter, signature
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np
import torch
from torch import Tensor, nn

P = ParamSpec("P")
T = TypeVar("T")

_compiling = torch.compiler.is_compiling
ROWS = (Tensor, np.ndarray)
SEQUENCES = (Sequence, tuple, list)
SHOWN = 80
"""Characters of a value that a message shows."""


class ArgumentError(TypeError, ValueError):
    """An argument is not of the kind that its function takes."""


def typed(function: Callable[P, T]) -> Callable[P, T]:
    """Hold the arguments of a function against its annotations.

    It costs some microseconds per call: not for what runs once per training step.

    Args:
        function: with annotations.

    Returns:
        The same function, which refuses other arguments by `ArgumentError`.
    """

    @wraps(function)
    def door(*args: P.args, **kwargs: P.kwargs) -> T:
        if _compiling():
            # A compiler would trace the checks, and warns of what is cached among them.
            return function(*args, **kwargs)
        names, hints = _promises(function)
        for name, value in (*zip(names, args, strict=False), *kwargs.items()):
            if name in hints:
                hints[name].hold(value, name)
        return function(*args, **kwargs)

    return door


def check_fields(record: Any) -> None:
    """Hold the fields of a dataclass against its annotations; for its `__post_init__`.

    Args:
        record: an instance.
    """
    kind: Any = type(record)
    for name, promise in _fields(kind).items():
        promise.hold(getattr(record, name), name)


class _Promise:
    # An annotation, and what most values that keep it are: of just these types, or instances of these classes.
    __slots__ = ("classes", "exact", "hint")

    def __init__(self, hint: Any) -> None:
        self.hint = hint
        of = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
        self.exact = {kind for kind in (bool, int, float, NoneType) if kind in of}
        self.exact |= {int} if float in of else set()
        self.classes = tuple(filter(_ordinary, of))

    def hold(self, value: object, name: str) -> None:
        if type(value) in self.exact or isinstance(value, self.classes) or _fits(value, self.hint):
            return
        raise ArgumentError(f"{name} must be {_described(self.hint)}, got {shown(value)}.")


def _ordinary(kind: Any) -> bool:
    # Whether an instance is all that is asked for.
    if kind in _SIMPLE or kind in SEQUENCES or not isinstance(kind, type) or get_origin(kind) is not None:
        return False
    return not getattr(kind, "_is_protocol", False) and not issubclass(Tensor, kind) and not issubclass(kind, Tensor)


@cache
def _fields(kind: Any) -> dict[str, _Promise]:
    hints = _hints(kind)
    return {field.name: _Promise(hints[field.name]) for field in fields(kind) if field.name in hints}


@cache
def _promises(function: Callable[..., Any]) -> tuple[tuple[str, ...], dict[str, _Promise]]:
    parameters = signature(function).parameters.values()
    named = [one.name for one in parameters if one.kind not in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)]
    places = [one.name for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    hints = _hints(function)
    return tuple(places), {name: _Promise(hints[name]) for name in named if hints.get(name, Any) is not Any}


@cache
def _hints(of: Any) -> dict[str, Any]:
    return get_type_hints(of)


def _fits(value: Any, hint: Any) -> bool:
    if isinstance(hint, TypeVar):
        hint = hint.__bound__ or Any
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        # NumPy's ArrayLike is a union with str and bytes: whoever takes it converts, and refuses what does not convert.
        return bytes in inner or any(_fits(value, each) for each in inner)
    if origin is Literal:
        return value in inner
    if origin is tuple and inner[-1:] != (...,):
        return _row(value) and len(value) == len(inner) and all(map(_fits, value, inner))
    return _fits_type(value, origin or hint, inner)


def _fits_type(value: Any, kind: Any, inner: tuple[Any, ...]) -> bool:
    if kind in _SIMPLE:
        return _SIMPLE[kind](value)
    if isinstance(value, Tensor) and not _dense(value):
        return False
    if not isinstance(kind, type) or getattr(kind, "_is_protocol", False):
        return True
    if issubclass(kind, Mapping) and isinstance(value, kind):
        of = inner or (Any, Any)
        return all(_fits(key, of[0]) and _fits(each, of[1]) for key, each in value.items())
    if kind in SEQUENCES:
        return _row(value) and _fits_rows(value, inner[0] if inner else Any)
    return isinstance(value, kind)


def _fits_rows(value: Any, hint: Any) -> bool:
    if isinstance(value, ROWS):  # one look at the first row, not one at each number
        return value.ndim > 0 and _numeric(value) and _fits(value[0] if len(value) else value.sum(0), hint)
    return all(_fits(each, hint) for each in value)


def _row(value: object) -> bool:
    return isinstance(value, (Sequence, *ROWS)) and not isinstance(value, str | bytes | bytearray)


def _dense(value: Tensor) -> bool:
    return value.layout is torch.strided and not value.is_meta


def _numeric(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.dtype != torch.bool and not value.is_complex() and _dense(value)
    return value.dtype.kind in "iuf"


def _is_number(value: Any) -> bool:
    if isinstance(value, ROWS):
        return value.ndim == 0 and _numeric(value)
    return isinstance(value, Real) and not isinstance(value, bool | np.bool_)


def _is_whole(value: Any) -> bool:
    if isinstance(value, Tensor):
        return _is_number(value) and not value.is_floating_point()
    if isinstance(value, np.ndarray):
        return _is_number(value) and value.dtype.kind in "iu"
    return isinstance(value, Integral) and not isinstance(value, bool | np.bool_)


_SIMPLE: dict[Any, Callable[[Any], bool]] = {
    Any: lambda value: True,
    object: lambda value: True,
    None: lambda value: value is None,
    NoneType: lambda value: value is None,
    bool: lambda value: isinstance(value, bool | np.bool_),
    int: _is_whole,
    float: _is_number,
    Callable: callable,
}

_WORDS: dict[Any, str] = {
    None: "None",
    NoneType: "None",
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "text",
    Path: "a path",
    Tensor: "a dense tensor",
    nn.Module: "a torch module",
    Callable: "something to call",
}


def _described(hint: Any) -> str:
    if isinstance(hint, TypeVar):
        hint = hint.__bound__ or Any
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(_described(each) for each in inner))
    if origin is Literal:
        return " or ".join(repr(each) for each in inner)
    kind = origin or hint
    if kind in _WORDS:
        return _WORDS[kind]
    if isinstance(kind, type) and issubclass(kind, Mapping | Sequence | Set | Iterable) and inner:
        return f"a {kind.__name__.lower()} of {', '.join(_described(each) for each in inner if each is not ...)}"
    name = getattr(kind, "__name__", str(kind))
    return f"an {name}" if name[:1] in "AEIOU" else f"a {name}"


def shown(value: object) -> str:
    """A value for a message: its type, and how it looks in short.

    Args:
        value: any object.

    Returns:
        The text.
    """
    if isinstance(value, Tensor):
        layout = "" if value.layout is torch.strided else f" in the layout {str(value.layout).removeprefix('torch.')}"
        return f"a {value.dtype} tensor of shape {list(value.shape)}{layout}" + (
            " on the meta device, without values" if value.is_meta else ""
        )
    if isinstance(value, np.ndarray):
        return f"a NumPy array of {value.dtype} and shape {list(value.shape)}"
    if value is None or isinstance(value, bool | int | float | str):
        text = repr(value)
    elif isinstance(value, nn.Module) or not isinstance(value, Sequence | Mapping | np.generic):
        return f"an object of type {type(value).__name__}"
    else:
        text = f"{type(value).__name__} {value!r}"
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
