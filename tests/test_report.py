"""The report: its rule, its numbers against plain loops, its pages, and what it does with runs that can't be used."""

import base64
import importlib
import importlib.util
import json
import math
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import xarray
from scipy import stats
from small_runs import common, launch

from synsim import outcomes, records, report
from synsim.report import Heading, Paragraph, Published, Table
from synsim.report.page import origins

ROOT = Path(report.__file__).resolve().parent.parent.parent
sys.path.append(str(ROOT))
CHAPTER = importlib.import_module("analysis.chapter").ITEMS
SEEDS = [2019, 2020, 2021]
TASKS = ["0 1", "2 3", "4 5"]


# The rule.


@pytest.mark.parametrize(
    ("mean", "sem", "published", "wanted"),
    [
        (82.0, 0.3, Published(82.9, 0.4), "within 2 s.e."),  # 0.9 is 1.8 times 0.5
        (81.9, 0.3, Published(82.9, 0.4), "within 2 s.e."),  # exactly 2 times
        (81.8, 0.3, Published(82.9, 0.4), "differs"),
        (84.1, 0.3, Published(82.9, 0.4), "differs"),  # better is another value too
        (5.0, 0.0, Published(5.0, 0.0), "within 2 s.e."),
        (5.1, 0.0, Published(5.0, 0.0), "differs"),
        (math.nan, math.nan, Published(5.0, 0.1), "failed"),
        (5.0, math.nan, Published(5.0), "no error known"),
    ],
)
def test_a_value_is_within_two_combined_standard_errors(mean, sem, published, wanted):
    assert report.of_value(mean, sem, 3, published) == wanted


def test_the_error_that_one_side_lacks_is_taken_from_the_other():
    # Three runs of ours with standard deviation 0.3 against one published run: √(0.3² / 3 + 0.3²).
    error = math.sqrt(0.3**2 / 3 + 0.3**2)
    for gap, wanted in ((1.99 * error, "within 2 s.e."), (2.01 * error, "differs")):
        assert report.of_value(5 + gap, 0.3 / math.sqrt(3), 3, Published(5.0, None, 1)) == wanted
    # One run of ours against ten published ones with standard error 0.1.
    error = math.sqrt(10 * 0.1**2 + 0.1**2)
    for gap, wanted in ((1.99 * error, "within 2 s.e."), (2.01 * error, "differs")):
        assert report.of_value(5 + gap, math.nan, 1, Published(5.0, 0.1, 10)) == wanted


@pytest.mark.parametrize(
    ("mean", "wanted"),
    [(0.14, "within a factor of 1.5"), (0.299, "within a factor of 1.5"), (0.131, "differs"), (0.302, "differs"),
     (-0.2, "differs"), (math.nan, "failed")],
)  # fmt: skip
def test_a_value_read_off_a_figure_is_judged_by_a_factor(mean, wanted):
    assert report.of_value(mean, 0.0, 3, Published(0.2, n=3), 1.5) == wanted


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: report.of_value(1.0, -0.5, 3, Published(1.0)), "sem must be an error, 0 or more, got -0.5"),
        (lambda: report.of_value(1.0, 0.5, -1, Published(1.0)), "n must be a whole number of at least 0, got -1"),
        (lambda: Published(1.0, -1.0), r"sem must lie in \[0, inf\), got -1.0"),
        (lambda: Published(1.0, None, 0), "n must be a whole number of at least 1, got 0"),
        (lambda: report.of_pair(2.0, "larger"), "p must lie between 0 and 1, or be NaN"),
        (lambda: report.Limit("a", ("b",), "=", 0.5, "c"), "sign must be one of <, >, got '='"),
        (lambda: report.Limit("a", ("b",), "<", math.nan, "c"), r"limit must lie in \(-inf, inf\), got nan"),
        (lambda: report.Value("a", ("b",), Published(1.0), factor=1.0), r"factor must lie in \(1, inf\), got 1.0"),
        (lambda: report.Value("a", ("b",), Published(1.0), -1), "digits must be a whole number from 0 to 20, got -1"),
        (lambda: report.of_limit(0.1, 0.2, "<", math.inf), "limit must be finite, got inf"),
        (lambda: Heading(0, "a"), "level must be a whole number from 1 to 6, got 0"),
        (lambda: Table("", ("a", "b"), (("c",),)), r"as many cells as the head, 2, got \[1\]"),
        (lambda: Table("", ("a",), (("c",),), (Heading(1, "a"),) * 2), "a link for each of 1 rows or none, got 2"),
    ],
)
def test_what_makes_no_claim_and_no_table_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_rule_holds_for_equal_truths_as_often_as_it_should():
    # Both sides draw three runs from one distribution: t with 4 degrees of freedom beyond 2 in 11.6 % of the cases.
    rng, within = np.random.default_rng(5), 0
    for _ in range(2000):
        ours, theirs = rng.normal(80, 0.5, 3), rng.normal(80, 0.5, 3)
        published = Published(theirs.mean(), theirs.std(ddof=1) / math.sqrt(3))
        within += report.of_value(ours.mean(), ours.std(ddof=1) / math.sqrt(3), 3, published) == "within 2 s.e."
    share = 1 - 2 * stats.t.sf(2, 4)
    assert abs(within / 2000 - share) < 4 * math.sqrt(share * (1 - share) / 2000)


