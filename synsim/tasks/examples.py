"""Images as stored, with everything that turns an index into a batch."""

from dataclasses import dataclass
from typing import Protocol, cast

import torch
from torch import Tensor

from synsim._checks import Labels, choice, class_labels, require, tensor
from synsim._doors import check_fields, shown, typed
from synsim.kernels import pixels as kernel


class Data(Protocol):
    """What a data set must offer; `synsim.data.load` returns one."""

    @property
    def name(self) -> str:
        """Name of the data set."""

    @property
    def x_train(self) -> Tensor:
        """Images to learn from, [N, ...]."""

    @property
    def y_train(self) -> Tensor:
        """Their labels, int64 [N]."""

    @property
    def x_test(self) -> Tensor:
        """Images to be tested on."""

    @property
    def y_test(self) -> Tensor:
        """Their labels."""

    @property
    def classes(self) -> int:
        """Number of classes."""

    @property
    def levels(self) -> int:
        """Highest pixel value possible."""

    @property
    def mean(self) -> tuple[float, ...]:
        """Mean of the training pixels per channel, after division by `levels`."""

    @property
    def sd(self) -> tuple[float, ...]:
        """Their standard deviation per channel, after division by `levels`."""


PIXELS = ("standard", "unit")
INDICES = (torch.int64, torch.int32)


