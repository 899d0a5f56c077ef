"""NIR files: read back as they were written, run by other simulators, and refused where they can't be run here."""

import warnings

import numpy as np
import pytest
import torch

import synsim
from synsim.spiking import ShortTerm, SpikingMLP, spiking_mlp
from synsim.spiking import nir as files

nir = pytest.importorskip("nir")
pytestmark = pytest.mark.filterwarnings("ignore")


def other(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name, exc_type=ImportError)


def network(**options):
    options = {"seed": 1, "p": 0.4, "threshold": 0.4, "tau": 8.0, "dtype": torch.float64, **options}
    net = spiking_mlp([5, 7, 6, 3], **options)
    with torch.no_grad():
        for layer in synsim.synapses(net).values():
            layer.weight.mul_(2.5)
            layer.p.copy_(torch.linspace(0.1, 1, layer.p.numel(), dtype=layer.p.dtype).reshape(layer.p.shape))
    return net


def volleys(steps=30, every=3):
    """Spikes at every third step: none arrives in the steps after it, in which other tools would count it otherwise."""
    spikes = (torch.rand(steps, 4, 5, generator=torch.Generator().manual_seed(0)) < 0.7).double()
    return spikes * (torch.arange(steps) % every == 0)[:, None, None]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bias": True, "sites": 3, "scope": "event", "readout": "count", "gain": 2.0},
        {"short_term": ShortTerm(0.3, 40.0, 90.0), "scope": "sample", "tau_readout": 12.0, "readout": "max"},
        {"recurrent": True, "dtype": torch.float32, "dt": 0.5},
        {"replicas": 2},
    ],
    ids=lambda options: "-".join(options) or "plain",
)
def test_a_network_comes_back_as_it_was(tmp_path, options):
    net = network(**options)
    replica = 1 if "replicas" in options else None
    files.write(net, tmp_path / "net.nir", replica=replica)
    found = files.read(tmp_path / "net.nir")
    assert found.encoder is None
    for name in ("neurons", "output", "readout", "dt", "gain", "short_term"):
        assert getattr(found, name) == getattr(net, name)
    there, here = synsim.synapses(found), synsim.synapses(net)
    assert there.keys() == here.keys()
    for name, layer in here.items():
        values = [layer.expected_strength, layer.p, *([] if layer.bias is None else [layer.bias])]
        twin = there[name]
        again = [twin.expected_strength, twin.p, *([] if twin.bias is None else [twin.bias])]
        for value, copy in zip(values, again, strict=True):
            assert torch.equal(value if replica is None else value[replica], copy)
        assert (layer.sites, layer.scope, twin.replicas) == (twin.sites, twin.scope, None)
    assert [path.name for path in tmp_path.iterdir()] == ["net.nir"]


def test_nodes_hold_mean_strengths_and_metadata_the_rest(tmp_path):
    net = network(sites=2, short_term=ShortTerm(0.5, 0.0, 100.0))
    files.write(net, tmp_path / "net.nir", step=1e-3)
    graph = nir.read(tmp_path / "net.nir")
    first = graph.nodes["layers_0"]
    assert np.array_equal(first.weight, net.layers[0].expected_strength.detach().numpy())
    assert np.array_equal(first.metadata["p"], net.layers[0].p.numpy())
    assert (first.metadata["sites"], first.metadata["scope"]) == (2, "batch")
    assert graph.metadata["short_term_U"] == 0.5
    neurons = graph.nodes["population_1"]
    # An Euler step of 1 ms does what a step of the network does.
    assert np.allclose(1 - 1e-3 / neurons.tau, np.exp(-1 / 8))
    assert np.allclose(1e-3 / neurons.tau * neurons.r, 1)
    assert np.allclose(neurons.v_threshold, 0.4 * np.exp(1 / 8))


def run_by_steps(net, spikes):
    state, found = None, []
    with torch.no_grad():
        for step in spikes:
            out, state = net(step, state)
            found.append(out)
    return torch.stack(found)


@pytest.mark.parametrize("readout", ["mean", "count"])
def test_snntorch_fires_the_spikes_of_the_mean_field(tmp_path, readout, capsys):
    snntorch = other("snntorch.import_nir")
    net = network(readout=readout, dtype=torch.float32)
    spikes = volleys().float()
    with synsim.expected(net):
        ours = net.run(spikes)
    files.write(net, tmp_path / "net.nir")
    graph = nir.read(tmp_path / "net.nir")
    # Up to a population that fires: of the leaky readout it has no node.
    depth = 3 if readout == "count" else 2
    names = ["input"]
    for k in range(depth):
        names += [f"layers_{k}", f"population_{k + 1}"]
    size = graph.nodes[names[-1]].v_threshold.shape[0]
    nodes = {name: graph.nodes[name] for name in names} | {"output": nir.Output({"output": np.array([size])})}
    pairs = list(zip([*names], [*names[1:], "output"], strict=True))
    theirs = run_by_steps(snntorch.import_from_nir(nir.NIRGraph(nodes, pairs)), spikes)
    mine = ours.spikes["output" if readout == "count" else "hidden 2"]
    assert mine.any()
    # One step earlier for each layer.
    assert torch.equal(mine[depth:], theirs[: len(theirs) - depth])
    assert not mine[:depth].any()


