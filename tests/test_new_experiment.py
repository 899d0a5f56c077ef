"""A new experiment with figure and place on the page is three files: script, analysis script, claims."""

import importlib
import json
import sys

import pytest

import analysis
from analysis import chapter
from synsim import report

SCRIPT = '''
"""How salt changes the taste."""

import numpy as np
import xarray

from synsim import statistics, tables
from synsim.experiment import Experiment, RunConfig

SALT = {"plain": 0.0, "salty": 1.0, "sweet": 0.9, "burnt": 0.2}


def measure(config, session):
    noise = np.random.default_rng(1).normal(0, 0.1, (len(SALT), len(config.seeds)))
    taste = np.array(list(SALT.values()))[:, None] + noise
    return xarray.Dataset({"taste": (("model", "seed"), taste)}, {"model": list(SALT), "seed": list(config.seeds)})


def rows(config, dataset):
    taste = {name: dataset.taste.sel(model=name).values for name in SALT}
    others = [name for name in SALT if name != "plain"]
    tests = statistics.family("taste against plain", {name: (taste[name], taste["plain"]) for name in others})
    made = [tables.row(name, "taste, points", values) for name, values in taste.items()]
    for name in others:
        made.append(tables.row(f"{name} − plain", "taste, points", taste[name] - taste["plain"], test=tests[name]))
    return made


EXPERIMENT = Experiment(RunConfig, measure, rows, __doc__)
'''
FIGURE = '''
"""Figure of a cooking run."""

from synsim import figures, plots


def draw(dataset, folder):
    with plots.style():
        made, (ax,) = plots.figure(width=3.0)
        plots.bars(ax, list(dataset.model.values), list(dataset.taste.values))
        return plots.save(made, folder / "cooking", {"taste": dataset.taste.values})


def main(arguments=None):
    figures.command(__doc__, "cooking", lambda record, folder: draw(record.dataset, folder), arguments)
'''
CLAIMS = '''
"""Fig. 12: the taste."""

from synsim.papers import Published
from synsim.report import Item, Order, Value

TASTE = Item(
    "Fig. 12",
    "Salt helps.",
    "cooking",
    "python experiments/cooking.py",
    data="digits",
    claims=(
        Value("taste, salty", ("taste, points", "salty"), Published(1.0, 0.1, 3)),
        Order("taste: sweet over plain", ("taste, points", "sweet"), ("taste, points", "plain")),
        Order("taste: burnt over plain", ("taste, points", "burnt"), ("taste, points", "plain")),
    ),
    figure=("cooking", "cooking"),
    alt="Bars of the taste.",
)
ITEMS = {12.0: TASTE}
'''


@pytest.fixture
def kitchen(tmp_path, monkeypatch):
    """The three files, each in a folder that stands for one of the project."""
    for folder, text in {"experiments": SCRIPT, "analysis": FIGURE, "chapter": CLAIMS}.items():
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "cooking.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path / "experiments"))
    monkeypatch.setattr(analysis, "__path__", [*analysis.__path__, str(tmp_path / "analysis")])
    monkeypatch.setattr(chapter, "__path__", [*chapter.__path__, str(tmp_path / "chapter")])
    monkeypatch.setattr(chapter, "ITEMS", analysis.placed("analysis.chapter", "ITEMS"))
    yield tmp_path
    for name in ("cooking", "analysis.cooking", "analysis.chapter.cooking"):
        sys.modules.pop(name, None)


def test_three_files_bring_a_table_a_figure_and_a_place_on_the_page(kitchen, monkeypatch, capsys):
    runs, out = kitchen / "runs", kitchen / "out"
    monkeypatch.setattr(sys, "argv", ["experiments/cooking.py"])
    arguments = ["--out", str(runs / "one"), "--data", "digits", "--seeds", "1", "2", "3", "--quiet"]
    importlib.import_module("cooking").EXPERIMENT.main(arguments)
    rows = json.loads((runs / "one" / "summary.json").read_text(encoding="utf-8"))["rows"]
    told = {row["method"]: row["test"] for row in rows if "test" in row}

    assert [item.name for item in chapter.ITEMS][-1] == "Fig. 12"
    found, skipped = report.collect([runs])
    assert not skipped
    finding = report.assess(chapter.ITEMS[-1], found, chapter.ITEMS)
    assert [line.verdict for line in finding.lines][:2] == ["within 2 s.e.", "same order"]
    for line, name in zip(finding.lines[1:], ("sweet − plain", "burnt − plain"), strict=True):
        # The corrected p value is that of the run's own family of three, not of the two on the page.
        test = told[name]
        assert f"p = {test['p']:.1g}, Holm {test['p_holm']:.1g}".replace("-", "−") in line.test
    assert told["sweet − plain"]["p_holm"] == pytest.approx(3 * told["sweet − plain"]["p"])

    capsys.readouterr()
    importlib.import_module("analysis.report").main([str(runs), "--out", str(out), "--figures", str(out / "png")])
    page = (out / "report.md").read_text(encoding="utf-8")
    assert "### Fig. 12" in page
    assert "![Bars of the taste.](png/cooking.png)" in page
    assert (out / "png" / "cooking.png").stat().st_size > 500


def test_two_claims_can_not_have_one_place(kitchen):
    (kitchen / "chapter" / "more.py").write_text('ITEMS = {12.0: "another"}', encoding="utf-8")
    with pytest.raises(ValueError, match=r"ITEMS of analysis.chapter must have places .*12.0, 12.0\]"):
        analysis.placed("analysis.chapter", "ITEMS")
    sys.modules.pop("analysis.chapter.more", None)
