"""What the experiments claim, as orders: shortly on the digits, and (marked slow) on MNIST where it is at hand."""

import importlib
import json
import os
import sys
from pathlib import Path

import pytest

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
    script.run(script.parse(script.Config, "", [*arguments, "--quiet", "--out", str(out)]), script.experiment)
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
    # At the rate at which the presynaptic network learns; the published unprotected network has a tenth of it.
    found = means(
        "continuous", tmp_path / "run", "--data", "mnist", "--preset", "quick", "--tasks", "5", "--epochs", "4",
        "--seeds", "1", "2",
    )  # fmt: skip
    metric = "accuracy on the first task at the end, %"
    assert found["presynaptic", metric] > found["none", metric]
