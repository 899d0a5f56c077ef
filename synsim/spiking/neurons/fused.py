"""The loops over time in one kernel each, forward and backward, on the CPU."""

from typing import Any

import torch
from torch import Tensor
from torch._compile import _disable_dynamo
from torch.autograd.function import once_differentiable

from synsim._checks import require
from synsim.kernels import pool
from synsim.spiking import cpu


def run_fused(*inputs: Any) -> Any:
    """`Fused`, under a compiler too.

    Args:
        *inputs: those of `Fused.forward`.

    Returns:
        What it returns.
    """
    # A compiler can't trace these loops, and goes on after them.
    return _apart(*inputs) if torch.compiler.is_compiling() else Fused.apply(*inputs)  # type: ignore[no-untyped-call]


@_disable_dynamo
def _apart(*inputs: Any) -> Any:
    return Fused.apply(*inputs)  # type: ignore[no-untyped-call]


_apart._torchdynamo_disable = True  # type: ignore[attr-defined]
_apart._torchdynamo_disable_msg = "the loops over time of spiking neurons are compiled already"  # type: ignore[attr-defined]


class Fused(torch.autograd.Function):
    """Currents, start -> spikes, membranes, end, with the loops over time in one kernel each."""

    @staticmethod
    def forward(
        ctx: Any, current: Tensor, v0: Tensor, left0: Tensor, settings: tuple[Any, ...]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Run all steps.

        Args:
            ctx: autograd's context.
            current: [T, B, H] or [R, T, B, H].
            v0: membrane at the start.
            left0: refractory steps left at the start.
            settings: decay, θ, subtract, hold, through, kind and constants of the surrogate, whether v is wanted.

        Returns:
            Spikes, membranes (without elements if not wanted), and the state at the end.
        """
        factor, theta, subtract, hold, through, *_, membrane = settings
        small = current.select(-3, 0).shape
        require(
            v0.shape == left0.shape == small and v0.dtype == current.dtype and left0.dtype == torch.int32,
            f"the start must be {current.dtype} and int32 of shape {list(small)}, got {v0.dtype} {list(v0.shape)} and "
            f"{left0.dtype} {list(left0.shape)}.",
        )
        current = current.detach().contiguous()
        shape = (-1, current.shape[-3], current.shape[-2] * current.shape[-1])
        c = current.view(shape)
        u, spikes = torch.empty_like(c), torch.empty_like(c)
        v = torch.empty_like(c) if membrane else c.new_empty(c.shape[0], 0, c.shape[2])
        free = torch.empty(c.shape if hold > 1 else (c.shape[0], 0, c.shape[2]), dtype=torch.uint8, device="cpu")
        start, left = (one.detach().reshape(c.shape[0], -1).contiguous() for one in (v0, left0))
        last, rest = torch.empty_like(start), torch.empty_like(left)
        arrays = [one.numpy() for one in (c, start, left)]
        into = [one.numpy() for one in (u, spikes, v, free, last, rest)]
        pool.split(
            lambda low, high: cpu.integrate(*arrays, factor, theta, subtract, hold, *into, low, high),
            start.numel(),
            c.numel(),
        )
        ctx.save_for_backward(u, spikes, free, c if through and not subtract else c[:, :0])
        ctx.settings, ctx.shape, ctx.small = settings, current.shape, v0.shape
        ctx.set_materialize_grads(False)
        rest = rest.view(v0.shape)
        ctx.mark_non_differentiable(rest)
        v = v.view(current.shape) if membrane else v
        return spikes.view(current.shape), v, last.view(v0.shape), rest

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator,unused-ignore]
    def backward(
        ctx: Any, to_s: Tensor | None, to_v: Tensor | None, to_end: Tensor | None, _: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        """Back-propagation through time.

        Args:
            ctx: autograd's context.
            to_s: gradient of the spikes, or None.
            to_v: gradient of the membranes, or None.
            to_end: gradient of the membrane at the end, or None.
            _: none.

        Returns:
            Gradients of the currents and of the membrane at the start, and None for everything else.
        """
        u, spikes, free, current = ctx.saved_tensors
        factor, theta, subtract, _, through, kind, a, b, _ = ctx.settings
        empty = u[:, :0]
        gs, gv = (empty if g is None else g.contiguous().view(u.shape) for g in (to_s, to_v))
        end = torch.zeros_like(u[:, 0]) if to_end is None else to_end.reshape(u.shape[0], -1).contiguous()
        to_current, to_start = torch.empty_like(u), torch.empty_like(u[:, 0])
        arrays = [one.numpy() for one in (gs, gv, end, u, spikes, free, current)]
        into = to_current.numpy(), to_start.numpy()
        pool.split(
            lambda low, high: cpu.backpropagate(
                *arrays, factor, theta, subtract, through, kind, a, b, *into, low, high
            ),
            end.numel(),
            u.numel(),
        )
        return to_current.view(ctx.shape), to_start.view(ctx.small), None, None
