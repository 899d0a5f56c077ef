"""A figure of the wrong run: every analysis script says which run it was given, and which one it wants."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray

from synsim import figures, records

ROOT = Path(figures.__file__).resolve().parent.parent
SCRIPTS = sorted(
    path.stem for path in (ROOT / "analysis").glob("*.py") if "figures.command(" in path.read_text(encoding="utf-8")
)


def run_of(folder, dataset, script):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [f"experiments/{script}.py"])
        made = records.create(folder, {"data": "digits"})
    made.save_record(dataset)
    made.save_summary([{"method": "a", "metric": "b", "mean": 0.5, "sem": None, "n": 1, "published": None}])
    made.finish()
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A run with nothing that any script knows, and one with accuracies on tasks."""
    base = tmp_path_factory.mktemp("runs")
    accuracy = np.full((2, 3, 2, 2), 0.5) + np.arange(3)[:, None, None] / 10
    memory = xarray.Dataset(
        {
            "accuracy": (("model", "replica", "after_task", "test_task"), accuracy),
            "failed": (("model", "replica"), np.zeros((2, 3), dtype=bool)),
        },
        {"model": ["a", "b"], "seed": ("replica", [1, 2, 3]), "after_task": ["1", "2"], "test_task": ["1", "2"]},
    )
    strange = xarray.Dataset({"taste": ("cook", [0.1, 0.2])})
    return [run_of(base / "strange", strange, "cooking"), run_of(base / "memory", memory, "cooking")]


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_wrong_run_is_told(name, folders, monkeypatch, capsys, tmp_path):
    monkeypatch.syspath_prepend(str(ROOT))
    script = importlib.import_module(f"analysis.{name}")
    for folder in folders:
        ended = None
        try:
            script.main([str(folder), "--out", str(tmp_path)])
        except SystemExit as error:
            ended = error.code
        said = capsys.readouterr().err
        if ended is None:  # what it shows is there, whichever experiment it is from
            assert f"note: this run was made by cooking.py, not by experiments/{name}.py" in said
            assert folder.name == "memory"
        else:
            assert ended == 1
            assert "is not what this script expects (" in said
            assert f"It was made by cooking.py; give the folder of a run of experiments/{name}.py." in said
        assert "Traceback" not in said


def test_no_folder_of_a_run(monkeypatch, capsys, tmp_path):
    monkeypatch.syspath_prepend(str(ROOT))
    with pytest.raises(SystemExit):
        importlib.import_module("analysis.sites").main([str(tmp_path)])
    assert str(tmp_path) in capsys.readouterr().err
