"""Important synapses per neuron: counts, shuffles and tests against loops and closed forms; the scripts on digits."""

import importlib
import importlib.util
import itertools
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray
from scipy import stats
from small_runs import launch

import synsim
from synsim import records
from synsim.meters import sparsity

ROOT = Path(synsim.__file__).resolve().parent.parent
SEEDS = (3, 5, 8)


def network(sizes=(6, 5, 4, 3), replicas=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    net = synsim.mlp(list(sizes), replicas=replicas)
    for layer in synsim.synapses(net).values():
        layer.p.copy_(0.25 + 0.75 * torch.rand(layer.p.shape, generator=generator).sqrt())
    return net


def masks_of(shape, share=0.3, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return {"0": torch.rand(shape, generator=generator) < share}


@pytest.mark.parametrize("replicas", [None, 1, 3])
def test_counts_are_those_of_plain_loops(replicas):
    net = network(replicas=replicas)
    found = sparsity.important_counts(sparsity.important(net))
    assert list(found) == [
        "input outputs", "hidden 1 inputs", "hidden 1 outputs", "hidden 2 inputs", "hidden 2 outputs", "output inputs",
    ]  # fmt: skip
    layers = [layer.p if replicas else layer.p[None] for layer in synsim.synapses(net).values()]
    sides = iter(found.values())
    for p in layers:
        after, before = (next(sides) for _ in range(2))
        inputs, outputs = np.zeros((len(p), p.shape[1])), np.zeros((len(p), p.shape[2]))
        for r, j, i in itertools.product(*map(range, p.shape)):
            inputs[r, j] += p[r, j, i] >= 0.9
            outputs[r, i] += p[r, j, i] >= 0.9
        assert 0 < inputs.sum() < p.numel()
        assert before.tolist() == (inputs if replicas else inputs[0]).tolist()
        assert after.tolist() == (outputs if replicas else outputs[0]).tolist()


def test_the_limit_itself_is_important():
    net = network((2, 2))
    layer = synsim.synapses(net)["0"]
    layer.p.copy_(torch.tensor([[0.9, 0.8999], [0.25, 1.0]]))
    assert sparsity.important(net)["0"].tolist() == [[True, False], [False, True]]
    assert sparsity.important(net, 0.3)["0"].tolist() == [[True, True], [False, True]]


def test_inputs_are_what_a_neuron_listens_to_and_outputs_what_listens_to_it():
    net = network((6, 5, 4)).double()
    masks = sparsity.important(net)
    for name, layer in synsim.synapses(net).items():
        layer.weight.data = masks[name].double()
    counts = sparsity.important_counts(masks)
    with synsim.expected(net):
        jacobian = torch.autograd.functional.jacobian(net[0], torch.ones(1, 6, dtype=torch.float64))[0, :, 0]
        later = torch.autograd.functional.jacobian(net[2], torch.ones(1, 5, dtype=torch.float64))[0, :, 0]
    assert counts["hidden 1 inputs"].tolist() == (jacobian != 0).sum(1).tolist()
    assert counts["input outputs"].tolist() == (jacobian != 0).sum(0).tolist()
    assert counts["hidden 1 outputs"].tolist() == (later != 0).sum(0).tolist()
    assert counts["output inputs"].tolist() == (later != 0).sum(1).tolist()


def test_a_shuffle_keeps_the_number_and_forgets_the_places():
    masks = {"0": torch.zeros(2, 40, 30, dtype=torch.bool), "2": torch.zeros(2, 10, 40, dtype=torch.bool)}
    masks["0"][0, 7], masks["0"][1, :5], masks["2"][:, :, 3] = True, True, True
    found = sparsity.shuffled(masks, (3, 5), 4)
    for name, mask in masks.items():
        assert found[name].shape == (4, *mask.shape)
        assert (found[name].sum((-1, -2)) == mask.sum((-1, -2))).all()
        flat = found[name].flatten(2)
        assert len({tuple(row.tolist()) for row in flat.flatten(0, 1)}) == 8
    again = sparsity.shuffled(masks, (3, 5), 2)
    assert (again["0"] == found["0"][:2]).all()
    alone = sparsity.shuffled({name: mask[1] for name, mask in masks.items()}, (5,), 4)
    assert all((alone[name] == found[name][:, 1]).all() for name in masks)
    assert not (sparsity.shuffled(masks, (4, 5))["0"][0, 0] == found["0"][0, 0]).all()


def test_counts_of_a_shuffled_matrix_are_hypergeometric():
    rows, columns = 20, 50
    masks = masks_of((rows, columns))
    ones, all_of_them = int(masks["0"].sum()), rows * columns
    baseline = sparsity.important_counts({"0": sparsity.shuffled(masks, (1,), 400)["0"]})
    for side, size, count in (("output inputs", columns, rows), ("input outputs", rows, columns)):
        values = baseline[side].double()
        law = stats.hypergeom(all_of_them, ones, size)
        assert values.mean().item() == pytest.approx(ones / count, rel=1e-12)
        # Neurons of one shuffle share its ones, so the sum of squares per shuffle is what is independent.
        squares = (values - law.mean()).square().mean(1).numpy()
        assert abs(squares.mean() - law.var()) < 4 * squares.std(ddof=1) / math.sqrt(400)
        places = np.arange(law.ppf(0.001), law.ppf(0.999))
        cumulative = [(values <= place).double().mean().item() for place in places]
        np.testing.assert_allclose(cumulative, law.cdf(places), atol=0.02)


def test_every_place_is_as_likely():
    masks = {"0": torch.zeros(5, 8, dtype=torch.bool)}
    masks["0"][0] = True
    hits = sparsity.shuffled(masks, (2,), 2000)["0"].double().sum(0).flatten().numpy()
    # 8 of 40 places without replacement: the variance of a hit is 0.2 · 0.8, the sum of all is fixed.
    statistic = ((hits - 400) ** 2 / (2000 * 0.2 * 0.8)).sum() * 39 / 40
    assert 1e-3 < stats.chi2.sf(statistic, 39) < 1 - 1e-3


def naive_distance(a, b):
    return max(abs((a <= x).mean() - (b <= x).mean()) for x in np.concatenate([a, b]))


def test_the_test_is_that_of_kolmogorov_and_smirnov():
    generator = torch.Generator().manual_seed(4)
    counts = torch.randint(0, 9, (3, 60), generator=generator)
    baseline = torch.randint(2, 7, (5, 3, 60), generator=generator)
    d, p = sparsity.shuffle_test(counts, baseline)
    assert d.shape == p.shape == (5, 3)
    for s, r in itertools.product(range(5), range(3)):
        wanted = naive_distance(counts[r].numpy(), baseline[s, r].numpy())
        assert d[s, r].item() == pytest.approx(wanted, rel=1e-12)
        # Where nothing is tied, the tail is 2 Σ (−1)^(k−1) exp(−2 k² n/2 D²) (Kolmogorov 1933), nearly.
        tail = 2 * sum((-1) ** (k - 1) * math.exp(-2 * k * k * 30 * wanted**2) for k in range(1, 50))
        assert p[s, r].item() == pytest.approx(min(1.0, tail), abs=0.1)
    plain = sparsity.shuffle_test(counts[0], baseline[0, 0])
    assert plain[0].shape == ()
    assert plain[0] == d[0, 0]


def test_ten_against_ten_neurons_as_published():
    # D = 4/10: of all C(20, 10) paths the share that reaches a distance of 4 is 2 [C(20, 14) − C(20, 18)] / C(20, 10).
    d, p = sparsity.shuffle_test(torch.arange(10), torch.arange(10) + 3.5)
    assert d.item() == pytest.approx(0.4)
    assert p.item() == pytest.approx(2 * (math.comb(20, 14) - math.comb(20, 18)) / math.comb(20, 10), rel=1e-9)
    same = sparsity.shuffle_test(torch.arange(10), torch.arange(10))
    assert (same[0].item(), same[1].item()) == (0.0, 1.0)


def test_classes_are_two_standard_deviations_apart():
    baseline = torch.tensor([[[8, 12, 8, 12]], [[8, 12, 8, 12]]])  # mean 10, sd 2
    counts = torch.tensor([[6, 5, 14, 15]])
    assert sparsity.importance_class(counts, baseline).tolist() == [[0, -1, 0, 1]]
    assert sparsity.importance_class(counts, baseline, 1.0).tolist() == [[-1, -1, 1, 1]]
    both = torch.cat([baseline, baseline + 100], 1)
    assert sparsity.importance_class(torch.cat([counts, counts], 0), both).tolist() == [[0, -1, 0, 1], [-1] * 4]


def test_correlations_are_those_of_numpy_and_scipy():
    generator = torch.Generator().manual_seed(5)
    a = torch.randint(0, 6, (2, 3, 50), generator=generator)
    b = a + torch.randint(0, 9, a.shape, generator=generator)
    r, rho = sparsity.correlation(a, b), sparsity.correlation(a, b, ranks=True)
    for place in itertools.product(range(2), range(3)):
        x, y = a[place].numpy(), b[place].numpy()
        assert r[place].item() == pytest.approx(np.corrcoef(x, y)[0, 1], rel=1e-12)
        assert rho[place].item() == pytest.approx(stats.spearmanr(x, y).statistic, rel=1e-12)
    assert sparsity.correlation(a[0, 0], 3 * a[0, 0] + 1).item() == pytest.approx(1.0)
    constant = torch.full((4,), 0.1)
    assert sparsity.correlation(constant, torch.arange(4)).isnan()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sparsity.important(synsim.networks.cnn()), "'conv1', a BernoulliConv2d"),
        (lambda: sparsity.important(torch.nn.Linear(3, 2)), "with stochastic layers, got none"),
        (lambda: sparsity.important(network(), 1.5), "between 0 and 1, got 1.5"),
        (lambda: sparsity.important_counts({}), "at least one mask"),
        (lambda: sparsity.important_counts({"0": torch.ones(2, 3)}), r"bools \[..., out, in\], got torch.float32"),
        (lambda: sparsity.important_counts({**masks_of((4, 3)), "2": masks_of((2, 5))["0"]}), "must follow on"),
        (lambda: sparsity.shuffled(masks_of((2, 4, 3)), (1,)), "one seed per replica of '0', 2, got 1"),
        (lambda: sparsity.shuffled(masks_of((4, 3)), (1,), 0), "shuffles must be a whole number of at least 1"),
        (lambda: sparsity.shuffle_test(torch.arange(4), torch.arange(5)), r"shape of the counts, \[4\]"),
        (lambda: sparsity.importance_class(torch.arange(4), torch.arange(4)), "after an axis of shuffles"),
        (lambda: sparsity.correlation(torch.arange(4), torch.arange(5)), "tensors of one shape"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.fixture
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    monkeypatch.syspath_prepend(str(ROOT))


def run(name, out, *more):
    sys.modules.pop(name, None)
    script = importlib.import_module(name)
    given = ["--data", "digits", "--batch", "20", "--hidden", "40", "40", "--epochs", "12", "--quiet", "--threads", "1"]
    given += ["--seeds", *map(str, SEEDS), "--out", str(out), *more]
    launch(script, given)
    rows = json.loads((out / "summary.json").read_text())["rows"]
    return records.open(out).dataset, {(row["method"], row["metric"]): row for row in rows}


@pytest.fixture(scope="module")
def neurons(tmp_path_factory):
    """The run whose trained network both tests look into."""
    out = tmp_path_factory.mktemp("runs") / "neurons"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "experiments"))
        return out, *run("neurons", out)


