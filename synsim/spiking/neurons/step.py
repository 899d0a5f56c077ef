"""One step in plain torch operations: the meaning of everything else about neurons."""

import torch
from torch import Tensor

from synsim._doors import ArgumentError, shown
from synsim.spiking.neurons.parameters import LIF, State, at_rest
from synsim.spiking.surrogate import FastSigmoid, Surrogate


def lif_step(
    current: Tensor, state: State | None, parameters: LIF, dt: float, surrogate: Surrogate | None = None
) -> tuple[Tensor, State]:
    """One step in plain torch operations: the meaning of everything else here.

    Args:
        current: input of this step, [B, H] or [R, B, H], in the units of v.
        state: at the end of the step before; None: rest, as before the first step.
        parameters: of the population.
        dt: time step, ms.
        surrogate: of the gradient; None: `FastSigmoid()`.

    Returns:
        Spikes (0 or 1) like `current`, and the state at the end of this step.

    Raises:
        ArgumentError: if the parameters, the state or the surrogate are none.
        ValueError: if the shapes do not fit, or dt is longer than τ.
    """
    # Not by `typed`, which would cost as much as one of the operations below.
    kinds = ((parameters, LIF, "parameters", False), (state, State, "state", True))
    for value, kind, name, optional in (*kinds, (surrogate, Surrogate, "surrogate", True)):
        if not (isinstance(value, kind) or (optional and value is None)):
            raise ArgumentError(f"{name} must be a {kind.__name__}{' or None' * optional}, got {shown(value)}.")
    _require_current(current)
    if state is None:
        state = at_rest(current)
    require_state(current, state)
    return advance(current, state, parameters, dt, surrogate or FastSigmoid())


def advance(current: Tensor, state: State, parameters: LIF, dt: float, surrogate: Surrogate) -> tuple[Tensor, State]:
    """`lif_step` of what has been checked.

    Args:
        current: input of this step, [B, H] or [R, B, H], in the units of v.
        state: at the end of the step before.
        parameters: of the population.
        dt: time step, ms.
        surrogate: of the gradient.

    Returns:
        Spikes like `current`, and the state at the end of this step.
    """
    u, spikes, left = fire(state, parameters, dt, surrogate)
    return spikes, State(arrive(u, spikes, current, parameters), left)


def fire(state: State, parameters: LIF, dt: float, surrogate: Surrogate) -> tuple[Tensor, Tensor, Tensor]:
    """The first half of a step, which does not depend on what arrives in it: state update and threshold.

    Args:
        state: at the end of the step before.
        parameters: of the population.
        dt: time step, ms.
        surrogate: of the gradient.

    Returns:
        The membrane before the threshold, spikes, and steps left until a neuron may fire again.
    """
    factor, hold, theta = parameters.decay(dt), parameters.hold(dt), parameters.threshold
    left = (state.left - 1).clamp(min=0)
    free = left == 0
    u = torch.where(free, state.v * factor, state.v) if hold > 1 else state.v * factor
    spikes = surrogate.spike(u - theta)
    if hold > 1:
        spikes = spikes * free
        left = torch.where(spikes.detach() > 0, hold, left).to(torch.int32)
    return u, spikes, left


def arrive(u: Tensor, spikes: Tensor, current: Tensor, parameters: LIF) -> Tensor:
    """The second half of a step: inputs arrive, and neurons that fired are reset.

    Args:
        u: membrane before the threshold.
        spikes: of this step.
        current: input of this step.
        parameters: of the population.

    Returns:
        The membrane at the end of the step.
    """
    off = spikes.detach() if parameters.detach_reset else spikes
    v = u + current
    return v - parameters.threshold * off if parameters.reset == "subtract" else v * (1 - off)


def _require_current(current: Tensor) -> None:
    if not isinstance(current, Tensor) or current.ndim not in (2, 3) or not current.is_floating_point():
        raise ArgumentError(f"current must be a tensor of floats, [B, H] or [R, B, H], got {shown(current)}.")


def require_state(current: Tensor, state: State) -> None:
    """Refuse a state of another population.

    Args:
        current: input of one step.
        state: at the end of the step before.

    Raises:
        ArgumentError: if the state is not shaped like the input, or of other types.
    """
    v, left, shape = state.v, state.left, current.shape
    fits = isinstance(v, Tensor) and v.shape == shape and v.dtype == current.dtype
    if not fits or not isinstance(left, Tensor) or left.shape != shape or left.dtype != torch.int32:
        raise ArgumentError(
            f"the state must be of v in {current.dtype} and left in int32, both {list(shape)}, got {shown(v)} and "
            f"{shown(left)}."
        )
