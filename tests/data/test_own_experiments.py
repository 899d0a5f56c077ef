"""Experiments take a file of the user's own; the examples of docs/data.md run."""

import re
from pathlib import Path

import numpy as np
import pytest
from small_runs import run

import synsim
from synsim import records

pytestmark = pytest.mark.usefixtures("scripts")
DOCS = Path(synsim.__file__).resolve().parent.parent / "docs"
RNG = np.random.default_rng(2)
NAMES = np.array(["ant", "bee", "cat"] * 20)
TRAINS = RNG.random((60, 8, 5)) < 0.3


def test_an_experiment_with_images(tmp_path):
    np.savez(tmp_path / "mine.npz", x=RNG.normal(size=(60, 12, 12)), y=NAMES)
    short = ["--parts", "main", "--methods", "plastic", "--rates", "0.02", "0.05", "0.08"]
    short += ["--probabilities", "0.25", "0.4", "0.6", "0.8", "1"]
    run("energy", tmp_path / "run", "--data", str(tmp_path / "mine.npz"), *short)
    record = records.open(tmp_path / "run")
    assert record.dataset.attrs["title"].endswith("on mine.npz, 2 seeds")
    assert record.dataset.task.values.tolist() == ["mine"]
    assert all(row["mean"] is not None for row in record.summary)
    assert (tmp_path / "run" / "README.txt").exists()


def test_an_experiment_with_spike_trains(tmp_path):
    example, step, neuron = np.nonzero(TRAINS)
    np.savez(tmp_path / "spikes.npz", time=step + 0.5, neuron=neuron, example=example, y=NAMES)
    given = ["--data", str(tmp_path / "spikes.npz")]
    run("spiking_energy", tmp_path / "run", *given, "--methods", "plastic", "--rules", "backprop", "--window", "25")
    record = records.open(tmp_path / "run")
    data = synsim.data.load(given[1])
    assert record.dataset.raster_input.values.tolist() == data.x_test[0].tolist()
    # A rate network is given the counts, and pays for as many spikes as there are.
    spikes = record.dataset.spikes.sel(model="rate plastic") - record.dataset.hidden_spikes.sel(model="rate plastic")
    np.testing.assert_allclose(spikes, data.x_test.sum((1, 2)).double().mean(), rtol=1e-5)
    with pytest.raises(SystemExit):
        run("energy", tmp_path / "no", *given)
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize(
    ("name", "window", "option"),
    [
        ("spiking_energy", "25", "--window 10.0"),
        ("spiking_energy", "25", "--dt 0.5"),
        ("spiking_lifelong", "20", "--rate 50.0"),
    ],
)
def test_options_for_images_are_refused_with_spike_trains(tmp_path, capsys, name, window, option):
    np.savez(tmp_path / "spikes.npz", x=TRAINS.astype(np.uint8), y=NAMES, dt=1.0)
    with pytest.raises(SystemExit):
        run(name, tmp_path / "run", "--data", str(tmp_path / "spikes.npz"), "--window", window, *option.split())
    said = capsys.readouterr().err
    assert f"{option} is for images." in said
    assert "8 steps of 1.0 ms" in said


def test_the_examples_of_the_page_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "data.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        names: dict[str, object] = {}
        exec(compile(block, "docs/data.md", "exec"), names)  # our own page
    assert names["net"](names["task"].train[0:4]).shape == (4, names["task"].classes)
    assert len(synsim.data.load("mine.npz").x_test) == 40
