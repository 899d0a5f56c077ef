"""Measurements with labelled axes: put together, taken apart, and over the settings of a sweep."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import xarray
from torch import Tensor

from synsim import Sweep, forgetting, statistics, tables

# A replica that was not run has no result; all else that is missing is NaN.
FILL = {"failed": True}
Pair = tuple["np.ndarray[Any, Any]", "np.ndarray[Any, Any]"]


def labelled(
    arrays: Mapping[str, "np.ndarray[Any, Any]"], axes: Mapping[str, Sequence[str]], **coords: Any
) -> xarray.Dataset:
    """Arrays [R, ...] with names for the axes that follow that of the replicas, for those that have any."""
    variables = {name: (("replica", *axes.get(name, ())), values) for name, values in arrays.items()}
    return xarray.Dataset(variables, {name: list(labels) for name, labels in coords.items()})


def prefixed(dataset: xarray.Dataset, lead: str, *, but: Sequence[str] = ()) -> xarray.Dataset:
    """The dataset with its variables and axes renamed, but for some, so that several can lie in one record."""
    names = {str(name) for name in (*dataset.variables, *dataset.dims)} - set(but)
    return dataset.rename({name: f"{lead}_{name}" for name in names})


def models(datasets: Mapping[str, xarray.Dataset]) -> xarray.Dataset:
    """The datasets along a new axis `model`, under their names."""
    return xarray.concat(
        list(datasets.values()),
        dim=xarray.Variable("model", list(datasets)),
        join="outer",
        data_vars="all",
        coords="minimal",
        compat="equals",
        combine_attrs="drop_conflicts",
    )


def with_measured(dataset: xarray.Dataset, sweep: Sweep, values: dict[str, Tensor]) -> xarray.Dataset:
    """A phase's measurements with those of its trained network, [R] each, over the axes of its sweep."""
    found = {name: ("replica", value.cpu().double().numpy()) for name, value in values.items()}
    return dataset.assign(sweep.unfold(xarray.Dataset(found)))


def by_setting(dataset: xarray.Dataset, sweep: Sweep, names: Iterable[str]) -> dict[str, xarray.Dataset]:
    """What each setting of a sweep measured, under its name; its replicas are the seeds."""
    parts = [dataset.isel(replica=sweep.replicas_of(number)) for number in range(len(sweep))]
    return dict(zip(names, (part.assign_coords(replica=range(len(sweep.own))) for part in parts), strict=True))


def remembered(dataset: xarray.Dataset) -> xarray.Dataset:
    """Accuracy over all tasks at the end, on each right after learning it, and points forgotten; without axes of tasks.

    In per cent; NaN for a replica that failed.
    """
    accuracy = dataset.accuracy.where(~dataset.failed).transpose(..., "after_task", "test_task")
    values = {
        "final": 100 * forgetting.average_accuracy(accuracy),
        "learned": 100 * forgetting.learning_accuracy(accuracy),
        "forgotten": -100 * forgetting.backward_transfer(accuracy),
    }
    axes = accuracy.dims[:-2]
    return xarray.Dataset({name: (axes, np.asarray(each)) for name, each in values.items()}, {"seed": dataset.seed})


def end(dataset: xarray.Dataset) -> xarray.Dataset:
    """What a phase with one task measured at its end."""
    return dataset.isel(task=0, epoch=-1, after_task=0, test_task=0, drop=True)


def nested(made: Callable[..., xarray.Dataset], **axes: Sequence[Any]) -> xarray.Dataset:
    """What `made` gives for every combination, with an axis for each of its arguments."""
    name, *inner = axes
    if inner:
        parts = [nested(partial(made, **{name: value}), **{key: axes[key] for key in inner}) for value in axes[name]]
    else:
        parts = [made(**{name: value}) for value in axes[name]]
    return xarray.concat(
        parts,
        xarray.Variable(name, list(axes[name])),
        data_vars="all",
        coords="minimal",
        compat="equals",
        join="outer",
        combine_attrs="drop_conflicts",
        fill_value=FILL,
    )


def swept(
    run: Callable[[Sweep, str], xarray.Dataset],
    settings: Sequence[Mapping[str, Any]],
    seeds: Sequence[int],
    *separate: str,
    phase: str,
    **room: float,
) -> xarray.Dataset:
    """What a run measures of some settings and seeds, along an axis `setting` in their order.

    Settings that can't be replicas of one program run one after the other (see `Sweep.programs`).

    Args:
        run: (sweep of a program, name of its phase) -> measurements with the axis `setting`.
        settings: name -> value, each.
        seeds: of every setting.
        separate: names whose values separate programs.
        phase: name of the first; the others have their number behind it.
        room: memory and each, as for `Sweep.programs`.
    """
    parts: list[xarray.Dataset] = []
    numbers: list[int] = []
    for place, program in enumerate(Sweep(settings, seeds).programs(*separate, **room)):
        parts.append(run(program.sweep, f"{phase}, {place}" if place else phase))
        numbers += program.numbers
    return xarray.concat(parts, "setting").isel(setting=np.argsort(numbers))


def choice(values: xarray.DataArray, *, most: bool = False, over: str = "setting") -> int:
    """The setting with the least (or the most) on average over all axes but its own.

    One of which a value is missing, since a replica failed, is chosen only where all are so.
    """
    means = values.mean([axis for axis in values.dims if axis != over], skipna=False)
    return int(means.fillna(-np.inf).argmax(over) if most else means.fillna(np.inf).argmin(over))


def paired(family: str, metric: str, pairs: Mapping[str, Pair]) -> list[tables.Row]:
    """A row for every pair of samples with the same seeds: their differences, first minus second, tested as a family.

    Args:
        family: name of the family of tests.
        metric: of the rows.
        pairs: method of the row -> the two samples, [R] each.
    """
    tests = statistics.family(family, pairs, paired=True)
    return [
        tables.row(method, metric, first - second, test=tests.get(method)) for method, (first, second) in pairs.items()
    ]
