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

from synsim import records

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}


def command(out: Path, *more: str) -> list[str]:
    script = str(ROOT / "experiments" / "lifelong.py")
    return [
        sys.executable, script, "--data", "digits", "--epochs", "3", "--batch", "20", "--hidden", "60", "60",
        "--seeds", "1", "2", "--methods", "presynaptic", "none", "--threads", "1", "--checkpoint-every", "0.02",
        "--quiet", "--out", str(out), *more,
    ]  # fmt: skip


def finish(out: Path) -> float:
    start = time.monotonic()
    done = subprocess.run(
        command(out, "--resume"), env=ENVIRONMENT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return time.monotonic() - start


def kill_after(out: Path, seconds: float) -> bool:
    process = subprocess.Popen(
        command(out, "--resume"), env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        return True
    return False


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
def whole(tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "run"
    return out, finish(out)


def killed_and_resumed(whole, tmp_path, moments: int, seed: int) -> None:
    reference, length = whole
    chance = random.Random(seed)
    kills = 0
    for moment in range(moments):
        out = tmp_path / str(moment)
        # From before the first checkpoint until just before the end; a run that ended first is begun anew.
        share = chance.uniform(0.25, 0.98)
        while not kill_after(out, share * length):
            shutil.rmtree(out)
            share *= 0.8
        kills += 1
        finish(out)
        assert_same(reference, out)
    assert kills == moments


def test_killed_at_three_moments(whole, tmp_path):
    killed_and_resumed(whole, tmp_path, 3, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_at_twenty_moments(whole, tmp_path):
    killed_and_resumed(whole, tmp_path, 20, seed=2)


def test_killed_again_and_again(whole, tmp_path):
    reference, length = whole
    out = tmp_path / "run"
    for share in (0.6, 0.7):
        kill_after(out, share * length)
    finish(out)
    assert_same(reference, out)


def test_resuming_with_other_settings_is_refused(whole):
    out, _ = whole
    changed = command(out, "--resume", "--lr", "0.5")
    done = subprocess.run(changed, env=ENVIRONMENT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "lr" in done.stderr
    assert "Traceback" not in done.stderr


def test_another_run_in_the_folder_is_refused(whole):
    out, _ = whole
    before = json.loads((out / "run.json").read_text())
    done = subprocess.run(command(out), env=ENVIRONMENT, capture_output=True, text=True, timeout=120, check=False)
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
