"""Images as stored, with everything that turns an index into a batch."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from synsim._checks import require
from synsim._doors import check_fields, typed


class Data(Protocol):
    """What a data set must offer; `synsim.data.load` returns one."""

    name: str
    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    classes: int
    levels: int
    mean: tuple[float, ...]
    sd: tuple[float, ...]


PIXELS = ("standard", "unit")


@dataclass(frozen=True, eq=False)
class Examples:
    """Images and labels of a task, standardised and permuted only when they are asked for.

    With T pixel orders every image counts T times: example t · N + n is image n in the order t. So the union of
    permuted tasks needs no second copy of the images.

    Attributes:
        images: uint8 [N, ...] on the device.
        labels: int64 [N], relabelled for the task.
        offset: subtracted from every stored pixel, [C] or a number's tensor.
        scale: divides what is left.
        orders: pixel orders, int64 [T, P] shared or [R, T, P] per replica, or None for images as they are.
        flat: whether an example is a vector of pixels.
        dtype: type of the batches.
    """

    images: Tensor
    labels: Tensor
    offset: Tensor
    scale: Tensor
    orders: Tensor | None = None
    flat: bool = True
    dtype: torch.dtype = torch.float32

    def __post_init__(self) -> None:
        check_fields(self)

    def __len__(self) -> int:
        """Number of examples.

        Returns:
            N, or T · N with pixel orders.
        """
        return self.images.shape[0] * (1 if self.orders is None else self.orders.shape[-2])

    def __getitem__(self, index: slice) -> Tensor:
        """Standardised images of a slice.

        Returns:
            [n, ...], or [R, n, ...] where every replica has its own pixel order.
        """
        return self._pixels(torch.arange(len(self), device=self.images.device)[index])

    @property
    def y(self) -> Tensor:
        """Labels of all examples, int64."""
        return self.labels if self.orders is None else self.labels.repeat(self.orders.shape[-2])

    @typed
    def batch(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Standardised images and labels.

        Args:
            index: int64 [B], or [R, B] for an order of each replica's own.

        Returns:
            Images [B, ...] or [R, B, ...], and labels shaped like the index.
        """
        index = index.to(self.images.device)
        image = index if self.orders is None else index % self.images.shape[0]
        return self._pixels(index), self.labels[image]

    def _pixels(self, index: Tensor) -> Tensor:
        count = self.images.shape[0]
        image = index if self.orders is None else index % count
        found = self.images.index_select(0, image.reshape(-1))
        found = found.reshape(*index.shape, *self.images.shape[1:])
        if self.orders is not None:
            found = _reorder(found.flatten(index.ndim), self.orders, index // count)
            return (found.to(self.dtype) - self.offset).div_(self.scale)
        axes = self.images.ndim - 1
        shape = (-1, *[1] * (axes - 1)) if self.offset.numel() > 1 else ()
        found = (found.to(self.dtype) - self.offset.reshape(shape)).div_(self.scale.reshape(shape))
        return found.flatten(index.ndim) if self.flat else found


def _reorder(pixels: Tensor, orders: Tensor, which: Tensor) -> Tensor:
    # pixels [B, P] or [R, B, P]; one order of the T for every example.
    if orders.shape[-2] == 1:
        order = orders[..., 0, :]
        if order.ndim == 1:
            return pixels.index_select(-1, order)
        rows = pixels if pixels.ndim == 3 else pixels.expand(order.shape[0], *pixels.shape)
        return torch.stack([row.index_select(1, one) for row, one in zip(rows, order, strict=True)])
    if orders.ndim == 2:
        return pixels.gather(-1, orders[which])
    if pixels.ndim == 2:
        pixels, which = pixels.expand(orders.shape[0], *pixels.shape), which.expand(orders.shape[0], -1)
    return torch.stack([row.gather(1, own[k]) for row, own, k in zip(pixels, orders, which, strict=True)])


@typed
def scaling(data: Data, pixels: str, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Offset and divisor of stored pixels.

    Args:
        data: the data set.
        pixels: "standard" (mean 0, standard deviation 1 over the training set) or "unit" (0 to 1).
        device: where the images are.
        dtype: of the batches.

    Returns:
        Offset and scale, one entry per channel (one for grey images).

    Raises:
        ValueError: if `pixels` is unknown.
    """
    require(pixels in PIXELS, f"pixels must be one of {', '.join(PIXELS)}, got {pixels!r}.")
    mean, sd = (data.mean, data.sd) if pixels == "standard" else ((0.0,) * len(data.mean), (1.0,) * len(data.sd))
    offset = torch.tensor(mean, dtype=torch.float64, device="cpu") * data.levels
    scale = torch.tensor(sd, dtype=torch.float64, device="cpu") * data.levels
    return offset.to(device, dtype), scale.to(device, dtype)
