"""How runs end that go wrong: what they leave, what they say, and that the next command can go on."""

import errno
import importlib
import io
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import xarray
from small_runs import launch

import synsim
from synsim import _console, records
from synsim.training import Session, TrainingStoppedError, fit
from synsim.training.stopping import SIGNALS, Stop, StoppedError

ROOT = Path(__file__).resolve().parent.parent.parent
CONFIG = {"seeds": [0], "data_dir": "here", "threads": 1, "lr": 0.1}
SMALL = ["--data", "digits", "--epochs", "1", "--hidden", "10", "--seeds", "1", "2", "--methods", "none", "--quiet",
         "--threads", "1", "--batch", "20"]  # fmt: skip
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals, forks and limits of POSIX")


@pytest.fixture(autouse=True)
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    monkeypatch.syspath_prepend(str(ROOT))


def lifelong(*arguments: str) -> None:
    """A run in this process; a small one of lifelong.py."""
    sys.modules.pop("lifelong", None)
    script = importlib.import_module("lifelong")
    launch(script, [*SMALL, *arguments])


def status(folder: Path) -> str:
    return json.loads((folder / "run.json").read_text())["status"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["--data", "mnist", "--data-dir", "{tmp}/nothing"], "train-images-idx3-ubyte"),
        (["--lr", "-1", "--methods", "presynaptic"], "lr must be"),
        (["--hidden", "0"], "must be"),
        (["--batch", "100000"], "a batch of 100000 needs as many examples"),
        (["--batch", "0"], "batch must be"),
    ],
)
def test_a_run_that_cannot_start_leaves_nothing_and_bars_nobody(wrong, message, tmp_path, capsys) -> None:
    out = tmp_path / "run"
    with pytest.raises(SystemExit) as ended:
        lifelong("--out", str(out), *(part.format(tmp=tmp_path) for part in wrong))
    assert ended.value.code == 1
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_a_run_that_cannot_start_takes_nothing_away(tmp_path) -> None:
    lifelong("--out", str(tmp_path))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(SystemExit):
        lifelong("--out", str(tmp_path), "--overwrite", "--batch", "100000")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    lifelong("--out", str(tmp_path), "--overwrite", "--batch", "40")
    assert records.open(tmp_path).config["batch"] == 40


def left(folder: Path, *, saved: bool, how: str = "running") -> None:
    """What a killed process leaves: its lock is gone."""
    run = records.create(folder, CONFIG)
    if saved:
        run.save_checkpoint({"w": torch.zeros(1)}, {})
    if how != "running":
        run.finish(how)
    run.leave()


@pytest.mark.parametrize("how", ["running", "stopped", "interrupted"])
@pytest.mark.parametrize("choice", [{}, {"resume": True}, {"overwrite": True}])
def test_a_run_that_saved_nothing_bars_no_other(choice, how, tmp_path) -> None:
    left(tmp_path, saved=False, how=how)
    run = records.create(tmp_path, {**CONFIG, "lr": 0.2}, **choice)
    assert run.run["config"]["lr"] == 0.2
    assert run.load_checkpoint() is None
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_a_run_that_saved_something_does(tmp_path) -> None:
    left(tmp_path / "a", saved=True)
    with pytest.raises(records.RunExistsError, match="--resume"):
        records.create(tmp_path / "a", CONFIG)
    with pytest.raises(records.RunMismatchError, match="lr"):
        records.create(tmp_path / "a", {**CONFIG, "lr": 0.2}, resume=True)
    left(tmp_path / "b", saved=False, how="finished")
    with pytest.raises(records.RunExistsError, match="'finished'"):
        records.create(tmp_path / "b", CONFIG)


def test_a_moved_folder_of_data_bars_no_resume(tmp_path) -> None:
    left(tmp_path, saved=True)
    run = records.create(tmp_path, {**CONFIG, "data_dir": "moved", "threads": 2, "out": "x"}, resume=True)
    assert run.run["resumes"][0]["changed"]["data_dir"] == ['"here"', '"moved"']


def test_the_lock_is_taken_before_the_description_is_read(tmp_path, monkeypatch) -> None:
    from synsim.records import description, folder

    left(tmp_path, saved=True)
    order = []
    hold, read = folder.hold, description.read
    monkeypatch.setattr(folder, "hold", lambda path: order.append("hold") or hold(path))
    monkeypatch.setattr(description, "read", lambda path: order.append("read") or read(path))
    records.create(tmp_path, CONFIG, resume=True)
    assert order[:2] == ["hold", "read"]


