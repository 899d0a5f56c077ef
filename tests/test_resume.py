"""A run that is killed and resumed ends with the same bits as one that was not."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from forked import Parent

from synsim import records

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}


def command(out: Path, *more: str) -> list[str]:
    script = str(ROOT / "experiments" / "lifelong.py")
    return [
        script, "--data", "digits", "--epochs", "3", "--batch", "20", "--hidden", "60", "60",
        "--seeds", "1", "2", "--methods", "presynaptic", "none", "--threads", "1", "--checkpoint-every", "0.02",
        "--quiet", "--out", str(out), *more,
    ]  # fmt: skip


def finish(parent: Parent, out: Path) -> float:
    start = time.monotonic()
    done = parent.run(command(out, "--resume"))
    assert done.returncode == 0, done.stderr
    return time.monotonic() - start


def kill_after(parent: Parent, out: Path, seconds: float) -> bool:
    return parent.run(command(out, "--resume"), seconds=seconds, kill=signal.SIGKILL).returncode == -signal.SIGKILL


def assert_same(one: Path, other: Path) -> None:
    a, b = records.open(one), records.open(other)
    left, right = a.dataset.drop_vars("seconds"), b.dataset.drop_vars("seconds")
    assert left.attrs.keys() == right.attrs.keys()
    assert left.identical(right.assign_attrs(left.attrs))
    assert a.summary == b.summary
    (tensors, _), (others, _) = a.checkpoint(), b.checkpoint()
    assert tensors.keys() == others.keys()
    for name, tensor in tensors.items():
        if not name.endswith("epoch/seconds"):
            same = torch.equal(tensor.nan_to_num(-1.0), others[name].nan_to_num(-1.0))
            assert same or (tensor.dtype == torch.uint8 and torch.equal(tensor, others[name])), name


@pytest.fixture(scope="module")
def whole(parent, tmp_path_factory):
    """A run in a process of its own, which no other has to do with; and how long one takes."""
    folder = tmp_path_factory.mktemp("whole")
    line = [sys.executable, *command(folder / "run")]
    done = subprocess.run(line, env=ENVIRONMENT, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr
    length = finish(parent, folder / "again")
    assert_same(folder / "run", folder / "again")
    return folder / "run", length


def killed_and_resumed(parent, whole, tmp_path, moments: int, seed: int) -> None:
    reference, length = whole
    chance = random.Random(seed)
    kills = 0
    for moment in range(moments):
        out = tmp_path / str(moment)
        # From before the first checkpoint until just before the end; a run that ended first is begun anew.
        share = chance.uniform(0.02, 0.98)
        while not kill_after(parent, out, share * length):
            shutil.rmtree(out)
            share *= 0.8
        kills += 1
        finish(parent, out)
        assert_same(reference, out)
    assert kills == moments
    print(f"{kills} of {moments} runs that were killed ended with the same bits")


def test_killed_at_three_moments(parent, whole, tmp_path):
    killed_and_resumed(parent, whole, tmp_path, 3, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_at_twenty_moments(parent, whole, tmp_path):
    killed_and_resumed(parent, whole, tmp_path, 20, seed=2)


def test_killed_again_and_again(parent, whole, tmp_path):
    reference, length = whole
    out = tmp_path / "run"
    for share in (0.4, 0.4):
        kill_after(parent, out, share * length)
    finish(parent, out)
    assert_same(reference, out)


def test_resuming_with_other_settings_is_refused(parent, whole):
    done = parent.run(command(whole[0], "--resume", "--lr", "0.5"))
    assert done.returncode == 1
    assert "lr" in done.stderr
    assert "Traceback" not in done.stderr


def test_another_run_in_the_folder_is_refused(parent, whole):
    out, _ = whole
    before = json.loads((out / "run.json").read_text())
    done = parent.run(command(out))
    assert done.returncode == 1
    assert "--resume" in done.stderr
    assert "--overwrite" in done.stderr
    assert json.loads((out / "run.json").read_text()) == before


def test_the_record_has_labelled_axes(whole):
    record = records.open(whole[0])
    assert record.config["seeds"] == [1, 2]
    assert record.dataset.accuracy.dims == ("model", "replica", "after_task", "test_task")
    assert list(record.dataset.model.values) == ["presynaptic", "none"]
    # Tasks are tested once they have been learned.
    tested = ~np.isnan(record.dataset.accuracy.values)
    count = tested.shape[-1]
    assert (tested == np.tril(np.ones((count, count), dtype=bool))).all()
