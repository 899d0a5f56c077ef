"""What a network transmits per image: spikes, vesicles and released strength, expected over releases."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from synsim._checks import require
from synsim._doors import typed
from synsim.meters.heard import Heard, Layer, carried, hear, strength_of, total
from synsim.synapses import StochasticLayer
from synsim.synapses.scopes import SCOPES


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
    layers: dict[str, Layer] = {}
    sums: dict[tuple[str, torch.Size], tuple[Tensor, Tensor]] = {}

    def add(heard: Heard) -> None:
        name, a, factor = heard.name, heard.input, heard.factor
        refuse_negative(name, a)
        if scales_p(heard):
            refuse_saturated(heard)
        plain, scaled = (heard.summed(one) for one in (a, a if factor is None else a * factor))
        layers[name], key = heard.layer, (name, plain.shape)
        sums[key] = (sums[key][0] + plain, sums[key][1] + scaled) if key in sums else (plain, scaled)

    shown = hear(net, x, add, "what is transmitted", samples=samples, block=block, seed=seed, head=head)
    terms = [_transmitted(layers[name], *(one / shown for one in both)) for (name, _), both in sums.items()]
    return Transmission(*total(net, terms))


def refuse_negative(name: str, a: Tensor) -> None:
    """Refuse inputs that are no rates.

    Args:
        name: of the layer.
        a: its input.

    Raises:
        ValueError: if one is negative.
    """
    # The quick question first; NaN, from a replica that failed, makes the second one necessary.
    if not bool(a.amin() >= 0) and bool((a < 0).any()):
        raise ValueError(
            f"the inputs of layer {name!r} stand for spike rates here and must be at least 0, got "
            f'{float(a[a < 0].min()):g}. Take images with pixels="unit" instead of standardised ones, and put '
            "nn.ReLU before every hidden layer."
        )


def scales_p(heard: Heard) -> bool:
    """Whether short-term plasticity scales the release probability at an input, rather than the input.

    Args:
        heard: an input of a layer.

    Returns:
        The answer; False without short-term plasticity.
    """
    layer = heard.layer
    return heard.factor is not None and isinstance(layer, StochasticLayer) and SCOPES[layer.scope].scales_p


def refuse_saturated(heard: Heard) -> None:
    """Refuse release probabilities that are facilitated beyond 1.

    Args:
        heard: an input of a stochastic layer, with factors.

    Raises:
        ValueError: if one is.
    """
    assert heard.factor is not None
    assert isinstance(heard.layer, StochasticLayer)
    require(
        bool(heard.factor.amax() * heard.layer.p.amax() <= 1),
        f"the facilitated release probability of layer {heard.name!r} saturates at 1, so that its mean does not "
        "follow from that of its inputs. Count with synsim.spiking.events.",
    )


def _transmitted(layer: Layer, mean: Tensor, scaled: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    # Spikes, vesicles and strength of one layer for its mean input [lead, *example]; each [lead] or [R].
    strength = strength_of(layer)
    vesicles = (strength != 0).double()
    if isinstance(layer, StochasticLayer):
        vesicles = vesicles * layer.p.double() * layer.sites
    released, sent = carried(layer, scaled, (vesicles, strength.abs()))
    return mean.flatten(1).sum(1), released, sent
