"""Rows that experiments tell from outcomes: names, settings, published values, and differences with their tests."""

import importlib

import numpy as np
import pytest
import xarray
from scipy import stats

from synsim import outcomes, statistics, tables
from synsim.outcomes import Sample

pytestmark = pytest.mark.usefixtures("scripts")
SAMPLES = {
    ("best", "plastic"): Sample(np.array([3.0, 3.2, 3.1]), "decay 0.02"),
    ("best", "fixed"): Sample(np.array([1.0, 1.3, np.nan]), "decay 0.05"),
    ("share", "high"): Sample(np.array([5.0, 6.0, 7.0])),
}


@pytest.fixture
def lines(scripts):
    return importlib.import_module("lines")


def test_samples_are_told_by_their_lines(lines):
    told = lines.told(
        SAMPLES,
        {
            "share": lines.Line(("group",), "{group}", "share, %", {"high": "p ≥ 0.9"}),
            "best": lines.Line(("model",), "{model} release", "bits, decay {decay}"),
        },
        {("best", "fixed"): "few", ("best", "unknown"): "none"},
    )
    assert [(row["method"], row["metric"], row["published"]) for row in told] == [
        ("p ≥ 0.9", "share, %", None),
        ("plastic release", "bits, decay 0.02", None),
        ("fixed release", "bits, decay 0.05", "few"),
    ]
    assert [row["setting"] for row in told] == [
        {"group": "p ≥ 0.9"},
        {"model": "plastic", "decay": 0.02},
        {"model": "fixed", "decay": 0.05},
    ]
    assert told[2]["n"] == 2
    assert told[1]["mean"] == pytest.approx(3.1)
    assert "setting" not in tables.text(told).splitlines()[0]  # every one is told by a name


PAIRS = {
    ("best", "plastic"): Sample(np.array([3.0, 3.2, 3.1]), "decay 0.02"),
    ("best", "deterministic"): Sample(np.array([1.0, 1.3, np.nan]), "decay 0.05"),
    ("cost", "fixed"): Sample(np.array([1.0, 2.0, 3.0]), "decay 0.02"),
    ("cost", "deterministic"): Sample(np.array([4.0, 5.0, 7.0]), "decay 0.02"),
}


def differences(lines, monkeypatch, samples):
    monkeypatch.setitem(outcomes.READERS, "energy", lambda dataset: samples)
    line = lines.Line(("one", "other"), "{one} − {other}", "difference")
    told = {"best": line, "cost": line._replace(metric="difference at decay {decay}"), "robust": line}
    return lines.differences(
        "energy", xarray.Dataset(), told, {(("cost", "fixed"), ("cost", "deterministic")): "above 0"}
    )


def test_differences_have_the_test_of_their_samples(lines, monkeypatch):
    best, cost = differences(lines, monkeypatch, PAIRS)
    assert (best["method"], best["n"], best["published"]) == ("plastic − deterministic", 2, None)
    assert (cost["method"], cost["n"], cost["published"]) == ("fixed − deterministic", 3, "above 0")
    np.testing.assert_allclose(cost["values"], [-3.0, -3.0, -4.0])
    wanted = stats.ttest_ind(*(PAIRS["cost", name].values for name in ("fixed", "deterministic")))
    assert (cost["test"]["t"], cost["test"]["p"]) == pytest.approx((wanted.statistic, wanted.pvalue))
    assert cost["metric"] == "difference at decay 0.02"
    assert cost["setting"] == {"one": "fixed", "other": "deterministic", "decay": 0.02}
    assert "decay" not in best["setting"]  # they were chosen apart


def test_one_seed_has_a_difference_and_no_test(lines, monkeypatch):
    alone = {key: Sample(one.values[:1], one.note) for key, one in PAIRS.items()}
    best, cost = differences(lines, monkeypatch, alone)
    assert (best["mean"], cost["mean"]) == (2.0, -3.0)
    assert "test" not in best
    assert "test" not in cost


def test_a_line_has_a_name_for_every_label(lines):
    with pytest.raises(ValueError, match="longer"):
        lines.told(SAMPLES, {"best": lines.Line((), "release", "bits")})


def test_a_method_has_a_row_for_every_metric(lines):
    test = statistics.family("points", {"ours": ([1.0, 2.0], [3.0, 5.0])})["ours"]
    values = {"points": xarray.DataArray([1.0, 3.0], dims="seed"), "bits": np.array([2.0, 4.0])}
    made = lines.rows_of("ours", values, setting={"rate": 0.1}, published={"bits": 2.5}, tests={"points": test})
    assert made == [
        tables.row("ours", "points", [1.0, 3.0], setting={"rate": 0.1}, test=test),
        tables.row("ours", "bits", [2.0, 4.0], 2.5, setting={"rate": 0.1}),
    ]
    assert "setting" not in lines.rows_of("ours", values)[0]


def test_an_option_that_chooses_phases_allows_all_and_has_all_unless_told_otherwise(scripts):
    some_of = importlib.import_module("common").some_of
    every, few = some_of({"a": 1, "b": 2}, "parts"), some_of(("a", "b"), "parts", ["b"])
    assert (every.default, few.default) == (("a", "b"), ("b",))
    for made in (every, few):
        assert made.metadata["choices"] == ("a", "b")
        assert made.metadata["phases"]
        assert made.metadata["neutral"]


def test_labels_are_tested_against_one_of_them_at_every_place(lines):
    rng = np.random.default_rng(3)
    values = xarray.DataArray(
        rng.normal(size=(4, 3, 2)), {"alpha": [1.0, 2.0, 3.0], "keep": [0.1, 0.5]}, ("seed", "alpha", "keep")
    )
    made = lines.against(values, "alpha", 1, "against 1")
    assert list(made) == [(2.0, 0.1), (2.0, 0.5), (3.0, 0.1), (3.0, 0.5)]
    for (alpha, keep), test in made.items():
        pair = (values.sel(alpha=one, keep=keep).values for one in (alpha, 1.0))
        assert test.p == pytest.approx(stats.ttest_rel(*pair).pvalue)
        assert test.family == "against 1"
    assert lines.against(values.sel(alpha=[2.0, 3.0]), "alpha", 1, "none") == {}


def test_arrays_are_labelled_beyond_the_replicas(scripts):
    labelled = importlib.import_module("common").labelled
    arrays = {"cost": np.arange(2.0), "pruned": np.arange(6.0).reshape(2, 3)}
    made = labelled(arrays, {"pruned": ("keep",)}, keep=(0.1, 0.5, 1.0))
    assert made.cost.dims == ("replica",)
    assert made.pruned.dims == ("replica", "keep")
    assert made.pruned.sel(keep=0.5).values.tolist() == [1.0, 4.0]
