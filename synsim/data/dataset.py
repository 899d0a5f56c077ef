"""A data set in memory, pixels and labels as stored."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from synsim._checks import class_labels, require, tensor, warn, whole
from synsim._doors import check_fields


# Without eq: comparing tensors gives tensors, which have no single truth value.
@dataclass(frozen=True, eq=False)
class Dataset:
    """Images as uint8, and their labels; `load` returns them on the CPU.

    Tensors, NumPy arrays and lists will do. Images of another integer type become uint8 where nothing is lost by it;
    labels of another integer type than uint8 become int64, so that there may be any number of classes.

    Attributes:
        name: name of the data set.
        x_train: training images [N, H, W], or [N, C, H, W] in colour; uint8.
        y_train: training labels [N], whole numbers from 0 to classes - 1; uint8 or int64.
        x_test: test images.
        y_test: test labels.
        classes: how many classes there are.
        levels: highest pixel value possible; pixels divided by it lie from 0 to 1.
        mean: mean of the training pixels per channel, after division by `levels`.
        sd: their standard deviation per channel, after division by `levels`.

    Raises:
        ValueError: if types, shapes or lengths do not fit, labels or pixels are out of range, or there are no images.
    """

    name: str
    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    classes: int
    levels: int
    mean: tuple[float, ...]
    sd: tuple[float, ...]

    def __post_init__(self) -> None:
        """Bring the parts into their types, and check them against each other."""
        for part in ("train", "test"):
            self._become(f"x_{part}", _pixels, f"the {part} images")
            self._become(f"y_{part}", _labels, f"the {part} labels")
        for name, form in (("mean", _numbers), ("sd", _numbers), ("classes", whole), ("levels", whole)):
            self._become(name, form, name)
        check_fields(self)
        for part, x, y in (("train", self.x_train, self.y_train), ("test", self.x_test, self.y_test)):
            self._check_part(part, x, y)
        shape, test_shape = list(self.x_train.shape[1:]), list(self.x_test.shape[1:])
        require(
            shape == test_shape,
            f"{self.name}: expected test images of the training images' shape {shape}, got {test_shape}. "
            "Take both from the same data set.",
        )
        self._check_scale(shape)
        if self.levels > 1 and int(self.x_train.max()) <= 1:
            warn(
                f"{self.name}: no training pixel is above 1 of levels={self.levels}, so that all images are nearly "
                "black. Pixels from 0 to 1 must become (x * 255).round() before they become uint8; images of black "
                "and white have levels=1."
            )

    def __repr__(self) -> str:
        """Sizes instead of pixels.

        Returns:
            One line.
        """
        shape = "×".join(str(size) for size in self.x_train.shape[1:])
        return (
            f"Dataset({self.name!r}: {len(self.x_train)} train and {len(self.x_test)} test images of {shape}, "
            f"{self.classes} classes)"
        )

    def _become(self, name: str, form: Callable[[Any, str], Any], what: str) -> None:
        # A frozen dataclass can be written to in this way only.
        object.__setattr__(self, name, form(getattr(self, name), f"{self.name}: {what}"))

    def _check_scale(self, shape: list[int]) -> None:
        channels = shape[0] if len(shape) == 3 else 1
        last = len(shape) == 3 and len(self.mean) == len(self.sd) == shape[-1] != channels
        hint = " Are the channels the last axis? Put them before the rows: x.permute(0, 3, 1, 2)." if last else ""
        finite = all(math.isfinite(value) for value in (*self.mean, *self.sd))
        require(
            finite and len(self.mean) == len(self.sd) == channels and min(self.sd) > 0,
            f"{self.name}: expected a mean and a positive sd for each of {channels} channels, "
            f"got mean={self.mean}, sd={self.sd}.{hint}",
        )
        require(
            all(0 <= value <= 1 for value in self.mean) and max(self.sd) <= 1,
            f"{self.name}: mean and sd must lie from 0 to 1, as those of pixels divided by levels={self.levels} do, "
            f"got mean={self.mean}, sd={self.sd}. Divide them by levels.",
        )

    def _check_part(self, part: str, x: Tensor, y: Tensor) -> None:
        where = f"{self.name}: the {part}"
        require(
            x.ndim in {3, 4} and y.ndim == 1,
            f"{where} images must be [N, H, W] or [N, C, H, W] and the labels [N], "
            f"got {list(x.shape)} and {list(y.shape)}.",
        )
        require(x.numel() > 0, f"{where} part must hold at least one image, got shape {list(x.shape)}.")
        require(
            len(x) == len(y),
            f"{where} part must hold one label per image, got {len(x)} images and {len(y)} labels. "
            "Take both from the same data set.",
        )
        require(
            self.classes <= 256 or y.dtype != torch.uint8,
            f"{where} labels of {self.classes} classes can't be uint8, which wraps above 255. Give them as int64, "
            "taken from where they were not uint8 yet.",
        )
        lowest, highest = int(y.min()), int(y.max())
        require(
            lowest >= 0 and highest < self.classes,
            f"{where} labels must lie from 0 to {self.classes - 1}, got {highest if lowest >= 0 else lowest}. "
            "Number the classes of both parts together, such as by "
            "torch.unique(torch.cat([y_train, y_test]), return_inverse=True)[1], or raise classes.",
        )
        require(
            self.levels >= 255 or int(x.max()) <= self.levels,
            f"{where} pixels must lie from 0 to levels={self.levels}, got {int(x.max())}.",
        )


def _labels(value: Any, what: str) -> Tensor:
    labels = class_labels(value, what)
    return value if isinstance(value, Tensor) and value.dtype == torch.uint8 else labels


def _numbers(value: Any, what: str) -> tuple[float, ...]:
    return tuple(tensor(value, what).double().flatten().tolist())


def _pixels(value: Any, what: str) -> Tensor:
    x = tensor(value, what)
    if x.dtype == torch.uint8 or x.numel() == 0:
        return x
    if x.is_complex() or x.dtype == torch.bool:
        raise ValueError(f"{what} must be stored as uint8, got {x.dtype}. {_advice(x)}")
    comparable = x if x.is_floating_point() else x.long()  # torch has no comparison for uint16, uint32 and uint64
    lowest, highest = comparable.aminmax()
    if not x.is_floating_point() and lowest >= 0 and highest <= 255:
        return comparable.to(torch.uint8)
    raise ValueError(
        f"{what} must be stored as uint8, got {x.dtype} with values from {lowest:g} to {highest:g}. {_advice(x)}"
    )


def _advice(x: Tensor) -> str:
    # Never a conversion that loses the images: .to(torch.uint8) makes 0 of pixels below 1, and wraps those above 255.
    if x.dtype == torch.bool:
        return "Black and white are x.to(torch.uint8), with levels=1."
    if x.is_complex():
        return "Give the real and the imaginary part as two channels."
    if not x.is_floating_point():
        return "Scale pixels of more than 8 bits to 0 to 255 before they are converted."
    if not bool(x.isfinite().all()):
        return "Clean the data first: some of them are NaN or infinite."
    if bool((x >= 0).all() & (x <= 1).all()):
        return "Pixels from 0 to 1 become (x * 255).round().to(torch.uint8), with levels=255."
    if bool((x >= 0).all() & (x <= 255).all() & (x == x.round()).all()):
        return "They are whole numbers from 0 to 255: x.to(torch.uint8) keeps them."
    return (
        "Undo what standardised them; or, if they are no pixels but features, make synsim.tasks.Examples of them, "
        "with offset 0 and scale 1, and a synsim.tasks.Task of those."
    )
