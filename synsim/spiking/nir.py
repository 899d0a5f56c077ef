"""Spiking networks as files that other simulators read: NIR, the Neural Intermediate Representation (pip install nir).

    from synsim.spiking import nir

    nir.write(net, "net.nir")                       # for snnTorch, norse, SpikingJelly, Lava, ...
    net = nir.read("net.nir")                       # the same network; or one of another tool, if it can be run here
    net.run(spikes)

A node holds the mean strengths of a layer, so that other tools run the mean field; release probabilities, sites, scope
and short-term plasticity stand in its metadata, which they pass by. Encoder and surrogate are in no file.

NIR describes neurons by differential equations, which these tools integrate by a forward Euler step. The constants of a
file are those with which such a step does what a step does here: τ decays by exp(−dt / τ), a spike moves v by its
strength, and the threshold is that of v before it decays. Two things differ in other tools. A neuron fires one step
earlier, in the step of the input that makes it fire, and so one more step for each layer. And the reset of a neuron
that has fired does not erase the input of the step after, as it does here (and in Brian2).

Source:
    Pedersen et al. 2024, Neuromorphic intermediate representation, Nature Communications 15: 8122.
"""

import io
import math
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from synsim._checks import require
from synsim._doors import typed
from synsim.networks import replicas_of
from synsim.spiking.encoding import Encoder
from synsim.spiking.network import SpikingMLP
from synsim.spiking.neurons import LIF, Leaky
from synsim.spiking.nir_graph import chain_of, constants_of, scale_of
from synsim.spiking.short_term import ShortTerm
from synsim.spiking.surrogate import FastSigmoid
from synsim.synapses import BernoulliLinear

STEP = 1e-4
"""Seconds of an Euler step in snnTorch's reader; other readers are told."""
SHORT = "short_term_"
"""Before the names of the constants of short-term plasticity, in the metadata."""


@typed
def write(net: nn.Module, path: str | Path, *, replica: int | None = None, step: float = STEP) -> None:
    """Write a network as a NIR file.

    Args:
        net: of `spiking_mlp`.
        path: the file; one that is there is replaced.
        replica: which one, for a network with replicas.
        step: of the tools that will read it, seconds.

    Raises:
        ImportError: if nir is not installed.
        ValueError: if NIR cannot express the network: another reset than to rest, a refractory period, layers of a
            kind of their own, strengths that are not finite.
    """
    nir = _library()
    if not isinstance(net, SpikingMLP):
        raise ValueError(f"expected a network of spiking_mlp, got a {type(net).__name__}, which has no spikes.")
    require(0 < step < math.inf, f"step must be a positive, finite time in seconds, got {step}.")
    fires = net.neurons
    require(fires.reset == "rest", f"NIR knows a reset to rest alone, got reset={fires.reset!r}.")
    require(fires.refractory == 0, f"NIR has no refractory periods, got refractory={fires.refractory:g} ms.")
    there = replicas_of(net)
    require(
        (replica is None) == (there is None) and (replica is None or 0 <= replica < cast(int, there)),
        f"the network has {'no' if there is None else there} replicas; choose one of them, got replica={replica}.",
    )
    layers, back = list(net.layers), list(net.recurrent)
    width = cast(BernoulliLinear, layers[0]).in_features
    nodes, edges = {"input": nir.Input({"input": np.array([width])})}, []
    last = "input"
    for index, layer in enumerate(layers):
        name, target = f"layers_{index}", f"population_{index + 1}"
        nodes[name] = _matrix(nir, name, layer, replica)
        size = nodes[name].weight.shape[0]
        end = net.output if index == len(layers) - 1 else None
        nodes[target] = _neurons(nir, size, fires if end is None else end, net.dt, step)
        edges += [(last, name), (name, target)]
        if index < len(back):
            nodes[f"recurrent_{index}"] = _matrix(nir, f"recurrent_{index}", back[index], replica)
            edges += [(target, f"recurrent_{index}"), (f"recurrent_{index}", target)]
        last = target
    nodes["output"] = nir.Output({"output": np.array([size])})
    edges.append((last, "output"))
    graph = nir.NIRGraph(nodes, edges, metadata=_settings(net))
    _save(nir, graph, Path(path))


