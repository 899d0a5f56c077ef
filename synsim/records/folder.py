"""The folder of a run, as the run itself sees it: made, written to, resumed."""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import xarray
from torch import Tensor

from synsim._checks import require
from synsim._doors import typed
from synsim.records import checkpoint, dataset, description, summary, words
from synsim.records.errors import DamagedRecordError, ForeignFolderError, RunExistsError, RunMismatchError
from synsim.records.files import (
    CHECKPOINT,
    NAMES,
    README,
    RECORD,
    RUN,
    SUMMARY,
    canonical,
    contents,
    digest,
    is_temporary,
    plain,
    replacing,
    sync,
)
from synsim.records.lock import hold, release
from synsim.records.origin import now


class RunFolder:
    """A run that is being written; `create` makes it."""

    @typed
    def __init__(self, path: Path, run: dict[str, Any], prepare: Callable[[], dict[str, Any]] | None = None):
        self._path = path
        self._run = run
        self._prepare = prepare
        self._process = os.getpid()
        self._before = float(run["wall_seconds"])
        self._start = time.monotonic()
        if prepare is None:
            self._store()

    @property
    def started(self) -> bool:
        """Whether the folder is there and says that the run is going."""
        return self._prepare is None

    def start(self) -> None:
        """Make the folder, if `create` was told to wait with that; anything that is saved does so too."""
        if self._prepare is not None:
            self._run = self._prepare()
            self._prepare = None
            self._store()

    def leave(self) -> None:
        """Let other processes write to the folder; what it says about the run stays."""
        release(self.path)

    @property
    def path(self) -> Path:
        """The folder."""
        return self._path

    @property
    def run(self) -> dict[str, Any]:
        """A copy of what `run.json` holds."""
        copy: dict[str, Any] = json.loads(canonical(self._run))
        return copy

    def save_checkpoint(self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        """Replace the checkpoint, at once, and note the time spent so far.

        Args:
            tensors: by name; of any shape, dtype (bool, integers, floats, complex), device and stride.
            meta: everything else, as JSON can hold it: text keys; numbers, text, lists, dicts; no NaN.

        Raises:
            TypeError: if a value is not a tensor, a name no text, or the meta no mapping.
            ValueError: if the file can't hold a tensor, a name or something in the meta.
        """
        self.start()
        with replacing(self.path / CHECKPOINT) as temporary:
            checkpoint.write(tensors, meta, temporary, self._run)
        self._store()

    def load_checkpoint(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The last checkpoint. A damaged one is refused with DamagedRecordError, another run's with RunMismatchError.

        Returns:
            Tensors by name (on the CPU) and meta, or None if there is no checkpoint yet.
        """
        path = self.path / CHECKPOINT
        return checkpoint.read(path, self._run) if self.started and os.path.lexists(path) else None

    @typed
    def save_record(self, data: xarray.Dataset) -> None:
        """Replace the record, at once.

        Args:
            data: variables and coordinates of bool, integer, float or text. In the file, it gets an attribute
                `sha256`.

        Raises:
            TypeError: if something is of another type.
            ValueError: if NetCDF can't hold a name or a value.
        """
        with self._listed(RECORD) as temporary:
            dataset.write(data, temporary)

    @typed
    def save_summary(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Replace the summary, at once. NaN and infinite numbers become null.

        Args:
            rows: one dict per row of the result table: `method` and `metric` (text), `mean` and `sem`
                (numbers or None), `n` (int: replicas), `published` (number, text or None). No other keys.
        """
        text = summary.text(rows)
        with self._listed(SUMMARY) as temporary:
            temporary.write_text(text, encoding="ascii")

    def save_page(self) -> None:
        """Replace README.txt, which says what the run is and how its figures are drawn."""
        self.start()
        with replacing(self.path / README) as temporary:
            temporary.write_text(words.page(self._run, self.path), encoding="utf-8", errors="backslashreplace")

    @typed
    def finish(self, status: str = "finished", **extra: object) -> None:
        """Note the end of the run.

        Args:
            status: "finished", or how else it ended.
            extra: more to keep in `run.json`.

        Raises:
            ValueError: if an extra has the name of something that `run.json` holds by itself, or the status is empty.
        """
        require(bool(status.strip()), "status must say how the run ended, such as 'finished', got an empty text.")
        taken = sorted(extra.keys() & {*description.new({}), "sha256"})
        if taken:
            raise ValueError(f"run.json holds {', '.join(taken)} already; give the extra another name.")
        self.start()
        self._run |= {**plain(extra, "extra"), "status": status, "ended": now()}
        self._store()
        release(self.path)

    @contextmanager
    def _listed(self, name: str) -> Iterator[Path]:
        # The digest of the new file joins that of the old one in run.json before the file appears, and the
        # old one leaves later: after a crash at any moment the file that is there is a listed one.
        self.start()
        with replacing(self.path / name) as temporary:
            yield temporary
            new = digest(temporary.read_bytes())
            self._run["files"].setdefault(name, []).append(new)
            self._store()
        self._run["files"][name] = [new]

    def _store(self) -> None:
        if os.getpid() != self._process:  # a forked child does not share the right to write
            hold(self.path)
        self._run["wall_seconds"] = round(self._before + time.monotonic() - self._start, 3)
        description.write(self._run, self.path / RUN)


@typed
def create(
    folder: str | Path,
    config: Mapping[str, Any],
    *,
    overwrite: bool = False,
    resume: bool = False,
    free: Sequence[str] = description.FREE,
    choices: Sequence[str] = (),
    wait: bool = False,
) -> RunFolder:
    """Make the folder of a run, or go on with the run that is there.

    A run with another config is not resumed (RunMismatchError), nor one whose `run.json` is damaged
    (DamagedRecordError). A run that ended before it saved anything bars nobody: a new one takes its place.

    Args:
        folder: where; made if absent.
        config: the resolved config, as JSON can hold it. Its `seeds` and `device` are noted apart.
        overwrite: start anew; of what is there, only the files of a run are removed.
        resume: go on with the run that is there; start a new one if there is none.
        free: keys of the config that may differ on resuming (of nested ones: "outer.inner").
        choices: keys that choose which independent parts are run. On resuming they may differ too; the new choice then
            stands in the config, and both in the note on the resume.
        wait: whether a new run makes its folder, and takes away an old run, only with the first thing that it saves, or
            at `RunFolder.start`: so that one that can't start leaves everything as it was.

    Returns:
        The folder, to be written to.

    Raises:
        ValueError: if both overwrite and resume are asked for, or the folder has no name.
        ForeignFolderError: if it is a file, or holds anything but a run.
        RunExistsError: if the folder holds a run, and neither overwrite nor resume is asked for; RunBusyError, a
            kind of it, if another process is writing to that run.
    """
    if overwrite and resume:
        raise ValueError("--resume and --overwrite exclude each other: choose one.")
    if not str(folder):
        raise ValueError("the folder of a run needs a name, got an empty one; give --out a folder.")
    path, wanted = Path(folder), plain(config, "config")
    if path.exists() and not path.is_dir():
        raise ForeignFolderError(f"{path} is a file; give --out a folder.")

    def enter() -> tuple[dict[str, Any], bool]:
        return _enter(path, wanted, overwrite, resume, free, choices)

    def prepare() -> dict[str, Any]:
        path.mkdir(parents=True, exist_ok=True)
        run, new = enter()
        _clean(path, whole=new and overwrite)
        return run

    if wait and not path.exists():
        return RunFolder(path, description.new(wanted), prepare)
    if wait:
        run, new = enter()
        if new:
            return RunFolder(path, run, prepare)
    return RunFolder(path, prepare())


def _enter(
    path: Path,
    config: dict[str, Any],
    overwrite: bool,
    resume: bool,
    free: Sequence[str],
    choices: Sequence[str],
) -> tuple[dict[str, Any], bool]:
    # Takes the lock, and only then looks at what is there: the description of the run, and whether it is a new one.
    taken = hold(path)
    try:
        there = _holds_run(path)
        left = there and taken and _left_empty(path)
        if there and not (overwrite or resume or left):
            raise RunExistsError(_what_is_there(path))
        if there and resume:
            try:
                return description.resumed(path / RUN, config, free, choices), False
            except RunMismatchError:
                if not left:
                    raise
    except BaseException:
        if taken:
            release(path)
        raise
    return description.new(config), True


def _holds_run(path: Path) -> bool:
    entries = sorted(entry for entry in path.iterdir() if not is_temporary(entry))
    if not entries:
        return False
    names = ", ".join(entry.name for entry in entries[:5]) + (", ..." if len(entries) > 5 else "")
    advice = "Nothing in it was touched; give another --out, or empty it yourself."
    if path / RUN not in entries:
        raise ForeignFolderError(f"{path} is not empty and holds no {RUN} (it holds {names}). {advice}")
    try:
        one = description.is_one(contents(path / RUN))
    except (OSError, ValueError) as error:
        raise ForeignFolderError(f"{path / RUN} can't be read ({error}). {advice}") from error
    if not one:
        raise ForeignFolderError(f"{path / RUN} is not the description of a synsim run. {advice}")
    return True


def _left_empty(path: Path) -> bool:
    # A run that was ended before it saved anything.
    if any(not is_temporary(entry) and entry.name != RUN for entry in path.iterdir()):
        return False
    try:
        run = description.read(path / RUN)
    except DamagedRecordError:
        return False
    return run["status"] in description.UNFINISHED and not run["files"]


def _what_is_there(path: Path) -> str:
    try:
        run = description.read(path / RUN)
        config = description.show(run["config"])
        what = f"a run with status {run['status']!r}, started {run['started']}, config {config}"
    except DamagedRecordError as error:
        what = f"a run that can't be read ({error})"
    return (
        f"{path} holds {what}.\n"
        "Use --resume to go on with it, --overwrite to start anew in its place, or another --out."
    )


def _clean(path: Path, *, whole: bool) -> None:
    # Removes what a killed run left half written; with `whole`, also the files of the run. run.json is left,
    # to be replaced: a crash before that leaves the old run without results, never a new one with old ones.
    for entry in list(path.iterdir()):
        if is_temporary(entry) or (whole and entry.name in (*NAMES, README) and entry.name != RUN):
            entry.unlink()
    sync(path)
