"""What the experiment scripts share: options, data, probes, and measurements with labelled axes."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
import xarray
from torch import Tensor, nn

import synsim
from synsim import forgetting, importance, statistics, tables, tasks
from synsim._progress import bar
from synsim.data import Dataset
from synsim.experiment import PresetConfig, by_preset, option
from synsim.importance import Importance
from synsim.meters import energy, mutual_information
from synsim.papers.schug2021 import IMPORTANT
from synsim.sweep import Sweep
from synsim.training import Session
from synsim.training.command import RunConfig

# A replica that was not run has no result; all else that is missing is NaN.
FILL = {"failed": True}
Pair = tuple["np.ndarray[Any, Any]", "np.ndarray[Any, Any]"]
Probe = Callable[[nn.Module, tasks.Task], Tensor]
# Importances that are measured on a chosen number of images after a task.
MEASURED = ("fisher", "sqrt-fisher", "absolute-fisher", "mas", "mas-max")


class NetworkConfig(PresetConfig):
    """Options of an experiment with layered networks."""

    hidden: tuple[int, ...] = option((200, 200), "widths of the hidden layers")
    batch: int = option(100, "examples per step")


class StepsConfig(PresetConfig):
    """Options of an experiment whose tasks last a number of steps, and not of epochs."""

    epochs: int | None = option(None, "see --steps", unused=True)


class PermutedConfig(NetworkConfig):
    """Options of an experiment on permuted tasks in sequence."""

    tasks: int = by_preset("number of permuted tasks", quick=4, paper=10)
    epochs: int = by_preset("passes over each task", quick=2, paper=10)


class ScenarioConfig(PermutedConfig):
    """Options of an experiment on split or permuted tasks."""

    SHORT: ClassVar[tuple[str, ...]] = ("split",)
    scenario: str = option(
        "split", "split: pairs of classes, parity label; permuted: pixel orders", ("split", "permuted"), neutral=True
    )
    bias: bool = option(False, "layers have biases, as in the published code (the paper has none)", neutral=True)

    def protocol(self) -> dict[str, Any]:
        """The published protocol; the number of permutations says nothing about split tasks."""
        found = super().protocol()
        return found if self.scenario == "permuted" else {k: v for k, v in found.items() if k != "tasks"}


def some_of(
    choices: Iterable[str], text: str, default: Iterable[str] | None = None, *, quick: Iterable[str] | None = None
) -> Any:
    """An option that chooses which of several independent phases are run: all, or a default, or few if it is quick."""
    every = tuple(choices)
    if quick is not None:
        return by_preset(text, every, neutral=True, phases=True, quick=tuple(quick), paper=every)
    return option(every if default is None else tuple(default), text, every, neutral=True, phases=True)


def load(config: RunConfig, *, spikes: bool = False) -> Dataset:
    """The data set of a run; one of spike trains only for experiments that take them."""
    data = synsim.data.load(config.data, config.data_dir)
    if data.dt is not None and not spikes:
        raise ValueError(
            f"{config.data} holds spike trains, and this experiment takes images. spiking_energy.py and "
            "spiking_lifelong.py take spike trains."
        )
    return data


def single(config: RunConfig) -> tasks.Task:
    """The whole data set as one task."""
    (task,) = tasks.single(load(config), device=config.device)
    return task


def study(
    session: Session, name: str, measure: Callable[[str], dict[str, Tensor]], dims: Sequence[str], **axis: Iterable[str]
) -> xarray.Dataset:
    """Measurements without training, [axis, *dims], and the seconds they took: each once in a run, as `name/label`."""

    def measured(**label: str) -> xarray.Dataset:
        (one,) = label.values()
        store = session.open(f"{name}/{one}")
        if store.load() is None:
            start = time.perf_counter()
            store.save(measure(one), {"seconds": time.perf_counter() - start})
        tensors, meta = store.load() or ({}, {})
        variables: dict[str, Any] = {key: (tuple(dims), value.numpy()) for key, value in tensors.items()}
        return xarray.Dataset({**variables, "seconds": meta["seconds"]})

    return nested(measured, **{key: list(labels) for key, labels in axis.items()})


def kept(
    session: Session, phase: str, measure: Callable[[], Mapping[str, "np.ndarray[Any, Any]"]]
) -> dict[str, "np.ndarray[Any, Any]"]:
    """Arrays that are made once in a run, as a phase of it."""
    store = session.open(phase)
    if store.load() is None:
        made = {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in measure().items()}
        store.save(made, {})
    tensors, _ = store.load() or ({}, {})
    return {name: values.numpy() for name, values in tensors.items()}


def labelled(
    arrays: Mapping[str, "np.ndarray[Any, Any]"], axes: Mapping[str, Sequence[str]], **coords: Any
) -> xarray.Dataset:
    """Arrays [R, ...] with names for the axes that follow that of the replicas, for those that have any."""
    variables = {name: (("replica", *axes.get(name, ())), values) for name, values in arrays.items()}
    return xarray.Dataset(variables, {name: list(labels) for name, labels in coords.items()})


class Learner(Protocol):
    """What learns, and whose state can be kept."""

    def state_dict(self) -> dict[str, Tensor]:
        """The state."""

    def load_state_dict(self, state: Mapping[str, Tensor]) -> Any:
        """Go on from a state."""


def steps(
    session: Session, phase: str, unit: str, count: int, learner: Learner, results: Mapping[str, Tensor]
) -> Iterator[int]:
    """The steps of a phase that are still to do, for learning without `fit`.

    Learner and results, which the caller fills in place, are kept in the checkpoint, and come back from it.
    """
    store = session.open(phase)
    state, done = store.load() or ({}, {f"{unit}s": 0})
    if state:
        learner.load_state_dict(state)
        for name, values in results.items():
            values.copy_(state[name])
    todo = range(done[f"{unit}s"], count)
    for step in bar(todo, initial=todo.start, total=count, desc=phase, unit=unit, shown=not session.quiet):
        yield step
        if store.due() or step == count - 1:
            store.save({**learner.state_dict(), **results}, {f"{unit}s": step + 1})


def scenario(config: Any, data: Dataset, seeds: Sequence[int]) -> list[tasks.Task]:
    """The tasks of a config's `scenario`; of permuted ones `tasks`, and every seed has pixel orders of its own."""
    if config.scenario == "split":
        return tasks.split(data, device=config.device)
    return tasks.permuted(data, tasks=config.tasks, seeds=seeds, device=config.device)


