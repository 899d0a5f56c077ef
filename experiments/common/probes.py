"""What experiments measure of a network as it learns: energy, information, and release probabilities."""

from collections.abc import Callable

import torch
import xarray
from torch import Tensor, nn

import synsim
from synsim import tasks
from synsim.meters import energy, mutual_information
from synsim.papers.schug2021 import IMPORTANT

Probe = Callable[[nn.Module, tasks.Task], Tensor]


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
