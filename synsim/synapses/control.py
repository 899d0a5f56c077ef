"""Control layers: they learn release probabilities as the model does, but do not use them as it does (Fig. 4.5a)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from synsim._checks import require
from synsim._doors import typed
from synsim.synapses.linear import BernoulliLinear
from synsim.synapses.stored import strengths

DIVISORS = ("p", "ghost", "nothing")


class ControlLinear(BernoulliLinear):
    """A `BernoulliLinear` that divides by something else than its release probability, or learns a ghost of it.

    With r ~ Bernoulli(p) and the stored weight w, a synapse transmits W = r w / d:

    - "p": d = p and E[W] = w; the gradient of w is r / p · ∂L/∂W, as in every `BernoulliLinear`.
    - "ghost": d is the ghost p̃ and E[W] = p w / p̃; the gradient is r / p̃ · ∂L/∂W.
    - "nothing": d = 1 and E[W] = p w, so that w is the strength m; the gradient is r · ∂L/∂W.

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
    direct = True  # masks are applied to the stored weight, although that is not E[W]

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
