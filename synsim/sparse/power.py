"""θ = φ|φ|^(α−1): the power, its inverse and its derivative, and the step on φ.

Source: Schwarz et al. 2021, "Powerpropagation: A sparsity inducing weight reparameterisation", section 2.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from synsim._checks import Number, constant, dense, require
from synsim._doors import typed

HIGHEST = 3.0
"""Powers above this one were unstable in the paper."""


@typed
def power(phi: Tensor, alpha: Number) -> Tensor:
    """θ = φ|φ|^(α−1).

    Differentiable, with the derivative `slope`: torch's own of this expression is NaN at φ = 0 for 1 < α < 2.

    Args:
        phi: φ, of any shape; with one α per replica [R, ...].
        alpha: α ≥ 1, a number or [R].

    Returns:
        θ, of the same shape.

    Raises:
        ValueError: if α is below 1 or not finite, or φ has no axis for it.

    Example:
        >>> import torch
        >>> power(torch.tensor([-2.0, 3.0]), 2.0)
        tensor([-4.,  9.])
    """
    exponent = _exponent(phi, alpha)
    made: Tensor = _Power.apply(phi, exponent)  # type: ignore[no-untyped-call]
    return made


@typed
def root(theta: Tensor, alpha: Number) -> Tensor:
    """φ = sign(θ)|θ|^(1/α), the inverse of `power`.

    Differentiable, but that the derivative at θ = 0, which is infinite for α > 1, counts as 0: such a weight is dead.

    Args:
        theta: θ, of any shape; with one α per replica [R, ...].
        alpha: α ≥ 1, a number or [R].

    Returns:
        φ, of the same shape.

    Raises:
        ValueError: if α is below 1 or not finite, or θ has no axis for it.

    Example:
        >>> import torch
        >>> root(torch.tensor([-4.0, 9.0]), 2.0)
        tensor([-2.,  3.])
    """
    made: Tensor = _Root.apply(theta, _exponent(theta, alpha))  # type: ignore[no-untyped-call]
    return made


@typed
def slope(phi: Tensor, alpha: Number) -> Tensor:
    """dθ/dφ = α|φ|^(α−1), which is 0 at φ = 0 for α > 1.

    Args:
        phi: φ, of any shape; with one α per replica [R, ...].
        alpha: α ≥ 1, a number or [R].

    Returns:
        The derivative, of the same shape, at least 0.

    Raises:
        ValueError: if α is below 1 or not finite, or φ has no axis for it.

    Example:
        >>> import torch
        >>> slope(torch.tensor([-2.0, 3.0]), 2.0)
        tensor([4., 6.])
    """
    return _slope(phi, _exponent(phi, alpha))


def advanced(now: Tensor, before: Tensor, alpha: float, shrink: float = 1.0) -> Tensor:
    """The step on φ for the move that a rule made on θ: what an optimiser would do to φ with gradients of θ.

    Args:
        now: θ as the rule moved it.
        before: θ before.
        alpha: α.
        shrink: factor of φ ahead of the step.

    Returns:
        θ after the step on φ; where nothing moved or shrank, θ as it was, to the bit.
    """
    phi = _root(before, alpha)
    moved = _power(phi * shrink + (now - before) * _slope(phi, alpha), alpha)
    return moved if shrink != 1 else torch.where(now == before, before, moved)


def _power(phi: Tensor, alpha: float | Tensor) -> Tensor:
    return phi * phi.abs() if _is(alpha, 2) else phi.abs().pow(alpha).copysign(phi)


def _root(theta: Tensor, alpha: float | Tensor) -> Tensor:
    size = theta.abs()
    return (size.sqrt() if _is(alpha, 2) else size.pow(1 / alpha)).copysign(theta)


def _slope(phi: Tensor, alpha: float | Tensor) -> Tensor:
    return 2 * phi.abs() if _is(alpha, 2) else alpha * phi.abs().pow(alpha - 1)


def _is(alpha: float | Tensor, value: float) -> bool:
    return not isinstance(alpha, Tensor) and alpha == value


def _exponent(values: Tensor, alpha: Any) -> float | Tensor:
    require(dense(values, "the numbers").is_floating_point(), f"expected floating-point numbers, got {values.dtype}.")
    replicas = values.shape[0] if values.ndim else None
    found = constant(alpha, "alpha", replicas, low=1)
    if not isinstance(found, Tensor):
        return found
    return found.to(values).reshape(-1, *[1] * (values.ndim - 1))


class _Power(torch.autograd.Function):
    @staticmethod
    def forward(phi: Tensor, alpha: float | Tensor) -> Tensor:
        return _power(phi, alpha)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        phi, ctx.alpha = inputs
        ctx.save_for_backward(phi)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator,unused-ignore]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (phi,) = ctx.saved_tensors
        return gradient * _slope(phi, ctx.alpha), None


class _Root(torch.autograd.Function):
    @staticmethod
    def forward(theta: Tensor, alpha: float | Tensor) -> Tensor:
        return _root(theta, alpha)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, ctx.alpha = inputs
        ctx.save_for_backward(output.detach())

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator,unused-ignore]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (phi,) = ctx.saved_tensors
        return _over(gradient, phi, ctx.alpha), None


def over_slope(gradient: Tensor, phi: Tensor, alpha: Number) -> Tensor:
    """A gradient of φ as one of θ: divided by the slope, and 0 where that is 0.

    Args:
        gradient: of φ.
        phi: φ.
        alpha: α, a number or [R].

    Returns:
        Like the gradient.
    """
    return _over(gradient, phi, _exponent(phi, alpha))


def _over(gradient: Tensor, phi: Tensor, alpha: float | Tensor) -> Tensor:
    rate = _slope(phi, alpha)
    return torch.where(rate > 0, gradient / rate.clamp_min(torch.finfo(rate.dtype).tiny), 0.0)
