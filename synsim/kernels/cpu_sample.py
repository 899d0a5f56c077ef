"""Fused kernels for CPUs, one mask per example: bits are made tile by tile, used at once, and never stored.

No array of shape [examples, outputs, inputs] exists; the backward pass makes the same bits again from their address.
"""

import numpy as np

from synsim.kernels.compiling import njit
from synsim.kernels.cpu import CHUNK, OPTIONS, fill_bits


# Reassociation alone lets the sum run in vector lanes, and keeps NaN and infinity as they are.
@njit(fastmath={"reassoc", "nsz"}, **OPTIONS)
def _dot(count, scaled, x):
    number = x.dtype.type
    total = number(0)
    for j in range(count.shape[0]):
        total += number(count[j]) * scaled[j] * x[j]
    return total


@njit(**OPTIONS)
def _counts(tile, sites, example, m, draw, key, threshold, bits, count):
    # Counts of releases of one tile for m successive examples, [m, 128].
    number = threshold.dtype.type
    for site in range(sites):
        fill_bits(bits, m, tile, 0, example, 1, site, draw, key[0], key[1])
        for e in range(m):
            row, c = bits[e * 128 : e * 128 + 128], count[e]
            if site == 0:
                for j in range(128):
                    c[j] = number(row[j]) < threshold[j]
            else:
                for j in range(128):
                    c[j] += number(row[j]) < threshold[j]


@njit(**OPTIONS)
def _tile_constants(w, q, sites, base, scaled, factor, threshold):
    number = w.dtype.type
    for j in range(min(128, w.shape[0] - base)):
        factor[j] = number(1) / (q[base + j] * number(sites))
        scaled[j] = w[base + j] * factor[j]
        threshold[j] = q[base + j] * number(65536)


@njit(**OPTIONS)
def transmit(x, weight, p, key, sites, first, draw, out, start, stop):
    """out[b, o] = Σ_i x[b, i] · w̃[b, o, i] for the rows `start` to `stop` of the weight; `out` starts at 0.

    Example b has the masks of address first + b.
    """
    rows, columns = weight.shape
    bits, counts = np.empty(128 * CHUNK, np.uint16), np.empty((CHUNK, 128), np.uint8)
    scaled, factor = np.zeros(128, weight.dtype), np.zeros(128, weight.dtype)
    threshold = np.zeros(128, weight.dtype)
    low, high = start * columns, stop * columns
    w, q = weight.reshape(rows * columns), p.reshape(rows * columns)
    for tile in range(low // 128, (high + 127) // 128):
        base = tile * 128
        begin, end = max(low, base), min(high, base + 128)
        _tile_constants(w, q, sites, base, scaled, factor, threshold)
        for b in range(x.shape[0]):
            if b % CHUNK == 0:
                m = min(CHUNK, x.shape[0] - b)
                _counts(tile, sites, first + b, m, draw, key, threshold, bits, counts)
            count = counts[b % CHUNK]
            at = begin
            while at < end:
                row, column = at // columns, at % columns
                m, off = min(end - at, columns - column), at - base
                out[b, row] += _dot(count[off : off + m], scaled[off : off + m], x[b, column : column + m])
                at += m


@njit(**OPTIONS)
def backpropagate(x, weight, p, key, sites, first, draw, gradient, to_x, to_weight, start, stop):
    """Gradients of `transmit`, added to `to_x` [B, I] (may have no rows) and `to_weight` [O, I]."""
    number = weight.dtype.type
    rows, columns = weight.shape
    bits, counts = np.empty(128 * CHUNK, np.uint16), np.empty((CHUNK, 128), np.uint8)
    scaled, factor = np.zeros(128, weight.dtype), np.zeros(128, weight.dtype)
    threshold, total = np.zeros(128, weight.dtype), np.zeros(128, weight.dtype)
    low, high = start * columns, stop * columns
    w, q = weight.reshape(rows * columns), p.reshape(rows * columns)
    into = to_weight.reshape(rows * columns)
    for tile in range(low // 128, (high + 127) // 128):
        base = tile * 128
        begin, end = max(low, base), min(high, base + 128)
        _tile_constants(w, q, sites, base, scaled, factor, threshold)
        total[:] = 0
        for b in range(x.shape[0]):
            if b % CHUNK == 0:
                m = min(CHUNK, x.shape[0] - b)
                _counts(tile, sites, first + b, m, draw, key, threshold, bits, counts)
            count = counts[b % CHUNK]
            at = begin
            while at < end:
                row, column = at // columns, at % columns
                m, off = min(end - at, columns - column), at - base
                g = gradient[b, row]
                c, t, a = count[off : off + m], total[off : off + m], x[b, column : column + m]
                for j in range(m):
                    t[j] += number(c[j]) * g * a[j]
                if to_x.shape[0] > 0:
                    s, back = scaled[off : off + m], to_x[b, column : column + m]
                    for j in range(m):
                        back[j] += number(c[j]) * g * s[j]
                at += m
        for j in range(begin, end):
            into[j] += total[j - base] * factor[j - base]
