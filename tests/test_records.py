"""Runs as their users see them: made, resumed, read back."""

import json
import pickle
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray

from synsim import records
from synsim.records import files, origin

CONFIG = {"seeds": [0, 1], "lr": 0.05, "out": "somewhere", "threads": 1, "rule": {"p_up": 0.07, "soft": True}}
ROW = {"method": "EWC", "metric": "accuracy", "mean": 70.41, "sem": 4.2, "n": 3, "published": None}


def example() -> xarray.Dataset:
    """One variable of every dtype that records take, with every kind of coordinate and attribute."""
    generator = np.random.default_rng(0)
    variables = {
        name: (("replica", "task"), (10 * generator.normal(size=(3, 4))).astype(name))
        for name in ("bool", "int8", "uint8", "int16", "int32", "int64", "uint64", "float32", "float64")
    }
    dataset = xarray.Dataset(
        variables,
        coords={
            "method": ["none", "EWC", "présynaptique"],
            "task": np.arange(4, dtype=np.int32),
            "label": ("task", np.array(["0/1", "", "4/5", "6/7"])),
            "seed": 7,
        },
        attrs={
            "title": "",
            "rate": 0.05,
            "sizes": [784, 200],
            "one": [3],
            "names": ["a", "ü"],
            "nothing": np.nan,
        },
    )
    dataset["float64"][0, :] = [np.nan, np.inf, -np.inf, -0.0]
    dataset["wall"] = ("replica", np.array([1.0, 2.0, 3.0]), {"units": "seconds"})
    dataset["note"] = ("method", np.array(["a", "longer", "ü"], dtype=object))
    dataset["empty"] = ("nobody", np.zeros(0, dtype=np.float32))
    dataset["scalar"] = 3.5
    return dataset


def complete(folder: Path) -> records.RunFolder:
    run = records.create(folder, CONFIG)
    run.save_checkpoint({"w": torch.arange(6.0)}, {"task": 3})
    run.save_record(example())
    run.save_summary([ROW])
    run.finish()
    return run


def test_a_complete_run_is_read_back(tmp_path: Path) -> None:
    complete(tmp_path / "deep" / "run")
    record = records.open(str(tmp_path / "deep" / "run"))
    assert record.config == CONFIG
    assert record.summary == [ROW]
    assert record.run["status"] == "finished"
    assert record.run["seeds"] == [0, 1]
    assert record.run["versions"]["torch"] == torch.__version__
    assert record.run["started"].endswith("+00:00")
    assert record.run["ended"] >= record.run["started"]
    assert record.path == tmp_path / "deep" / "run"
    tensors, meta = record.checkpoint()
    assert torch.equal(tensors["w"], torch.arange(6.0))
    assert meta == {"task": 3}
    assert sorted(entry.name for entry in record.path.iterdir()) == sorted(files.NAMES)


def test_dataset_round_trip_is_exact(tmp_path: Path) -> None:
    complete(tmp_path)
    before, after = example(), records.open(tmp_path).dataset
    assert after.attrs.pop("sha256") == records.sha256(before) == records.sha256(after)
    # xarray's own comparison; it takes the kinds of attributes that NetCDF turns into each other as different
    xarray.testing.assert_equal(before, after)
    assert set(after.coords) == set(before.coords)
    for name, variable in before.variables.items():
        if variable.dtype.kind not in "OU":
            assert after[name].dtype == variable.dtype
    assert np.signbit(after["float64"][0, 3])
    assert after["wall"].attrs == {"units": "seconds"}
    assert list(after.attrs["sizes"]) == [784, 200]
    assert after.attrs["title"] == ""


def test_attributes_never_change_values(tmp_path: Path) -> None:
    attributes = {"units": "days since 2000-01-01", "scale_factor": 2.0, "add_offset": 1.0, "_FillValue": 3.0}
    run = records.create(tmp_path, {})
    run.save_record(xarray.Dataset({"x": ("a", [1.0, 2.0, 3.0], attributes)}))
    assert records.open(tmp_path).dataset["x"].values.tolist() == [1.0, 2.0, 3.0]
    assert records.open(tmp_path).dataset["x"].attrs == attributes


