"""A data set in memory, pixels and labels as stored."""

from dataclasses import dataclass

import torch
from torch import Tensor

from synsim._checks import require


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images and labels, uint8 on the CPU.

    Attributes:
        name: name of the data set.
        x_train: training images [N, H, W], or [N, C, H, W] in colour.
        y_train: training labels [N].
        x_test: test images.
        y_test: test labels.
        classes: how many classes there are.
        levels: highest pixel value possible.
        mean: mean of the training pixels per channel, after division by `levels`.
        sd: their standard deviation per channel.

    Raises:
        ValueError: if types or lengths do not fit, labels are out of range, or there are no images.
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
        for part in ("train", "test"):
            x, y = getattr(self, f"x_{part}"), getattr(self, f"y_{part}")
            for tensor, what in ((x, "images"), (y, "labels")):
                require(
                    tensor.dtype == torch.uint8,
                    f"{self.name}: the {part} {what} must be stored as uint8, got {tensor.dtype}.",
                )
            require(len(x) > 0, f"{self.name}: expected at least one {part} image, got none.")
            require(
                len(x) == len(y),
                f"{self.name}: expected one label per {part} image, got {len(x)} images and {len(y)} labels.",
            )
            require(
                int(y.max()) < self.classes,
                f"{self.name}: {part} labels must lie from 0 to {self.classes - 1}, got {int(y.max())}.",
            )
