"""The exported network against torch spike by spike, and both against closed forms where releases are drawn."""

import copy
import importlib.util
import json
import subprocess
import sys
import time
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray
from scipy import stats
from small_runs import launch
from torch import nn

import synsim
from synsim.spiking import RegularRates, ShortTerm, brian, spiking_mlp
from synsim.spiking.brian import targets
from synsim.synapses import evaluation
from synsim.training import Session

pytest.importorskip("brian2")

WORLDS = ("torch", "brian2")
ORDER = ("repeat", "time", "image", "neuron")


def net_of(sizes=(12, 14, 10, 4), seed=0, **options):
    chosen = {"p": 1.0, "window": 1000.0, "threshold": 0.3, "dtype": torch.float64, "seed": seed, **options}
    net = spiking_mlp(list(sizes), **chosen)
    with torch.no_grad():
        for layer in net.layers:
            layer.weight += 0.06
            if layer.bias is not None:
                layer.bias += torch.linspace(-0.004, 0.012, layer.out_features)
    return net


def spikes_for(net, images=3, seed=1):
    x = torch.rand(images, net.layers[0].in_features, generator=torch.Generator().manual_seed(seed))
    return net.encode(x.double())


@torch.no_grad()
def same_everywhere(net, spikes, **options):
    """Runs both, and asserts that every spike and membrane is the same; the record of torch."""
    record, there = net.run(spikes), brian.to_brian2(net, target=options.pop("target", "numpy"))
    found = brian.run(there, spikes, progress=False, **options)
    assert set(found.spikes) == set(record.spikes) - {"input"}
    for name, fired in found.spikes.items():
        assert float(record.spikes[name].mean()) > 0.005, "the population is silent"
        for one in fired.transpose(*ORDER).values:
            assert np.array_equal(one, record.spikes[name].numpy() > 0), name
    for name, v in record.membranes.items():
        for one in found.membranes[name].transpose(*ORDER).values:
            np.testing.assert_allclose(one, v.numpy(), rtol=0, atol=1e-11, err_msg=name)
    for one in found.logits.values:
        np.testing.assert_allclose(one, record.logits.numpy(), rtol=0, atol=1e-11)
    return found


@pytest.mark.parametrize(("reset", "refractory"), list(product(["rest", "subtract"], [0.0, 1.0, 3.5])))
def test_spike_trains_are_identical_for_a_second(reset, refractory):
    net = net_of(reset=reset, refractory=refractory)
    found = same_everywhere(net, spikes_for(net))
    assert found.spikes["hidden 1"].sizes == {"repeat": 1, "image": 3, "time": 1000, "neuron": 14}
    assert found.spikes["hidden 1"].time.attrs["units"] == "ms"


@pytest.mark.parametrize(
    "options",
    [
        {"bias": True, "readout": "count", "refractory": 2.0},
        {"readout": "first", "dt": 0.5, "refractory": 2.0, "reset": "subtract"},
        {"readout": "max", "tau_readout": 4.0, "bias": True},
        {"short_term": ShortTerm(0.4, 0.0, 60.0), "scope": "batch"},
        {"short_term": ShortTerm(0.2, 50.0, 0.0), "scope": "batch", "refractory": 2.0},
        {"short_term": ShortTerm(0.3, 50.0, 80.0), "scope": "sample", "bias": True},
        {"scope": "event"},
        {"recurrent": True, "readout": "count", "refractory": 2.0},
        {"recurrent": True, "short_term": ShortTerm("p", 50.0, 80.0), "scope": "batch"},
        {"recurrent": True, "bias": True, "short_term": ShortTerm(0.3, 50.0, 80.0), "scope": "batch"},
    ],
    ids=str,
)
def test_whatever_the_neurons_and_readout(options):
    net = net_of(**{"window": 200.0, **options})
    # Two copies side by side show six examples in three windows, which must not know of each other.
    same_everywhere(net, spikes_for(net), repeats=2, copies=2)


