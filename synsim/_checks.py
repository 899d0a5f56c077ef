"""Checks of arguments, with messages that say what was expected, what came, and what to do."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

Number = float | int | Tensor | Sequence[float]


class NotFiniteError(ValueError):
    """A measurement is NaN or infinite.

    Attributes:
        replicas: which replicas it happened in ([0] without replicas).
    """

    def __init__(self, message: str, replicas: Sequence[int]) -> None:
        super().__init__(message)
        self.replicas = tuple(replicas)


def finite(values: Mapping[str, Tensor], what: str, replicas: int | None) -> None:
    """Refuse values that are not finite.

    Args:
        values: parameter name -> tensor, [R, ...] with replicas.
        what: what they are, for the message.
        replicas: R, or None.

    Raises:
        NotFiniteError: if a value is NaN or infinite; the message names the parameter.
    """
    for name, value in values.items():
        good = value.isfinite()
        if not bool(good.all()):
            bad = (~good).reshape(replicas or 1, -1).any(1).nonzero().flatten().tolist()
            where = "" if replicas is None else f" of replicas {bad}"
            raise NotFiniteError(
                f"{what} of parameter {name!r} are not finite in {int((~good).sum())} places{where}. "
                "The network may have diverged; look at its weights and outputs.",
                bad,
            )


def require(condition: bool, message: str) -> None:
    """Raise ValueError with the message unless the condition holds.

    Args:
        condition: what must be true.
        message: expected, got, and what to do.

    Raises:
        ValueError: if the condition is false.
    """
    if not condition:
        raise ValueError(message)


def whole(value: object, what: str, least: int = 1) -> int:
    """A whole number that is at least `least`.

    Args:
        value: the number given.
        what: its name in the message.
        least: smallest number allowed.

    Returns:
        The number as an int.

    Raises:
        ValueError: if it isn't a whole number, or too small.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{what} must be a whole number of at least {least}, got {value!r}.")
    return value


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
    try:
        tensor = torch.as_tensor(value, dtype=torch.float64).detach()
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{what} must be a number or one number per replica, got {value!r}.") from error
    if tensor.ndim > 1 or (tensor.ndim == 1 and (replicas is None or tensor.shape[0] != replicas)):
        allowed = "a number" if replicas is None else f"a number or a tensor of shape [{replicas}]"
        raise ValueError(f"{what} must be {allowed} (replicas={replicas}), got shape {list(tensor.shape)}.")
    if not bool(((tensor >= low) & (tensor <= high)).all()) or not bool(tensor.isfinite().all()):
        bounds = f"at least {low:g}" if high == math.inf else f"between {low:g} and {high:g}"
        raise ValueError(f"{what} must be finite and {bounds}, got {tensor.tolist()}.")
    return float(tensor) if tensor.ndim == 0 else tensor


def available_device(device: torch.device | str | None) -> torch.device:
    """The device, if this machine has it.

    Args:
        device: a torch device, its name, or None for the CPU (or torch's default device).

    Returns:
        The device.

    Raises:
        ValueError: if the name is unknown or this machine has no such device.
    """
    try:
        found = torch.get_default_device() if device is None else torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device must be such as 'cpu' or 'cuda:0', got {device!r}.") from error
    if found.type == "cuda":
        count = torch.cuda.device_count()
        if (found.index or 0) >= count:
            raise ValueError(
                f"device {str(found)!r} is not there: torch sees {count} CUDA devices on this machine. "
                "Use device='cpu', or install a CUDA build of torch."
            )
    return found


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
        raise ValueError(
            f"{what} must hold floats, got {x.dtype}. Scale the images first (for instance x.float() / 255), "
            "or take batches from a task, which standardises them."
        )
    # A sum is not finite as soon as one term is not, and costs one pass without a second tensor; it may also overflow.
    if bool(x.detach().sum().isfinite()):
        return
    bad = ~x.detach().isfinite()
    if bool(bad.any()):
        first = "" if axis is None else f", the first in image {int(bad.nonzero()[:, axis].min())}"
        raise ValueError(
            f"{what} must be finite, got {int(bad.sum())} values that are NaN or infinite{first}. Clean the data first."
        )


def labels(y: Tensor, classes: int, what: str = "y") -> Tensor:
    """Class labels as int64, checked against the number of classes.

    Args:
        y: integer labels of any shape.
        classes: how many classes the network can output.
        what: its name in the message.

    Returns:
        The labels as int64.

    Raises:
        ValueError: if y is not of an integer type, or a label is out of range.
    """
    if y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
        raise ValueError(f"{what} must hold integer class labels, got {y.dtype}.")
    y = y.long()
    if y.numel() and (int(y.min()) < 0 or int(y.max()) >= classes):
        raise ValueError(
            f"{what} must hold labels from 0 to {classes - 1}, one per output of the network, "
            f"got labels from {int(y.min())} to {int(y.max())}. Relabel the data or give the network more outputs."
        )
    return y
