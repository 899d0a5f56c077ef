"""Positive definite systems by conjugate gradients: for matrices that are cheap to multiply with, and large to hold.

Source: Hestenes & Stiefel 1952 (doi:10.6028/jres.049.044).
"""

from collections.abc import Callable

import torch
from torch import Tensor

from synsim._checks import warn

LIMIT = 1000
"""Iterations after which a system is left as it is."""


def conjugate(multiply: Callable[[Tensor], Tensor], right: Tensor, tolerance: float) -> Tensor:
    """Solve one system per replica.

    Args:
        multiply: [R, n] -> the products with the matrices, symmetric and positive definite, [R, n].
        right: b, float64 [R, n].
        tolerance: residual at which a replica has done, relative to b, in the Euclidean norm.

    Returns:
        float64 [R, n]; NaN for replicas whose matrix or b is not finite.
    """
    found, residual, direction = torch.zeros_like(right), right.clone(), right.clone()
    square = _square(residual)
    start, enough = square, tolerance**2 * square
    for _ in range(LIMIT):
        going = square > enough
        if not bool(going.any()):
            break
        product = multiply(direction)
        curvature = (direction * product).sum(-1, keepdim=True)
        # Replicas that have done stand still: their residual may be 0.
        length = torch.where(going, square / curvature, torch.zeros_like(square))
        found += length * direction
        residual -= length * product
        last, square = square, _square(residual)
        direction = residual + torch.where(going, square / last, torch.zeros_like(square)) * direction
    else:
        worst = float((square / start).nan_to_num().sqrt().max())
        warn(
            f"conjugate gradients stopped after {LIMIT} iterations at a residual of {worst:.2g} of the right-hand "
            f"side, above tolerance={tolerance:g}. Use a larger tolerance or damping, or a network in float64.",
        )
    return torch.where(right.isfinite().all(-1, keepdim=True), found, torch.full_like(found, torch.nan))


def _square(residual: Tensor) -> Tensor:
    return residual.square().sum(-1, keepdim=True)