@pytest.mark.parametrize("reset", ["rest", "subtract"])
def test_recurrent_spike_trains_are_identical_for_a_second(reset):
    net = net_of(reset=reset, refractory=3.0, recurrent=True)
    found = same_everywhere(net, spikes_for(net))
    for layer in net.recurrent:
        torch.nn.init.zeros_(layer.weight)
    without = brian.run(brian.to_brian2(net), spikes_for(net), progress=False)
    assert not found.spikes["hidden 1"].equals(without.spikes["hidden 1"])


@torch.no_grad()
def test_a_recurrent_network_releases_alike_in_both_worlds():
    net = net_of((12, 14, 4), p=0.4, sites=2, scope="event", recurrent=True, window=60.0)
    with torch.no_grad():
        net.recurrent[0].weight += 0.1
    spikes, repeats = spikes_for(net, 2), 200
    there = brian.run(brian.to_brian2(net), spikes, repeats=repeats, seed=5, progress=False)
    fired = there.spikes["hidden 1"].transpose("repeat", "image", "time", "neuron").values
    released = there.releases["recurrent.0"].transpose("repeat", "image", "time", "neuron").values
    # Every spike of the population is released or not at each of the two sites of its 14 synapses, in the same step.
    sent = fired.sum(-1)
    assert not released[sent == 0].any()
    trials = 2 * 14 * int(sent.sum())
    assert stats.binomtest(int(released.sum()), trials, 0.4).pvalue > 1e-3
    mine = []
    for number in range(repeats):
        with evaluation(net, 9) as passes:
            passes.at(number, 0, 0)
            record = net.run(spikes)
        mine.append([record.spikes["hidden 1"].sum(0).double(), record.membranes["output"].mean(0)])
    theirs = fired.sum(2).astype(float), there.membranes["output"].mean("time").values
    for one, other in zip(zip(*mine, strict=True), theirs, strict=True):
        p = stats.ttest_ind(torch.stack(one).numpy(), other).pvalue
        # Bonferroni over images and neurons, at one in a thousand.
        assert np.nanmin(p) > 1e-3 / p.size
    assert fired.mean() > 0.02


@torch.no_grad()
def test_a_recurrent_replica_goes_there_and_back():
    net = net_of((6, 5, 4, 3), p=[0.3, 0.6], replicas=2, scope="event", window=20.0, recurrent=True)
    there = brian.to_brian2(net, replica=1)
    assert "hidden 1 -> hidden 1" in str(there)
    assert "released_within_post += k" in str(there)
    before = copy.deepcopy(net.state_dict())
    brian.from_brian2(there, net)
    assert all(torch.equal(net.state_dict()[name], value) for name, value in before.items())
    there.synapses["recurrent.1"].w = 0.25
    brian.from_brian2(there, net)
    assert bool((net.recurrent[1].weight[1] == 0.25).all())
    assert torch.equal(net.recurrent[1].weight[0], before["recurrent.1.weight"][0])


@pytest.mark.slow
@pytest.mark.parametrize("target", ["cython", "cpp_standalone"])
def test_compiled_targets_are_the_same(target):
    if brian.compiler_problem() is not None:
        pytest.skip(brian.compiler_problem())
    net = net_of(refractory=3.0, bias=True, short_term=ShortTerm(0.3, 50.0, 80.0), recurrent=True)
    same_everywhere(net, spikes_for(net), target=target)
    net, given, theory = synapse(0.7, 5)
    assert_moments(brian2_samples(net, given, target), theory)


