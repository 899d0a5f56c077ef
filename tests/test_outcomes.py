"""Outcomes: named samples against plain loops, and tests that are corrected once, wherever they are read."""

import itertools
import math

import numpy as np
import pytest
import xarray
from doubles import holm
from scipy import stats

from synsim import outcomes, statistics, tables

TASKS = ["0 1", "2 3", "4 5"]
MODELS = ["presynaptic", "none", "joint", "ewc 10"]


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def sequence(rng, models=MODELS, axis="replica"):
    """A record of several methods, one of which learned all tasks at once; its replica 1 of "none" has failed."""
    accuracy = rng.uniform(0.5, 1, (len(models), 4, len(TASKS) + 1, len(TASKS)))
    for number, name in enumerate(models):
        accuracy[number, :, slice(0, -1) if name == "joint" else -1] = np.nan
    failed = np.zeros((len(models), 4), dtype=bool)
    failed[models.index("none"), 1] = True
    return xarray.Dataset(
        {"accuracy": (("model", axis, "after_task", "test_task"), accuracy), "failed": (("model", axis), failed)},
        coords={"model": models, "after_task": [*TASKS, "joint"], "test_task": TASKS},
    )


def at_the_end(dataset, model, replica):
    place = 3 if model == "joint" else 2
    number = MODELS.index(model)
    if bool(dataset.failed.values[number, replica]):
        return [math.nan] * 3
    return [100 * dataset.accuracy.values[number, replica, place, task] for task in range(3)]


@pytest.mark.parametrize("axis", ["replica", "seed"])
def test_accuracies_at_the_end_are_those_of_plain_loops(rng, axis):
    dataset = sequence(rng, axis=axis)
    for name in MODELS:
        for replica in range(4):
            each = at_the_end(dataset, name, replica)
            found = {"model": name, axis: replica}
            assert outcomes.last(dataset).sel(model=name).isel({axis: replica}).values == pytest.approx(
                each, nan_ok=True
            )
            mean = float(outcomes.final(dataset).sel(model=name).isel({axis: replica}))
            assert mean == pytest.approx(sum(each) / 3, nan_ok=True), found
            start = float(outcomes.first(dataset).sel(model=name).isel({axis: replica}))
            assert start == pytest.approx(each[0], nan_ok=True)


def test_one_method_needs_no_axis_of_methods(rng):
    dataset = sequence(rng).sel(model="joint").isel(after_task=[3])
    assert outcomes.final(dataset).values.tolist() == outcomes.final(sequence(np.random.default_rng(7))).sel(
        model="joint"
    ).values.tolist()  # fmt: skip


def test_what_was_learned_is_the_diagonal(rng):
    dataset = sequence(rng).sel(model="presynaptic").isel(after_task=[0, 1, 2])
    found = outcomes.learned(dataset).transpose("replica", "test_task").values
    for replica, task in itertools.product(range(4), range(3)):
        assert found[replica, task] == 100 * dataset.accuracy.values[replica, task, task]


def test_bits_per_unit_of_a_cost_and_the_best_setting():
    axes, failed = ("decay", "seed", "task", "epoch"), [[False, True], [False, False], [False, False]]
    bits = np.arange(1.0, 13.0).reshape(3, 2, 1, 2)
    dataset = xarray.Dataset(
        {"information": (axes, bits), "activity": (axes, 2 * bits[::-1]), "failed": (("decay", "seed"), failed)},
        coords={"decay": [0.0, 0.1, 0.2]},
    )
    found = outcomes.bits_per(dataset, "activity")
    for k, seed in itertools.product(range(3), range(2)):
        wanted = math.nan if failed[k][seed] else 1000 * bits[k, seed, 0, 1] / (2 * bits[2 - k, seed, 0, 1])
        assert float(found.isel(decay=k, seed=seed)) == pytest.approx(wanted, nan_ok=True)
    assert outcomes.best(found, "decay") == 0.2
    assert outcomes.best(found.assign_coords(decay=["a", "b", "c"]), "decay") == "c"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: outcomes.final(xarray.Dataset()), "the dataset must have accuracy, failed, it has nothing"),
        (
            lambda: outcomes.bits_per(xarray.Dataset({"energy": 1.0})),
            "the dataset must have information, it has energy",
        ),
        (lambda: outcomes.best(xarray.DataArray([1.0], dims="a"), "b"), "over must be an axis of the values"),
        (lambda: outcomes.best(xarray.DataArray([math.nan], dims="a"), "a"), "at which a replica did not fail"),
        (
            lambda: outcomes.of("cooking", xarray.Dataset()),
            "experiment must be one whose records can be read, ablation",
        ),
    ],
)
def test_what_holds_no_outcomes_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# Families of tests.


