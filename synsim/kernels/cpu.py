"""Fused kernels for CPUs: draw, compare and scale in one pass; strength and probability step in another.

Each kernel is serial and releases the interpreter lock; `synsim.kernels.pool` runs several ranges of one at once. There
is no fastmath, since it would break the checks for NaN, and every branch of an inner loop is written as a choice
between two values so that the loops become vector instructions.
"""

import numpy as np
from numba import uint16, uint64

from synsim.kernels.compiling import njit
from synsim.kernels.constants import (
    G_LIM,
    LEAST_PROBABILITY,
    LR,
    MODULATE_LR,
    P_DOWN,
    P_FREEZE,
    P_MAX,
    P_MIN,
    P_UP,
    WEIGHT_DECAY,
)

OPTIONS = {"nogil": True, "error_model": "numpy"}
"""Of every kernel: the interpreter lock is released, and a division by 0 gives what NumPy gives."""
_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_WORD, _SHIFT = np.uint64(0xFFFFFFFF), np.uint64(32)
_HALF, _HALF_SHIFT = np.uint64(0xFFFF), np.uint64(16)
_LEAST32, _ONE32 = (np.float32(value).view(np.int32) for value in (LEAST_PROBABILITY, 1))
_LEAST64, _ONE64 = (np.float64(value).view(np.int64) for value in (LEAST_PROBABILITY, 1))
CHUNK = 32
"""Tiles whose bits are made before they are used: few enough for the first-level cache."""
RUN = 2048
"""Synapses whose strengths move before their probabilities do: few enough to be in the cache still."""


# 32-bit words are kept in 64-bit lanes: a product of two is then one vector instruction, without any conversion.
@njit(inline="always", **OPTIONS)
def philox(c0, c1, c2, c3, k0, k1):
    """Philox 4x32-10 of one block.

    Returns:
        Four words; they and all arguments are uint64 below 2**32.
    """
    for _ in range(10):
        first, second = (c0 & _WORD) * _M0, (c2 & _WORD) * _M1
        c0, c2 = (second >> _SHIFT) ^ c1 ^ k0, (first >> _SHIFT) ^ c3 ^ k1
        c1, c3 = second & _WORD, first & _WORD
        k0, k1 = (k0 + _W0) & _WORD, (k1 + _W1) & _WORD
    return c0, c1, c2, c3


@njit(**OPTIONS)
def fill_bits(bits, count, tile, tile_step, example, example_step, site, draw, k0, k1):
    """The 16-bit numbers of `count` tiles: of successive tiles, or of one tile for successive examples."""
    for t in range(count):
        base = uint64(tile + t * tile_step) * uint64(16)
        where = uint64(example + t * example_step)
        for lane in range(16):
            c0, c1, c2, c3 = philox(base + uint64(lane), uint64(site), where, uint64(draw), uint64(k0), uint64(k1))
            i = t * 128 + lane
            bits[i], bits[i + 16] = uint16(c0 & _HALF), uint16(c0 >> _HALF_SHIFT)
            bits[i + 32], bits[i + 48] = uint16(c1 & _HALF), uint16(c1 >> _HALF_SHIFT)
            bits[i + 64], bits[i + 80] = uint16(c2 & _HALF), uint16(c2 >> _HALF_SHIFT)
            bits[i + 96], bits[i + 112] = uint16(c3 & _HALF), uint16(c3 >> _HALF_SHIFT)


# A float's bits, taken as an integer, are ordered as positive floats are; negative ones and NaN fall out of the bounds.
# Integers, since loops that compare floats and add up the answers do not become vector instructions.
@njit(inline="always", **OPTIONS)
def _limits(x):
    kind = x.dtype.type
    if x.itemsize == 4:
        return kind(_LEAST32), kind(_ONE32)
    return kind(_LEAST64), kind(_ONE64)


@njit(**OPTIONS)
def lawful(x):
    """Whether probabilities lie between the least one and 1.

    Returns:
        The answer; x are their bits as integers [n].
    """
    kind = x.dtype.type
    least, most = _limits(x)
    sign = kind(0)
    for j in range(x.shape[0]):
        sign = kind(sign | kind(x[j] - least) | kind(most - x[j]))
    return sign >= 0


@njit(**OPTIONS)
def certain(x):
    """Whether probabilities are all 1; the first run that holds another tells.

    Returns:
        The answer; x are their bits as integers [n].
    """
    kind = x.dtype.type
    one = _limits(x)[1]
    for low in range(0, x.shape[0], RUN):
        run = x[low : low + RUN]
        different = kind(0)
        for j in range(run.shape[0]):
            different = kind(different | (run[j] ^ one))
        if different != 0:
            return False
    return True


