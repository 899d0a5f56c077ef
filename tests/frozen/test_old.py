"""Folders of runs that an earlier release wrote still open, and go on to the bits that it would have reached."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from results import arithmetic, digest, summary

from synsim import records
from synsim.training import Session

OLD = Path(__file__).with_name("old")
sys.path.insert(0, str(OLD))
import runs  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")

kept = json.loads((OLD / "digests.json").read_text())


@pytest.fixture
def folder(tmp_path):
    """Opens a copy, to which a run may write."""

    def opened(name):
        shutil.copytree(OLD / name, tmp_path / name)
        return records.create(tmp_path / name, runs.CONFIG, resume=True)

    return opened


@pytest.mark.parametrize("name", runs.RUNS)
def test_a_run_that_was_stopped_goes_on_to_the_same_bits(name, folder):
    store = Session(folder("stopped")).open(name)
    assert store.load()[1]["step"] > 0
    found, expected = runs.trained(name, store), kept["runs"][name]
    if kept["torch"] == torch.__version__.partition("+")[0] and kept["arithmetic"] == arithmetic():
        assert digest(found) == expected["digest"]
    means = summary(found)
    assert means.keys() == expected["means"].keys()
    for part, mean in means.items():
        assert mean == pytest.approx(expected["means"][part], rel=0.1, abs=0.05, nan_ok=True), part


def test_a_run_that_ended_is_read_and_its_phase_is_not_trained_again(folder):
    record = records.open(OLD / "finished")
    assert record.config == runs.CONFIG
    assert record.summary[0]["mean"] == pytest.approx(float(record.dataset.accuracy[:, -1].mean()))

    def train(store):
        raise AssertionError("it had ended")

    session = Session(folder("finished"))
    net, rule, options = runs.presynaptic()
    # The last checkpoint of a run of one phase is that of its last task: fit finds nothing left to do.
    phase = session.phase(
        "presynaptic",
        net,
        lambda store: runs.fit(
            net, rule, runs.tasks(), seeds=runs.SEEDS, epochs=2, batch=runs.BATCH, samples=2, store=store,
            objective=lambda *given: train(store), **options,
        ),
    )  # fmt: skip
    assert phase.dataset.drop_vars("seconds").equals(record.dataset.drop_vars("seconds"))
