"""What a spiking network does per image, counted: spikes of every population, and releases at every synapse."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any, NamedTuple

import torch
from torch import Tensor

from synsim._checks import require, times, whole
from synsim._doors import typed
from synsim._kept import kept
from synsim.inputs import Images, as_images
from synsim.networks import replicas_of
from synsim.spiking.network import Record, SpikingMLP
from synsim.spiking.short_term import factor_of
from synsim.synapses import BernoulliLinear, evaluation, frozen
from synsim.synapses.scopes import SCOPES


class Events(NamedTuple):
    """Events per image, counted; numbers, or [R]; float64. They are what `synsim.meters.atp_of_events` takes.

    Attributes:
        spikes: of all populations that have targets (input and hidden). Those of a population with two targets, another
            one and itself, count once, while `synsim.meters.transmission` counts the inputs of both layers.
        vesicles: sites released; a strength of exactly 0 is no synapse. Under short-term plasticity outside of
            scope="event", where a mask holds for many spikes, each released site counts as often as p is scaled, which
            may be more than once.
        strength: Σ of abs(m) / N over these.
    """

    spikes: Tensor
    vesicles: Tensor
    strength: Tensor


@typed
def spikes_per_neuron(
    net: SpikingMLP, x: Any, *, samples: int = 1, block: int = 100, seed: int = 0
) -> dict[str, Tensor]:
    """Mean number of spikes of every neuron per image.

    Args:
        net: the network; it is left as it was.
        x: images, pixels in [0, 1]; as for `synsim.meters.accuracy`.
        samples: passes over all images, each with spikes and releases of its own.
        block: images per pass; those that share a mask in batch scope.
        seed: of spikes and releases.

    Returns:
        Population ("input", "hidden 1", …, "output" where it fires) -> float64 [n] or [R, n].
    """
    replicas, total, images = replicas_of(net), dict[str, Tensor](), 0
    for _, record in _runs(net, x, samples, block, seed):
        images += record.logits.shape[-2]
        for name, spikes in record.spikes.items():
            lead = spikes if replicas is None or spikes.ndim == 4 else spikes.expand(replicas, *spikes.shape)
            found = lead.sum((-3, -2), dtype=torch.float64)
            total[name] = total[name] + found if name in total else found
    return {name: value / images for name, value in total.items()}


@typed
def events(net: SpikingMLP, x: Any, *, samples: int = 1, block: int = 100, seed: int = 0) -> Events:
    """Spikes, vesicles and strength released per image, counted in the releases that were drawn.

    Args:
        net: the network; it is left as it was.
        x: images, pixels in [0, 1]; as for `synsim.meters.accuracy`.
        samples: passes over all images, each with spikes and releases of its own.
        block: images per pass; those that share a mask in batch scope.
        seed: of spikes and releases.

    Returns:
        The three, per image.

    Raises:
        ValueError: for the Gaussian approximation, in which nothing can be counted.
    """
    layers = [layer for layer in net.layers if isinstance(layer, BernoulliLinear)]
    within = [layer for layer in net.recurrent if isinstance(layer, BernoulliLinear)]
    require(
        all(SCOPES[layer.scope].countable for layer in (*layers, *within)),
        'scope="event-gaussian" has no releases to count; synsim.meters.transmission gives their expectation.',
    )
    lead = replicas_of(net) or 1
    total, images = torch.zeros(3, lead, dtype=torch.float64, device="cpu"), 0
    for _, record in _runs(net, x, samples, block, seed):
        images += record.logits.shape[-2]
        fired = list(record.spikes.values())
        for spikes in fired[: len(layers)]:
            total[0] += spikes.reshape(lead if spikes.ndim == 4 else 1, -1).sum(1, dtype=torch.float64).cpu()
        for layer, spikes in (*zip(layers, fired, strict=False), *zip(within, fired[1:], strict=False)):
            for row, value in enumerate(released(layer, spikes, net), start=1):
                total[row] += value.cpu()
    found = total / images
    return Events(*(found if replicas_of(net) is not None else found[:, 0]))


@torch.no_grad()
@typed
def released(layer: BernoulliLinear, spikes: Tensor, net: SpikingMLP) -> tuple[Tensor, Tensor]:
    """Sites released by a layer in its latest draw, and their strength.

    Args:
        layer: a layer of the network.
        spikes: what came in, [T, B, I] or [R, T, B, I].
        net: the network, for its time step and short-term plasticity.

    Returns:
        Vesicles and Σ abs(m) / N, float64, [R] each ([1] without replicas).

    Raises:
        ValueError: if the layer cannot be given other expected strengths, with which it counts.
    """
    # A copy of the layer counts: with w̄ = N p it transmits the number of releases, with |w̄| their strength.
    rows, steps = spikes.flatten(-3, -2), spikes.shape[-3]
    factor = factor_of(net.short_term, spikes, net.dt)
    expected = layer.expected_strength.detach()
    values = ((expected != 0) * layer.p * layer.sites, expected.abs())
    twin = deepcopy(layer)
    twin.address = layer.address
    if twin.bias is not None:
        twin.bias.zero_()
    counts = []
    with frozen(twin, layer.latest_draw) if not layer.address.mean else torch.no_grad():
        for value in values:
            twin.set_expected(value)
            out: Tensor = twin(rows, steps=steps, factor=factor)
            counts.append(out.reshape(layer.replicas or 1, -1).sum(1, dtype=torch.float64))
    return counts[0], counts[1]


def _runs(net: SpikingMLP, x: Tensor | Images, samples: int, block: int, seed: int) -> Iterator[tuple[slice, Record]]:
    images = as_images(net, x)
    samples, block = times(samples, "samples"), whole(block, "block")
    with torch.no_grad(), evaluation(net, seed) as passes, kept(net):
        net.eval()
        for sample in range(samples):
            for low in range(0, len(images), block):
                part = slice(low, min(len(images), low + block))
                passes.at(sample, low // block, low)
                yield part, net.run(net.encode(images[part]))