def test_a_record_can_be_saved_again_from_what_was_read(tmp_path: Path) -> None:
    complete(tmp_path / "a")
    first = records.open(tmp_path / "a").dataset
    run = records.create(tmp_path / "b", {})
    run.save_record(first)
    assert records.sha256(records.open(tmp_path / "b").dataset) == records.sha256(first)


def test_the_record_is_readable_by_plain_xarray(tmp_path: Path) -> None:
    complete(tmp_path)
    with xarray.open_dataset(tmp_path / "record.nc", engine="h5netcdf", decode_timedelta=False) as dataset:
        assert list(dataset["method"].values) == ["none", "EWC", "présynaptique"]


def test_the_dataset_given_is_left_as_it_is(tmp_path: Path) -> None:
    dataset = example()
    records.create(tmp_path, {}).save_record(dataset)
    assert dataset.identical(example())


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.assign(float32=d.float32 + 1),
        lambda d: d.assign(float32=d.float32.astype("float64")),
        lambda d: d.assign(int64=d.int64.astype("uint64")),
        lambda d: d.assign(bool=d.bool.astype("int8")),
        lambda d: d.rename(float32="float33"),
        lambda d: d.rename_dims(replica="seed_axis"),
        lambda d: d.reset_coords("seed"),
        lambda d: d.drop_vars("scalar"),
        lambda d: d.assign_attrs(rate=0.06),
        lambda d: d.assign_attrs(more=1),
        lambda d: d.assign_coords(method=["none", "EWC", "si"]),
        lambda d: d.assign(wall=d.wall.assign_attrs(units="ms")),
        lambda d: d.assign(float32=d.float32.T),
        lambda d: d.assign(float64=-d.float64),
    ],
)
def test_the_digest_sees_every_change(change) -> None:
    assert records.sha256(change(example())) != records.sha256(example())


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d[list(d)[::-1]],
        lambda d: d.assign(float32=d.float32.astype(">f4")),
        lambda d: d.assign_attrs(sha256="0"),
        lambda d: d.assign(float64=d.float64.where(~np.isnan(d.float64), -np.float64(np.nan))),
        lambda d: d.assign(float32=d.float32.copy(data=np.asfortranarray(d.float32))),
    ],
)  # fmt: skip
def test_the_digest_ignores_what_is_not_content(change) -> None:
    assert records.sha256(change(example())) == records.sha256(example())


@pytest.mark.parametrize("values", [np.array([1 + 2j]), np.array([None]), np.array(["2020"], dtype="M8[ns]")])
def test_dtypes_without_a_netcdf_form_are_refused_and_leave_the_old_record(tmp_path: Path, values) -> None:
    run = complete(tmp_path)
    with pytest.raises(TypeError, match=r"bool, integer, float and text"):
        run.save_record(xarray.Dataset({"x": ("a", values)}))
    assert records.sha256(records.open(tmp_path).dataset) == records.sha256(example())
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted(files.NAMES)


def test_what_netcdf_would_change_is_refused(tmp_path: Path) -> None:
    run = records.create(tmp_path, {})
    with pytest.raises(ValueError, match="NetCDF changes these parts of the dataset: variable text"):
        run.save_record(xarray.Dataset({"text": ("a", ["b"], {"coordinates": "c"})}))
    with pytest.raises(TypeError, match="attribute paired is bool; NetCDF has no such attribute"):
        run.save_record(xarray.Dataset(attrs={"paired": True}))


