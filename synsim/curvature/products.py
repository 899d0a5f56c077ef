"""Sums over examples of squared or absolute gradients, from a layer's inputs and output gradients alone.

For a linear layer the gradient of example b is δ_b a_bᵀ, so Σ_b (δ_b a_bᵀ)² = (δ²)ᵀ(a²): one product, and no gradient
per example is ever made. A convolution adds over positions before it squares; its gradients per example are made in
parts that fit into memory.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synsim._doors import typed
from synsim.curvature.capture import Layer
from synsim.synapses import BernoulliConv2d, StochasticLayer

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


def one_product(layer: Layer, given: Tensor, mask: Tensor | None) -> bool:
    """Whether sums over labels may be taken before the product with the inputs.

    Args:
        layer: a known layer.
        given: its input.
        mask: of `mask_of`.

    Returns:
        True for linear layers whose input has one position, and whose mask is shared by all examples.
    """
    ranks = (2, 3) if isinstance(layer, StochasticLayer) and layer.replicas is not None else (2,)
    linear = not isinstance(layer, nn.Conv2d | BernoulliConv2d)
    return linear and given.ndim in ranks and (mask is None or mask.shape[0] == 1)


def linear_sums(
    layer: Layer, given: Tensor, summed: Tensor, mask: Tensor | None, power: str, scratch: dict[torch.Size, Tensor]
) -> dict[str, Tensor]:
    """Sum over examples for a linear layer.

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
        found = summed.t() @ inputs
    else:
        found = torch.bmm(summed.transpose(1, 2), inputs.expand(summed.shape[0], *inputs.shape[-2:]))
    if mask is not None:
        found = found * magnitude(mask[0], power).reshape(found.shape)
    sums = {"weight": found}
    if layer.bias is not None:
        sums["bias"] = summed.sum(-2)
    return sums


def position_sums(
    layer: Layer, given: Tensor, delta: Tensor, mask: Tensor | None, power: str, memory: int
) -> dict[str, Tensor]:
    """Sum over examples for a layer whose gradient per example is a sum over positions, or has a mask of its own.

    Args:
        layer: a known layer.
        given: its inputs.
        delta: its output gradients.
        mask: factors [1 or B, R, *shape], or None.
        power: "square" or "absolute".
        memory: bytes that the gradients per example may take.

    Returns:
        "weight" and, where there is one, "bias": sums shaped like these parameters.
    """
    shape, given, delta = layer.weight.shape, wide(given), wide(delta)
    replicas = layer.replicas if isinstance(layer, StochasticLayer) else None
    total = torch.zeros((replicas or 1, *shape[0 if replicas is None else 1 :]), dtype=delta.dtype, device=delta.device)
    offset = torch.zeros(total.shape[:2], dtype=delta.dtype, device=delta.device)
    for r in range(replicas or 1):
        a = given[r] if replicas is not None and given.ndim == _rank(layer) + 2 else given
        d = delta if replicas is None else delta[r]
        own = None if mask is None else mask[:, r]
        for rows, gradient, to_bias in _per_example(layer, a, d, total[r].numel(), memory):
            if own is not None:
                gradient = gradient * (own if own.shape[0] == 1 else own[rows])
            total[r] += magnitude(gradient, power).sum(0)
            offset[r] += magnitude(to_bias, power).sum(0)
    sums = {"weight": total.reshape(shape)}
    if layer.bias is not None:
        sums["bias"] = offset.reshape(layer.bias.shape)
    return sums


def _rank(layer: Layer) -> int:
    return 3 if isinstance(layer, nn.Conv2d | BernoulliConv2d) else 1


def _per_example(
    layer: Layer, given: Tensor, delta: Tensor, size: int, memory: int
) -> Iterator[tuple[slice, Tensor, Tensor]]:
    # Gradients per example of weight [n, *shape] and bias [n, O], for as many examples as fit into memory.
    bytes_each = 3 * size * delta.element_size()
    if isinstance(layer, nn.Conv2d | BernoulliConv2d):
        per_group = _shape(layer)[1:].numel() * delta.shape[-1] * delta.shape[-2]
        bytes_each += 2 * layer.groups * per_group * delta.element_size()
    step = max(1, memory // bytes_each)
    for start in range(0, delta.shape[0], step):
        rows = slice(start, start + step)
        d = delta[rows]
        if isinstance(layer, nn.Conv2d | BernoulliConv2d):
            patches = _patches(layer, given[rows])  # [n, G, K, L]
            d = d.flatten(2)
            by_group = d.reshape(d.shape[0], layer.groups, -1, d.shape[-1])
            gradient = by_group @ patches.transpose(-1, -2)
            yield rows, gradient.reshape(d.shape[0], *_shape(layer)), d.sum(-1)
        else:
            a = given[rows].reshape(d.shape[0], -1, given.shape[-1])
            d = d.reshape(d.shape[0], -1, d.shape[-1])
            yield rows, d.transpose(1, 2) @ a, d.sum(1)


def _shape(layer: Layer) -> torch.Size:
    replicas = layer.replicas if isinstance(layer, StochasticLayer) else None
    return layer.weight.shape[0 if replicas is None else 1 :]


def _patches(layer: nn.Conv2d | BernoulliConv2d, x: Tensor) -> Tensor:
    kernel = tuple(layer.weight.shape[-2:])
    dilation, stride = _pair(layer.dilation), _pair(layer.stride)
    if isinstance(layer.padding, str):
        # "same" puts what cannot be halved at the end.
        wide = [d * (k - 1) if layer.padding == "same" else 0 for d, k in zip(dilation, kernel, strict=True)]
        x = F.pad(x, [wide[1] // 2, wide[1] - wide[1] // 2, wide[0] // 2, wide[0] - wide[0] // 2])
        padding = (0, 0)
    else:
        padding = _pair(layer.padding)
    found = F.unfold(x, kernel, dilation, padding, stride)
    return found.reshape(x.shape[0], layer.groups, -1, found.shape[-1])


def _pair(value: int | tuple[int, ...]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])
