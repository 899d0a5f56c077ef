"""Standard normal numbers with an address: Numba on the CPU, plain torch elsewhere, the same bits."""

from functools import cache

import numpy as np
import torch
from torch import Tensor

from synsim._philox import release_bits
from synsim.kernels import fit, pool
from synsim.kernels.compiling import Later
from synsim.kernels.dispatch import compiled

__all__ = ["normals", "on_device", "reference", "table"]

cpu_normal = Later("synsim.kernels.cpu_normal")


@cache
def table() -> np.ndarray:
    """The normal number of every 16-bit number u: the quantile of (u + 1/2) / 65536, scaled to variance one.

    Returns:
        float32 [65536], ascending, antisymmetric; mean 0 and variance 1 up to the rounding to float32.
    """
    from scipy.special import ndtri

    lower = ndtri((np.arange(32768) + 0.5) / 65536)
    both = np.concatenate([lower, -lower[::-1]])
    scaled: np.ndarray = (both / both.std()).astype(np.float32)
    scaled.setflags(write=False)
    return scaled


@cache
def on_device(device: torch.device) -> Tensor:
    """The table of `table` as a tensor.

    Args:
        device: where.

    Returns:
        float32 [65536].
    """
    return torch.from_numpy(table().copy()).to(device)


def reference(keys: Tensor, count: int, draw: int, dtype: torch.dtype) -> Tensor:
    """Standard normal numbers in plain torch: the meaning of `normals`.

    Args:
        keys: int64 [R, 2].
        count: numbers per key.
        draw: number of the draw; another one gives other numbers.
        dtype: floating-point type of the result.

    Returns:
        [R, count] on the device of the keys.
    """
    first = torch.zeros(1, dtype=torch.int64, device=keys.device)
    bits = release_bits(keys, count, site=0, example=first, draw=draw)[0]
    return on_device(keys.device)[bits].to(dtype)


def normals(keys: Tensor, words: np.ndarray, count: int, draw: int, dtype: torch.dtype) -> Tensor:
    """Standard normal numbers of a stream, from 16 bits each (at most 4.33 in size); mean 0, variance 1.

    Number i is that of synapse i in `synsim.streams.release_bits` at site 0 and example 0.

    Args:
        keys: int64 [R, 2] on the device wanted.
        words: the same keys as uint32 NumPy array.
        count: numbers per key.
        draw: number of the draw; another one gives other numbers.
        dtype: floating-point type of the result.

    Returns:
        [R, count] on the device of the keys.
    """
    if words.shape != tuple(keys.shape) or words.shape[1:] != (2,) or count < 0:
        fit.refuse("the words of keys [R, 2]", keys.shape, words.shape)
    fit.address(0, draw)
    if not compiled(keys, dtype):
        return reference(keys, count, draw, dtype)
    out = torch.empty(words.shape[0], count, dtype=dtype, device="cpu")
    array, values = out.numpy(), table()
    tiles = words.shape[0] * -(-count // 128)
    if out.numel() < pool.GRAIN:
        cpu_normal.normals(words, draw, values, array, 0, tiles)
    else:
        pool.split(lambda start, stop: cpu_normal.normals(words, draw, values, array, start, stop), tiles, out.numel())
    return out
