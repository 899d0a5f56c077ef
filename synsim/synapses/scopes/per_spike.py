"""Release per spike: each spike is released or not at each synapse, independently per example and time step."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from synsim import kernels
from synsim._checks import require, whole
from synsim.kernels import events, normal, reference
from synsim.synapses.addressed import rows_of, transformed
from synsim.synapses.events import gaussian, transmit_events
from synsim.synapses.scopes.base import Scope, in_own_precision, register
from synsim.synapses.scopes.course import Course, EachSpike

if TYPE_CHECKING:
    from synsim.synapses.base import StochasticLayer
    from synsim.synapses.conv import BernoulliConv2d
    from synsim.synapses.depletion import AtSpikes, Pass
    from synsim.synapses.linear import BernoulliLinear


class PerSpike(Scope):
    """Scopes in which no mask holds for a whole example."""

    mask_per_example = False
    scales_p = True

    def linear(self, layer: "BernoulliLinear", x: Tensor, steps: int, factor: Tensor | None) -> Tensor:  # noqa: D102
        def run(x: Tensor, factor: Tensor | None) -> Tensor:
            lead = x if x.ndim == 3 else x.unsqueeze(0)
            factors = factor if factor is None or factor.ndim == 3 else factor.unsqueeze(0)
            out = self._currents(layer, x, lead, steps, factors)
            out, bias = out if layer.replicas is not None else out[0], layer.bias
            return out if bias is None else out + bias.unsqueeze(-2)

        return in_own_precision(layer, run, x, factor)

    def _currents(
        self, layer: "BernoulliLinear", x: Tensor, lead: Tensor, steps: int, factors: Tensor | None
    ) -> Tensor:
        # [R, T · B, O] for inputs as they came, and with an axis of replicas (1 where they share them).
        raise NotImplementedError

    def masks(self, p: Tensor, keys: Tensor, sites: int, examples: Tensor, draw: int) -> None:  # noqa: D102
        return None

    def at_spikes(self, given: "Pass", spikes: "AtSpikes") -> Tensor:  # noqa: D102
        raise ValueError(
            f'scope={self.name!r} knows short-term plasticity of whole neurons alone. Use scope="event", or a number '
            "for U."
        )

    def convolve(self, layer: "BernoulliConv2d", x: Tensor) -> Tensor:  # noqa: D102
        raise ValueError(f"scope={self.name!r} is one of linear layers, got a {type(layer).__name__}.")

    def scales(self, layer: "StochasticLayer", rows: Tensor) -> Tensor:  # noqa: D102
        raise ValueError(f"scope={self.name!r} has no mask per example. Measure this network in the expected view.")


@register()
class Event(PerSpike):
    """Each spike is released or not at each synapse; inputs must be 0 or 1."""

    name = "event"
    per_spike = True

    def _currents(
        self, layer: "BernoulliLinear", x: Tensor, lead: Tensor, steps: int, factors: Tensor | None
    ) -> Tensor:
        weight, p = layer._leading()
        if transformed():
            require(factors is None, "short-term plasticity per event is not available inside torch.func transforms.")
            step, example = _places_of(layer, x, steps)
            counts = [_would_release(layer, p[r], key, step, example) for r, key in enumerate(layer._key()[0])]
            spread = torch.stack(counts) / (p * layer.sites).unsqueeze(1) * weight.unsqueeze(1)
            out = (spread @ lead.detach().unsqueeze(3)).squeeze(3)
            # A silent neuron has a gradient too: that of the expected strengths, as in `transmit_events`.
            mean = lead @ weight.detach().transpose(1, 2)
            return out + (mean - mean.detach())
        fast = kernels.path(weight, p) == "numba"
        keys, words = layer._key()
        shared = (layer.sites, layer.address.example, x.shape[-2] // steps, layer._next(), layer._begin(steps))
        places = tuple(events.Place(keys[r], words[r], *shared) for r in range(len(words)))
        return transmit_events(lead, weight, p, factors, places, fast)

    def at_spikes(self, given: "Pass", spikes: "AtSpikes") -> Tensor:  # noqa: D102
        count = torch.zeros_like(spikes.chance)
        for r, key in enumerate(given.keys):
            here = (spikes.replica == r).nonzero().squeeze(-1)
            limit = spikes.chance[here] * 65536.0
            step = torch.full_like(here, spikes.step)
            at = {"source": spikes.source[here], "step": step, "example": given.example + spikes.example[here]}
            for site in range(given.sites):
                bits = events.event_bits(key, limit.shape[1], site=site, draw=given.draw, **at)
                count[here] += (bits.to(limit.dtype) < limit).to(count.dtype)
        return count / (given.sites * spikes.p)

    def course(self, layer: "BernoulliLinear", batch: int) -> Course:  # noqa: D102
        return EachSpike(self, layer)

    def mask(self, layer: "StochasticLayer", example: int, step: int) -> Tensor:  # noqa: D102
        # Those that a spike of every input would release.
        p = layer._lead(layer.p)
        steps = torch.tensor([whole(step, "step", 0, events.LAST_STEP - 1)], device=p.device)
        where = torch.tensor([layer.address.example + example], device=p.device)
        counts = [_would_release(layer, p[r], key, steps, where)[0] for r, key in enumerate(layer._key()[0])]
        return torch.stack(counts).reshape(layer.p.shape).to(torch.uint8)


@register()
class EventGaussian(PerSpike):
    """A Gaussian with the mean and variance of release per spike; graded inputs are allowed."""

    name = "event-gaussian"
    countable = False
    facilitates = False

    def _currents(
        self, layer: "BernoulliLinear", x: Tensor, lead: Tensor, steps: int, factors: Tensor | None
    ) -> Tensor:
        if factors is not None and not transformed():
            require(
                bool((factors <= 1).all()),
                'scope="event-gaussian" needs factors of at most 1: it does not know how a facilitated probability '
                'saturates. Use scope="event".',
            )
        weight, p = layer._leading()
        draw = layer.latest_draw if transformed() else layer._next()
        step, example = _places_of(layer, x, steps)
        # The number of an output takes the place of a source: sixteen bits for every row and output.
        bits = [
            events.event_bits(
                key, weight.shape[1], source=torch.zeros_like(step), site=0, step=step, example=example, draw=draw
            )
            for key in layer._key()[0]
        ]
        noise = normal.on_device(x.device)[torch.stack(bits)].to(x.dtype)
        return gaussian(lead, weight, p, layer.sites, noise, factors)

    def mask(self, layer: "StochasticLayer", example: int, step: int) -> Tensor:  # noqa: D102
        raise ValueError('scope="event-gaussian" has no masks; use scope="event".')


def _places_of(layer: "StochasticLayer", x: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    # Time step and example of every row.
    batch = x.shape[-2] // steps
    step = (layer._begin(steps) + torch.arange(steps, device=x.device)).repeat_interleave(batch)
    return step, (layer.address.example + rows_of(x, batch)).repeat(steps)


def _would_release(layer: "StochasticLayer", p: Tensor, key: Tensor, step: Tensor, example: Tensor) -> Tensor:
    # Counts of releases of the latest draw at every row, were there a spike: [rows, O, I].
    outputs, inputs = p.shape
    source = torch.arange(inputs, device=p.device).repeat(len(step))
    at = {"step": step.repeat_interleave(inputs), "example": example.repeat_interleave(inputs)}
    bits = [
        events.event_bits(key, outputs, source=source, site=site, draw=layer.latest_draw, **at)
        for site in range(layer.sites)
    ]
    shape = (len(step), inputs, outputs)
    limit = reference.wide(p) * 65536.0
    return torch.stack([b.reshape(shape).transpose(1, 2).to(limit.dtype) < limit for b in bits]).sum(0)
