"""Batches of stored pixels in one pass: picked, put in order, and turned into numbers."""

import torch
from torch import Tensor

from synsim.kernels import pool
from synsim.kernels.compiling import Later
from synsim.kernels.dispatch import TYPES

LEAST = 1 << 16
"""Pixels below which torch's own operations are as fast."""

cpu = Later("synsim.kernels.cpu_pixels")


def serves(images: Tensor, count: int, dtype: torch.dtype) -> bool:
    """Whether `pick` serves a batch.

    Args:
        images: as stored [N, ...].
        count: pixels of the batch.
        dtype: of the numbers.

    Returns:
        True or False.
    """
    return (
        count >= LEAST and images.is_cpu and images.dtype == torch.uint8 and images.is_contiguous() and dtype in TYPES
    )


def pick(images: Tensor, rows: Tensor, table: Tensor, orders: Tensor) -> Tensor:
    """Rows of images as the numbers that their pixels stand for.

    Args:
        images: uint8 [N, ...] on the CPU, contiguous.
        rows: int64 [M]: K blocks of rows, each with an order of its own.
        table: the number of every value of a pixel [256].
        orders: int64 [K, P], the places of pixels, all from 0 to P - 1.

    Returns:
        [M, P], of the type of the table.

    Raises:
        IndexError: if there is no such row.
    """
    stored = images.reshape(images.shape[0], -1).numpy()
    count, pixels = rows.numel(), stored.shape[1]
    out = torch.empty(count, pixels, dtype=table.dtype, device="cpu")
    given = (rows.contiguous().numpy(), orders.contiguous().numpy(), max(count // len(orders), 1))
    last = (table.numpy(), out.numpy())
    there: list[bool] = []
    pool.split(lambda start, stop: there.append(cpu.pick(stored, *given, *last, start, stop)), count, out.numel())
    if not all(there):
        raise IndexError(f"rows must lie from 0 to {len(stored) - 1}.")
    return out
