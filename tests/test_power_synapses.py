"""Powerpropagated synapses: the penalties of the script, what it reads off curves, and its figure, by plain loops."""

import importlib
import json

import numpy as np
import pytest
import torch
import xarray
from scipy import stats

import synsim
from analysis import power_synapses as figure
from synsim import records

SEEDS = (3, 5, 8)


@pytest.fixture
def script(scripts):
    return importlib.import_module("power_synapses")


def config(script, **given):
    small = {"l2": (0.0, 0.01), "l1": (0.001, 0.003), "phi": (0.001, 0.003), "keep": (0.02, 0.5), "seeds": SEEDS}
    return script.Config(data="digits", **{**small, **given})


def record(script, chosen):
    """Energies fall, bits are a known function of them, plus what α = 2 and the seed add."""
    settings = script.settings(chosen)
    names = [str(each["family"]) for each in settings]
    strengths = np.array([float(each["strength"]) for each in settings])
    shape = (len(chosen.models), len(settings), len(chosen.seeds))
    generator = np.random.default_rng(4)
    start = np.array([1000 if "L2" in name else 800 for name in names])[:, None]
    energy = start * np.exp(-300 * strengths)[:, None] * generator.uniform(0.97, 1.03, shape)
    above = np.array([0.25 if "φ" in name else 0.0 for name in names])[:, None]
    values = {
        "energy": energy,
        "information": 1 + 0.25 * np.log(energy / 100) + above + generator.normal(0, 0.01, shape),
        "accuracy": 0.9 + 0.01 * np.log(energy / 100) + above / 100,
        "mean_p": generator.uniform(0.3, 0.4, shape),
        "small": generator.uniform(0, 1, shape),
        "spread": generator.uniform(0, 1, shape),
    }
    failed = np.zeros(shape, dtype=bool)
    failed[0, 0, 1] = True
    axes = ("model", "setting", "seed")
    made = xarray.Dataset({name: (axes, value) for name, value in {**values, "failed": failed}.items()})
    for name in ("pruned_accuracy", "pruned_information", "pruned_energy", "accuracy_by_p"):
        made[name] = ((*axes, "keep"), generator.uniform(0.5, 1, (*shape, len(chosen.keep))))
    made["accuracy_by_p"][:] = made.accuracy_by_p.where(made.model == 0)
    made["p_histogram"] = ((*axes, "when", "bin"), generator.dirichlet(np.ones(50), (*shape, 2)))
    return made.assign_coords(
        model=list(chosen.models), seed=list(chosen.seeds), family=("setting", names), strength=("setting", strengths),
        keep=list(chosen.keep), when=["before", "after"], bin=np.arange(0.01, 1, 0.02),
    )  # fmt: skip


def test_the_control_is_soft_thresholding(script):
    net = synsim.mlp([6, 5, 4], replicas=3)
    before = {name: layer.weight.detach().clone() for name, layer in synsim.synapses(net).items()}
    strength, rate = torch.tensor([0.0, 0.5, 3.0]).double(), torch.tensor([0.1, 0.1, 0.2]).double()
    pull = script.shrinkage(net, strength, rate)()
    assert pull.keys() == {f"{name}.weight" for name in before}
    zeros = 0
    for name, weight in before.items():
        for r in range(3):
            limit, found = float(rate[r] * strength[r]), weight[r] - float(rate[r]) * pull[f"{name}.weight"][r]
            wanted = weight[r].sign() * (weight[r].abs() - limit).clamp_min(0)
            torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-7)
            zeros += int((found == 0).sum())
        assert not pull[f"{name}.weight"][0].any()
    assert zeros > 0


def test_the_penalty_is_kept_out_of_the_release_probabilities(script):
    """With a gradient of 0 everywhere L1 shrinks the weights and p falls as it does without."""
    found = []
    for strength in (0.0, 0.5):
        net = synsim.mlp([6, 5, 4], p=0.5, replicas=2)
        rule = synsim.PresynapticSGD(net, 0.1, p_up=0.07, p_down=0.07, g_lim=0.001)
        for layer in synsim.synapses(net).values():
            layer.weight.grad = torch.zeros_like(layer.weight)
        pull = script.shrinkage(net, torch.full((2,), strength), torch.full((2,), 0.1))()
        synsim.Powerpropagation(rule, 1.0, net=net).step(penalty=pull)
        found.append([(layer.weight.detach(), layer.p) for layer in synsim.synapses(net).values()])
    for (weight, p), (less, same) in zip(*found, strict=True):
        assert (p == same).all()
        assert (less.abs() <= weight.abs()).all()
        assert less.abs().sum() < weight.abs().sum()


