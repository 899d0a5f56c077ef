"""A mask for each example, which holds for all of its time steps; no tensor of the masks of a batch is ever made."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from synsim import kernels
from synsim.synapses.addressed import transformed
from synsim.synapses.chunked import masks_of, transmit_chunks
from synsim.synapses.release import transmit_samples
from synsim.synapses.scopes.base import Scope, in_own_precision, register
from synsim.synapses.scopes.course import Course, Own

if TYPE_CHECKING:
    from synsim.synapses.conv import BernoulliConv2d
    from synsim.synapses.linear import BernoulliLinear

BYTES = 1 << 26
"""Memory that the strengths of all examples may take where the steps of a pass go one by one."""


class PerExample(Scope):
    """Scopes in which examples have masks of their own, drawn a few at a time, and again in the backward pass."""

    def linear(self, layer: "BernoulliLinear", x: Tensor, steps: int, factor: Tensor | None) -> Tensor:  # noqa: D102
        def run(x: Tensor, factor: Tensor | None) -> Tensor:
            out = self._rows(layer, x if factor is None else x * factor, steps)
            bias = layer.bias
            return out if bias is None else out + bias.unsqueeze(-2)

        return in_own_precision(layer, run, x, factor)

    def _rows(self, layer: "BernoulliLinear", x: Tensor, steps: int) -> Tensor:
        replicas = layer.replicas
        if transformed():
            lead = x if replicas is None or x.ndim == 3 else x.unsqueeze(0).expand(replicas, -1, -1)
            strength = layer._plain(x.shape[-2] // steps, x)
            return torch.einsum("...bi,b...oi->...bo", lead, strength.repeat(steps, *[1] * (strength.ndim - 1)))
        weight, p = layer._leading()
        inputs = x if x.ndim == 3 else x.unsqueeze(0).expand(weight.shape[0], -1, -1)
        if steps == 1:
            out = self._single(layer, inputs, weight, p, layer._next())
        else:
            # One mask serves all steps of its example: [R, B, T, I] -> [R, B, T, O] -> rows again.
            series = inputs.unflatten(1, (steps, -1)).transpose(1, 2)
            address = (layer._key()[0], layer.sites, layer.address.example, layer._next())
            out = transmit_chunks(series, weight, p, *address, self.counts, _series).transpose(1, 2).flatten(1, 2)
        return out if replicas is not None else out[0]

    def _single(self, layer: "BernoulliLinear", x: Tensor, weight: Tensor, p: Tensor, draw: int) -> Tensor:
        address = (layer._key()[0], layer.sites, layer.address.example, draw)
        return transmit_chunks(x, weight, p, *address, self.counts, _one_each)

    def course(self, layer: "BernoulliLinear", batch: int) -> Course:  # noqa: D102
        if transformed() or batch * layer.p.numel() * layer.p.element_size() > BYTES:
            return Course(self, layer)
        with torch.no_grad():
            weight, p = layer._leading()
            address = (layer._key()[0], layer.sites, layer.address.example, layer.latest_draw, self.counts)
            strengths = weight.new_empty(p.shape[0], batch, *p.shape[1:])
            for part, scale in masks_of(batch, p, *address):
                strengths[:, part] = (scale * weight).transpose(0, 1)
        return Own(self, layer, strengths if layer.replicas is not None else strengths[0])

    def convolve(self, layer: "BernoulliConv2d", x: Tensor) -> Tensor:  # noqa: D102
        return in_own_precision(layer, lambda x, _: self._images(layer, x), x, None)

    def _images(self, layer: "BernoulliConv2d", x: Tensor) -> Tensor:
        replicas = layer.replicas or 1
        inputs = x if x.ndim == 5 else x.unsqueeze(0).expand(replicas, *x.shape)
        if transformed():
            strength = layer._plain(inputs.shape[1], x)
            strength = strength.reshape(inputs.shape[1], replicas, *strength.shape[-4:])
            out = torch.stack([layer._convolved_each(inputs[r], strength[:, r]) for r in range(replicas)])
        else:
            weight, p = layer._leading()
            address = (layer._key()[0], layer.sites, layer.address.example, layer._next())
            out = transmit_chunks(inputs, weight, p, *address, self.counts, layer._convolved_each)
        if layer.bias is not None:
            out = out + layer.bias.reshape(replicas, 1, -1, 1, 1)
        return out if layer.replicas is not None else out[0]


@register()
class Sample(PerExample):
    """One mask for an example; single rows go through a fused kernel."""

    name = "sample"

    def _single(self, layer: "BernoulliLinear", x: Tensor, weight: Tensor, p: Tensor, draw: int) -> Tensor:
        if kernels.path(weight) != "numba":
            return super()._single(layer, x, weight, p, draw)
        return transmit_samples(x, weight, p, layer._key()[1], layer.sites, layer.address.example, draw)


def _series(x: Tensor, strength: Tensor) -> Tensor:
    return torch.bmm(x, strength.transpose(1, 2))


def _one_each(x: Tensor, strength: Tensor) -> Tensor:
    return torch.bmm(strength, x.unsqueeze(2)).squeeze(2)
