"""The equations: Gram matrices, averages, dampings and what is made of a gradient, as functions of tensors.

A layer's gradient is G = Eᵀ A [O, I], with inputs A [N, I] and output gradients E [N, O], one row per example (and
place). Axes in front, such as that of replicas, are carried through.

Sources: Martens & Grosse 2015 (arXiv:1503.05671), sections 3 and 6.3; Benzing 2022, thesis chapter 5, eq. 5.1 to 5.5.
"""

import torch
from torch import Tensor

from synsim._checks import NotFiniteError
from synsim._doors import typed

Lambda = float | Tensor
BLOCK = 256
"""Columns of a Gram matrix that are computed at a time."""


@typed
def gram(rows: Tensor, scale: float = 1.0) -> Tensor:
    """Sum over rows of their outer products.

    Args:
        rows: [.., N, K].
        scale: of the sum.

    Returns:
        scale · rowsᵀ rows, [.., K, K].
    """
    return (rows * scale).mT @ rows


@torch.no_grad()
def take_in(total: Tensor, rows: Tensor, average: Lambda, scale: float = 1.0) -> None:
    """One step of an exponential average of Gram matrices, in place: m Σ + (1 − m) scale · rowsᵀ rows.

    Of a symmetric matrix the lower triangle does: on a CPU what is left of the diagonal blocks alone is computed.

    Args:
        total: Σ [.., K, K], which starts as 0. What stands above its diagonal means nothing; see `symmetric`.
        rows: [.., N, K].
        average: m, a number or [R].
        scale: of the sum.
    """
    keep, left = along(average, rows), rows
    if isinstance(keep, Tensor):
        total.mul_(keep)
        left, keep, scale = rows * ((1 - keep) * scale), 1.0, 1.0
    else:
        scale *= 1 - keep
    width = total.shape[-1]
    block = BLOCK if rows.device.type == "cpu" else width
    for start in range(0, width, block):
        end = min(width, start + block)
        _add_product(total[..., start:end, :end], left[..., start:end].mT, rows[..., :end], keep, scale)


def _add_product(target: Tensor, left: Tensor, right: Tensor, keep: float, scale: float) -> None:
    if target.ndim == 2:
        target.addmm_(left, right, beta=keep, alpha=scale)
    elif target.ndim == 3:
        target.baddbmm_(left, right, beta=keep, alpha=scale)
    else:
        target.mul_(keep).add_(left @ right, alpha=scale)


def symmetric(lower: Tensor) -> Tensor:
    """The symmetric matrix with a given lower triangle.

    Args:
        lower: [.., K, K].

    Returns:
        A copy.
    """
    return lower.tril() + lower.tril(-1).mT


def weight_of(average: Lambda, steps: int) -> Lambda:
    """What an exponential average that starts at 0 has to be divided by.

    Args:
        average: m, a number or [R].
        steps: k.

    Returns:
        1 − m^k.
    """
    return 1 - average**steps


def along(value: Lambda, like: Tensor) -> Lambda:
    """One number per replica along the axis in front of a tensor.

    Args:
        value: a number, or [R].
        like: the tensor, [R, ...].

    Returns:
        The number, or [R, 1, ...] of the tensor's type.
    """
    if not isinstance(value, Tensor) or value.ndim == 0:
        return value
    return value.to(like).reshape(-1, *[1] * (like.ndim - 1))


def inverse(factor: Tensor, damping: Lambda, layer: str = "", step: int = 0) -> Tensor:
    """(Σ + λ I)⁻¹ by Cholesky; in float64 where float32 does not do.

    Args:
        factor: Σ, symmetric [.., K, K], of which the lower triangle is read.
        damping: λ > 0, a number, or a tensor that broadcasts with [.., 1, 1].
        layer: its name, for the message.
        step: its number, for the message.

    Returns:
        The inverse, of the same type.

    Raises:
        not_positive: if there is none, as of a factor that is not finite; a `NotFiniteError`.
    """
    for dtype in (factor.dtype, torch.float64):
        damped = factor.to(dtype, copy=True)
        damped.diagonal(dim1=-2, dim2=-1).add_(_diagonal(damping, damped))
        root, info = torch.linalg.cholesky_ex(damped)
        if not bool(info.any()):
            found = torch.cholesky_inverse(root).to(factor.dtype)
            if bool(found.sum().isfinite()):
                return found
    bad = (info != 0) | ~damped.tril().sum((-2, -1)).isfinite()
    raise not_positive(layer, step, damping, bad)


def not_positive(layer: str, step: int, damping: Lambda, bad: Tensor) -> NotFiniteError:
    """The error for a factor that has no inverse.

    Args:
        layer: its name.
        step: at which it happened.
        damping: λ.
        bad: which of the matrices, bool [..].

    Returns:
        The error.
    """
    values = torch.as_tensor(damping, device="cpu").detach().flatten().tolist()
    shown = values[0] if len(values) == 1 else values
    where = bad.reshape(bad.shape[0], -1).any(1).nonzero().flatten().tolist() if bad.ndim else [0]
    return NotFiniteError(
        f"a factor of layer {layer!r} is not positive definite at step {step} with the damping {shown}"
        + (f" in replicas {where}" if bad.ndim else "")
        + ", in float64 too. The network may have diverged, or the damping is too small: use a larger one.",
        where,
    )


def _diagonal(damping: Lambda, like: Tensor) -> Lambda:
    if not isinstance(damping, Tensor) or damping.ndim == 0:
        return damping
    return damping.to(like).squeeze(-1)


def split(inputs: Tensor, outputs: Tensor, damping: Lambda) -> tuple[Tensor, Tensor]:
    """The damping of each factor in heuristic damping (eq. 5.1; Martens & Grosse 2015, section 6.3).

    With π² = (tr Σ_A / I) / (tr Σ_E / O), λ_A = π √λ and λ_E = √λ / π; a factor that is 0 leaves π = 1.

    Args:
        inputs: Σ_A [.., I, I].
        outputs: Σ_E [.., O, O].
        damping: λ, a number or what broadcasts with [.., 1, 1].

    Returns:
        λ_A and λ_E, [.., 1, 1].
    """
    means = [each.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None] for each in (inputs, outputs)]
    ratio = (means[0] / means[1]).sqrt()
    ratio = torch.where((means[0] > 0) & (means[1] > 0), ratio, torch.ones_like(ratio))
    root = torch.as_tensor(damping, dtype=inputs.dtype, device=inputs.device).sqrt()
    return ratio * root, root / ratio


def eigen(factor: Tensor, layer: str = "", step: int = 0) -> tuple[Tensor, Tensor]:
    """Eigenvalues and eigenvectors of a symmetric matrix; in float64 where float32 does not do.

    Args:
        factor: [.., K, K], of which the lower triangle is read.
        layer: its name, for the message.
        step: its number, for the message.

    Returns:
        Eigenvalues s ≥ 0 [.., K], and eigenvectors U [.., K, K] in columns.

    Raises:
        not_positive: if the factor is not finite; a `NotFiniteError`.
    """
    for dtype in (factor.dtype, torch.float64):
        try:
            values, vectors = torch.linalg.eigh(factor.to(dtype))
        except RuntimeError:
            # Of factors with a null space, as of fewer examples than inputs, LAPACK may give up in float32.
            continue
        if bool(values.sum().isfinite()):
            return values.clamp_(min=0).to(factor.dtype), vectors.to(factor.dtype)
    raise not_positive(layer, step, 0.0, ~factor.sum((-2, -1)).isfinite())