def shortened(task: tasks.Task, train: int | None, test: int | None) -> tasks.Task:
    """A task with its first images only; None or too many: all of them."""

    def first(part: tasks.Examples, count: int | None) -> tasks.Examples:
        return replace(part, images=part.images[:count], labels=part.labels[:count])

    return replace(task, train=first(task.train, train), test=first(task.test, test))


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


def with_measured(dataset: xarray.Dataset, sweep: synsim.Sweep, values: dict[str, Tensor]) -> xarray.Dataset:
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


def importance_of(name: str, sequence: Sequence[tasks.Task], **options: Any) -> Importance:
    """An importance whose `images` are as many as asked for, or as many as every task has."""
    if "images" in options:
        options["images"] = min(options["images"], *(len(task.train) for task in sequence))
    return importance.make(name, **options)


def flat_p(net: nn.Module) -> Tensor:
    """Release probabilities of all synapses, [R, n]."""
    layers = synsim.synapses(net).values()
    return torch.cat([layer.p.reshape(layer.replicas or 1, -1) for layer in layers], dim=1)


def mean_p(net: nn.Module, task: tasks.Task) -> Tensor:
    """Mean release probability, [R]."""
    return flat_p(net).mean(1)


def information(net: nn.Module, task: tasks.Task) -> Tensor:
    """Mutual information of the answers to the test set and its labels, in bits, [R]."""
    return mutual_information(net, task.test, task.test.y)


def share_above(limit: float) -> Probe:
    """Probe: share of synapses whose release probability is at least `limit`."""
    return lambda net, task: (flat_p(net) >= limit).double().mean(1)


PROBES: dict[str, Probe] = {
    "energy": lambda net, task: energy(net),
    "information": information,
    "mean_p": mean_p,
    "important_share": share_above(IMPORTANT),
}


def probes(*names: str, **others: Probe) -> dict[str, Probe]:
    """The usual probes of these names, and others."""
    return {**{name: PROBES[name] for name in names}, **others}


def consolidated(limit: float, p: Callable[[nn.Module], Tensor] = flat_p) -> dict[str, Probe]:
    """Probes of the fate of the release probabilities, [R, n]: their mean, how many are frozen, and what they cost."""
    return {
        "mean_p": lambda net, task: p(net).mean(1),
        "frozen_share": lambda net, task: (p(net) >= limit).double().mean(1),
        "energy": lambda net, task: energy(net),
    }


BINS = torch.linspace(0, 1, 51)
# The axes of histograms before and after learning.
HISTOGRAMS = {"when": ("before", "after"), "bin": tuple(((BINS[1:] + BINS[:-1]) / 2).double().tolist())}


def histogram(p: Tensor) -> Tensor:
    """Share of synapses per bin of release probability, [R, 50]."""
    # The top edge is 1 itself; float rounding may leave a value just above the last but one edge.
    index = torch.bucketize(p.contiguous(), BINS[1:-1].to(p), right=True)
    counts = torch.zeros(p.shape[0], len(BINS) - 1, dtype=torch.float64)
    counts.scatter_add_(1, index.cpu(), torch.ones(p.shape, dtype=torch.float64))
    return counts / p.shape[1]


def histograms(before: Tensor, after: Tensor) -> xarray.DataArray:
    """Share of synapses per bin of release probability before and after learning, [when, replica, bin]."""
    return xarray.DataArray(
        torch.stack([histogram(before), histogram(after)]).numpy(),
        {name: list(labels) for name, labels in HISTOGRAMS.items()},
        ("when", "replica", "bin"),
    )
