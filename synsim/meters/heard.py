"""The inputs of all layers of a network in stochastic passes, and what its synapses make of them."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from synsim._checks import require
from synsim._kept import TURN
from synsim._names import named_modules
from synsim.inputs import as_images
from synsim.meters.coverage import eager, input_of, probe, say_left_out
from synsim.meters.passes import passes, stochastic
from synsim.networks import replicas_of
from synsim.synapses import StochasticLayer, expected
from synsim.synapses.given import Given

Layer = StochasticLayer | nn.Linear | _ConvNd


class Heard(NamedTuple):
    """One input of a layer, as it is called.

    Attributes:
        name: of the layer.
        layer: the layer.
        input: what came in, [..., *example].
        factor: by which short-term plasticity scales the release probability of each input, or None.
        lead: replicas that the first axis of the input counts, or 1.
    """

    name: str
    layer: Layer
    input: Tensor
    factor: Tensor | None
    lead: int

    def summed(self, values: Tensor) -> Tensor:
        """Values of each entry of the input, summed over all that is no replica and no axis of an example.

        Args:
            values: like the input.

        Returns:
            [lead, *example], float64.
        """
        shape = self.input.shape[-axes_of(self.layer) :]
        return values.reshape(self.lead, -1, *shape).sum(1, dtype=torch.float64)


def hear(
    net: nn.Module,
    x: Any,
    note: Callable[[Heard], None],
    what: str,
    *,
    samples: int,
    block: int | None,
    seed: int,
    head: int | None,
) -> int:
    """Make stochastic passes over images and tell of every input of every layer that is one of `Layer`.

    Weights that reach the output in another way than through these layers are named by a warning.

    Args:
        net: the network.
        x: images, as for `accuracy`.
        note: told of each input.
        what: what is counted, for the warning.
        samples: stochastic passes; one is made for a network that does not fail.
        block: images that share a mask.
        seed: of the masks.
        head: index of the head, or None.

    Returns:
        How many images were shown, each as often as there were passes.

    Raises:
        ValueError: if the network has no synapses.
    """
    layers: dict[str, Layer] = {name: one for name, one in named_modules(net) if isinstance(one, Layer)}
    require(bool(layers), "expected a network with synapses, got none.")
    samples = samples if stochastic(net) else min(samples, 1)
    images, replicas, shown = as_images(net, x), replicas_of(net), 0
    asked = probe(net, images, layers, seed, head)

    def listen(name: str, layer: Layer) -> torch.utils.hooks.RemovableHandle:
        axes = axes_of(layer)

        def told(module: nn.Module, inputs: tuple[Tensor, ...], options: dict[str, Any]) -> None:
            a = input_of(inputs, options)
            lead = a.shape[0] if asked.lead(name, replicas) and a.ndim - axes > 1 else 1
            factor = options.get("factor")
            require(
                factor is None or isinstance(factor, Tensor),
                f"the synapses of layer {name!r} have short-term plasticity of their own, so that what they release "
                "does not follow from mean inputs. Count with synsim.spiking.events.",
            )
            note(Heard(name, layer, a, factor, lead))

        return layer.register_forward_pre_hook(told, with_kwargs=True)

    # What is heard are the passes of this thread.
    with TURN, eager():
        handles = [listen(name, layer) for name, layer in layers.items()]
        try:
            for _, part, _ in passes(net, images, samples=samples, block=block, seed=seed, head=head):
                shown += part.stop - part.start
        finally:
            for handle in handles:
                handle.remove()
    say_left_out(
        asked.outside,
        f"{what} is counted in nn.Linear, convolutions and stochastic layers as they are called; this "
        "network uses weights in other ways, so that the numbers are too small.",
    )
    return shown


def axes_of(layer: Layer) -> int:
    """How many axes an input example of a layer has.

    Args:
        layer: a layer that is heard.

    Returns:
        1 for rows, 3 for images.
    """
    if isinstance(layer, StochasticLayer):
        return layer.example_ndim
    return 1 if isinstance(layer, nn.Linear) else layer.weight.ndim - 1


def strength_of(layer: Layer) -> Tensor:
    """What a synapse of a layer transmits on average.

    Args:
        layer: a layer that is heard.

    Returns:
        w̄, float64, shaped like the weight.
    """
    weight = layer.expected_strength if isinstance(layer, StochasticLayer) else layer.weight
    return weight.detach().double()


@torch.no_grad()
def carried(layer: Layer, inputs: Tensor, values: Sequence[Tensor]) -> list[Tensor]:
    """Σ over synapses of a value of each synapse times its input.

    Args:
        layer: a layer that is heard.
        inputs: [lead, *example], float64.
        values: shaped like the weight, float64.

    Returns:
        For each of the values, [lead] or [R].
    """
    if not isinstance(layer, StochasticLayer):
        bias = None if layer.bias is None else torch.zeros_like(layer.bias, dtype=torch.float64)
        return [_through(layer, inputs, value, bias).flatten(1).sum(1) for value in values]
    # A copy of the layer transmits the values, summed over its outputs.
    twin = deepcopy(layer, {id(value): value.detach() for value in vars(layer).values() if isinstance(value, Tensor)})
    twin = twin.double()
    if twin._parameters.get("bias") is not None:
        twin.bias.zero_()  # type: ignore[union-attr]
    # Without a replica axis, the leading one serves as that of the examples.
    inputs = inputs if layer.replicas is None or inputs.shape[0] == 1 else inputs.unsqueeze(1)
    given = Given(twin, layer.stream_name)
    found = []
    with expected(twin):
        for value in values:
            given.strengths = value
            found.append(twin.forward(inputs).flatten(1).sum(1))
    return found


def _through(layer: nn.Linear | _ConvNd, x: Tensor, values: Tensor, bias: Tensor | None) -> Tensor:
    if isinstance(layer, nn.Linear):
        return F.linear(x, values, bias)
    if not isinstance(layer, _ConvTransposeNd):
        return layer._conv_forward(x, values, bias)
    transposed = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[values.ndim - 3]
    shape: tuple[Any, ...] = (layer.stride, layer.padding, layer.output_padding, layer.groups, layer.dilation)
    return transposed(x, values, bias, *shape)


def total(net: nn.Module, terms: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    """Several quantities, each summed over the uses of layers.

    Args:
        net: the network.
        terms: for each use of a layer one tensor of each quantity, [lead] or [R].

    Returns:
        The quantities: numbers, or [R].
    """
    # Layers before the first one with replicas have a leading axis of 1.
    replicas = replicas_of(net)
    lead = replicas or max(one.shape[0] for term in terms for one in term)
    sums = [torch.stack([one.expand(lead) for one in term]).sum(0) for term in zip(*terms, strict=True)]
    return sums if replicas is not None else [one[0] for one in sums]
