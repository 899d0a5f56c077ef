"""From the record of a run to named samples, one value per seed."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import xarray
from numpy.typing import NDArray
from scipy import stats

from synsim.papers.schug2021 import DECAY
from synsim.report.claims import Key

Array = NDArray[np.float64]


class Sample(NamedTuple):
    """One value per seed, NaN where a replica failed.

    Attributes:
        values: [R].
        note: how it was chosen, such as "decay 0.05".
    """

    values: Array
    note: str = ""


Samples = dict[Key, Sample]


def _sample(values: xarray.DataArray, note: str = "") -> Sample:
    return Sample(np.asarray(values.values, dtype=float).reshape(-1), note)


def _end(dataset: xarray.Dataset) -> xarray.Dataset:
    return dataset.isel(task=0, epoch=-1).where(~dataset.failed)


def _part(dataset: xarray.Dataset, name: str) -> xarray.Dataset | None:
    # A part of an energy run under its usual names.
    lead = f"{name}_"
    found = dataset[[v for v in dataset.data_vars if str(v).startswith(lead)]]
    if not found.data_vars:
        return None
    names = {v: str(v)[len(lead) :] for v in [*found.variables, *found.dims] if str(v).startswith(lead)}
    return found.rename(names)


def energy(dataset: xarray.Dataset) -> Samples:
    """Bits per energy and per activity over the decays, at the best, and the other parts of the run.

    Args:
        dataset: record of an energy run.

    Returns:
        Samples; ratios in 10⁻³ bits per unit.
    """
    found: Samples = {}
    if "model" in dataset.dims:
        end = _end(dataset)
        bits, activity = 1000 * end.information / end.energy, 1000 * end.information / end.activity
        default = dataset.decay.sel(decay=DECAY, method="nearest").item()
        for name in map(str, dataset.model.values):
            one = bits.sel(model=name)
            best = float(one.mean("seed").idxmax("decay"))
            found["best", name] = _sample(one.sel(decay=best), f"decay {best:g}")
            found["cost", name] = _sample(end.energy.sel(model=name, decay=default), f"decay {default:g}")
            for decay in dataset.decay.values:
                found["per energy", f"{decay:g}", name] = _sample(one.sel(decay=decay))
                found["per activity", f"{decay:g}", name] = _sample(activity.sel(model=name, decay=decay))
    return found | _fixed(dataset) | _start(dataset) | _robust(dataset)


def _fixed(dataset: xarray.Dataset) -> Samples:
    found: Samples = {}
    part = _part(dataset, "fixed")
    if part is not None:
        end = _end(part)
        bits = 1000 * end.information / end.energy
        for p in part.probability.values:
            best = float(bits.sel(probability=p).mean("seed").idxmax("rate"))
            found["fixed release", f"{p:g}"] = _sample(bits.sel(probability=p, rate=best), f"rate {best:g}")
    return found


def _start(dataset: xarray.Dataset) -> Samples:
    found: Samples = {}
    part = _part(dataset, "start")
    if part is not None:
        end = _end(part)
        for name in part.start.values:
            found["start mean p", str(name)] = _sample(end.mean_p.sel(start=name))
            found["start share", str(name)] = _sample(100 * end.important_share.sel(start=name))
    return found


def _robust(dataset: xarray.Dataset) -> Samples:
    found: Samples = {}
    part = _part(dataset, "robust")
    if part is not None:
        end = _end(part)
        for name in part.steps.values:
            found["robust", str(name)] = _sample((1000 * end.information / end.energy).sel(steps=name))
    return found


def lifelong(dataset: xarray.Dataset) -> Samples:
    """Accuracies at the end, over all tasks and each, and the fate of the release probabilities.

    Args:
        dataset: record of a lifelong, continuous or ablation run.

    Returns:
        Samples; accuracies and shares in per cent.
    """
    tasks = [str(name) for name in dataset.test_task.values]
    found: Samples = {}
    accuracy = 100 * dataset.accuracy.where(~dataset.failed)
    for name in map(str, dataset.model.values):
        end = accuracy.sel(model=name, after_task="joint" if name == "joint" else tasks[-1])
        found["final", name] = _sample(end.mean("test_task", skipna=False))
        found["first", name] = _sample(end.sel(test_task=tasks[0]))
        for task in tasks:
            found["task", task, name] = _sample(end.sel(test_task=task))
        if "mean_p" in dataset and name != "joint":
            for variable, scale in (("mean_p", 1), ("frozen_share", 100)):
                fate = scale * dataset[variable].where(~dataset.failed).sel(model=name).isel(epoch=-1)
                for number, task in enumerate(tasks, start=1):
                    found[variable, str(number), name] = _sample(fate.sel(task=task))
    return found


def lesions(dataset: xarray.Dataset) -> Samples:
    """Accuracy of lesioned networks, on average over the fractions and with a share of the synapses silenced.

    Args:
        dataset: record of a lesions run.

    Returns:
        Samples, in per cent; the seconds of the whole study are one number.
    """
    found: Samples = {}
    curves = 100 * dataset.lesion_accuracy
    for name in map(str, dataset.order.values):
        one = curves.sel(order=name)
        found["mean", name] = _sample(one.mean("fraction", skipna=False))
        for share in (0.5, 0.9):
            if share in dataset.fraction.values:
                found[f"{100 * share:g} %", name] = _sample(one.sel(fraction=share))
    if "seconds" in dataset:
        parts = (("order", "orders"), ("fraction", "fractions"), ("replica", "seeds"))
        size = " × ".join(f"{dataset.sizes[dim]} {name}" for dim, name in parts)
        found["seconds", "study"] = _sample(dataset.seconds.sum(), size)
    return found


def importance_of_release(dataset: xarray.Dataset) -> Samples:
    """Share, energy and Fisher information of synapses with high and low p, and correlations with p.

    Args:
        dataset: record of an importance_of_release run.

    Returns:
        Samples; shares in per cent.
    """
    sound = dataset.where(~dataset.failed)
    found: Samples = {("share", "high"): _sample(100 * sound.share.sel(layer="all"))}
    for group in map(str, dataset.group.values):
        for name in ("energy", "fisher"):
            found[name, group] = _sample(sound[f"{name}_mean"].sel(layer="all", group=group))
    fisher = [str(name) for name in dataset.importance.values if str(name).endswith("test set")]
    if fisher:
        found["r", "fisher"] = _sample(sound.r.sel(importance=fisher[0], layer="all", kind="Pearson"))
    for name in map(str, dataset.importance.values):
        for kind in map(str, dataset.kind.values):
            found["correlation", name, kind] = _sample(sound.r.sel(importance=name, layer="all", kind=kind))
    return found


def neurons(dataset: xarray.Dataset) -> Samples:
    """Kolmogorov-Smirnov tests per side, classes of neurons and correlations of inputs with outputs.

    Args:
        dataset: record of a neurons run.

    Returns:
        Samples; shares in per cent; D and p are medians over the shuffles; "p of r" is that of no correlation.
    """
    sound = dataset.where(~dataset.failed)
    found: Samples = {}
    middle = sound[["ks", "ks_p"]].median("shuffle")
    for side in map(str, dataset.side.values):
        found["D", side] = _sample(middle.ks.sel(side=side))
        found["p", side] = _sample(middle.ks_p.sel(side=side))
        for kind in map(str, dataset.kind.values):
            one = sound.neuron_class.sel(side=side, kind=kind)
            for name, sign in (("highly", 1), ("lowly", -1)):
                share = 100 * (one == sign).sum("neuron") / one.notnull().sum("neuron")
                found[name, side, kind] = _sample(share)
    for name in map(str, dataset.hidden.values):
        r = sound.pearson.sel(hidden=name)
        neurons = int(dataset.neuron_class.isel(replica=0, kind=0).sel(side=f"{name} inputs").notnull().sum())
        found["r", name] = _sample(r)
        # What scipy.stats.pearsonr gives for so many pairs.
        t = abs(r) * ((neurons - 2) / (1 - r**2)) ** 0.5
        found["p of r", name] = _sample(xarray.apply_ufunc(stats.t.sf, t, neurons - 2) * 2)
    return found


def perceptron(dataset: xarray.Dataset) -> Samples:
    """Average accuracies, the fate of the first task, and the gap over the load.

    Args:
        dataset: record of a perceptron run.

    Returns:
        Samples, as shares.
    """
    found: Samples = {}
    last = int(dataset.attrs["final"])
    for name in map(str, dataset.model.values):
        found["average", name] = _sample(dataset.average.sel(model=name, after_task=last))
        for k in range(1, last + 1):
            found["task 1", name, str(k)] = _sample(dataset.accuracy.sel(model=name, after_task=k, test_task=1))
    gap = dataset.average.sel(model="presynaptic") - dataset.average.sel(model="standard")
    for k in dataset.after_task.values:
        patterns = dataset["load"].sel(after_task=k).item()
        found["gap", f"{patterns / dataset.attrs['capacity']:.0%}"] = _sample(gap.sel(after_task=k))
    return found


Reader = Callable[[xarray.Dataset], dict[Key, Any]]

READERS: dict[str, Reader] = {
    "energy": energy,
    "lifelong": lifelong,
    "continuous": lifelong,
    "ablation": lifelong,
    "lesions": lesions,
    "importance_of_release": importance_of_release,
    "neurons": neurons,
    "perceptron": perceptron,
}
"""By the name of the experiment."""