@njit(**OPTIONS)
def _apply(bits, w, q, x, out, count):
    number, kind = w.dtype.type, x.dtype.type
    least, most = _limits(x)
    sign = kind(0)
    for j in range(w.shape[0]):
        released = number(bits[j]) < q[j] * number(65536)
        count[j] = released
        strength = w[j] / q[j]
        out[j] = strength if released else number(0)
        sign = kind(sign | kind(x[j] - least) | kind(most - x[j]))
    return sign >= 0


@njit(**OPTIONS)
def _add(bits, q, count):
    number = q.dtype.type
    for j in range(q.shape[0]):
        count[j] += number(bits[j]) < q[j] * number(65536)


@njit(**OPTIONS)
def release(weight, p, p_bits, keys, sites, example, draw, out, count, start, stop):
    """One mask per replica, applied; tiles `start` to `stop` of all tiles, replica after replica.

    `p_bits` are the bits of p as integers.

    Returns:
        Whether the probabilities met with are ones (`lawful`).
    """
    number = weight.dtype.type
    n = weight.shape[1]
    tiles = (n + 127) // 128
    bits = np.empty(128 * CHUNK, np.uint16)
    right = True
    at = start
    while at < stop:
        r, tile = at // tiles, at % tiles
        m = min(CHUNK, tiles - tile, stop - at)
        low, high = tile * 128, min(n, (tile + m) * 128)
        w, q, o, c = weight[r, low:high], p[r, low:high], out[r, low:high], count[r, low:high]
        x = p_bits[r, low:high]
        if sites == 1:
            fill_bits(bits, m, tile, 1, example, 0, 0, draw, keys[r, 0], keys[r, 1])
            right &= _apply(bits, w, q, x, o, c)
        else:
            right &= lawful(x)
            c[:] = 0
            for site in range(sites):
                fill_bits(bits, m, tile, 1, example, 0, site, draw, keys[r, 0], keys[r, 1])
                _add(bits, q, c)
            for j in range(high - low):
                o[j] = w[j] / (q[j] * number(sites)) * number(c[j])
        at += m
    return right


@njit(**OPTIONS)
def mask_gradient(gradient, p, count, sites, start, stop):
    """Gradient of the strength transmitted -> of the expected strength, in place, on flat arrays."""
    number = gradient.dtype.type
    g, q, c = gradient[start:stop], p[start:stop], count[start:stop]
    for j in range(stop - start):
        passed = g[j] / (q[j] * number(sites)) * number(c[j])
        g[j] = passed if c[j] != 0 else number(0)


@njit(**OPTIONS)
def learn(weight, p, gradient, penalty, table, plastic, hard, start, stop):
    """The learning step, in place, on synapses `start` to `stop` of all synapses, replica after replica.

    A penalty of shape [0, 0] means that there is none.
    """
    number = weight.dtype.type
    n = weight.shape[1]
    zero = number(0)
    at = start
    while at < stop:
        r, low = at // n, at % n
        high = min(n, low + min(stop - at, RUN))
        at += high - low
        lr, weight_decay = number(table[LR, r]), number(table[WEIGHT_DECAY, r])
        p_up, p_down, g_lim = number(table[P_UP, r]), number(table[P_DOWN, r]), number(table[G_LIM, r])
        p_min, p_max, p_freeze = number(table[P_MIN, r]), number(table[P_MAX, r]), number(table[P_FREEZE, r])
        modulate_lr = number(table[MODULATE_LR, r])
        w, q, g = weight[r, low:high], p[r, low:high], gradient[r, low:high]
        # One loop per case: a condition inside would cost half of the speed.
        given, scaled = penalty.shape[0] > 0, modulate_lr != zero
        extra = penalty[r, low:high] if given else g
        if scaled and given:
            for i in range(high - low):
                w[i] = w[i] - lr * (g[i] * (p_max - q[i]) + weight_decay * w[i] + extra[i])
        elif scaled:
            for i in range(high - low):
                w[i] = w[i] - lr * (g[i] * (p_max - q[i]) + weight_decay * w[i])
        elif given:
            for i in range(high - low):
                w[i] = w[i] - lr * (g[i] + weight_decay * w[i] + extra[i])
        else:
            for i in range(high - low):
                w[i] = w[i] - lr * (g[i] + weight_decay * w[i])
        if not plastic:
            continue
        if hard:
            for i in range(high - low):
                step = p_up if abs(g[i]) > g_lim else -p_down
                moved = q[i] + (zero if q[i] >= p_freeze else step)
                moved = p_min if moved < p_min else moved
                q[i] = p_max if moved > p_max else moved
        else:
            for i in range(high - low):
                step = p_up if abs(g[i]) >= g_lim else -p_down
                step = zero if q[i] >= p_freeze else step
                moved = q[i] + step * (p_max - q[i])
                moved = p_min if moved < p_min else moved
                q[i] = p_max if moved > p_max else moved
