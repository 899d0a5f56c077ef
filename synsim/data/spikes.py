"""Spike trains from lists of spikes."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synsim._checks import affordable, array, require, warn, whole, within
from synsim._doors import typed


@typed
def binned(
    time: object,
    neuron: object,
    example: object,
    *,
    examples: int,
    neurons: int | None = None,
    window: float | None = None,
    dt: float = 1.0,
) -> Tensor:
    """Spike trains in steps, from a list of spikes.

    A spike at time t falls into step ⌊t / dt⌋. Spikes of one neuron in one step become one, with a warning that says
    how many.

    Args:
        time: when each of S spikes comes, ms from the start of its example, [S].
        neuron: which neuron fires, from 0, [S].
        example: in which example, from 0, [S].
        examples: how many examples there are, N; one without a spike is silent.
        neurons: how many neurons there are; None: up to the last one that fires.
        window: how long an example is, ms; None: up to the last spike.
        dt: time step, ms.

    Returns:
        uint8 [N, T, neurons] of 0 and 1.

    Raises:
        ValueError: if the lists do not fit each other, a time is not finite or negative, a spike comes after the
            window, an index is out of range, or the trains would not fit into the memory.
    """
    dt = within(dt, "dt", "(0, inf)")
    when = array(time, "time", 1, flags=False)
    who, where = _indices(neuron, "neuron"), _indices(example, "example")
    require(
        len(when) == len(who) == len(where) > 0,
        "time, neuron and example must have one entry for each spike, and one spike at least, got "
        f"{len(when)}, {len(who)} and {len(where)}.",
    )
    examples = whole(examples, "examples")
    neurons = int(who.max()) + 1 if neurons is None else whole(neurons, "neurons")
    for index, count, what in ((who, neurons, "neuron"), (where, examples, "example")):
        low, high = int(index.min()), int(index.max())
        require(low >= 0 and high < count, f"{what} must lie from 0 to {count - 1}, got {low if low < 0 else high}.")
    require(bool(np.isfinite(when).all() and when.min() >= 0), "time must be finite and at least 0 ms, got others.")
    # A window that is a multiple of dt but for rounding has that many steps.
    last = float(when.max())
    steps = int(last / dt + 1e-9) + 1 if window is None else round(within(window, "window", "(0, inf)") / dt)
    require(
        window is None or (steps >= 1 and abs(steps * dt - window) <= 1e-6 * window),
        f"window must be a multiple of dt = {dt:g} ms, got {window} ms.",
    )
    step = np.floor(when / dt + 1e-9).astype(np.int64)
    late = int((step >= steps).sum())
    require(
        not late,
        f"{late} of {len(step)} spikes come after the window of {window} ms, the last at {last:g} ms. "
        f"Take a window of {(int(step.max()) + 1) * dt:g} ms, or leave them out: time < window.",
    )
    affordable(examples * steps * neurons, f"{examples} spike trains of {steps} steps and {neurons} neurons")
    found = torch.zeros(examples, steps, neurons, dtype=torch.uint8, device="cpu")
    found.view(-1)[torch.from_numpy((where * steps + step) * neurons + who)] = 1
    merged = len(step) - int(found.sum(dtype=torch.int64))
    if merged:
        warn(
            f"{merged} of {len(step)} spikes share their step with another one of the same neuron and are counted "
            f"once. Take a smaller dt than {dt:g} ms to keep them apart."
        )
    return found


def _indices(value: object, what: str) -> NDArray[np.int64]:
    given = array(value, what, 1, flags=False)
    require(bool((given == np.round(given)).all()), f"{what} must hold whole numbers, counted from 0, got fractions.")
    return given.astype(np.int64)
