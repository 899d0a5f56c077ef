"""One cell in one process: what is done is not done again, what was cut goes on, and two processes never meet.

A cell is run in a folder of its own beside the results, and moved among them when it is done: its results are there as
a whole, once, whoever else works on the same cell. A process that finds the folder of one that ended goes on in it; one
that finds it held (by a process that is frozen, or cut off from the scheduler) goes on in a copy, and whoever comes
second to the end throws its own away. Both are equal bit for bit.
"""

import contextlib
import errno
import io
import os
import secrets
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from synsim import records
from synsim.experiment import Experiment
from synsim.experiment.frame import reduced
from synsim.records import checkpoint, description, words
from synsim.records.errors import DamagedRecordError, RunBusyError, RunMismatchError
from synsim.records.files import CHECKPOINT, README, RUN
from synsim.records.lock import hold, release
from synsim.sweeps.plan import DONE, WORK, Cell, flags, is_done
from synsim.sweeps.source import Whole, load
from synsim.training import Session, TrainingFailedError
from synsim.training.command import resolved
from synsim.training.options import RunConfig
from synsim.training.stopping import StoppedError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""Errors of a disk that no other cell would be spared."""
STOP, TOKEN = "stop", "token"
"""Files in the folder of work: that the sweep is to stop, and by what a worker knows that folder."""

_mine: set[Path] = set()


@dataclass(frozen=True)
class Outcome:
    """How a cell ended.

    Attributes:
        name: of the cell.
        status: "finished"; "failed": replicas failed, and the results of the others are there; "error": it raised one;
            "stopped": it was asked to, and is saved; "refused": no cell could be run like this.
        message: what went wrong.
        seconds: that it took.
    """

    name: str
    status: str
    message: str = ""
    seconds: float = 0.0


def run_cell(cell: Cell, stop: Callable[[], bool]) -> Outcome:
    """Run a cell, unless it is done.

    Args:
        cell: the cell.
        stop: whether it is to stop, asked at every step; it saves then.

    Returns:
        How it ended; whatever goes wrong is in there.

    Raises:
        KeyboardInterrupt: if one comes.
        SystemExit: if the process is to end.
    """
    begin = time.monotonic()
    try:
        status, message = _run(cell, stop)
    except StoppedError:
        status, message = "stopped", ""
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        status, message = ("refused" if _is_hopeless(error, cell) else "error"), _told(error)
    return Outcome(cell.name, status, message, time.monotonic() - begin)


def _run(cell: Cell, stop: Callable[[], bool]) -> tuple[str, str]:
    work = cell.folder.parent / WORK
    if is_done(cell):
        return _status(cell.folder), ""
    experiment, config = load(cell.source), cell.config()
    torch.set_num_threads(config.threads or 1)
    attempt = _attempt(cell, work)
    _mine.add(attempt)
    try:
        if not _is_complete(attempt):
            with _as_command(cell):
                measured(experiment, config, attempt, stop)
        _publish(attempt, cell)
    finally:
        _mine.discard(attempt)
        release(attempt)
    return _status(cell.folder), ""


def measured(experiment: Experiment | Whole, config: RunConfig, folder: Path, stop: Callable[[], bool]) -> None:
    """Run an experiment in a folder, without a word.

    Args:
        experiment: what is run.
        config: its config.
        folder: where; what is there goes on.
        stop: whether to stop.

    Raises:
        BaseException: whatever the experiment raises, but for replicas that failed, as the folder says.
    """
    run = records.create(folder, resolved(config), resume=True, choices=config.phase_options(), wait=True)
    try:
        session = Session(run, config.checkpoint_every, stop, quiet=True)
        session.notes["reduced"] = reduced(config)
        with contextlib.redirect_stdout(io.StringIO()):
            if isinstance(experiment, Whole):
                experiment.work(config, session)
            else:
                dataset = experiment.measure(config, session)
                session.finish(dataset, experiment.rows(config, dataset))
    except TrainingFailedError:
        # That a setting is too strong is a result of a sweep: the folder says which replicas failed.
        return
    except BaseException as error:
        with contextlib.suppress(OSError, ValueError):
            if run.started and run.run["status"] == "running":
                run.finish("stopped" if isinstance(error, StoppedError) else "interrupted")
        raise
    finally:
        run.leave()


def _attempt(cell: Cell, work: Path) -> Path:
    work.mkdir(parents=True, exist_ok=True)
    if (cell.folder / RUN).is_file():
        _adopt(cell, work)
    tries = _tries(cell, work)
    for path in tries:
        try:
            hold(path)
        except RunBusyError:
            continue
        return path
    new = work / f"{cell.name}.{secrets.token_hex(4)}"
    for path in tries:
        if _copied(path, new):
            break
    return new


def _adopt(cell: Cell, work: Path) -> None:
    # A run that somebody began in the folder itself: it goes on, if its process has ended.
    hold(cell.folder)
    cell.folder.rename(work / f"{cell.name}.{secrets.token_hex(4)}")


def _tries(cell: Cell, work: Path) -> list[Path]:
    # The newest first; not those that other threads of this process work on.
    names = [path for path in work.iterdir() if path.name[: -len(".00000000")] == cell.name and path.is_dir()]
    times = {path: path.stat().st_mtime for path in names if path not in _mine}
    return sorted(times, key=lambda path: times[path], reverse=True)


def _copied(old: Path, new: Path) -> bool:
    # The other process may be writing: whatever does not fit together is left, and the cell starts anew.
    try:
        new.mkdir()
        for name in (RUN, CHECKPOINT):
            shutil.copyfile(old / name, new / name)
        checkpoint.read(new / CHECKPOINT, description.read(new / RUN))
    except (OSError, DamagedRecordError, RunMismatchError):
        shutil.rmtree(new, ignore_errors=True)
        return False
    return True


def _is_complete(folder: Path) -> bool:
    return (folder / RUN).is_file() and description.read(folder / RUN)["status"] in DONE


def _status(folder: Path) -> str:
    return str(description.read(folder / RUN)["status"])


def _publish(attempt: Path, cell: Cell) -> None:
    page = words.page(description.read(attempt / RUN), cell.folder)
    (attempt / README).write_text(page, encoding="utf-8", errors="backslashreplace")
    release(attempt)  # by its name, which it is about to lose
    try:
        attempt.rename(cell.folder)
    except OSError:
        if not _is_complete(cell.folder):
            raise
        shutil.rmtree(attempt, ignore_errors=True)  # another process came first, with the same results
    clean(cell)


def clean(cell: Cell) -> None:
    """Take away what other tries left of a cell that is done, if their processes have ended.

    Args:
        cell: the cell.
    """
    for path in _tries(cell, cell.folder.parent / WORK):
        with contextlib.suppress(RunBusyError, OSError):
            hold(path)
            shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _as_command(cell: Cell) -> Iterator[None]:
    # The record of a run says which command makes it again.
    before = sys.argv
    options = {**cell.options, "out": str(cell.folder)}
    sys.argv = [str(cell.source.module), *flags(load(cell.source).config, options)]
    try:
        yield
    finally:
        sys.argv = before


def _is_hopeless(error: BaseException, cell: Cell) -> bool:
    if not isinstance(error, OSError) or isinstance(error, RunBusyError):
        return False
    try:
        free = shutil.disk_usage(cell.folder.parent).free
    except OSError:
        return True
    return error.errno in FULL or free < 2**20


def _told(error: BaseException) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1:]
    where = f" ({Path(last[0].filename).name}, line {last[0].lineno})" if last else ""
    return f"{type(error).__name__}: {error}{where}"


def check_shared(out: Path, token: str, seconds: float = 10.0) -> None:
    """Refuse a process that does not see the folder of the sweep.

    Args:
        out: the folder.
        token: what its file of that name holds.
        seconds: that a file may take to be seen on another machine.

    Raises:
        ValueError: if it is not there, or another one.
    """
    path, begin = out / WORK / TOKEN, time.monotonic()
    while True:
        with contextlib.suppress(OSError):
            list(path.parent.iterdir())  # makes a network file system look again
            if path.read_text(encoding="ascii") == token:
                break
        if time.monotonic() - begin > seconds:
            raise ValueError(
                f"{os.uname().nodename if hasattr(os, 'uname') else 'this machine'} can't see {out}: a sweep over "
                "several machines needs a folder that all of them share. Give one as --out."
            )
        time.sleep(0.2)
    if not os.access(path.parent, os.W_OK):
        raise ValueError(f"{out} can't be written to from here; every worker must be allowed to.")
