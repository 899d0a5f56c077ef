"""Sums over examples of squared or absolute gradients, from a layer's inputs and output gradients alone.

For a linear layer the gradient of example b is δ_b a_bᵀ, so Σ_b (δ_b a_bᵀ)² = (δ²)ᵀ(a²): one product, and no gradient
per example is ever made. A convolution adds over positions before it squares; its gradients per example are made in
parts that fit into memory.
"""

from typing import Any

import torch
from torch import Tensor

from synsim._doors import typed
from synsim.curvature.layers import Handler, leads, replicas_of, shape_of

POWERS = ("square", "absolute")


@typed
def wide(x: Tensor) -> Tensor:
    """A tensor in a type in which squares and sums hold: at least float32.

    Args:
        x: floating-point tensor.

    Returns:
        The same tensor, or a copy in float32 of one of 16 bits.
    """
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def magnitude(x: Tensor, power: str) -> Tensor:
    """x² or |x|, of tensors of 16 bits in float32.

    Args:
        x: any tensor.
        power: "square" or "absolute".

    Returns:
        A tensor like x.
    """
    x = wide(x)
    return x.square() if power == "square" else x.abs()


def outer_sums(
    layer: Any, given: Tensor, summed: Tensor, mask: Tensor | None, power: str, scratch: dict[torch.Size, Tensor]
) -> dict[str, Tensor]:
    """Sum over examples for a layer whose gradient per example is an outer product, with a mask shared by all.

    Args:
        layer: the layer.
        given: its inputs [B, I] or [R, B, I].
        summed: Σ of weight times magnitude of the output gradients, [B, O] or [R, B, O].
        mask: factors [1, R, O, I], or None.
        power: "square" or "absolute".
        scratch: memory for the magnitudes of inputs, kept from chunk to chunk: asking for it anew costs more than the
            arithmetic.

    Returns:
        "weight" and, where there is one, "bias": sums shaped like these parameters.
    """
    given = wide(given)
    if given.shape not in scratch:
        scratch[given.shape] = torch.empty_like(given)
    inputs = scratch[given.shape]
    if power == "square":
        torch.mul(given, given, out=inputs)
    else:
        torch.abs(given, out=inputs)
    if summed.ndim == 2:
        total = summed.t() @ inputs
    else:
        total = torch.bmm(summed.transpose(1, 2), inputs.expand(summed.shape[0], *inputs.shape[-2:]))
    if mask is not None:
        total = total * magnitude(mask[0], power).reshape(total.shape)
    sums = {"weight": total}
    if layer.bias is not None:
        sums["bias"] = summed.sum(-2)
    return sums


def position_sums(
    handler: Handler, layer: Any, given: Tensor, deltas: Tensor, mask: Tensor | None, power: str, memory: int
) -> dict[str, Tensor]:
    """Sum over examples and terms for a layer whose gradient per example is a sum over positions, or has its own mask.

    Args:
        handler: of the layer's type.
        layer: the layer.
        given: its inputs.
        deltas: its output gradients for T terms, [B, T, O, ...] or [R, B, T, O, ...].
        mask: factors [1 or B, R, *shape], or None.
        power: "square" or "absolute".
        memory: bytes that the gradients per example may take.

    Returns:
        "weight" and, where there is one, "bias": sums shaped like these parameters.
    """
    given, deltas, replicas = wide(given), wide(deltas), replicas_of(layer)
    total = torch.zeros((replicas or 1, *shape_of(layer)), dtype=deltas.dtype, device=deltas.device)
    offset = torch.zeros(total.shape[:2], dtype=deltas.dtype, device=deltas.device)
    each = leads(layer, given)
    for r in range(replicas or 1):
        a = given[r] if each else given
        d = deltas if replicas is None else deltas[r]
        own = None if mask is None else mask[:, r].unsqueeze(1)
        for rows, gradient, to_bias in handler.stacked(layer, a, d, memory):
            if own is not None:
                gradient = gradient * (own if own.shape[0] == 1 else own[rows])
            total[r] += magnitude(gradient, power).sum((0, 1))
            offset[r] += magnitude(to_bias, power).sum((0, 1))
    sums = {"weight": total.reshape(layer.weight.shape)}
    if layer.bias is not None:
        sums["bias"] = offset.reshape(layer.bias.shape)
    return sums