def synapse(p, sites, short_term=None):
    """A net whose outputs are independent samples of one synapse, its input, and the moments to be expected."""
    tau, w, steps = 12.0, 0.8, 40
    options = {"tau_readout": tau, "window": float(steps), "scope": "event", "short_term": short_term}
    net = spiking_mlp([1, 400], p=p, sites=sites, dtype=torch.float64, **options)
    nn.init.constant_(net.layers[0].weight, w)
    given = torch.zeros(steps, 50, 1).double()
    given[[2, 3, 7, 15, 16, 17, 30]] = 1
    own = () if short_term is None or not short_term.per_synapse else (net.layers[0].p,)
    factor = np.ones(steps) if short_term is None else short_term.factors(given, 1.0, *own).flatten(1)[:, 0].numpy()
    fired, chance = given[:, 0, 0].numpy(), p * np.minimum(factor, 1 / p)
    cumulants = (
        sites * chance,
        sites * chance * (1 - chance),
        sites * chance * (1 - chance) * (1 - 6 * chance * (1 - chance)),
    )
    theory = {"releases": [fired * one for one in cumulants]}
    ago = np.arange(steps)[:, None] - np.arange(steps)
    decay = np.where(ago >= 0, np.exp(-ago / tau), 0.0)
    jump = w / (sites * p)
    theory["membrane"] = [(decay * jump) ** n @ (fired * one) for n, one in zip((1, 2, 4), cumulants, strict=True)]
    return net, given, theory


def torch_samples(net, given, _=None):
    with torch.no_grad(), evaluation(net, 3) as passes:
        passes.at(0, 0, 0)
        v = net.run(given).membranes["output"]
        # With w̄ = N p a layer transmits how many sites were released.
        counting = copy.deepcopy(net)
        counting.layers[0].weight.copy_(net.layers[0].p * net.layers[0].sites)
        counts = counting._transmit(counting.layers[0], given)
    return {"releases": counts.flatten(1).numpy(), "membrane": v.flatten(1).numpy()}


def brian2_samples(net, given, target="numpy"):
    found = brian.run(brian.to_brian2(net, target=target), given, seed=3, progress=False)
    series = {"releases": found.releases["layers.0"], "membrane": found.membranes["output"]}
    return {name: one.transpose("time", ...).values.reshape(len(given), -1) for name, one in series.items()}


def assert_moments(samples, theory):
    for name, values in samples.items():
        mean, variance, fourth = theory[name]
        n = values.shape[1]
        for t in (3, 17, 30):
            error = np.sqrt(variance[t] / n)
            assert abs(values[t].mean() - mean[t]) <= 3 * error, (name, t)
            error = np.sqrt(fourth[t] / n + 2 * variance[t] ** 2 / (n - 1))
            assert abs(values[t].var(ddof=1) - variance[t]) <= 3 * error, (name, t)


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize(("p", "sites"), [(0.3, 1), (0.8, 1), (0.3, 5), (0.8, 5), (0.6, 19)])
def test_release_and_membrane_have_the_moments_of_the_closed_form(world, p, sites):
    net, given, theory = synapse(p, sites)
    found = {"torch": torch_samples, "brian2": brian2_samples}[world](net, given)
    assert found["releases"].max() <= sites
    assert not found["releases"][given[:, 0, 0].numpy() == 0].any()
    assert_moments(found, theory)


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize(
    "short_term",
    [ShortTerm(0.5, 0.0, 30.0), ShortTerm(0.2, 40.0, 30.0), ShortTerm(0.2, 40.0, 0.0), ShortTerm("p", 40.0, 30.0)],
)
def test_short_term_plasticity_has_them_too(world, short_term):
    # Facilitation without depression reaches p · factor > 1, where release is certain.
    net, given, theory = synapse(0.5, 2, short_term)
    assert_moments({"torch": torch_samples, "brian2": brian2_samples}[world](net, given), theory)


def test_depression_settles_where_the_closed_form_says():
    short_term = ShortTerm(0.4, 20.0, 60.0)
    net = spiking_mlp(
        [1, 300], p=0.3, scope="event", window=600.0, short_term=short_term, dtype=torch.float64,
        encoder=RegularRates(100.0, window=600.0, dt=1.0),
    )  # fmt: skip
    given = net.encode(torch.ones(4, 1).double())
    late = np.flatnonzero(given[:, 0, 0].numpy())[40:]
    found = brian.run(brian.to_brian2(net, target="numpy"), given, seed=2, progress=False).releases["layers.0"]
    u, x = short_term.steady(10.0)
    p = 0.3 * u * x / short_term.U
    values = found.isel(time=late).values
    assert abs(values.mean() - p) <= 3 * np.sqrt(p * (1 - p) / values.size)


