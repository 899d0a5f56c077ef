"""Numbers in tensors and arrays: what they are made from, and which are refused."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synsim._checks.words import require


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
        # A sum is quicker than a look at every entry, and finite only if all of them are.
        if math.isfinite(value.sum().item()):
            continue
        good = value.isfinite()
        if not bool(good.all()):
            bad = (~good).reshape(replicas or 1, -1).any(1).nonzero().flatten().tolist()
            where = "" if replicas is None else f" of replicas {bad}"
            raise NotFiniteError(
                f"{what} of parameter {name!r} are not finite in {int((~good).sum())} places{where}. "
                "The network may have diverged; look at its weights and outputs.",
                bad,
            )


def tensor(value: object, what: str, like: Tensor | None = None) -> Tensor:
    """A tensor from what people hold data in: a tensor, a NumPy array, or lists of numbers, arrays or tensors.

    Args:
        value: the data. A tensor is returned as it is; anything else becomes a new tensor, which never shares memory.
        what: its name in the message.
        like: floats that don't come as a tensor are converted to this one's type, and moved to its device.

    Returns:
        The tensor.

    Raises:
        ValueError: if the value holds no numbers, or rows of different lengths, or is a tensor that is not dense or has
            no values.
    """
    if isinstance(value, Tensor):
        return dense(value, what)
    try:
        found = gathered(value)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise ValueError(
            f"{what} must be a tensor, a NumPy array or a list of numbers, rows of equal length, got "
            f"{_described(value)}."
        ) from error
    if like is None:
        return found
    floats = found.is_floating_point() and like.is_floating_point()
    return found.to(like.device, like.dtype if floats else None)


def dense(value: Tensor, what: str) -> Tensor:
    """Refuse tensors that hold no values, or hold them sparsely.

    Args:
        value: any tensor.
        what: its name in the message.

    Returns:
        The same.

    Raises:
        ValueError: if it lies on the meta device or is sparse.
    """
    require(not value.is_meta, f"{what} must be a tensor with values, got one on the meta device.")
    require(value.layout == torch.strided, f"{what} must be dense, got {value.layout}. Convert it: {what}.to_dense().")
    return value


def numeric(value: Tensor, what: str) -> Tensor:
    """Refuse tensors that do not hold real, finite numbers.

    Args:
        value: any tensor.
        what: its name in the message.

    Returns:
        The same.

    Raises:
        ValueError: if it is sparse or on the meta device, or holds bools, complex numbers, NaN or infinity.
    """
    fits = dense(value, what).dtype != torch.bool and not value.is_complex()
    require(fits, f"{what} must hold real numbers, got {value.dtype}.")
    require(bool(value.isfinite().all()), f"{what} must be finite, got NaN or infinite values.")
    return value


def gathered(value: object) -> Tensor:
    """A new tensor from numbers of Python or NumPy, in lists or arrays, or from a list of tensors.

    Args:
        value: the numbers.

    Returns:
        The tensor, on the CPU unless the tensors lie elsewhere.

    Raises:
        TypeError: if they are no numbers.
    """
    if isinstance(value, list | tuple) and value and all(isinstance(each, Tensor) for each in value):
        return torch.stack(tuple(value)).detach()
    if not isinstance(value, list | tuple | np.ndarray | np.generic | int | float):
        raise TypeError("neither numbers nor rows of numbers")
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise TypeError("no numbers")
    if array.dtype.itemsize > 8:
        array = array.astype(np.float64)
    # A copy in this machine's byte order: torch takes no other order, no negative strides and no read-only memory.
    return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("="), order="C"))


def _described(value: object) -> str:
    if isinstance(value, Tensor):
        place = " on the meta device, without values" if value.is_meta else f" in the layout {value.layout}"
        return f"a {value.dtype} tensor" + ("" if value.layout is torch.strided and not value.is_meta else place)
    if isinstance(value, np.ndarray):
        return f"a NumPy array of type {value.dtype}"
    if isinstance(value, list | tuple):
        return f"a {type(value).__name__} that does not make an array"
    return f"an object of type {type(value).__name__}"


def array(value: object, what: str, axes: int | None = None, *, flags: bool = True) -> NDArray[np.float64]:
    """Numbers for NumPy, from a tensor, an array, lists of either, or a single number.

    Args:
        value: the numbers, whole ones or floats.
        what: their name in the message.
        axes: how many axes they must have; None: any number.
        flags: whether truth values are numbers, 0 and 1.

    Returns:
        The numbers as float64; NaN and infinite ones stay.

    Raises:
        ValueError: if they are no real numbers, rows of different lengths, or have other axes.
    """
    try:
        found = _collected(value, "biuf" if flags else "iuf")
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise ValueError(
            f"{what} must be real numbers in a tensor, an array or lists with rows of equal length, got "
            f"{_described(value)}."
        ) from error
    if axes is not None and found.ndim != axes:
        raise ValueError(f"{what} must have {_AXES[axes]}, got shape {list(found.shape)}.")
    return found


_AXES = {1: "one axis", 2: "two axes"}


def _collected(value: object, kinds: str) -> NDArray[np.float64]:
    found = np.asarray([_on_cpu(each) for each in value] if isinstance(value, list | tuple) else _on_cpu(value))
    if found.dtype.kind not in kinds:
        raise TypeError(f"values of type {found.dtype}")
    return found.astype(np.float64, copy=False)


def _on_cpu(value: object) -> object:
    if not isinstance(value, Tensor):
        return value
    there = value.detach().cpu()
    return (there.double() if there.is_floating_point() else there).numpy()  # NumPy knows no bfloat16