DTYPES = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.float16)
DTYPES += (torch.bfloat16, torch.float32, torch.float64, torch.complex64)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3), (2, 3, 4)])
def test_checkpoint_round_trip(tmp_path: Path, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    run = records.create(tmp_path, {})
    tensor = (torch.randn(shape, generator=torch.Generator().manual_seed(1)) * 50).abs().to(dtype)
    run.save_checkpoint({"a.b/c ü": tensor}, {})
    saved = run.load_checkpoint()
    assert saved is not None
    assert saved[0]["a.b/c ü"].dtype == dtype
    assert saved[0]["a.b/c ü"].shape == shape
    assert torch.equal(saved[0]["a.b/c ü"], tensor)


def test_checkpoint_takes_views_shared_memory_and_gradients(tmp_path: Path) -> None:
    weight = torch.nn.Parameter(torch.arange(12.0).reshape(3, 4))
    odd = {
        "weight": weight, "same": weight, "transposed": weight.T, "row": weight[1], "step": weight[:, ::2],
        "wide": torch.ones(1).expand(5), "nan": torch.tensor([float("nan"), -0.0, float("inf")]),
    }  # fmt: skip
    run = records.create(tmp_path, {})
    run.save_checkpoint(odd, {})
    tensors = run.load_checkpoint()[0]
    for name, tensor in odd.items():
        assert torch.equal(tensors[name].view(torch.int32), tensor.detach().contiguous().view(torch.int32)), name
        assert not tensors[name].requires_grad
    tensors["weight"][0, 0] = 5.0  # what is read back is the caller's own
    assert tensors["same"][0, 0] == 0.0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_checkpoint_takes_tensors_of_the_gpu(tmp_path: Path) -> None:
    run = records.create(tmp_path, {"device": "cuda"})
    run.save_checkpoint({"w": torch.ones(3, device="cuda")}, {})
    assert torch.equal(run.load_checkpoint()[0]["w"], torch.ones(3))
    assert torch.cuda.get_device_name() in run.run["device"]


@dataclass(frozen=True)
class Settings:
    rate: float
    where: Path


def test_meta_keeps_what_json_can_say(tmp_path: Path) -> None:
    run = records.create(tmp_path, {})
    meta = {
        "x": 0.1 + 0.2, "tiny": 5e-324, "big": 2**80, "none": None, "yes": True, "text": "ü\n\ud800",
        "list": [1, [2.5]], "numpy": np.float32(0.1), "array": np.arange(3), "path": Path("a/b"),
        "pair": (1, 2), "flag": np.bool_(True),
        "settings": Settings(0.5, Path("d")), "dtype": torch.float32, "device": torch.device("cpu"),
    }  # fmt: skip
    run.save_checkpoint({}, meta)
    changed = {
        "numpy": float(np.float32(0.1)), "array": [0, 1, 2], "path": "a/b", "pair": [1, 2], "flag": True,
        "settings": {"rate": 0.5, "where": "d"}, "dtype": "torch.float32", "device": "cpu",
    }  # fmt: skip
    assert run.load_checkpoint() == ({}, meta | changed)


@pytest.mark.parametrize(
    ("meta", "error", "message"),
    [
        ({"loss": [1.0, float("nan")]}, ValueError, r"meta\['loss'\]\[1\] is nan"),
        ({"a": np.array([np.inf])}, ValueError, r"meta\['a'\]\[0\] is inf"),
        ({"a": {3: 1}}, TypeError, r"meta\['a'\] has the key 3"),
        ({"a": {1, 2}}, TypeError, r"meta\['a'\] is a set"),
        ({"a": torch.ones(1)}, TypeError, r"meta\['a'\] is a Tensor"),
        ({"a": b"x"}, TypeError, r"is a bytes"),
    ],
)
def test_meta_that_json_would_change_is_refused(tmp_path: Path, meta, error, message) -> None:
    run = complete(tmp_path)
    with pytest.raises(error, match=message):
        run.save_checkpoint({}, meta)
    assert run.load_checkpoint()[1] == {"task": 3}


@pytest.mark.parametrize("meta", [np.array([0.5]), [1], None, "text", torch.int32])
def test_meta_that_is_no_mapping_is_refused_and_leaves_the_old_checkpoint(tmp_path: Path, meta) -> None:
    run = complete(tmp_path)
    with pytest.raises(TypeError, match="meta must be a dict, by name, got"):
        run.save_checkpoint({}, meta)
    assert run.load_checkpoint()[1] == {"task": 3}


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ([("a", torch.zeros(1))], "tensors must be a dict, by name, got list"),
        ({0: torch.zeros(1)}, "tensors has the key 0; keys must be text"),
        ({"__metadata__": torch.zeros(1)}, "tensors has the key '__metadata__', which the file can't hold"),
        ({"\ud800": torch.zeros(1)}, "which the file can't hold. Give it another name"),
        ({"a": torch.eye(3).to_sparse()}, r"tensors\['a'\] must be dense and have values, got .*sparse_coo"),
        ({"a": torch.empty(3, device="meta")}, r"tensors\['a'\] must be dense and have values, got .*meta"),
    ],
)
def test_tensors_that_the_file_cannot_hold_are_refused_and_leave_the_old_checkpoint(
    tmp_path: Path, tensors, message
) -> None:
    run = complete(tmp_path)
    with pytest.raises((TypeError, ValueError), match=message):
        run.save_checkpoint(tensors, {})
    assert run.load_checkpoint()[1] == {"task": 3}


