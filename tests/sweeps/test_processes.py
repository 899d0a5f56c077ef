"""Sweeps over the processes of this machine: every cell once, bit for bit, whatever is killed in between."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
import tiny

import synsim
from synsim import records, sweeps
from synsim.records.dataset import sha256
from synsim.sweeps import cell, plan, running, source

ROOT = Path(synsim.__file__).resolve().parent.parent
GRID = {"rate": [0.5, 1.0, 2.0]}
SEEDS = (1, 2)


def serial(grid, folder, options=None, seeds=SEEDS, script=tiny.__file__):
    """The same cells, one after the other in this process, by the experiment alone."""
    found = source.find(script)
    digests = {}
    for each in plan.cells(found, grid, seeds, folder, options=options or {}, seeds_per_cell=len(seeds)):
        config = each.config()
        record = source.load(found).run(config)
        digests[each.name] = content(record)
    return digests


def content(record):
    """What a run has measured, without where and when."""
    bare = record.dataset.copy()
    bare.attrs = {}
    return sha256(bare), json.dumps(record.summary)


def swept(folder):
    names = [path.name for path in folder.iterdir() if path.name not in (plan.SWEEP, plan.WORK)]
    return {name: content(records.open(folder / name)) for name in names}


def left(folder):
    """What is left of cells that are done."""
    return sorted(path.name for path in (folder / plan.WORK).iterdir() if path.is_dir())


class Here:
    """Runs cells in this process."""

    jobs = 1

    def execute(self, cells, done, stop):
        for each in cells:
            done(cell.run_cell(each, stop))
            if stop():
                break

    def probe(self, each, seconds):
        raise AssertionError("nothing is to be measured")

    def close(self):
        pass


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    return serial(GRID, tmp_path_factory.mktemp("serial"))


def test_a_sweep_is_what_its_cells_are_alone_and_is_not_run_twice(tmp_path, expected, monkeypatch):
    out = tmp_path / "out"
    result = sweeps.run(tiny.EXPERIMENT, GRID, sweeps.Local(2), seeds=SEEDS, out=out, seeds_per_cell=2, quiet=True)
    assert result.complete
    assert repr(result) == f"Swept({str(out)!r}: 3 cells, 3 finished)"
    assert swept(out) == expected
    assert left(out) == []
    run = records.open(out / "rate=0.5").run
    assert run["command"] == [tiny.__file__, "--out", str(out / "rate=0.5"), "--rate", "0.5"]
    assert f"python {tiny.__file__} --out" in (out / "rate=0.5" / "README.txt").read_text()
    table = result.table()
    assert len(table) == 3 * 2  # cells × seeds × metrics
    assert sorted(set(table.rate)) == GRID["rate"]
    before = {path: path.stat().st_mtime_ns for path in out.rglob("record.nc")}

    def none(*given):
        raise AssertionError("nothing is left to run")

    monkeypatch.setattr(sweeps.Local, "execute", none)
    again = sweeps.run(tiny.EXPERIMENT, GRID, sweeps.Local(2), seeds=SEEDS, out=out, quiet=True)
    assert again.complete
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("record.nc")}


def test_a_killed_process_is_replaced_and_its_cell_goes_on(tmp_path, expected):
    out, killed = tmp_path / "out", []
    others = psutil.Process().children()  # those of fixtures that last as long as all tests

    def kill():
        deadline = time.monotonic() + 60
        while not killed and time.monotonic() < deadline:
            busy = [path for path in (out / plan.WORK).glob("rate=*") if (path / "checkpoint.safetensors").exists()]
            workers = [child for child in psutil.Process().children() if busy and child not in others]
            for child in workers:
                killed.append(child.pid)
                child.send_signal(signal.SIGKILL)
            time.sleep(0.01)

    thread = threading.Thread(target=kill)
    thread.start()
    slow = {"pause": 0.2, "checkpoint_every": 0.0}
    result = sweeps.run(
        tiny.EXPERIMENT, GRID, sweeps.Local(1), seeds=SEEDS, out=out, seeds_per_cell=2, options=slow, quiet=True
    )
    thread.join()
    assert killed
    assert result.complete
    assert {name: first for name, (first, _) in swept(out).items()} == {n: first for n, (first, _) in expected.items()}
    assert left(out) == []
    resumed = [records.open(out / name).run["resumes"] for name in expected]
    assert sum(map(len, resumed)) == 1  # the one that was cut, and went on where it was


def test_a_cell_that_fails_three_times_is_marked_and_the_rest_finish(tmp_path, capsys):
    grid = {"kind": ["plain", "broken"]}
    result = sweeps.run(tiny.EXPERIMENT, grid, sweeps.Local(1), seeds=SEEDS, out=tmp_path, seeds_per_cell=2)
    assert not result.complete
    assert [(each.name, each.status) for each in result.errors] == [("kind=broken", "error")]
    assert "kind=broken: ValueError: this kind is broken (tiny.py, line" in capsys.readouterr().err
    assert set(swept(tmp_path)) == {"kind=plain"}


SCRIPT = """
import sys
from synsim import sweeps
print(sweeps.run(sys.argv[1], {"rate": [0.5, 1.0, 2.0]}, sweeps.Local(1), seeds=(1, 2), out=sys.argv[2],
                 seeds_per_cell=2, options={"pause": float(sys.argv[3]), "steps": int(sys.argv[4])}))
