"""Images and labels."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synsim._checks.tensors import tensor

Labels = Tensor | Sequence[int] | NDArray[Any]
IGNORED = -100
"""Label that torch's cross-entropy leaves out."""


def images(x: Tensor, what: str = "x", axis: int | None = None) -> None:
    """Refuse integer images and pixels that are not finite.

    Args:
        x: the images, a float tensor of any shape.
        what: its name in the message.
        axis: which axis counts the images, for the message; None: not known.

    Raises:
        ValueError: if x is not of a float type, or holds NaN or infinite values.
    """
    if not x.is_floating_point():
        raise ValueError(f"{what} must hold floats, got {x.dtype}. {_advice(x.dtype)}")
    # A sum is not finite as soon as one term is not, and costs one pass without a second tensor; it may also overflow.
    if bool(x.detach().sum().isfinite()):
        return
    bad = ~x.detach().isfinite()
    if bool(bad.any()):
        first = "" if axis is None else f", the first in image {int(bad.nonzero()[:, axis].min())}"
        raise ValueError(
            f"{what} must be finite, got {int(bad.sum())} values that are NaN or infinite{first}. Clean the data first."
        )


def _advice(dtype: torch.dtype) -> str:
    if dtype == torch.uint8:
        return (
            "Scale the images first (for instance x.float() / 255), or take batches from a task, "
            "which standardises them."
        )
    if dtype.is_complex:
        return "Give the real and the imaginary part as two channels."
    return "Measurements are converted by x.float(); indices fit only a network that begins with an embedding."


def labels(y: Labels, classes: int, what: str = "y", *, ignored: bool = False) -> Tensor:
    """Class labels as int64, checked against the number of classes.

    Args:
        y: integer labels of any shape and integer type: a tensor, a NumPy array, or lists.
        classes: how many classes the network can output.
        what: its name in the message.
        ignored: whether −100, which torch's cross-entropy leaves out, is a label.

    Returns:
        The labels as int64.

    Raises:
        ValueError: if y is not of an integer type, or a label is out of range.
    """
    whole_labels = class_labels(y, what)
    judged = whole_labels[whole_labels != IGNORED] if ignored else whole_labels
    if judged.numel() and (int(judged.min()) < 0 or int(judged.max()) >= classes):
        lowest, highest = int(judged.min()), int(judged.max())
        remedy = "Relabel the data or give the network more outputs."
        if bool((judged == IGNORED).any()):
            remedy = f"{IGNORED} is what a loss leaves out; leave these examples out here: x[y >= 0], y[y >= 0]."
        raise ValueError(
            f"{what} must hold labels from 0 to {classes - 1}, one per output of the network, "
            f"got labels from {lowest} to {highest}. {remedy}"
        )
    return whole_labels


def class_labels(y: Labels, what: str) -> Tensor:
    """Class labels as int64, of any number of classes.

    Args:
        y: integer labels of any shape and integer type: a tensor, a NumPy array, or lists.
        what: its name in the message.

    Returns:
        The labels as int64.

    Raises:
        ValueError: if y is not of an integer type.
    """
    first = next(iter(y), None) if isinstance(y, list | tuple) or (isinstance(y, np.ndarray) and y.ndim) else None
    if isinstance(first, str):
        raise ValueError(
            f"{what} must hold integer class labels, got names such as {str(first)!r}. "
            "Number them: numpy.unique(names, return_inverse=True)[1]."
        )
    given = tensor(y, what)
    if given.numel() == 0:
        return given.long()
    if given.is_floating_point() or given.is_complex() or given.dtype == torch.bool:
        raise ValueError(f"{what} must hold integer class labels, got {given.dtype}. {_remedy(given)}")
    return given.long()  # before any comparison: torch has none for uint16, uint32 and uint64


def _remedy(y: Tensor) -> str:
    if y.dtype == torch.bool:
        return "Say which class False and True are, for instance y.long()."
    if y.is_complex() or not bool((y == y.round()).all()):
        return "They are no whole numbers: is this the target of a regression?"
    if y.ndim > 1:
        return "Rows of one-hot vectors become labels by y.argmax(-1)."
    return "They are whole numbers: convert them with y.long()."
