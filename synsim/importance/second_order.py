"""Second-order synapses, SOS: a running second moment of the gradient, with or without its batch-size bias."""

import math
from typing import Any

import torch
from torch import Tensor

from synsim._checks import require, whole
from synsim._doors import explained, typed
from synsim.curvature import wide
from synsim.importance.base import Step
from synsim.importance.path import Accumulated

ROOTS = ("minus", "plus")


@typed
def unbiased_alpha(batch: int, root: str = "minus") -> float:
    """The α for which the second moment of ĝ − α ĝ' is the empirical Fisher, up to the factor (1 − α)².

    Solves (b − 1) α² − 2 b α + (b − 1) = 0, that is (1 − α)² = (1 + α²) / b, for batches of size b drawn with
    replacement (Benzing 2022, section 3.7.3). The two roots are each other's inverse, the same estimator with the two
    batches swapped; "minus" is finite down to b = 1.

    Args:
        batch: examples per batch, b.
        root: "minus" (α < 1) or "plus" (α > 1, printed in the thesis).

    Returns:
        α.

    Raises:
        ValueError: if the root is unknown, or infinite (b = 1, "plus").
    """
    batch = whole(batch, "batch")
    require(root in ROOTS, f"root must be one of {', '.join(ROOTS)}, got {root!r}.")
    if root == "plus":
        require(batch > 1, "for batches of one the plus root is infinite; use root='minus'.")
        return (batch + math.sqrt(2 * batch - 1)) / (batch - 1)
    # The product of the roots is 1; this form has no cancellation and holds for b = 1.
    return (batch - 1) / (batch + math.sqrt(2 * batch - 1))


class SOS(Accumulated):
    """Second-order synapses: √v_T with v ← β₂ v + (1 − β₂)(ĝ − α ĝ')² (Benzing 2022, Table 3.3).

    alpha=0 needs one gradient; its v is ((b − 1)/b) g² + EF/b, biased by the batch size b. alpha=1 estimates the noise
    alone, (2/b)·E[σ²]. alpha="unbiased" takes the root of `unbiased_alpha`, so that v / (1 − α)² estimates the
    empirical Fisher; the importance is then √(v / (1 − α)²), in the units of √EF. Any α ≠ 0 needs an independent batch.

    Args:
        alpha: 0, 1, any number, or "unbiased".
        batch: examples per batch b, needed for alpha="unbiased".
        root: root of the unbiased condition, "minus" or "plus".
        beta: β₂.
        bias_correction: divide v by 1 − β₂^T, as Table 3.3 prints and the published code omits.
        window: as for every accumulated importance, and so are the others; β₂ takes the place of a decay.
        rescale: whether it is divided by the squared way of the parameter plus ξ.
        xi: ξ.
        clip: set negative sums to 0.
        cap: upper bound of the importance, or None.
    """

    name = "sos"

    def __init__(
        self,
        *,
        alpha: float | str = 0.0,
        batch: int | None = None,
        root: str = "minus",
        beta: float = 0.999,
        bias_correction: bool = False,
        window: tuple[int, int | None] = (0, None),
        rescale: bool = False,
        xi: float = 0.1,
        clip: bool = True,
        cap: float | None = None,
    ) -> None:
        require(0 <= beta < 1, f"beta must lie in [0, 1), got {beta!r}.")
        super().__init__(window=window, decay=beta, rescale=rescale, xi=xi, clip=clip, cap=cap)
        self.unbiased = alpha == "unbiased"
        self.batch = batch if self.unbiased else None
        if isinstance(alpha, str):
            require(self.unbiased, f"alpha must be a number or 'unbiased', got {alpha!r}.")
            require(batch is not None, "alpha='unbiased' needs batch, the examples per step.")
            alpha = unbiased_alpha(batch or 1, root)
        self.alpha, self.beta, self.bias_correction = float(alpha), beta, bias_correction
        self.needs = frozenset({"independent"}) if self.alpha else frozenset()
        self._steps = torch.zeros((), dtype=torch.float64, device="cpu")

    @typed
    def start(self, net: torch.nn.Module) -> None:
        """Begin a task.

        Args:
            net: the network at the start of the task.
        """
        super().start(net)
        self._steps = torch.zeros((), dtype=torch.float64, device="cpu")

    @explained
    def add(self, step: Step, weight: float) -> None:
        """Add (1 − β₂)(ĝ − α ĝ')².

        Args:
            step: what happened.
            weight: 1 − β₂.
        """
        self._steps += 1
        for name, gradient in step.gradient.items():
            value = gradient
            if self.alpha:
                value = torch.sub(gradient, step.extra["independent"][name], alpha=self.alpha)
            value = wide(value)
            self._sum[name].addcmul_(value, value, value=weight)

    @property
    def second_moment(self) -> dict[str, Tensor]:
        """v, raw: without root, bias correction or scale."""
        return dict(self._sum)

    @property
    def sums(self) -> dict[str, Tensor]:
        """√v, scaled as the class says."""
        scale = 1 / (1 - self.alpha) ** 2 if self.unbiased and self.alpha != 1 else 1.0
        if self.bias_correction and float(self._steps):
            scale /= 1 - self.beta ** float(self._steps)
        return {name: (value * scale).sqrt_() for name, value in self._sum.items()}

    def state_dict(self) -> dict[str, Any]:
        """Second moments, start of the path, steps.

        Returns:
            Name -> tensor.
        """
        return {**super().state_dict(), "steps": self._steps}