def test_a_refused_folder_is_free_for_others(tmp_path) -> None:
    left(tmp_path, saved=True)
    with pytest.raises(records.RunExistsError):
        records.create(tmp_path, CONFIG)
    from synsim.records.lock import hold, release

    assert hold(tmp_path)  # nobody had it
    release(tmp_path)


def test_a_forked_worker_does_not_keep_the_lock_of_its_dead_parent(tmp_path) -> None:
    script = (
        "import os, sys, time\nfrom synsim import records\n"
        "run = records.create(sys.argv[1], {'a': 1})\nrun.save_checkpoint({}, {})\n"
        "child = os.fork()\n"
        "if child == 0:\n    os.close(1)\n    time.sleep(60)\n"
        "print(child, flush=True)\nos._exit(0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True, check=True
    )
    try:
        os.kill(int(done.stdout), 0)  # the worker lives
        assert records.create(tmp_path, {"a": 1}, resume=True).run["resumes"]
    finally:
        os.kill(int(done.stdout), signal.SIGKILL)


def train(folder: Path, send=None, *, resume: bool = False, stop=None) -> xarray.Dataset:
    """40 steps; `send` is called at the 15th."""
    steps = []

    def penalty():
        steps.append(1)
        if send is not None and len(steps) == 15:
            send()
        return {}

    net = synsim.mlp([64, 10], p=0.5, seed=0)
    rule = synsim.PresynapticSGD(net, lr=0.1, p_up=0.1, p_down=0.1, g_lim=1e-3)
    tasks = synsim.tasks.single(synsim.data.load("digits"))
    with Stop() as signals:
        run = records.create(folder, CONFIG, resume=resume, wait=True)
        signals.saves = lambda: run.started
        session = Session(run, 1e9, lambda: signals.asked)
        options = {"seeds": [0], "steps": 40, "penalty": penalty, "stop": stop}
        phase = session.phase("one", net, lambda store: fit(net, rule, tasks, store=store, **options))
        session.finish(phase.dataset, [])
    return phase.dataset.drop_vars("seconds")


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> xarray.Dataset:
    return train(tmp_path_factory.mktemp("whole") / "run")


@pytest.mark.parametrize("name", SIGNALS)
def test_a_signal_saves_at_the_next_step_and_the_run_goes_on_to_the_same_bits(name, whole, tmp_path) -> None:
    number = getattr(signal, name)
    before = signal.getsignal(number)
    with pytest.raises(StoppedError):
        train(tmp_path / "run", lambda: os.kill(os.getpid(), number))
    assert signal.getsignal(number) is before
    saved = records.create(tmp_path / "run", CONFIG, resume=True).load_checkpoint()[1]["phases"]["one"]
    assert 14 * saved["epoch"] + saved["step"] == 15  # long before a checkpoint was due
    assert train(tmp_path / "run", resume=True).identical(whole)


def test_a_second_signal_ends_at_once(tmp_path) -> None:
    def twice() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as ended:
        train(tmp_path / "run", twice)
    assert not isinstance(ended.value, StoppedError)
    assert not (tmp_path / "run" / "checkpoint.safetensors").exists()


@pytest.mark.parametrize(
    ("signals", "said", "noted"), [(1, "stopped; go on with --resume", "stopped"), (2, "at once", "interrupted")]
)
def test_an_experiment_says_how_it_was_ended(signals, said, noted, tmp_path, capsys, monkeypatch) -> None:
    from synsim.training import loop

    real, calls = loop.forward_backward, []

    def counted(*arguments, **keywords):
        calls.append(1)
        if len(calls) == 5:
            for _ in range(signals):
                os.kill(os.getpid(), signal.SIGTERM)
        return real(*arguments, **keywords)

    monkeypatch.setattr(loop, "forward_backward", counted)
    with pytest.raises(SystemExit) as ended:
        lifelong("--out", str(tmp_path / "run"))
    assert ended.value.code == 128 + signal.SIGTERM
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error
    assert status(tmp_path / "run") == noted
    monkeypatch.undo()
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    monkeypatch.syspath_prepend(str(ROOT))
    lifelong("--out", str(tmp_path / "run"), "--resume")
    assert status(tmp_path / "run") == "finished"


