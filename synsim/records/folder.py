"""The folder of a run, as the run itself sees it: made, written to, resumed."""

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import xarray
from torch import Tensor

from synsim.records import checkpoint, dataset
from synsim.records.errors import DamagedRecordError, ForeignFolderError, RunExistsError, RunMismatchError
from synsim.records.files import (
    CHECKPOINT,
    NAMES,
    RECORD,
    RUN,
    SUMMARY,
    canonical,
    digest,
    is_temporary,
    plain,
    replacing,
    sync,
)
from synsim.records.origin import describe, now

FORMAT = "synsim run 1"
FREE = ("out", "resume", "overwrite", "threads", "checkpoint_every", "quiet")
"""Keys of a config that may differ when a run is resumed, because they don't change its results."""

_ROW = {"method", "metric", "mean", "sem", "n", "published"}


class RunFolder:
    """A run that is being written. Made by `create`."""

    def __init__(self, path: Path, run: dict[str, Any]):
        self._path = path
        self._run = run
        self._before = float(run["wall_seconds"])
        self._start = time.monotonic()

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
            tensors: by name; of any shape, dtype (bool, integers, floats), device and stride.
            meta: everything else, as JSON can hold it: text keys; numbers, text, lists, dicts; no NaN.
        """
        with replacing(self.path / CHECKPOINT) as temporary:
            checkpoint.write(tensors, meta, temporary)
        self._store()

    def load_checkpoint(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The last checkpoint: tensors (on the CPU) and meta.

        Returns:
            Tensors and meta, or None if there is no checkpoint yet. A damaged one is refused with DamagedRecordError.
        """
        path = self.path / CHECKPOINT
        return checkpoint.read(path) if path.exists() else None

    def save_record(self, data: xarray.Dataset) -> None:
        """Replace the record, at once.

        Args:
            data: variables and coordinates of bool, integer, float or text. Its attribute `sha256` is set in the file.
        """
        with self._listed(RECORD) as temporary:
            dataset.write(data, temporary)

    def save_summary(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Replace the summary, at once. NaN and infinite numbers become null.

        Args:
            rows: one dict per row of the result table: `method` and `metric` (text), `mean` and `sem` (numbers or
                None), `n` (int: replicas), `published` (number, text or None). No other keys.
        """
        table = {"rows": [_row(row, index) for index, row in enumerate(rows)]}
        with self._listed(SUMMARY) as temporary:
            temporary.write_text(canonical(table, indent=2) + "\n", encoding="ascii")

    def finish(self, status: str = "finished", **extra: object) -> None:
        """Note the end of the run.

        Args:
            status: "finished", or how else it ended.
            extra: more to keep in `run.json`.

        Raises:
            ValueError: if an extra has the name of something that `run.json` holds by itself.
        """
        taken = sorted(set(extra) & {*_new_run({}), "sha256"})
        if taken:
            raise ValueError(f"run.json holds {', '.join(taken)} already; give the extra another name.")
        self._run |= {**plain(extra, "extra"), "status": status, "ended": now()}
        self._store()

    @contextmanager
    def _listed(self, name: str) -> Iterator[Path]:
        """Replace a file whose bytes are listed in run.json before it appears.

        Until the new file is in place both the old and the new digest are listed, so that after a crash at any moment
        the file that is there is a listed one.
        """
        with replacing(self.path / name) as temporary:
            yield temporary
            new = digest(temporary.read_bytes())
            self._run["files"].setdefault(name, []).append(new)
            self._store()
        self._run["files"][name] = [new]

    def _store(self) -> None:
        self._run["wall_seconds"] = round(self._before + time.monotonic() - self._start, 3)
        sealed = {**self._run, "sha256": digest(canonical(self._run).encode())}
        with replacing(self.path / RUN) as temporary:
            temporary.write_text(canonical(sealed, indent=2) + "\n", encoding="ascii")


def create(
    folder: str | Path,
    config: Mapping[str, Any],
    *,
    overwrite: bool = False,
    resume: bool = False,
    free: Sequence[str] = FREE,
) -> RunFolder:
    """Make the folder of a run, or go on with the one that is there.

    Args:
        folder: where; made if absent. It must be empty or hold a run.
        config: the resolved config, as JSON can hold it. `config["seeds"]` and `config["device"]` are noted apart.
        overwrite: start anew; of what is there, only the files of a run are removed.
        resume: go on with the run that is there; start a new one if there is none.
        free: keys of the config that may differ on resuming (of nested ones: "outer.inner").

    Returns:
        The folder, to be written to.

    Raises:
        ValueError: if both overwrite and resume are asked for.
        RunExistsError: if the folder holds a run, and neither overwrite nor resume is asked for.
    """
    if overwrite and resume:
        raise ValueError("--resume and --overwrite exclude each other: choose one.")
    path, wanted = Path(folder), plain(config, "config")
    exists = _holds_run(path)
    if exists and not (overwrite or resume):
        raise RunExistsError(_what_is_there(path))
    run = _resumed(path, wanted, free) if exists and resume else _new_run(wanted)
    path.mkdir(parents=True, exist_ok=True)
    _clean(path, whole=exists and overwrite)
    result = RunFolder(path, run)
    result._store()
    return result


def read_run(path: Path) -> dict[str, Any]:
    """What `run.json` holds, if it is what was written.

    Args:
        path: the file.

    Returns:
        Its content.

    Raises:
        DamagedRecordError: if it is not what was written, or written in another format.
    """
    try:
        run = json.loads(path.read_bytes())
        expected = run.pop("sha256")
        found = digest(canonical(run).encode())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedRecordError(path, f"it can't be read as the description of a run ({error})") from error
    if expected != found:
        raise DamagedRecordError(path, "its content does not fit the digest in it")
    if run.get("format") != FORMAT:
        raise DamagedRecordError(
            path, f"its format is {run.get('format')!r}, and this version reads {FORMAT!r}"
        )
    result: dict[str, Any] = run
    return result


def _new_run(config: dict[str, Any]) -> dict[str, Any]:
    return {
        **describe(config.get("device")),
        "config": config,
        "ended": None,
        "files": {},
        "format": FORMAT,
        "resumes": [],
        "seeds": config.get("seeds"),
        "started": now(),
        "status": "running",
        "wall_seconds": 0.0,
    }


def _resumed(path: Path, config: dict[str, Any], free: Sequence[str]) -> dict[str, Any]:
    run = read_run(path / RUN)
    changes = _differences(run["config"], config)
    barred = {key: pair for key, pair in changes.items() if key not in free and key.split(".")[0] not in free}
    if barred:
        lines = "\n".join(
            f"  {key}: {old} in the run, {new} now" for key, (old, new) in sorted(barred.items())
        )
        raise RunMismatchError(
            f"{path} holds a run with another config:\n{lines}\n"
            "Give the same values to go on with it, use --overwrite to start anew, or another --out."
        )
    # Another version or device may change the last bits: who resumed, where and with what, stays visible.
    resumed = {**describe(config.get("device")), "changed": changes, "started": now()}
    return {**run, "ended": None, "resumes": [*run["resumes"], resumed], "status": "running"}


def _differences(old: object, new: object, key: str = "") -> dict[str, tuple[str, str]]:
    """Dotted keys whose values differ, with both values as JSON text."""
    if isinstance(old, dict) and isinstance(new, dict):
        result = {}
        for name in sorted(old.keys() | new.keys()):
            inner = f"{key}.{name}" if key else name
            result.update(_differences(old.get(name, _ABSENT), new.get(name, _ABSENT), inner))
        return result
    if old == new and isinstance(old, bool) == isinstance(new, bool):  # True is no 1 here, but 1 is 1.0
        return {}
    return {key: (_show(old), _show(new))}


_ABSENT = object()


def _show(value: object, most: int = 300) -> str:
    text = "nothing" if value is _ABSENT else canonical(value)
    return text if len(text) <= most else f"{text[:most]}..."


def _holds_run(path: Path) -> bool:
    """Whether the folder holds a run; if it holds anything else, it is refused."""
    if path.exists() and not path.is_dir():
        raise ForeignFolderError(f"{path} is a file; give --out a folder.")
    entries = sorted(entry for entry in path.iterdir() if not is_temporary(entry)) if path.exists() else []
    if not entries:
        return False
    names = ", ".join(entry.name for entry in entries[:5]) + (", ..." if len(entries) > 5 else "")
    advice = "Nothing in it was touched; give another --out, or empty it yourself."
    if path / RUN not in entries:
        raise ForeignFolderError(f"{path} is not empty and holds no {RUN} (it holds {names}). {advice}")
    if FORMAT.rstrip("0123456789").encode() not in (path / RUN).read_bytes():
        raise ForeignFolderError(f"{path / RUN} is not the description of a synsim run. {advice}")
    return True


def _what_is_there(path: Path) -> str:
    try:
        run = read_run(path / RUN)
        what = f'a run with status "{run["status"]}", started {run["started"]}, config {_show(run["config"])}'
    except DamagedRecordError as error:
        what = f"a run that can't be read ({error})"
    return (
        f"{path} holds {what}.\n"
        "Use --resume to go on with it, --overwrite to start anew in its place, or another --out."
    )


def _clean(path: Path, *, whole: bool) -> None:
    """Remove what a killed run left half written; with `whole`, also the files of the run itself.

    `run.json` is left, to be replaced: until then a crash leaves the old run without its results, never a new run with
    an old checkpoint.
    """
    for entry in [*path.iterdir()]:
        if is_temporary(entry) or (whole and entry.name in NAMES and entry.name != RUN):
            entry.unlink()
    sync(path)


def _row(row: Mapping[str, Any], index: int) -> dict[str, Any]:
    if set(row) != _ROW:
        missing, unknown = sorted(_ROW - set(row)), sorted(set(row) - _ROW)
        raise ValueError(
            f"rows[{index}] must have the keys {sorted(_ROW)}: missing {missing}, unknown {unknown}."
        )
    numbers = {
        key: plain(_finite(row[key]), f"rows[{index}][{key!r}]") for key in ("mean", "sem", "published", "n")
    }
    texts = {key: plain(row[key]) for key in ("method", "metric")}
    wrong = [key for key in ("mean", "sem") if not isinstance(numbers[key], int | float | None)]
    wrong += [key for key in texts if not isinstance(texts[key], str)]
    wrong += ["n"] * (not isinstance(numbers["n"], int) or isinstance(numbers["n"], bool))
    wrong += ["published"] * (not isinstance(numbers["published"], int | float | str | None))
    if wrong:
        raise ValueError(
            f"rows[{index}]: {', '.join(f'{key}={row[key]!r}' for key in wrong)}: method and metric are text, mean and "
            "sem numbers or None, n a whole number, published a number, text or None."
        )
    return {**numbers, **texts}


def _finite(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value
