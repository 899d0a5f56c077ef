"""The lifelong perceptron: random patterns, task after task, with and without presynaptic plasticity (Fig. 4.5b, c).

Five tasks of 100 patterns are the published protocol; the run goes on to the capacity of 2N patterns. Patterns are a
function of seed and task, and learning does not look ahead, so what is measured after k tasks is a run of k tasks, and
one run holds the whole sweep of the load. Both models of a seed learn the same patterns.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import xarray
from common import PresetConfig, Presets, finish, run
from torch import Tensor
from tqdm import tqdm

from synsim import statistics, tables
from synsim.papers.schug2021 import (
    PERCEPTRON,
    PERCEPTRON_AVERAGE,
    PERCEPTRON_TASK_1,
    PERCEPTRON_TASKS,
    PERCEPTRON_TEST,
)
from synsim.perceptron import MODELS, Perceptron, patterns
from synsim.training import Session
from synsim.training.command import option, parse

LOADS = (2, 5, 10, 15, 20)
DTYPES = {"float32": torch.float32, "float64": torch.float64}


@dataclass(frozen=True, kw_only=True)
class Config(PresetConfig):
    """Options of this experiment."""

    PRESETS: ClassVar[Presets] = {
        "quick": {"seeds": tuple(range(1000, 1020)), "epochs": 25},
        "paper": {"seeds": tuple(range(1000, 1100)), "epochs": 25},
    }
    data: str = option("patterns", "not used: the patterns are random")
    out: str = option("runs/perceptron", "folder of the run")
    seeds: tuple[int, ...] = option(
        (),
        "one replica per seed (quick: 1000 to 1019; paper: 1000 to 1099, though the published runs are 1000 to 1009)",
    )
    inputs: int = option(1000, "synapses N")
    patterns: int = option(100, "patterns per task")
    tasks: int = option(20, "tasks; the published comparison is made after the fifth")
    batch: int = option(5, "patterns per update")
    samples: int = option(10, "passes of an evaluation of the presynaptic model")
    dtype: str = option("float64", "precision; the published runs have float64", tuple(DTYPES))

    def __post_init__(self) -> None:
        """Check what belongs together."""
        super().__post_init__()
        if min(self.inputs, self.patterns, self.tasks, self.batch, self.samples) < 1:
            raise ValueError("inputs, patterns, tasks, batch and samples must be at least 1.")
        if self.patterns % self.batch:
            raise ValueError(f"patterns must be a multiple of batch, got {self.patterns} and {self.batch}.")

    def reduced(self) -> str:
        """What differs from the published protocol, seeds apart."""
        return "; ".join(
            f"{name} {getattr(self, name)} (published: {value})"
            for name, value in PERCEPTRON.items()
            if getattr(self, name) != value
        )


def learned(config: Config, model: str, x: Tensor, y: Tensor, session: Session) -> tuple[Tensor, Tensor]:
    """Learn task after task; accuracy [R, after task, test task] and share of frozen synapses [R, after task]."""
    store, count = session.open(model), config.patterns
    net = Perceptron(config.seeds, model, inputs=config.inputs, device=config.device, dtype=DTYPES[config.dtype])
    shape = (len(config.seeds), config.tasks)
    accuracy = torch.full((*shape, config.tasks), torch.nan, dtype=torch.float64)
    frozen, first = torch.zeros(shape, dtype=torch.float64), 0
    saved = store.load()
    if saved is not None:
        net.load_state_dict(saved[0])
        accuracy, frozen, first = saved[0]["accuracy"].clone(), saved[0]["share"].clone(), int(saved[1]["tasks"])
    bar = tqdm(range(first, config.tasks), initial=first, total=config.tasks, disable=config.quiet, desc=model)
    for task in bar:
        for _ in range(config.epochs):
            for start in range(task * count, (task + 1) * count, config.batch):
                rows = slice(start, start + config.batch)
                net.learn(x[:, rows], y[:, rows])
        seen = (task + 1) * count
        right = net.correct(x[:, :seen], y[:, :seen], samples=config.samples)
        accuracy[:, task, : task + 1] = right.cpu().reshape(-1, task + 1, count).double().mean(-1)
        frozen[:, task] = net.frozen.double().mean(-1).cpu()
        if store.due() or task == config.tasks - 1:
            store.save({**net.state_dict(), "accuracy": accuracy, "share": frozen}, {"tasks": task + 1})
    return accuracy, frozen


def labelled(config: Config, accuracy: list[Tensor], frozen: list[Tensor]) -> xarray.Dataset:
    """Everything measured, with named axes; the published values beside it."""
    places = np.arange(1, config.tasks + 1)
    values = torch.stack(accuracy).numpy()
    task_1 = np.full((len(MODELS), config.tasks), np.nan)
    for row, model in zip(task_1, MODELS, strict=True):
        published = [one.mean for one in PERCEPTRON_TASK_1[model]][: config.tasks]
        row[: len(published)] = published
    return xarray.Dataset(
        {
            "accuracy": (("model", "replica", "after_task", "test_task"), values),
            "average": (("model", "replica", "after_task"), np.nanmean(values, axis=-1)),
            "frozen_share": (("model", "replica", "after_task"), torch.stack(frozen).numpy()),
            "published_task_1": (("model", "after_task"), task_1),
            "published_average": ("model", [PERCEPTRON_AVERAGE[model].mean for model in MODELS]),
        },
        coords={
            "model": list(MODELS),
            "replica": np.arange(len(config.seeds)),
            "seed": ("replica", list(config.seeds)),
            "after_task": places,
            "test_task": places,
            "load": ("after_task", places * config.patterns),
        },
        attrs={"final": min(PERCEPTRON_TASKS, config.tasks), "capacity": 2 * config.inputs},
    )


def table(dataset: xarray.Dataset) -> list[tables.Row]:
    """The published comparison with its test, the fate of task 1, and the sweep of the load."""
    last, capacity = dataset.attrs["final"], dataset.attrs["capacity"]
    end = {model: dataset.average.sel(model=model, after_task=last).values for model in MODELS}
    rows = [
        tables.row(model, f"accuracy over {last} tasks", values, PERCEPTRON_AVERAGE[model])
        for model, values in end.items()
    ]
    if dataset.sizes["replica"] > 1:
        test = statistics.compare(end["standard"], end["presynaptic"])
        published = f"presynaptic larger, {PERCEPTRON_TEST} (10 seeds)"
        what = f"difference (t = {test.t:.2f}, p = {test.p:.2g}, g = {test.hedges_g:.2f})"
        rows.append(tables.row("standard − presynaptic", what, end["standard"] - end["presynaptic"], published))
    for model in MODELS:
        for k in range(1, last + 1):
            values = dataset.accuracy.sel(model=model, after_task=k, test_task=1).values
            published = PERCEPTRON_TASK_1[model][k - 1]
            rows.append(tables.row(model, f"accuracy on task 1 after task {k}", values, published))
    for k in [k for k in LOADS if k <= dataset.sizes["after_task"]]:
        part = dataset.average.sel(after_task=k)
        count = int(part["load"])
        load = f"at {count} patterns ({count / capacity:.0%} of 2N)"
        rows += [tables.row(model, f"accuracy {load}", part.sel(model=model).values) for model in MODELS]
        gap = part.sel(model="presynaptic") - part.sel(model="standard")
        rows.append(tables.row("presynaptic − standard", f"gap {load}", gap.values))
    return rows


def experiment(config: Config, session: Session) -> None:
    """Run both models, print and keep the results."""
    drawn = [patterns(config.seeds, k, config.patterns, config.inputs, config.device) for k in range(config.tasks)]
    x, y = (torch.cat(parts, dim=1) for parts in zip(*drawn, strict=True))
    del drawn
    accuracy, frozen = zip(*[learned(config, model, x, y, session) for model in MODELS], strict=True)
    dataset = labelled(config, list(accuracy), list(frozen))
    finish(session, dataset, table(dataset))
    print(f"{len(config.seeds)} seeds (published: 10). The paper: the gap shrinks as the load nears the capacity 2N.")
    if config.reduced():
        print(f"reduced: {config.reduced()}")


if __name__ == "__main__":
    run(parse(Config, __doc__ or ""), experiment)  # type: ignore[arg-type]
