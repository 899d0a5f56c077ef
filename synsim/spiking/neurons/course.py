"""The whole course of time at once: neurons and readouts whose inputs are known beforehand."""

import math
from typing import cast

import torch
from torch import Tensor

from synsim._checks import require
from synsim._doors import shown, typed
from synsim.kernels.dispatch import compiled
from synsim.spiking.neurons.fused import run_fused
from synsim.spiking.neurons.parameters import LIF, Leaky, State, at_rest, decay
from synsim.spiking.neurons.step import advance, require_state
from synsim.spiking.surrogate import FastSigmoid, Surrogate
from synsim.synapses.addressed import transformed


@typed
def lif(
    current: Tensor,
    parameters: LIF,
    dt: float,
    *,
    surrogate: Surrogate | None = None,
    state: State | None = None,
    membrane: bool = True,
) -> tuple[Tensor, Tensor | None, State]:
    """All steps of a population whose inputs are known beforehand, as they are in a feed-forward network.

    On the CPU forward and backward are one fused loop each; elsewhere, inside torch.func transforms and with surrogates
    of your own `lif_step` is repeated.

    Args:
        current: inputs [T, B, H] or [R, T, B, H], in the units of v.
        parameters: of the population.
        dt: time step, ms.
        surrogate: of the gradient; None: `FastSigmoid()`.
        state: at the start; None: rest.
        membrane: whether the membrane is wanted.

    Returns:
        Spikes (0 or 1) like `current`; v at the end of each step likewise, or None; the state at the end.

    Raises:
        ValueError: if the shapes do not fit, or dt is longer than τ.
    """
    chosen = surrogate or FastSigmoid()
    factor = parameters.decay(dt)
    check_time_axis(current, "current")
    if state is None:
        state = at_rest(current.select(-3, 0))
    else:
        require_state(current.select(-3, 0), state)
    # A subclass has a formula of its own, which the fused loops do not know.
    kind = vars(type(chosen)).get("kind", 0)
    if transformed() or kind == 0 or not compiled(current):
        return _steps(current, parameters, dt, chosen, state, membrane)
    settings = (
        factor,
        parameters.threshold,
        parameters.reset == "subtract",
        parameters.hold(dt),
        not parameters.detach_reset,
        kind,
        *chosen.constants(),
        membrane,
    )
    spikes, v, last, left = run_fused(current, state.v, state.left, settings)
    return spikes, v if membrane else None, State(last, left)


@typed
def leaky(current: Tensor, parameters: Leaky, dt: float, *, start: Tensor | None = None) -> Tensor:
    """Membranes of a leaky readout: v ← v · exp(−dt / τ), then v ← v + input.

    Args:
        current: inputs [T, B, C] or [R, T, B, C].
        parameters: of the readout.
        dt: time step, ms.
        start: v at the start, [B, C] or [R, B, C]; None: 0.

    Returns:
        v at the end of each step, like `current`.

    Raises:
        ValueError: if the shapes do not fit, or dt is longer than τ.
    """
    check_time_axis(current, "current")
    factor = decay(parameters.tau, dt, "tau")
    first = torch.zeros_like(current.select(-3, 0)) if start is None else start
    require(
        first.shape == current.select(-3, 0).shape and first.dtype == current.dtype,
        f"start must be {current.dtype} {list(current.select(-3, 0).shape)}, like a step of current, got "
        f"{shown(first)}.",
    )
    if transformed() or not compiled(current):
        found = []
        for one in current.unbind(-3):
            first = first * factor + one
            found.append(first)
        return torch.stack(found, -3)
    # A neuron that never fires.
    settings = (factor, math.inf, False, 0, False, 1, 1.0, 0.0, True)
    left = torch.zeros_like(first, dtype=torch.int32)
    return cast(Tensor, run_fused(current, first, left, settings)[1])


def _steps(
    current: Tensor, parameters: LIF, dt: float, surrogate: Surrogate, state: State, membrane: bool
) -> tuple[Tensor, Tensor | None, State]:
    spikes, membranes = [], []
    for one in current.unbind(-3):
        fired, state = advance(one, state, parameters, dt, surrogate)
        spikes.append(fired)
        membranes.append(state.v)
    return torch.stack(spikes, -3), torch.stack(membranes, -3) if membrane else None, state


def check_time_axis(x: Tensor, what: str) -> None:
    """Refuse tensors without an axis of time.

    Args:
        x: the tensor.
        what: its name in the message.

    Raises:
        ValueError: if x is not [T, B, H] or [R, T, B, H] in floats, or has no steps.
    """
    if x.ndim not in (3, 4) or x.shape[-3] == 0:
        raise ValueError(f"{what} must be [T, B, neurons] or [R, T, B, neurons] with T > 0, got {list(x.shape)}.")
    if not x.is_floating_point():
        raise ValueError(f"{what} must hold floats, got {x.dtype}. Convert them first, such as by {what}.float().")


def check_spikes(spikes: Tensor) -> None:
    """Refuse what are no spikes, nor expected numbers of them.

    Args:
        spikes: the tensor.

    Raises:
        ValueError: if it is not [T, B, H] or [R, T, B, H] in floats, has no steps, or an entry lies outside [0, 1].
    """
    check_time_axis(spikes, "spikes")
    if not transformed() and not bool(((spikes >= 0) & (spikes <= 1)).all()):
        raise ValueError("spikes must be 0 or 1, or lie between where they are expected numbers, got other values.")
