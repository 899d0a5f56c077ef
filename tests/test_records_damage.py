"""Runs that were cut short, altered or killed: never wrong content, and always a way on."""

import gc
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray

from synsim import records
from synsim.records import dataset, files

CONFIG = {"lr": 0.05}
FLIPS = 60


def version(number: int) -> xarray.Dataset:
    values = np.random.default_rng(number).normal(size=(3, 4))
    return xarray.Dataset({"accuracy": (("method", "task"), values)}, {"method": ["none", "EWC", "presynaptic"]})


def row(number: int) -> dict[str, object]:
    return {"method": "EWC", "metric": "accuracy", "mean": number, "sem": 0.5, "n": 3, "published": None}


def save(run: records.RunFolder, number: int) -> None:
    run.save_checkpoint({"w": torch.full((5,), float(number)), "k": torch.arange(number)}, {"number": number})
    run.save_record(version(number))
    run.save_summary([row(number)])


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, only to be copied."""
    folder = tmp_path_factory.mktemp("run")
    run = records.create(folder, CONFIG)
    save(run, 4)
    run.finish()
    return folder


def content(folder: Path) -> tuple[object, ...]:
    record = records.open(folder)
    tensors, meta = record.checkpoint()
    values = {name: (tensor.dtype, tensor.tolist()) for name, tensor in tensors.items()}
    return records.sha256(record.dataset), record.summary, record.run, values, meta


def flipped(data: bytes) -> Iterator[bytes]:
    generator = random.Random(0)
    for _ in range(FLIPS):
        altered = bytearray(data)
        altered[generator.randrange(len(data))] ^= generator.randrange(1, 256)
        yield bytes(altered)


@pytest.mark.parametrize("name", files.NAMES)
def test_one_altered_byte(complete: Path, tmp_path: Path, name: str) -> None:
    folder = shutil.copytree(complete, tmp_path / "copy")
    right, refused = content(folder), 0
    for altered in flipped((complete / name).read_bytes()):
        (folder / name).write_bytes(altered)
        try:
            assert content(folder) == right
        except records.DamagedRecordError:
            refused += 1
    assert refused == FLIPS if name in (files.RECORD, files.SUMMARY) else refused > 0.7 * FLIPS


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # h5netcdf, on closing such files
def test_the_digest_in_the_record_stands_alone(complete: Path) -> None:
    refused = 0
    for altered in flipped((complete / "record.nc").read_bytes()):
        try:
            assert records.sha256(dataset.read(altered, complete / "record.nc")) == records.sha256(version(4))
        except records.DamagedRecordError:
            refused += 1
    gc.collect()
    assert refused > 0


def test_every_byte_of_values_counts_in_a_checkpoint(complete: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(complete, tmp_path / "copy")
    data = (complete / "checkpoint.safetensors").read_bytes()
    for position in range(8 + int.from_bytes(data[:8], "little"), len(data)):
        altered = bytearray(data)
        altered[position] ^= 1
        (folder / "checkpoint.safetensors").write_bytes(altered)
        with pytest.raises(records.DamagedRecordError, match="does not fit the digest"):
            records.open(folder).checkpoint()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (rb"\"number\":4", rb"\"number\":5"),
        (rb"\"number\"", rb"\"lumber\""),
        (b'"dtype":"F32","shape":[5]', b'"dtype":"I32","shape":[5]'),
        (b'"w":', b'"v":'),
    ],
)
def test_names_dtypes_and_meta_count_in_a_checkpoint(complete: Path, tmp_path: Path, old: bytes, new: bytes) -> None:
    folder = shutil.copytree(complete, tmp_path / "copy")
    data = (complete / "checkpoint.safetensors").read_bytes()
    assert data.count(old) == 1
    (folder / "checkpoint.safetensors").write_bytes(data.replace(old, new))
    with pytest.raises(records.DamagedRecordError, match="does not fit the digest"):
        records.open(folder).checkpoint()


@pytest.mark.parametrize("name", files.NAMES)
@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.9, 0.99, 1.5])
def test_cut_short_or_padded(complete: Path, tmp_path: Path, name: str, share: float) -> None:
    folder = shutil.copytree(complete, tmp_path / "copy")
    data = (complete / name).read_bytes()
    wrong = data[: int(share * len(data))] if share < 1 else data + data[: len(data) // 2]
    (folder / name).write_bytes(wrong)
    with pytest.raises(records.DamagedRecordError, match="is damaged: ") as caught:
        content(folder)
    way_out = "--resume: it rebuilds" if name in (files.RECORD, files.SUMMARY) else "--overwrite"
    assert way_out in str(caught.value)
    assert str(folder / name) in str(caught.value)


def test_last_byte_missing(complete: Path, tmp_path: Path) -> None:
    for name in (files.RECORD, files.CHECKPOINT, files.SUMMARY):
        folder = shutil.copytree(complete, tmp_path / name)
        (folder / name).write_bytes((complete / name).read_bytes()[:-1])
        with pytest.raises(records.DamagedRecordError, match=name):
            content(folder)


def test_files_of_another_run_are_refused(complete: Path, tmp_path: Path) -> None:
    save(records.create(tmp_path / "other", CONFIG), 5)
    for name in (files.RECORD, files.SUMMARY):
        folder = shutil.copytree(complete, tmp_path / name)
        shutil.copy(tmp_path / "other" / name, folder / name)
        with pytest.raises(records.DamagedRecordError, match=r"bytes are not those that run.json lists"):
            records.open(folder)


def test_a_missing_summary_of_a_finished_run(complete: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(complete, tmp_path / "copy")
    (folder / "summary.json").unlink()
    with pytest.raises(records.DamagedRecordError, match="it is missing, though the run is finished"):
        records.open(folder)


@pytest.mark.parametrize("text", ["[]", "3", "{}", '{"sha256": "0"}', "[" * 100_000, "null", '{"sha256": NaN}'])
def test_strange_json_is_refused(complete: Path, tmp_path: Path, text: str) -> None:
    folder = shutil.copytree(complete, tmp_path / "copy")
    (folder / "run.json").write_text(text)
    with pytest.raises(records.DamagedRecordError, match=r"run.json is damaged"):
        records.open(folder)


def test_a_damaged_description_can_only_be_overwritten(complete: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(complete, tmp_path / "copy")
    text = (folder / "run.json").read_text()
    (folder / "run.json").write_text(text.replace("0.05", "0.06"))
    with pytest.raises(records.DamagedRecordError, match="--overwrite"):
        records.create(folder, CONFIG, resume=True)
    with pytest.raises(records.RunExistsError, match=r"a run that can't be read .*damaged"):
        records.create(folder, CONFIG)
    assert records.create(folder, CONFIG, overwrite=True).load_checkpoint() is None


def test_a_damaged_checkpoint_is_not_resumed_from(complete: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(complete, tmp_path / "copy")
    (folder / "checkpoint.safetensors").write_bytes(b"")
    with pytest.raises(records.DamagedRecordError, match=r"checkpoint.safetensors is damaged"):
        records.create(folder, CONFIG, resume=True).load_checkpoint()


def test_resume_rebuilds_a_damaged_record(complete: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(complete, tmp_path / "copy")
    (folder / "record.nc").write_bytes(b"half")
    (folder / "summary.json").unlink()
    run = records.create(folder, CONFIG, resume=True)
    save(run, run.load_checkpoint()[1]["number"])
    run.finish()
    assert content(folder)[0] == content(complete)[0]


class KilledError(BaseException):
    """Stands for a kill -9: no handler of the code under test may tidy up after it."""


@contextmanager
def killed_at(step: int) -> Iterator[Callable[[], int]]:
    """Die before the step-th time that something on the disk changes; a write dies half way."""
    count = 0

    def dying(real: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **keywords: object) -> object:
            nonlocal count
            count += 1
            if count < step:
                return real(*arguments, **keywords)
            if count == step and real is write_text:
                write_text(arguments[0], arguments[1][: len(arguments[1]) // 2])
            if count == step:
                raise KilledError
            return None  # the dead change nothing

        return call

    write_text = Path.write_text
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", dying(lambda descriptor: None))
        for name in ("replace", "unlink", "write_text", "mkdir"):
            patch.setattr(Path, name, dying(getattr(Path, name)))
        with suppress(KilledError):
            yield lambda: count


def steps(action: Callable[[], object]) -> int:
    with killed_at(10**9) as count:
        action()
    return count()


def resave(folder: Path, number: int) -> None:
    run = records.create(folder, CONFIG, resume=True)
    save(run, number)
    run.finish()


def test_killed_at_any_moment_of_saving(complete: Path, tmp_path: Path) -> None:
    total = steps(lambda: resave(shutil.copytree(complete, tmp_path / "whole"), 5))
    assert total > 30
    old, new = content(complete), content(tmp_path / "whole")
    for step in range(1, total + 1):
        folder = shutil.copytree(complete, tmp_path / str(step))
        with killed_at(step):
            resave(folder, 5)
        found = content(folder)
        for part in (0, 1, 3, 4):
            assert found[part] in (old[part], new[part])
        resave(folder, 6)
        assert {entry.name for entry in folder.iterdir()} == set(files.NAMES)
        assert content(folder)[4] == {"number": 6}
        assert all(len(digests) == 1 for digests in content(folder)[2]["files"].values())


def test_killed_twice(complete: Path, tmp_path: Path) -> None:
    total = steps(lambda: resave(shutil.copytree(complete, tmp_path / "whole"), 5))
    generator = random.Random(1)
    for attempt in range(20):
        folder = shutil.copytree(complete, tmp_path / str(attempt))
        for number in (5, 6, 7):
            with killed_at(generator.randrange(1, total + 1)):
                resave(folder, number)
            content(folder)


@pytest.mark.parametrize("choice", ["new", "overwrite"])
def test_killed_at_any_moment_of_starting(complete: Path, tmp_path: Path, choice: str) -> None:
    def start(folder: Path) -> None:
        if choice == "overwrite":
            records.create(folder, {"lr": 1.0}, overwrite=True)
        else:
            records.create(folder, {"lr": 1.0})

    def prepared(name: str) -> Path:
        folder = tmp_path / name
        return shutil.copytree(complete, folder) if choice == "overwrite" else folder

    total = steps(lambda: start(prepared("whole")))
    for step in range(1, total + 1):
        folder = prepared(str(step))
        with killed_at(step):
            start(folder)
        text = (folder / "run.json").read_text() if (folder / "run.json").exists() else "{}"
        if json.loads(text).get("config") == {"lr": 1.0}:
            # never a new run with an old checkpoint
            assert records.create(folder, {"lr": 1.0}, resume=True).load_checkpoint() is None
        records.create(folder, {"lr": 1.0}, overwrite=True)
        assert [entry.name for entry in folder.iterdir()] == ["run.json"]


def test_what_a_killed_run_left_half_written_is_cleaned(complete: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(complete, tmp_path / "copy")
    for name in files.NAMES:
        (folder / f".{name}.0123abcd.tmp").write_bytes(b"half")
    assert content(folder) == content(complete)
    records.create(folder, CONFIG, resume=True)
    assert {entry.name for entry in folder.iterdir()} == set(files.NAMES)


@pytest.mark.slow
def test_a_real_kill(tmp_path: Path) -> None:
    script = (
        "import itertools, sys, test_records_damage as t\n"
        "from synsim import records\n"
        "run = records.create(sys.argv[1], t.CONFIG, resume=True)\n"
        "saved = run.load_checkpoint()\n"
        "first = saved[1]['number'] + 1 if saved else 1\n"
        "for number in itertools.count(first): t.save(run, number)\n"
    )
    generator = random.Random(2)
    last = 0
    for _ in range(10):
        child = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], cwd=Path(__file__).parent)
        while not (tmp_path / "summary.json").exists():
            assert child.poll() is None
            time.sleep(0.05)
        time.sleep(generator.uniform(0, 6))
        child.send_signal(signal.SIGKILL)
        child.wait()
        number = content(tmp_path)[4]["number"]
        assert number >= last
        last = number
    assert last > 10
