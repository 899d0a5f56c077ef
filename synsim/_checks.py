"""Checks of arguments, with messages that say what was expected, what came, and what to do."""

import difflib
import math
import operator
import os
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from inspect import Parameter, signature
from types import FrameType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Number = float | int | Tensor | Sequence[float] | NDArray[Any]
Labels = Tensor | Sequence[int] | NDArray[Any]

MOST_SAMPLES = 10**6
"""Passes over all examples: more would not come to an end."""
MOST_REPLICAS = 2**20
"""Replicas in one network: each has a seed of its own, kept in a tuple."""
LARGEST = 2**63 - 1
"""Largest whole number of 64 bits."""

IGNORED = -100
"""Label that torch's cross-entropy leaves out."""


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


def warn(message: str) -> None:
    """A UserWarning that points to the line of the user's, not to one of this package.

    Args:
        message: what holds not, why, and what to do.
    """
    depth, frame = 2, sys._getframe(1)
    while frame is not None and frame.f_back is not None and _ours(frame):
        frame, depth = frame.f_back, depth + 1
    warnings.warn(message, UserWarning, stacklevel=depth)


def _ours(frame: FrameType) -> bool:
    return frame.f_globals.get("__name__", "").partition(".")[0] in ("synsim", "torch", "contextlib")


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
    number = _index(value)
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


def affordable(size: int, what: str) -> None:
    """Refuse what would take more memory than this machine has, before any is taken.

    Args:
        size: bytes.
        what: what would take them, for the message.

    Raises:
        ValueError: if it is more than all of the machine's memory.
    """
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    require(
        size <= there,
        f"{what} would take {size / 2**30:.3g} GiB of memory, this machine has {there / 2**30:.3g}. Use smaller sizes.",
    )


def is_whole(value: object) -> bool:
    """Whether a value is one whole number, as `whole` takes it.

    Args:
        value: anything.

    Returns:
        True for an integer of Python, NumPy or torch (0-d) that is no bool.
    """
    return _index(value) is not None


def _index(value: object) -> int | None:
    if type(value) is int:
        return value
    # torch lends its bools and vectors of one element as an index, too.
    if isinstance(value, bool) or (isinstance(value, Tensor) and (value.ndim > 0 or value.dtype == torch.bool)):
        return None
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return None


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
    if truth or isinstance(value, bool | np.bool_) or _index(value) in (0, 1):
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
        given = value.detach() if isinstance(value, Tensor) else _gathered(value)
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
        # Older torch does not tell the device of a `with torch.device(...)` by get_default_device.
        found = torch.empty(0, device=None).device if device is None else torch.device(device)
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
        found = _gathered(value)
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


def _gathered(value: object) -> Tensor:
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
