"""Records explain themselves: words for every variable, one table of many runs, a page for people."""

import json
import sys

import numpy as np
import pytest
import xarray

from synsim import records, tables
from synsim.training import Session
from synsim.training.history import History

SEEDS = [3, 4]


def results(shift: float = 0.0) -> xarray.Dataset:
    replicas = np.arange(2)
    return xarray.Dataset(
        {
            "accuracy": (("replica", "after_task", "test_task"), shift + np.arange(8.0).reshape(2, 2, 2)),
            "fixed_energy": (("replica", "task", "epoch"), shift + np.arange(12.0).reshape(2, 2, 3)),
            "failed": ("replica", [False, True]),
            "own": ("replica", [1.0, 2.0], {"units": "mV"}),
            "shared": ("epoch", [1.0, 2.0, 3.0]),
        },
        coords={
            "replica": replicas, "seed": ("replica", SEEDS), "task": ["a", "b"], "after_task": ["a", "b"],
            "test_task": ["a", "b"], "epoch": [1, 2, 3],
        },
        attrs={"failures": ""},
    )  # fmt: skip


def made(path, shift=0.0, **config):
    folder = records.create(path, {"seeds": SEEDS, "data": "digits", "out": str(path), **config})
    Session(folder).finish(results(shift), [])
    return records.open(path)


def test_every_variable_has_units_and_a_long_name(tmp_path):
    record = made(tmp_path / "run", rate=0.1)
    for name, variable in record.dataset.variables.items():
        assert variable.attrs["units"], name
        assert variable.attrs["long_name"], name
    assert record.dataset.own.attrs["units"] == "mV"
    assert (
        record.dataset.fixed_energy.attrs["long_name"]
        == "energy of the synapses, sum of abs(expected strength) (fixed)"
    )
    attributes = record.dataset.attrs
    assert json.loads(attributes["config"]) == {"seeds": SEEDS, "data": "digits", "rate": 0.1}
    assert json.loads(attributes["versions"]) == record.run["versions"]
    assert attributes["title"] == f"{attributes['experiment']} on digits, 2 seeds"
    xarray.testing.assert_equal(record.dataset, results())


def test_a_record_shows_itself_in_one_line(tmp_path):
    record = made(tmp_path / "run")
    assert repr(record).startswith(f"Record('{tmp_path / 'run'}': ")
    assert repr(record).endswith("on digits, 2 seeds; finished, 5 variables, 0 rows)")
    assert "accuracy" in record._repr_html_()
    history = History.empty(SEEDS, ["a", "b"], ["a", "b"], 3, [])
    history.accuracy[:] = 0.5
    assert repr(history) == "History(2 replicas, 2 tasks of 3 epochs, accuracy 0.5 at the end)"
    assert "test_task" in history._repr_html_()


def test_the_table_has_the_ends_of_what_every_seed_measured(tmp_path):
    table = made(tmp_path / "run").table()
    assert set(table.metric) == {"accuracy", "fixed_energy", "failed", "own"}
    accuracy = table[table.metric == "accuracy"]
    rows = zip(accuracy.seed, accuracy.test_task, accuracy.value, strict=True)
    assert sorted(rows) == [(3, "a", 2.0), (3, "b", 3.0), (4, "a", 6.0), (4, "b", 7.0)]
    assert table[table.metric == "fixed_energy"].value.tolist() == [5.0, 11.0]
    assert list(table.columns)[-1] == "value"
    only = xarray.Dataset({"shared": ("epoch", [1.0])})
    assert list(records.Record(tmp_path, only, [], {"config": {}}).table().columns) == ["metric", "value"]