"""


def started(out, pause, steps):
    command = [sys.executable, "-c", SCRIPT, tiny.__file__, str(out), str(pause), str(steps)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def wait_for(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_ctrl_c_saves_every_cell_and_the_sweep_goes_on(tmp_path):
    out = tmp_path / "out"
    first = started(out, 0.1, 30)
    wait_for(lambda: list((out / plan.WORK).glob("rate=*/checkpoint.safetensors")))
    first.send_signal(signal.SIGINT)
    said, errors = first.communicate(timeout=60)
    assert first.returncode == 0, errors
    assert "1 stopped and saved" in said
    (cut,) = (out / plan.WORK).glob("rate=*")
    assert json.loads((cut / "run.json").read_text())["status"] == "stopped"
    begun = records.folder.create(cut, json.loads((cut / "run.json").read_text())["config"], resume=True)
    step = begun.load_checkpoint()[1]["phases"]["walk"]["step"]
    begun.leave()
    assert 0 < step < 30


def test_workers_end_with_whoever_started_them(tmp_path):
    out = tmp_path / "out"
    first = started(out, 0.1, 30)
    wait_for(lambda: list((out / plan.WORK).glob("rate=*/checkpoint.safetensors")))
    (worker,) = psutil.Process(first.pid).children()
    with pytest.raises(records.RunBusyError):
        sweeps.run(tiny.EXPERIMENT, GRID, sweeps.Local(1), seeds=SEEDS, out=out, quiet=True)
    first.kill()
    first.communicate(timeout=60)
    worker.wait(60)
    (cut,) = (out / plan.WORK).glob("rate=*")
    assert json.loads((cut / "run.json").read_text())["status"] == "stopped"


def test_a_folder_that_is_held_is_not_waited_for(tmp_path, expected):
    (first, *_) = plan.cells(
        source.find(tiny.__file__), GRID, SEEDS, tmp_path, options={"steps": 3}, seeds_per_cell=len(SEEDS)
    )
    stops = iter([False, False, True, True])
    assert cell.run_cell(first, lambda: next(stops)).status == "stopped"
    (cut,) = (tmp_path / plan.WORK).iterdir()
    code = f"import time; from pathlib import Path; from synsim.records.lock import hold; hold(Path({str(cut)!r})); "
    code += "print('held', flush=True); time.sleep(600)"
    frozen = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    try:
        assert frozen.stdout.readline() == b"held\n"
        os.kill(frozen.pid, signal.SIGSTOP)
        assert cell.run_cell(first, lambda: False).status == "finished"
        assert content(records.open(first.folder)) == expected[first.name]
        assert len(records.open(first.folder).run["resumes"]) == 1  # from a copy of what the frozen one had saved
        assert left(tmp_path) == [cut.name]
    finally:
        frozen.kill()
        frozen.wait()
        frozen.stdout.close()
    # What is left is taken away once nobody holds it; one that came late throws its own away.
    cell.clean(first)
    assert left(tmp_path) == []


def test_a_cell_that_comes_second_throws_its_own_away(tmp_path, expected, monkeypatch):
    (first, *_) = plan.cells(source.find(tiny.__file__), GRID, SEEDS, tmp_path, options={}, seeds_per_cell=len(SEEDS))
    publish = cell._publish

    def late(attempt, each):
        monkeypatch.setattr(cell, "_publish", publish)
        assert cell.run_cell(each, lambda: False).status == "finished"
        publish(attempt, each)

    monkeypatch.setattr(cell, "_publish", late)
    assert cell.run_cell(first, lambda: False).status == "finished"
    assert swept(tmp_path) == {first.name: expected[first.name]}
    assert left(tmp_path) == []


def test_a_full_disk_ends_the_sweep_in_words(tmp_path, monkeypatch):
    def full(*given, **options):
        raise OSError(28, "No space left on device", "run.json")

    monkeypatch.setattr(records, "create", full)
    (first, *_) = plan.cells(source.find(tiny.__file__), GRID, SEEDS, tmp_path, options={}, seeds_per_cell=len(SEEDS))
    outcome = cell.run_cell(first, lambda: False)
    assert (outcome.status, "No space left on device" in outcome.message) == ("refused", True)

    with pytest.raises(sweeps.SweepError, match=r"rate=0\.5: OSError: .*No space left"):
        running.run(tiny.EXPERIMENT, GRID, Here(), seeds=SEEDS, out=tmp_path, seeds_per_cell=2, quiet=True)
    monkeypatch.undo()
    assert running.run(tiny.EXPERIMENT, GRID, Here(), seeds=SEEDS, out=tmp_path, seeds_per_cell=2, quiet=True).complete
