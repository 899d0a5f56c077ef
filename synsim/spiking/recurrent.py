"""A population whose own spikes come back to it through synapses: its steps cannot be computed layer by layer.

A spike of step t arrives, as at any other synapse, in the third slot of the same step, and acts on spikes from step
t + 1 on. One draw serves all steps of a pass: in batch scope one mask, in sample scope one for each example, and with
release per spike each step has releases of its own, at the address that its number gives.

Back-propagation goes backward through the steps once. What arrives in a step has the gradient of the membrane; through
the synapses it goes back to the spikes of the same step, and from there on by the surrogate. All strengths get theirs
from one product over all steps, as in a layer without recurrence.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch._compile import _disable_dynamo
from torch.autograd.function import once_differentiable

from synsim.spiking.neurons import LIF, State, arrive, at_rest, fire
from synsim.spiking.short_term import ShortTerm, Traces
from synsim.spiking.surrogate import Surrogate
from synsim.synapses import BernoulliLinear, held
from synsim.synapses.addressed import transformed
from synsim.synapses.depletion import PerSynapse, depleting
from synsim.synapses.recomputation import one_pass
from synsim.synapses.scopes.course import Course, hooked

Found = tuple[Tensor, Tensor | None]


@dataclass(frozen=True)
class Back:
    """What the steps of a recurrent population need beside their inputs.

    Attributes:
        layer: synapses from the population to itself.
        neurons: parameters of the population.
        dt: time step, ms.
        surrogate: of the gradient.
        short_term: short-term plasticity of the synapses, or None.
    """

    layer: BernoulliLinear
    neurons: LIF
    dt: float
    surrogate: Surrogate
    short_term: ShortTerm | None

    def traces(self, like: Tensor) -> Traces | None:
        """Short-term plasticity at rest.

        Args:
            like: spikes of one step.

        Returns:
            The traces, or None.
        """
        return None if self.short_term is None or self.own else Traces(self.short_term, self.dt, like)

    @property
    def own(self) -> bool:
        """Whether each synapse has traces of its own."""
        return self.short_term is not None and self.short_term.per_synapse


def recurrent(current: Tensor, back: Back, *, membrane: bool) -> Found:
    """All steps of a recurrent population, from rest.

    Args:
        current: what arrives from elsewhere, [T, B, H] or [R, T, B, H].
        back: its synapses and neurons.
        membrane: whether the membrane is wanted.

    Returns:
        Spikes like `current`, and v at the end of each step likewise, or None.
    """
    if torch.compiler.is_compiling():
        found: Found = _apart(current, back, membrane)
        return found
    layer = back.layer
    kind = vars(type(back.surrogate)).get("kind", 0)
    plain = hooked(layer)
    if plain or back.own or transformed() or kind == 0 or torch.is_autocast_enabled(current.device.type):
        return _plainly(current, back, membrane, called=plain)
    with one_pass(layer):
        first = layer.address.step
        with torch.no_grad():
            course = layer.release.course(layer, current.shape[-2])
            ran = _run(current, back, course, membrane)
        if not torch.is_grad_enabled():
            return ran.spikes, ran.v
        # All strengths have their gradient from this pass over all steps; what it gives is known already.
        layer.address = replace(layer.address, step=first)
        rows = ran.spikes.flatten(-3, -2)
        factor = None if ran.factor is None else ran.factor.flatten(-3, -2)
        returned = layer.release.linear(layer, rows, current.shape[-3], factor).reshape(current.shape)
    spikes, v = Through.apply(current, returned, back, course, ran)  # type: ignore[no-untyped-call]
    return spikes, v if membrane else None


@_disable_dynamo
def _apart(current: Tensor, back: Back, membrane: bool) -> Found:
    return recurrent(current, back, membrane=membrane)


_apart._torchdynamo_disable = True  # type: ignore[attr-defined]
_apart._torchdynamo_disable_msg = "recurrent populations draw outside of the compiled graph"  # type: ignore[attr-defined]


def _plainly(current: Tensor, back: Back, membrane: bool, *, called: bool) -> Found:
    # The meaning of what follows, in the operations of autograd; through the call of the layer where that is heard.
    layer, state = back.layer, at_rest(current.select(-3, 0))
    traces = back.traces(state.v)
    spikes, membranes = [], []
    with held(layer) if called else one_pass(layer):
        transmit: Callable[..., Tensor] = layer
        trail = None
        if back.own and back.short_term is not None:
            trail = PerSynapse(*back.short_term.decays(back.dt)).trail(layer, current.shape[-2])
            transmit = layer if called else partial(depleting, layer, steps=1)
        elif not called:
            transmit = layer.release.course(layer, current.shape[-2]).step
        for now in current.unbind(-3):
            u, fired, left = fire(state, back.neurons, back.dt, back.surrogate)
            if traces is None:
                returned = transmit(fired, factor=trail)
            else:
                returned = transmit(fired, factor=traces.factor())
                traces.after(fired.detach())
            state = State(arrive(u, fired, now + returned, back.neurons), left)
            spikes.append(fired)
            membranes.append(state.v)
    return torch.stack(spikes, -3), torch.stack(membranes, -3) if membrane else None


@dataclass
class Ran:
    """What the steps left behind, each like the currents.

    Attributes:
        u: membrane before the threshold.
        spikes: 0 or 1.
        v: membrane at the end of the step, or None.
        free: who was not refractory; None where all were.
        arrived: all inputs, where the reset is differentiated; else None.
        factor: of short-term plasticity, or None.
    """

    u: Tensor
    spikes: Tensor
    v: Tensor | None
    free: Tensor | None
    arrived: Tensor | None
    factor: Tensor | None


def _run(current: Tensor, back: Back, course: Course, membrane: bool) -> Ran:
    neurons, state = back.neurons, at_rest(current.select(-3, 0).detach())
    traces, holds = back.traces(state.v), neurons.hold(back.dt) > 1
    resets = not neurons.detach_reset and neurons.reset == "rest"
    kept: dict[str, list[Tensor]] = {name: [] for name in ("u", "spikes", "v", "free", "arrived", "factor")}
    decay, theta = neurons.decay(back.dt), neurons.threshold
    v, left = state
    for now in current.detach().unbind(-3):
        if holds:
            left = (left - 1).clamp_(min=0)
            free = left == 0
            u = torch.where(free, v * decay, v)
            fired = (u > theta) & free
            left = torch.where(fired, neurons.hold(back.dt), left).to(torch.int32)
            kept["free"].append(free)
        else:
            u = v * decay
            fired = u > theta
        spikes = fired.to(u.dtype)
        factor = None if traces is None else traces.factor()
        arrived = now + course.send(spikes, factor)
        if traces is not None and factor is not None:
            traces.after(spikes)
            kept["factor"].append(factor)
        v = arrive(u, spikes, arrived, neurons)
        kept["u"].append(u)
        kept["spikes"].append(spikes)
        if membrane:
            kept["v"].append(v)
        if resets:
            kept["arrived"].append(arrived)
    found = {name: torch.stack(each, -3) if each else None for name, each in kept.items()}
    return Ran(**found)  # type: ignore[arg-type]


class Through(torch.autograd.Function):
    """Currents and what came back -> spikes and membranes of steps that have been made, and the way backward."""

    @staticmethod
    def forward(
        ctx: Any, current: Tensor, returned: Tensor, back: Back, course: Course, ran: Ran
    ) -> tuple[Tensor, Tensor]:
        """Tie the steps to their inputs.

        Args:
            ctx: autograd's context.
            current: what arrived from elsewhere.
            returned: what came back from the population itself.
            back: synapses and neurons.
            course: the steps of the synapses.
            ran: the steps.

        Returns:
            Spikes, and membranes (without elements if not wanted).
        """
        ctx.save_for_backward(ran.u, ran.spikes, ran.free, ran.arrived, ran.factor)
        ctx.parts = back.neurons, back.dt, back.surrogate, course
        ctx.set_materialize_grads(False)
        v = current.new_empty(0) if ran.v is None else ran.v
        return ran.spikes.view_as(ran.spikes), v.view_as(v)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator,unused-ignore]
    def backward(ctx: Any, to_s: Tensor | None, to_v: Tensor | None) -> tuple[Tensor | None, ...]:
        """Back-propagation through time.

        Args:
            ctx: autograd's context.
            to_s: gradient of the spikes, or None.
            to_v: gradient of the membranes, or None.

        Returns:
            Gradients of both kinds of input, which are the same, and None for everything else.
        """
        neurons, dt, surrogate, course = ctx.parts
        u, spikes, free, arrived, factor = (_each(series) for series in ctx.saved_tensors)
        of_spikes, of_membranes = _each(to_s), _each(to_v)
        decay, theta, subtract = neurons.decay(dt), neurons.threshold, neurons.reset == "subtract"
        carry = torch.zeros_like(u[0])
        into: list[Tensor] = []
        for t in range(len(u) - 1, -1, -1):
            if of_membranes is not None:
                carry = carry + of_membranes[t]
            kept = carry if subtract else carry * (1 - spikes[t])
            into.append(kept)
            g = course.back(kept, t, None if factor is None else factor[t])
            if of_spikes is not None:
                g = g + of_spikes[t]
            if not neurons.detach_reset:
                g = g - (theta * carry if subtract else carry * (u[t] + arrived[t]))
            slope = surrogate.derivative(u[t] - theta) * g
            if free is None:
                carry = (kept + slope) * decay
            else:
                back = kept + slope * free[t]
                carry = torch.where(free[t], back * decay, back)
        found = torch.stack(into[::-1], -3)
        return found, found, None, None, None


def _each(series: Tensor | None) -> Any:
    return None if series is None or series.numel() == 0 else series.unbind(-3)
