"""What a layer is given to store: strengths, weights with which it transmits them, release probabilities."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from synsim._checks import require
from synsim._doors import shown
from synsim.kernels import LEAST_PROBABILITY


def strengths(value: Tensor, weight: Tensor) -> None:
    """Refuse strengths that do not fit a weight.

    Args:
        value: what is to be written.
        weight: in its place.

    Raises:
        ValueError: if the value is no dense tensor of finite real numbers shaped like the weight.
    """
    fits = value.shape == weight.shape and value.layout == torch.strided and not (value.is_meta or value.is_complex())
    require(
        fits and value.dtype != torch.bool and bool(value.isfinite().all()),
        f"value must be a dense tensor of finite numbers, of shape {list(weight.shape)}, got {shown(value)}.",
    )


def solved(weight: Tensor, function: Callable[[], Tensor], value: Tensor, steps: int = 60) -> bool:
    """Move a weight until a function of it, entry by entry, has a value, by Newton's method from where it is.

    Args:
        weight: a leaf, written in place; without success it is as it was.
        function: of the weight, shaped like it.
        value: wanted, of the same shape.
        steps: how many are tried.

    Returns:
        Whether the value was reached, to a few units in the last place.
    """
    start, trained = weight.detach().clone(), weight.requires_grad
    close = 8 * torch.finfo(weight.dtype).eps
    try:
        weight.requires_grad_(True)
        for _ in range(steps):
            with torch.enable_grad():
                now = function()
                slope = torch.autograd.grad(now.sum(), weight)[0]
            gap = value - now.detach()
            if bool((gap.abs() <= close * value.abs()).all()):
                return True
            weight.detach().add_(torch.where(gap == 0, torch.zeros_like(gap), gap / slope))
    finally:
        weight.requires_grad_(trained)
    weight.detach().copy_(start)
    return False


def probabilities_like(p: float | Tensor | Sequence[float], weight: Tensor, replicas: int | None) -> Tensor:
    """Release probabilities, as a layer stores them.

    Args:
        p: a number, one per replica, or one for each entry of the weight.
        weight: of the layer.
        replicas: R, or None.

    Returns:
        A view shaped like the weight.

    Raises:
        ValueError: if they are no numbers in (0, 1], are too small, or do not fit the weight.
    """
    # Numbers are looked at where they are given: another default device may hold no values (meta).
    place = p.device if isinstance(p, Tensor) else torch.device("cpu")
    try:
        given = torch.as_tensor(p, dtype=weight.dtype, device=place).detach()
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"p must be a number, or numbers in a tensor, an array or a list, got {shown(p)}.") from error
    if given.ndim == 1 and replicas is not None:
        if given.shape[0] != replicas:
            raise ValueError(f"p must have one entry per replica ({replicas}), got {given.shape[0]}.")
        given = given.reshape(-1, *[1] * (weight.ndim - 1))
    elif given.ndim != 0 and given.shape != weight.shape:
        raise ValueError(
            f"p must be a number, one number per replica, or shaped like the weight {list(weight.shape)}, "
            f"got shape {list(given.shape)}."
        )
    if not given.is_meta and not bool(((given >= LEAST_PROBABILITY) & (given <= 1)).all()):
        raise ValueError(
            f"p must lie in (0, 1], and not below 2⁻¹² = {LEAST_PROBABILITY:.3g}, got values from "
            f"{float(given.min()):g} to {float(given.max()):g}. Sixteen bits decide on a release, so a smaller p would "
            "be off by more than 1 / 16. A synapse that never releases can't learn; leave it out by a weight of 0."
        )
    return given.expand(weight.shape)
