"""Measures of a dataset that several experiments share: labelled arrays in, labelled arrays out."""

from typing import Any

import numpy as np
import xarray

from synsim._checks import require
from synsim._doors import typed

JOINT = "joint"
"""The model, and what it learned last, that sees all tasks at once."""
TASKS = ("after_task", "test_task")


@typed
def accuracies(dataset: xarray.Dataset) -> xarray.DataArray:
    """Test accuracies after each task, NaN where a replica failed.

    Args:
        dataset: with `accuracy` over after_task and test_task, and any other axes, and with `failed`.

    Returns:
        Per cent; its last axes are after_task and test_task.

    Raises:
        ValueError: if there are no such accuracies.
    """
    _require(dataset, "accuracy", "failed")
    missing = [name for name in TASKS if name not in dataset.accuracy.dims]
    require(not missing, f"accuracy must be over after_task and test_task, got {list(dataset.accuracy.dims)}.")
    found: xarray.DataArray = (100 * dataset.accuracy).where(~dataset.failed)
    return found.transpose(..., *TASKS)


@typed
def last(dataset: xarray.Dataset) -> xarray.DataArray:
    """Test accuracy on each task at the end: after the last task, or, of joint training, after all of them.

    Args:
        dataset: see `accuracies`; methods may be an axis `model`.

    Returns:
        Per cent, without after_task; its last axis is test_task.
    """
    found = accuracies(dataset)
    steps = [str(name) for name in found.after_task.values]
    if "model" not in found.dims or JOINT not in steps or len(steps) == 1:
        return found.isel(after_task=-1, drop=True)
    end = str(found.test_task.values[-1])
    after = {name: steps.index(JOINT if name == JOINT else end) for name in map(str, found.model.values)}
    picked = xarray.DataArray(list(after.values()), dims="model")
    return found.isel(after_task=picked).drop_vars("after_task").transpose(..., "test_task")


@typed
def final(dataset: xarray.Dataset) -> xarray.DataArray:
    """Accuracy over all tasks at the end: the mean over the tasks.

    Args:
        dataset: see `last`.

    Returns:
        Per cent, over all other axes; NaN where a replica failed.
    """
    return last(dataset).mean("test_task", skipna=False)


@typed
def first(dataset: xarray.Dataset) -> xarray.DataArray:
    """Accuracy on the first task at the end.

    Args:
        dataset: see `last`.

    Returns:
        Per cent, over all other axes; NaN where a replica failed.
    """
    return last(dataset).isel(test_task=0, drop=True)


@typed
def learned(dataset: xarray.Dataset) -> xarray.DataArray:
    """Accuracy on each task right after it was learned.

    Args:
        dataset: see `accuracies`, of tasks learned one after another.

    Returns:
        Per cent; its last axis is test_task. NaN where a task was not learned by itself, as in joint training.
    """
    found = accuracies(dataset)
    count = found.sizes["test_task"]
    require(
        count <= found.sizes["after_task"],
        f"each of the {count} test tasks must have been learned, got {found.sizes['after_task']} tasks learned.",
    )
    place = xarray.DataArray(np.arange(count), dims="test_task", coords={"test_task": found.test_task})
    return found.isel(after_task=place, test_task=place).drop_vars("after_task").transpose(..., "test_task")


@typed
def at_end(dataset: xarray.Dataset) -> xarray.Dataset:
    """What was measured at the end of training on one task, NaN where a replica failed.

    Args:
        dataset: with axes task and epoch, if it has not been reduced to the end already, and with `failed`.

    Returns:
        The dataset without these axes.
    """
    _require(dataset, "failed")
    return dataset.isel(task=0, epoch=-1, missing_dims="ignore").where(~dataset.failed)


@typed
def bits_per(dataset: xarray.Dataset, cost: str = "energy") -> xarray.DataArray:
    """Mutual information per unit of a cost, at the end of training.

    Args:
        dataset: with `information` in bits and the cost; see `at_end`.
        cost: its name, such as "energy" or "activity".

    Returns:
        10⁻³ bits per unit, over all other axes; NaN where a replica failed.
    """
    _require(dataset, "information", cost)
    end = at_end(dataset)
    found: xarray.DataArray = 1000 * end.information / end[cost]
    return found


@typed
def best(values: xarray.DataArray, over: str) -> Any:
    """The setting with the largest mean over replicas; those that failed are left out.

    Args:
        values: over the settings and the replicas.
        over: the axis of the settings.

    Returns:
        Its coordinate, a number or a text.

    Raises:
        ValueError: if there is no such axis, or every replica failed.
    """
    require(over in values.dims, f"over must be an axis of the values, {list(values.dims)}, got {over!r}.")
    mean = values.mean([name for name in values.dims if name != over])
    require(bool(mean.notnull().any()), f"expected a {over} at which a replica did not fail, got none.")
    return values[over].values[int(mean.argmax(over))].item()


def _require(dataset: xarray.Dataset, *names: str) -> None:
    missing = [name for name in names if name not in dataset]
    there = ", ".join(map(str, dataset.data_vars)) or "nothing"
    require(not missing, f"the dataset must have {', '.join(missing)}, it has {there}.")