A = ("x", np.arange(3.0))
UNFIT = {
    "a slash": (xarray.Dataset({"energy/atp": A}), "the variable named 'energy/atp' can't be kept in a record"),
    "an empty name": (xarray.Dataset({"": A}), "the variable named '' can't be kept"),
    "a point": (xarray.Dataset({".": A}), r"the variable named '\.' can't be kept"),
    "a number": (xarray.Dataset({3: A}), "the variable named 3 can't be kept .*: a name must be printable text"),
    "a line break": (xarray.Dataset({"a\nb": A}), r"the variable named 'a\\nb' can't be kept"),
    "a zero byte": (xarray.Dataset({"a\0b": A}), "the variable named .* can't be kept"),
    "half a pair": (xarray.Dataset({"\ud800": A}), "the variable named .* can't be kept"),
    "an axis": (xarray.Dataset({"v": ("a/b", np.arange(3.0))}), "the axis named 'a/b' can't be kept"),
    "an axis by number": (xarray.Dataset({"v": ((3,), np.arange(3.0))}), "the axis named 3 can't be kept"),
    "an attribute": (xarray.Dataset({"v": A}, attrs={"": 1}), "the attribute named '' can't be kept"),
    "an attribute of HDF5": (xarray.Dataset(attrs={"NAME": "a"}), "the attribute named 'NAME' can't be kept"),
    "an attribute of a variable": (xarray.Dataset({"v": (*A, {3: 1})}), "the attribute of 'v' named 3 can't be kept"),
    "text with a zero byte": (
        xarray.Dataset({"v": ("x", ["a\0b"])}),
        "variable v holds the text .* which NetCDF can't",
    ),
    "text with half a pair": (
        xarray.Dataset({"v": ("x", ["\ud800"])}),
        "variable v holds the text .* which NetCDF can't",
    ),
    "such text in an attribute": (xarray.Dataset(attrs={"n": "a\0b"}), "attribute n holds the text"),
    "an attribute of two axes": (xarray.Dataset(attrs={"m": np.eye(2)}), r"attribute m has the shape \(2, 2\)"),
}


@pytest.mark.parametrize(("dataset", "message"), UNFIT.values(), ids=UNFIT.keys())
def test_names_and_texts_that_netcdf_cannot_hold_are_refused_and_leave_the_old_record(
    tmp_path: Path, dataset, message
) -> None:
    run = complete(tmp_path)
    with pytest.raises((TypeError, ValueError), match=message):
        run.save_record(dataset)
    assert records.sha256(records.open(tmp_path).dataset) == records.sha256(example())


def test_only_tensors_among_the_tensors(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"tensors\['a'\] is a float, not a tensor"):
        records.create(tmp_path, {}).save_checkpoint({"a": 1.0}, {})


def test_no_checkpoint_yet(tmp_path: Path) -> None:
    run = records.create(tmp_path, {})
    assert run.load_checkpoint() is None
    run.save_record(example())
    with pytest.raises(FileNotFoundError, match=r"status 'running'\) saved none"):
        records.open(tmp_path).checkpoint()