@pytest.mark.parametrize("where", ["while the first is told", "while the state is saved"])
def test_a_second_signal_that_comes_while_the_run_is_ending_changes_nothing(where, tmp_path, capsys, monkeypatch):
    from synsim.training.session import PhaseStore

    leave, due, sent = Stop.leave, PhaseStore.due, []

    def again() -> None:
        if len(sent) == 1:
            sent.append(2)
            os.kill(os.getpid(), signal.SIGTERM)

    def leaving(self) -> int:
        if where == "while the first is told":
            again()
        return leave(self)

    def asked(self) -> bool:
        if not sent:
            sent.append(1)
            os.kill(os.getpid(), signal.SIGTERM)
        return due(self)

    save = PhaseStore.save

    def saving(self, tensors, meta) -> None:
        try:
            save(self, tensors, meta)
        except StoppedError:
            if where == "while the state is saved":
                again()
            raise

    monkeypatch.setattr(Stop, "leave", leaving)
    monkeypatch.setattr(PhaseStore, "due", asked)
    monkeypatch.setattr(PhaseStore, "save", saving)
    with pytest.raises(SystemExit) as ended:
        lifelong("--out", str(tmp_path / "run"))
    assert len(sent) == 2
    assert ended.value.code == 128 + signal.SIGTERM
    error = capsys.readouterr().err
    assert "stopped; go on with --resume" in error
    assert "Traceback" not in error
    assert status(tmp_path / "run") == "stopped"
    assert (tmp_path / "run" / "checkpoint.safetensors").exists()


def test_a_run_whose_own_question_stops_it_says_so(tmp_path, capsys, monkeypatch) -> None:
    from synsim.training.session import PhaseStore

    monkeypatch.setattr(PhaseStore, "stopping", lambda store: True, raising=False)
    with pytest.raises(SystemExit) as ended:
        lifelong("--out", str(tmp_path / "run"))
    assert ended.value.code == 1
    assert "its state is in the checkpoint; resume to go on" in capsys.readouterr().err
    assert status(tmp_path / "run") == "stopped"
    monkeypatch.undo()
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    monkeypatch.syspath_prepend(str(ROOT))
    lifelong("--out", str(tmp_path / "run"), "--resume")
    assert status(tmp_path / "run") == "finished"


def test_a_signal_and_the_question_of_a_run_do_not_swallow_each_other(whole, tmp_path) -> None:
    for send, expected in ((True, StoppedError), (False, TrainingStoppedError)):
        steps = iter(range(1, 41))

        def question(send=send, steps=steps) -> bool:
            last = next(steps) == 12
            if last and send:
                os.kill(os.getpid(), signal.SIGINT)
            return last

        with pytest.raises(expected):
            train(tmp_path / expected.__name__, stop=question)
        saved = records.create(tmp_path / expected.__name__, CONFIG, resume=True).load_checkpoint()[1]
        assert saved["phases"]["one"]["step"] == 12
        assert train(tmp_path / expected.__name__, resume=True).identical(whole)