@dataclass(frozen=True, eq=False)
class Examples:
    """Images and labels of a task, standardised and permuted only when they are asked for.

    With T pixel orders every image counts T times: example t · N + n is image n in the order t. So the union of
    permuted tasks needs no second copy of the images.

    Attributes:
        images: uint8 [N, ...] on the device; or features of any type, with offset 0 and scale 1.
        labels: int64 [N], relabelled for the task; other integer types, arrays and lists become that.
        offset: subtracted from every stored pixel: one number, or one for each entry of the first axis of an image.
        scale: divides what is left.
        orders: pixel orders, int64 [T, P] shared or [R, T, P] per replica, or None for images as they are.
        flat: whether an example is a vector of pixels.
        dtype: type of the batches.

    Raises:
        ValueError: if labels are no whole numbers, the parts do not fit each other, or nothing can be scaled so.
    """

    images: Tensor
    labels: Tensor
    offset: Tensor
    scale: Tensor
    orders: Tensor | None = None
    flat: bool = True
    dtype: torch.dtype = torch.float32

    def __post_init__(self) -> None:
        """Bring the parts into their types, and check them against each other."""
        images = tensor(self.images, "images")
        # A frozen dataclass can be written to in this way only.
        for name, value in (
            ("images", images),
            ("labels", class_labels(self.labels, "labels").to(images.device)),
            ("offset", tensor(self.offset, "offset").to(images.device)),
            ("scale", tensor(self.scale, "scale").to(images.device)),
        ):
            object.__setattr__(self, name, value)
        check_fields(self)
        require(
            images.ndim > 1 and self.labels.ndim == 1 and len(images) == len(self.labels),
            f"images must be [N, ...] and labels [N], got {list(images.shape)} and {list(self.labels.shape)}.",
        )
        require(self.dtype.is_floating_point, f"dtype must be a type of floats, got {self.dtype}.")
        self._check_scale()

    def _check_scale(self) -> None:
        pixels = self.images[0].numel() if len(self) else self.images.flatten(1).shape[1]
        orders = self.orders
        if orders is not None:
            require(
                orders.ndim in (2, 3) and orders.shape[-1] == pixels and orders.dtype == torch.int64,
                f"orders must be whole numbers (int64) [T, {pixels}] or [R, T, {pixels}], got {shown(orders)}.",
            )
            inside = not orders.numel() or (int(orders.min()) >= 0 and int(orders.max()) < pixels)
            require(inside, f"orders must hold the places of pixels, from 0 to {pixels - 1}, got others.")
        entries = (1,) if orders is not None else (1, self.images.shape[1])
        for name, value in (("offset", self.offset), ("scale", self.scale)):
            require(
                value.numel() in entries and not value.is_complex() and bool(value.isfinite().all()),
                f"{name} must hold {' or '.join(map(str, entries))} finite numbers, got {shown(value)}.",
            )
        require(bool((self.scale != 0).all()), "scale must not be 0: it divides the pixels.")

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

    def batch(self, index: Labels) -> tuple[Tensor, Tensor]:
        """Standardised images and labels.

        Args:
            index: int64 [B], or [R, B] for an order of each replica's own; arrays and lists will do.

        Returns:
            Images [B, ...] or [R, B, ...], and labels shaped like the index.

        Raises:
            ValueError: if the index is not of whole numbers, or one lies outside.
        """
        where = index if isinstance(index, Tensor) else tensor(index, "index")
        if where.dtype not in INDICES or where.ndim not in (1, 2) or where.layout is not torch.strided or where.is_meta:
            self._refuse(where)
        return self._taken(where.to(self.images.device))

    def _taken(self, index: Tensor) -> tuple[Tensor, Tensor]:
        try:
            return self._pixels(index), self.labels[self._image(index)]
        except (IndexError, RuntimeError, ValueError):
            # Afterwards: a look at every index beforehand would cost time at every step, and on a GPU a wait.
            self._refuse(index)
            raise

    def _refuse(self, index: Tensor) -> None:
        whole = index.dtype in INDICES
        remedy = "the places where a mask is true are mask.nonzero().flatten()." if index.dtype == torch.bool else ""
        require(whole, f"index must hold whole numbers (int64), got {shown(index)}. {remedy or 'Use index.long().'}")
        held = index.layout is torch.strided and not index.is_meta
        require(held, f"index must be a dense tensor, got {shown(index)}. Use index.to_dense().")
        replicas = () if self.orders is None or self.orders.ndim == 2 else self.orders.shape[:1]
        fits = index.ndim == 1 or (index.ndim == 2 and (not replicas or index.shape[:1] == replicas))
        require(fits, f"index must be [B] or [{replicas[0] if replicas else 'R'}, B], got {shown(index)}.")
        lowest, highest = (int(index.min()), int(index.max())) if index.numel() else (0, 0)
        require(
            0 <= lowest <= highest < len(self),
            f"index must lie from 0 to {len(self) - 1}, the examples that there are, got {lowest} to {highest}.",
        )

    def _image(self, index: Tensor) -> Tensor:
        # fmod keeps the sign, so that a negative index stays one, which torch refuses; with one order nothing wraps.
        several = self.orders is not None and self.orders.shape[-2] > 1
        return index.fmod(self.images.shape[0]) if several else index

    def _pixels(self, index: Tensor) -> Tensor:
        if self._fused(index):
            return self._picked(index)
        found = self.images.index_select(0, self._image(index).reshape(-1)).to(self.dtype)
        axes = self.images.ndim - 1
        shape = (-1, *[1] * (axes - 1)) if self.offset.numel() > 1 else ()
        # In place: these are copies, still in the cache. And before the pixels are put in order, which torch does
        # several times as fast with floats as with bytes.
        found.sub_(self.offset.reshape(shape)).div_(self.scale.reshape(shape))
        found = found.reshape(*index.shape, *self.images.shape[1:])
        if self.orders is not None:
            return _reorder(found.flatten(index.ndim), self.orders, index // self.images.shape[0])
        return found.flatten(index.ndim) if self.flat else found

    def _fused(self, index: Tensor) -> bool:
        # One order for all examples of a replica; with orders there is one number for every value of a pixel.
        orders = self.orders
        if orders is None or orders.shape[-2] > 1:
            return False
        fits = orders.ndim == 2 or (index.ndim == 2 and len(index) == len(orders))
        return fits and kernel.serves(self.images, index.numel() * orders.shape[-1], self.dtype)

    def _picked(self, index: Tensor) -> Tensor:
        # What `_pixels` does in several steps, at once.
        numbers = torch.arange(256, dtype=self.dtype, device=self.images.device)
        numbers.sub_(self.offset.reshape(())).div_(self.scale.reshape(()))
        orders = cast(Tensor, self.orders).flatten(0, -2)
        return kernel.pick(self.images, index.reshape(-1).long(), numbers, orders).reshape(*index.shape, -1)


def _reorder(pixels: Tensor, orders: Tensor, which: Tensor) -> Tensor:
    # pixels [B, P] or [R, B, P]; one order of the T for every example.
    alone = orders.shape[-2] == 1
    if orders.ndim == 2:
        return pixels.index_select(-1, orders[0]) if alone else pixels.gather(-1, orders[which])
    if pixels.ndim == 2:
        pixels, which = pixels.expand(orders.shape[0], *pixels.shape), which.expand(orders.shape[0], -1)
    # Of fewer rows `gather` would say nothing.
    require(len(pixels) == len(orders), f"expected images of {len(orders)} replicas, got those of {len(pixels)}.")
    if alone:
        return pixels.gather(-1, orders.expand(-1, pixels.shape[1], -1))
    return torch.stack([row.gather(1, own[k]) for row, own, k in zip(pixels, orders, which, strict=True)])


@typed
def scaling(data: Data, pixels: str, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Offset and divisor of stored pixels.

    Args:
        data: the data set.
        pixels: "standard" (mean 0, standard deviation 1 over the training set) or "unit" (0 to 1; or where the data
            set has `bounds`, what lies between these).
        device: where the images are.
        dtype: of the batches.

    Returns:
        Offset and scale, one entry per channel (one for grey images).

    Raises:
        ValueError: if `pixels` is unknown, or the data set lacks a part.
    """
    choice(pixels, "pixels", PIXELS)
    mean, sd = (data.mean, data.sd) if pixels == "standard" else ((0.0,) * len(data.mean), (1.0,) * len(data.sd))
    low, high = getattr(data, "bounds", None) or (0.0, data.levels)
    offset = torch.tensor(mean, dtype=torch.float64, device="cpu") * (high - low) + low
    scale = torch.tensor(sd, dtype=torch.float64, device="cpu") * (high - low)
    return offset.to(device, dtype), scale.to(device, dtype)
