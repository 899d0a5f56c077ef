"""Short-term plasticity of each synapse by itself: Tsodyks-Markram traces u and x whose U is the synapse's own p.

At a spike u⁺ = u + p (1 − u), the synapse releases with probability u⁺ x, and x ← x (1 − u⁺), u ← u⁺; between spikes u
goes to 0 and x to 1. A rested synapse releases with probability p. As for whole neurons, u and x follow the spikes, not
the releases. Traces are kept where spikes have been, and decay in closed form until the next one: time and memory grow
with spikes × outputs, except for gradients of the inputs, which silent neurons have too.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from synsim._checks import require
from synsim.synapses.addressed import transformed

if TYPE_CHECKING:
    from synsim.synapses.linear import BernoulliLinear
    from synsim.synapses.scopes.base import Scope

BYTES = 1 << 26
"""Memory that a trace of all synapses of a few examples may take, were all of them kept."""


@dataclass(frozen=True)
class PerSynapse:
    """Decay in a step of the traces of each synapse.

    Attributes:
        facilitation: exp(−dt / τ_f), by which u decays; 0 without facilitation.
        depression: exp(−dt / τ_d), by which 1 − x decays; 0 without depression.
    """

    facilitation: float
    depression: float

    def trail(self, layer: "BernoulliLinear", examples: int) -> "Trail":
        """Traces at rest, for passes that follow each other in time.

        Args:
            layer: whose synapses they are.
            examples: B.

        Returns:
            The traces, to be given as `factor` to one pass after the other.
        """
        return Trail(self, _by_source(layer._lead(layer.p.detach())), examples)


class Where(NamedTuple):
    """Where the traces of all synapses stand at a step: their entries, the steps of these, and the step."""

    entry: Tensor
    last: Tensor
    step: int


class Trail:
    """Traces of all synapses where spikes have been, in the order of time. A row is an example of a replica.

    Args:
        decays: of the traces in a step.
        p: release probabilities [R, I, O], a copy.
        examples: B of each replica.
    """

    def __init__(self, decays: PerSynapse, p: Tensor, examples: int) -> None:
        self.decays, self.p, self.examples, self.step = decays, p, examples, 0
        rows, inputs, outputs = p.shape[0] * examples, *p.shape[1:]
        # Entry 0 is a rested synapse; every spike adds one.
        self._u, self._x, self._count = p.new_zeros(64, outputs), p.new_ones(64, outputs), 1
        self._entry, self._last = (torch.zeros(rows, inputs, dtype=torch.int64, device=p.device) for _ in range(2))

    def chance(self, row: Tensor, source: Tensor) -> Tensor:
        """Release probabilities at the spikes of the present step, which leave their traces.

        Args:
            row: int64 [E], replica · B + example.
            source: int64 [E], the presynaptic neurons.

        Returns:
            [E, O].
        """
        where = Where(self._entry[row, source], self._last[row, source], self.step)
        up, x = self._now(where, self.p[row // self.examples, source])
        chance = up * x
        start, stop = self._count, self._count + len(row)
        if stop > len(self._u):
            self._u, self._x = (_longer(trace, max(stop, 2 * len(trace))) for trace in (self._u, self._x))
        self._u[start:stop], self._x[start:stop], self._count = up, x - chance, stop
        self._entry[row, source] = torch.arange(start, stop, device=row.device)
        self._last[row, source] = self.step
        return chance

    def where(self) -> Where:
        """Where the traces stand before the spikes of the present step.

        Returns:
            A copy.
        """
        return Where(self._entry.clone(), self._last.clone(), self.step)

    def chances(self, where: Where) -> Tensor:
        """Release probabilities of all synapses at a step, were there spikes.

        Args:
            where: at that step.

        Returns:
            [R · B, I, O].
        """
        up, x = self._now(where, self.p.repeat_interleave(self.examples, 0))
        return up * x

    def _now(self, where: Where, p: Tensor) -> tuple[Tensor, Tensor]:
        gap = (where.step - where.last).unsqueeze(-1).to(p.dtype)
        u = self._u[where.entry] * self.decays.facilitation**gap
        return u + p * (1 - u), 1 - (1 - self._x[where.entry]) * self.decays.depression**gap


def _longer(trace: Tensor, length: int) -> Tensor:
    out = trace.new_empty(length, trace.shape[1])
    out[: len(trace)] = trace
    return out


def _by_source(value: Tensor) -> Tensor:
    return value.transpose(1, 2).contiguous()


@dataclass(frozen=True)
class Pass:
    """Address of a pass, all that its releases follow from.

    Attributes:
        scope: for which events synapses release anew.
        p: release probabilities [R, O, I], a copy.
        keys: int64 [R, 2].
        sites: N.
        example: index of the first example.
        draw: number of the draw.
        step: index of the first step.
    """

    scope: "Scope"
    p: Tensor
    keys: Tensor
    sites: int
    example: int
    draw: int
    step: int


@dataclass(frozen=True)
class AtSpikes:
    """Spikes of a step, and the chances of release there.

    Attributes:
        replica: int64 [E].
        example: int64 [E], counted from the first one of the batch.
        source: int64 [E].
        step: of the pass.
        chance: [E, O].
        p: [E, O], of rested synapses.
    """

    replica: Tensor
    example: Tensor
    source: Tensor
    step: int
    chance: Tensor
    p: Tensor


class Step(NamedTuple):
    """A step as the backward pass needs it: rows [E], sources [E], k / (N p) [E, O], where the traces stood."""

    row: Tensor
    source: Tensor
    scale: Tensor
    where: Where | None


@dataclass
class Run:
    """The steps of some examples of a pass.

    Args:
        given: address of the pass.
        x: spikes [R, T, B, I] of these examples.
        low: index of the first of them.
        trail: their traces.
    """

    given: Pass
    x: Tensor
    low: int
    trail: Trail

    def __post_init__(self) -> None:
        given, count = self.given, self.x.shape[2]
        first = given.example + (self.low if given.scope.per_example else 0)
        rows = first + torch.arange(count, device=self.x.device)
        self.masks = given.scope.masks(given.p, given.keys, given.sites, rows, given.draw)

    def steps(self, *, back: bool) -> Iterator[Step]:
        """One step after the other.

        Args:
            back: whether it is asked where traces stand, for the gradient of the inputs.

        Yields:
            The steps.
        """
        count, given, p = self.x.shape[2], self.given, self.trail.p
        for t in range(self.x.shape[1]):
            where = self.trail.where() if back else None
            row, source = self.x[:, t].flatten(0, 1).nonzero(as_tuple=True)
            replica, example = row // count, row % count
            spikes = AtSpikes(
                replica, self.low + example, source, given.step + t, self.trail.chance(row, source), p[replica, source]
            )
            if self.masks is None:
                scale = given.scope.at_spikes(given, spikes)
            else:
                held = self.masks[replica, example if self.masks.shape[1] > 1 else 0, source]
                scale = held * (spikes.chance / spikes.p)
            self.trail.step += 1
            yield Step(row, source, scale, where)

    def back(self, where: Where, weight: Tensor, gradient: Tensor) -> Tensor:
        """Gradient of the inputs of a step.

        Args:
            where: traces stood.
            weight: expected strengths by source [R, I, O].
            gradient: of the outputs [R, B, O].

        Returns:
            [R, B, I].
        """
        through = self.trail.chances(where).unflatten(0, (len(weight), -1)) * (weight / self.trail.p).unsqueeze(1)
        if self.masks is not None:
            through = through * self.masks
        found: Tensor = (through @ gradient.unsqueeze(-1)).squeeze(-1)
        return found


class Depleting(torch.autograd.Function):
    """Spikes, w̄ -> what arrives, where each synapse has traces of its own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, given: Pass, decays: PerSynapse, trail: Trail | None) -> Tensor:
        """Transmit the spikes of a pass.

        Args:
            ctx: autograd's context.
            x: 0 or 1, [R, T, B, I].
            weight: expected strengths [R, O, I].
            given: address of the pass.
            decays: of the traces.
            trail: traces from before, which go on; None: from rest.

        Returns:
            [R, T, B, O].
        """
        by_source, back = _by_source(weight.detach()), trail is not None and ctx.needs_input_grad[0]
        out = x.new_zeros(*x.shape[:3], weight.shape[1])
        kept: list[Step] = []
        for run in _runs(x, given, decays, trail):
            count = run.x.shape[2]
            for t, step in enumerate(run.steps(back=back)):
                value = by_source[step.row // count, step.source] * step.scale
                arrived = out.new_zeros(len(x) * count, out.shape[3]).index_add_(0, step.row, value)
                out[:, t, run.low : run.low + count] = arrived.unflatten(0, (len(x), -1))
                if trail is not None:
                    kept.append(step)
        ctx.save_for_backward(x, weight)
        ctx.given, ctx.decays, ctx.kept, ctx.run = given, decays, kept, None if trail is None else run
        return out

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator,unused-ignore]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of spikes and expected strengths; no gradient goes through the traces.

        Args:
            ctx: autograd's context.
            gradient: [R, T, B, O].

        Returns:
            Gradients of x and weight, and None for everything else.
        """
        x, weight = ctx.saved_tensors
        by_source = _by_source(weight)
        to_weight = torch.zeros_like(by_source)
        to_x = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        runs = _runs(x, ctx.given, ctx.decays, None) if ctx.run is None else [ctx.run]
        for run in runs:
            count = run.x.shape[2]
            part = slice(run.low, run.low + count)
            steps = run.steps(back=to_x is not None) if ctx.run is None else iter(ctx.kept)
            for t, step in enumerate(steps):
                g = gradient[:, t, part]
                place = step.row // count * weight.shape[2] + step.source
                to_weight.flatten(0, 1).index_add_(0, place, step.scale * g.flatten(0, 1)[step.row])
                if to_x is not None:
                    to_x[:, t, part] = run.back(step.where, by_source, g)
        return to_x, to_weight.transpose(1, 2).contiguous(), None, None, None


def _runs(x: Tensor, given: Pass, decays: PerSynapse, trail: Trail | None) -> Iterator[Run]:
    if trail is not None:
        yield Run(given, x, 0, trail)
        return
    p = _by_source(given.p)
    size = max(1, BYTES // (p.numel() * p.element_size()))
    for low in range(0, x.shape[2], size):
        part = x[:, :, low : low + size]
        yield Run(given, part, low, Trail(decays, p, part.shape[2]))


def depleting(layer: "BernoulliLinear", x: Tensor, steps: int, factor: PerSynapse | Trail) -> Tensor:
    """A pass of a layer whose synapses have short-term plasticity of their own.

    Args:
        layer: the layer.
        x: rows [T · B, I], or [R, T · B, I]; 0 or 1.
        steps: T.
        factor: decays, for a pass from rest; or the traces of the passes before.

    Returns:
        [T · B, O] or [R, T · B, O].

    Raises:
        ValueError: inside transforms of torch.func, for inputs that are no spikes, or other traces.
    """
    require(not transformed(), "short-term plasticity per synapse is not available inside torch.func transforms.")
    require(bool(((x == 0) | (x == 1)).all()), "short-term plasticity per synapse needs spikes, 0 or 1, got others.")
    weight, p = layer._leading()
    batch = x.shape[-2] // steps
    trail, decays = (factor, factor.decays) if isinstance(factor, Trail) else (None, factor)
    require(
        trail is None or trail.examples == batch,
        f"the traces given as factor are those of another batch than {batch} examples. Begin with new ones.",
    )
    scope = layer.release
    draw = 0 if layer.idle() else layer._next()
    if not (scope.per_example or layer.idle()) and (trail is None or trail.step == 0):
        layer._note(scope.mask(layer, 0, 0))
    given = Pass(
        scope, p.detach().clone(), layer._key()[0], layer.sites, layer.address.example, draw, layer._begin(steps)
    )
    lead = (x if x.ndim == 3 else x.expand(len(p), *x.shape)).unflatten(1, (steps, batch))
    rows = Depleting.apply(lead, weight, given, decays, trail).flatten(1, 2)  # type: ignore[no-untyped-call]
    out: Tensor = rows if layer.replicas is not None else rows[0]
    return out if layer.bias is None else out + layer.bias.unsqueeze(-2)
