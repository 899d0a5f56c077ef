"""Poisson spikes from counter-based numbers, and what a rate and a window are in steps.

Times are in ms, rates in Hz.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from synsim import streams
from synsim._checks import is_whole, require, whole
from synsim._doors import shown, typed
from synsim._philox import philox
from synsim.kernels import pool
from synsim.spiking import cpu

STEPS = 1_000_000
"""Steps that a window may have."""


@typed
def poisson_spikes(
    rates: Tensor, *, window: float, dt: float, seed: int | Sequence[int] = 0, name: str = "poisson", draw: int = 0
) -> Tensor:
    """Poisson spikes of given rates, from a named stream.

    Args:
        rates: Hz, [B, I].
        window: how long, ms.
        dt: time step, ms.
        seed: of the stream; a sequence of R seeds gives R sets of spikes.
        name: of the stream.
        draw: number of the draw; another one gives other spikes.

    Returns:
        0 or 1 of the type of the rates, [T, B, I] or [R, T, B, I].

    Raises:
        ValueError: if a rate is negative or above 1 / dt, or an argument does not fit.
    """
    require(rates.ndim == 2 and rates.is_floating_point(), f"rates must be [B, I] in floats, got {shown(rates)}.")
    steps = steps_of(window, dt)
    p = rates.detach().double() * (dt / 1000)
    require(
        bool(((p >= 0) & (p <= 1)).all()),
        f"rates must lie between 0 and 1 / dt = {1000 / dt:g} Hz, got {range_of(rates)}. Take a smaller dt.",
    )
    seeds = (seed,) if is_whole(seed) else tuple(seed)  # type: ignore[arg-type]
    draw = whole(draw, "draw", 0, streams.WORD)
    require(len(seeds) > 0, "expected at least one seed, got none.")
    keys = streams.keys("eval/spikes", [whole(one, "seed", 0) for one in seeds], name)
    rows = torch.arange(rates.shape[0], device=rates.device)
    found = [drawn_spikes(p, key, rows, draw, steps).to(rates.dtype) for key in keys.to(rates.device)]
    return found[0] if is_whole(seed) else torch.stack(found)


def steps_of(window: float, dt: float) -> int:
    """How many steps a window has.

    Args:
        window: ms.
        dt: time step, ms.

    Returns:
        T.

    Raises:
        ValueError: if a time is not positive, or the window no multiple of dt.
    """
    for value, name in ((window, "window"), (dt, "dt")):
        require(0 < value < math.inf, f"{name} must be a positive, finite time in ms, got {value}.")
    steps = round(window / dt) if window / dt < math.inf else 0
    require(
        steps >= 1 and abs(steps * dt - window) <= 1e-6 * window,
        f"window must be a multiple of dt = {dt:g} ms, got {window:g} ms.",
    )
    require(steps <= STEPS, f"a window may have {STEPS:,} steps, got {steps:,}. Take a shorter one, or a larger dt.")
    return steps


@typed
def probability_of(rate: float, dt: float) -> float:
    """Probability of a spike in a step.

    Args:
        rate: Hz.
        dt: time step, ms.

    Returns:
        rate · dt.

    Raises:
        ValueError: if the rate is negative or above 1 / dt.
    """
    require(
        0 <= rate * dt / 1000 <= 1,
        f"rate must lie between 0 and 1 / dt = {1000 / dt:g} Hz, got {rate:g} Hz. Lower it, or take a smaller dt.",
    )
    return rate * dt / 1000


def fused_spikes(p: Tensor, words: np.ndarray, first: int, draw: int, steps: int, dtype: torch.dtype) -> Tensor:
    """The spikes of `drawn_spikes`, in one fused loop.

    Args:
        p: probability of a spike in a step, [B, I].
        words: key of the stream.
        first: address of the first example; the others follow.
        draw: number of the draw.
        steps: T.
        dtype: of the spikes.

    Returns:
        0 or 1, [T, B, I].
    """
    out = torch.zeros(steps, *p.shape, dtype=dtype, device=p.device)
    array, values = out.numpy(), p.contiguous().numpy()
    pool.split(lambda start, stop: cpu.poisson(values, words, first, draw, array, start, stop), p.shape[0], out.numel())
    return out


def drawn_spikes(p: Tensor, key: Tensor, example: Tensor, draw: int, steps: int) -> Tensor:
    """The meaning of `cpu.poisson`, in plain torch.

    Args:
        p: probability of a spike in a step, [B, I].
        key: of the stream.
        example: addresses of the examples, [B].
        draw: number of the draw.
        steps: T.

    Returns:
        Whether there is a spike, [T, B, I].
    """
    pixel = torch.arange(p.shape[-1], device=p.device)
    block = torch.arange(-(-steps // 4), device=p.device).reshape(-1, 1, 1)
    words = philox((pixel, block, example.reshape(-1, 1), pixel.new_tensor(draw)), (key[0], key[1]))
    numbers = torch.stack([word.expand(block.shape[0], *p.shape) for word in words], 1).flatten(0, 1)[:steps]
    return numbers < (p * 4294967296.0).ceil()


def range_of(x: Tensor) -> str:
    """Smallest and largest value, for a message.

    Args:
        x: any numbers.

    Returns:
        The text.
    """
    x = x.detach()
    return f"values from {float(x.min()):g} to {float(x.max()):g}" if x.numel() else "none"