def test_orders_and_thresholds():
    assert report.of_order(2.0, 1.0) == "same order"
    assert report.of_order(1.0, 2.0) == report.of_order(1.0, 1.0) == "differs"
    assert report.of_order(math.nan, 1.0) == "failed"
    assert report.of_limit(0.001, 0.009, "<", 0.01) == "same order"
    assert report.of_limit(0.001, 0.01, "<", 0.01) == "differs"  # every run has to be below
    assert report.of_limit(0.06, 0.5, ">", 0.05) == "same order"
    assert report.of_limit(0.04, 0.5, ">", 0.05) == "differs"
    assert report.of_limit(math.nan, math.nan, ">", 0.05) == "failed"
    with pytest.raises(ValueError, match="sign must be"):
        report.of_limit(0, 1, "=", 1)


def test_pairs_without_a_published_order():
    assert report.of_pair(0.049, "p < 0.05") == "significant too"
    assert report.of_pair(0.05, "p < 0.05") == "not significant"
    assert report.of_pair(math.nan, "p < 0.05") == "no error known"
    assert report.of_pair(0.001, "") == report.of_pair(math.nan, "") == "ours"


# What is published.


def test_every_figure_and_table_of_the_chapter_has_its_place():
    panels = {"4.1ab", "4.2abcd", "4.3abc", "4.4abc", "4.5abc", "4.6abcd", "4.7ab", "4.8ab", "4.9"}
    wanted = {f"{name[:3]}{letter}" for name in panels for letter in name[3:] or [""]}
    found = set()
    for item in CHAPTER:
        match = re.match(r"Fig\. (\d\.\d)([a-d,–]*)", item.name)
        letters = "abc" if match and "–" in match[2] else (match[2].replace(",", "") if match else "")
        found |= {f"{match[1]}{letter}" for letter in letters or [""]} if match else set()
    assert found == wanted
    names = [item.name for item in CHAPTER]
    assert [name for name in names if name.startswith("Table 4.1")] == [
        "Table 4.1, column 1: Split MNIST",
        "Table 4.1, column 2: Split Fashion-MNIST",
        "Table 4.1, column 2: Split Fashion-MNIST, standardised like MNIST",
        "Table 4.1, column 3: Permuted MNIST",
        "Table 4.1, column 4: Permuted Fashion-MNIST",
        "Table 4.1, column 4: Permuted Fashion-MNIST, standardised like MNIST",
    ]
    assert "Continuous Permuted MNIST (text)" in names
    assert len(set(names)) == len(names)
    for item in CHAPTER:
        assert item.verdict or (item.command.startswith(f"python experiments/{item.experiment}.py") and item.figure)


# Made runs.


def lifelong(models, rng, level, seeds=SEEDS):
    """A record of a lifelong run; `level` gives the accuracy of each model."""
    after = [*TASKS, "joint"]
    count = len(seeds)
    accuracy = np.full((len(models), count, 4, 3), np.nan)
    for k, model in enumerate(models):
        accuracy[k, :, 3 if model == "joint" else slice(0, 3)] = level[model]
    accuracy += rng.normal(0, 0.004, accuracy.shape)
    axes = ("model", "replica", "task", "epoch")
    return xarray.Dataset(
        {
            "accuracy": (("model", "replica", "after_task", "test_task"), accuracy),
            "mean_p": (axes, rng.uniform(0.25, 1, (len(models), count, 4, 2))),
            "frozen_share": (axes, np.sort(rng.uniform(0, 1, (len(models), count, 4, 2)), axis=2)),
            "failed": (("model", "replica"), np.zeros((len(models), count), dtype=bool)),
        },
        coords={
            "model": models, "replica": range(count), "seed": ("replica", seeds), "task": after, "epoch": [1, 2],
            "after_task": after, "test_task": TASKS,
        },
    )  # fmt: skip


LEVEL = {"presynaptic": 0.829, "none": 0.80, "joint": 0.9855, "ewc": 0.90, "bgd": 0.80}


def maker(base):
    """Makes run folders in a folder."""

    row = {"method": "a|b", "metric": "m", "mean": 0.5, "sem": None, "n": 1, "published": None}

    def made(name, dataset, script="lifelong", status="finished", reduced="", rows=(row,), **config):
        out = base / "runs" / name
        argv = [str(ROOT / "experiments" / f"{script}.py"), "--data-dir", "/secret/data", "--quiet", "--out", str(out)]
        given = {"data": "mnist", "seeds": dataset.seed.values.ravel().tolist(), "threads": 1, "device": "cpu"}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", [*argv, f"--source=/secret/{name}"])
            folder = records.create(out, given | config)
        folder.save_record(dataset)
        folder.save_summary(rows)
        if status is not None:
            folder.finish(status, reduced=reduced)
        return out

    return made


