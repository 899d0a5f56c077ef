"""The lifelong perceptron: random patterns, task after task, with and without presynaptic plasticity (Fig. 4.5b, c).

Five tasks of 100 patterns are the published protocol; the run goes on to the capacity of 2N patterns. Patterns are a
function of seed and task, and learning does not look ahead, so what is measured after k tasks is a run of k tasks, and
one run holds the whole sweep of the load. Both models of a seed learn the same patterns.
"""

import torch
import xarray
from common import labelled, nested, steps
from torch import Tensor

from synsim import outcomes, tables
from synsim.experiment import Experiment, PresetConfig, Session, by_preset, option
from synsim.papers import schug2021 as paper
from synsim.perceptron import MODELS, Perceptron, patterns


class Config(PresetConfig):
    data: str = option("patterns", "the patterns are random", unused=True)
    seeds: tuple[int, ...] = by_preset(
        "one run per seed; published: 1000 to 1009",
        neutral=True,
        quick=tuple(range(1000, 1020)),
        paper=tuple(range(1000, 1100)),
    )
    inputs: int = option(paper.PERCEPTRON["inputs"], "synapses N", least=1)
    patterns: int = option(paper.PERCEPTRON["patterns"], "patterns per task", least=1)
    tasks: int = option(20, "tasks; the published comparison is made after the fifth", neutral=True, least=1)
    epochs: int = option(paper.PERCEPTRON["epochs"], "passes over each task")
    batch: int = option(paper.PERCEPTRON["batch"], "patterns per update", least=1)
    samples: int = option(10, "passes of an evaluation of the presynaptic model", least=1)
    dtype: str = option("float64", "precision", ("float32", "float64"))

    def __post_init__(self) -> None:
        """Check what belongs together."""
        super().__post_init__()
        if self.patterns % self.batch:
            raise ValueError(f"patterns must be a multiple of batch, got {self.patterns} and {self.batch}.")


def learned(config: Config, model: str, x: Tensor, y: Tensor, session: Session) -> xarray.Dataset:
    """Learn task after task: which of all patterns seen are remembered after each, and the share of frozen synapses."""
    replicas, tasks, count = len(config.seeds), config.tasks, config.patterns
    dtype = getattr(torch, config.dtype)
    net = Perceptron(config.seeds, model, inputs=config.inputs, device=config.device, dtype=dtype)
    accuracy = torch.full((replicas, tasks, tasks), torch.nan, dtype=torch.float64)
    frozen = torch.zeros(replicas, tasks, dtype=torch.float64)
    for task in steps(session, model, "task", tasks, net, {"accuracy": accuracy, "share": frozen}):
        for _ in range(config.epochs):
            for start in range(task * count, (task + 1) * count, config.batch):
                batch = slice(start, start + config.batch)
                net.learn(x[:, batch], y[:, batch])
        seen = slice((task + 1) * count)
        right = net.correct(x[:, seen], y[:, seen], samples=config.samples)
        accuracy[:, task, : task + 1] = right.cpu().reshape(replicas, task + 1, count).double().mean(-1)
        frozen[:, task] = net.frozen.double().mean(-1).cpu()
    arrays, places = {"accuracy": accuracy.numpy(), "frozen_share": frozen.numpy()}, range(1, tasks + 1)
    axes = {"accuracy": ("after_task", "test_task"), "frozen_share": ("after_task",)}
    return labelled(arrays, axes, replica=range(replicas), after_task=places, test_task=places)


def measure(config: Config, session: Session) -> xarray.Dataset:
    """Both models on the same patterns [R, P, N], with labelled axes; the published values beside them."""
    drawn = [patterns(config.seeds, k, config.patterns, config.inputs, config.device) for k in range(config.tasks)]
    x, y = (torch.cat(each, dim=1) for each in zip(*drawn, strict=True))
    dataset = nested(lambda model: learned(config, model, x, y, session), model=MODELS)
    load = config.patterns * dataset.after_task
    dataset = dataset.assign_coords(seed=("replica", list(config.seeds)), load=("after_task", load.values))
    dataset["average"] = dataset.accuracy.mean("test_task")
    task_1 = [[value.mean for value in paper.PERCEPTRON_TASK_1[model]] for model in MODELS]
    at = {"model": list(MODELS), "after_task": range(1, paper.PERCEPTRON_TASKS + 1)}
    dataset["published_task_1"] = xarray.DataArray(task_1, at, ["model", "after_task"])
    dataset["published_average"] = "model", [paper.PERCEPTRON_AVERAGE[model].mean for model in MODELS]
    return dataset.assign_attrs(final=min(paper.PERCEPTRON_TASKS, config.tasks), capacity=2 * config.inputs)


def rows(config: Config, dataset: xarray.Dataset) -> list[tables.Row]:
    """The published comparison with its test, the fate of task 1, and the sweep of the load."""
    last, capacity = dataset.attrs["final"], dataset.attrs["capacity"]
    name, made = f"accuracy over {last} tasks", []
    for model in MODELS:
        average = dataset.average.sel(model=model, after_task=last)
        made.append(tables.row(model, name, average, paper.PERCEPTRON_AVERAGE[model]))
    for *_, gap, test in outcomes.differences("perceptron", dataset, "average"):
        if test is not None:
            text = f"presynaptic larger, {paper.PERCEPTRON_TEST} (10 seeds)"
            made.append(tables.row("standard − presynaptic", f"{name}, difference", gap, text, test=test))
    for model in MODELS:
        first = dataset.accuracy.sel(model=model, test_task=1)
        for k, value in enumerate(paper.PERCEPTRON_TASK_1[model][:last], start=1):
            made.append(tables.row(model, f"accuracy on task 1 after task {k}", first.sel(after_task=k), value))
    for k in [k for k in (2, 5, 10, 15, 20) if k <= config.tasks]:
        part, count = dataset.average.sel(after_task=k), k * config.patterns
        load, setting = f"at {count} patterns ({count / capacity:.0%} of 2N)", {"patterns": count}
        for model in MODELS:
            made.append(tables.row(model, f"accuracy {load}", part.sel(model=model), setting=setting))
        gap = part.sel(model="presynaptic") - part.sel(model="standard")
        made.append(tables.row("presynaptic − standard", f"gap {load}", gap, setting=setting))
    for (_, few), (_, many), gap, test in outcomes.differences("perceptron", dataset, "gap"):
        made.append(tables.row("presynaptic − standard", f"gap at {few} − gap at {many} of 2N", gap, test=test))
    return made


def remarks(config: Config, dataset: xarray.Dataset) -> list[str]:
    """What to look for."""
    return [f"{len(config.seeds)} seeds (published: 10). The paper: the gap shrinks as the load nears the capacity 2N."]


EXPERIMENT = Experiment(Config, measure, rows, __doc__, remarks)

if __name__ == "__main__":
    EXPERIMENT.main()
