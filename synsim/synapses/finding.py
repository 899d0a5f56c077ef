"""The stochastic layers of a network, and those among them that were never asked for a mask."""

from collections.abc import Mapping

from torch import nn

from synsim._checks import warn
from synsim._doors import typed
from synsim._names import named_modules
from synsim.synapses.base import StochasticLayer


@typed
def synapses(net: nn.Module) -> dict[str, StochasticLayer]:
    """Every stochastic layer of a network by its module name.

    Args:
        net: any module.

    Returns:
        Module name -> layer, in the order of `named_modules`; "" if the network is itself such a layer.

    Example:
        >>> import synsim
        >>> list(synsim.synapses(synsim.mlp([4, 3, 2])))
        ['0', '2']
    """
    return {name: module for name, module in named_modules(net) if isinstance(module, StochasticLayer)}


UNHEARD = (
    "{layers} of the network drew no mask while others did, yet the weights have gradients: something uses them "
    "without calling the layer, as nn.MultiheadAttention uses the weight of out_proj. These synapses never fail."
)


def say_unheard(layers: Mapping[str, StochasticLayer]) -> None:
    """One warning that names the layers whose weights have gradients though nothing was ever drawn for them.

    Args:
        layers: of a network after a backward pass, by name. Where none of them drew, the pass was made in a view, or
            the gradients by hand.
    """
    silent = {name: layer for name, layer in layers.items() if not layer.draws}
    names = [name for name, layer in silent.items() if _used(layer) and bool((layer.p < 1).any())]
    if names and len(silent) < len(layers):
        found = ("layer " if len(names) == 1 else "layers ") + ", ".join(map(repr, names))
        warn(UNHEARD.format(layers=found))


def _used(layer: StochasticLayer) -> bool:
    weight = layer._parameters.get("weight")
    return weight is not None and weight.grad is not None