@pytest.fixture
def make(tmp_path):
    return maker(tmp_path)


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def item(name):
    return next(one for one in CHAPTER if one.name == name)


COLUMN_1 = "Table 4.1, column 1: Split MNIST"
SPLIT = {"scenario": "split", "bias": False}


def line(finding, start):
    (found,) = [one for one in finding.lines if one.label.startswith(start) and "published code" not in one.label]
    return found


def test_methods_of_several_runs_are_put_together_and_tested(make, rng):
    first = lifelong(["presynaptic", "none", "joint"], rng, LEVEL)
    second = lifelong(["ewc"], rng, LEVEL)
    second["failed"][0, 1] = True
    folders = [make("one", first, **SPLIT), make("two", second, **SPLIT)]
    runs, skipped = report.collect(folders)
    assert not skipped
    finding = report.assess(item(COLUMN_1), runs)
    final = {
        "presynaptic": [100 * np.mean([first.accuracy.values[0, r, 2, t] for t in range(3)]) for r in range(3)],
        "none": [100 * np.mean([first.accuracy.values[1, r, 2, t] for t in range(3)]) for r in range(3)],
        "joint": [100 * np.mean([first.accuracy.values[2, r, 3, t] for t in range(3)]) for r in range(3)],
        "ewc": [100 * np.mean([second.accuracy.values[0, r, 2, t] for t in range(3)]) for r in (0, 2)],
    }
    own = line(finding, "accuracy over all tasks, %: presynaptic")
    mean, sem = np.mean(final["presynaptic"]), np.std(final["presynaptic"], ddof=1) / math.sqrt(3)
    assert own.ours.startswith(f"{mean:.1f}"[:3])
    error = math.hypot(sem, 0.01)
    assert own.verdict == ("within 2 s.e." if abs(mean - 82.90) <= 2 * error else "differs")
    assert f"({abs(mean - 82.90) / error:.1f} s.e.)" in own.difference
    assert line(finding, "accuracy over all tasks, %: EWC").n == "2"
    assert line(finding, "accuracy over all tasks, %: BGD").verdict == "not run"
    pairs = {"none": "no consolidation", "ewc": "EWC", "joint": None}
    tests = {name: stats.ttest_ind(final["presynaptic"], final[name]) for name in pairs}
    order = sorted(pairs, key=lambda name: tests[name].pvalue)
    holm, floor = {}, 0.0
    for rank, name in enumerate(order):
        floor = max(floor, min(1.0, tests[name].pvalue * (3 - rank)))
        holm[name] = floor
    for name, words in pairs.items():
        start = f"accuracy: presynaptic over {words}" if words else "accuracy: joint training over presynaptic"
        t = tests[name].statistic * (1 if words else -1)
        found = line(finding, start)
        assert found.test.startswith(
            f"t = {t:.2f}, p = {tests[name].pvalue:.1g}, Holm {holm[name]:.1g}".replace("-", "−")
        )
        larger = final["presynaptic"] if words else final["joint"]
        smaller = final[name] if words else final["presynaptic"]
        assert found.verdict == ("same order" if np.mean(larger) > np.mean(smaller) else "differs")
    assert line(finding, "accuracy: presynaptic over EWC").verdict == "differs"
    assert {run.name for run in finding.sources} == {"one", "two"}
    both = report.merged(finding.models)
    for name, data in (("joint", first), ("ewc", second)):
        wanted = data.accuracy.sel(model=name).transpose("replica", "after_task", "test_task")
        for after in ("0 1", "4 5", "joint"):
            got = both.accuracy.sel(model=name, after_task=after).transpose("replica", "test_task").values
            np.testing.assert_array_equal(got, wanted.sel(after_task=after).values)
    assert both.failed.dtype == bool
    assert bool(both.failed.sel(model="ewc", replica=1))
    assert [str(name) for name in both.after_task.values] == [*TASKS, "joint"]


def test_an_order_that_chance_may_have_made_says_so(make, rng):
    # Same order of the means, but the seeds of either spread over far more than the gap.
    data = lifelong(["presynaptic", "none", "joint"], rng, LEVEL)
    data.accuracy[1, :, 2] = data.accuracy[0, :, 2].values - 0.01 + np.array([[-0.2], [0.0], [0.2]])
    finding = report.assess(item(COLUMN_1), report.collect([make("run", data, **SPLIT)])[0])
    assert line(finding, "accuracy: presynaptic over no").verdict == "same order (not significant)"
    assert line(finding, "accuracy: joint training over presynaptic").verdict == "same order"
    assert "1 × same order (not significant), 1 × same order" in finding.verdict()


