"""The parts of a data set from arrays as people have them: any labels, any numbers, split or to be split."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synsim import streams
from synsim._checks import dense, require, tensor, whole, within

CHUNK = 4096
"""Images that are looked at at once, so that their copies in double precision need not fit into the memory."""
EXACT = {torch.float32: 2**24, torch.float64: 2**53}
"""Up to which whole number a type of floats holds each of them."""
CHANNELS = (1, 3, 4)
SHOWN = 5

Scale = tuple[float, float]


def classes(parts: Sequence[object], what: str) -> tuple[list[Tensor], tuple[str, ...]]:
    """Number the classes of all parts together.

    Args:
        parts: labels of each part, [N] or [N, 1]: text, whole numbers or truth values.
        what: whose they are, for messages.

    Returns:
        Labels int64 [N] of each part, counted from 0 without gaps; and the names of the classes, sorted: numbers by
        their size, text by its letters.

    Raises:
        ValueError: if labels are missing, mixed or no classes, or a part has a class that the first one lacks.
    """
    given = [_labels(part, f"{what}: the labels") for part in parts]
    kinds = {array.dtype.kind == "U" for array in given}
    require(len(kinds) == 1, f"{what}: the labels of all parts must be text, or all numbers, got both.")
    found, numbers = np.unique(np.concatenate(given), return_inverse=True)
    names = tuple(str(name) for name in found)
    ends = np.cumsum([len(array) for array in given])[:-1]
    labels = [torch.from_numpy(part.astype(np.int64)) for part in np.split(numbers.reshape(-1), ends)]
    _require_learned(labels[0], names, f"{what}: the training part", "Give each class training examples.")
    return labels, names


def _require_learned(labels: Tensor, names: Sequence[str], what: str, remedy: str) -> None:
    absent = (torch.bincount(labels, minlength=len(names)) == 0).nonzero().flatten().tolist()
    require(
        not absent,
        f"{what} must hold every class, but has no example of {_named(absent, names)}, which can't be "
        f"learned. {remedy}",
    )


def _named(which: Sequence[int], names: Sequence[str]) -> str:
    more = f" and {len(which) - SHOWN} others" if len(which) > SHOWN else ""
    return ", ".join(repr(names[index]) for index in which[:SHOWN]) + more


def _labels(value: object, what: str) -> NDArray[Any]:
    if isinstance(value, list | tuple) and len({isinstance(each, str) for each in value}) > 1:
        raise ValueError(f"{what} must be text, or all numbers, got both.")  # NumPy would make text of the numbers
    array = dense(value, what).detach().cpu().numpy() if isinstance(value, Tensor) else _array(value, what)
    if array.dtype.kind == "O" and all(isinstance(each, str) for each in array.flat):
        array = array.astype(str)
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8")
    require(
        array.dtype.kind in "Ubiuf",
        f"{what} must be text or whole numbers, got an array of {array.dtype}. Give each example its class.",
    )
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    hint = " Rows of one-hot vectors become labels by y.argmax(1)." if array.ndim == 2 else ""
    require(array.ndim == 1, f"{what} must be [N], got shape {list(array.shape)}.{hint}")
    if array.dtype.kind != "f":
        return array
    require(bool(np.isfinite(array).all()), f"{what} must be finite, got NaN or infinity. Leave these examples out.")
    whole_numbers = bool((array == np.round(array)).all())
    require(whole_numbers, f"{what} must be classes, got fractions. Are they the targets of a regression?")
    return array.astype(np.int64)


def _array(value: object, what: str) -> NDArray[Any]:
    try:
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{what} must be one label for each example, got rows of different lengths.") from error


def images(value: object, what: str) -> Tensor:
    """Images as they are stored: nothing is lost.

    Args:
        value: [N, P] (images of one row), [N, H, W] or [N, C, H, W]: a tensor, an array or lists.
        what: whose they are, for messages.

    Returns:
        [N, 1, P], [N, H, W] or [N, C, H, W] on the CPU: uint8 where they are truth values or whole numbers from 0 to
        255; floats as they are; other whole numbers in the smallest type of floats that holds each of them.

    Raises:
        ValueError: if they are no such images, are not finite, or no type of floats holds them.
    """
    x = tensor(value, what).detach().cpu()
    require(not x.is_complex(), f"{what} must be real, got {x.dtype}. Give the two parts as two channels.")
    require(x.ndim in (2, 3, 4), f"{what} must be [N, P], [N, H, W] or [N, C, H, W], got shape {list(x.shape)}.")
    require(x.numel() > 0, f"{what} must hold at least one image, got shape {list(x.shape)}.")
    last = x.ndim == 4 and x.shape[-1] in CHANNELS and x.shape[1] not in CHANNELS and x.shape[-1] < x.shape[1]
    require(
        not last,
        f"{what} must have the channels before the rows, got shape {list(x.shape)}. "
        "Move them there: x.permute(0, 3, 1, 2), in NumPy x.transpose(0, 3, 1, 2).",
    )
    x = x.unsqueeze(1) if x.ndim == 2 else x
    if x.is_floating_point():
        good = x.isfinite().flatten(1).all(1)
        bad = int((~good).sum())
        first = "" if not bad else f", the first is {int((~good).nonzero()[0])}"
        require(not bad, f"{what} must be finite, got {bad} images with NaN or infinity{first}. Clean the data first.")
        return x
    return _whole(x, what)


def _whole(x: Tensor, what: str) -> Tensor:
    # torch has no comparison for uint16, uint32 and uint64, and the last does not fit into int64.
    values = x.double() if x.dtype == torch.uint64 else x.long()
    low, high = int(values.min()), int(values.max())
    if low >= 0 and high <= 255:
        return values.to(torch.uint8)
    for dtype, most in EXACT.items():
        if max(abs(low), abs(high)) <= most:
            return values.to(dtype)
    raise ValueError(
        f"{what} must hold whole numbers up to 2**53, which floats hold exactly, got {low} to {high}. Scale them first."
    )


def halves(labels: Tensor, names: Sequence[str], share: float, seed: int, *, stratified: bool) -> tuple[Tensor, Tensor]:
    """Which examples are for training, and which for the test.

    Args:
        labels: int64 [N], from 0.
        names: of the classes.
        share: share of the test, in (0, 1).
        seed: of the stream "split" that orders the examples.
        stratified: whether each class gives its share, rounded, but one example at least.

    Returns:
        The indices of both, ascending.

    Raises:
        ValueError: if a class has too few examples.
    """
    share, count = within(share, "test", "(0, 1)"), len(labels)
    require(count > 1, "one example can't be both learned and tested. Give more, or x_test and y_test.")
    order = streams.permutation(streams.keys("order", [whole(seed, "seed", 0)], "split"), count)[0]
    if stratified:
        counts = torch.bincount(labels, minlength=len(names))
        alone = (counts == 1).nonzero().flatten().tolist()
        require(
            not alone,
            f"the class {_named(alone, names)} has a single example, which can't be both learned and tested. "
            "Give more, or x_test and y_test, or say stratified=False.",
        )
        wanted = (share * counts).round().long().clamp_min(1).minimum(counts - 1)
        order = order[labels[order].argsort(stable=True)]
        place = torch.arange(count, device="cpu") - (counts.cumsum(0) - counts)[labels[order]]
        held = order[place < wanted[labels[order]]]
    else:
        held = order[: min(max(1, round(share * count)), count - 1)]
    tested = torch.zeros(count, dtype=torch.bool, device="cpu")
    tested[held] = True
    train, test = (~tested).nonzero().flatten(), tested.nonzero().flatten()
    remedy = "Split by class (stratified=True), or give x_test and y_test."
    _require_learned(labels[train], names, "the training part", remedy)
    return train, test


def bounds_of(parts: Sequence[Tensor], given: Sequence[float] | None, what: str) -> Scale:
    """The values that become 0 and 1 where pixels are to lie between.

    Args:
        parts: the images of each part, all of one type.
        given: what the user says, or None.
        what: whose they are, for messages.

    Returns:
        Those given. Or else, for pixels of uint8, 0 and 255, or 1 if none is above; for floats from 0 to 1, these; for
        others that are not negative 0 and the largest one; for any others the smallest and the largest one.

    Raises:
        ValueError: if those given are no bounds of the values.
    """
    low = min(float(x.min()) for x in parts)
    high = max(float(x.max()) for x in parts)
    if given is None:
        top = 255.0 if parts[0].dtype == torch.uint8 and high > 1 else max(1.0, high)
        return (0.0, top) if low >= 0 else (low, high)
    require(len(given) == 2, f"bounds must be two numbers, the values that become 0 and 1, got {len(given)}.")
    bottom, top = (within(value, "bounds", "(-inf, inf)") for value in given)
    require(
        bottom < top and bottom <= low and high <= top,
        f"{what}: bounds must hold all values, which lie from {low:g} to {high:g}, got {bottom:g} to {top:g}.",
    )
    return bottom, top


def moments(x: Tensor, scale: Scale, what: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, on the scale from 0 to 1.

    Args:
        x: training images [N, H, W] or [N, C, H, W].
        scale: the values that become 0 and 1.
        what: whose they are, for messages.

    Returns:
        Both, one entry per channel.

    Raises:
        ValueError: if a channel is constant.
    """
    channels = x.shape[1] if x.ndim == 4 else 1
    each = x.numel() // channels
    low, high = scale

    def total(power: int, about: Tensor) -> Tensor:
        found = torch.zeros(channels, 1, dtype=torch.float64, device="cpu")
        for chunk in x.split(CHUNK):
            values = (chunk.double() - low) / (high - low)
            rows = values.reshape(len(chunk), channels, -1).transpose(0, 1).flatten(1)
            found += ((rows - about) ** power).sum(1, keepdim=True)
        return found / each

    mean = total(1, torch.zeros(channels, 1, dtype=torch.float64, device="cpu"))
    sd = total(2, mean).sqrt()
    flat = (sd == 0).flatten().nonzero().flatten().tolist()
    which = "all training images" if channels == 1 else f"channel {flat[0] if flat else 0} of the training images"
    require(not flat, f"{what}: {which} must not be the same number everywhere: there is nothing to learn from it.")
    # Rounding must not carry them out of what a data set allows.
    return tuple(min(max(m, 0.0), 1.0) for m in mean.flatten().tolist()), tuple(sd.flatten().tolist())


def levels_of(x: Tensor, scale: Scale) -> int | None:
    """Highest level of pixels that are levels from 0.

    Args:
        x: images as stored.
        scale: the values that become 0 and 1.

    Returns:
        The level, or None where the images are something else.
    """
    low, high = scale
    return int(high) if x.dtype == torch.uint8 and low == 0 and high == math.floor(high) else None
