"""One table of many runs."""

import glob
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synsim._checks import choice, require, warn
from synsim.records import words
from synsim.records.description import FREE
from synsim.records.files import RUN, canonical
from synsim.records.reading import Record, open

if TYPE_CHECKING:
    import pandas as pd


OF = ("rows", "measurements")
"""What a table of many runs can be of."""


def collect(runs: str | Path | Sequence[str | Path], of: str | None = None) -> "pd.DataFrame":
    """The results of many runs as one tidy table.

    Args:
        runs: a pattern such as `runs/*`, or folders. Those without a run or without results are left out, with a
            warning that names them.
        of: "rows": the rows of the result tables, one for each seed, with the columns `method`, `metric`, `seed`,
            `value` and one for each setting that a row is about. "measurements": `Record.table`. None: rows, if those
            of every run hold the values of the seeds, as all but old runs do.

    Returns:
        Of every run, one below the other, with the columns `run` (its folder), `experiment` and one for each setting of
        its config; a setting that is called like a column of the table is called `config.<name>`. Where a row has
        another number of values than the run has seeds, `seed` is missing.

    Raises:
        FileNotFoundError: if there is no run with results. A damaged one is refused with DamagedRecordError.
        ValueError: if rows are asked for, and those of a run hold no values.
    """
    import pandas as pd

    # No door that looks at the annotations, since pandas is only imported where a table is asked for.
    if of is not None:
        choice(of, "of", OF)
    named = [runs] if isinstance(runs, str | Path) else list(runs)
    paths = all(isinstance(each, str | Path) for each in named)
    require(len(named) > 0 and paths, f'runs must be folders, or a pattern such as "runs/*", got {runs!r}.')
    # Not Path.glob, which takes no pattern that begins at the root.
    folders = [Path(path) for each in named for path in sorted(glob.glob(str(each))) or [str(each)]]  # noqa: PTH207
    # A pattern also meets files beside the runs, such as the plan of a sweep; one that is named is left out aloud.
    folders = [path for path in dict.fromkeys(folders) if not path.is_file() or path in map(Path, named)]
    found, left = [], []
    for folder in folders:
        try:
            found.append(open(folder))
        except FileNotFoundError:
            left.append(str(folder))
    if not found:
        raise FileNotFoundError(f"no run with results in {', '.join(map(str, named))}: no {RUN} or no record in it.")
    if left:
        warn(f"{len(left)} of {len(folders)} folders hold no results and are left out: {', '.join(left[:10])}.")
    makes = _rows if _of_rows(found, of) else Record.table
    return pd.concat([_about(record, makes(record)) for record in found], ignore_index=True)


def _of_rows(found: Sequence[Record], of: str | None) -> bool:
    without = [str(record.path) for record in found if not _has_values(record)]
    require(of != OF[0] or not without, f"the rows of {', '.join(without[:10])} hold no values of seeds.")
    return of == OF[0] or (of is None and not without)


def _has_values(record: Record) -> bool:
    return bool(record.summary) and all("values" in row for row in record.summary)


def _rows(record: Record) -> "pd.DataFrame":
    import pandas as pd

    seeds = record.run.get("seeds")
    rows = []
    for row in record.summary:
        values = row["values"]
        known = seeds if isinstance(seeds, list) and len(seeds) == len(values) else [None] * len(values)
        about = {"method": row["method"], "metric": row["metric"]}
        about |= {name: value for name, value in row.get("setting", {}).items() if name not in ROW}
        rows += [{**about, "seed": seed, "value": value} for seed, value in zip(known, values, strict=True)]
    table = pd.DataFrame(rows).astype({"value": float})
    return table[[*(name for name in table if name not in ROW[2:]), *ROW[2:]]]


def _about(record: Record, found: "pd.DataFrame") -> "pd.DataFrame":
    about: dict[str, Any] = {"run": str(record.path), "experiment": words.experiment(record.run)}
    for key, value in record.config.items():
        if key not in FREE and key != "seeds":
            name = f"config.{key}" if key in found or key in about else key
            about[name] = canonical(value) if isinstance(value, list | dict) else value
    for place, (name, value) in enumerate(about.items()):
        found.insert(place, name, value)
    return found


ROW = ("method", "metric", "seed", "value")
"""Columns of a table of rows, whatever its settings are called."""
