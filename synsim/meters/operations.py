"""Energy in the unit of neuromorphic hardware: operations at synapses, and picojoules by a table of their costs."""

from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from synsim._checks import constant, require
from synsim._doors import check_fields, typed
from synsim.meters.heard import Heard, Layer, carried, hear, strength_of, total
from synsim.meters.transmission import refuse_negative, refuse_saturated, scales_p
from synsim.synapses import StochasticLayer


@dataclass(frozen=True)
class OpCosts:
    """What an operation at a synapse costs in digital hardware, in picojoules.

    - accumulate, 0.9: one addition of 32-bit floats, at an input of ±1.
    - multiply_accumulate, 4.6: one multiplication (3.7) and one addition, at any other input.

    Such tables rank models that run on the same hardware; they are not joules. They hold the arithmetic of one process
    of 2014 alone: fetching a weight costs from a few to a hundred times as much, and memory, clock, leakage, the
    updates of membranes and the random numbers of releases are left out.

    Source:
        Horowitz 2014, Computing's energy problem (and what we can do about it), ISSCC: 10-14; 45 nm, 0.9 V.

    Raises:
        ValueError: if a cost is negative or not finite.
    """

    accumulate: float = 0.9
    multiply_accumulate: float = 4.6

    def __post_init__(self) -> None:
        check_fields(self)
        for field in fields(self):
            constant(getattr(self, field.name), field.name, None)


HOROWITZ_45NM = OpCosts()


class Operations(NamedTuple):
    """Operations at the synapses of a network per image; numbers, or [R]; float64.

    Attributes:
        accumulates: effective ones in layers whose inputs are all 0 or ±1, such as spikes.
        multiply_accumulates: effective ones in all other layers.
        dense: multiply-accumulates of the same network where nothing is skipped: all synapses, at all positions and
            time steps.
    """

    accumulates: Tensor
    multiply_accumulates: Tensor
    dense: Tensor


@typed
def operations(
    net: nn.Module,
    x: Any,
    *,
    samples: int = 10,
    block: int | None = 100,
    seed: int = 0,
    head: int | None = None,
) -> Operations:
    """Operations at the synapses of a network per image, as events hardware makes them.

    An operation is effective where the input is not 0, the strength is not 0, and the synapse releases: of N sites at
    least one, with probability 1 − (1 − p)ᴺ, of which the expectation is taken. In the mean field all synapses release.
    Biases, normalisations and the updates of neurons are no operations at synapses; padding is no input. Weights that
    are used in another way than by calling a linear layer, a convolution or a stochastic layer are not counted, and a
    warning names them.

    Args:
        net: the network, of rates or of spikes.
        x: images, as for `accuracy`.
        samples: stochastic passes; one is made for a network that does not fail.
        block: images that share a mask.
        seed: of the masks.
        head: index of the head, or None.

    Returns:
        The three, per image.

    Raises:
        ValueError: if the network has no synapses, or short-term plasticity scales the release of several sites, or
            saturates it.
    """
    return _counted(net, x, (samples, block, seed, head), rates=False)


@typed
def op_budget(
    net: nn.Module,
    x: Any,
    costs: OpCosts = HOROWITZ_45NM,
    *,
    samples: int = 10,
    block: int | None = 100,
    seed: int = 0,
    head: int | None = None,
) -> dict[str, Tensor]:
    """Picojoules per image, by what they are spent on; the sum is `energy(net, "pj", x=x)`.

    They rank networks and are no joules: see `OpCosts`.

    Args:
        net: the network.
        x: images whose pixels are rates, at least 0; as for `accuracy`.
        costs: of the operations.
        samples: stochastic passes.
        block: images that share a mask.
        seed: of the masks.
        head: index of the head, or None.

    Returns:
        "accumulates" and "multiply_accumulates": numbers, or [R]; float64.

    Raises:
        ValueError: if an input of a layer is negative: a rate that no event stands for.
    """
    found = _counted(net, x, (samples, block, seed, head), rates=True)
    return {
        "accumulates": costs.accumulate * found.accumulates,
        "multiply_accumulates": costs.multiply_accumulate * found.multiply_accumulates,
    }


@dataclass
class _Use:
    # A layer as it was used: inputs that were not 0, with the releases of short-term plasticity, and all inputs, both
    # [lead, *example] and summed over images and passes; and where an input was neither 0 nor ±1, [lead].
    layer: Layer
    events: Tensor
    entries: Tensor
    graded: Tensor

    def add(self, other: "_Use") -> None:
        self.events = self.events + other.events
        self.entries = self.entries + other.entries
        self.graded = self.graded | other.graded


def _counted(net: nn.Module, x: Any, options: tuple[int, int | None, int, int | None], *, rates: bool) -> Operations:
    uses: dict[tuple[str, torch.Size], _Use] = {}

    def note(heard: Heard) -> None:
        if rates:
            refuse_negative(heard.name, heard.input)
        use = _used(heard)
        key = (heard.name, use.events.shape)
        if key in uses:
            uses[key].add(use)
        else:
            uses[key] = use

    samples, block, seed, head = options
    shown = hear(net, x, note, "what synapses do", samples=samples, block=block, seed=seed, head=head)
    return Operations(*total(net, [_of_layer(use, shown) for use in uses.values()]))


def _used(heard: Heard) -> _Use:
    a, factor = heard.input, heard.factor
    events = (a != 0).double()
    magnitude = a.abs()
    if scales_p(heard) and not _mean(heard.layer):
        refuse_saturated(heard)
        assert factor is not None
        require(
            getattr(heard.layer, "sites", 1) == 1,
            f"short-term plasticity scales the release of each of the sites of layer {heard.name!r}, of which the mean "
            "number of operations does not follow. Count with synsim.spiking.events, or take one site.",
        )
        events = events * factor
    elif factor is not None:
        # In the other scopes, and in the mean field, it scales what is transmitted.
        magnitude = magnitude * factor
    graded = ((magnitude != 0) & (magnitude != 1)).reshape(heard.lead, -1).any(1)
    return _Use(heard.layer, heard.summed(events), heard.summed(torch.ones_like(a)), graded)


def _of_layer(use: _Use, shown: int) -> tuple[Tensor, Tensor, Tensor]:
    layer, strength = use.layer, strength_of(use.layer)
    effective = (strength != 0).double()
    if isinstance(layer, StochasticLayer) and not _mean(layer):
        effective = effective * (1 - (1 - layer.p.double()) ** layer.sites)
    (made,) = carried(layer, use.events / shown, (effective,))
    (dense,) = carried(layer, use.entries / shown, (torch.ones_like(strength),))
    graded = use.graded.to(made.device)
    return made * ~graded, made * graded, dense


def _mean(layer: Layer) -> bool:
    return isinstance(layer, StochasticLayer) and layer.address.mean
