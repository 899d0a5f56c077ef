"""Folders made by somebody who means harm: each is refused in one sentence, and a report goes on without it."""

import importlib
import io
import json
import os
import shutil
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import safetensors.torch
import torch
import xarray

from synsim import figures, records, report
from synsim.records import checkpoint, dataset, description, files, summary

ROOT = Path(__file__).resolve().parent.parent.parent
CONFIG = {"seeds": [1, 2], "data": "digits", "scenario": "split"}
ROW = {"method": "none", "metric": "accuracy", "mean": 70.0, "sem": 1.0, "n": 2, "published": None}
posix = pytest.mark.skipif(sys.platform == "win32", reason="pipes and devices")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    run = records.create(tmp_path / "run", CONFIG)
    run.save_checkpoint({"w": torch.arange(5.0)}, {"task": 1})
    run.save_record(xarray.Dataset({"v": ("x", np.arange(3.0)), "name": ("x", ["a", "bb", ""])}))
    run.save_summary([ROW])
    run.finish()
    return tmp_path / "run"


def forge(folder: Path, name: str, data: bytes) -> None:
    """Put another file in place, with digests that fit."""
    (folder / name).write_bytes(data)
    run = json.loads((folder / "run.json").read_bytes())
    run["files"][name] = [files.digest(data)]
    seal(folder, run)


def seal(folder: Path, run: dict[str, object]) -> None:
    run.pop("sha256", None)
    text = json.dumps(run, sort_keys=True, separators=(",", ":"))
    (folder / "run.json").write_text(json.dumps({**run, "sha256": files.digest(text.encode())}))


def read_all(folder: Path) -> None:
    record = records.open(folder)
    record.checkpoint()


@posix
@pytest.mark.parametrize("kind", ["pipe", "device", "loop", "folder", "sparse"])
@pytest.mark.parametrize("name", files.NAMES)
def test_only_regular_files_of_a_stated_size_are_read(folder: Path, name: str, kind: str) -> None:
    path = folder / name
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "folder":
        path.mkdir()
    else:
        with path.open("wb") as file:
            file.truncate(20 * 2**30 if name == "checkpoint.safetensors" else 8 * 2**30)
    with pytest.raises((OSError, records.DamagedRecordError), match=name):
        read_all(folder)
    if name == "run.json":
        for choice in ({}, {"resume": True}, {"overwrite": True}):
            with pytest.raises((records.ForeignFolderError, records.RunExistsError)):
                records.create(folder, CONFIG, **choice)
    runs, skipped = report.collect([folder.parent])
    if name == "checkpoint.safetensors":
        assert len(runs) == 1  # it is not read for a report
    else:
        assert runs == []
        assert len(skipped) == 1


def hdf5(write) -> bytes:
    file = io.BytesIO()
    with h5py.File(file, "w") as opened:
        write(opened)
    return file.getvalue()


def shared_texts(file: h5py.File) -> None:
    texts = file.create_dataset("v", (2000,), h5py.string_dtype())
    texts[0] = "a" * 60_000


def all_share_the_first(data: bytes) -> bytes:
    # 16 bytes of a reference into the heap, repeated for every text.
    at = data.index((60_000).to_bytes(4, "little"))
    return data[:at] + data[at : at + 16] * 2000 + data[at + 16 * 2000 :]


def link_out(file: h5py.File) -> None:
    file["v"] = h5py.ExternalLink("/etc/passwd", "/")


def linked(file: h5py.File) -> None:
    file["v"] = h5py.SoftLink("/v")


def outside(file: h5py.File) -> None:
    file.create_dataset("v", (10,), "u1", external=[("/etc/hostname", 0, 10)])


def lists() -> np.ndarray:
    made = np.empty(1, object)
    made[0] = np.arange(3)
    return made


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((4,), "f8")
    layout[:] = h5py.VirtualSource("other.h5", "v", (4,))
    file.create_virtual_dataset("v", layout)


BOMBS = {
    "never written": lambda f: f.create_dataset("v", (2**28,), "f8"),
    "packed": lambda f: f.create_dataset("v", data=np.zeros(2**24), compression="gzip", chunks=(2**20,)),
    "large chunks": lambda f: f.create_dataset("v", (4,), "f8", maxshape=(None,), chunks=(2**25,), compression="gzip"),
    "many axes": lambda f: f.create_dataset("v", (2**8,) * 5, "f8", chunks=(1,) * 5),
    "link to a file": link_out,
    "soft link": linked,
    "values of a file": outside,
    "virtual": virtual,
    "group": lambda f: f.create_group("v"),
    "many texts in an attribute": lambda f: f.attrs.create("a", ["x"] * 3000),
    "lists in an attribute": lambda f: f.attrs.create("a", lists(), dtype=h5py.vlen_dtype(np.int64)),
    "lists of numbers": lambda f: f.create_dataset("v", (4,), h5py.vlen_dtype(np.int64)),
}


