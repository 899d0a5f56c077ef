"""Sample scope for any operation and device: masks of a few examples at a time, drawn again in the backward pass."""

from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from synsim.kernels import reference

BYTES = 1 << 25
"""Memory that the masks of one chunk may take."""

Operation = Callable[[Tensor, Tensor], Tensor]
Counts = Callable[[Tensor, Tensor, int, Tensor, int], Tensor]


class Chunked(torch.autograd.Function):
    """x, w̄ -> y, where the strengths of each example have a mask of their own."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        p: Tensor,
        keys: Tensor,
        sites: int,
        example: int,
        draw: int,
        counts: Counts,
        operation: Operation,
    ) -> Tensor:
        """Transmit a batch.

        Args:
            ctx: autograd's context.
            x: inputs [R, B, *example].
            weight: expected strengths [R, *shape].
            p: release probabilities [R, *shape].
            keys: int64 [R, 2].
            sites: release sites per synapse.
            example: index of the first example.
            draw: number of the draw.
            counts: of releases, as `Scope.counts` gives them.
            operation: (x [E, *example], strengths [E, *shape]) -> [E, ...], one strength tensor per example.

        Returns:
            [R, B, ...].
        """
        ctx.save_for_backward(x, weight, p.clone())
        ctx.address = (keys, sites, example, draw, counts)
        ctx.operation = operation
        return torch.stack(
            [
                torch.cat(
                    [
                        operation(x[r, part].detach(), weight[r].detach() * scale)
                        for part, scale in _chunks(x.shape[1], p[r : r + 1], keys[r : r + 1], *ctx.address[1:])
                    ]
                )
                for r in range(weight.shape[0])
            ]
        )

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator,unused-ignore]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of inputs and expected strengths, chunk by chunk.

        Args:
            ctx: autograd's context.
            gradient: like the result of the forward pass.

        Returns:
            Gradients of x and weight, and None for everything else.
        """
        x, weight, p = ctx.saved_tensors
        keys, operation = ctx.address[0], ctx.operation
        to_x = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        to_weight = torch.zeros_like(weight)
        for r in range(weight.shape[0]):
            for part, scale in _chunks(x.shape[1], p[r : r + 1], keys[r : r + 1], *ctx.address[1:]):
                inputs = x[r, part].detach().requires_grad_(to_x is not None)
                strengths = (weight[r].detach() * scale).requires_grad_()
                # A backward pass may be called under autocast, which would change the type of what is repeated here.
                with torch.enable_grad(), torch.autocast(x.device.type, enabled=False):
                    out = operation(inputs, strengths)
                wanted = [strengths] if to_x is None else [strengths, inputs]
                found = torch.autograd.grad(out, wanted, gradient[r, part])
                to_weight[r] += (found[0] * scale).sum(0)
                if to_x is not None:
                    to_x[r, part] = found[1]
        return to_x, to_weight, None, None, None, None, None, None, None


def _chunks(
    count: int, p: Tensor, keys: Tensor, sites: int, example: int, draw: int, counts: Counts
) -> Iterator[tuple[slice, Tensor]]:
    for part, scale in masks_of(count, p, keys, sites, example, draw, counts):
        yield part, scale[:, 0]


def masks_of(
    count: int, p: Tensor, keys: Tensor, sites: int, example: int, draw: int, counts: Counts
) -> Iterator[tuple[slice, Tensor]]:
    """Factors k / (N p) of some examples, a few of them at a time.

    Args:
        count: how many examples.
        p: release probabilities [R, *shape].
        keys: int64 [R, 2].
        sites: release sites per synapse.
        example: index of the first example.
        draw: number of the draw.
        counts: of releases, as `Scope.counts` gives them.

    Yields:
        Which examples, and their factors [E, R, *shape].
    """
    # The reference makes several int64 words per synapse, hence the factor.
    size = max(1, BYTES // (p.numel() * p.element_size() * 16))
    for start in range(0, count, size):
        stop = min(count, start + size)
        index = torch.arange(example + start, example + stop, device=p.device)
        yield slice(start, stop), reference.scale_of(counts(p, keys, sites, index, draw), p, sites)


# Torch does not say what `apply` takes and returns.
transmit_chunks = cast(Callable[..., Tensor], Chunked.apply)
