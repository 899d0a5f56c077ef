"""The results of a sweep as one table."""

from pathlib import Path
from typing import TYPE_CHECKING

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
        See `synsim.records.collect`.

    Raises:
        FileNotFoundError: if it is no sweep, or has no results yet.
    """
    return records.collect(folders(folder))


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
    there = noted(Path(folder))
    if there is None:
        raise FileNotFoundError(f"{folder} is not the folder of a sweep: no sweep.json in it.")
    found = [Path(folder) / name for name in there["cells"]]
    found = [path for path in found if (path / RECORD).is_file()]
    if not found:
        raise FileNotFoundError(f"{folder} has no results yet.")
    return found
