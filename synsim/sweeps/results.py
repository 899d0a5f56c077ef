"""The results of a sweep as one table."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synsim import records
from synsim._doors import typed
from synsim.records.files import RECORD
from synsim.sweeps.plan import noted

if TYPE_CHECKING:
    import pandas as pd


def table(folder: str | Path) -> "pd.DataFrame":
    """The results of a sweep: one row for each cell, seed and metric, with a column for every setting.

    Args:
        folder: of the sweep.

    Returns:
        See `synsim.records.collect`. The columns of the axes of the grid hold their values, where an option of several
        values has only one of them in a cell.

    Raises:
        FileNotFoundError: if it is no sweep, or has no results yet.
    """
    found = folders(folder)
    axes = settings(folder)
    made = records.collect(found)
    for name in dict.fromkeys(name for setting in axes.values() for name in setting):
        column = f"config.{name}" if f"config.{name}" in made else name
        made[column] = [axes[Path(run).name].get(name, kept) for run, kept in zip(made.run, made[column], strict=True)]
    return made


@typed
def settings(folder: str | Path) -> dict[str, dict[str, Any]]:
    """The cells of a sweep.

    Args:
        folder: of the sweep.

    Returns:
        Name of a cell -> axis of the grid -> value, in the order of the grid; of several values a text.

    Raises:
        FileNotFoundError: if it is no sweep.
    """
    there = noted(Path(folder))
    if there is None:
        raise FileNotFoundError(f"{folder} is not the folder of a sweep: no sweep.json in it.")
    return {cell["name"]: _single(dict(cell["setting"])) for cell in there["cells"]}


def _single(setting: Mapping[str, Any]) -> dict[str, Any]:
    listed = {name: value for name, value in setting.items() if isinstance(value, list)}
    return {**setting, **{name: v[0] if len(v) == 1 else " ".join(map(str, v)) for name, v in listed.items()}}


@typed
def folders(folder: str | Path) -> list[Path]:
    """The run folders of a sweep that have results.

    Args:
        folder: of the sweep.

    Returns:
        In the order of the grid.

    Raises:
        FileNotFoundError: if it is no sweep, or has no results yet.
    """
    found = [Path(folder) / name for name in settings(folder)]
    found = [path for path in found if (path / RECORD).is_file()]
    if not found:
        raise FileNotFoundError(f"{folder} has no results yet.")
    return found