def test_summary_rows(tmp_path: Path) -> None:
    run = records.create(tmp_path, {})
    run.save_record(example())
    assert records.open(tmp_path).summary == []
    rows = [
        ROW | {"mean": np.float32(0.5), "sem": float("nan"), "n": np.int64(1), "published": 82.9},
        ROW | {"mean": float("inf"), "sem": None, "n": 0, "published": "82.90 ± 0.01"},
    ]
    run.save_summary(rows)
    expected = [
        ROW | {"mean": 0.5, "sem": None, "n": 1, "published": 82.9},
        ROW | {"mean": None, "sem": None, "n": 0, "published": "82.90 ± 0.01"},
    ]
    assert records.open(tmp_path).summary == expected
    assert json.loads((tmp_path / "summary.json").read_text()) == {"rows": expected}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"method": "a"}, r"rows\[1\] must have the keys .* missing \['mean', .*unknown \[\]"),
        (ROW | {"sd": 1}, r"unknown \['sd'\]"),
        (ROW | {"n": 2.5}, r"rows\[1\] has n=2.5: .* n a whole number"),
        (ROW | {"n": True}, r"n=True"),
        (ROW | {"mean": "82"}, r"mean='82'"),
        (ROW | {"method": 3}, r"method=3"),
        (ROW | {"published": [1]}, r"published=\[1\]"),
    ],
)
def test_summary_rows_are_checked(tmp_path: Path, row, message) -> None:
    run = complete(tmp_path)
    with pytest.raises(ValueError, match=message):
        run.save_summary([ROW, row])
    assert records.open(tmp_path).summary == [ROW]


def test_finish_takes_more_to_keep(tmp_path: Path) -> None:
    run = complete(tmp_path)
    run.finish("stopped", reason="NaN in task 3")
    assert records.open(tmp_path).run["status"] == "stopped"
    assert records.open(tmp_path).run["reason"] == "NaN in task 3"
    with pytest.raises(ValueError, match=r"run.json holds config, files already"):
        run.finish(files=3, config=4)
    with pytest.raises(ValueError, match="status must say how the run ended"):
        run.finish(" ")


def test_opening_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"not the folder of a run.*run.json, record.nc, checkpoint"):
        records.open(tmp_path)
    with pytest.raises(FileNotFoundError, match="not the folder of a run"):
        records.open(tmp_path / "absent")
    records.create(tmp_path / "new", {})
    with pytest.raises(FileNotFoundError, match=r"has no record.nc: the status of the run is 'running'.*--resume"):
        records.open(tmp_path / "new")


