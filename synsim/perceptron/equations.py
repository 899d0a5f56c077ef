"""The equations of the perceptron, of arguments that have been checked: see `synsim.perceptron.steps`."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from synsim import kernels


def activation(x: Tensor, strength: Tensor) -> Tensor:
    """Σ_i x_i · strength_i.

    Args:
        x: patterns [R, B, N].
        strength: [R, N].

    Returns:
        [R, B].
    """
    # Not a matrix product, whose order of summation depends on the number of replicas.
    return (x * strength.unsqueeze(1)).sum(-1)


def direction(x: Tensor, y: Tensor, strength: Tensor) -> Tensor:
    """The mean over patterns of (label − prediction) · x.

    Args:
        x: patterns [R, B, N].
        y: labels [R, B].
        strength: [R, N].

    Returns:
        [R, N].
    """
    label = y.to(x.dtype)
    error = label - torch.where(activation(x, strength) >= 0, torch.ones_like(label), -torch.ones_like(label))
    # Sums of whole numbers: exact in any order of a matrix product.
    return torch.bmm(error.unsqueeze(1), x).squeeze(1) / x.shape[1]


def presynaptic_step(
    weight: Tensor,
    p: Tensor,
    frozen: Tensor,
    u: Tensor,
    constants: Mapping[str, float | Tensor],
) -> tuple[Tensor, Tensor, Tensor]:
    """The presynaptic rule.

    Args:
        weight: expected strengths w̄ [R, N].
        p: release probabilities [R, N].
        frozen: bool [R, N].
        u: direction [R, N].
        constants: p_up, p_down, g_lim, p_min and p_freeze, numbers or [R, 1].

    Returns:
        The new w̄, p and frozen.
    """
    names = ("p_up", "p_down", "p_min", "p_freeze", "g_lim")
    up, down, low, high, limit = (torch.as_tensor(constants[name], dtype=p.dtype, device=p.device) for name in names)
    room = 1 - p
    step = torch.where(u.abs() > limit, up, -down) * room
    moved = p + torch.where(frozen, torch.zeros_like(step), step)
    moved = torch.minimum(torch.maximum(moved, low), high)
    return weight + u * room, moved, frozen | (moved >= high)


def released(x: Tensor, p: Tensor, keys: Tensor, words: np.ndarray, *, example: int = 0, draw: int = 0) -> Tensor:
    """Patterns as the synapses transmit them, x ∘ r.

    Args:
        x: patterns [R, B, N].
        p: release probabilities [R, N].
        keys: int64 [R, 2] on the device of x.
        words: the same keys as uint32 NumPy array.
        example: block of patterns.
        draw: number of the draw.

    Returns:
        [R, B, N], of the type of p.
    """
    each = p.unsqueeze(1).expand(x.shape).reshape(x.shape[0], -1)
    # p stands for the expected strength too: what is transmitted is p / p, exactly 1, or 0.
    mask, _ = kernels.release(each, each, keys, words, 1, example, draw)
    return mask.view(x.shape).mul_(x)


def majority(votes: Tensor, y: Tensor) -> Tensor:
    """Whether most passes are right.

    Args:
        votes: [samples, R, B].
        y: labels [R, B].

    Returns:
        bool [R, B].
    """
    return votes.sum(0) * y > 0
