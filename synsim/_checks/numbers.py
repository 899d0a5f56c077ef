"""Single numbers: whole ones, those of an interval, constants of a rule."""

import math
import operator
from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from synsim._checks.tensors import gathered

Number = float | int | Tensor | Sequence[float] | NDArray[Any]
MOST_SAMPLES = 10**6
"""Passes over all examples: more would not come to an end."""
MOST_REPLICAS = 2**20
"""Replicas in one network: each has a seed of its own, kept in a tuple."""
LARGEST = 2**63 - 1
"""Largest whole number of 64 bits."""


def whole(value: object, what: str, least: int = 1, most: int | None = None) -> int:
    """A whole number that is at least `least`.

    Args:
        value: the number given: any integer of Python, NumPy or torch (0-d), but no bool.
        what: its name in the message.
        least: smallest number allowed.
        most: largest number allowed; None: what 64 bits hold.

    Returns:
        The number as an int.

    Raises:
        ValueError: if it isn't a whole number, or out of bounds.
    """
    number = as_whole(value)
    if number is None or number < least or number > (LARGEST if most is None else most):
        small = most is None and (number is None or number < least)
        bounds = f"of at least {least}" if small else f"from {least} to {LARGEST if most is None else most}"
        raise ValueError(f"{what} must be a whole number {bounds}, got {value!r}.")
    return number


def index(value: object, what: str) -> int:
    """A whole number from 0 on, told at once: for what is asked at every step.

    Args:
        value: the number given.
        what: its name in the message.

    Returns:
        The number as an int.

    Raises:
        ValueError: if it isn't a whole number, or negative.
    """
    return value if type(value) is int and 0 <= value <= LARGEST else whole(value, what, 0)


def times(value: object, what: str, least: int = 1) -> int:
    """How often something is done, one after the other: a number that ends.

    Args:
        value: the number given.
        what: its name in the message.
        least: smallest number allowed.

    Returns:
        The number as an int.

    Raises:
        ValueError: if it isn't a whole number from `least` to `MOST_SAMPLES`.
    """
    return whole(value, what, least, MOST_SAMPLES)


def is_whole(value: object) -> bool:
    """Whether a value is one whole number, as `whole` takes it.

    Args:
        value: anything.

    Returns:
        True for an integer of Python, NumPy or torch (0-d) that is no bool.
    """
    return as_whole(value) is not None


def as_whole(value: object) -> int | None:
    """A value as a whole number, if it is one.

    Args:
        value: anything.

    Returns:
        The number; None for what is no integer of Python, NumPy or torch (0-d), or is a bool.
    """
    if type(value) is int:
        return value
    # torch lends its bools and vectors of one element as an index, too.
    if isinstance(value, bool) or (isinstance(value, Tensor) and (value.ndim > 0 or value.dtype == torch.bool)):
        return None
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return None


def number(value: Number, what: str, *, low: float = 0.0, high: float = math.inf, above: bool = False) -> float:
    """One finite number.

    Args:
        value: a number of Python, NumPy or torch (0-d).
        what: its name in the message.
        low: smallest value allowed.
        high: largest value allowed.
        above: whether `low` itself is refused.

    Returns:
        The number as a float.

    Raises:
        ValueError: if it is no number, out of bounds or not finite.
    """
    single = constant(value, what, None, low=low, high=high)
    if above and single == low:
        raise ValueError(f"{what} must be above {low:g}, got {value!r}.")
    return float(single)


def constant(
    value: Number, what: str, replicas: int | None, *, low: float = 0.0, high: float = math.inf
) -> float | Tensor:
    """A constant of a rule: one number, or one number per replica.

    Args:
        value: a number, or a tensor or sequence of shape [R].
        what: its name in the message.
        replicas: R, or None for a network without a replica axis.
        low: smallest value allowed.
        high: largest value allowed.

    Returns:
        A float, or a float64 tensor of shape [R].

    Raises:
        ValueError: if a value is out of bounds or not finite, or the shape does not fit the replicas.
    """
    if type(value) is float and low <= value <= high and math.isfinite(value):
        return value
    tensor = _real(value, what)
    if tensor.ndim > 1 or (tensor.ndim == 1 and (replicas is None or tensor.shape[0] != replicas)):
        allowed = "a number" if replicas is None else f"a number or a tensor of shape [{replicas}]"
        raise ValueError(f"{what} must be {allowed} (replicas={replicas}), got shape {list(tensor.shape)}.")
    if not bool(((tensor >= low) & (tensor <= high)).all()) or not bool(tensor.isfinite().all()):
        bounds = f"at least {low:g}" if high == math.inf else f"between {low:g} and {high:g}"
        raise ValueError(f"{what} must be finite and {bounds}, got {tensor.tolist()}.")
    return float(tensor) if tensor.ndim == 0 else tensor


def _real(value: Number, what: str) -> Tensor:
    try:
        given = value.detach() if isinstance(value, Tensor) else gathered(value)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise ValueError(f"{what} must be a number or one number per replica, got {value!r}.") from error
    if given.dtype == torch.bool or given.is_complex():
        raise ValueError(f"{what} must be a number or one number per replica, got {value!r}.")
    return given.double()


def within(value: Number, what: str, interval: str) -> float:
    """One number of an interval, written as in mathematics.

    Args:
        value: a number of Python, NumPy or torch (0-d).
        what: its name in the message.
        interval: such as "[0, 1]", "(0, 1]" or "(0, inf)"; a parenthesis leaves the end out.

    Returns:
        The number as a float.

    Raises:
        ValueError: if it is no number, or outside.
    """
    low, high = (float(end) for end in interval[1:-1].split(","))
    try:
        single = float(constant(value, what, None, low=-math.inf))
    except ValueError:
        single = math.nan
    above = single >= low if interval[0] == "[" else single > low
    below = single <= high if interval[-1] == "]" else single < high
    if not (above and below):
        raise ValueError(f"{what} must lie in {interval}, got {value!r}.")
    return single
