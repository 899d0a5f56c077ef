"""Control networks: they learn release probabilities as the model does, but do not use them as it does (Fig. 4.5a).

Source: Schug, Benzing & Steger 2021, Fig. 4.5a; the settings of the published code.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from synsim import networks
from synsim._checks import choice, require, within
from synsim._doors import check_fields, typed
from synsim.networks import replicas_of
from synsim.synapses import ControlLinear, synapses
from synsim.synapses.control import DIVISORS


@dataclass(frozen=True)
class Control:
    """Settings of a control network.

    Attributes:
        p: release probability at the start.
        ghost: ghost probability at the start, or None.
        divide: what a released synapse is divided by.
    """

    p: float
    ghost: float | None
    divide: str

    def __post_init__(self) -> None:
        check_fields(self)
        within(self.p, "p", "(0, 1]")
        if self.ghost is not None:
            within(self.ghost, "ghost", "(0, 1]")
        choice(self.divide, "divide", DIVISORS)


CONTROLS = {
    "ghost-expected": Control(0.5, 0.5, "p"),
    "ghost-code": Control(0.5, 0.5, "ghost"),
    "unnormalised": Control(0.25, None, "nothing"),
}


@typed
def mlp(
    sizes: Sequence[int],
    control: str,
    *,
    bias: bool = False,
    replicas: int | None = None,
    seed: int | Sequence[int] = 0,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> nn.Sequential:
    """A control network, built as `synsim.mlp` with the same seed is.

    - "ghost-expected": releases with 0.5, fixed, and divides by it, so that E[W] = w̄; learns a ghost p̃.
    - "ghost-code": releases with 0.5, fixed, and divides by p̃, so that E[W] = 0.5 w̄ / p̃, as in the published code;
      learns a ghost p̃.
    - "unnormalised": releases with p and divides by 1, so that E[W] = p m; learns p, and the strengths m in place of w̄.

    Ghosts start at 0.5, as in the published code, and p at 0.25.

    Args:
        sizes: width of the input, of each hidden layer and of the output.
        control: one of the three.
        bias: whether the layers have biases.
        replicas: R independent networks in one.
        seed: of weights and releases.
        device: where the tensors live.
        dtype: their floating-point type.

    Returns:
        A Sequential; its synapses are called "0", "2", "4", ….

    Raises:
        ValueError: if the control is unknown, or an argument does not fit.
    """
    require(control in CONTROLS, f"control must be one of {', '.join(CONTROLS)}, got {control!r}.")
    kind = CONTROLS[control]

    def layer(inputs: int, outputs: int, *, sites: int, scope: str, **options: Any) -> ControlLinear:
        return ControlLinear(inputs, outputs, ghost=kind.ghost, divide=kind.divide, **options)

    options: dict[str, Any] = {"bias": bias, "replicas": replicas, "seed": seed, "device": device, "dtype": dtype}
    return networks.mlp(sizes, p=kind.p, layer=layer, **options)


@typed
def learned(net: nn.Module) -> Tensor:
    """The probabilities that the rule moves: ghosts where a layer has them, else release probabilities.

    Args:
        net: a network of stochastic layers.

    Returns:
        [R, n] over all synapses; R = 1 without replicas.

    Raises:
        ValueError: if the network has no stochastic layer.
    """
    layers = synapses(net)
    require(bool(layers), "expected a network with stochastic layers, got none: only they have probabilities.")
    return torch.cat([layer.learned.reshape(replicas_of(net) or 1, -1) for layer in layers.values()], dim=1)