def test_important_synapses_gather_on_few_neurons(neurons):
    _, dataset, rows = neurons
    for side in ("hidden 1 inputs", "hidden 1 outputs", "hidden 2 inputs", "hidden 2 outputs"):
        assert rows[side, "Kolmogorov-Smirnov p"]["mean"] < 0.05, side
    for side in ("hidden 1 inputs", "hidden 2 inputs"):
        for kind in ("highly", "lowly"):
            true, shuffled = (rows[side, f"{kind} important neurons, {of}, %"] for of in ("true", "shuffled"))
            assert true["mean"] - 3 * true["sem"] > shuffled["mean"] + 3 * shuffled["sem"]
    for hidden in ("hidden 1", "hidden 2"):
        assert rows[hidden, "r of important inputs and outputs"]["mean"] > 0.8
    assert rows["hidden 1", "r of important inputs and outputs"]["reference"]["mean"] == 0.939
    assert rows["hidden 2 inputs", "Kolmogorov-Smirnov D"]["reference"]["mean"] == 0.505
    assert dataset["count"].sel(side="output inputs").notnull().sum("neuron").values.tolist() == [10] * 3


def test_reliable_synapses_cost_more_and_know_more(scripts, neurons, tmp_path):
    more = ["--images", "300", "--source", str(neurons[0])]
    dataset, rows = run("importance_of_release", tmp_path / "release", *more)
    for name in ("energy", "fisher"):
        high, low = (dataset[f"{name}_mean"].sel(group=group) for group in ("high", "low"))
        assert bool((high > 1.5 * low).all())
    for label in ("mean |w̄|", "mean Fisher"):
        test = rows["p ≥ 0.9 – p < 0.9", f"{label}, all, difference"]["test"]
        assert test["p_holm"] < 0.01
        assert test["g"] > 2
    assert dataset.p_histogram.sel(when="before").sum("bin").values.tolist() == [1.0] * 3
    assert dataset.p_histogram.sel(when="before").isel(bin=12).values.tolist() == [1.0] * 3
    pooled = dataset.r.sel(layer="all", kind="Spearman").mean("replica")
    assert bool((pooled > 0.1).all())
    assert float(pooled.sel(importance="fisher, empirical, test set")) > float(pooled.sel(importance="magnitude"))


