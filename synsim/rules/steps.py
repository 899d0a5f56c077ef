"""The step of release probabilities by itself: a function of tensors.

Source: Schug, Benzing & Steger 2021, eq. 4.4 and 4.7.
"""

import torch
from torch import Tensor

from synsim._checks import choice, number, require, tensor
from synsim._doors import typed
from synsim.kernels.constants import RANGES

BOUNDS = ("soft", "hard")


@typed
def probability_step(
    p: Tensor,
    gradient: Tensor,
    *,
    p_up: float | Tensor,
    p_down: float | Tensor,
    g_lim: float | Tensor,
    p_min: float | Tensor = 0.25,
    p_max: float | Tensor = 1.0,
    p_freeze: float | Tensor | None = None,
    bounds: str = "soft",
) -> Tensor:
    """Release probabilities after one step (eq. 4.4, 4.7).

    With soft bounds, as the published constants were tuned,
    p ← clamp(p + (p_max − p) · Δ) with Δ = p_up where abs(g) ≥ g_lim, else −p_down. With hard bounds, as the equation
    is printed, p ← clamp(p + Δ) with Δ = p_up where abs(g) > g_lim, else −p_down. Where p ≥ p_freeze nothing moves.

    Args:
        p: release probabilities, any shape. Constants are numbers, or tensors that broadcast with p, such as [R, 1, 1]
            for one per replica.
        gradient: gradient of the task's loss with respect to the expected strengths, mask and 1 / p included.
        p_up: step up.
        p_down: step down.
        g_lim: size of the gradient that decides.
        p_min: lower bound.
        p_max: upper bound.
        p_freeze: probability from which a synapse is consolidated; None: never.
        bounds: "soft" or "hard".

    Returns:
        The new release probabilities, like `p`.

    Raises:
        ValueError: if `bounds` is unknown, a constant is out of its range, p is no probability, or the gradient is not
            finite or of another shape.
    """
    choice(bounds, "bounds", BOUNDS)
    p, gradient = tensor(p, "p"), tensor(gradient, "gradient")
    require(p.is_floating_point() and bool(((p >= 0) & (p <= 1)).all()), "p must hold probabilities from 0 to 1.")
    require(
        gradient.shape == p.shape and bool(gradient.isfinite().all()),
        f"gradient must be finite and of the shape of p, {list(p.shape)}, got shape {list(gradient.shape)}.",
    )
    given = {"p_up": p_up, "p_down": p_down, "g_lim": g_lim, "p_min": p_min, "p_max": p_max}
    if p_freeze is not None:
        given["p_freeze"] = p_freeze
    at = {name: _within(value, name, gradient if name == "g_lim" else p) for name, value in given.items()}
    require(bool((at["p_min"] <= at["p_max"]).all()), f"p_min must not exceed p_max, got {p_min} and {p_max}.")
    size = gradient.abs()
    grows = size >= at["g_lim"] if bounds == "soft" else size > at["g_lim"]
    step = torch.where(grows, at["p_up"], -at["p_down"])
    if bounds == "soft":
        step = step * (at["p_max"] - p)
    if p_freeze is not None:
        step = torch.where(p >= at["p_freeze"], torch.zeros_like(step), step)
    return torch.minimum(torch.maximum(p + step, at["p_min"]), at["p_max"])


def _within(value: float | Tensor, what: str, like: Tensor) -> Tensor:
    # A constant in its range, as a tensor that broadcasts with p or the gradient.
    low, high = RANGES[what]
    found = tensor(value, what)
    require(found.numel() > 0 and not found.is_complex() and found.dtype != torch.bool, f"{what} must hold numbers.")
    for extreme in (found.amin(), found.amax()):
        number(extreme, what, low=low, high=high)
    sizes = zip(reversed(found.shape), reversed(like.shape), strict=False)
    require(
        found.ndim <= like.ndim and all(size in (1, whole) for size, whole in sizes),
        f"{what} must be a number or broadcast with p of shape {list(like.shape)}, got {list(found.shape)}.",
    )
    return found.to(like)