def test_runs_that_only_the_figure_is_of_are_named_too(make, rng):
    config = {"scenario": "permuted", "bias": False}
    level = LEVEL | {"ewc 10": 0.9}
    folders = [make(name, lifelong([name], rng, level), **config) for name in ("presynaptic", "bgd", "ewc 10")]
    finding = report.assess(item("Fig. 4.8b"), report.collect(folders)[0])
    assert [run.name for run in finding.sources] == ["presynaptic"]
    made = origins(finding)
    assert len(made) == 2
    assert made[0].startswith("presynaptic: `python experiments/lifelong.py")
    assert made[1].startswith("bgd (in the figure): `python experiments/lifelong.py")


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """Runs of importance_of_release without and with the importances accumulated along training."""
    base, made = tmp_path_factory.mktemp("watched"), []
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "experiments"))
        patch.setattr(sys, "argv", ["experiments/importance_of_release.py", "--data", "digits"])
        script = importlib.import_module("importance_of_release")
        for name, more in (("without", []), ("along", ["--along"])):
            given = ["--data", "digits", "--batch", "20", "--quiet", "--threads", "1", "--seeds", "1", "2", *more]
            given += [*TINY["importance_of_release"], "--out", str(base / name)]
            launch(script, given)
            made.append(report.collect([base / name])[0][0])
    return made


def test_correlations_with_all_importances_are_shown_and_what_is_left_out_is_said(watched):
    for run, along in zip(watched, (False, True), strict=True):
        finding = report.assess(item("Fig. 4.2a,c,d"), [run])
        (grid,) = finding.grids
        assert grid.head == ("importance", "Pearson", "Spearman")
        assert [row[0] for row in grid.rows] == [str(name) for name in run.record.dataset.importance.values]
        assert ("si" in [row[0] for row in grid.rows]) == along
        assert any("`--along` trains once more" in note for note in finding.notes) != along
        assert ("left out: importances accumulated along the way" in run.facts()) != along


def perceptron(gap):
    """Samples of the gap between the perceptrons at loads of 10 % and more, ten seeds."""
    return {
        ("gap", f"{10 * k}%"): outcomes.Sample(mean + np.linspace(-0.01, 0.01, 10)) for k, mean in enumerate(gap, 1)
    }


def test_whether_the_gap_reverses_is_told_by_the_data():
    (remark,) = item("Fig. 4.5b,c").remarks
    assert remark(perceptron([0.04, 0.03, -0.01, -0.02])) == (
        "The gap does not only shrink: it reverses at high load. From 30 % of the capacity on the standard perceptron "
        "is ahead, at 40 % by 0.020 ± 0.002."
    )
    assert remark(perceptron([-0.04, 0.03, 0.01])) == ""
    assert remark(perceptron([0.04, 0.03, -0.001])) == ""  # may be chance
    assert remark({}) == ""


VARIANTS = {
    "full": 0.85, "no freezing": 0.85, "no modulation": 0.83, "neither": 0.80, "ghost (code)": 0.82,
    "ghost (expected)": 0.81, "not normalised": 0.84,
}  # fmt: skip


def test_every_variant_is_tested_against_the_full_model_and_the_ghost_against_neither(make, rng):
    data = lifelong(list(VARIANTS), rng, VARIANTS).drop_vars("mean_p")
    folder = make("ablation", data, script="ablation", scenario="split", bias=False)
    finding = report.assess(item("Fig. 4.5a, Split MNIST"), report.collect([folder])[0])
    final = {name: 100 * data.accuracy.values[k, :, 2].mean(1) for k, name in enumerate(VARIANTS)}
    pairs = [("full", name) for name in VARIANTS if name != "full"] + [("ghost (code)", "neither")]
    tests = {pair: stats.ttest_ind(*(final[name] for name in pair)) for pair in pairs}
    holm, floor = {}, 0.0
    for rank, pair in enumerate(sorted(pairs, key=lambda pair: tests[pair].pvalue)):
        floor = max(floor, min(1.0, tests[pair].pvalue * (len(pairs) - rank)))
        holm[pair] = floor
    for (one, other), test in tests.items():
        (found,) = [
            line
            for line in finding.lines
            if line.label in (f"accuracy: {one} over {other}", f"accuracy: {one} against {other}")
        ]
        text = f"t = {test.statistic:.2f}, p = {test.pvalue:.1g}, Holm {holm[one, other]:.1g}"
        assert found.test.startswith(text.replace("-", "−"))
    assert line(finding, "accuracy: ghost (code) against neither").verdict == "significant too"
    assert line(finding, "accuracy: full against no freezing").verdict == "ours"


def test_runs_with_fewer_seeds_are_merged_and_their_missing_replicas_do_not_count(make, rng):
    few = lifelong(["ewc"], rng, LEVEL, seeds=[2019, 2020])
    folders = [make("one", lifelong(["presynaptic"], rng, LEVEL), **SPLIT), make("few", few, status="failed", **SPLIT)]
    runs, _ = report.collect(folders)
    both = report.merged({run.record.dataset.model.values[0]: run for run in runs})
    with pytest.raises(ValueError, match="has no model 'other', it has "):
        report.merged({"other": runs[0]})
    with pytest.raises(ValueError, match="runs must hold one model at least, got none"):
        report.merged({})
    assert both.failed.sel(model="ewc").values.tolist() == [False, False, True]
    assert both.failed.sel(model="presynaptic").values.tolist() == [False] * 3
    assert line(report.assess(item(COLUMN_1), runs), "accuracy over all tasks, %: EWC").n == "2"


