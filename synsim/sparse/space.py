"""Importances of θ as importances of φ."""

from collections.abc import Mapping

from torch import Tensor, nn

from synsim._checks import Number, choice, require
from synsim._doors import typed
from synsim._names import by_own_name, named_parameters
from synsim.sparse.power import root, slope
from synsim.sparse.weights import weights_of

POWERS = ("square", "absolute")


@typed
def in_phi(importance: Mapping[str, Tensor], net: nn.Module, alpha: Number, power: str = "square") -> dict[str, Tensor]:
    """Importances of φ from those of θ, at the present weights: F_φ = F_θ · slope², or · slope.

    Weights near 0 have importances near 0 there, however steep the loss is in θ: they are free to grow.

    Args:
        importance: keyed like `named_parameters()`, of θ.
        net: the network, whose weights are θ.
        alpha: α ≥ 1, a number or [R].
        power: "square" for importances that are squares of gradients (Fisher, SI, ...), "absolute" for those that are
            their sizes (MAS).

    Returns:
        The same keys; what is no weight of the network's layers (biases, …) stays.

    Raises:
        ValueError: if a name or shape is not the network's, or α or the power does not fit.

    Source:
        Schwarz et al. 2021, section 6.3.1.
    """
    choice(power, "power", POWERS)
    parameters = dict(named_parameters(net))
    weights = weights_of(net)
    found = dict(by_own_name(net, importance))
    for name, value in found.items():
        require(name in parameters, f"the importances name {name!r}, expected names among {sorted(parameters)}.")
        weight = parameters[name]
        require(
            value.shape == weight.shape,
            f"the importance of {name!r} must have shape {list(weight.shape)}, got {list(value.shape)}.",
        )
        if name in weights:
            factor = slope(root(weight.detach(), alpha), alpha)
            found[name] = value * (factor.square() if power == "square" else factor)
    return found
