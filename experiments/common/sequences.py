"""Data sets, tasks and importances, as the config of an experiment asks for them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import synsim
from synsim import importance, tasks
from synsim.data import Dataset
from synsim.importance import Importance
from synsim.training.options import RunConfig

# Importances that are measured on a chosen number of images after a task.
MEASURED = ("fisher", "sqrt-fisher", "absolute-fisher", "mas", "mas-max")


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


def importance_of(name: str, sequence: Sequence[tasks.Task], **options: Any) -> Importance:
    """An importance whose `images` are as many as asked for, or as many as every task has."""
    if "images" in options:
        options["images"] = min(options["images"], *(len(task.train) for task in sequence))
    return importance.make(name, **options)