def test_an_existing_run_is_left_alone(tmp_path: Path) -> None:
    complete(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(records.RunExistsError) as caught:
        records.create(tmp_path, CONFIG)
    for part in (str(tmp_path), "'finished'", '"lr":0.05', "--resume", "--overwrite", "another --out"):
        assert part in str(caught.value)
    assert isinstance(caught.value, FileExistsError)
    with pytest.raises(ValueError, match="exclude each other"):
        records.create(tmp_path, CONFIG, overwrite=True, resume=True)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_resume_goes_on(tmp_path: Path) -> None:
    complete(tmp_path)
    spent = records.open(tmp_path).run["wall_seconds"]
    assert spent > 0
    run = records.create(tmp_path, CONFIG | {"out": str(tmp_path), "threads": 2, "quiet": True}, resume=True)
    assert run.load_checkpoint()[1] == {"task": 3}
    record = records.open(tmp_path)  # what was saved stays readable
    assert record.run["status"] == "running"
    assert record.run["ended"] is None
    assert record.config == CONFIG
    assert record.run["resumes"][0]["changed"]["threads"] == ["1", "2"]
    run.finish()
    assert records.open(tmp_path).run["wall_seconds"] > spent


@pytest.mark.parametrize("folder", ["absent", "."])
def test_resume_without_a_run_starts_one(tmp_path: Path, folder: str) -> None:
    run = records.create(tmp_path / folder, CONFIG, resume=True)
    assert run.load_checkpoint() is None
    assert run.run["resumes"] == []


def test_resume_with_another_config_is_refused(tmp_path: Path) -> None:
    complete(tmp_path)
    before = (tmp_path / "run.json").read_bytes()
    other = {"seeds": [0, 1], "lr": 0.1, "rule": {"p_up": 0.08, "soft": 1}, "epochs": 3, "threads": 5}
    with pytest.raises(records.RunMismatchError) as caught:
        records.create(tmp_path, other, resume=True)
    assert str(caught.value).splitlines()[1:-1] == [
        "  epochs: nothing in the run, 3 now",
        "  lr: 0.05 in the run, 0.1 now",
        "  rule.p_up: 0.07 in the run, 0.08 now",
        "  rule.soft: true in the run, 1 now",
    ]
    assert (tmp_path / "run.json").read_bytes() == before
    free = ("lr", "rule.p_up", "rule.soft", "epochs", "threads", "out")
    assert records.create(tmp_path, other, resume=True, free=free).run["config"] == CONFIG


@pytest.mark.skipif(sys.platform == "win32", reason="no locks on folders")
def test_a_folder_that_another_process_writes_to_is_refused(tmp_path: Path) -> None:
    script = (
        "import sys, time\nfrom synsim import records\n"
        "run = records.create(sys.argv[1], {'a': 1})\nprint('there', flush=True)\ntime.sleep(60)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"there\n"
    before = (tmp_path / "run.json").read_bytes()
    for how in ({"resume": True}, {"overwrite": True}):
        with pytest.raises(records.RunBusyError, match="another process"):
            records.create(tmp_path, {"a": 1}, **how)
    assert (tmp_path / "run.json").read_bytes() == before
    child.kill()
    child.wait()
    child.stdout.close()
    for _ in range(2):  # held by this process itself
        records.create(tmp_path, {"a": 1}, resume=True)
    other = "import sys\nfrom synsim import records\nrecords.create(sys.argv[1], {'a': 1}, resume=True)\n"
    again = [sys.executable, "-c", other, str(tmp_path)]
    assert b"RunBusyError" in subprocess.run(again, stderr=subprocess.PIPE, check=False).stderr
    records.create(tmp_path, {"a": 1}, resume=True).finish()
    assert subprocess.run(again, check=False).returncode == 0


def test_another_choice_of_parts_replaces_the_old_one(tmp_path: Path) -> None:
    config = {"methods": ["a", "b"], "threads": 1, "seeds": [0]}
    records.create(tmp_path, config)
    other = {**config, "methods": ["c"], "threads": 2}
    with pytest.raises(records.RunMismatchError, match="methods"):
        records.create(tmp_path, other, resume=True)
    run = records.create(tmp_path, other, resume=True, choices=("methods",)).run
    assert run["config"] == {**config, "methods": ["c"]}
    assert set(run["resumes"][0]["changed"]) == {"methods", "threads"}


def test_equal_configs_in_other_types_are_equal(tmp_path: Path) -> None:
    records.create(tmp_path, {"sizes": (784, 10), "rate": 1, "path": Path("a"), "p": np.float64(0.25)})
    records.create(tmp_path, {"sizes": [784, 10], "rate": 1.0, "path": "a", "p": 0.25}, resume=True)


def test_overwrite_removes_only_the_files_of_a_run(tmp_path: Path) -> None:
    complete(tmp_path)
    for stranger in ("figure.png", "record.nc.bak", ".run.json.tmp"):
        (tmp_path / stranger).write_text("mine")
    (tmp_path / ".record.nc.0123abcd.tmp").write_text("half")
    run = records.create(tmp_path, {"lr": 1.0}, overwrite=True)
    names = {entry.name for entry in tmp_path.iterdir()}
    assert names == {"run.json", "figure.png", "record.nc.bak", ".run.json.tmp"}
    assert run.run["config"] == {"lr": 1.0}
    assert run.run["files"] == {}
    assert run.load_checkpoint() is None


@pytest.mark.parametrize("choice", [{}, {"resume": True}, {"overwrite": True}])
def test_a_strangers_folder_is_refused_and_left_alone(tmp_path: Path, choice: dict[str, bool]) -> None:
    (tmp_path / "record.nc").write_text("precious")
    with pytest.raises(records.ForeignFolderError, match=r"holds no run.json \(it holds record.nc\).*another --out"):
        records.create(tmp_path, CONFIG, **choice)
    (tmp_path / "run.json").write_text('{"scripts": {}}')
    with pytest.raises(records.ForeignFolderError, match="not the description of a synsim run"):
        records.create(tmp_path, CONFIG, **choice)
    with pytest.raises(records.ForeignFolderError, match="is a file; give --out a folder"):
        records.create(tmp_path / "record.nc", CONFIG, **choice)
    assert (tmp_path / "record.nc").read_text() == "precious"
    assert (tmp_path / "run.json").read_text() == '{"scripts": {}}'


def test_another_format_is_refused(tmp_path: Path) -> None:
    complete(tmp_path)
    run = json.loads((tmp_path / "run.json").read_text())
    del run["sha256"]
    run["format"] = "synsim run 99"
    run["sha256"] = files.digest(files.canonical(run).encode())
    (tmp_path / "run.json").write_text(json.dumps(run))
    with pytest.raises(records.DamagedRecordError, match="format is 'synsim run 99'"):
        records.open(tmp_path)


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *identity, "-C", folder, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_the_commit_is_that_of_the_package(tmp_path: Path) -> None:
    package = tmp_path / "lib" / "package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    assert origin.commit(package) is None
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "commit", "--quiet", "--allow-empty", "-m", "somebody else's")
    assert origin.commit(package) is None  # inside of a repository that does not know it
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "package")
    sha = git(tmp_path, "rev-parse", "HEAD")
    (tmp_path / "record.nc").write_text("an untracked result makes nothing dirty")
    assert origin.commit(package) == {"sha": sha, "dirty": False}
    (package / "__init__.py").write_text("x = 1")
    assert origin.commit(package) == {"sha": sha, "dirty": True}


