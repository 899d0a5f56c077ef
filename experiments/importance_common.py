"""What the experiments on importances share: the protocol of Benzing 2022, sums and places."""

from collections.abc import Mapping
from functools import reduce

import torch
import xarray
from common import NetworkConfig, load
from torch import Tensor, nn

import synsim
from synsim import Sweep, tasks
from synsim.networks import redraw
from synsim.papers.benzing2022 import BIAS


def permuted(config: NetworkConfig, count: int, replicas: Sweep) -> tuple[list[tasks.Task], nn.Module]:
    """Permuted tasks with pixels in [0, 1] and orders of each seed's own; a network with Glorot weights for them."""
    sequence = tasks.permuted(load(config), tasks=count, seeds=replicas.seeds, pixels="unit", device=config.device)
    sizes = [sequence[0].inputs, *config.hidden, sequence[0].classes]
    net = synsim.mlp(sizes, p=1.0, bias=True, replicas=replicas, device=config.device)
    begin(net, 0)
    return sequence, net


def begin(net: nn.Module, task: int) -> None:
    """Give a network fresh parameters for a task."""
    redraw(net, scheme="glorot", bias=BIAS, draw=task)


def total(values: Mapping[str, Tensor]) -> Tensor:
    """Sum over all parameters, [R]."""
    return reduce(torch.add, (value.double().flatten(1).sum(1) for value in values.values()))


def placed(dataset: xarray.Dataset) -> xarray.Dataset:
    """The same with places along the axes of tasks: where each seed has tasks of its own, their names say nothing."""
    axes = [axis for axis in ("task", "after_task", "test_task") if axis in dataset.dims]
    return dataset.assign_coords({axis: range(dataset.sizes[axis]) for axis in axes})