def test_many_runs_make_one_table(tmp_path):
    for index, rate in enumerate((0.1, 0.2)):
        made(tmp_path / f"runs{index}", index, rate=rate, widths=[2, 3], metric="mine")
    (tmp_path / "runs2").mkdir()
    (tmp_path / "runs.json").touch()
    with pytest.warns(UserWarning, match="1 of 3 folders hold no results and are left out: .*runs2"):
        table = records.collect(tmp_path / "runs*")
    with pytest.warns(UserWarning, match=r"1 of 2 folders hold no results and are left out: .*runs.json"):
        records.collect([tmp_path / "runs0", tmp_path / "runs.json"])
    assert len(table) == 2 * len(records.open(tmp_path / "runs0").table())
    own = table[table.metric == "own"]
    assert sorted(zip(own.rate, own.seed, own.value, strict=True)) == [
        (0.1, 3, 1),
        (0.1, 4, 2),
        (0.2, 3, 1),
        (0.2, 4, 2),
    ]
    assert set(table["config.metric"]) == {"mine"}
    assert set(table.widths) == {"[2,3]"}
    assert set(table.run) == {str(tmp_path / "runs0"), str(tmp_path / "runs1")}
    with pytest.raises(FileNotFoundError, match="no run with results"):
        records.collect(str(tmp_path / "nothing*"))
    (tmp_path / "runs0" / "record.nc").write_bytes(b"x")
    with pytest.raises(records.DamagedRecordError):
        records.collect([tmp_path / "runs0", tmp_path / "runs1"])


def with_rows(path, values=(0.5, float("nan")), **config):
    folder = records.create(path, {"seeds": SEEDS, "decay": 9.0, "method": "x", **config})
    rows = [
        tables.row("a", "bits", values, setting={"decay": 0.1, "seed": "no column of ours"}),
        tables.row("b", "bits", [1.0, 2.0, 3.0]),
    ]
    Session(folder).finish(results(), rows)


def test_rows_of_many_runs_make_one_table(tmp_path):
    with_rows(tmp_path / "runs0", rate=0.1)
    with_rows(tmp_path / "runs1", values=(7.0, 8.0), rate=0.2)
    table = records.collect(tmp_path / "runs*")
    assert len(table) == 2 * (2 + 3)  # one for each run, row and seed
    first = table[(table.rate == 0.1) & (table.method == "a")]
    assert first.seed.tolist() == SEEDS
    assert first.decay.tolist() == [0.1, 0.1]  # of the row, not of the config
    assert set(table["config.decay"]) == {9.0}
    assert set(table["config.method"]) == {"x"}
    np.testing.assert_equal(first.value.to_numpy(), [0.5, np.nan])
    other = table[table.method == "b"]
    assert other.seed.isna().all()  # three values of two seeds
    assert other.decay.isna().all()
    assert set(records.collect(tmp_path / "runs*", of="measurements").metric) >= {"accuracy", "own"}
    made(tmp_path / "runs2")  # an old run, without values in its rows
    assert set(records.collect(tmp_path / "runs*").metric) >= {"accuracy", "own"}
    with pytest.raises(ValueError, match=r"the rows of .*runs2 hold no values"):
        records.collect(tmp_path / "runs*", of="rows")
    with pytest.raises(ValueError, match="of must be one of rows, measurements"):
        records.collect(tmp_path / "runs*", of="row")


def test_the_folder_says_what_it_is_and_what_draws_it(tmp_path, monkeypatch):
    for folder in ("experiments", "analysis"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "energy.py").touch()
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "experiments" / "energy.py"), "--seeds", "3 4"])
    made(tmp_path / "a run")
    text = (tmp_path / "a run" / "README.txt").read_text()
    assert text.startswith("A run of synsim: energy on digits, 2 seeds; started ")
    assert f"python {tmp_path}/analysis/energy.py '{tmp_path}/a run'\n" in text
    assert f"python {tmp_path}/experiments/energy.py --seeds '3 4'\n" in text
    monkeypatch.setattr(sys, "argv", ["-c"])
    folder = records.create(tmp_path / "a run", {}, overwrite=True)
    assert not (tmp_path / "a run" / "README.txt").exists()
    folder.save_page()
    assert "figures" not in (tmp_path / "a run" / "README.txt").read_text()