@pytest.mark.parametrize("name", BOMBS)
def test_what_unpacks_to_more_or_points_elsewhere_is_refused_before_it_is_read(folder: Path, name: str) -> None:
    data = hdf5(BOMBS[name])
    assert len(data) < 300_000
    forge(folder, "record.nc", data)
    with pytest.raises(records.DamagedRecordError, match=r"record\.nc is damaged: it can't be read as a dataset"):
        records.open(folder)


def test_texts_that_share_a_place_are_counted_one_by_one(folder: Path) -> None:
    data = all_share_the_first(hdf5(shared_texts))
    with h5py.File(io.BytesIO(data)) as file:
        assert len(file["v"][1999]) == 60_000  # 120 MB in all, from less than 200 KB
    assert len(data) < 200_000
    forge(folder, "record.nc", data)
    with pytest.raises(records.DamagedRecordError, match="would unpack to more than"):
        records.open(folder)


def test_a_heap_in_which_hdf5_would_search_without_end(folder: Path) -> None:
    data = bytearray((folder / "record.nc").read_bytes())
    at, last = data.index(b"GCOL") + 16, 0
    while data[at]:  # to the last object of the heap
        last, at = at, at + 16 + (data[at + 8] + 7) // 8 * 8
    data[last + 8] += 48  # its length: the header behind it is now read from zeros
    forge(folder, "record.nc", bytes(data))
    with pytest.raises(records.DamagedRecordError, match="heap of texts is not whole"):
        records.open(folder)


def deep(levels: int) -> str:
    return "[" * levels + "]" * levels


