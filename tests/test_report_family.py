"""A t test has one corrected p value, wherever on a page it stands."""

import importlib
import json

import numpy as np
import pytest
import test_report
from doubles import holm
from scipy import stats

from synsim import outcomes, report, statistics, tables
from synsim.report import words
from synsim.report.studies import rows as rows_of
from synsim.report.testing import keys_of, pairs_of

METHODS = ("presynaptic", "none", "bgd", "ewc", "joint")


@pytest.fixture
def runs(tmp_path):
    level = {**test_report.LEVEL, "bgd": 0.815}
    dataset = test_report.lifelong(list(METHODS), np.random.default_rng(5), level)
    test_report.maker(tmp_path)("one", dataset, **test_report.SPLIT, standardised_by="own")
    found, skipped = report.collect([tmp_path / "runs"])
    assert not skipped
    return found


def test_all_items_tell_the_same_p_of_one_test(runs):
    findings = {item.name: report.assess(item, runs, test_report.CHAPTER) for item in test_report.CHAPTER}
    texts = {}
    for name, finding in findings.items():
        for line in finding.lines:
            if line.test != "–":
                texts.setdefault(line.label, {})[name] = line.test
    shared = {label: said for label, said in texts.items() if len(said) > 1}
    assert len(shared) == 4  # Fig. 4.4 and column 1 of Table 4.1
    assert all(len(set(said.values())) == 1 for said in shared.values())


def test_it_is_that_of_all_tests_of_the_measurement(runs):
    accuracy = 100 * runs[0].record.dataset.accuracy
    tasks = test_report.TASKS
    final = {
        name: accuracy.sel(model=name, after_task="joint" if name == "joint" else tasks[-1]).mean("test_task").values
        for name in METHODS
    }
    p = {name: stats.ttest_ind(final["presynaptic"], final[name]).pvalue for name in METHODS[1:]}
    corrected = holm(p)
    words = {"none": "presynaptic over no consolidation", "bgd": "presynaptic over BGD", "ewc": "presynaptic over EWC",
             "joint": "joint training over presynaptic"}  # fmt: skip
    for item in ("Fig. 4.4b,c", test_report.COLUMN_1):
        finding = report.assess(test_report.item(item), runs, test_report.CHAPTER)
        for name, label in words.items():
            told = test_report.line(finding, f"accuracy: {label}").test
            assert f"p = {p[name]:.1g}, Holm {corrected[name]:.1g}".replace("-", "−") in told, (item, name)
    finding = report.assess(test_report.item("Fig. 4.4b,c"), runs, test_report.CHAPTER)
    first = test_report.line(finding, "accuracy on task 1 at the end, %: presynaptic over no")
    alone = stats.ttest_ind(
        *(accuracy.sel(model=name, after_task=tasks[-1], test_task=tasks[0]).values for name in ("presynaptic", "none"))
    )
    assert f"Holm {alone.pvalue:.1g}".replace("-", "−") in first.test  # a family of one


def test_table_figure_and_page_tell_one_corrected_p(runs, tmp_path, monkeypatch):
    dataset = runs[0].record.dataset
    monkeypatch.syspath_prepend(str(test_report.ROOT / "experiments"))
    lifelong = importlib.import_module("lifelong")
    rows = lifelong.EXPERIMENT.rows(lifelong.Config(methods=METHODS, data="digits"), dataset)
    tested = [row for row in rows if row.get("test") and row["metric"] == "points"]
    table = {row["method"].removeprefix("presynaptic − "): row["test"]["p_holm"] for row in tested}
    monkeypatch.syspath_prepend(str(test_report.ROOT))
    importlib.import_module("analysis.lifelong").draw(dataset, tmp_path)
    figure = json.loads((tmp_path / "lifelong.json").read_text(encoding="utf-8"))["p_holm"]
    assert set(table) == set(METHODS[1:])
    assert figure == pytest.approx(table, rel=1e-12)
    for item in (test_report.item("Fig. 4.4b,c"), test_report.item(test_report.COLUMN_1)):
        said = [line.test for line in report.assess(item, runs).lines if line.label.startswith("accuracy: ")]
        wanted = [f"Holm {table[name]:.1g}".replace("-", "−") for name in METHODS[1:]]
        assert all(text in line for text, line in zip(wanted, said, strict=True))


@pytest.mark.parametrize("name", sorted({item.experiment for item in test_report.CHAPTER} - {"", "continuous"}))
def test_whatever_is_compared_on_the_page_is_declared(name):
    items = [item for item in test_report.CHAPTER if item.experiment == name]
    keys = {key for item in items for claim in item.claims for key in keys_of(claim)}
    rng = np.random.default_rng(3)
    samples = {key: outcomes.Sample(rng.normal(size=3)) for key in sorted(keys)}
    tests = outcomes.tests(name, samples)
    missing = [pair for item in items for pair in pairs_of(item).values() if pair not in tests]
    assert not missing  # a claim without a declared test would be told without one


def test_rows_of_a_study_that_only_settings_tell_apart_name_them(tmp_path):
    dataset, rng = test_report.lifelong(["a"], np.random.default_rng(1), {"a": 0.5}), np.random.default_rng(2)
    rows = [tables.row("a", "bits", rng.normal(size=3), setting={"decay": decay}) for decay in (0.01, 0.1)]
    rows += [tables.row("b", "bits", rng.normal(size=3), setting={"decay": 0.01})]
    test_report.maker(tmp_path)("run", dataset, script="sites", rows=rows)
    (run,), _ = report.collect([tmp_path / "runs"])
    assert [cells[0] for cells in rows_of(run).rows] == ["a, decay 0.01", "a, decay 0.1", "b"]


def test_the_rows_of_a_study_have_their_tests_in_a_column(tmp_path):
    dataset = test_report.lifelong(["a"], np.random.default_rng(1), {"a": 0.5})
    values = {"a": np.array([1.0, 2.0, 4.0]), "b": np.array([5.0, 7.0, 6.0])}
    tested = statistics.family("a against b", {"": (values["a"], values["b"])})[""]
    rows = [tables.row("a", "bits", values["a"]), tables.row("a − b", "bits", values["a"] - values["b"], test=tested)]
    for name, given in {"new": rows, "old": rows[:1]}.items():
        test_report.maker(tmp_path)(name, dataset, script="sites", rows=given)
    found = {run.name: rows_of(run) for run in report.collect([tmp_path / "runs"])[0]}
    assert found["new"].head[-1] == "test"
    assert [cells[-1] for cells in found["new"].rows] == ["–", words.test(tested)]
    assert "test" not in found["old"].head
