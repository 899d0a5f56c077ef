"""Release per spike as a differentiable function, and its Gaussian approximation."""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from synsim.kernels import events
from synsim.kernels.events import Place


class EventLinear(torch.autograd.Function):
    """Spikes, w̄ -> y, where each spike is released or not at each synapse; no tensor of masks is ever made.

    The gradient of a presynaptic neuron is that of the expected strengths, since a silent one has one too:
    dL/dx = g w̄. The gradient of w̄ is what was released: Σ over spikes of k / (N p) g.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        p: Tensor,
        factor: Tensor | None,
        places: tuple[Place, ...],
        fast: bool,
    ) -> Tensor:
        """Transmit the spikes of a pass.

        Args:
            ctx: autograd's context.
            x: spikes [R, rows, I], or [1, rows, I] for all replicas.
            weight: expected strengths [R, O, I].
            p: release probabilities [R, O, I].
            factor: like x, or None.
            places: where the bits of each replica come from.
            fast: whether to take the fused kernels.

        Returns:
            [R, rows, O].
        """
        listed = [events.spikes_of(one) for one in x]
        out = [
            events.transmit(listed[r % len(listed)], weight[r].detach(), p[r], _row(factor, r), place, fast)
            for r, place in enumerate(places)
        ]
        # A copy of p: the backward pass draws the same releases even if p has moved by then.
        flat = [part for spikes in listed for part in spikes]
        ctx.save_for_backward(weight, p.clone(), factor, *flat)
        ctx.places, ctx.fast, ctx.shared = places, fast, x.shape[0] < weight.shape[0]
        return torch.stack(out)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator,unused-ignore]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of spikes and expected strengths; the releases are drawn again from their address.

        Args:
            ctx: autograd's context.
            gradient: [R, rows, O].

        Returns:
            Gradients of x and weight, and None for everything else.
        """
        weight, p, factor, *flat = ctx.saved_tensors
        listed = [events.Spikes(*flat[k : k + 2]) for k in range(0, len(flat), 2)]
        to_x = to_weight = None
        if ctx.needs_input_grad[0]:
            to_x = torch.bmm(gradient, weight)
            to_x = to_x if factor is None else to_x * factor
            to_x = to_x.sum(0, keepdim=True) if ctx.shared else to_x
        if ctx.needs_input_grad[1]:
            to_weight = torch.stack(
                [
                    events.weight_gradient(listed[r % len(listed)], gradient[r], p[r], _row(factor, r), place, ctx.fast)
                    for r, place in enumerate(ctx.places)
                ]
            )
        return to_x, to_weight, None, None, None, None


def _row(factor: Tensor | None, r: int) -> Tensor | None:
    return None if factor is None else factor[r % factor.shape[0]]


def gaussian(x: Tensor, weight: Tensor, p: Tensor, sites: int, noise: Tensor, factor: Tensor | None = None) -> Tensor:
    """Moment-matched Gaussian approximation of release per spike.

    y = w̄ x + √(Σ_i x_i² w̄_i² (1 − p_i) / (N p_i)) · ξ. Mean and variance of each output are exact, and outputs and
    steps are independent given x, as they are with release per spike; higher moments are those of a Gaussian. By
    Berry-Esseen (Shevtsova 2010) the distribution function is off by at most 0.56 Σ_i E|X_i|³ / (Σ_i E X_i²)^(3/2)
    with X_i the deviation of synapse i; for n spikes over like synapses with one site that is
    0.56 (p² + (1 − p)²) / √(n p (1 − p)).

    With a factor f of the release probability per input, at most 1, the mean is w̄ x f and the variance
    Σ_i x_i² w̄_i² f_i (1 − p_i f_i) / (N p_i).

    Autograd differentiates mean and spread (reparametrisation), so no gradient is exactly 0, and a learning rule
    cannot see from it what was released.

    Args:
        x: inputs [R, rows, I], or [1, rows, I]; graded ones are allowed.
        weight: expected strengths [R, O, I].
        p: release probabilities [R, O, I].
        sites: N.
        noise: standard normal numbers [R, rows, O].
        factor: like x, in [0, 1], or None for 1.

    Returns:
        [R, rows, O].
    """
    x = x.expand(weight.shape[0], *x.shape[1:])
    if factor is None:
        variance = torch.bmm(x.square(), (weight.square() * ((1 - p) / (p * sites))).transpose(1, 2))
    else:
        once = torch.bmm(x.square() * factor, (weight.square() / (p * sites)).transpose(1, 2))
        x = x * factor
        # Rounding may leave a little less than nothing where p · factor = 1.
        variance = torch.baddbmm(once, x.square(), (weight.square() / sites).transpose(1, 2), alpha=-1).clamp_min(0)
    # The root has no derivative at 0, where there is nothing to vary.
    some = variance > 0
    spread = torch.where(
        some, torch.where(some, variance, torch.ones_like(variance)).sqrt(), torch.zeros_like(variance)
    )
    return torch.baddbmm(spread * noise, x, weight.transpose(1, 2))


# Torch does not say what `apply` takes and returns.
transmit_events = cast(Callable[..., Tensor], EventLinear.apply)
