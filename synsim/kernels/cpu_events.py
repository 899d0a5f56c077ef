"""Fused kernels for CPUs, one release per spike and synapse: bits are made where there are spikes, and never stored."""

# mypy: ignore-errors

import numpy as np
from numba import uint16, uint64

from synsim.kernels.compiling import njit
from synsim.kernels.cpu import _HALF, _HALF_SHIFT, OPTIONS, philox


@njit(**OPTIONS)
def count_spikes(x, into):
    """Spikes of every row of x into `into`.

    Returns:
        Whether an entry is neither 0 nor 1.
    """
    number = x.dtype.type
    wrong = False
    for row in range(x.shape[0]):
        total, bad = 0, 0
        for j in range(x.shape[1]):
            a = x[row, j]
            total += a == number(1)
            bad += (a != number(1)) & (a != number(0))
        into[row] = total
        wrong |= bad > 0
    return wrong


@njit(**OPTIONS)
def list_spikes(x, start, sources):
    """Indices of the spikes of every row, from `start[row]` on."""
    number = x.dtype.type
    for row in range(x.shape[0]):
        at, stop = start[row], start[row + 1]
        j = 0
        while at < stop:
            if x[row, j] != number(0):
                sources[at] = j
                at += 1
            j += 1


@njit(**OPTIONS)
def by_source(start, sources, first, rows):
    """The same spikes sorted by their source: source i has the rows `first[i]` to `first[i + 1]` of `rows`."""
    first[:] = 0
    for at in range(sources.shape[0]):
        first[sources[at] + 1] += 1
    for i in range(first.shape[0] - 1):
        first[i + 1] += first[i]
    place = first.copy()
    for row in range(start.shape[0] - 1):
        for at in range(start[row], start[row + 1]):
            i = sources[at]
            rows[place[i]] = row
            place[i] += 1


@njit(inline="always", **OPTIONS)
def _bits(bits, lanes, source, site, step, example, draw, k0, k1):
    base, second = uint64(source) * uint64(lanes), uint64(site) + (uint64(step) << uint64(8))
    for lane in range(lanes):
        c0, c1, c2, c3 = philox(base + uint64(lane), second, uint64(example), uint64(draw), uint64(k0), uint64(k1))
        bits[lane], bits[lane + lanes] = uint16(c0 & _HALF), uint16(c0 >> _HALF_SHIFT)
        bits[lane + 2 * lanes], bits[lane + 3 * lanes] = uint16(c1 & _HALF), uint16(c1 >> _HALF_SHIFT)
        bits[lane + 4 * lanes], bits[lane + 5 * lanes] = uint16(c2 & _HALF), uint16(c2 >> _HALF_SHIFT)
        bits[lane + 6 * lanes], bits[lane + 7 * lanes] = uint16(c3 & _HALF), uint16(c3 >> _HALF_SHIFT)


@njit(**OPTIONS)
def _add(bits, threshold, values, into):
    number = values.dtype.type
    for o in range(into.shape[0]):
        into[o] += values[o] if number(bits[o]) < threshold[o] else number(0)


@njit(**OPTIONS)
def transmit(first, sources, factor, scaled, threshold, key, sites, example, batch, draw, begin, out, start, stop):
    """out[row] += Σ over spikes of the row, synapses and sites of what is released, for the rows `start` to `stop`.

    Args are those of `synsim.kernels.events.Spikes`; `scaled` = w̄ / (N p) and `threshold` = 65536 p are [I, O], and a
    factor of shape [0, 0] means that there is none. The first step is `begin`.
    """
    number = scaled.dtype.type
    outputs = scaled.shape[1]
    lanes = (outputs + 7) // 8
    bits, limit = np.empty(8 * lanes, np.uint16), np.empty(outputs, scaled.dtype)
    for row in range(start, stop):
        step, b = begin + row // batch, example + row % batch
        for at in range(first[row], first[row + 1]):
            i = sources[at]
            limits = threshold[i]
            if factor.shape[0] > 0:
                f = number(factor[row, i])
                for o in range(outputs):
                    limit[o] = threshold[i, o] * f
                limits = limit
            for site in range(sites):
                _bits(bits, lanes, i, site, step, b, draw, key[0], key[1])
                _add(bits, limits, scaled[i], out[row])


@njit(**OPTIONS)
def gradient(first, rows, factor, threshold, key, sites, example, batch, draw, begin, grad, into, start, stop):
    """into[i] += Σ over spikes of source i of the releases times grad[row], for the sources `start` to `stop`."""
    number = grad.dtype.type
    outputs = grad.shape[1]
    lanes = (outputs + 7) // 8
    bits, limit = np.empty(8 * lanes, np.uint16), np.empty(outputs, grad.dtype)
    for i in range(start, stop):
        limits = threshold[i]
        for at in range(first[i], first[i + 1]):
            row = rows[at]
            if factor.shape[0] > 0:
                f = number(factor[row, i])
                for o in range(outputs):
                    limit[o] = threshold[i, o] * f
                limits = limit
            for site in range(sites):
                _bits(bits, lanes, i, site, begin + row // batch, example + row % batch, draw, key[0], key[1])
                _add(bits, limits, grad[row], into[i])
