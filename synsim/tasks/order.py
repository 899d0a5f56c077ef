"""The order in which every replica sees the examples of an epoch."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

from synsim import streams
from synsim._checks import require, whole
from synsim._doors import typed

LARGEST = 2**28
"""Places in the orders of an epoch, over all seeds: what a machine's memory holds several times."""


class Stream(Protocol):
    """Which examples are shown in an epoch, and in which order, where that is not each one once."""

    @property
    def count(self) -> int:
        """Examples per epoch."""

    def __call__(self, seeds: Sequence[int], epoch: int, *, independent: bool = False) -> Tensor:
        """Indices of the examples of an epoch, int64 [R, count]."""


@typed
def epoch_order(seeds: Sequence[int], task: int, epoch: int, count: int) -> Tensor:
    """Order of the examples in one epoch, a pure function of seed, task and epoch.

    Args:
        seeds: R seeds.
        task: index of the task.
        epoch: index of the epoch within the task.
        count: examples.

    Returns:
        int64 [R, count], each row a permutation.
    """
    return _permutation(seeds, f"task/{whole(task, 'task', 0)}", count, epoch)


@typed
def independent_order(seeds: Sequence[int], task: int, epoch: int, count: int) -> Tensor:
    """Order of the examples from which the independent batches of an epoch come (SIU, SIB, SOS).

    Args:
        seeds: R seeds.
        task: index of the task.
        epoch: index of the epoch within the task.
        count: examples.

    Returns:
        int64 [R, count], each row a permutation, independent of `epoch_order`.
    """
    return _permutation(seeds, f"independent/{whole(task, 'task', 0)}", count, epoch)


@typed
def batches(order: Tensor, size: int, start: int = 0) -> Iterator[Tensor]:
    """Mini-batches of an order; the last, incomplete one is dropped.

    Args:
        order: [R, N].
        size: examples per batch.
        start: first batch.

    Yields:
        [R, size].

    Raises:
        ValueError: if there are fewer examples than fill one batch, or the order is none of examples.
    """
    size = whole(size, "batch")
    require(order.ndim == 2, f"the order must be [R, N], one row per replica, got {list(order.shape)}.")
    places = order.dtype in (torch.int64, torch.int32)
    require(places, f"the order must hold whole numbers (int64), the places of examples, got {order.dtype}.")
    lowest = int(order.min()) if order.numel() else 0
    require(lowest >= 0, f"the order must hold the places of examples, counted from 0, got {lowest}.")
    steps = order.shape[1] // size
    require(steps > 0, f"a batch of {size} needs as many examples, got {order.shape[1]}. Choose a smaller batch.")
    for step in range(whole(start, "start", 0, steps), steps):
        yield order[:, step * size : (step + 1) * size]


@typed
def pixel_orders(seeds: Sequence[int], task: int, pixels: int) -> Tensor:
    """Fixed random order of the pixels of one task; replicas of one seed share it whatever the method.

    Args:
        seeds: R seeds.
        task: index of the task.
        pixels: number of pixels.

    Returns:
        int64 [R, pixels].
    """
    return torch.as_tensor(_permutation(seeds, f"pixels/{whole(task, 'task', 0)}", pixels, 0), device="cpu")


def _permutation(seeds: Sequence[int], label: str, count: int, epoch: int) -> Tensor:
    draw = whole(epoch, "epoch", 0, streams.WORD)
    count = whole(count, "count", 1, LARGEST // max(1, len(seeds)))
    return streams.permutation(streams.keys("order", seeds, label), count, draw=draw)
