"""Control networks: they learn release probabilities as the model does, but do not use them as it does (Fig. 4.5a).

Source: Schug, Benzing & Steger 2021, Fig. 4.5a; the settings of the published code.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from synsim._checks import choice, require, whole, within
from synsim._doors import check_fields, explained, typed
from synsim.networks import initialised, replicas_of
from synsim.synapses import BernoulliLinear, synapses
from synsim.synapses.base import strengths, transformed
from synsim.synapses.release import product, release, transmit

DIVISORS = ("p", "ghost", "nothing")


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


class ControlLinear(BernoulliLinear):
    """A `BernoulliLinear` that divides by something else than its release probability, or learns a ghost of it.

    With r ~ Bernoulli(p) and the stored weight w, a synapse transmits W = r w / d:

    | divide | d | E[W] | gradient of w |
    |---|---|---|---|
    | "p" | p | w | r / p · ∂L/∂W, as in every `BernoulliLinear` |
    | "ghost" | ghost p̃ | p w / p̃ | r / p̃ · ∂L/∂W |
    | "nothing" | 1 | p w, so w is the strength m | r · ∂L/∂W |

    A layer with a ghost keeps its release probabilities: `PresynapticSGD` moves p̃ in their place, and freezes and
    modulates by p̃. Weights start as those of a `BernoulliLinear` of the same seed and name; with "nothing", divided by
    p, so that E[W] does. One mask per forward pass, one release site. Compiled, it is a break of the graph, but in the
    mean field.

    Attributes:
        ghost: buffer like `weight`, or None.
        divide: "p", "ghost" or "nothing".

    Args:
        in_features: inputs I.
        out_features: outputs O.
        p: release probability: a number, [R], or shaped like the weight.
        ghost: ghost probability at the start, in (0, 1]; None: no ghost, the rule moves p.
        divide: "p", "ghost" or "nothing".
        bias: whether there is a bias.
        replicas: R independent layers in one.
        device: where the tensors live.
        dtype: their floating-point type.

    Raises:
        ValueError: if an argument does not fit.
    """

    ghost: Tensor | None
    direct = True  # where it divides by p it is a `BernoulliLinear`, and else it has a forward pass of its own

    @typed
    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        p: float | Tensor | Sequence[float],
        ghost: float | None = None,
        divide: str = "p",
        bias: bool = False,
        replicas: int | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        require(divide in DIVISORS, f"divide must be one of {', '.join(DIVISORS)}, got {divide!r}.")
        require(ghost is None or 0 < ghost <= 1, f"ghost must lie in (0, 1], got {ghost}.")
        require(divide != "ghost" or ghost is not None, "divide='ghost' needs a ghost: give ghost=0.5, say.")
        self.divide = divide
        super().__init__(in_features, out_features, p=p, bias=bias, replicas=replicas, device=device, dtype=dtype)
        start = None if ghost is None else torch.full_like(self.weight, ghost, requires_grad=False)
        self.register_buffer("ghost", start)

    @typed
    def reset_parameters(self, draw: int = 0) -> None:
        """Draw parameters anew, as `BernoulliLinear`; undivided strengths are scaled by 1 / p.

        Args:
            draw: number of the draw.
        """
        super().reset_parameters(draw)
        if self.divide == "nothing":
            with torch.no_grad():
                self.weight.div_(self.p)

    def divisor(self) -> Tensor:
        """What released synapses are divided by.

        Returns:
            d, shaped like `weight`.
        """
        if self.divide == "ghost":
            assert self.ghost is not None
            return self.ghost
        return self.p if self.divide == "p" else torch.ones_like(self.p)

    @property
    def strength(self) -> Tensor:
        """Strength when released, w / d, shaped like `weight`."""
        return self.weight / self.divisor()

    @property
    def expected_strength(self) -> Tensor:
        """E[W] = p w / d, shaped like `weight`."""
        return self.weight if self.divide == "p" else self.weight * (self.p / self.divisor())

    @property
    def learned(self) -> Tensor:
        """The probabilities that the rule moves, shaped like `weight`: the ghost if there is one, else p."""
        return self.p if self.ghost is None else self.ghost

    @torch.no_grad()
    @typed
    def set_expected(self, value: Tensor) -> None:
        """Write what the synapses transmit on average.

        Args:
            value: E[W], shaped like `weight`.

        Raises:
            ValueError: if the value does not fit.
        """
        strengths(value, self.weight)
        weight = value if self.divide == "p" else value * (self.divisor() / self.p)
        self.weight.copy_(torch.where(value == self.expected_strength, self.weight, weight))

    def forward(self, x: Tensor, steps: int = 1, factor: Tensor | None = None) -> Tensor:
        """Transmit; one mask holds for all time steps.

        Args:
            x: [T · B, I], or with replicas also [R, T · B, I].
            steps: T.
            factor: like x, or None: scales the inputs.

        Returns:
            [T · B, O], or with replicas [R, T · B, O].
        """
        if self.divide == "p":
            return super().forward(x, steps, factor)
        self.check_input(x, self.in_features)
        if type(steps) is not int or steps != 1 or factor is not None:
            self._check_steps(x, steps, factor)
        x = x if factor is None else x * factor
        if self.address.mean or transformed():
            return product(x, self.transmitted(), self.bias)
        weight = self._stored()
        strength, count = self.draw(weight)
        if not torch.is_grad_enabled():
            return product(x, strength, self.bias)
        return transmit(x, weight, self.bias, strength, self.divisor(), count, self.sites)

    def transmitted(self) -> Tensor:
        """Strengths of one pass: draw a mask, or take the one that the view prescribes.

        Returns:
            Strengths transmitted, shaped like `weight`; a function of `weight` for autograd.
        """
        if self.address.mean:
            return self.expected_strength
        if self.divide == "p" or transformed():
            return super().transmitted()
        weight = self._stored()
        strength, count = self.draw(weight)
        return release(weight, strength, self.divisor(), count, self.sites)

    @explained
    def draw(self, weight: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Draw the masks of one pass, or take those that the view prescribes.

        Args:
            weight: the layer's weight, where it is at hand; None: as it is.

        Returns:
            Strengths transmitted, apart from autograd, and counts of releases (uint8), both like `weight`.
        """
        strength, count = super().draw(weight)
        if self.divide == "p":
            return strength, count
        if count is None:  # every synapse releases, but the gradient has a factor still
            strength, count = strength.clone(), torch.ones_like(strength, dtype=torch.uint8)
        # What was drawn is this pass's alone: times p, and by d in place of p.
        strength.mul_(self.p)
        return strength if self.divide == "nothing" else strength.div_(self.divisor()), count

    def _plain(self, examples: int, x: Tensor | None = None) -> Tensor:
        weight = self._stored()
        return self.scales(examples).reshape(examples, *weight.shape) * weight

    @typed
    def scales(self, examples: int = 1) -> Tensor:
        """Factors r / d by which the latest draw scaled the stored weights.

        Args:
            examples: how many masks of successive blocks, the address' own first.

        Returns:
            [examples, R, *shape]; R = 1 without replicas.
        """
        factors = super().scales(examples)
        return factors if self.divide == "p" else factors * (self.p / self.divisor()).reshape(factors.shape[1:])


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

    | control | releases with | divides by | learns |
    |---|---|---|---|
    | "ghost-expected" | 0.5, fixed | 0.5, so that E[W] = w̄ | a ghost p̃ |
    | "ghost-code" | 0.5, fixed | p̃, so that E[W] = 0.5 w̄ / p̃, as in the published code | a ghost p̃ |
    | "unnormalised" | p | 1, so that E[W] = p m | p, and the strengths m in place of w̄ |

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
    sizes = [whole(size, "every entry of sizes") for size in sizes]
    require(len(sizes) >= 2, f"sizes must name at least an input and an output width, got {sizes}.")
    kind = CONTROLS[control]
    modules: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layer = ControlLinear(
            inputs,
            outputs,
            p=kind.p,
            ghost=kind.ghost,
            divide=kind.divide,
            bias=bias,
            replicas=replicas,
            device=device,
            dtype=dtype,
        )
        modules += [layer, nn.ReLU()]
    return initialised(nn.Sequential(*modules[:-1]), seed)


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
