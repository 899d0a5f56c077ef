"""Samples of the runs that ask what is kept of tasks learned in sequence."""

import numpy as np
import xarray

from synsim.outcomes.measures import JOINT, final, first, last
from synsim.outcomes.sample import Sample, Samples, sample


def lifelong(dataset: xarray.Dataset) -> Samples:
    """Accuracies at the end, over all tasks and each, and the fate of the release probabilities.

    Args:
        dataset: record of a run of one method after another on a sequence of tasks.

    Returns:
        Samples; accuracies and shares in per cent.
    """
    tasks = [str(name) for name in dataset.test_task.values]
    found: Samples = {}
    every, all_tasks, first_task = last(dataset), final(dataset), first(dataset)
    for name in map(str, dataset.model.values):
        found["final", name] = sample(all_tasks.sel(model=name))
        found["first", name] = sample(first_task.sel(model=name))
        for place, task in enumerate(tasks):
            found["task", task, name] = sample(every.sel(model=name).isel(test_task=place))
        if "mean_p" in dataset and name != JOINT:
            found |= _fate(dataset, name, tasks)
    return found


def _fate(dataset: xarray.Dataset, model: str, tasks: list[str]) -> Samples:
    found: Samples = {}
    for variable, scale in (("mean_p", 1), ("frozen_share", 100)):
        fate = scale * dataset[variable].where(~dataset.failed).sel(model=model).isel(epoch=-1)
        for number, task in enumerate(tasks, start=1):
            found[variable, str(number), model] = sample(fate.sel(task=task))
    return found


def perceptron(dataset: xarray.Dataset) -> Samples:
    """Average accuracies, the fate of the first task, and the gap over the load.

    Args:
        dataset: record of a perceptron run.

    Returns:
        Samples, as shares.
    """
    found: Samples = {}
    end = int(dataset.attrs["final"])
    for name in map(str, dataset.model.values):
        found["average", name] = sample(dataset.average.sel(model=name, after_task=end))
        for k in range(1, end + 1):
            found["task 1", name, str(k)] = sample(dataset.accuracy.sel(model=name, after_task=k, test_task=1))
    gap = dataset.average.sel(model="presynaptic") - dataset.average.sel(model="standard")
    for k in dataset.after_task.values:
        patterns = dataset["load"].sel(after_task=k).item()
        found["gap", f"{patterns / dataset.attrs['capacity']:.0%}"] = sample(gap.sel(after_task=k))
    return found


def bounds(dataset: xarray.Dataset) -> Samples:
    """The objectives of both rules, with the published constants and with their own.

    Args:
        dataset: record of a bounds run.

    Returns:
        Samples (part, constants, rule): "lifelong" in per cent, "energy" in 10⁻³ bits per unit.
    """
    found: Samples = {}
    for part in ("lifelong", "energy"):
        score = dataset.get(f"{part}_score")
        if score is None:
            continue
        for constants in map(str, dataset.constants.values):
            for rule in map(str, dataset.rule.values):
                found[part, constants, rule] = sample(score.sel(constants=constants, rule=rule))
    return found


def search(dataset: xarray.Dataset) -> Samples:
    """What the best constants of a search and the published ones are worth on other seeds.

    Args:
        dataset: record of a search run.

    Returns:
        Samples ("carried", target, constants), in the unit of the objective.
    """
    return {
        ("carried", str(target), str(name)): sample(dataset.carried.sel(target=target, constants=name))
        for target in dataset.target.values
        for name in dataset.constants.values
    }


DIFFERENCES = (("si-unbiased", "si"), ("si-bias", "si"), ("sos", "si"))
"""Pairs of importances whose accuracies are compared."""
FALLS = (("si", "sos"), ("si", "onaf"))
"""Pairs of importances whose falls with the batch size are compared."""
LARGE = "-2048"
NOTHING = ("difference", "none")


def importances(dataset: xarray.Dataset) -> Samples:
    """Accuracy over all tasks of every method, and the differences that are tested.

    Args:
        dataset: record of an importances run.

    Returns:
        Samples, in per cent and points: ("final", method); ("difference", "a − b"); ("fall", "a + b-2048 − a-2048 −
        b"), how much more a falls with the batch size than b; and ("difference", "none"), which is zero everywhere.
    """
    values = {str(name): sample(final(dataset).sel(model=name)).values for name in dataset.model.values}
    found: Samples = {("final", name): Sample(each) for name, each in values.items()}
    for one, other in DIFFERENCES:
        if {one, other} <= values.keys():
            found["difference", f"{one} − {other}"] = Sample(values[one] - values[other])
    for one, other in FALLS:
        if {one, other, one + LARGE, other + LARGE} <= values.keys():
            plus, minus = (one, other + LARGE), (one + LARGE, other)
            fall = np.sum([values[name] for name in plus], axis=0) - np.sum([values[name] for name in minus], axis=0)
            found["fall", f"{' + '.join(plus)} − {' − '.join(minus)}"] = Sample(fall)
    if values:
        found[NOTHING] = Sample(np.zeros_like(next(iter(values.values()))))
    return found
