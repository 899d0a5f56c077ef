"""Rows that experiments tell from outcomes: names, settings, published values, and differences with their tests."""

import importlib

import numpy as np
import pytest

from synsim import outcomes, statistics, tables
from synsim.outcomes import Sample

pytestmark = pytest.mark.usefixtures("scripts")
SAMPLES = {
    ("best", "plastic"): Sample(np.array([3.0, 3.2, 3.1]), "decay 0.02"),
    ("best", "fixed"): Sample(np.array([1.0, 1.3, np.nan]), "decay 0.05"),
    ("share", "high"): Sample(np.array([5.0, 6.0, 7.0])),
    ("cost", "plastic"): Sample(np.array([1.0, 2.0, 3.0]), "decay 0.02"),
    ("cost", "fixed"): Sample(np.array([4.0, 5.0, 7.0]), "decay 0.02"),
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


def test_differences_have_the_test_of_their_samples(lines):
    pairs = {(lead, name): (SAMPLES[lead, "plastic"].values, SAMPLES[lead, "fixed"].values)
             for lead, name in (("best", "a"), ("cost", "b"))}  # fmt: skip
    made = statistics.family("models", pairs)
    tests = outcomes.Tests({(("best", "plastic"), ("best", "fixed")): made["best", "a"],
                            (("cost", "plastic"), ("cost", "fixed")): made["cost", "b"]})  # fmt: skip
    line = lines.Line(("one", "other"), "{one} − {other}", "difference")
    best, cost = lines.differences(
        SAMPLES, tests, {"best": line, "cost": line._replace(metric="difference at decay {decay}")}
    )
    assert (best["method"], best["n"], cost["n"]) == ("plastic − fixed", 2, 3)
    np.testing.assert_allclose(cost["values"], [-3.0, -3.0, -4.0])
    assert best["test"]["p_holm"] == made["best", "a"].p_holm
    assert cost["test"]["family"] == "models"
    assert cost["setting"] == {"one": "plastic", "other": "fixed", "decay": 0.02}
    assert cost["metric"] == "difference at decay 0.02"
    assert "decay" not in best["setting"]
    assert lines.differences(SAMPLES, tests, {"share": line}) == []


def test_a_line_has_a_name_for_every_label(lines):
    with pytest.raises(ValueError, match="longer"):
        lines.told(SAMPLES, {"best": lines.Line((), "release", "bits")})