def test_groups_and_correlations_are_those_of_plain_arrays(scripts):
    script = importlib.import_module("importance_of_release")
    net = network((6, 5, 4), replicas=2)
    p = {f"{name}.weight": layer.p.double() for name, layer in synsim.synapses(net).items()}
    value = {name: (one - 0.5).abs() * torch.arange(one[0].numel()).reshape(one.shape[1:]) for name, one in p.items()}
    means, r = script.by_group(net, value), script.correlations(net, value)
    assert means.shape == (2, 3, 2)
    assert r.shape == (2, 3, 2)
    for replica in range(2):
        flat = [(p[name][replica].numpy().ravel(), value[name][replica].numpy().ravel()) for name in p]
        flat.append(tuple(np.concatenate(parts) for parts in zip(*flat, strict=True)))
        for layer, (x, y) in enumerate(flat):
            assert means[0, layer, replica] == pytest.approx(y[x >= 0.9].mean(), rel=1e-6)
            assert means[1, layer, replica] == pytest.approx(y[x < 0.9].mean(), rel=1e-6)
            assert r[replica, layer, 0].item() == pytest.approx(np.corrcoef(x, y)[0, 1], rel=1e-5)
            assert r[replica, layer, 1].item() == pytest.approx(stats.spearmanr(x, y).statistic, rel=1e-5)


