"""The folder of a run, as its readers see it: opened, checked, in memory."""

import html
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray
from torch import Tensor

from synsim._doors import check_fields, typed
from synsim.records import checkpoint, dataset, description, summary, words
from synsim.records.errors import DamagedRecordError
from synsim.records.files import CHECKPOINT, NAMES, RECORD, RUN, SUMMARY, contents, digest
from synsim.records.tidying import tidy

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Record:
    """What a run left behind.

    Attributes:
        path: the folder.
        dataset: the results, in memory; the file is closed.
        summary: the rows of the result table; empty if the run has not come to it yet.
        run: the whole of `run.json`.
    """

    path: Path
    dataset: xarray.Dataset
    summary: list[dict[str, Any]]
    run: dict[str, Any]

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def config(self) -> dict[str, Any]:
        """The resolved config of the run."""
        config: dict[str, Any] = self.run["config"]
        return config

    def checkpoint(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The last checkpoint: tensors (on the CPU) and meta.

        Returns:
            Tensors by name, and meta. A damaged file is refused with DamagedRecordError, the checkpoint of another run
            with RunMismatchError.

        Raises:
            FileNotFoundError: if the run has saved no checkpoint.
        """
        path = self.path / CHECKPOINT
        if not path.exists():
            raise FileNotFoundError(f"{path} does not exist: the run (status {self.run['status']!r}) saved none.")
        return checkpoint.read(path, self.run)

    def table(self) -> "pd.DataFrame":
        """The measurements as a tidy table: one row for each seed, setting and metric.

        Returns:
            Columns `metric` (name of a variable), one for each of its axes (with the seed of each replica), and
            `value`. Only variables over seeds or replicas; of the axes `epoch`, `task` and `after_task` the end.
        """
        return tidy(self.dataset)

    def __repr__(self) -> str:
        """One line.

        Returns:
            Folder, title, status and sizes.
        """
        return (
            f"Record({str(self.path)!r}: {words.title(self.run)}; {self.run['status']}, "
            f"{len(self.dataset.data_vars)} variables, {len(self.summary)} rows)"
        )

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(repr(self))}</p>{self.dataset._repr_html_()}"


@typed
def open(folder: str | Path) -> Record:
    """Read what a run left behind, and check that it is what was written.

    A run that is still going can be read too: what it saved last. Only regular files are read, up to the sizes of
    `files.LARGEST`, and a record only if it does not unpack to much more than its size: a stranger's folder may be
    opened.

    Args:
        folder: the folder of the run.

    Returns:
        The record, in memory.

    Raises:
        FileNotFoundError: if the folder holds no run, or a run without a record. A file cut short or altered
            is refused with DamagedRecordError, and so is anything else than a regular file.
    """
    path = Path(folder)
    if not os.path.lexists(path / RUN):
        raise FileNotFoundError(f"{path} is not the folder of a run: no {RUN} in it. A run leaves {', '.join(NAMES)}.")
    # Files first, then the list of their digests: it keeps an old digest until the new file is in place.
    record, table = _bytes(path / RECORD), _bytes(path / SUMMARY)
    run = description.read(path / RUN)
    if record is None:
        raise FileNotFoundError(
            f"{path} has no {RECORD}: the status of the run is {run['status']!r}. "
            "Run the experiment again with --resume to complete it."
        )
    _require_listed(record, path / RECORD, run)
    return Record(path, dataset.read(record, path / RECORD), _rows(table, path / SUMMARY, run), run)


def _bytes(path: Path) -> bytes | None:
    try:
        return contents(path)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise DamagedRecordError(path, str(error)) from error


def _require_listed(data: bytes, path: Path, run: dict[str, Any]) -> None:
    listed: Sequence[str] = run["files"].get(path.name, ())
    if digest(data) not in listed:
        raise DamagedRecordError(path, f"its bytes are not those that {RUN} lists")


def _rows(data: bytes | None, path: Path, run: dict[str, Any]) -> list[dict[str, Any]]:
    if data is None:
        # An unfinished run may have listed the file and been killed just before it appeared.
        if run["status"] == "finished" and SUMMARY in run["files"]:
            raise DamagedRecordError(path, "it is missing, though the run is finished")
        return []
    _require_listed(data, path, run)
    return summary.read(data, path)
