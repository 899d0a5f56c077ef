"""Leaky integrate-and-fire neurons: parameters, a state, a pure step, and the whole course of time at once.

Within a step things happen in the order of Brian2's default schedule:

1. state update: v ← v · exp(−dt / τ), exactly; a refractory neuron keeps its v (`unless refractory`);
2. threshold: a spike where v > θ, unless refractory;
3. synapses: v ← v + input of this step, also in refractory neurons and in those that just fired;
4. reset where it fired: to rest, v ← 0, which erases the input of this step; or by subtraction, v ← v − θ.

So a spike at step t acts on its targets' spikes from step t + 1 on. A neuron that fires at step t is refractory during
the steps t + 1 … t + n − 1, with n the refractory period in steps, and may fire again at t + n.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch._compile import _disable_dynamo
from torch.autograd.function import once_differentiable

from synsim._checks import affordable, available_device, require, whole, within
from synsim._doors import ArgumentError, check_fields, shown, typed
from synsim.kernels import pool
from synsim.kernels.dispatch import compiled
from synsim.spiking import cpu
from synsim.spiking.surrogate import FastSigmoid, Surrogate
from synsim.synapses.addressed import transformed

RESETS = ("rest", "subtract")


@dataclass(frozen=True)
class LIF:
    """Parameters of a population of leaky integrate-and-fire neurons; v is 0 at rest, inputs are jumps of v.

    Args:
        tau: membrane time constant, ms.
        threshold: θ, in the units of v.
        reset: "rest" or "subtract".
        refractory: refractory period, ms; counted in whole steps, rounded down as Brian2 does.
        detach_reset: keep the reset out of the gradient, as SuperSpike, norse and snnTorch do.

    Raises:
        ValueError: if a time is negative, the threshold not positive, or the reset unknown.
    """

    tau: float = 10.0
    threshold: float = 1.0
    reset: str = "rest"
    refractory: float = 0.0
    detach_reset: bool = True

    def __post_init__(self) -> None:
        check_fields(self)
        _time(self.tau, "tau")
        require(0 < self.threshold < math.inf, f"threshold must be positive and finite, got {self.threshold}.")
        require(self.reset in RESETS, f"reset must be one of {', '.join(RESETS)}, got {self.reset!r}.")
        require(0 <= self.refractory < math.inf, f"refractory must be a time of at least 0 ms, got {self.refractory}.")

    def decay(self, dt: float) -> float:
        """exp(−dt / τ).

        Args:
            dt: time step, ms.

        Returns:
            The factor by which v decays in a step.

        Raises:
            ValueError: if dt is not positive, or longer than τ.
        """
        return decay(self.tau, dt, "tau")

    def hold(self, dt: float) -> int:
        """The refractory period in steps.

        Args:
            dt: time step, ms.

        Returns:
            n; 0 and 1 mean that a neuron may fire at every step.

        Raises:
            ValueError: if dt is not positive, or longer than τ or than the period, unless that is 0.
        """
        _require_step(self.tau, dt, "tau")
        require(
            self.refractory == 0 or self.refractory >= (1 - 1e-3) * dt,
            f"refractory must be 0 or at least dt = {dt:g} ms, got {self.refractory:g} ms. Take a smaller step.",
        )
        # The margin of Brian2's `timestep`, against times that are a little less than a multiple of dt.
        return int((self.refractory + 1e-3 * dt) / dt)

    @typed
    def rest(
        self, shape: Sequence[int], *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> "State":
        """The state of rested neurons, to begin a loop over `lif_step` with.

        Args:
            shape: [B, H] or [R, B, H], as the inputs of a step have it.
            device: where the state lives.
            dtype: floating-point type of v.

        Returns:
            v = 0, nobody refractory.

        Raises:
            ValueError: if the shape is none, or the type holds no floats.
        """
        sizes = [whole(size, "every entry of shape", 0) for size in shape]
        require(len(sizes) in (2, 3), f"shape must be [B, H] or [R, B, H], got {sizes}.")
        require(dtype is None or dtype.is_floating_point, f"dtype must be a float type, got {dtype}.")
        place = available_device(device)
        if place.type == "cpu":
            affordable(math.prod(sizes) * 12, f"a state of shape {sizes}")
        return at_rest(torch.zeros(sizes, device=place, dtype=dtype))


@dataclass(frozen=True)
class Leaky:
    """Parameters of a leaky readout: the same membrane without threshold.

    Args:
        tau: membrane time constant, ms.

    Raises:
        ValueError: if the time is not positive.
    """

    tau: float = 10.0

    def __post_init__(self) -> None:
        check_fields(self)
        _time(self.tau, "tau")


class State(NamedTuple):
    """State of a population at the end of a step.

    Attributes:
        v: membrane [B, H] or [R, B, H].
        left: int32 likewise: steps, the present one included, until the neuron may fire again.
    """

    v: Tensor
    left: Tensor


def decay(tau: float, dt: float, name: str) -> float:
    """exp(−dt / τ), with checks.

    Args:
        tau: time constant, ms.
        dt: time step, ms.
        name: of the time constant, for the message.

    Returns:
        The factor of one step.

    Raises:
        ValueError: if a time is not positive, or dt is longer than τ.
    """
    _require_step(tau, dt, name)
    return math.exp(-dt / tau)


def _require_step(tau: float, dt: float, name: str) -> None:
    _time(dt, "dt")
    _time(tau, name)
    if dt > tau:
        raise ValueError(f"dt must not be longer than {name} = {tau:g} ms, got dt = {dt:g} ms. Take a smaller step.")


def at_rest(current: Tensor) -> State:
    """The state of rested neurons.

    Args:
        current: input of one step, [B, H] or [R, B, H].

    Returns:
        v = 0, nobody refractory.
    """
    return State(torch.zeros_like(current), torch.zeros_like(current, dtype=torch.int32))


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
    _require_state(current, state)
    return _lif_step(current, state, parameters, dt, surrogate or FastSigmoid())


def _lif_step(current: Tensor, state: State, parameters: LIF, dt: float, surrogate: Surrogate) -> tuple[Tensor, State]:
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
        _require_state(current.select(-3, 0), state)
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
    spikes, v, last, left = _fused(current, state.v, state.left, settings)
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
    return cast(Tensor, _fused(current, first, left, settings)[1])


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


def _require_current(current: Tensor) -> None:
    if not isinstance(current, Tensor) or current.ndim not in (2, 3) or not current.is_floating_point():
        raise ArgumentError(f"current must be a tensor of floats, [B, H] or [R, B, H], got {shown(current)}.")


def _require_state(current: Tensor, state: State) -> None:
    v, left, shape = state.v, state.left, current.shape
    fits = isinstance(v, Tensor) and v.shape == shape and v.dtype == current.dtype
    if not fits or not isinstance(left, Tensor) or left.shape != shape or left.dtype != torch.int32:
        raise ArgumentError(
            f"the state must be of v in {current.dtype} and left in int32, both {list(shape)}, got {shown(v)} and "
            f"{shown(left)}."
        )


def _steps(
    current: Tensor, parameters: LIF, dt: float, surrogate: Surrogate, state: State, membrane: bool
) -> tuple[Tensor, Tensor | None, State]:
    spikes, membranes = [], []
    for one in current.unbind(-3):
        fired, state = _lif_step(one, state, parameters, dt, surrogate)
        spikes.append(fired)
        membranes.append(state.v)
    return torch.stack(spikes, -3), torch.stack(membranes, -3) if membrane else None, state


def _fused(*inputs: Any) -> Any:
    # A compiler can't trace these loops, and goes on after them.
    return _apart(*inputs) if torch.compiler.is_compiling() else Fused.apply(*inputs)  # type: ignore[no-untyped-call]


@_disable_dynamo
def _apart(*inputs: Any) -> Any:
    return Fused.apply(*inputs)  # type: ignore[no-untyped-call]


_apart._torchdynamo_disable = True  # type: ignore[attr-defined]
_apart._torchdynamo_disable_msg = "the loops over time of spiking neurons are compiled already"  # type: ignore[attr-defined]


class Fused(torch.autograd.Function):
    """Currents, start -> spikes, membranes, end, with the loops over time in one kernel each."""

    @staticmethod
    def forward(
        ctx: Any, current: Tensor, v0: Tensor, left0: Tensor, settings: tuple[Any, ...]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Run all steps.

        Args:
            ctx: autograd's context.
            current: [T, B, H] or [R, T, B, H].
            v0: membrane at the start.
            left0: refractory steps left at the start.
            settings: decay, θ, subtract, hold, through, kind and constants of the surrogate, whether v is wanted.

        Returns:
            Spikes, membranes (without elements if not wanted), and the state at the end.
        """
        factor, theta, subtract, hold, through, *_, membrane = settings
        small = current.select(-3, 0).shape
        require(
            v0.shape == left0.shape == small and v0.dtype == current.dtype and left0.dtype == torch.int32,
            f"the start must be {current.dtype} and int32 of shape {list(small)}, got {v0.dtype} {list(v0.shape)} and "
            f"{left0.dtype} {list(left0.shape)}.",
        )
        current = current.detach().contiguous()
        shape = (-1, current.shape[-3], current.shape[-2] * current.shape[-1])
        c = current.view(shape)
        u, spikes = torch.empty_like(c), torch.empty_like(c)
        v = torch.empty_like(c) if membrane else c.new_empty(c.shape[0], 0, c.shape[2])
        free = torch.empty(c.shape if hold > 1 else (c.shape[0], 0, c.shape[2]), dtype=torch.uint8, device="cpu")
        start, left = (one.detach().reshape(c.shape[0], -1).contiguous() for one in (v0, left0))
        last, rest = torch.empty_like(start), torch.empty_like(left)
        arrays = [one.numpy() for one in (c, start, left)]
        into = [one.numpy() for one in (u, spikes, v, free, last, rest)]
        pool.split(
            lambda low, high: cpu.integrate(*arrays, factor, theta, subtract, hold, *into, low, high),
            start.numel(),
            c.numel(),
        )
        ctx.save_for_backward(u, spikes, free, c if through and not subtract else c[:, :0])
        ctx.settings, ctx.shape, ctx.small = settings, current.shape, v0.shape
        ctx.set_materialize_grads(False)
        rest = rest.view(v0.shape)
        ctx.mark_non_differentiable(rest)
        v = v.view(current.shape) if membrane else v
        return spikes.view(current.shape), v, last.view(v0.shape), rest

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator,unused-ignore]
    def backward(
        ctx: Any, to_s: Tensor | None, to_v: Tensor | None, to_end: Tensor | None, _: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        """Back-propagation through time.

        Args:
            ctx: autograd's context.
            to_s: gradient of the spikes, or None.
            to_v: gradient of the membranes, or None.
            to_end: gradient of the membrane at the end, or None.
            _: none.

        Returns:
            Gradients of the currents and of the membrane at the start, and None for everything else.
        """
        u, spikes, free, current = ctx.saved_tensors
        factor, theta, subtract, _, through, kind, a, b, _ = ctx.settings
        empty = u[:, :0]
        gs, gv = (empty if g is None else g.contiguous().view(u.shape) for g in (to_s, to_v))
        end = torch.zeros_like(u[:, 0]) if to_end is None else to_end.reshape(u.shape[0], -1).contiguous()
        to_current, to_start = torch.empty_like(u), torch.empty_like(u[:, 0])
        arrays = [one.numpy() for one in (gs, gv, end, u, spikes, free, current)]
        into = to_current.numpy(), to_start.numpy()
        pool.split(
            lambda low, high: cpu.backpropagate(
                *arrays, factor, theta, subtract, through, kind, a, b, *into, low, high
            ),
            end.numel(),
            u.numel(),
        )
        return to_current.view(ctx.shape), to_start.view(ctx.small), None, None


def _time(value: float, name: str) -> None:
    # Called at every pass of every layer: the kinds of other numbers are looked at only where it is none of Python's.
    plain = type(value) is float or type(value) is int
    if plain and 0 < value < math.inf:
        return
    try:
        within(math.nan if plain else value, name, "(0, inf)")
    except ValueError as error:
        raise ValueError(f"{name} must be a positive, finite time in ms, got {shown(value)}.") from error