def figures_of(name):
    spec = importlib.util.spec_from_file_location(f"analysis_{name}", ROOT / "analysis" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def close(found, wanted):
    np.testing.assert_allclose(np.array(found, dtype=float), np.array(wanted, dtype=float), rtol=1e-12, atol=1e-12)


def test_figures_of_neurons(scripts, tmp_path):
    script = importlib.import_module("neurons")
    net = synsim.networks.initialised(network((30, 20, 10, 5), replicas=3), SEEDS)
    dataset = script.spread(net, 4).assign(failed=("replica", [False, True, False]))
    dataset = dataset.assign_coords(seed=("replica", list(SEEDS)))
    figures_of("neurons").draw(dataset.transpose(*reversed(list(dataset.sizes))), tmp_path)
    found = {name: json.loads((tmp_path / f"{name}.json").read_text()) for name in ("neurons", "neurons_sides")}
    masks = sparsity.important(net)
    inputs, outputs = masks["0"].sum(2).numpy(), masks["2"].sum(1).numpy()
    for replica in (0, 2):
        close(
            [one[replica] for one in found["neurons"]["inputs_outputs"]["hidden 1"]],
            [inputs[replica], outputs[replica]],
        )
        close(found["neurons"]["r"]["hidden 1"][replica], np.corrcoef(inputs[replica], outputs[replica])[0, 1])
    side = found["neurons_sides"]["hidden 1 inputs"]
    for replica in (0, 2):
        for k, (low, high) in enumerate(itertools.pairwise(side["edges"])):
            share = np.mean([low < count < high for count in inputs[replica]])
            assert side["neurons_percent"]["true"][replica][k] == pytest.approx(100 * share)
        close(sum(side["neurons_percent"]["true"][replica]), 100)
        close(side["D"][replica], np.median(dataset.ks.sel(side="hidden 1 inputs", replica=replica)))
    assert math.isnan(side["D"][1])
    assert len(side["neurons_percent"]["shuffled"]) == 4 * 3
    close(np.nansum(side["neurons_percent"]["shuffled"]), 8 * 100)
    classes = found["neurons"]["classes_percent"]["true"]
    close(np.sum([classes[name] for name in ("lowly", "average", "highly")], 0)[[0, 2]], [100, 100])


def test_figures_of_importance_of_release(tmp_path):
    rng = np.random.default_rng(7)
    layers, names = ["matrix 1", "all"], ["a", "b", "c"]
    r = rng.uniform(0.2, 0.5, (3, 3, 2, 2))
    r[:, 2, 1, 1] = 0.9
    energy = rng.uniform(1, 2, (2, 2, 3))
    energy[0] += 5
    dataset = xarray.Dataset(
        {
            "p_histogram": (("when", "replica", "bin"), rng.dirichlet(np.ones(50), (2, 3))),
            "share": (("layer", "replica"), rng.uniform(0.05, 0.1, (2, 3))),
            "energy_mean": (("group", "layer", "replica"), energy),
            "fisher_mean": (("group", "layer", "replica"), rng.uniform(1, 2, (2, 2, 3))),
            "r": (("replica", "importance", "layer", "kind"), r),
            "failed": ("replica", [False, False, False]),
        },
        coords={"when": ["before", "after"], "group": ["high", "low"], "layer": layers, "importance": names,
                "kind": ["Pearson", "Spearman"], "bin": np.linspace(0.01, 0.99, 50), "seed": ("replica", list(SEEDS))},
    )  # fmt: skip
    figures_of("importance_of_release").draw(dataset.transpose(*reversed(list(dataset.sizes))), tmp_path)
    found = json.loads((tmp_path / "importance_of_release.json").read_text())
    close(found["energy"]["all"]["p ≥ 0.9"], energy[0, 1])
    close(found["energy"]["matrix 1"]["p < 0.9"], energy[1, 0])
    test = {name: stats.ttest_ind(*dataset[f"{name}_mean"].sel(layer="all").values) for name in ("energy", "fisher")}
    for name, one in test.items():
        close([found["tests"][name]["t"], found["tests"][name]["p"]], [one.statistic, one.pvalue])
    smaller, larger = sorted(test, key=lambda name: test[name].pvalue)
    close(found["tests"][smaller]["p_holm"], 2 * test[smaller].pvalue)
    close(found["tests"][larger]["p_holm"], max(2 * test[smaller].pvalue, test[larger].pvalue))
    matrix = json.loads((tmp_path / "importance_of_release_correlation.json").read_text())
    assert matrix["importances"][0] == "c"
    close(matrix["Pearson"]["mean"][0], r[:, 2, :, 0].mean(0))
