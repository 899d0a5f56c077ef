"""Protection on θ and on φ: cells, settings and comparisons of the script, and its figure, against plain loops."""

import importlib
import json

import numpy as np
import pytest
import torch
import xarray
from scipy import stats

import synsim
from analysis import protected_power as figure
from synsim import tasks

SEEDS = (3, 5, 8)


@pytest.fixture
def script(scripts):
    return importlib.import_module("protected_power")


def record(labels, steps=3):
    generator = np.random.default_rng(2)
    accuracy = generator.uniform(0.5, 0.9, (len(labels), len(SEEDS), steps, steps))
    failed = np.zeros((len(labels), len(SEEDS)), dtype=bool)
    names = [f"task {k}" for k in range(steps)]
    return xarray.Dataset(
        {
            "accuracy": (("model", "replica", "after_task", "test_task"), accuracy),
            "failed": (("model", "replica"), failed),
        },
        {"model": labels, "seed": ("replica", list(SEEDS)), "after_task": names, "test_task": names},
    )


def test_cells_are_all_that_differ(script):
    found = [str(cell) for cell in script.cells(script.Config(data="digits"))]
    assert found == [
        "α = 1, none", "α = 1, ewc on θ", "α = 1, si on θ",
        *(f"α = {alpha}, {name}" for alpha in ("1.5", "2")
          for name in ("none", "ewc on θ", "ewc on φ", "si on θ", "si on φ")),
    ]  # fmt: skip
    alone = script.Config(data="digits", alphas=(2.0,), methods=("ewc",), spaces=("phi",))
    assert [str(cell) for cell in script.cells(alone)] == ["α = 2, ewc on φ"]
    assert script.sweep_of(alone, script.Cell(2.0, "ewc", "phi")).column("strength").shape == (3,)


def test_a_power_for_which_nothing_was_chosen(script):
    with pytest.raises(ValueError, match=r"nothing was chosen for α in \[3.0\]: give --rate and --strengths"):
        script.Config(data="digits", alphas=(2.0, 3.0))
    script.Config(data="digits", alphas=(3.0,), rate=0.01, strengths=(1.0,))


@pytest.mark.parametrize("name", ["ewc", "si"])
def test_protection_is_in_the_space_of_the_cell(script, name):
    """At the same importances the pull on φ is 2 · factor · c · F slope² (φ − φ*) / slope, that on θ has no slope."""
    sequence = tasks.split(synsim.data.load("digits"))
    config = script.Config(data="digits", seeds=(3,), hidden=(8,), strengths=(5.0,))
    for space, alpha in (("theta", 2.0), ("phi", 2.0), ("phi", 1.5)):
        cell = script.Cell(alpha, name, space)
        sweep = script.sweep_of(config, cell)
        net, _ = script.learner(config, cell, sequence[0], sweep)
        held = script.protection(cell, sequence, sweep).consolidation
        before = {key: value.detach().clone() for key, value in net.named_parameters()}
        held.remember(net, {key: torch.full_like(value, 0.5) for key, value in before.items()})
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.mul_(1.3)
        found = held.gradient(net)
        factor = {"ewc": 0.5, "si": 1.0}[name]
        for key, value in before.items():
            if space == "theta":
                wanted = 2 * factor * 5 * 0.5 * 0.3 * value.double()
            else:
                phi = value.double().sign() * value.double().abs() ** (1 / alpha)
                slope = alpha * phi.abs() ** (alpha - 1)
                now = 1.3 ** (1 / alpha)
                wanted = 2 * factor * 5 * 0.5 * slope**2 * (now - 1) * phi / (slope * now ** (alpha - 1))
            torch.testing.assert_close(found[key].double(), wanted, rtol=1e-4, atol=1e-8)


def test_rows_are_those_of_plain_loops(script):
    config = script.Config(data="digits", alphas=(1.0, 2.0), methods=("none", "ewc"), tasks=3)
    labels = [str(cell) for cell in script.cells(config)]
    dataset = record(labels)
    rows = script.rows(config, dataset)
    accuracy = 100 * dataset.accuracy.values
    final = dict(zip(labels, accuracy[:, :, -1].mean(-1), strict=True))
    found = {(row["method"], row["metric"]): row for row in rows}
    for place, label in enumerate(labels):
        np.testing.assert_allclose(found[label, script.FINAL]["values"], final[label])
        learned = [np.mean([accuracy[place, r, k, k] for k in range(3)]) for r in range(3)]
        np.testing.assert_allclose(found[label, "accuracy on each task right after it, %"]["values"], learned)
    pairs = {
        ("α = 2, ewc on φ", "α = 2, ewc on θ"): "protection of φ against that of θ",
        ("α = 2, none", "α = 1, none"): "powers against the plain network, protected alike",
        ("α = 2, ewc on θ", "α = 1, ewc on θ"): "powers against the plain network, protected alike",
        ("α = 2, ewc on φ", "α = 1, ewc on θ"): "powers against the plain network, protected alike",
    }
    assert {(row["method"], row["test"]["family"]) for row in rows if "test" in row} == {
        (f"{one} − {other}", family) for (one, other), family in pairs.items()
    }
    for one, other in pairs:
        row = found[f"{one} − {other}", "points"]
        np.testing.assert_allclose(row["values"], final[one] - final[other])
        assert row["test"]["t"] == pytest.approx(stats.ttest_rel(final[one], final[other]).statistic)


def test_several_strengths_are_told_apart(script):
    config = script.Config(data="digits", alphas=(2.0,), methods=("ewc",), strengths=(1.0, 10.0), tasks=3)
    labels = ["α = 2, ewc on θ 1", "α = 2, ewc on θ 10", "α = 2, ewc on φ 1", "α = 2, ewc on φ 10"]
    rows = script.rows(config, record(labels))
    assert list(dict.fromkeys(row["method"] for row in rows)) == labels
    assert [row["setting"]["strength"] for row in rows[:: len(rows) // 4]] == [1, 10, 1, 10]


def test_the_figure_says_what_the_record_says(script, tmp_path):
    labels = [str(cell) for cell in script.cells(script.Config(data="digits"))]
    dataset = record(labels)
    figure.draw(dataset.transpose(*reversed(list(dataset.sizes))), tmp_path)
    data = json.loads((tmp_path / "protected_power.json").read_text(encoding="utf-8"))
    accuracy = 100 * dataset.accuracy.values
    assert sorted(data["final"]) == sorted(labels)
    for place, label in enumerate(labels):
        np.testing.assert_allclose(data["final"][label], accuracy[place, :, -1].mean(-1))
        if label.startswith("α = 1.5"):
            assert label not in data["so_far"]
        else:
            wanted = [[accuracy[place, r, k, : k + 1].mean() for k in range(3)] for r in range(3)]
            np.testing.assert_allclose(data["so_far"][label], wanted)
