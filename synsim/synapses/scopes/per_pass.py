"""One mask for all examples of a pass, and the mean field, in which nothing is drawn."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from synsim.synapses.addressed import transformed
from synsim.synapses.release import product, release, transmit
from synsim.synapses.scopes.base import Scope, register
from synsim.synapses.scopes.course import Course, Shared

if TYPE_CHECKING:
    from synsim.synapses.base import StochasticLayer
    from synsim.synapses.conv import BernoulliConv2d
    from synsim.synapses.depletion import AtSpikes, Pass
    from synsim.synapses.linear import BernoulliLinear


class PerPass(Scope):
    """Scopes in which all examples of a pass share a mask, so that a pass is that of an ordinary layer."""

    per_example = False

    def linear(self, layer: "BernoulliLinear", x: Tensor, steps: int, factor: Tensor | None) -> Tensor:  # noqa: D102
        x = x if factor is None else x * factor
        return product(x, layer.transmitted(), layer.bias)

    def course(self, layer: "BernoulliLinear", batch: int) -> Course:  # noqa: D102
        return Shared(self, layer)

    def convolve(self, layer: "BernoulliConv2d", x: Tensor) -> Tensor:  # noqa: D102
        return layer._convolved(x, layer.transmitted())


@register()
class Batch(PerPass):
    """One mask for a forward pass, drawn by a fused kernel."""

    name = "batch"

    def strengths(self, layer: "StochasticLayer") -> Tensor:  # noqa: D102
        if transformed():
            return layer._plain(1)[0]
        drawn = layer._drawn()
        strength, count = layer.draw(drawn)
        if count is None:
            return drawn
        if not layer.direct:
            return drawn * layer._scale(count, layer.p)
        return release(drawn, strength, layer.divisor(), count, layer.sites)

    def linear(self, layer: "BernoulliLinear", x: Tensor, steps: int, factor: Tensor | None) -> Tensor:  # noqa: D102
        if not layer.direct or transformed():
            return super().linear(layer, x, steps, factor)
        x = x if factor is None else x * factor
        weight, bias = layer._stored(), layer._offsets()
        strength, count = layer.draw(weight)
        if not torch.is_grad_enabled():
            return product(x, strength, bias)
        # Mask and product in one node of autograd.
        return transmit(x, weight, bias, strength, layer.divisor(), count, layer.sites)


class MeanField(PerPass):
    """The expected view: every synapse transmits its expected strength, and all of its sites count as released."""

    name = "expected"

    def strengths(self, layer: "StochasticLayer") -> Tensor:  # noqa: D102
        return layer.expected_strength

    def masks(self, p: Tensor, keys: Tensor, sites: int, examples: Tensor, draw: int) -> None:  # noqa: D102
        return None

    def at_spikes(self, given: "Pass", spikes: "AtSpikes") -> Tensor:  # noqa: D102
        return spikes.chance / spikes.p

    def mask(self, layer: "StochasticLayer", example: int, step: int) -> Tensor:  # noqa: D102
        return torch.full_like(layer.p, layer.sites, dtype=torch.uint8)


MEAN_FIELD = MeanField()
