"""Importances that need no gradient: release probability, size, and none at all."""

from typing import Any

import torch
from torch import Tensor, nn

from synsim._checks import require
from synsim._doors import typed
from synsim._names import named_parameters
from synsim.importance.base import Importance
from synsim.synapses import synapses


class ReleaseProbability(Importance):
    """The release probability that a synapse has learned (Schug, Benzing & Steger 2021).

    Parameters without one (biases) get 0. No data are needed. A synapse carries its p from task to task, so that the
    latest values count unless the consolidation says otherwise: their sum would pass any threshold after some tasks.
    """

    name = "release-probability"
    accumulate = "last"

    @typed
    def estimate(self, net: nn.Module, x: Any = None, y: Any = None, *, head: int | None = None) -> dict[str, Tensor]:
        """Read the release probabilities.

        Args:
            net: a network with stochastic layers.
            x: not used.
            y: not used.
            head: not used.

        Returns:
            Parameter name -> p, shaped like the parameter.

        Raises:
            ValueError: if the network has no stochastic layer, or one whose weight is computed from other parameters.
        """
        layers = {id(layer.weight): layer for layer in synapses(net).values()}
        require(bool(layers), "release-probability needs a network with stochastic layers, got none.")
        for name, layer in synapses(net).items():
            require(
                "weight" in layer._parameters,
                f"the weight of layer {name!r} is computed from other parameters, which have no release probabilities. "
                "Make it permanent first (torch.nn.utils.parametrize.remove_parametrizations, "
                "torch.nn.utils.prune.remove).",
            )
        return {
            name: layers[id(parameter)].p.clone() if id(parameter) in layers else torch.zeros_like(parameter.detach())
            for name, parameter in named_parameters(net)
            if parameter.requires_grad
        }


class Magnitude(Importance):
    """Size of a parameter after the task, |w|. No data are needed."""

    name = "magnitude"

    @typed
    def estimate(self, net: nn.Module, x: Any = None, y: Any = None, *, head: int | None = None) -> dict[str, Tensor]:
        """Read the sizes.

        Args:
            net: the network.
            x: not used.
            y: not used.
            head: not used.

        Returns:
            Parameter name -> |w|, shaped like the parameter.
        """
        return {name: p.detach().abs() for name, p in named_parameters(net) if p.requires_grad}


class Uniform(Importance):
    """The same importance, 1, for every parameter (the "L2" baseline). No data are needed.

    Added over tasks it grows with their number; with accumulate="last" it stays as it is.
    """

    name = "uniform"

    @typed
    def estimate(self, net: nn.Module, x: Any = None, y: Any = None, *, head: int | None = None) -> dict[str, Tensor]:
        """Ones.

        Args:
            net: the network.
            x: not used.
            y: not used.
            head: not used.

        Returns:
            Parameter name -> 1, shaped like the parameter.
        """
        return {name: torch.ones_like(p.detach()) for name, p in named_parameters(net) if p.requires_grad}