def test_of_two_runs_the_whole_one_counts_then_the_one_with_more_seeds(make, rng):
    def run(name, value, **more):
        seeds = more.pop("seeds_of", SEEDS)
        return make(name, lifelong(["presynaptic"], rng, {"presynaptic": value}, seeds), **SPLIT, **more)

    folders = [
        run("short", 0.5, reduced="epochs 2 (published: 10)"),
        run("single", 0.6, seeds_of=[2019]),
        run("whole", 0.829),
        make("with bias", lifelong(["presynaptic"], rng, {"presynaptic": 0.7}), scenario="split", bias=True),
        make("search", lifelong(["ewc 10", "ewc 100"], rng, {"ewc 10": 0.1, "ewc 100": 0.2}), **SPLIT),
    ]
    for chosen, name in (
        (folders[:3], "whole"),
        (folders[:2], "single"),
        (folders[:1], "short"),
        (folders[2:], "whole"),
    ):
        runs, _ = report.collect(chosen)
        finding = report.assess(item(COLUMN_1), runs)
        assert [run.name for run in finding.sources] == [name]
    short = report.assess(item(COLUMN_1), report.collect(folders[:1])[0])
    assert line(short, "accuracy over all tasks, %: presynaptic").verdict == "differs (reduced run)"
    only = report.assess(item(COLUMN_1), report.collect(folders[3:])[0])
    assert only.verdict() == "not run"


def test_runs_of_old_that_do_not_say_what_they_reduced_go_by_their_preset(make, rng):
    def run(name, preset, reduced):
        data = lifelong(["presynaptic"], rng, {"presynaptic": 0.5})
        return make(name, data, reduced=reduced, preset=preset, **SPLIT)

    folders = [run("quick", "quick", None), run("paper", "paper", None), run("new", "quick", "")]
    for count, name, verdict in ((1, "quick", "differs (reduced run)"), (2, "paper", "differs"), (3, "new", "differs")):
        finding = report.assess(item(COLUMN_1), report.collect(folders[:count])[0])
        assert [run.name for run in finding.sources] == [name]
        assert line(finding, "accuracy over all tasks, %: presynaptic").verdict == verdict


def test_digits_stand_in_for_orders_but_not_for_numbers(make, rng):
    def found(**config):
        data = lifelong(["presynaptic", "none"], rng, {"presynaptic": 0.829, "none": 0.5})
        runs, _ = report.collect([make(f"{config['data']}", data, **SPLIT, **config)])
        return report.assess(item(COLUMN_1), runs)

    digits = found(data="digits")
    assert line(digits, "accuracy over all tasks, %: presynaptic").verdict == "other data: digits"
    assert line(digits, "accuracy: presynaptic over no").verdict == "same order (on digits)"
    assert found(data="fashion-mnist").verdict() == "not run"


def test_reasons_are_given_where_we_differ(make, rng):
    def notes(level):
        runs, _ = report.collect([make(f"run {level}", lifelong(["joint", "ewc"], rng, level), **SPLIT)])
        return " ".join(report.assess(item(COLUMN_1), runs).notes)

    assert "prints no settings of BGD and EWC" not in notes({"joint": 0.9855, "ewc": 0.704})
    assert "prints no settings of BGD and EWC" in notes({"joint": 0.9855, "ewc": 0.95})
    assert "80.3, one seed" in notes({"joint": 0.9855, "ewc": 0.705})  # whatever the verdicts are


# The numbers of the experiments themselves.

TINY = {
    "lifelong": ["--hidden", "20", "--epochs", "1", "--preset", "quick"],
    "ablation": ["--hidden", "20", "--epochs", "1", "--variants", "full", "ghost (code)"],
    "energy": ["--preset", "paper", "--hidden", "20", "--epochs", "1", "--decays", "0", "0.01", "--probabilities",
               "0.4", "1", "--rates", "0.05"],
    "neurons": ["--hidden", "20", "20", "--epochs", "1", "--shuffles", "3"],
    "importance_of_release": ["--hidden", "20", "--epochs", "1", "--images", "50"],
    "lesions": ["--hidden", "20", "--epochs", "1", "--images", "60", "--samples", "2"],
    "perceptron": ["--inputs", "60", "--patterns", "40", "--tasks", "3", "--epochs", "2"],
}  # fmt: skip
ROWS = {  # key -> method and beginning of the metric in the run's own table
    "lifelong": {
        ("final", "joint"): ("joint", "accuracy over all"),
        ("first", "none"): ("none", "accuracy on the first"),
    },
    "ablation": {("final", "ghost (code)"): ("ghost (code)", "accuracy over all")},
    "energy": {
        ("per energy", "0.01", "plastic"): ("plastic", "10⁻³ bits per energy, decay 0.01"),
        ("fixed release", "0.4"): ("fixed release 0.4", "10⁻³ bits per energy"),
        ("start share", "U(0.25, 1)"): ("plastic, start U(0.25, 1)", "synapses with p"),
        ("start mean p", "p = 0.25"): ("plastic, start p = 0.25", "mean release"),
        ("robust", "p_up -25 %, p_down +0 %"): ("p_up -25 %, p_down +0 %", "10⁻³ bits"),
    },
    "neurons": {
        ("D", "hidden 2 inputs"): ("hidden 2 inputs", "Kolmogorov-Smirnov D"),
        ("p", "output inputs"): ("output inputs", "Kolmogorov-Smirnov p"),
        ("lowly", "hidden 2 inputs", "true"): ("hidden 2 inputs", "lowly important neurons, true"),
        ("r", "hidden 1"): ("hidden 1", "r of"),
    },
    "importance_of_release": {
        ("share", "high"): ("p ≥ 0.9", "share of the synapses"),
        ("fisher", "low"): ("p < 0.9", "mean Fisher, all"),
        ("r", "fisher"): ("fisher, empirical, test set", "correlation with p (Pearson)"),
    },
    "lesions": {
        ("mean", "random"): ("random", "accuracy on average"),
        ("50 %", "p"): ("p", "accuracy with 50 %"),
        ("seconds", "study"): ("lesion study", "s: 5 orders × 10 fractions × 2 seeds"),
    },
    "perceptron": {
        ("average", "standard"): ("standard", "accuracy over 3 tasks"),
        ("task 1", "presynaptic", "2"): ("presynaptic", "accuracy on task 1 after task 2"),
        ("gap", "67%"): ("presynaptic − standard", "gap at 80 patterns"),
    },
}


