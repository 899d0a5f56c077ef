"""Fused kernel for CPUs: standard normal numbers from the 16-bit numbers of a stream, by a table."""

# mypy: ignore-errors

import numpy as np

from synsim.kernels.compiling import njit
from synsim.kernels.cpu import CHUNK, OPTIONS, fill_bits


@njit(**OPTIONS)
def _look_up(bits, table, out):
    number = out.dtype.type
    for j in range(out.shape[0]):
        out[j] = number(table[bits[j]])


@njit(**OPTIONS)
def normals(keys, draw, table, out, start, stop):
    """Entries of the table [65536] chosen by the bits of site 0, example 0, into `out` [R, n].

    Tiles `start` to `stop` of all tiles, replica after replica.
    """
    n = out.shape[1]
    tiles = (n + 127) // 128
    bits = np.empty(128 * CHUNK, np.uint16)
    at = start
    while at < stop:
        r, tile = at // tiles, at % tiles
        m = min(CHUNK, tiles - tile, stop - at)
        fill_bits(bits, m, tile, 1, 0, 0, 0, draw, keys[r, 0], keys[r, 1])
        _look_up(bits, table, out[r, tile * 128 : min(n, (tile + m) * 128)])
        at += m
