"""The measurements of a dataset as a tidy table."""

from typing import TYPE_CHECKING

import xarray

if TYPE_CHECKING:
    import pandas as pd

ENDS = ("epoch", "task", "after_task")


def tidy(dataset: xarray.Dataset) -> "pd.DataFrame":
    """The measurements of a dataset, one row for each seed and setting.

    Args:
        dataset: results over an axis `seed` or `replica`, and others.

    Returns:
        See `Record.table`.
    """
    import pandas as pd

    tables = []
    for name, variable in dataset.data_vars.items():
        if variable.dtype.kind not in "biuf" or not {"seed", "replica"} & set(variable.dims):
            continue
        last = variable.isel({axis: -1 for axis in ENDS if axis in variable.dims})
        seeds = last.coords.get("seed")
        kept = [each for each in last.coords if each in last.dims]
        column = last.reset_coords(drop=True).astype(float).to_series().rename("value").reset_index()
        if seeds is not None and "replica" in seeds.dims and "replica" in kept:
            column.insert(0, "seed", column["replica"].map(seeds.to_series()))
        column.insert(0, "metric", str(name))
        tables.append(column)
    found = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["metric", "value"])
    return found[[*(each for each in found if each != "value"), "value"]]
