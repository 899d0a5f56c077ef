"""What a network transmits per image: spikes, vesicles and released strength, expected over releases."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from synsim import _checks
from synsim._doors import typed
from synsim._kept import TURN
from synsim._names import named_modules
from synsim.inputs import Images, as_images
from synsim.meters.coverage import Probe, eager, input_of, probe, say_left_out
from synsim.meters.passes import passes, stochastic
from synsim.networks import replicas_of
from synsim.synapses import StochasticLayer, expected
from synsim.synapses.given import Given
from synsim.synapses.scopes import SCOPES

Layer = StochasticLayer | nn.Linear | _ConvNd


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


@typed
def transmission(
    net: nn.Module,
    x: Any,
    *,
    samples: int = 10,
    block: int | None = 100,
    seed: int = 0,
    head: int | None = None,
) -> Transmission:
    """Spikes, vesicles and strength that a network transmits per image, expected over releases.

    The terms are linear in a layer's inputs, so only the mean input of each layer is kept. Hidden inputs are those of
    stochastic passes. Plain `nn.Linear` layers and convolutions have p = 1 and one site. In a convolution a weight is a
    synapse at each of its positions, in a layer at work for each of several tokens one for each of these; padding does
    not spike. Inputs that feed two layers count for both, and so do layers that share a weight. Under short-term
    plasticity vesicles and strength are those of the scaled release probability.

    A weight that reaches the output in another way (in a recurrent layer, an embedding or attention, or used by hand)
    is not counted, and a warning names it.

    Args:
        net: the network.
        x: images whose pixels are rates, at least 0; as for `accuracy`.
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
    layers: dict[str, Layer] = {name: one for name, one in named_modules(net) if isinstance(one, Layer)}
    _checks.require(bool(layers), "expected a network with synapses, got none.")
    samples = samples if stochastic(net) else min(samples, 1)
    x = as_images(net, x)
    asked = probe(net, x, layers, seed, head)
    sums, images = _inputs(net, layers, x, (samples, block, seed, head), asked)
    say_left_out(
        asked.outside,
        "what is transmitted is counted in nn.Linear, convolutions and stochastic layers as they are called; this "
        "network uses weights in other ways, so that the numbers are too small.",
    )
    terms = [_transmitted(layers[name], *(one / images for one in total)) for (name, _), total in sums.items()]
    spikes, vesicles, strength = (torch.stack(term).sum(0) for term in zip(*_same(terms), strict=True))
    replicas = replicas_of(net)
    if replicas is None:
        return Transmission(spikes[0], vesicles[0], strength[0])
    return Transmission(*(term.expand(replicas) for term in (spikes, vesicles, strength)))


def _inputs(
    net: nn.Module,
    layers: Mapping[str, Layer],
    x: Images,
    options: tuple[int, int | None, int, int | None],
    asked: Probe,
) -> tuple[dict[tuple[str, torch.Size], tuple[Tensor, Tensor]], int]:
    # The inputs of every layer, [lead, *example], summed over images and passes: as they are, and scaled by short-term
    # plasticity; and how many images these were.
    sums: dict[tuple[str, torch.Size], tuple[Tensor, Tensor]] = {}
    replicas, images = replicas_of(net), 0

    def listen(name: str, layer: Layer) -> torch.utils.hooks.RemovableHandle:
        axes = _axes(layer)

        def add(module: nn.Module, inputs: tuple[Tensor, ...], options: dict[str, Any]) -> None:
            a = input_of(inputs, options)
            # The quick question first; NaN, from a replica that failed, makes the second one necessary.
            if not bool(a.amin() >= 0) and bool((a < 0).any()):
                raise ValueError(
                    f"the inputs of layer {name!r} stand for spike rates here and must be at least 0, got "
                    f'{float(a[a < 0].min()):g}. Take images with pixels="unit" instead of standardised ones, and put '
                    "nn.ReLU before every hidden layer."
                )
            lead = a.shape[0] if asked.lead(name, replicas) and a.ndim - axes > 1 else 1
            factor = options.get("factor")
            if factor is not None and isinstance(layer, StochasticLayer) and SCOPES[layer.scope].scales_p:
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

    samples, block, seed, head = options
    # What is heard are the passes of this thread.
    with TURN, eager():
        handles = [listen(name, layer) for name, layer in layers.items()]
        try:
            for _, part, _ in passes(net, x, samples=samples, block=block, seed=seed, head=head):
                images += part.stop - part.start
        finally:
            for handle in handles:
                handle.remove()
    return sums, images


def _axes(layer: Layer) -> int:
    if isinstance(layer, StochasticLayer):
        return layer.example_ndim
    return 1 if isinstance(layer, nn.Linear) else layer.weight.ndim - 1


def _transmitted(layer: Layer, mean: Tensor, scaled: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    # Spikes, vesicles and strength of one layer for its mean input [lead, *example]; each [lead] or [R].
    through = _plain if isinstance(layer, nn.Linear | _ConvNd) else _stochastic
    with torch.no_grad():
        vesicles, strength = through(layer, scaled)  # type: ignore[arg-type]
    return mean.flatten(1).sum(1), vesicles, strength


def _stochastic(layer: StochasticLayer, mean: Tensor) -> list[Tensor]:
    # Σ over synapses of value · input: a copy of the layer transmits the values, summed over its outputs.
    strength = layer.expected_strength.double()
    twin = deepcopy(layer, {id(value): value.detach() for value in vars(layer).values() if isinstance(value, Tensor)})
    twin = twin.double()
    if twin._parameters.get("bias") is not None:
        twin.bias.zero_()  # type: ignore[union-attr]
    # Without a replica axis, the leading one serves as that of the examples.
    inputs = mean if layer.replicas is None or mean.shape[0] == 1 else mean.unsqueeze(1)
    given = Given(twin, layer.stream_name)
    found = []
    with expected(twin):
        for values in ((strength != 0).double() * layer.p.double() * layer.sites, strength.abs()):
            given.strengths = values
            found.append(twin.forward(inputs).flatten(1).sum(1))
    return found


def _plain(layer: nn.Linear | _ConvNd, mean: Tensor) -> list[Tensor]:
    weight = layer.weight.detach().double()
    bias = None if layer.bias is None else torch.zeros_like(layer.bias, dtype=torch.float64)
    return [_through(layer, mean, values, bias).flatten(1).sum(1) for values in ((weight != 0).double(), weight.abs())]


def _through(layer: nn.Linear | _ConvNd, x: Tensor, values: Tensor, bias: Tensor | None) -> Tensor:
    if isinstance(layer, nn.Linear):
        return F.linear(x, values, bias)
    if not isinstance(layer, _ConvTransposeNd):
        return layer._conv_forward(x, values, bias)
    transposed = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[values.ndim - 3]
    shape: tuple[Any, ...] = (layer.stride, layer.padding, layer.output_padding, layer.groups, layer.dilation)
    return transposed(x, values, bias, *shape)


def _same(terms: list[tuple[Tensor, Tensor, Tensor]]) -> list[tuple[Tensor, ...]]:
    # Layers before the first one with replicas have a leading axis of 1.
    lead = max(one.shape[0] for term in terms for one in term)
    return [tuple(one.expand(lead) for one in term) for term in terms]
