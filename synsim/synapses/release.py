"""Release as a differentiable function of the expected strength (protocol: eq. 4.1, 4.3)."""

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from synsim import kernels


class Release(torch.autograd.Function):
    """w̄ -> strengths transmitted under a mask already drawn; the gradient carries the same factor, k / (N p)."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, strength: Tensor, p: Tensor, count: Tensor, sites: int) -> Tensor:
        """Tie the strengths transmitted to the expected strengths.

        Args:
            ctx: autograd's context.
            weight: expected strengths; they receive the gradient.
            strength: strengths transmitted, like `weight`.
            p: release probabilities, like `weight`.
            count: counts of releases, like `weight`.
            sites: release sites per synapse.

        Returns:
            The strengths transmitted.
        """
        ctx.save_for_backward(p, count)
        ctx.sites = sites
        return strength.view_as(strength)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Gradient with respect to the expected strength: 0 where nothing was released.

        Args:
            ctx: autograd's context.
            gradient: gradient of the strengths transmitted, like `weight`.

        Returns:
            Gradient of the weight, and None for everything else.
        """
        _once()
        p, count = ctx.saved_tensors
        # The gradient of the strengths transmitted is this node's alone, so it may be overwritten.
        return kernels.mask_gradient(gradient, p, count, ctx.sites), None, None, None, None


class Transmit(torch.autograd.Function):
    """x, w̄ -> y of a linear layer whose mask is already drawn, in one node.

    Torch's own derivative of a batched product lays the gradient of the weight out transposed; this one keeps the
    layout of the weight, in which the kernels work.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        strength: Tensor,
        p: Tensor,
        count: Tensor | None,
        sites: int,
    ) -> Tensor:
        """Transmit a batch.

        Args:
            ctx: autograd's context.
            x: inputs [B, I], or [R, B, I].
            weight: expected strengths [O, I] or [R, O, I]; they receive the gradient.
            bias: [O] or [R, O], or None.
            strength: strengths transmitted, like `weight`.
            p: release probabilities, like `weight`.
            count: counts of releases, like `weight`; None if every synapse releases always.
            sites: release sites per synapse.

        Returns:
            [B, O] or [R, B, O].
        """
        out = product(x, strength, bias)
        ctx.mixed = out.dtype != strength.dtype or x.dtype != out.dtype
        if ctx.mixed:
            # Autocast chose the type of the product; the backward pass runs outside of it, and in the same type.
            ctx.types = x.dtype, None if bias is None else bias.dtype
            x, strength = x.to(out.dtype), strength.to(out.dtype)
        ctx.save_for_backward(x, strength, p, count)
        ctx.sites = sites
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of inputs, expected strengths and biases.

        Args:
            ctx: autograd's context.
            gradient: like the result.

        Returns:
            Gradients of x, weight and bias, and None for everything else.
        """
        _once()
        x, strength, p, count = ctx.saved_tensors
        to_x = to_weight = to_bias = None
        wanted = ctx.needs_input_grad
        if strength.ndim == 2:
            if wanted[0]:
                to_x = torch.mm(gradient, strength)
            if wanted[1]:
                to_weight = torch.mm(gradient.t(), x)
        else:
            shared = x.ndim == 2
            if wanted[0]:
                to_x = torch.bmm(gradient, strength)
                to_x = to_x.sum(0) if shared else to_x
            if wanted[1]:
                inputs = x.expand(strength.shape[0], *x.shape) if shared else x
                to_weight = torch.bmm(gradient.transpose(1, 2), inputs)
        if to_weight is not None and ctx.mixed:
            to_weight = to_weight.to(p.dtype)
        if to_weight is not None and count is not None:
            to_weight = kernels.mask_gradient(to_weight, p, count, ctx.sites)
        if wanted[2]:
            to_bias = gradient.sum(-2)
        if ctx.mixed:
            to_x = None if to_x is None else to_x.to(ctx.types[0])
            to_bias = None if to_bias is None else to_bias.to(ctx.types[1])
        return to_x, to_weight, to_bias, None, None, None, None


def _once() -> None:
    # Autograd records what a backward pass does only if it may be differentiated again.
    if torch.is_grad_enabled():
        raise RuntimeError(
            "a stochastic layer can be differentiated once in this way (create_graph=True is not possible). "
            "For higher derivatives use torch.func, inside which it takes plain torch operations."
        )


def product(x: Tensor, strength: Tensor, bias: Tensor | None) -> Tensor:
    """Output of a linear layer with or without replicas.

    Args:
        x: [B, I], or [R, B, I].
        strength: [O, I] or [R, O, I].
        bias: [O] or [R, O], or None.

    Returns:
        [B, O] or [R, B, O].
    """
    if strength.ndim == 2:
        return F.linear(x, strength, bias)
    inputs = x if x.ndim == 3 else x.expand(strength.shape[0], *x.shape)
    if bias is None:
        return torch.bmm(inputs, strength.transpose(1, 2))
    return torch.baddbmm(bias.unsqueeze(1), inputs, strength.transpose(1, 2))


class SampleLinear(torch.autograd.Function):
    """x, w̄ -> y with one mask per example, through the CPU kernels; no tensor of masks is ever made."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        p: Tensor,
        words: np.ndarray,
        sites: int,
        example: int,
        draw: int,
    ) -> Tensor:
        """Transmit a batch.

        Args:
            ctx: autograd's context.
            x: inputs [R, B, I].
            weight: expected strengths [R, O, I].
            p: release probabilities [R, O, I].
            words: keys as uint32 [R, 2].
            sites: release sites per synapse.
            example: index of the first example.
            draw: number of the draw.

        Returns:
            [R, B, O].
        """
        # A copy: the backward pass draws the same masks even if p has moved by then.
        ctx.save_for_backward(x, weight, p.clone())
        ctx.address = (words, sites, example, draw)
        return torch.stack(
            [
                kernels.transmit(x[r].detach(), weight[r].detach(), p[r], words[r], sites, example, draw)
                for r in range(weight.shape[0])
            ]
        )

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of inputs and expected strengths; the masks are drawn again from their address.

        Args:
            ctx: autograd's context.
            gradient: [R, B, O].

        Returns:
            Gradients of x and weight, and None for everything else.
        """
        _once()
        x, weight, p = ctx.saved_tensors
        words, sites, example, draw = ctx.address
        parts = [
            kernels.backpropagate(
                x[r], weight[r], p[r], words[r], sites, example, draw, gradient[r], ctx.needs_input_grad[0]
            )
            for r in range(weight.shape[0])
        ]
        to_x = [part for part, _ in parts if part is not None]
        to_weight = torch.stack([part for _, part in parts])
        return torch.stack(to_x) if to_x else None, to_weight, None, None, None, None, None, None


# Torch does not say what `apply` takes and returns.
release = cast(Callable[..., Tensor], Release.apply)
transmit = cast(Callable[..., Tensor], Transmit.apply)
transmit_samples = cast(Callable[..., Tensor], SampleLinear.apply)