@pytest.mark.parametrize("name", TINY)
def test_numbers_are_those_of_the_run_itself(name, tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    monkeypatch.setattr(sys, "argv", [f"experiments/{name}.py", "--data", "digits"])
    script = importlib.import_module(name)
    launch(script, [*common(script), "--seeds", "1", "2", *TINY[name], "--out", str(tmp_path / name)])
    ((run,), skipped) = report.collect([tmp_path])
    assert (run.experiment, skipped) == (name, [])
    samples = outcomes.READERS[name](run.record.dataset)
    claims = [claim for item in CHAPTER if item.experiment == name for claim in item.claims]
    keys = [getattr(claim, field, None) for claim in claims for field in ("key", "larger", "first")]
    # The probabilities are asked for after ten tasks, and these runs have fewer.
    assert {key[0] for key in keys if key} <= {key[0] for key in samples} | {"frozen_share"}
    rows = run.record.summary
    for key, (method, metric) in ROWS[name].items():
        row = next(row for row in rows if row["method"] == method and row["metric"].startswith(metric))
        values = samples[key].values[np.isfinite(samples[key].values)]
        assert len(values) == row["n"], key
        if row["n"]:
            assert values.mean() == pytest.approx(row["mean"], rel=1e-9), key


def test_the_p_of_a_correlation_is_that_of_scipy(rng):
    counts = rng.poisson(9.0, (6, 2, 15)).astype(float)  # side, replica, neuron
    sides = [f"{name} {end}" for name in ("input", "hidden 1", "hidden 2") for end in ("inputs", "outputs")]
    r = [[stats.pearsonr(counts[2 * k + 2, i], counts[2 * k + 3, i]) for i in range(2)] for k in (0, 1)]
    several = ("side", "shuffle", "replica")
    dataset = xarray.Dataset(
        {
            "failed": ("replica", [False, False]),
            "ks": (several, np.zeros((6, 1, 2))),
            "ks_p": (several, np.ones((6, 1, 2))),
            "neuron_class": (("kind", "side", "replica", "neuron"), np.zeros((2, 6, 2, 15))),
            "pearson": (("hidden", "replica"), [[one.statistic for one in layer] for layer in r]),
        },
        coords={
            "side": sides, "kind": ["true", "shuffled"], "hidden": ["hidden 1", "hidden 2"],
            "seed": ("replica", [1, 2]),
        },
    )  # fmt: skip
    found = outcomes.READERS["neurons"](dataset)
    for k, name in enumerate(("hidden 1", "hidden 2")):
        np.testing.assert_allclose(found["p of r", name].values, [one.pvalue for one in r[k]], rtol=1e-9)


# The pages.


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("analysis_report", ROOT / "analysis" / "report.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Runs of all sorts, good ones and others."""
    base, rng = tmp_path_factory.mktemp("made"), np.random.default_rng(11)
    make = maker(base)
    made = [
        make("one", lifelong(["presynaptic", "none", "joint"], rng, LEVEL), **SPLIT),
        make("two", lifelong(["bgd"], rng, LEVEL), **SPLIT, reduced="epochs 1 (published: 10)"),
        make("going on", lifelong(["ewc"], rng, LEVEL), status=None, **SPLIT),
        make("sites", lifelong(["a"], rng, {"a": 0.5}), script="sites"),
        make("strange", lifelong(["a"], rng, {"a": 0.5}), script="my_own"),
        make("old", lifelong(["a"], rng, {"a": 0.5}).drop_vars("accuracy"), **SPLIT),
    ]
    damaged = make("damaged", lifelong(["ewc"], rng, LEVEL), **SPLIT)
    data = bytearray((damaged / "record.nc").read_bytes())
    data[len(data) // 2] ^= 1
    (damaged / "record.nc").write_bytes(bytes(data))
    return [*made, damaged, base / "nowhere"]


@pytest.fixture(scope="module")
def pages(script, folders, tmp_path_factory):
    base = tmp_path_factory.mktemp("pages")
    out, text = base / "out", base / "page" / "REPRODUCTION.md"
    files = script.write(folders, out, text, None)
    return out, text, files


class Page(HTMLParser):
    """Checks that tags are closed in order, and keeps what a reader needs."""

    VOID = ("meta", "img")

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.ids, self.links, self.levels = [], [], [], [], []

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.tags.append((tag, given))
        if "id" in given:
            self.ids.append(given["id"])
        if tag == "a":
            self.links.append(given["href"])
        if re.fullmatch(r"h\d", tag):
            self.levels.append(int(tag[1]))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_html_page_is_whole_and_readable(pages):
    text = (pages[0] / "report.html").read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    page.close()
    assert not page.open
    assert len(set(page.ids)) == len(page.ids)
    assert all(link.startswith("#") and link[1:] in page.ids for link in page.links)
    assert page.levels[0] == 1
    assert page.levels.count(1) == 1
    assert all(after - before <= 1 for before, after in zip(page.levels, page.levels[1:], strict=False))
    images = [given for tag, given in page.tags if tag == "img"]
    assert len(images) == 2  # Table 4.1 and Fig. 4.4b,c share one figure, Fig. 4.8a has another
    for given in images:
        assert len(given["alt"]) > 20
        kind, data = given["src"].split(",")
        assert kind == "data:image/png;base64"
        assert base64.b64decode(data).startswith(b"\x89PNG")
    assert not {"script", "link", "iframe"} & {tag for tag, _ in page.tags}
    assert not re.search(r'(src|href)="(?!#|data:)|url\(|@import', text)
    assert all(given.get("scope") in ("row", "col") for tag, given in page.tags if tag == "th")
    assert ("html", {"lang": "en"}) in page.tags


def slug(heading):
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_the_markdown_page_is_whole(pages):
    text = pages[1].read_text(encoding="utf-8")
    anchors = {slug(re.sub(r"\\(.)", r"\1", found[1])) for found in re.finditer(r"^#+ (.*)$", text, re.MULTILINE)}
    links = re.findall(r"(?<!!)\[[^\]]*\]\(#([^)]*)\)", text)
    assert len(links) == len(CHAPTER)
    assert set(links) <= anchors
    width = 0
    for each in text.split("\n"):
        cells = len(re.split(r"(?<!\\)\|", each)) if each.startswith("|") else 0
        assert not (width and cells) or cells == width, each
        width = cells
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]*)\)", text)
    assert sorted(pictures) == sorted(f"docs/reproduction/{name}.png" for name in ("lifelong-split-mnist",
                                                                                    "report-split-mnist"))  # fmt: skip
    for picture in pictures:
        assert (pages[1].parent / picture).read_bytes().startswith(b"\x89PNG")
        assert (pages[1].parent / picture).stat().st_size < 100_000