def samples_of(keys, rng):
    return {key: outcomes.Sample(rng.normal(size=4)) for key in keys}


KEYS = {
    "lifelong": [(lead, name) for lead in ("final", "first") for name in (*MODELS, "bgd", "ewc", "mas", "ewc 100")]
    + [("frozen_share", number, "presynaptic") for number in ("1", "2", "10")],
    "spiking_lifelong": [("final", name) for name in ("presynaptic", "none", "ewc")],
    "ablation": [("final", name) for name in ("full", "no freezing", "neither", "ghost (code)", "ghost (expected)")],
    "energy": [(lead, name) for lead in ("best", "cost") for name in ("plastic", "deterministic", "fixed")]
    + [("robust", name) for name in ("deterministic", "up", "down")],
    "importance_of_release": [(lead, group) for lead in ("energy", "fisher") for group in ("high", "low")],
    "lesions": [(lead, name) for lead in ("50 %", "90 %", "mean") for name in ("p", "random", "weight")],
    "neurons": [(lead, "hidden 2 inputs", k) for lead in ("highly", "lowly") for k in ("true", "shuffled")],
    "perceptron": [("average", "standard"), ("average", "presynaptic"), ("gap", "25%"), ("gap", "100%")],
    "sites": [("bits", m, scope, n) for m in ("fixed", "plastic") for scope in ("batch", "sample") for n in "12"],
    "spiking_energy": [("best", f"{net} {m}") for net in ("rate", "spiking") for m in ("plastic", "fixed")]
    + [("best", f"spiking {m}, local") for m in ("plastic", "fixed")],
    "bounds": [(part, c, r) for part in ("lifelong", "energy") for c in ("published", "own") for r in ("soft", "hard")],
    "search": [("carried", t, c) for t in ("split mnist", "single") for c in ("best found", "published constants")],
    "importances": [("difference", "a − b"), ("fall", "a − b"), ("difference", "none"), ("final", "a")],
}
COUNTS = {
    "lifelong": [4, 3, 1, 1],
    "spiking_lifelong": [2],
    "ablation": [5],
    "energy": [2, 1, 2],
    "importance_of_release": [2],
    "lesions": [2, 2, 2],
    "neurons": [1, 1],
    "perceptron": [1, 1],
    "sites": [6],
    "spiking_energy": [3],
    "bounds": [4],
    "search": [2],
    "importances": [2],
}


@pytest.mark.parametrize("name", sorted(outcomes.FAMILIES))
def test_each_test_is_in_one_family_and_is_corrected_there(name, rng):
    samples = samples_of(KEYS[name], rng)
    seen = []
    for family in outcomes.FAMILIES[name]:
        pairs = list(family.pairs(samples))
        seen += [frozenset(pair) for pair in pairs]
        by_hand = stats.ttest_rel if family.paired else stats.ttest_ind
        p = {pair: float(by_hand(*(samples[key].values for key in pair)).pvalue) for pair in pairs}
        corrected = holm(p)
        found = outcomes.tests(name, samples)
        for pair in pairs:
            assert found[pair].family == family.name
            assert found[pair].p == pytest.approx(p[pair])
            assert found[pair].p_holm == pytest.approx(corrected[pair])
    assert len(seen) == len(set(seen))  # otherwise one test would have two corrected p values
    assert [len(family.pairs(samples)) for family in outcomes.FAMILIES[name]] == COUNTS[name]


