"""What is carried to Brian2: populations and synapses as plain arrays, and what cannot be carried."""

import itertools
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from synsim._checks import require
from synsim._doors import typed
from synsim.networks import replicas_of
from synsim.spiking.network import SpikingMLP
from synsim.spiking.short_term import ShortTerm
from synsim.synapses import BernoulliLinear, synapses
from synsim.synapses.scopes import SCOPES

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Population:
    """Neurons of one kind.

    Attributes:
        name: "input", "hidden 1", …, "output".
        size: number of neurons.
        tau: membrane time constant, ms; None for the input, whose spikes are given.
        threshold: θ, in units of v; None where nothing fires.
        reset: "rest" or "subtract".
        refractory: ms.
    """

    name: str
    size: int
    tau: float | None = None
    threshold: float | None = None
    reset: str = "rest"
    refractory: float = 0.0


@dataclass(frozen=True)
class Projection:
    """The synapses of one layer.

    Attributes:
        name: of the layer.
        source: name of the presynaptic population.
        target: name of the postsynaptic population; the same within a recurrent one.
        expected_strength: w̄, float64 [O, I].
        p: release probabilities, float64 [O, I].
        sites: release sites N per synapse.
        draws: whether each spike is released or not at each site; otherwise each transmits `scale` w̄.
        scale: float64 [O, I], k / (N p) of a frozen mask; None for 1.
        bias: constant current, in units of v per step, float64 [O]; or None.
    """

    name: str
    source: str
    target: str
    expected_strength: Array
    p: Array
    sites: int
    draws: bool
    scale: Array | None
    bias: Array | None

    @property
    def counter(self) -> str:
        """Name of the variable of the postsynaptic neurons that counts releases."""
        return "released_within" if self.source == self.target else "released"


@dataclass(frozen=True)
class Plan:
    """A network as Brian2 needs it.

    Attributes:
        populations: from input to output.
        projections: one per layer, those between populations first.
        short_term: short-term plasticity of all synapses, or None.
        dt: time step, ms.
        readout: as in `SpikingMLP`.
        gain: factor from the readout to logits.
        replica: which one of the network's it is, or None.
        steps: of the encoder, or None.
    """

    populations: tuple[Population, ...]
    projections: tuple[Projection, ...]
    short_term: ShortTerm | None
    dt: float
    readout: str
    gain: float
    replica: int | None
    steps: int | None = None


@typed
def plan_of(net: nn.Module, replica: int | None = None) -> Plan:
    """A network as plain arrays, in the view that is in force.

    Args:
        net: a `SpikingMLP`.
        replica: which one, for a network with replicas.

    Returns:
        The plan.

    Raises:
        ValueError: if Brian2 cannot express the network; the message names the layer.
    """
    if not isinstance(net, SpikingMLP):
        first = next(iter(synapses(net).items()), None)
        at = "" if first is None else f"; its layer {first[0]!r} is a {type(first[1]).__name__} without spikes"
        raise ValueError(f"expected a SpikingMLP, got a {type(net).__name__}{at}. Build it with spiking_mlp.")
    named = {**_layers(net, "layers"), **_layers(net, "recurrent")}
    for name, module in named.items():
        require(
            type(module) is BernoulliLinear,
            f"layer {name!r} is a {type(module).__name__}, which has no counterpart in Brian2; "
            "every layer must be a BernoulliLinear.",
        )
    number = _replica(net, replica)
    names, last = net.populations(), len(net.layers)
    fires = net.neurons
    firing = {
        "tau": fires.tau, "threshold": fires.threshold, "reset": fires.reset, "refractory": fires.refractory,
    }  # fmt: skip
    layers = [layer for layer in net.layers if isinstance(layer, BernoulliLinear)]
    populations = [Population(names[0], layers[0].in_features)]
    for index, layer in enumerate(layers, start=1):
        quiet = index == last and net.output is not None
        settings: dict[str, Any] = {"tau": net.output.tau} if quiet and net.output is not None else firing
        populations.append(Population(names[index], layer.out_features, **settings))
    ends = [*itertools.pairwise(names), *((name, name) for name in names[1 : 1 + len(net.recurrent)])]
    projections = tuple(
        _projection(name, layer, *between, number, net.short_term)
        for (name, layer), between in zip(named.items(), ends, strict=True)
    )
    steps = None if net.encoder is None else net.encoder.steps
    return Plan(tuple(populations), projections, net.short_term, net.dt, net.readout, net.gain, number, steps)


def _layers(net: SpikingMLP, where: str) -> dict[str, BernoulliLinear]:
    children = net.get_submodule(where).named_children()
    return {f"{where}.{name}": cast(BernoulliLinear, layer) for name, layer in children}


def _replica(net: nn.Module, replica: int | None) -> int | None:
    there = replicas_of(net)
    if there is None:
        require(replica is None, f"the network has no replicas, got replica={replica}. Leave it out.")
        return None
    if replica is None or not 0 <= replica < there:
        raise ValueError(f"the network has {there} replicas; choose one with replica=0 … {there - 1}, got {replica}.")
    return replica


def _projection(
    name: str, layer: BernoulliLinear, source: str, target: str, replica: int | None, short_term: ShortTerm | None
) -> Projection:
    def array(value: Tensor) -> Array:
        one = value if replica is None else value[replica]
        return one.detach().double().cpu().numpy().copy()

    expected, p = array(layer.expected_strength), array(layer.p)
    require(
        bool(np.isfinite(expected).all()),
        f"the weights of layer {name!r} are not finite. The network may have diverged; train it again.",
    )
    draws, scale = _release(name, layer, p, short_term)
    return Projection(
        name,
        source,
        target,
        expected,
        p,
        layer.sites,
        draws,
        None if scale is None else array(scale),
        None if layer.bias is None else array(layer.bias),
    )


def _release(name: str, layer: BernoulliLinear, p: Array, short_term: ShortTerm | None) -> tuple[bool, Tensor | None]:
    # Whether each spike draws, and the scales of a mask that holds for the whole run.
    scope, certain = SCOPES[layer.scope], bool((p == 1).all())
    if layer.address.mean or (certain and not (scope.scales_p and short_term is not None)):
        return False, None
    held = layer.address.draw is not None
    if scope.per_spike:
        require(
            not held,
            f"layer {name!r} is frozen, but draws for each spike: Brian2 has draws of its own. "
            "Export it outside of frozen(net).",
        )
        return True, None
    if held and not scope.per_example:
        with torch.no_grad():
            return False, layer.scales(1)[0].reshape(layer.p.shape)
    ways = 'inside "with expected(net):" (mean field)'
    ways += ' or inside "with frozen(net):" (the mask of one pass)' if not scope.per_example else ""
    raise ValueError(
        f"layer {name!r} has scope={layer.scope!r}, which Brian2 cannot express: there each spike is released or not. "
        f'Export it {ways}, or set its scope to "event".'
    )
