"""What no perceptron takes: patterns, labels and states that do not fit each other."""

from collections.abc import Sequence

import torch
from torch import Tensor

from synsim._checks import require
from synsim._doors import shown

DTYPES = (torch.float32, torch.float64)
LARGEST = 2**30
"""Entries of the patterns of a task, or of a state, over all seeds: what a machine's memory holds several times."""


def require_room(seeds: Sequence[int], each: int, what: str) -> None:
    """Refuse what fits no memory.

    Args:
        seeds: R seeds.
        each: entries for each.
        what: has them.

    Raises:
        ValueError: if there is no seed, or the entries are too many.
    """
    require(len(seeds) > 0, "expected at least one seed, got none.")
    require(
        len(seeds) * each <= LARGEST,
        f"{what} may have {LARGEST:,} entries over all seeds, got {len(seeds)} × {each:,}. Take fewer.",
    )


def is_odd(value: Tensor) -> bool:
    """Whether a tensor holds no real numbers.

    Args:
        value: any.

    Returns:
        True for complex numbers and truth values.
    """
    return value.is_complex() or value.dtype == torch.bool


def require_patterns(x: Tensor, **rows: Tensor) -> None:
    """Refuse what are no patterns, and rows that do not fit them.

    Args:
        x: patterns [R, B, N].
        **rows: [R, N] each, by name.

    Raises:
        ValueError: if a shape does not fit, or something holds no real numbers.
    """
    require(
        x.ndim == 3 and x.numel() > 0 and not is_odd(x),
        f"patterns must be real numbers [R, B, N] (replicas, patterns, inputs), got {shown(x)}.",
    )
    shape = [x.shape[0], x.shape[2]]
    for name, value in rows.items():
        require(
            list(value.shape) == shape and not is_odd(value),
            f"{name} must hold real numbers of shape {shape}, a row per replica, got {shown(value)}.",
        )


def require_labels(x: Tensor, y: Tensor) -> None:
    """Refuse labels that do not fit the patterns, or are neither −1 nor +1.

    Args:
        x: patterns [R, B, N].
        y: labels [R, B].

    Raises:
        ValueError: if they are such.
    """
    shape = list(x.shape[:2])
    good = list(y.shape) == shape and not is_odd(y) and bool((y.abs() == 1).all())
    if not good:
        values = "" if is_odd(y) or not y.numel() else f" with values from {y.min().item()} to {y.max().item()}"
        raise ValueError(
            f"labels must be −1 or +1 of shape {shape}, got {shown(y)}{values}. Turn classes 0 and 1 into 2 · y − 1."
        )


def require_state(**state: Tensor) -> None:
    """Refuse parts of a state that do not fit each other.

    Args:
        **state: [R, N] each, by name.

    Raises:
        ValueError: if shapes differ, or something holds no real numbers (truth values for `frozen`).
    """
    first = next(iter(state.values()))
    for name, value in state.items():
        kind = value.dtype == torch.bool if name == "frozen" else not is_odd(value)
        require(
            value.ndim == 2 and value.shape == first.shape and kind,
            f"{name} must hold {'truth values' if name == 'frozen' else 'real numbers'} [R, N], in one shape with the "
            f"others ({', '.join(state)}), got {shown(value)}.",
        )


def require_probabilities(p: Tensor) -> None:
    """Refuse probabilities outside [0, 1].

    Args:
        p: any shape.

    Raises:
        ValueError: if there are such.
    """
    inside = bool(((p >= 0) & (p <= 1)).all())
    require(inside, f"p must lie in [0, 1], got values from {p.min().item():g} to {p.max().item():g}.")
