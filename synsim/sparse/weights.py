"""Which parameters of a network are weights, of stochastic layers and of torch's own."""

from torch import Tensor, nn

from synsim._checks import require
from synsim._names import named_parameters
from synsim.synapses import synapses

PLAIN = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
"""Layers of torch whose weight is powerpropagated too."""


def weights_of(net: nn.Module) -> dict[str, Tensor]:
    """The weights of a network's layers, without biases and normalisation.

    Args:
        net: any module.

    Returns:
        Name, as in `named_parameters()` -> parameter; one that layers share stands there once.

    Raises:
        ValueError: if the weight of a stochastic layer is re-parametrised.
    """
    names = {id(parameter): name for name, parameter in named_parameters(net)}
    layers = list(synapses(net).values())
    found: dict[str, Tensor] = {}
    for layer in layers:
        weight = vars(layer)["_parameters"].get("weight")
        require(
            weight is not None,
            f"the weight of a {type(layer).__name__} is re-parametrised (prune, weight_norm, parametrize); make it "
            "permanent first.",
        )
        found[names[id(weight)]] = weight
    for module in net.modules():
        weight = vars(module)["_parameters"].get("weight") if isinstance(module, PLAIN) else None
        if weight is not None:
            found[names[id(weight)]] = weight
    return found
