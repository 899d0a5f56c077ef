"""Fused loops over time for CPUs: neurons forward and backward, and Poisson spikes.

Each is serial and lets go of the interpreter; neurons are walked in runs that stay in the cache for all time steps.
"""

# mypy: ignore-errors

import numpy as np
from numba import uint64

from synsim.kernels.compiling import njit
from synsim.kernels.cpu import OPTIONS, philox

RUN = 1024
"""Neurons that pass through all time steps together."""


@njit(**OPTIONS)
def integrate(current, v0, left0, decay, theta, subtract, hold, u, s, v, free, v1, left1, start, stop):
    """Leaky integrate-and-fire, neurons `start` to `stop` of all [R · n], replica after replica.

    `current`, `u` (before the threshold), `s` and `v` (end of the step; may be empty) are [R, T, n]; `free` (uint8, may
    be empty) says who was not refractory; the others are [R, n]. `hold` is the refractory period in steps.
    """
    number = current.dtype.type
    steps, n = current.shape[1], current.shape[2]
    decay, theta, zero, one = number(decay), number(theta), number(0), number(1)
    now, left = np.empty(RUN, current.dtype), np.empty(RUN, np.int32)
    at = start
    while at < stop:
        r, low = at // n, at % n
        m = min(RUN, n - low, stop - at)
        high = low + m
        at += m
        now[:m], left[:m] = v0[r, low:high], left0[r, low:high]
        for t in range(steps):
            c, us, ss = current[r, t, low:high], u[r, t, low:high], s[r, t, low:high]
            if hold <= 1 and subtract:
                for j in range(m):
                    a = now[j] * decay
                    fired = one if a > theta else zero
                    us[j], ss[j] = a, fired
                    now[j] = a + c[j] - theta * fired
            elif hold <= 1:
                for j in range(m):
                    a = now[j] * decay
                    fired = a > theta
                    us[j], ss[j] = a, (one if fired else zero)
                    now[j] = zero if fired else a + c[j]
            else:
                fs = free[r, t, low:high]
                for j in range(m):
                    rest = max(left[j] - 1, 0)
                    open_ = rest == 0
                    a = now[j] * decay if open_ else now[j]
                    fired = (a > theta) & open_
                    us[j], ss[j], fs[j] = a, (one if fired else zero), open_
                    left[j] = hold if fired else rest
                    through = a + c[j]
                    now[j] = (through - theta if subtract else zero) if fired else through
            if v.shape[1] > 0:
                v[r, t, low:high] = now[:m]
        v1[r, low:high], left1[r, low:high] = now[:m], left[:m]


@njit(**OPTIONS)
def _surrogate(u, theta, kind, a, b, out, m):
    # The derivative of each surrogate, as in `synsim.spiking.surrogate`.
    number = u.dtype.type
    one, zero, a, b = number(1), number(0), number(a), number(b)
    if kind == 1:
        for j in range(m):
            x = one + a * abs(u[j] - theta)
            out[j] = one / (x * x)
    elif kind == 2:
        half, scale = a / number(2), a * number(np.pi / 2)
        for j in range(m):
            x = scale * (u[j] - theta)
            out[j] = half / (one + x * x)
    else:
        for j in range(m):
            x = one - abs(u[j] - theta) / b
            out[j] = a / b * (x if x > zero else zero)


@njit(**OPTIONS)
def backpropagate(
    to_s, to_v, to_end, u, s, free, current, decay, theta, subtract, through, kind, a, b, to_current, to_start, start,
    stop,
):  # fmt: skip
    """Gradients of `integrate`, backward through time.

    `to_s` and `to_v` may have no steps, `free` too; `through` says whether the reset is differentiated, for which a
    reset to rest needs the currents (no steps otherwise).
    """
    number = u.dtype.type
    steps, n = u.shape[1], u.shape[2]
    theta, decay, zero, one = number(theta), number(decay), number(0), number(1)
    carry, slope, g = np.empty(RUN, u.dtype), np.empty(RUN, u.dtype), np.empty(RUN, u.dtype)
    at = start
    while at < stop:
        r, low = at // n, at % n
        m = min(RUN, n - low, stop - at)
        high = low + m
        at += m
        carry[:m] = to_end[r, low:high]
        for t in range(steps - 1, -1, -1):
            us, ss, into = u[r, t, low:high], s[r, t, low:high], to_current[r, t, low:high]
            if to_v.shape[1] > 0:
                gv = to_v[r, t, low:high]
                for j in range(m):
                    carry[j] += gv[j]
            if to_s.shape[1] > 0:
                g[:m] = to_s[r, t, low:high]
            else:
                g[:m] = zero
            if through and subtract:
                for j in range(m):
                    g[j] -= theta * carry[j]
            elif through:
                c = current[r, t, low:high]
                for j in range(m):
                    g[j] -= carry[j] * (us[j] + c[j])
            if to_s.shape[1] > 0 or through:
                _surrogate(us, theta, kind, a, b, slope, m)
            else:
                slope[:m] = zero
            if free.shape[1] > 0:
                fs = free[r, t, low:high]
                for j in range(m):
                    kept = carry[j] if subtract else carry[j] * (one - ss[j])
                    into[j] = kept
                    back = kept + (slope[j] * g[j] if fs[j] else zero)
                    carry[j] = back * decay if fs[j] else back
            elif subtract:
                for j in range(m):
                    into[j] = carry[j]
                    carry[j] = (carry[j] + slope[j] * g[j]) * decay
            else:
                for j in range(m):
                    kept = carry[j] * (one - ss[j])
                    into[j] = kept
                    carry[j] = (kept + slope[j] * g[j]) * decay
        to_start[r, low:high] = carry[:m]


@njit(**OPTIONS)
def poisson(p, key, example, draw, out, start, stop):
    """Spikes of the examples `start` to `stop`: out[t, b, i] = 1 where 32 bits are below p[b, i] · 2³², from zeros.

    Word w of the block (i, k, example + b, draw) belongs to step 4 k + w.
    """
    number = out.dtype.type
    steps, inputs = out.shape[0], out.shape[2]
    blocks = (steps + 3) // 4
    words = np.empty((4, blocks), np.uint64)
    k0, k1 = uint64(key[0]), uint64(key[1])
    for b in range(start, stop):
        for i in range(inputs):
            if p[b, i] > 0:
                limit = uint64(np.ceil(p[b, i] * 4294967296.0))
                for k in range(blocks):
                    c0, c1, c2, c3 = philox(uint64(i), uint64(k), uint64(example + b), uint64(draw), k0, k1)
                    words[0, k], words[1, k], words[2, k], words[3, k] = c0, c1, c2, c3
                for t in range(steps):
                    if words[t & 3, t >> 2] < limit:
                        out[t, b, i] = number(1)
