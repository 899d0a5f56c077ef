"""What the spiking experiments share: the settings of their networks, and slices of a data set."""

from dataclasses import replace
from typing import Any

from synsim.data.dataset import Dataset
from synsim.spiking import FastSigmoid
from synsim.tasks import Task

# Found by hand for 784-200-10 on MNIST: thresholds, gains and slopes of norse and snnTorch suit weights that are larger
# at the start than 1 / √fan_in.
NETWORK: dict[str, Any] = {"threshold": 0.3, "gain": 3.0, "surrogate": FastSigmoid(10.0)}


def sliced(data: Dataset, train: int | None, test: int | None) -> Dataset:
    """The first images of a data set; None or too many: all of them."""
    return replace(
        data,
        x_train=data.x_train[:train],
        y_train=data.y_train[:train],
        x_test=data.x_test[:test],
        y_test=data.y_test[:test],
    )


def shortened(task: Task, train: int | None, test: int | None) -> Task:
    """A task with its first images only; None or too many: all of them."""
    parts = {}
    for name, part, count in (("train", task.train, train), ("test", task.test, test)):
        parts[name] = replace(part, images=part.images[:count], labels=part.labels[:count])
    return replace(task, **parts)
