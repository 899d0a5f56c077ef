"""`python -m synsim`: what it prints, and how it ends."""

import subprocess
import sys

import numpy as np
import pytest
import xarray

import synsim
from synsim import __main__ as command
from synsim import records


def asked(capsys, *arguments: str) -> str:
    command.main(arguments)
    found = capsys.readouterr()
    assert not found.err
    return found.out


def test_versions_name_the_package_its_commit_and_what_it_needs(capsys):
    lines = dict(line.split(maxsplit=1) for line in asked(capsys, "versions").splitlines())
    assert lines["synsim"] == synsim.__version__
    assert lines["numpy"] == np.__version__
    assert {"python", "platform", "torch", "numba", "brian2", "triton"} <= lines.keys()
    assert not {"pytest", "mypy", "sphinx"} & lines.keys()


def test_versions_of_a_copy_without_metadata(capsys, monkeypatch):
    def none(name: str) -> list[str]:
        raise command.PackageNotFoundError(name)

    monkeypatch.setattr(command, "requires", none)
    monkeypatch.setattr(command, "version", none)
    assert "torch        not installed" in asked(capsys, "versions")


@pytest.fixture
def run(tmp_path):
    return records.create(tmp_path / "run", {"experiment": "energy", "epochs": 3, "seeds": [0, 1]})


def test_show_prints_config_and_table(capsys, run):
    run.save_record(xarray.Dataset({"accuracy": ("seed", [0.5, 0.75])}, {"seed": [0, 1]}))
    run.save_summary([synsim.tables.row("plastic", "accuracy, %", [50.0, 75.0], published=90.0)])
    run.finish()
    shown = asked(capsys, "show", str(run.path))
    assert "  epochs: 3\n" in shown
    assert "accuracy, %" in shown
    assert "90" in shown


def test_show_of_a_run_without_a_table(capsys, run):
    run.save_record(xarray.Dataset({"accuracy": ("seed", [0.5, 0.75])}, {"seed": [0, 1]}))
    assert "no table yet: the status of the run is 'running'" in asked(capsys, "show", str(run.path))


def test_fetch(capsys):
    assert asked(capsys, "fetch", "digits") == "digits come with scikit-learn.\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("show", "nowhere"), "python -m synsim: nowhere is not the folder of a run"),
        (("fetch", "mnost"), "Did you mean 'mnist'?"),
    ],
)
def test_what_goes_wrong_ends_in_a_sentence(arguments, message):
    with pytest.raises(SystemExit) as ended:
        command.main(arguments)
    assert message in str(ended.value)


def test_the_module_is_a_command():
    done = subprocess.run([sys.executable, "-m", "synsim", "help"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "usage: python -m synsim [-h] versions | fetch NAME | show RUN" in done.stderr