def test_the_commit_of_the_caller_is_kept_too(tmp_path: Path) -> None:
    script = tmp_path / "study" / "mine.py"
    script.parent.mkdir()
    text = "import json\nfrom synsim.records import origin\nprint(json.dumps(origin.describe(None)))\n"
    script.write_text(text)
    git(tmp_path / "study", "init", "--quiet")
    git(tmp_path / "study", "commit", "--quiet", "--allow-empty", "-m", "nothing")

    def told() -> dict:
        done = subprocess.run([sys.executable, script], cwd="/", capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    sha = git(tmp_path / "study", "rev-parse", "HEAD")
    assert told()["caller"] == {"repository": "study", "sha": sha, "dirty": True}  # the script itself is not in it
    git(tmp_path / "study", "add", "mine.py")
    git(tmp_path / "study", "commit", "--quiet", "-m", "mine")
    sha = git(tmp_path / "study", "rev-parse", "HEAD")
    found = told()
    assert found["caller"] == {"repository": "study", "sha": sha, "dirty": False}
    assert found["commit"] == origin.commit(Path(records.__file__).parent.parent)


def test_no_git_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert origin.commit(Path(records.__file__).parent) is None


def test_nothing_is_pickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("pickle was used")

    for name in ("dump", "dumps", "load", "loads", "Pickler", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    complete(tmp_path)
    records.open(tmp_path).checkpoint()
    data = (tmp_path / "checkpoint.safetensors").read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert header["w"]["dtype"] == "F32"
    assert json.loads(header["__metadata__"]["synsim"])["meta"] == {"task": 3}
    assert (tmp_path / "record.nc").read_bytes().startswith(b"\x89HDF\r\n\x1a\n")


def test_records_know_nothing_else_of_synsim() -> None:
    for source in Path(records.__file__).parent.glob("*.py"):
        for module in re.findall(r"^\s*(?:from|import) (synsim\S*)", source.read_text(), re.M):
            ground = module in ("synsim", "synsim._checks", "synsim._doors", "synsim._files")
            assert ground or module.startswith("synsim.records"), source


def test_all_files_are_as_readable_as_any_new_file(tmp_path):
    run = records.create(tmp_path / "run", {"seeds": [1]})
    run.save_checkpoint({"a": torch.ones(2)}, {})
    run.save_record(xarray.Dataset({"a": ("x", [1.0])}))
    run.save_summary([])
    (tmp_path / "new").touch()
    modes = {path.stat().st_mode for path in (tmp_path / "run").iterdir()}
    assert modes == {(tmp_path / "new").stat().st_mode}
