"""A data set in memory, pixels and labels as stored."""

from dataclasses import dataclass

import torch
from torch import Tensor

from synsim._checks import require
from synsim._doors import check_fields


# Without eq: comparing tensors gives tensors, which have no single truth value.
@dataclass(frozen=True, eq=False)
class Dataset:
    """Images and labels, uint8; `load` returns them on the CPU.

    Attributes:
        name: name of the data set.
        x_train: training images [N, H, W], or [N, C, H, W] in colour.
        y_train: training labels [N].
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
        """Check the parts against each other."""
        check_fields(self)
        for part, x, y in (("train", self.x_train, self.y_train), ("test", self.x_test, self.y_test)):
            self._check_part(part, x, y)
        shape, test_shape = list(self.x_train.shape[1:]), list(self.x_test.shape[1:])
        require(
            shape == test_shape,
            f"{self.name}: expected test images of the training images' shape {shape}, got {test_shape}. "
            "Take both from the same data set.",
        )
        channels = shape[0] if len(shape) == 3 else 1
        require(
            len(self.mean) == len(self.sd) == channels and min(self.sd) > 0,
            f"{self.name}: expected a mean and a positive sd for each of {channels} channels, "
            f"got mean={self.mean}, sd={self.sd}.",
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

    def _check_part(self, part: str, x: Tensor, y: Tensor) -> None:
        where = f"{self.name}: the {part}"
        for tensor, what in ((x, "images"), (y, "labels")):
            require(
                tensor.dtype == torch.uint8,
                f"{where} {what} must be stored as uint8, got {tensor.dtype}. Convert them with .to(torch.uint8).",
            )
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
            int(y.max()) < self.classes,
            f"{where} labels must lie from 0 to {self.classes - 1}, got {int(y.max())}. Relabel them or raise classes.",
        )
        require(
            self.levels >= 255 or int(x.max()) <= self.levels,
            f"{where} pixels must lie from 0 to levels={self.levels}, got {int(x.max())}.",
        )