def test_every_setting_has_one_penalty(script):
    chosen = config(script, alphas=(1.0, 2.0))
    sweep = synsim.Sweep(script.settings(chosen), SEEDS)
    columns = {kind: script.column(sweep, kind).tolist() for kind in (script.L2, script.L1, script.PHI)}
    together = list(zip(sweep.each("family"), *columns.values(), strict=True))
    assert all(sum(one > 0 for one in each[1:]) <= 1 for each in together)
    assert [str(family) for family, *_ in together[:: len(SEEDS)]] == [
        *["α = 1, L2"] * 2, *["α = 1, L1"] * 2, *["α = 1, L1, rate 0.1"] * 2, *["α = 2, L2"] * 2,
        *["α = 2, φ-decay"] * 2,
    ]  # fmt: skip
    assert columns["L1"][6:18] == 2 * ([0.001] * 3 + [0.003] * 3)
    assert sum(columns["φ-decay"]) == pytest.approx(3 * 0.004)


def test_values_between_the_points_of_a_curve(script):
    cost = np.array([[100.0, 50.0, 10.0], [1000.0, 500.0, np.nan], [10.0, 5.0, 1000.0]])
    curve = script.Curve(np.arange(3.0), 90 + np.log10(cost), 1 + 0.25 * np.log(cost), cost)
    accuracy, bits = curve.at_energy(np.array([400.0, 50.0, 4.0]))
    np.testing.assert_allclose(accuracy[:2], 90 + np.log10([400.0, 50.0]), rtol=1e-12)
    np.testing.assert_allclose(bits[:2], 1 + 0.25 * np.log([400.0, 50.0]), rtol=1e-12)
    assert np.isnan(bits[2])  # less than any strength has
    found = curve.at_bits(1 + 0.25 * np.log([400.0, 5.0, 2000.0]))
    np.testing.assert_allclose(found[:2], [400, 5], rtol=1e-12)
    assert np.isnan(found[2])
    assert np.isnan(script.between(np.ones(2), np.full((2, 2), np.nan), np.ones((2, 2)))).all()


def test_a_family_begins_without_a_penalty(script):
    chosen = config(script, alphas=(1.0, 2.0))
    dataset = record(script, chosen)
    found = script.curve(dataset, "plastic", script.CONTROL)
    assert found.strengths.tolist() == [0, 0.001, 0.003]
    np.testing.assert_array_equal(found.cost, dataset.energy.sel(model="plastic").where(~dataset.failed[0])[[0, 2, 3]])
    assert np.isnan(found.bits[0, 1])
    assert script.curve(dataset, "plastic", script.PLAIN).strengths.tolist() == [0, 0.01]
    own = script.controls(chosen)[1]
    assert script.curve(dataset, "plastic", own).strengths.tolist() == [0.001, 0.003]  # free at another rate


def test_rates_are_those_of_the_power_the_model_or_its_own(script):
    chosen = config(script, alphas=(1.0, 2.0))
    rates = {str(each["family"]): script.rate_of(chosen, "deterministic", each["family"])
             for each in script.settings(chosen)}  # fmt: skip
    assert list(rates.values()) == [0.08, 0.08, 0.1, 0.3, 0.3]
    assert script.rate_of(config(script, plain_rate=0.07), "plastic", script.CONTROL) == 0.07


def test_rows_are_those_of_plain_loops(script):
    chosen = config(script, alphas=(1.0, 2.0))
    dataset = record(script, chosen)
    rows = script.rows(chosen, dataset)

    def row(method, metric, **setting):
        (found,) = [one for one in rows if (one["method"], one["metric"], one["setting"]) == (method, metric, setting)]
        return found

    bits, cost = dataset.information.values[1], dataset.energy.values[1]
    ratio = row("deterministic, α = 2, φ-decay", "10⁻³ bits per energy", strength=0.003)
    np.testing.assert_allclose(ratio["values"], 1000 * bits[9] / cost[9])
    # L1 with the free network: settings 3, 2 and 0 by rising energy.
    wanted = [np.interp(np.log(cost[8, s]), np.log(cost[[3, 2, 0], s]), bits[[3, 2, 0], s]) for s in range(3)]
    plain = row("deterministic, α = 1, L1, beside α = 2, φ-decay", "bits at the same energy", strength=0.001)
    np.testing.assert_allclose(plain["values"], wanted)
    gap = row("deterministic, α = 2, φ-decay − α = 1, L1", "bits at the same energy, difference", strength=0.001)
    np.testing.assert_allclose(gap["values"], bits[8] - wanted)
    assert gap["mean"] == pytest.approx(0.25, abs=0.05)
    assert gap["test"]["t"] == pytest.approx(stats.ttest_rel(bits[8], wanted).statistic)
    assert gap["test"]["family"] == "bits at the same energy, φ-decay against L1"
    assert gap["test"]["p_holm"] >= gap["test"]["p"]
    assert "test" not in row("deterministic, α = 2, φ-decay − α = 1, L2", gap["metric"], strength=0.001)
    both = row("plastic − deterministic, α = 1, L2", "10⁻³ bits per energy, difference", strength=0)
    assert np.isnan(both["values"][1])
    assert not [one for one in rows if one["method"].startswith("deterministic") and "by p" in one["metric"]]
    assert len({(one["method"], one["metric"], str(one["setting"])) for one in rows}) == len(rows)