def test_every_line_says_where_it_is_from_and_no_path_of_a_machine_is_told(pages, folders):
    text = pages[1].read_text(encoding="utf-8")
    html = re.sub(r"base64,[^\"]*", "", (pages[0] / "report.html").read_text(encoding="utf-8"))
    assert "`python experiments/lifelong.py --data-dir DIR --out runs/one --source=runs/one`" in text
    assert "reduced: epochs 1 (published: 10)" in text
    assert re.search(r"commit [0-9a-f]{12}|commit unknown", text)
    for word in ("device cpu", "1 thread", "seeds 2019, 2020, 2021", "nothing reduced"):
        assert word in text
    for page in (text, html):
        assert "/secret" not in page
        assert str(folders[0].parent) not in page
        assert str(ROOT) not in page
    # A figure that is not there, and lines that were not run, name the command that makes them.
    assert "Verdict: not run. The command: `python experiments/perceptron.py --preset paper`" in text
    assert "Not run (published): " in text
    assert "needs the published data set" in text
    assert "| a\\|b | m | 0.5 | 1 |" in text
    assert "Release sites and masks per image (ours)" in text
    assert "Nothing in this section is published" in text


def test_what_can_not_be_used_is_named_with_the_reason(pages):
    text = pages[1].read_text(encoding="utf-8").split("## Left out")[1]
    assert "damaged: damaged/record.nc is damaged: its bytes are not those that run.json lists" in text
    assert "going on: its status is 'running', not finished" in text
    assert "nowhere: no such folder" in text
    assert "old: its record is not what this version expects" in text
    assert "strange: `python experiments/my\\_own.py" in text or "strange: `python experiments/my_own.py" in text


def test_the_same_runs_make_the_same_bytes_in_any_order(script, folders, pages, tmp_path):
    again, text = tmp_path / "again", tmp_path / "elsewhere" / "REPRODUCTION.md"
    script.write(folders[::-1], again, text, None)
    assert text.read_bytes() == pages[1].read_bytes()
    assert (again / "report.html").read_bytes() == (pages[0] / "report.html").read_bytes()
    for file in pages[2][1:-1]:
        assert (text.parent / "docs" / "reproduction" / file.name).read_bytes() == file.read_bytes()