FORGED = {
    "no files": lambda run: run.pop("files"),
    "no config": lambda run: run.pop("config"),
    "config is a list": lambda run: run.update(config=[1]),
    "files are a list": lambda run: run.update(files=["record.nc"]),
    "digests are numbers": lambda run: run.update(files={"record.nc": [1]}),
    "resumes are text": lambda run: run.update(resumes=["x"]),
    "no status": lambda run: run.pop("status"),
    "time is text": lambda run: run.update(wall_seconds="1"),
    "time is true": lambda run: run.update(wall_seconds=True),
    "no command": lambda run: run.pop("command"),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_description_is_refused_and_named(folder: Path, name: str) -> None:
    run = json.loads((folder / "run.json").read_bytes())
    FORGED[name](run)
    seal(folder, run)
    with pytest.raises(records.DamagedRecordError, match=r"run\.json is damaged: its"):
        records.open(folder)


@pytest.mark.parametrize(
    "text",
    [deep(100_000), "[]", "null", '{"sha256": 1}', '{"a": NaN, "sha256": ""}', '{"a": 1' + "0" * 5000 + "}", "\ufeff"],
)
@pytest.mark.parametrize("name", ["run.json", "summary.json"])
def test_strange_json_with_fitting_digests(folder: Path, name: str, text: str) -> None:
    if name == "run.json":
        (folder / name).write_text(text, encoding="utf-8")
    else:
        forge(folder, name, text.encode())
    with pytest.raises(records.DamagedRecordError, match=f"{name} is damaged"):
        records.open(folder)


@pytest.mark.parametrize(
    "row",
    [{}, [], {**ROW, "n": True}, {**ROW, "mean": "1"}, {**ROW, "mean": 10**400}, {**ROW, "n": 10**30}, {**ROW, "x": 1}],
)
def test_forged_rows(row: object) -> None:
    with pytest.raises(records.DamagedRecordError, match=r"summary\.json is damaged"):
        summary.read(json.dumps({"rows": [row]}).encode())


def test_a_forged_checkpoint_is_refused_before_its_values_are_read(folder: Path) -> None:
    path = folder / "checkpoint.safetensors"
    header = json.dumps({"w": {"dtype": "F64", "shape": [2**33], "data_offsets": [0, 2**36]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(records.DamagedRecordError, match="its header speaks of"):
        records.open(folder).checkpoint()
    path.write_bytes((2**60).to_bytes(8, "little") + b"{}")
    with pytest.raises(records.DamagedRecordError, match="header is not whole"):
        records.open(folder).checkpoint()


def test_the_checkpoint_of_another_run_is_refused(folder: Path, tmp_path: Path) -> None:
    other = records.create(tmp_path / "other", {**CONFIG, "seeds": [3, 4]})
    other.save_checkpoint({"w": torch.zeros(5)}, {"task": 1})
    other.finish()
    shutil.copy(tmp_path / "other" / "checkpoint.safetensors", folder)
    with pytest.raises(
        records.RunMismatchError, match=r"another run \(seeds \[3,4\]\), not of the one .*seeds \[1,2\]"
    ):
        records.open(folder).checkpoint()
    run = records.create(folder, CONFIG, resume=True)
    with pytest.raises(records.RunMismatchError, match="another run"):
        run.load_checkpoint()


def test_a_checkpoint_from_before_they_had_owners_opens(folder: Path) -> None:
    tensors, meta = {"w": torch.arange(5.0)}, {"task": 7}
    content = files.canonical({"meta": meta, "sha256": checkpoint._digest(tensors, meta)})
    safetensors.torch.save_file(tensors, folder / "checkpoint.safetensors", metadata={"synsim": content})
    assert records.open(folder).checkpoint()[1] == meta
    assert records.create(folder, CONFIG, resume=True).load_checkpoint()[1] == meta


def test_a_description_from_before_runs_had_ids_gets_one(folder: Path) -> None:
    run = json.loads((folder / "run.json").read_bytes())
    for key in ("id", "caller"):
        del run[key]
    seal(folder, run)
    assert records.open(folder).run["status"] == "finished"
    again = records.create(folder, CONFIG, resume=True)
    again.save_checkpoint({"w": torch.zeros(1)}, {})
    assert len(again.run["id"]) == 16
    assert again.load_checkpoint()[1] == {}


@pytest.mark.parametrize(
    "text",
    [
        "/../../../../escaped/x",
        "..",
        "../x",
        "/etc/x",
        "C:\\x",
        "a\0b",
        "",
        ".",
        "x" * 5000,
        "\ud800",
        "a/b",
        "~/x",
        "\n",
    ],
)
def test_names_of_files_never_leave_a_folder(text: str, tmp_path: Path) -> None:
    name = figures.file_name(text)
    assert (tmp_path / name).resolve().parent == tmp_path.resolve()
    assert 0 < len(name) <= 100
    (tmp_path / name).write_text("")


def test_good_names_of_files_stay_as_they_are() -> None:
    for name in ("lifelong-split-mnist", "ablation-permuted_2", "energy.v1"):
        assert figures.file_name(name) == name


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))


@pytest.mark.usefixtures("scripts")
def test_a_report_draws_nothing_outside_of_its_folder(folder: Path, tmp_path: Path, monkeypatch) -> None:
    from analysis import report as script

    drawn = []
    monkeypatch.setattr(script, "call", lambda draw, data, at, rows: drawn.append(at) or [])
    monkeypatch.setattr(script, "script", lambda name: script)
    monkeypatch.setattr(script, "draw", None, raising=False)
    record = records.open(folder)
    record.config["scenario"] = "/../../../../escaped/x"
    record.config["data"] = "../" * 30 + "y"
    run = report.Run("run", "lifelong", record)
    script.Figures(tmp_path / "out")._draw("lifelong", "lifelong", [run], record.dataset, [])
    assert len(drawn) == 1
    assert drawn[0].resolve().parent == (tmp_path / "out").resolve()


def test_one_bad_folder_costs_one_line_of_a_report(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    chapter = importlib.import_module("analysis.chapter").ITEMS
    for name in FORGED:
        bad = shutil.copytree(folder, tmp_path / f"bad {name}")
        run = json.loads((bad / "run.json").read_bytes())
        FORGED[name](run)
        seal(bad, run)
    commit = shutil.copytree(folder, tmp_path / "bad commit")
    run = json.loads((commit / "run.json").read_bytes())
    seal(commit, {**run, "commit": {"sha": 7}})
    seeds = shutil.copytree(folder, tmp_path / "bad seeds")
    seal(seeds, {**run, "seeds": 7})
    runs, skipped = report.collect([tmp_path, tmp_path / ("x" * 300), tmp_path / "nothing"])
    assert [run.name for run in runs] == ["run"]
    assert len(skipped) == len(FORGED) + 4
    assert all("\n" not in reason for _, reason in skipped)
    finding = report.assess(chapter[-1], runs, chapter)
    assert finding.item is chapter[-1]


def test_text_of_a_stranger_moves_no_cursor(tmp_path: Path) -> None:
    from synsim import tables

    shown = tables.text([{**ROW, "method": "\x1b[2Jevil\r", "metric": "a\x07"}])
    assert "\x1b" not in shown
    assert "\\x1b[2Jevil\\r" in shown
    assert "\x07" not in shown


@pytest.mark.usefixtures("scripts")
@pytest.mark.parametrize("name", ["energy", "lesions", "search", "neurons"])
def test_a_run_of_another_experiment_is_told_so(folder: Path, name: str, capsys, monkeypatch) -> None:
    import importlib

    with pytest.raises(SystemExit) as ended:
        importlib.import_module(f"analysis.{name}").main([str(folder)])
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert f"give the folder of a run of experiments/{name}.py" in said
    assert "Traceback" not in said


@pytest.mark.usefixtures("scripts")
def test_a_folder_without_a_run_is_told_so(tmp_path: Path, capsys) -> None:
    from analysis import energy

    with pytest.raises(SystemExit):
        energy.main([str(tmp_path)])
    assert "is not the folder of a run" in capsys.readouterr().err


def test_the_digest_of_a_record_alone_does_not_help(folder: Path) -> None:
    assert dataset.read((folder / "record.nc").read_bytes(), folder / "record.nc").v.values.tolist() == [0, 1, 2]
    assert description.read(folder / "run.json")["status"] == "finished"
