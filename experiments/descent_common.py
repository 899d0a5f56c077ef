"""What the experiments on descent on neurons share: networks, rules by their names, curves of the training loss."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor, nn

import synsim
from synsim import streams, tasks
from synsim.data import Dataset
from synsim.data.load import SCALES
from synsim.papers.benzing2022 import DESCENT_SCALE
from synsim.tasks import Task

WINDOW = 10
"""Steps from one point of a curve of the training loss to the next."""


@dataclass(frozen=True)
class Windows:
    """The batches of whole epochs, cut into windows: an epoch of `fit` is one window, whose mean loss it keeps.

    Attributes:
        count: examples per window.
        examples: of the task.
    """

    count: int
    examples: int

    @staticmethod
    def of(task: Task, batch: int) -> "Windows":
        """Windows of ten batches, or fewer where an epoch is shorter."""
        steps = len(task.train) // batch
        return Windows(min(WINDOW, steps) * batch, len(task.train))

    @property
    def per_epoch(self) -> int:
        """Windows in a whole epoch; what is left over is not shown."""
        return self.examples // self.count

    def __call__(self, seeds: Sequence[int], epoch: int, *, independent: bool = False) -> Tensor:
        """Indices of the examples of a window, int64 [R, count]."""
        whole, place = divmod(epoch, self.per_epoch)
        shown = _order(tuple(seeds), whole, self.examples, independent)
        return shown[:, place * self.count : (place + 1) * self.count]


@lru_cache(maxsize=2)
def _order(seeds: tuple[int, ...], epoch: int, examples: int, independent: bool) -> Tensor:
    draw = tasks.independent_order if independent else tasks.epoch_order
    return draw(seeds, 0, epoch, examples)


def standardised(data: Dataset) -> Dataset:
    """Pixels standardised by MNIST's mean and standard deviation, as published; the digits keep their own."""
    if data.name not in ("mnist", "fashion-mnist"):
        return data
    mean, sd = SCALES[DESCENT_SCALE]
    return replace(data, mean=mean, sd=sd)


def kaiming(net: nn.Module, seeds: Sequence[int], gain: float = math.sqrt(2)) -> nn.Module:
    """Normal weights of variance gain² / inputs in every layer, a function of seed and name of the layer."""
    for name, layer in synsim.synapses(net).items():
        drawn = streams.uniform(streams.keys("init", seeds, f"{name}.normal"), layer.weight[0].numel())
        normal = torch.special.ndtri(drawn.double().clamp_min(2.0**-33)).reshape(layer.weight.shape)
        with torch.no_grad():
            layer.weight.copy_(normal * gain / math.sqrt(layer.weight.shape[-1]))
    return net
