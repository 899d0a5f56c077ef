"""Kills, damages and environments: what must go on holding, in a short form and, marked slow, in full."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray
from forked import Done, Parent

from synsim import records
from synsim.records import files

Tally = Callable[[str, int, int], None]
ROOT = Path(__file__).resolve().parent.parent.parent
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": str(ROOT)}
COMMON = ["--quiet", "--threads", "1", "--checkpoint-every", "0.02", "--seeds", "1", "2"]
DIGITS = ["--data", "digits", "--batch", "20"]
EXPERIMENTS = {
    "lifelong": ["--epochs", "3", *DIGITS, "--hidden", "60", "60", "--methods", "presynaptic", "ewc"],
    "energy": ["--epochs", "4", *DIGITS, "--hidden", "60", "--parts", "main", "--decays", "0.01", "0.05"],
    "continuous": ["--epochs", "2", *DIGITS, "--hidden", "60", "--tasks", "3"],
    "ablation": ["--epochs", "2", *DIGITS, "--hidden", "60", "--tasks", "3", "--scenario", "permuted"],
    "perceptron": ["--inputs", "100", "--patterns", "100", "--tasks", "5", "--epochs", "20"],
    "path_integral": ["--epochs", "2", *DIGITS, "--hidden", "40", "--every", "20"],
}


def command(name: str, out: Path, *more: str) -> list[str]:
    script = str(ROOT / "experiments" / f"{name}.py")
    return [sys.executable, script, *COMMON, *EXPERIMENTS[name], "--out", str(out), *more]


def complete(name: str, out: Path, environment: dict[str, str] = ENVIRONMENT, flags: tuple[str, ...] = ()) -> None:
    line = command(name, out, "--resume")
    done = subprocess.run([line[0], *flags, *line[1:]], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def assert_same(one: Path, other: Path) -> None:
    a, b = records.open(one), records.open(other)
    clocks = [name for name in a.dataset.data_vars if "seconds" in str(name)]
    assert records.sha256(a.dataset.drop_vars(clocks)) == records.sha256(b.dataset.drop_vars(clocks))
    assert [row for row in a.summary if row["metric"] != "s"] == [row for row in b.summary if row["metric"] != "s"]
    left, right = a.checkpoint()[0], b.checkpoint()[0]
    assert left.keys() == right.keys()
    assert all(torch.equal(left[key].nan_to_num(), right[key].nan_to_num()) for key in left if "seconds" not in key)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_chains_of_kills_end_with_the_same_bits(name: str, parent: Parent, tally: Tally, tmp_path: Path) -> None:
    complete(name, tmp_path / "whole")  # in a process of its own, which no other has to do with

    def run(out: Path, **options: object) -> Done:
        return parent.run(command(name, out, "--resume")[1:], **options)

    started = time.monotonic()
    assert run(tmp_path / "again").returncode == 0
    length, generator, kills = time.monotonic() - started, random.Random(name), 0
    for chain in range(3):
        ended = []
        for _ in range(3):
            sent = generator.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM])
            ended.append(run(tmp_path / str(chain), seconds=generator.uniform(0.05, 0.5) * length, kill=sent))
        kills += sum(done.returncode != 0 for done in ended)
        done = run(tmp_path / str(chain))
        assert done.returncode == 0, done.stderr
        assert_same(tmp_path / "whole", tmp_path / str(chain))
    assert kills > 3
    tally("runs that were killed ended with the same bits", kills, kills)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = records.create(tmp_path_factory.mktemp("damage") / "run", {"seeds": [1, 2], "data": "digits"})
    generator = torch.Generator().manual_seed(0)
    run.save_checkpoint({"w": torch.randn(40, generator=generator), "mask": torch.ones(3, dtype=torch.bool)}, {"at": 3})
    values = np.random.default_rng(0).normal(size=(3, 4))
    run.save_record(xarray.Dataset({"v": (("x", "y"), values)}, {"name": ("x", ["a", "bb", ""])}, {"title": "t"}))
    row = {"method": "none", "metric": "accuracy", "mean": 70.0, "sem": 1.0, "n": 2, "published": None}
    run.save_summary([row])
    run.finish()
    return run.path


def content(folder: Path) -> tuple[object, ...]:
    record = records.open(folder)
    tensors, meta = record.checkpoint()
    shown = {name: (value.dtype, value.tolist()) for name, value in tensors.items()}
    return record.dataset.attrs["sha256"], records.sha256(record.dataset), record.summary, record.run, shown, meta


def damages(data: bytes, count: int, generator: random.Random) -> Iterator[bytes]:
    for number in range(count):
        altered = bytearray(data)
        at = generator.randrange(len(data))
        if number % 2:
            altered[at] ^= 1 << generator.randrange(8)
        else:
            size = generator.choice([2, 16, 512, 4096])
            block = altered[at : at + size]
            noise = generator.randbytes(len(block)) if number % 4 else bytes(len(block))
            altered[at : at + size] = noise
        yield bytes(altered)


def refused(folder: Path, at: Path, count: int, seed: int) -> tuple[int, int]:
    """Damages that were tried and refused, in all files; one that is read gives what was written."""
    right, generator = content(folder), random.Random(seed)
    tried = failed = 0
    for name in files.NAMES:
        copy = shutil.copytree(folder, at / name)
        data = (copy / name).read_bytes()
        for altered in damages(data, count, generator):
            if altered == data:
                continue
            (copy / name).write_bytes(altered)
            tried += 1
            try:
                assert content(copy) == right
            except (records.DamagedRecordError, records.RunMismatchError):
                failed += 1
        (copy / name).write_bytes(data)
    return tried, failed


def shortened(folder: Path, at: Path, shares: list[float]) -> tuple[int, int]:
    tried = failed = 0
    for name in files.NAMES:
        copy = shutil.copytree(folder, at / name)
        data = (copy / name).read_bytes()
        for share in shares:
            (copy / name).write_bytes(data[: min(len(data) - 2, int(share * len(data)))])
            tried += 1
            try:
                content(copy)
            except records.DamagedRecordError:
                failed += 1
    return tried, failed


def test_damages_are_refused(folder: Path, tmp_path: Path) -> None:
    tried, failed = refused(folder, tmp_path, 30, 1)
    assert tried > 100
    # JSON may be written in several ways: a few flips of blanks and of the case of hexadecimal digits change nothing.
    assert failed > 0.95 * tried


def test_truncations_are_refused(folder: Path, tmp_path: Path) -> None:
    tried, failed = shortened(folder, tmp_path, [0.0, 0.1, 0.5, 0.9, 1.0])
    assert tried == failed == 20


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_thousands_of_damages_are_refused(folder: Path, tally: Tally, tmp_path: Path) -> None:
    tried, failed = refused(folder, tmp_path, 850, 2)
    tally("bit flips and damages of blocks refused (the others read as what was written)", failed, tried)
    assert tried > 3_200
    assert failed > 0.95 * tried
    tried, failed = shortened(folder, tmp_path / "short", [k / 60 for k in range(60)])
    tally("truncations refused", failed, tried)
    assert tried == failed == 240


ENVIRONMENTS = {
    "optimised": ({}, ("-O",)),
    "more optimised": ({}, ("-OO",)),
    "hash seed": ({"PYTHONHASHSEED": "123"}, ()),
    "time zone": ({"TZ": "Pacific/Apia"}, ()),
    "malloc": ({"PYTHONMALLOC": "malloc", "MALLOC_PERTURB_": "165"}, ()),
    "locale": ({"LC_ALL": "C", "PYTHONUTF8": "0"}, ()),
    "isolated": ({"PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "20"}, ("-X", "dev", "-W", "ignore")),
}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_environments_change_no_bit(tally: Tally, tmp_path: Path) -> None:
    complete("lifelong", tmp_path / "usual")
    for name, (more, flags) in ENVIRONMENTS.items():
        complete("lifelong", tmp_path / name, {**ENVIRONMENT, **more}, flags)
        assert_same(tmp_path / "usual", tmp_path / name)
        assert json.loads((tmp_path / name / "run.json").read_text())["status"] == "finished"
        tally("environments changed no bit", 1, 1)