def test_a_test_is_read_in_either_direction(rng):
    samples = samples_of(KEYS["sites"], rng)
    tests = outcomes.tests("sites", samples)
    there = tests.between("bits", ("fixed", "batch", "2"), ("fixed", "batch", "1"))
    back = tests.between("bits", ("fixed", "batch", "1"), ("fixed", "batch", "2"))
    assert (there.t, there.hedges_g, there.difference) == (-back.t, -back.hedges_g, -back.difference)
    assert (there.df, there.p, there.p_holm, there.family) == (back.df, back.p, back.p_holm, back.family)
    assert tests.between("bits", ("plastic", "batch", "1"), ("fixed", "batch", "1")) is None


def test_too_few_replicas_make_no_test(rng):
    samples = samples_of(KEYS["spiking_lifelong"], rng)
    samples["final", "ewc"] = outcomes.Sample(np.array([1.0, math.nan, math.nan, math.nan]))
    tests = outcomes.tests("spiking_lifelong", samples)
    assert tests.between("final", "presynaptic", "ewc") is None
    alone = tests.between("final", "presynaptic", "none")
    assert alone.p_holm == alone.p
    assert not outcomes.tests("spiking_lifelong", {})
    assert not outcomes.tests("unheard of", samples)


def test_the_differences_of_a_run_are_its_pairs_with_their_tests(rng):
    dataset = sequence(rng)
    final = outcomes.final(dataset)
    found = outcomes.differences("lifelong", dataset, "final")
    assert [one.second[1] for one in found] == ["none", "joint", "ewc 10"]  # the published methods first
    for one in found:
        assert one.first == ("final", "presynaptic")
        gap = final.sel(model="presynaptic").values - final.sel(model=one.second[1]).values
        np.testing.assert_array_equal(one.values, gap)
        assert one.test == outcomes.tests("lifelong", outcomes.of("lifelong", dataset)).get((one.first, one.second))
        assert one.test.difference == pytest.approx(final.sel(model="presynaptic").mean() - final.sel(
            model=one.second[1]).mean())  # fmt: skip
    assert {one.first[0] for one in outcomes.differences("lifelong", dataset)} == {"final", "first"}
    alone = outcomes.differences("lifelong", dataset.isel(replica=[0]), "final")
    assert [one.test for one in alone] == [None] * 3


# Rows.


def test_samples_and_tests_of_rows(rng):
    values = [rng.normal(size=5) for _ in range(3)]
    values[0][3] = math.nan
    pairs = {"a − b": (values[0], values[1]), "a − c": (values[0], values[2])}
    made = statistics.family("made", pairs, paired=True)
    rows = [
        tables.row("a", "bits", values[0]),
        tables.row("b", "bits", values[1], setting={"decay": 0.1}),
        tables.row("b", "bits", values[2], setting={"decay": 0.2}),
        tables.row("a − b", "bits", values[0] - values[1], test=made["a − b"]),
    ]
    found = outcomes.from_rows(rows)
    assert set(found) == {("bits", "a"), ("bits", "b", "decay 0.1"), ("bits", "b", "decay 0.2"), ("bits", "a − b")}
    np.testing.assert_array_equal(found["bits", "a"].values, values[0])
    told = outcomes.as_made(rows, values[1], values[0])
    assert (told.t, told.p_holm) == (-made["a − b"].t, made["a − b"].p_holm)
    assert outcomes.as_made(rows, values[0], values[2]) is None
    old = [{key: row[key] for key in tables.KEYS} for row in rows]
    assert outcomes.from_rows(old) == {}
    assert outcomes.as_made(old, values[0], values[1]) is None