def test_views_decide_what_is_exported():
    net = net_of(p=0.5, window=100.0, replicas=None)
    spikes = spikes_for(net)
    with pytest.raises(ValueError, match=r"layer 'layers.0' has scope='batch'.*frozen"):
        brian.to_brian2(net, target="numpy")
    with synsim.expected(net):
        mean = same_everywhere(net, spikes)
    assert mean.releases == {}
    net.run(spikes)
    with synsim.frozen(net):
        held = same_everywhere(net, spikes)
        mask = net.layers[0].mask
        there = brian.to_brian2(net, target="numpy")
    assert not held.spikes["hidden 1"].equals(mean.spikes["hidden 1"])
    # Under the mask of a pass, each synapse depresses by its own p.
    own = net_of(p=0.5, window=100.0, short_term=ShortTerm("p", 20.0, 40.0))
    for layer in own.layers:
        layer.p.uniform_(0.2, 1.0, generator=torch.Generator().manual_seed(4))
    own.run(spikes)
    with synsim.frozen(own):
        same_everywhere(own, spikes)
    first = there.synapses["layers.0"]
    assert np.array_equal(np.asarray(first.scale[:]).reshape(12, 14).T > 0, mask.numpy())


@torch.no_grad()
def test_a_replica_goes_there_and_back():
    net = net_of(p=[0.3, 0.6], replicas=2, scope="event", window=50.0)
    there = brian.to_brian2(net, replica=1, target="numpy")
    first = there.synapses["layers.0"]
    at = np.flatnonzero((np.asarray(first.i[:]) == 3) & (np.asarray(first.j[:]) == 5))
    assert float(first.w[at[0]]) == float(net.layers[0].weight[1, 5, 3])
    assert float(first.p[at[0]]) == 0.6
    before = copy.deepcopy(net.state_dict())
    brian.from_brian2(there, net)
    assert all(torch.equal(net.state_dict()[name], value) for name, value in before.items())
    first.w[at] = 0.25
    there.synapses["layers.2"].p = 0.9
    brian.from_brian2(there, net)
    assert float(net.layers[0].weight[1, 5, 3]) == 0.25
    assert bool((net.layers[2].p[1] == 0.9).all())
    assert torch.equal(net.layers[0].weight[0], before["layers.0.weight"][0])
    assert torch.equal(net.layers[2].p[0], before["layers.2.p"][0])
    # A run takes them too.
    there.synapses["layers.0"].w = 0.0
    silent = brian.run(there, spikes_for(net)[1], progress=False)
    assert not silent.spikes["hidden 1"].any()
    there.synapses["layers.0"].p = 1.5
    with pytest.raises(ValueError, match=r"p in \(0, 1\], got .* p from 1.5"):
        brian.from_brian2(there, net)
    with pytest.raises(ValueError, match="layers of"):
        brian.from_brian2(brian.to_brian2(net_of((12, 3)), target="numpy"), net_of((12, 4)))


def test_a_run_repeats_itself_and_leaves_everything_as_it_was():
    import brian2

    net = net_of(p=0.5, scope="event", window=40.0)
    spikes, there = spikes_for(net), brian.to_brian2(net, target="numpy")
    numbers, target = np.random.get_state()[1].copy(), brian2.prefs.codegen.target  # noqa: NPY002
    one, same, other = (brian.run(there, spikes, repeats=3, seed=s, progress=False) for s in (1, 1, 2))
    assert one.logits.equals(same.logits)
    assert not one.logits.equals(other.logits)
    assert not one.logits.isel(repeat=0).equals(one.logits.isel(repeat=1))
    assert np.array_equal(numbers, np.random.get_state()[1])  # noqa: NPY002
    assert brian2.prefs.codegen.target == target
    few = brian.run(there, spikes, repeats=3, seed=1, progress=False, record_spikes=(), record_membranes=("hidden 1",))
    assert few.spikes == {}
    assert set(few.membranes) == {"hidden 1"}
    assert few.logits.equals(one.logits)