def test_remarks_part_penalty_rate_and_power(script):
    chosen = config(script, alphas=(1.0, 2.0), l2=(0.0, 0.002))
    dataset = record(script, chosen)
    dataset["failed"][:] = False
    dataset["information"][:] = 1 + 0.25 * np.log(dataset.energy / 100)
    for name, above in (("α = 1, L1", 0.1), ("α = 1, L1, rate 0.1", 0.12), ("α = 2, φ-decay", 0.15)):
        dataset["information"][:] = dataset.information + above * (dataset.family == name)
    found = script.remarks(chosen, dataset)
    assert [one.split(",")[0] for one in found[:-1]] == ["plastic", "deterministic"]
    assert "no strength with such bits" in found[-1]
    for told in found[:-1]:
        # What 0.25 ln has of the bits: exp(0.1 / 0.25), exp(0.02 / 0.25) and exp(0.03 / 0.25) of the energy.
        assert "bits of α = 2, φ-decay 0.003: L2 costs 1.49 times the energy of L1 (due to the penalty)" in told
        assert "that 1.08 times the energy of L1 at rate 0.1 (to the rate)" in told
        assert "that 1.13 times the energy of φ-decay (to the power)" in told


def test_nothing_is_compared_without_a_plain_network(script):
    chosen = config(script, alphas=(2.0,), models=("plastic",))
    dataset = record(script, chosen)
    assert not [row for row in script.rows(chosen, dataset) if "−" in row["method"]]
    assert len(script.remarks(chosen, dataset)) == 1


def test_the_figure_says_what_the_record_says(script, tmp_path):
    chosen = config(script, alphas=(1.0, 2.0))
    dataset = record(script, chosen)
    figure.draw(dataset.transpose(*reversed(list(dataset.sizes))), tmp_path)
    data = json.loads((tmp_path / "power_synapses.json").read_text(encoding="utf-8"))
    free = data["plastic"]["α = 1, L2"]
    assert free["strength"] == [0, 0.01]
    np.testing.assert_allclose(free["energy"][1], dataset.energy.values[0, 1])
    assert free["information"][0][1] is None or np.isnan(free["information"][0][1])
    ratio = 1000 * dataset.pruned_information / dataset.pruned_energy
    np.testing.assert_allclose(data["pruned"]["α = 2, φ-decay"], ratio.sel(model="plastic", keep=0.02)[8:10].values)
    # Shown are those whose bits are nearest to those of the plain network at decay 0.01.
    bits = dataset.information.values[0].mean(1)
    near = min((2, 3), key=lambda place: abs(bits[place] - bits[1]))
    name = f"α = 1, L1 {dataset.strength.values[near]:g}"
    np.testing.assert_allclose(data["by_weight"][name], 100 * dataset.pruned_accuracy.values[0, near])
    np.testing.assert_allclose(data["by_p"][name], 100 * dataset.accuracy_by_p.values[0, near])


def test_a_run_on_digits_measures_what_it_says(script, tmp_path, capsys):
    """The pruned network's energy and accuracy are those of the network whose other weights are 0."""
    arguments = ["--data", "digits", "--hidden", "12", "--epochs", "1", "--l2", "0", "--l1", "0.01", "--phi", "0.01"]
    arguments += ["--keep", "0.1", "1", "--passes", "1", "--seeds", "3", "5", "--models", "deterministic", "--quiet"]
    script.EXPERIMENT.main([*arguments, "--threads", "1", "--out", str(tmp_path / "run")])
    capsys.readouterr()
    found = records.open(tmp_path / "run").dataset
    assert list(found.family.values) == ["α = 1, L2", "α = 1, L1", "α = 1, L1, rate 0.1", "α = 2, L2", "α = 2, φ-decay"]
    whole = found.sel(keep=1.0)
    for name in ("accuracy", "information", "energy"):
        np.testing.assert_allclose(whole[f"pruned_{name}"].values, found[name].values, rtol=1e-6)
    assert (found.pruned_energy.sel(keep=0.1) < found.energy).all()
    assert found.accuracy_by_p.isnull().all()
    np.testing.assert_allclose(found.p_histogram.sum("bin").values, 1)
