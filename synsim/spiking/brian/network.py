"""The exported network: Brian2 objects made from a plan, and the way back."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from synsim._checks import require
from synsim._doors import typed
from synsim.spiking.brian import equations
from synsim.spiking.brian.plan import Array, Plan, Population, Projection, plan_of
from synsim.spiking.brian.targets import chosen, using
from synsim.spiking.network import SpikingMLP
from synsim.synapses import BernoulliLinear


@dataclass(frozen=True, repr=False)
class BrianNetwork:
    """A network in Brian2.

    Attributes:
        network: the `brian2.Network` of all objects below, to run and extend by hand.
        input: its `SpikeGeneratorGroup`; it is given spikes with `set_spikes`.
        populations: name -> `NeuronGroup`, from "hidden 1" to "output".
        synapses: name of the layer -> `Synapses` with the state variables w (expected strength) and p. Those of the
            first input neuron come first.
        plan: what was exported.
        target: "numpy", "cython" or "cpp_standalone"; what `run` compiles for.
    """

    network: Any
    input: Any
    populations: Mapping[str, Any]
    synapses: Mapping[str, Any]
    plan: Plan
    target: str

    def present(self) -> Plan:
        """The plan with the w and p that the synapses have now.

        Returns:
            The plan.
        """
        with using("numpy"):
            projections = tuple(
                replace(one, expected_strength=_matrix(one, group, "w"), p=_matrix(one, group, "p"))
                for one, group in zip(self.plan.projections, self.synapses.values(), strict=True)
            )
        return replace(self.plan, projections=projections)

    def __repr__(self) -> str:
        """The equations.

        Returns:
            A text.
        """
        plan = self.plan
        parts = [f"BrianNetwork(target={self.target!r}, dt={plan.dt:g} ms)"]
        for population in plan.populations[1:]:
            into = [one for one in plan.projections if one.target == population.name]
            parts.append(f"{population.name}: {population.size} neurons, tau = {population.tau:g} ms")
            parts.append(_indented(equations.neurons(population, [one.counter for one in into if one.draws])))
            if population.threshold is not None:
                rests = f", refractory for {population.refractory:g} ms" if population.refractory > 0 else ""
                fires = f"fires where v > theta = {population.threshold:g}, then {equations.reset(population)}{rests}"
                parts.append(_indented(fires))
        for projection in plan.projections:
            size = "×".join(str(n) for n in projection.p.shape)
            parts.append(f"{projection.name}: {size} synapses, {projection.source} -> {projection.target}")
            parts.append(_indented(equations.synapses(projection, plan.short_term)))
            parts.append(_indented("on a presynaptic spike:"))
            parts.append(_indented(_indented(equations.on_spike(projection, plan.short_term))))
        return "\n".join(parts)


@typed
def to_brian2(net: nn.Module, *, replica: int | None = None, target: str | None = None) -> BrianNetwork:
    """Carry a network to Brian2.

    What is exported is the network in the view that is in force: as it is, each spike is released or not at each
    synapse, which needs scope="event" (or p = 1); inside `expected(net)` every spike transmits w̄; inside `frozen(net)`
    a layer of batch scope keeps the mask of its pass.

    Args:
        net: a network of `spiking_mlp`.
        replica: which one, for a network with replicas.
        target: "numpy", "cython" or "cpp_standalone"; None: NumPy up to 20,000 synapses, for which nothing has to be
            compiled, else Cython, or NumPy with a notice if there is no compiler.

    Returns:
        The network; `print` shows its equations.

    Raises:
        ImportError: if Brian2 is not installed.
        RuntimeError: if a target is asked for that needs a compiler, and there is none.
        ValueError: if Brian2 cannot express the network (the message names the layer), or there is no such target.
    """
    plan = plan_of(net, replica)
    with using("numpy") as brian2:
        made = build(brian2, plan)
    return replace(made, target=chosen(target, sum(one.p.size for one in plan.projections)))


@typed
def from_brian2(there: BrianNetwork, net: SpikingMLP) -> None:
    """Bring expected strengths and release probabilities back.

    Args:
        there: from `to_brian2`; its w and p may have changed since.
        net: the network that was exported, or another one of the same shape. It is changed in place; of a network with
            replicas, the one that was exported.

    Raises:
        ValueError: if the shapes differ, a strength is not finite, or a p lies outside (0, 1].
    """
    plan, every = there.present(), (*net.layers, *net.recurrent)
    layers = [one for one in every if isinstance(one, BernoulliLinear)]
    mine = [tuple(one.p.shape if plan.replica is None else one.p.shape[1:]) for one in layers]
    require(
        mine == [one.p.shape for one in plan.projections],
        f"the network must have layers of {[one.p.shape for one in plan.projections]}, got {mine}.",
    )
    for one in plan.projections:
        good = np.isfinite(one.expected_strength).all() and (one.p > 0).all() and (one.p <= 1).all()
        require(
            bool(good),
            f"layer {one.name!r}: w must be finite and p in (0, 1], got w from {one.expected_strength.min():g} to "
            f"{one.expected_strength.max():g} and p from {one.p.min():g} to {one.p.max():g}.",
        )
    with torch.no_grad():
        for one, layer in zip(plan.projections, layers, strict=True):
            expected = layer.expected_strength.clone()
            for values, tensor in ((one.expected_strength, expected), (one.p, layer.p)):
                into = tensor if plan.replica is None else tensor[plan.replica]
                into.copy_(torch.from_numpy(values))
            layer.set_expected(expected)


def build(brian2: Any, plan: Plan, *, copies: int = 1, window: float | None = None) -> BrianNetwork:
    """Make the Brian2 objects of a plan.

    Args:
        brian2: the module.
        plan: what to build.
        copies: how many equal networks side by side; neuron n of copy c has the index c · size + n.
        window: ms after which all copies start anew, again and again; None: never.

    Returns:
        The network.
    """
    inputs = plan.populations[0]
    source = brian2.SpikeGeneratorGroup(
        copies * inputs.size, [], [] * brian2.ms, dt=plan.dt * brian2.ms, name=identifier(inputs.name)
    )
    groups: dict[str, Any] = {inputs.name: source}
    for population in plan.populations[1:]:
        into = [one for one in plan.projections if one.target == population.name]
        groups[population.name] = _neurons(brian2, plan, population, into, copies, window)
    made = {
        one.name: _synapses(brian2, plan, one, groups[one.source], groups[one.target], copies, window)
        for one in plan.projections
    }
    network = brian2.Network(*groups.values(), *made.values())
    for one in network.objects:
        # Otherwise Brian2 warns, when they are forgotten, of objects that were in no network that ran.
        one._network = network.id
    del groups[inputs.name]
    return BrianNetwork(network, source, groups, made, plan, "numpy")


def identifier(name: str) -> str:
    """A name that Brian2 allows.

    Args:
        name: such as "hidden 1" or "layers.0".

    Returns:
        Such as "hidden_1" or "layers_0".
    """
    return name.replace(" ", "_").replace(".", "_")


def _neurons(
    brian2: Any, plan: Plan, population: Population, into: list[Projection], copies: int, window: float | None
) -> Any:
    counters, dt = [one.counter for one in into if one.draws], plan.dt * brian2.ms
    bias = next((one.bias for one in into if one.bias is not None), None)
    namespace = {"tau": population.tau * brian2.ms}
    fires: dict[str, Any] = {}
    if population.threshold is not None:
        namespace["theta"] = population.threshold
        fires = {"threshold": "v > theta", "reset": equations.reset(population)}
        if population.refractory > 0:
            fires["refractory"] = population.refractory * brian2.ms
    group = brian2.NeuronGroup(
        copies * population.size,
        equations.neurons(population, counters) + ("" if bias is None else "\nbias : 1"),
        method="exact",
        namespace=namespace,
        dt=dt,
        name=identifier(population.name),
        **fires,
    )
    if bias is not None:
        # A constant current, in the slot of what arrives through synapses.
        group.bias = np.tile(bias, copies)
        group.run_regularly("v += bias", dt=dt, when="synapses", name=f"{group.name}_bias")
    if window is not None:
        fresh = (
            ["v = 0"]
            + [f"{counter} = 0" for counter in counters]
            + ["lastspike = -10000*second"] * ("refractory" in fires)
        )
        group.run_regularly("\n".join(fresh), dt=window * brian2.ms, when="start", name=f"{group.name}_fresh")
    return group


def _synapses(
    brian2: Any, plan: Plan, one: Projection, source: Any, target: Any, copies: int, window: float | None
) -> Any:
    namespace: dict[str, Any] = {"sites": one.sites} if one.draws else {}
    fresh = equations.fresh_synapses(plan.short_term)
    if fresh and plan.short_term is not None:
        if not plan.short_term.per_synapse:
            namespace["U"] = plan.short_term.U
        if "u" in fresh:
            namespace["tau_f"] = plan.short_term.tau_facilitation * brian2.ms
        if "x" in fresh:
            namespace["tau_d"] = plan.short_term.tau_depression * brian2.ms
    group = brian2.Synapses(
        source,
        target,
        equations.synapses(one, plan.short_term),
        on_pre=equations.on_spike(one, plan.short_term),
        method="exact",
        namespace=namespace,
        dt=plan.dt * brian2.ms,
        name=identifier(one.name),
    )
    outputs, inputs = one.p.shape
    pre, post = (index.T.ravel() for index in np.indices((outputs, inputs))[::-1])
    lead = np.repeat(np.arange(copies), pre.size)
    group.connect(i=lead * inputs + np.tile(pre, copies), j=lead * outputs + np.tile(post, copies))
    group.w, group.p = (np.tile(values.T.ravel(), copies) for values in (one.expected_strength, one.p))
    if one.scale is not None:
        group.scale = np.tile(one.scale.T.ravel(), copies)
    if "x" in fresh:
        group.x = 1
    if fresh and window is not None:
        group.run_regularly(fresh, dt=window * brian2.ms, when="start", name=f"{group.name}_fresh")
    return group


def _matrix(one: Projection, group: Any, name: str) -> Array:
    found = np.empty(one.p.shape)
    found[np.asarray(group.j[:]), np.asarray(group.i[:])] = np.asarray(getattr(group, name)[:])
    return found


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())