def test_a_file_of_another_tool(tmp_path):
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=(4, 5)), rng.normal(size=(3, 4))]
    lif = nir.LIF(np.full(4, 5e-3), np.full(4, 10.0), np.zeros(4), np.full(4, 2.0))
    li = nir.LI(np.full(3, 20e-3), np.full(3, 4.0), np.zeros(3))
    graph = nir.NIRGraph.from_list(nir.Linear(weights[0]), lif, nir.Affine(weights[1], np.ones(3)), li)
    nir.write(tmp_path / "other.nir", graph)
    net = files.read(tmp_path / "other.nir", step=1e-3, dt=0.5)
    assert isinstance(net, SpikingMLP)
    assert (net.readout, net.dt, float(net.layers[0].p.min())) == ("mean", 0.5, 1)
    spikes = volleys()
    record = net.run(spikes)
    v, fired = torch.zeros(4, 4, dtype=torch.float64), []
    for step in spikes:
        v = v + 1e-3 / 5e-3 * (-v + 10.0 * step @ torch.from_numpy(weights[0]).t())
        fired.append((v > 2.0).double())
        v = v * (1 - fired[-1])
    fired = torch.stack(fired)
    assert fired.any()
    assert torch.equal(record.spikes["hidden 1"][1:], fired[:-1])
    u, membranes = torch.zeros(4, 3, dtype=torch.float64), []
    for step in record.spikes["hidden 1"]:
        u = u + 1e-3 / 20e-3 * (-u + 4.0 * (step @ torch.from_numpy(weights[1]).t() + 1))
        membranes.append(u)
    assert torch.allclose(record.membranes["output"], torch.stack(membranes), rtol=1e-10)


def lif(size=4, **changes):
    constants = {"tau": 5e-3, "r": 50.0, "v_leak": 0.0, "v_threshold": 1.0, "v_reset": 0.0, **changes}
    return nir.LIF(**{key: np.full(size, value) for key, value in constants.items()})


def linear(outputs=4, inputs=4):
    return nir.Linear(np.ones((outputs, inputs)))


REFUSED = {
    "kind": ([linear(), nir.CubaLIF(*[np.full(4, 0.01)] * 7)], "node 'cubalif' of kind CubaLIF; what can be run here"),
    "flatten": ([nir.Flatten({"input": np.array([4])}, 0), linear(), lif()], "node 'flatten' of kind Flatten"),
    "leak": ([linear(), lif(v_leak=0.5)], "behind 'linear' have v_leak other than 0"),
    "reset": ([linear(), lif(v_reset=-0.5)], "behind 'linear' have v_reset other than 0"),
    "alike": ([linear(), lif(), linear(), lif(tau=9e-3)], "behind 'linear_1' have another tau"),
    "order": ([linear(), linear(), lif()], "must have synapses, then neurons, in turn"),
    "short": ([linear(), lif(tau=5e-5)], "must be longer than step"),
    "silent": ([linear(), nir.LI(*[np.ones(4)] * 2, np.zeros(4)), linear(), lif()], r"never fire behind \['linear'\]"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_files_that_cannot_be_run_are_refused(tmp_path, name):
    nodes, message = REFUSED[name]
    nir.write(tmp_path / "other.nir", nir.NIRGraph.from_list(*nodes))
    with pytest.raises(ValueError, match=message):
        files.read(tmp_path / "other.nir")


def test_neurons_of_several_kinds_are_refused(tmp_path):
    node = lif()
    node.tau[1] = 7e-3
    nir.write(tmp_path / "other.nir", nir.NIRGraph.from_list(linear(), node))
    with pytest.raises(ValueError, match="behind 'linear' have several values of tau"):
        files.read(tmp_path / "other.nir")


def test_files_that_are_none(tmp_path):
    (tmp_path / "bad.nir").write_bytes(b"no HDF5")
    with pytest.raises(ValueError, match="can't be read as NIR"):
        files.read(tmp_path / "bad.nir")
    with pytest.raises(FileNotFoundError, match="is no file"):
        files.read(tmp_path / "none.nir")


class Own(synsim.BernoulliLinear):
    """A layer of one's own."""


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (lambda: network(reset="subtract"), "reset to rest alone"),
        (lambda: network(refractory=2.0), "no refractory periods"),
        (lambda: network(replicas=2), "the network has 2 replicas"),
        (lambda: synsim.mlp([4, 3]), "expected a network of spiking_mlp, got a Sequential"),
        (lambda: network(layer=Own), "layers_0 is a Own, which NIR has no word for"),
    ],
)
def test_networks_that_nir_cannot_say_are_refused(tmp_path, net, message):
    with pytest.raises(ValueError, match=message):
        files.write(net(), tmp_path / "net.nir")
    assert not list(tmp_path.iterdir())


def test_strengths_that_are_not_finite_are_refused(tmp_path):
    net = network()
    with torch.no_grad():
        net.layers[1].weight[0, 0] = float("nan")
    with pytest.raises(ValueError, match="strengths of layers_1 are not finite"):
        files.write(net, tmp_path / "net.nir")