def test_a_part_is_shown_where_there_is_a_run_of_it_and_leaves_the_first_as_it_is(
    script, folders, pages, make, rng, tmp_path, monkeypatch
):
    plain = pages[1].read_text(encoding="utf-8")
    chapter = plain.partition("## Left out")[0]
    powers = make("powers", lifelong(["a"], rng, {"a": 0.5}), script="sparsity")
    folders = [*folders, powers]
    for given, count in ((folders[:-1], 1), (folders, 2)):
        made = tmp_path / f"{count}" / "REPRODUCTION.md"
        script.write(given, tmp_path / f"{count}", made, None)
        text = made.read_text(encoding="utf-8")
        assert (text == plain) == (count == 1)
        assert text.startswith(chapter)
        assert len(re.findall("^## .*what was published and what we find$", text, re.MULTILINE)) == count - 1
    assert text.count("## The rule") == text.count("## Left out") == 1
    assert text.index("The paper is Schwarz") < text.index("## Left out")
    page = Page()
    page.feed((tmp_path / "2" / "report.html").read_text(encoding="utf-8"))
    assert len(set(page.ids)) == len(page.ids)
    assert all(link[1:] in page.ids for link in page.links)
    assert page.levels.count(1) == 1
    assert all(after - before <= 1 for before, after in zip(page.levels, page.levels[1:], strict=False))
    # Alone it is a page of its own.
    script.write([powers], tmp_path / "3", None, None)
    assert (tmp_path / "3" / "report.md").read_text(encoding="utf-8").startswith("# Powerpropagation:")


def test_a_page_of_studies_alone_says_nothing_of_verdicts(script, make, rng, tmp_path):
    run = make("spikes", lifelong(["a"], rng, {"a": 0.5}), script="spiking_lifelong")
    script.write([run], tmp_path / "out", None, None)
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    heads = re.findall("^#+ .*$", text, re.MULTILINE)
    assert heads[:2] == ["# Spiking networks: what we find", "## Studies"]
    assert "Verdict" not in text
    assert "## The rule" not in heads


def test_places_on_the_page_have_names_of_their_own(script):
    packages = [importlib.import_module(f"analysis.{name}") for name in script.PARTS]
    names = [one.name for package in packages for one in (*package.ITEMS, *package.STUDIES)]
    anchors = [Heading(3, name).anchor() for name in names]
    assert sorted(set(anchors)) == sorted(anchors)
    leads = [package.TITLE.partition(":")[0] for package in packages]
    assert len(set(leads)) == len(leads)


def test_a_folder_of_runs_is_searched_and_a_script_that_fails_costs_only_its_figure(
    script, folders, tmp_path, monkeypatch
):
    def missing(name):
        raise ModuleNotFoundError(f"No module named 'analysis.{name}'")

    monkeypatch.setattr(script, "script", missing)
    script.main([str(folders[0].parent), "--out", str(tmp_path / "out"), "--figures", str(tmp_path / "pictures")])
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "No figure: analysis/lifelong.py failed (ModuleNotFoundError: No module named" in text
    assert "](../pictures/report-split-mnist.png)" in text
    assert "damaged: damaged/record.nc is damaged" in text


def test_nothing_at_all_still_makes_a_page(script, tmp_path, capsys):
    script.main([str(tmp_path / "none"), "--out", str(tmp_path / "out")])
    assert "no such folder" in capsys.readouterr().err
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert text.count("Verdict: not run.") == sum(not item.verdict for item in CHAPTER)


def test_the_help_tells_the_rule(script, capsys):
    with pytest.raises(SystemExit):
        script.main(["--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "at most two combined standard errors" in said
    assert '"same order" if our means have the published order' in said


def test_signs_are_escaped():
    blocks = [
        Heading(1, "a <b> & c"),
        Paragraph("p_up *x* `a*b|c` | <i> [y] &lt; _z_"),
        Table("", ("h", "k"), (("a|b", "`c|d`"),)),
    ]
    text = report.markdown(blocks, str)
    assert "p_up \\*x\\* `a*b|c` | &lt;i> \\[y\\] &amp;lt; \\_z\\_" in text
    assert "| a\\|b | `c\\|d` |" in text
    page = report.html(blocks, lambda name: b"")
    assert "<title>a &lt;b&gt; &amp; c</title>" in page
    assert "p_up *x* <code>a*b|c</code> | &lt;i&gt; [y] &amp;lt; _z_" in page


def test_the_numbers_of_the_bars_per_task(script, make, rng, tmp_path):
    data = lifelong(["presynaptic", "joint"], rng, LEVEL)
    script.per_task(data.transpose(*reversed(list(data.sizes))), tmp_path)
    found = json.loads((tmp_path / "per_task.json").read_text(encoding="utf-8"))
    for k, name, after in ((0, "presynaptic", 2), (1, "joint", 3)):
        np.testing.assert_allclose(found["accuracy_percent"][name], 100 * data.accuracy.values[k, :, after], rtol=1e-12)
