"""The random search: what it draws, what it chooses, and what it must not report."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from small_runs import launch

from synsim import records

ROOT = Path(__file__).resolve().parent.parent
COMMON = ["--data", "digits", "--batch", "20", "--hidden", "20", "--quiet", "--threads", "1"]


@pytest.fixture
def search(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    monkeypatch.syspath_prepend(str(ROOT))
    sys.modules.pop("search", None)
    yield importlib.import_module("search")
    sys.modules.pop("search", None)


def made(search, out: Path, *more: str):
    launch(search, [*COMMON, "--out", str(out), *more])
    return records.open(out)


def test_constants_are_uniform_and_independent(search):
    found = search.drawn("lifelong", 2000, 3)
    for name, low, high in (("p_up", 0.01, 0.1), ("p_down", 0.01, 0.1), ("p_freeze", 0.9, 0.96)):
        assert stats.kstest(found[name], "uniform", (low, high - low)).pvalue > 0.001
    for one, other in (("p_up", "p_down"), ("p_up", "p_freeze"), ("p_down", "p_freeze")):
        assert abs(np.corrcoef(found[one], found[other])[0, 1]) < 4 / np.sqrt(2000)


def test_constants_of_the_energy_search(search):
    found = search.drawn("energy", 2000, 3)
    assert found["p_up"] == found["p_down"]
    assert stats.kstest(found["p_up"], "uniform", (0.01, 0.09)).pvalue > 0.001
    values, counts = np.unique(found["weight_decay"], return_counts=True)
    assert values.tolist() == [0.001, 0.005, 0.01, 0.05]
    assert stats.chisquare(counts).pvalue > 0.001


def test_constants_are_a_function_of_the_search_seed(search):
    assert search.drawn("lifelong", 20, 3) == search.drawn("lifelong", 20, 3)
    assert search.drawn("lifelong", 20, 3) != search.drawn("lifelong", 20, 4)
    many = search.drawn("lifelong", 20, 3)
    assert search.drawn("lifelong", 7, 3) == {name: values[:7] for name, values in many.items()}


@pytest.mark.parametrize("objective", ["lifelong", "energy"])
def test_a_trial_is_the_same_among_others(search, objective, tmp_path, capsys):
    arguments = ["--objective", objective, "--epochs", "1", "--tasks", "1", "--seeds", "2", "3"]
    few = made(search, tmp_path / "few", *arguments, "--trials", "2").dataset
    many = made(search, tmp_path / "many", *arguments, "--trials", "5").dataset
    # Products of several replicas may round otherwise than those of fewer; a digit more or less is 0.3 points.
    np.testing.assert_allclose(few.score.values[:2], many.score.values[:2], rtol=0.02)
    np.testing.assert_allclose(few.score.values[-1], many.score.values[-1], rtol=0.02)
    assert many.attrs["best"] == int(many.score.values[:-1].argmax())
    known = {"lifelong": (0.0520, 0.0516), "energy": (0.07, 0.07)}[objective]
    assert (float(many.p_up[-1]), float(many.p_down[-1])) == known
    assert list(many.seed.values) == [2, 3]
    assert not np.isnan(many.carried.values).any()
    printed = capsys.readouterr().out
    assert "5 trials on seed 1, which is not reported" in printed
    assert "epochs 1 (published: " in printed.split("reduced: ")[1]


def test_what_a_trial_scores_is_what_a_network_with_its_constants_does(search, tmp_path):
    # The published constants on a seed, once as the last of many trials and once carried over to that seed.
    arguments = ["--epochs", "1", "--tasks", "1", "--trials", "3"]
    first = made(search, tmp_path / "one", *arguments, "--seeds", "2", "3", "--trial-seed", "1").dataset
    other = made(search, tmp_path / "two", *arguments, "--seeds", "1", "3", "--trial-seed", "2").dataset
    carried = other.carried.sel(target="permuted digits", constants="published constants", seed=1)
    assert float(first.score[-1]) == pytest.approx(float(carried), abs=0.6)


def test_constants_are_carried_to_permuted_and_split_tasks_of_other_data(search):
    def of(*arguments):
        return search.targets(search.EXPERIMENT.parse(["--data", "mnist", *arguments]))

    paper = [(scenario, data) for scenario in ("permuted", "split") for data in ("mnist", "fashion-mnist")]
    assert of("--preset", "paper") == paper
    assert of() == [("permuted", "mnist"), ("split", "mnist")]
    assert of("--transfer", "fashion-mnist") == [paper[0], paper[1], paper[3]]
    assert of("--preset", "paper", "--transfer", "mnist") == [paper[0], paper[2]]
    assert of("--preset", "paper", "--objective", "energy") == [("single", "mnist"), ("single", "fashion-mnist")]


def test_the_best_constants_are_run_on_permuted_tasks_of_other_data(search, tmp_path, monkeypatch):
    loaded = search.synsim.data.load("digits")
    monkeypatch.setattr(search.synsim.data, "load", lambda name, root=None: loaded)
    arguments = ["--epochs", "1", "--tasks", "1", "--trials", "2", "--seeds", "2", "3", "--transfer", "fashion-mnist"]
    found = made(search, tmp_path, *arguments)
    targets = ["permuted digits", "permuted fashion-mnist", "split fashion-mnist"]
    assert found.dataset.target.values.tolist() == targets
    rows = [row for row in found.summary if row["metric"].endswith("; permuted, fashion-mnist")]
    assert [row["published"] for row in rows] == [None, "75.92 ± 0.37"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--trial-seed", "2019"], "are in --trial-seed and in --seeds; settings must be chosen on other seeds"),
        (["--trials", "0"], "trials must be at least 1"),
        (["--objective", "speed"], "invalid choice"),
    ],
)
def test_what_does_not_fit_is_refused(search, arguments, message, capsys):
    with pytest.raises(SystemExit):
        search.EXPERIMENT.parse([*COMMON, *arguments])
    assert message in capsys.readouterr().err
