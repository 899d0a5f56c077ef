"""Every experiment runs on the digits, leaves a record, draws its figures and can be resumed."""

import importlib

import pytest
from small_runs import ARGUMENTS, SPIKING, runs_resumes_and_is_drawn

pytestmark = pytest.mark.usefixtures("scripts")


@pytest.mark.parametrize("name", [name for name in ARGUMENTS if name not in SPIKING])
def test_it_runs_resumes_and_is_drawn(name, tmp_path, capsys):
    runs_resumes_and_is_drawn(name, tmp_path / "run", capsys)


@pytest.mark.parametrize("name", ARGUMENTS)
def test_every_preset_can_be_asked_for_without_another_option(name):
    experiment = importlib.import_module(name).EXPERIMENT
    for preset in experiment.config.presets():
        assert experiment.parse(["--preset", preset]).preset == preset
