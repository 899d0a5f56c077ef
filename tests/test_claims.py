"""What the experiments claim, as orders: shortly on the digits, and (marked slow) on MNIST where it is at hand."""

import importlib
import json
import os
import sys
from pathlib import Path

import pytest
from small_runs import launch

ROOT = Path(__file__).resolve().parent.parent
MNIST = pytest.mark.skipif("SYNSIM_DATA" not in os.environ, reason="needs MNIST in $SYNSIM_DATA")


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    monkeypatch.syspath_prepend(str(ROOT))


def means(name, out, *arguments):
    """(method, the metric up to a semicolon) -> mean, of a run of an experiment."""
    sys.modules.pop(name, None)
    script = importlib.import_module(name)
    launch(script, [*arguments, "--quiet", "--out", str(out)])
    rows = json.loads((out / "summary.json").read_text())["rows"]
    return {(row["method"], row["metric"].split(";")[0]): row["mean"] for row in rows}


def test_more_release_sites_carry_more_bits_at_equal_mean_release(tmp_path):
    found = means(
        "sites", tmp_path / "run", "--data", "digits", "--batch", "20", "--epochs", "2", "--models", "fixed",
        "--scopes", "batch", "--seeds", "1", "2", "3",
    )  # fmt: skip
    bits = [found[f"fixed, mask per batch, N = {sites}", "10⁻³ bits per energy"] for sites in (1, 2, 5, 10)]
    assert bits == sorted(bits)
    assert bits[-1] > 2 * bits[0]


@pytest.mark.slow
def test_plastic_release_costs_least_per_bit_and_fixed_release_most(tmp_path):
    found = means(
        "energy", tmp_path / "run", "--data", "digits", "--batch", "20", "--epochs", "60", "--decays", "0.02", "0.05",
        "--seeds", "1", "2", "3",
    )  # fmt: skip
    best = [
        max(mean for (model, metric), mean in found.items() if model == name and "bits per energy" in metric)
        for name in ("plastic", "deterministic", "fixed")
    ]
    assert best == sorted(best, reverse=True)


@MNIST
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_consolidation_lies_between_none_and_joint_on_split_mnist(tmp_path):
    found = means("lifelong", tmp_path / "run", "--data", "mnist", "--seeds", "1", "2")
    none, ours, joint = (
        found[name, "accuracy over all tasks at the end, %"] for name in ("none", "presynaptic", "joint")
    )
    assert none < ours < joint


@MNIST
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_without_boundaries_consolidation_keeps_the_first_tasks_better_than_plain_descent(tmp_path):
    # Both are as published: the unprotected network learns with a tenth of the rate of the presynaptic one.
    found = means(
        "continuous", tmp_path / "run", "--data", "mnist", "--preset", "quick", "--tasks", "5", "--epochs", "4",
        "--seeds", "1", "2",
    )  # fmt: skip
    metric = "accuracy on the first task at the end, %"
    assert found["presynaptic", metric] > found["none", metric]


FINAL = "accuracy over all tasks at the end, %"


@MNIST
@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("scenario", ["split", "permuted"])
def test_ghost_probabilities_protect_less_than_presynaptic_plasticity(scenario, tmp_path):
    # Split tasks are run in full by the quick preset too; its four short permuted tasks do not show it yet.
    found = means(
        "ablation", tmp_path / "run", "--preset", "paper", "--data", "mnist", "--scenario", scenario, "--variants",
        "full", "ghost (code)",
    )  # fmt: skip
    assert found["full", FINAL] > found["ghost (code)", FINAL]


ORDERS = {
    "perceptron": [("presynaptic", "accuracy over 5 tasks"), ("standard", "accuracy over 5 tasks")],
    "neurons": [
        ("hidden 2 inputs", "highly important neurons, true, %"),
        ("hidden 2 inputs", "highly important neurons, shuffled, %"),
    ],
    "importance_of_release": [("p ≥ 0.9", "mean Fisher, all"), ("p < 0.9", "mean Fisher, all")],
    "lesions": [(order, "accuracy on average over all fractions, %") for order in ("p", "random")],
    "ablation": [(variant, FINAL) for variant in ("full", "no modulation")],
    "bounds": [
        ("soft bounds, published constants", "accuracy over all tasks, %"),
        ("hard bounds, published constants", "accuracy over all tasks, %"),
    ],
    "sites": [(f"fixed, mask per batch, N = {sites}", "10⁻³ bits per energy") for sites in (10, 1)],
    "lifelong": [("presynaptic", FINAL), ("none", FINAL)],
}


@MNIST
@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", ORDERS)
def test_quick_presets_on_mnist_show_the_order(name, tmp_path):
    data = [] if name == "perceptron" else ["--data", "mnist"]
    found = means(name, tmp_path / "run", "--preset", "quick", *data)
    larger, smaller = ORDERS[name]
    assert found[larger] > found[smaller]


@MNIST
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_quick_energy_preset_puts_plastic_release_first_and_fixed_release_last(tmp_path):
    found = means("energy", tmp_path / "run", "--preset", "quick", "--data", "mnist")
    best = [
        max(mean for (model, metric), mean in found.items() if model == name and "bits per energy" in metric)
        for name in ("plastic", "deterministic", "fixed")
    ]
    assert best == sorted(best, reverse=True)


def test_plastic_release_carries_more_bits_per_energy_than_fixed_release_through_spikes_too(tmp_path):
    found = means(
        "spiking_energy", tmp_path / "run", "--data", "digits", "--batch", "20", "--epochs", "8", "--hidden", "60",
        "--networks", "spiking", "--rules", "backprop", "local", "--methods", "plastic", "fixed", "--decays", "0",
        "--window", "20", "--seeds", "1", "2",
    )  # fmt: skip
    for rule in ("", ", local"):
        plastic, fixed = (
            found[f"spiking {method}{rule}", "10⁻³ bits per energy, decay 0 (best)"] for method in ("plastic", "fixed")
        )
        assert plastic > 1.5 * fixed


@MNIST
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_consolidation_keeps_old_tasks_in_spiking_networks(tmp_path):
    found = means("spiking_lifelong", tmp_path / "run", "--data", "mnist", "--methods", "presynaptic", "none",
                  "--seeds", "3", "4", "5")  # fmt: skip
    final = {method: mean for (method, metric), mean in found.items() if metric.startswith("accuracy over all tasks")}
    assert final["presynaptic"] > final["none"]


@MNIST
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_spiking_network_with_plastic_release_learns_mnist(tmp_path):
    found = means(
        "spiking_energy", tmp_path / "run", "--data", "mnist", "--preset", "full", "--networks", "spiking", "--methods",
        "plastic", "--rules", "backprop", "--decays", "0", "--rate", "200", "--scope", "event", "--learning-rate",
        "0.03", "--epochs", "2", "--seeds", "1",
    )  # fmt: skip
    assert found["spiking plastic", "best accuracy, %, decay 0"] >= 94
