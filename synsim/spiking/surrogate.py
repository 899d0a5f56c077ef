"""Surrogate gradients: what stands for the derivative of a spike with respect to the membrane.

A spike is H(x) with x = v − θ, in the units of the membrane. Forward it is a step; backward its derivative is that of a
smooth function, the primitive.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from synsim._checks import require
from synsim._doors import check_fields, typed


@dataclass(frozen=True)
class Surrogate:
    """Base of the surrogates. One of your own needs `derivative` and `primitive`; it then runs in plain torch.

    Attributes:
        kind: number of the surrogate in the fused loops, 0 for none.
    """

    kind: ClassVar[int] = 0

    def derivative(self, x: Tensor) -> Tensor:
        """What stands for dH/dx.

        Args:
            x: membrane minus threshold, any shape.

        Returns:
            A tensor like x.
        """
        raise NotImplementedError

    @typed
    def primitive(self, x: Tensor) -> Tensor:
        """A smooth function with that derivative.

        Args:
            x: membrane minus threshold, any shape.

        Returns:
            A tensor like x.
        """
        raise NotImplementedError

    def constants(self) -> tuple[float, float]:
        """The constants, as the fused loops take them.

        Returns:
            Two numbers.
        """
        return 0.0, 0.0

    @typed
    def spike(self, x: Tensor) -> Tensor:
        """H(x) with the surrogate's gradient, in plain torch operations (also inside torch.func transforms).

        Args:
            x: membrane minus threshold, any shape.

        Returns:
            0 or 1, like x; 1 where x > 0.
        """
        smooth = self.primitive(x)
        # The difference is exactly 0, and its derivative that of the primitive.
        return (x > 0).to(x.dtype) + (smooth - smooth.detach())


@dataclass(frozen=True)
class FastSigmoid(Surrogate):
    """σ'(x) = 1 / (1 + k abs(x))², the derivative of x / (1 + k abs(x)).

    Args:
        slope: k, per unit of the membrane.

    Raises:
        ValueError: if the slope is not positive.

    Source:
        SuperSpike: Zenke & Ganguli 2018, Neural Computation 30: 1514-1541.
    """

    slope: float = 25.0
    kind: ClassVar[int] = 1

    def __post_init__(self) -> None:
        check_fields(self)
        _positive(self.slope, "slope")

    @typed
    def derivative(self, x: Tensor) -> Tensor:
        """1 / (1 + k abs(x))².

        Args:
            x: membrane minus threshold.

        Returns:
            A tensor like x.
        """
        return (1 + self.slope * x.abs()).square().reciprocal()

    @typed
    def primitive(self, x: Tensor) -> Tensor:
        """The fast sigmoid x / (1 + k abs(x)).

        Args:
            x: membrane minus threshold.

        Returns:
            A tensor like x.
        """
        return x / (1 + self.slope * x.abs())

    def constants(self) -> tuple[float, float]:
        """The slope.

        Returns:
            k and 0.
        """
        return self.slope, 0.0


@dataclass(frozen=True)
class Arctan(Surrogate):
    """σ'(x) = α / 2 / (1 + (π α x / 2)²), the derivative of arctan(π α x / 2) / π.

    Args:
        alpha: α, per unit of the membrane.

    Raises:
        ValueError: if α is not positive.

    Source:
        ATan: Fang, Yu, Chen, Masquelier, Huang & Tian 2021, ICCV (SpikingJelly's default, α = 2).
    """

    alpha: float = 2.0
    kind: ClassVar[int] = 2

    def __post_init__(self) -> None:
        check_fields(self)
        _positive(self.alpha, "alpha")

    @typed
    def derivative(self, x: Tensor) -> Tensor:
        """α / 2 / (1 + (π α x / 2)²).

        Args:
            x: membrane minus threshold.

        Returns:
            A tensor like x.
        """
        return self.alpha / 2 / (1 + (math.pi / 2 * self.alpha * x).square())

    @typed
    def primitive(self, x: Tensor) -> Tensor:
        """arctan(π α x / 2) / π.

        Args:
            x: membrane minus threshold.

        Returns:
            A tensor like x.
        """
        return (math.pi / 2 * self.alpha * x).arctan() / math.pi

    def constants(self) -> tuple[float, float]:
        """The constant.

        Returns:
            α and 0.
        """
        return self.alpha, 0.0


@dataclass(frozen=True)
class Triangle(Surrogate):
    """σ'(x) = γ / d · max(0, 1 − abs(x) / d).

    Args:
        gamma: γ, dampens the gradient.
        width: d, in units of the membrane; the threshold in the source.

    Raises:
        ValueError: if a constant is not positive.

    Source:
        Bellec, Salaj, Subramoney, Legenstein & Maass 2018, NeurIPS, with γ = 0.3.
    """

    gamma: float = 0.3
    width: float = 1.0
    kind: ClassVar[int] = 3

    def __post_init__(self) -> None:
        check_fields(self)
        _positive(self.gamma, "gamma")
        _positive(self.width, "width")

    @typed
    def derivative(self, x: Tensor) -> Tensor:
        """γ / d · max(0, 1 − abs(x) / d).

        Args:
            x: membrane minus threshold.

        Returns:
            A tensor like x.
        """
        return self.gamma / self.width * (1 - x.abs() / self.width).clamp(min=0)

    @typed
    def primitive(self, x: Tensor) -> Tensor:
        """Its integral, from −γ / 2 to γ / 2.

        Args:
            x: membrane minus threshold.

        Returns:
            A tensor like x.
        """
        inside = (x / self.width).clamp(-1, 1)
        return self.gamma * (inside - 0.5 * inside * inside.abs())

    def constants(self) -> tuple[float, float]:
        """The constants.

        Returns:
            γ and d.
        """
        return self.gamma, self.width


SURROGATES: dict[str, type[Surrogate]] = {"fast-sigmoid": FastSigmoid, "arctan": Arctan, "triangle": Triangle}


def surrogate(given: str | Surrogate) -> Surrogate:
    """A surrogate by its name, with its default constants, or the one given.

    Args:
        given: "fast-sigmoid", "arctan", "triangle", or a surrogate.

    Returns:
        The surrogate.

    Raises:
        ValueError: if the name is unknown.
    """
    if isinstance(given, Surrogate):
        return given
    require(given in SURROGATES, f"surrogate must be one of {', '.join(SURROGATES)} or a Surrogate, got {given!r}.")
    return SURROGATES[given]()


def _positive(value: float, name: str) -> None:
    require(0 < value < math.inf, f"{name} must be positive and finite, got {value}.")