@typed
def read(
    path: str | Path, *, step: float = STEP, dt: float = 1.0, readout: str | None = None, encoder: Encoder | None = None
) -> SpikingMLP:
    """Read a network from a NIR file.

    One of this package comes back as it was, but for what no file holds: it has the encoder that is given, or none.
    One of another tool needs a chain of linear or affine nodes and LIF neurons, alike in all layers, with a last
    population that fires or integrates; its synapses never fail.

    Args:
        path: the file.
        step: of the tool that has written it, seconds; not asked of a file of this package.
        dt: time step that one of its steps becomes, ms; likewise.
        readout: of the last population; None: that of the file, else "count" where it fires and "mean" where not.
        encoder: images -> spikes; without one the network is given spikes (`run`).

    Returns:
        The network.

    Raises:
        ImportError: if nir is not installed.
        FileNotFoundError: if there is no such file.
        ValueError: if it is no NIR file, or holds what cannot be run here; the message names the node.
    """
    nir, path = _library(), Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file.")
    try:
        graph = nir.read(path)
    except Exception as error:
        # Whatever a damaged file, or a node of another version, makes of a reader.
        raise ValueError(f"{path} can't be read as NIR ({type(error).__name__}: {error}).") from error
    require(isinstance(graph, nir.NIRGraph), f"{path} holds a {type(graph).__name__} and no graph.")
    chain = chain_of(graph, path)
    settings = {key: _plain(value) for key, value in graph.metadata.items()}
    known = "synsim" in settings
    own: dict[str, Any] = settings if known else constants_of(chain, step, dt)
    scales = [1.0 if known else scale_of(use, step) for use in chain]
    short = {key.removeprefix(SHORT): value for key, value in own.items() if key.startswith(SHORT)}
    try:
        return SpikingMLP(
            encoder,
            [_layer(use.matrix, scale, known) for use, scale in zip(chain, scales, strict=True)],
            LIF(own["tau"], own["threshold"]),
            Leaky(own["tau_readout"]),
            readout=readout or own.get("readout", "count" if chain[-1].fires else "mean"),
            surrogate=FastSigmoid(),
            dt=own["dt"],
            gain=own.get("gain", 1.0),
            short_term=ShortTerm(**short) if short else None,
            recurrent=[_layer(use.back, scale, known) for use, scale in zip(chain, scales, strict=True) if use.back],
        )
    except KeyError as error:
        raise ValueError(f"{path} lacks {error} in its metadata; it is no file of synsim.spiking.nir.write.") from error


def _library() -> Any:
    try:
        import nir  # here: it is nobody's requirement
    except ImportError as error:
        raise ImportError("files of NIR need the package nir: pip install nir.") from error
    return nir


def _save(nir: Any, graph: Any, path: Path) -> None:
    # Whole or not at all.
    buffer = io.BytesIO()
    nir.write(buffer, graph)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(buffer.getvalue())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _settings(net: SpikingMLP) -> dict[str, Any]:
    short = {} if net.short_term is None else {f"{SHORT}{key}": value for key, value in asdict(net.short_term).items()}
    return {
        "synsim": 1,
        "dt": net.dt,
        "gain": net.gain,
        "readout": net.readout,
        "tau": net.neurons.tau,
        "threshold": net.neurons.threshold,
        "tau_readout": net.neurons.tau if net.output is None else net.output.tau,
        **short,
    }


def _matrix(nir: Any, name: str, layer: nn.Module, replica: int | None) -> Any:
    require(
        type(layer) is BernoulliLinear,
        f"{name} is a {type(layer).__name__}, which NIR has no word for; every layer must be a BernoulliLinear.",
    )
    assert isinstance(layer, BernoulliLinear)

    def array(value: Tensor) -> np.ndarray[Any, Any]:
        return (value if replica is None else value[replica]).detach().cpu().numpy().copy()

    strength = array(layer.expected_strength)
    require(
        bool(np.isfinite(strength).all()),
        f"the strengths of {name} are not finite. The network may have diverged; train it again.",
    )
    metadata = {"p": array(layer.p), "sites": layer.sites, "scope": layer.scope}
    if layer.bias is None:
        return nir.Linear(strength, metadata=metadata)
    return nir.Affine(strength, array(layer.bias), metadata=metadata)


def _neurons(nir: Any, size: int, neurons: LIF | Leaky, dt: float, step: float) -> Any:
    kept = math.exp(-dt / neurons.tau)
    tau = np.full(size, step / (1 - kept))
    rest = np.zeros(size)
    if isinstance(neurons, Leaky):
        return nir.LI(tau, tau / step, rest)
    return nir.LIF(tau, tau / step, rest, np.full(size, neurons.threshold / kept), rest)


def _layer(node: Any, scale: float, known: bool) -> BernoulliLinear:
    weight = torch.from_numpy(np.array(node.weight))
    require(weight.is_floating_point(), f"weights must be floats, got {weight.dtype}.")
    held = {key: _plain(value) for key, value in node.metadata.items()} if known else {}
    p = held.get("p", 1.0)
    bias = getattr(node, "bias", None)
    layer = BernoulliLinear(
        weight.shape[1],
        weight.shape[0],
        p=torch.from_numpy(np.array(p)) if isinstance(p, np.ndarray) else p,
        bias=bias is not None,
        sites=held.get("sites", 1),
        scope=held.get("scope", "batch"),
        dtype=weight.dtype,
    )
    layer.set_expected(weight * scale)
    if layer.bias is not None:
        with torch.no_grad():
            layer.bias.copy_(torch.from_numpy(np.array(bias)) * scale)
    return layer


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    return value.item() if isinstance(value, np.generic) else value
