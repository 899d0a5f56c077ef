"""What a network transmits per image: spikes, vesicles and released strength, expected over releases."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from synsim import _checks
from synsim.inputs import Images
from synsim.meters.passes import passes, stochastic
from synsim.networks import replicas_of
from synsim.synapses import StochasticLayer, expected

Layer = StochasticLayer | nn.Linear | nn.Conv2d
SPACE = 3
"""Axes of an image: channels, height, width."""


class Transmission(NamedTuple):
    """What a network transmits per image; numbers, or [R]; float64.

    Attributes:
        spikes: Σ of the inputs of all layers, in units of rate: pixels and hidden outputs, not logits.
        vesicles: Σ over synapses of N p a, for the input a of a synapse; a strength of exactly 0 is no synapse.
        strength: Σ over synapses of abs(w̄) a, the expected strength released; of N p vesicles, each abs(m) / N.
    """

    spikes: Tensor
    vesicles: Tensor
    strength: Tensor


def transmission(
    net: nn.Module,
    x: Tensor | Images,
    *,
    samples: int = 10,
    block: int | None = 100,
    seed: int = 0,
    head: int | None = None,
) -> Transmission:
    """Spikes, vesicles and strength that a network transmits per image, expected over releases.

    The terms are linear in a layer's inputs, so only the mean input of each layer is kept. Hidden inputs are those of
    stochastic passes. Plain `nn.Linear` and `nn.Conv2d` layers have p = 1 and one site. In a convolution a weight is a
    synapse at each of its positions; padding does not spike. Inputs that feed two layers count for both. Under
    short-term plasticity vesicles and strength are those of the scaled release probability.

    Args:
        net: the network.
        x: images whose pixels are rates, at least 0.
        samples: stochastic passes; one is made for a network that does not fail.
        block: images that share a mask.
        seed: of the masks.
        head: index of the head, or None.

    Returns:
        The three, per image.

    Raises:
        ValueError: if the network has no synapses, an input of a layer is negative, or a facilitated release
            probability saturates.
    """
    layers: dict[str, Layer] = {name: one for name, one in net.named_modules() if isinstance(one, Layer)}
    _checks.require(bool(layers), "expected a network with synapses, got none.")
    samples = samples if stochastic(net) else min(samples, 1)
    sums, images = _inputs(net, layers, x, (samples, block, seed, head))
    terms = [_transmitted(layers[name], *(one / images for one in total)) for (name, _), total in sums.items()]
    spikes, vesicles, strength = (torch.stack(term).sum(0) for term in zip(*_same(terms), strict=True))
    replicas = replicas_of(net)
    if replicas is None:
        return Transmission(spikes[0], vesicles[0], strength[0])
    return Transmission(*(term.expand(replicas) for term in (spikes, vesicles, strength)))


def _inputs(
    net: nn.Module,
    layers: Mapping[str, Layer],
    x: Tensor | Images,
    options: tuple[int, int | None, int, int | None],
) -> tuple[dict[tuple[str, torch.Size], tuple[Tensor, Tensor]], int]:
    # The inputs of every layer, [lead, *example], summed over images and passes: as they are, and scaled by short-term
    # plasticity; and how many images these were.
    sums: dict[tuple[str, torch.Size], tuple[Tensor, Tensor]] = {}
    replicas, images = replicas_of(net), 0

    def listen(name: str, layer: Layer) -> torch.utils.hooks.RemovableHandle:
        axes = _axes(layer)

        def add(module: nn.Module, inputs: tuple[Tensor, ...], options: dict[str, Any]) -> None:
            a = inputs[0]
            # The quick question first; NaN, from a replica that failed, makes the second one necessary.
            if not bool(a.amin() >= 0) and bool((a < 0).any()):
                raise ValueError(
                    f"the inputs of layer {name!r} stand for spike rates here and must be at least 0, got "
                    f'{float(a[a < 0].min()):g}. Take images with pixels="unit" instead of standardised ones, and put '
                    "nn.ReLU before every hidden layer."
                )
            lead = a.shape[0] if replicas is not None and a.ndim - axes > 1 else 1
            factor = options.get("factor")
            if factor is not None and isinstance(layer, StochasticLayer) and layer.scope == "event":
                _checks.require(
                    bool(factor.amax() * layer.p.amax() <= 1),
                    f"the facilitated release probability of layer {name!r} saturates at 1, so that its mean does not "
                    "follow from that of its inputs. Count with synsim.spiking.events.",
                )
            each = (a, a if factor is None else a * factor)
            plain, scaled = (one.reshape(lead, -1, *a.shape[-axes:]).sum(1, dtype=torch.float64) for one in each)
            key = (name, plain.shape)
            sums[key] = (sums[key][0] + plain, sums[key][1] + scaled) if key in sums else (plain, scaled)

        return layer.register_forward_pre_hook(add, with_kwargs=True)

    handles = [listen(name, layer) for name, layer in layers.items()]
    samples, block, seed, head = options
    try:
        for _, part, _ in passes(net, x, samples=samples, block=block, seed=seed, head=head):
            images += part.stop - part.start
    finally:
        for handle in handles:
            handle.remove()
    return sums, images


def _axes(layer: Layer) -> int:
    return layer.example_ndim if isinstance(layer, StochasticLayer) else SPACE if isinstance(layer, nn.Conv2d) else 1


def _transmitted(layer: Layer, mean: Tensor, scaled: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    # Spikes, vesicles and strength of one layer for its mean input [lead, *example]; each [lead] or [R].
    weight = layer.weight.detach().double()
    vesicles = (weight != 0).double()
    if isinstance(layer, StochasticLayer):
        vesicles = vesicles * layer.p.double() * layer.sites
    through = [_sum_through(layer, values, scaled) for values in (vesicles, weight.abs())]
    return mean.flatten(1).sum(1), through[0], through[1]


@torch.no_grad()
def _sum_through(layer: Layer, values: Tensor, mean: Tensor) -> Tensor:
    # Σ over synapses of value · input: the layer itself, with these values as its weights, summed over its outputs.
    own = {"weight": values}
    if layer.bias is not None:
        own["bias"] = torch.zeros_like(layer.bias, dtype=torch.float64)
    replicas = layer.replicas if isinstance(layer, StochasticLayer) else None
    # Without a replica axis, the leading one serves as that of the examples.
    inputs = mean if replicas is None else mean if mean.shape[0] == 1 else mean.unsqueeze(1)
    with expected(layer):
        out: Tensor = functional_call(layer, own, (inputs,))
    return out.flatten(1).sum(1)


def _same(terms: list[tuple[Tensor, Tensor, Tensor]]) -> list[tuple[Tensor, ...]]:
    # Layers before the first one with replicas have a leading axis of 1.
    lead = max(one.shape[0] for term in terms for one in term)
    return [tuple(one.expand(lead) for one in term) for term in terms]