def test_a_signal_before_the_run_began_leaves_nothing(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(synsim.data, "load", lambda *_: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(SystemExit) as ended:
        lifelong("--out", str(tmp_path / "run"))
    assert ended.value.code == 130
    assert "interrupted before it began" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_signal_that_was_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Stop() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop.asked
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_an_error_in_the_middle_is_noted(tmp_path, capsys, monkeypatch) -> None:
    from synsim.training import loop

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/there")

    monkeypatch.setattr(loop, "forward_backward", full)
    with pytest.raises(SystemExit) as ended:
        lifelong("--out", str(tmp_path / "run"))
    assert ended.value.code == 1
    assert "No space left on device: /there. Mend this" in capsys.readouterr().err
    assert status(tmp_path / "run") == "interrupted"


@pytest.mark.parametrize("out", ["", "x" * 300, "loop", "file/run", "/proc/nowhere/run"])
def test_folders_that_cannot_be_made_are_told_in_a_sentence(out, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    Path("loop").symlink_to("loop")
    Path("file").write_text("")
    with pytest.raises(SystemExit) as ended:
        lifelong("--out", out)
    assert ended.value.code in (1, 2)
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert said.strip()


# Full disks: writing beyond a limit fails as it does where there is no room.


@pytest.mark.parametrize("room", [0, 1, 100, 1000, 5000])
@pytest.mark.parametrize("what", ["checkpoint", "record", "summary", "run"])
def test_a_full_disk_leaves_the_old_files_whole(what, room, tmp_path) -> None:
    run = records.create(tmp_path, CONFIG)
    run.save_checkpoint({"w": torch.zeros(10)}, {"number": 1})
    run.save_record(xarray.Dataset({"v": ("x", [1.0])}))
    run.save_summary([])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    large = {"method": "a" * 10_000, "metric": "", "mean": 1.0, "sem": 1.0, "n": 1, "published": None}
    save = {
        "checkpoint": lambda: run.save_checkpoint({"w": torch.zeros(10_000)}, {"number": 2}),
        "record": lambda: run.save_record(xarray.Dataset({"v": ("x", torch.zeros(10_000).numpy())})),
        "summary": lambda: run.save_summary([large]),
        "run": lambda: run.finish(note="a" * 10_000),
    }[what]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        with pytest.raises(OSError, match=r"large|disk"):
            save()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    now = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert now.keys() == before.keys()
    # The digest of a file that is to come may stand in run.json, beside that of the old one.
    changed = {name for name in now if now[name] != before[name]}
    assert changed <= ({"run.json"} if what in ("record", "summary") else set())
    record = records.open(tmp_path)
    assert record.dataset.v.values.tolist() == [1.0]
    assert record.checkpoint()[1] == {"number": 1}


# What is printed.


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "cp437", "utf-8"])
def test_every_table_can_be_printed(encoding, monkeypatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding, newline="\n"))
    with _console.steady():
        print("1 ± 2 × 10⁻³, λ − ─ \U0001f600 \udcff")
    shown = raw.getvalue().decode(encoding)
    expected = {
        "ascii": r"1 +/- 2 x 10^-^3, lambda - - \U0001f600 \udcff",
        "latin-1": r"1 ± 2 × 10^-³, lambda - - \U0001f600 \udcff",
        "cp1252": r"1 ± 2 × 10^-³, lambda - - \U0001f600 \udcff",
        "utf-8": "1 ± 2 × 10⁻³, λ − ─ \U0001f600 \\udcff",
    }
    assert shown.rstrip("\n") == expected.get(encoding, shown.rstrip("\n"))
    assert shown.endswith("\n")


def test_ctrl_c_ends_any_program_in_a_word(capsys) -> None:
    before = sys.stdout, sys.stderr

    def program() -> None:
        with _console.steady():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(60)

    with pytest.raises(SystemExit) as ended:
        program()
    assert ended.value.code == 130
    assert (sys.stdout, sys.stderr) == before
    assert capsys.readouterr().err == "\ninterrupted\n"


class Failing(io.StringIO):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def write(self, text: str) -> int:
        raise self.error


@pytest.mark.parametrize(
    "stream",
    [Failing(BrokenPipeError()), Failing(OSError(errno.ENOSPC, "full")), Failing(ValueError("closed file")), None],
    ids=["pipe", "full", "closed", "absent"],
)
def test_no_stdout_ends_a_run(stream, monkeypatch, tmp_path) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        lifelong("--out", str(tmp_path / "run"))
    assert status(tmp_path / "run") == "finished"
    assert records.open(tmp_path / "run").summary


def test_the_table_is_printed_after_it_is_written(tmp_path, monkeypatch) -> None:
    seen = []

    class Watching(io.StringIO):
        def write(self, text: str) -> int:
            seen.append((tmp_path / "run" / "summary.json").exists() and status(tmp_path / "run") == "finished")
            return len(text)

    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", Watching())
        lifelong("--out", str(tmp_path / "run"))
    assert seen
    assert all(seen)


@pytest.mark.slow
@pytest.mark.parametrize("redirected", ["> /dev/full", ">&-", "| head -n 1", "2>&1 | head -n 0", "> /dev/full 2>&1"])
def test_a_shell_that_cannot_take_the_output(redirected, tmp_path) -> None:
    words = ["set -o pipefail;", sys.executable, str(ROOT / "experiments" / "lifelong.py"), *SMALL, "--out"]
    line = f"{' '.join(words)} {tmp_path / 'run'} {redirected}"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(["bash", "-c", line], env=environment, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert done.returncode == 0
    assert status(tmp_path / "run") == "finished"