def test_a_job_that_ignores_ctrl_c_ignores_it_still():
    program = """
import os, signal
from synsim.spiking.brian import targets
signal.signal(signal.SIGINT, signal.SIG_IGN)
targets.brian2()
os.kill(os.getpid(), signal.SIGINT)
print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.stdout == "True\n", done.stderr


def test_its_objects_can_be_used_by_hand():
    import brian2

    net = net_of(window=30.0, refractory=2.0, bias=True)
    spikes, there = spikes_for(net, 1), brian.to_brian2(net, target="numpy")
    text = str(there)
    assert "dv/dt = -v*int(not_refractory)/tau : 1" in text
    assert "v_post += w" in text
    at, neuron = (axis.numpy() for axis in spikes[:, 0].nonzero(as_tuple=True))
    with pytest.MonkeyPatch.context() as patch, targets.using("numpy"):
        patch.setitem(brian2.prefs, "codegen.target", "numpy")
        there.input.set_spikes(neuron, at * brian2.ms)
        monitor = brian2.SpikeMonitor(there.populations["hidden 1"])
        there.network.add(monitor)
        there.network.run(30 * brian2.ms)
    fired = brian.run(there, spikes, progress=False).spikes["hidden 1"]
    assert monitor.num_spikes == int(fired.sum()) > 0


class Doubled(synsim.BernoulliLinear):
    pass


def odd():
    net = net_of()
    net.layers[1] = Doubled(14, 10)
    return net


def broken():
    net = net_of()
    net.layers[1].weight.data[0, 0] = torch.nan
    return net


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: synsim.mlp([4, 3, 2]), "got a Sequential; its layer '.*' is a BernoulliLinear without spikes"),
        (lambda: nn.Linear(3, 2), "expected a SpikingMLP, got a Linear"),
        (odd, "layer 'layers.1' is a Doubled, which has no counterpart"),
        (broken, "the weights of layer 'layers.1' are not finite"),
        (lambda: net_of(p=0.5, scope="sample"), "layer 'layers.0' has scope='sample', which Brian2 cannot express"),
        (lambda: net_of(p=0.5, scope="event-gaussian"), "layer 'layers.0' has scope='event-gaussian'"),
        (lambda: net_of(replicas=2), "has 2 replicas; choose one"),
    ],
)
def test_what_brian2_cannot_express_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        brian.to_brian2(make(), target="numpy")


def test_bad_arguments_are_refused():
    net = net_of(p=0.5, scope="event", window=20.0)
    there, spikes = brian.to_brian2(net, target="numpy"), spikes_for(net)
    with synsim.frozen(net), pytest.raises(ValueError, match="is frozen, but draws for each spike"):
        brian.to_brian2(net, target="numpy")
    for call, message in [
        (lambda: brian.to_brian2(net, replica=0), "the network has no replicas, got replica=0"),
        (lambda: brian.to_brian2(net, target="genn"), "target must be one of numpy, cython, cpp_standalone"),
        (lambda: brian.run(there, spikes.transpose(0, 2)), r"spikes must be \[T, B, 12\], with time before"),
        (lambda: brian.run(there, spikes.transpose(0, 1)), "looks like examples before the 20 steps"),
        (lambda: brian.run(there, spikes * 0.5), "spikes must be 0 or 1"),
        (lambda: brian.run(there, spikes, repeats=0), "repeats must be a whole number"),
        (lambda: brian.run(there, spikes, seed=2**32), "seed must be below"),
        (lambda: brian.run(there, spikes, record_spikes=("output",)), "record_spikes must be of hidden 1, hidden 2"),
        (lambda: brian.run(there, spikes * (1 + 0j)), "spikes must be real numbers"),
        (lambda: brian.run(there, [["0"]]), "spikes must be real numbers"),
        (lambda: brian.run(net, spikes), "there must be a BrianNetwork, got"),
        (lambda: brian.run(there, spikes, progress="False"), "progress must be True or False, got 'False'"),
        (lambda: brian.from_brian2(net, there), "there must be a BrianNetwork, got"),
        (lambda: brian.to_brian2(net, target=np.zeros(2)), "target must be text or None, got"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()


def test_without_brian2_it_says_how_to_get_it(monkeypatch):
    net = net_of(window=20.0)
    monkeypatch.delitem(sys.modules, "brian2", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install synsim\[spiking\]"):
        brian.to_brian2(net)


def test_without_a_compiler_it_takes_numpy_and_says_so(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    targets.compiler_problem.cache_clear()
    try:
        with pytest.warns(UserWarning, match="NumPy target, which is slower: the C\\+\\+ compiler 'no-such-compiler'"):
            assert targets.chosen(None, targets.SMALL + 1) == "numpy"
        for target in ("cython", "cpp_standalone"):
            with pytest.raises(RuntimeError, match=f"target='{target}' needs a C\\+\\+ compiler"):
                brian.to_brian2(net_of(window=20.0), target=target)
    finally:
        targets.compiler_problem.cache_clear()


def test_small_networks_run_on_numpy_and_say_nothing(monkeypatch):
    monkeypatch.setattr(targets, "compiler_problem", lambda: None)
    net = net_of(window=20.0)
    assert brian.to_brian2(net).target == "numpy"
    assert brian.to_brian2(net, target="cython").target == "cython"
    monkeypatch.setattr(targets, "SMALL", sum(layer.p.numel() for layer in net.layers) - 1)
    assert brian.to_brian2(net).target == "cython"
    assert targets.chosen(None) == "cython"


@pytest.mark.parametrize(("target", "shown"), [("cython", True), ("cython", False), ("numpy", True)])
def test_where_compiling_takes_long_it_is_said_once(target, shown, monkeypatch, capsys):
    monkeypatch.setattr(targets, "PATIENCE", 0.02)
    with targets.patience(target, None, shown=shown):
        time.sleep(0.2)
    said = capsys.readouterr().err
    assert said.count("compiling once, this takes minutes") == int(shown and target == "cython")
    # What begins to run within that time was compiled before.
    monkeypatch.setattr(targets, "PATIENCE", 0.1)
    with targets.patience(target, None, shown=shown) as begin:
        begin()
        time.sleep(0.2)
    assert capsys.readouterr().err == ""


def test_a_program_that_is_there_is_not_announced(tmp_path, capsys):
    with targets.patience("cpp_standalone", tmp_path, shown=True):
        pass
    assert "compiling once" in capsys.readouterr().err
    (tmp_path / "main").touch()
    with targets.patience("cpp_standalone", tmp_path, shown=True):
        pass
    assert capsys.readouterr().err == ""


def test_cpp_standalone_without_make_says_so(monkeypatch):
    monkeypatch.setattr(targets, "compiler_problem", lambda: None)
    monkeypatch.setattr(targets.shutil, "which", lambda name: None)
    with pytest.raises(RuntimeError, match="needs make, which was not found"):
        targets.chosen("cpp_standalone")


@pytest.mark.parametrize("missing", ["brian2", "compiler"])
def test_the_check_says_what_is_missing_before_it_trains(scripts, monkeypatch, tmp_path, capsys, missing):
    check = scripts("brian2_check")
    monkeypatch.setattr(Session, "fit", None)
    if missing == "brian2":
        monkeypatch.delitem(sys.modules, "brian2", raising=False)
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    else:
        monkeypatch.setattr(targets, "compiler_problem", lambda: "the C++ compiler 'c++' was not found")
    arguments = ["--data", "digits", "--quiet", "--out", str(tmp_path / "run"), "--target", "cython"]
    with pytest.raises(SystemExit):
        launch(check, arguments)
    said = capsys.readouterr().err
    assert ("pip install synsim[spiking]" if missing == "brian2" else "needs a C++ compiler") in said


@pytest.fixture
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "experiments"))
    return importlib.import_module


@pytest.fixture
def check(scripts):
    return scripts("agreement")


def test_a_trained_network_agrees_with_itself_on_the_digits(scripts, tmp_path):
    check = scripts("brian2_check")
    arguments = ["--data", "digits", "--hidden", "20", "--epochs", "2", "--window", "20", "--images", "60", "--repeats",
                 "20", "--sites", "2", "--seeds", "4", "--quiet", "--threads", "1", "--out", str(tmp_path / "run"),
                 "--target", "numpy"]  # fmt: skip
    launch(check, arguments)
    rows = json.loads((tmp_path / "run" / "summary.json").read_text())["rows"]
    found = {(row["method"], row["metric"]): row["mean"] for row in rows}
    means = {metric.removeprefix("expected strengths: "): mean for (_, metric), mean in found.items()}
    assert means["same prediction, % of images"] == 100
    assert means["same spike train, % of images × neurons"] == 100
    assert means["largest difference of an output membrane"] < 1e-11
    assert found["torch", "accuracy, release per spike, %"] > 20
    # Of 60 images 0.28 exceed by chance; four or more do so in 2 of 10,000 runs.
    limit = 100 * (1 - 3.5 / 60)
    assert found["agreement", "release per spike: mean readout of the winner within 3 s.e., % of images"] > limit
    assert found["agreement", "release per spike: all classes, T² not beyond 0.27 %, % of images"] > limit
    for world in ("torch", "Brian2"):
        name = "mean sites within 3 s.e. of the closed form, layers.0, % of images"
        assert found[world, name] > limit
        # The standard error of a mean of 60 variances of 20 normal numbers each is √(2 / 19 / 60).
        ratio = found[world, "variance of sites over that of the closed form, layers.0"]
        assert abs(ratio - 1) <= 3 * np.sqrt(2 / 19 / 60)


def test_hotelling_knows_equal_means_from_others(check):
    draw = np.random.default_rng(5)
    mix = draw.normal(size=(4, 4))
    a, b = (draw.normal(size=(600, 15, 4)) @ mix for _ in range(2))
    p = check.hotelling(a, b)
    assert stats.kstest(p, "uniform").pvalue > 0.01
    # One number is Student's t, two-sided.
    one = check.hotelling(a[..., :1], b[..., :1])
    np.testing.assert_allclose(one, stats.ttest_ind(a[..., 0], b[..., 0], axis=1).pvalue, rtol=1e-9)
    assert np.median(check.hotelling(a, b + mix.sum(0))) < 0.05
    # Classes that repeat others, or never vary, say nothing more; rounding is no variance.
    more = [np.concatenate([x, x[..., :1], np.full((600, 15, 1), 0.7) + 1e-15 * x[..., :1]], -1) for x in (a, b)]
    np.testing.assert_allclose(check.hotelling(*more), p, rtol=1e-6)
    assert (check.hotelling(np.ones((2, 15, 3)), np.ones((2, 15, 3)) + 1e-15) == 1).all()
    assert (check.hotelling(np.ones((2, 15, 3)), np.full((2, 15, 3), 1.01)) == 0).all()


def test_z_of_equal_means_is_standard(check):
    draw = np.random.default_rng(6)
    values = xarray.DataArray(draw.gamma(3.0, size=(2, 50, 4000)), dims=("world", "repeat", "image"))
    values = values.assign_coords(world=["torch", "Brian2"])
    z = check.standardised(values).values
    t = stats.ttest_ind(values.values[0], values.values[1], axis=0).statistic
    np.testing.assert_allclose(z, t, rtol=1e-9)
    still = xarray.zeros_like(values) + xarray.DataArray([0.3, 0.3 + 1e-15], dims="world")
    assert (check.standardised(still) == 0).all()
    assert (abs(check.standardised(still + xarray.DataArray([0.0, 0.1], dims="world"))) > 1e9).all()
