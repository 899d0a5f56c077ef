"""The loops that move powerpropagated weights: root, slope, step and power in one pass.

Only roots that become vector instructions: square roots, and cube roots by Newton's method.
"""

import numpy as np

from synsim.kernels.compiling import njit
from synsim.kernels.cpu import OPTIONS, RUN

THIRD = {
    4: np.array([709921077, 0x7FFFFFFF], np.int32),
    8: np.array([0x2A9F84FE36D22425, 0x7FFFFFFFFFFFFFFF], np.int64),
}
"""What the bits of a cube root have beside a third of those of its number, and all bits but the sign's; by bytes."""


@njit(**OPTIONS)
def _cube_roots(values, bits, third, guess, out):
    # By Halley's method: each iteration triples the digits, of which the first bits give one. `guess` is the memory of
    # `out`. The bits are divided as floats, since whole numbers have no vector instruction for that.
    kind, number = bits.dtype.type, out.dtype.type
    two, one_third = number(2), number(1) / number(3)
    for j in range(values.shape[0]):
        guess[j] = kind(number(bits[j] & third[1]) * one_third) + third[0]
    for _ in range(2 if bits.itemsize == 4 else 3):
        for j in range(values.shape[0]):
            a, root = abs(values[j]), out[j]
            power = root * root * root
            out[j] = root * ((power + two * a) / (two * power + a))
    for j in range(values.shape[0]):
        out[j] = out[j] if values[j] != 0 else number(0)


@njit(**OPTIONS)
def sesqui(now, before, bits, third, shrink):
    """α = 3/2, see `square`."""
    number = now.dtype.type
    guess = np.empty(RUN, bits.dtype)
    roots = guess.view(now.dtype)
    for low in range(0, now.shape[0], RUN):
        old, new = before[low : low + RUN], now[low : low + RUN]
        _cube_roots(old, bits[low : low + RUN], third, guess, roots)
        for j in range(old.shape[0]):
            move, root = new[j] - old[j], roots[j]
            phi = np.copysign(root * root, old[j]) * shrink + move * (number(1.5) * root)
            moved = phi * np.sqrt(abs(phi))
            new[j] = old[j] if move == 0 and shrink == 1 else moved


@njit(**OPTIONS)
def square(now, before, bits, third, shrink):
    """α = 2: φ = root of the weight before, shrunk, moves by its slope times what the weight moved.

    In `now` lies the weight as its rule moved it, and then the power of the new φ; what did not move stays, to the bit.
    Bits are those of `before` as integers.
    """
    number = now.dtype.type
    for j in range(now.shape[0]):
        old = before[j]
        move, root = now[j] - old, np.sqrt(abs(old))
        phi = np.copysign(root, old) * shrink + move * (number(2) * root)
        moved = phi * abs(phi)
        now[j] = old if move == 0 and shrink == 1 else moved


@njit(**OPTIONS)
def cube(now, before, bits, third, shrink):
    """α = 3, see `square`."""
    number = now.dtype.type
    guess = np.empty(RUN, bits.dtype)
    roots = guess.view(now.dtype)
    for low in range(0, now.shape[0], RUN):
        old, new = before[low : low + RUN], now[low : low + RUN]
        _cube_roots(old, bits[low : low + RUN], third, guess, roots)
        for j in range(old.shape[0]):
            move, root = new[j] - old[j], roots[j]
            phi = np.copysign(root, old[j]) * shrink + move * (number(3) * root * root)
            moved = phi * phi * phi
            new[j] = old[j] if move == 0 and shrink == 1 else moved


@njit(**OPTIONS)
def fourth(now, before, bits, third, shrink):
    """α = 4, see `square`."""
    number = now.dtype.type
    for j in range(now.shape[0]):
        old = before[j]
        move, root = now[j] - old, np.sqrt(np.sqrt(abs(old)))
        phi = np.copysign(root, old) * shrink + move * (number(4) * root * root * root)
        moved = phi * abs(phi) * (phi * phi)
        now[j] = old if move == 0 and shrink == 1 else moved
