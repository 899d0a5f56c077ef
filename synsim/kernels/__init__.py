"""The two hot loops of a network: release and learning. The fastest path for the tensors at hand is chosen by itself.

Tensors come in the shape of a layer's weight; the keys or constants, one row or column per replica, say how many
replicas it holds.
"""

from functools import cache
from types import ModuleType

import numpy as np
import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from synsim.kernels import pool, reference
from synsim.kernels.compiling import Later
from synsim.kernels.constants import NAMES, Constants

__all__ = ["NAMES", "Arrays", "Constants", "backpropagate", "learn", "mask_gradient", "path", "release", "transmit"]

cpu, cpu_sample = Later("synsim.kernels.cpu"), Later("synsim.kernels.cpu_sample")
_NUMBA_TYPES = (torch.float32, torch.float64)


@cache
def _triton() -> ModuleType | None:
    try:
        from synsim.kernels import gpu
    except ImportError:
        return None
    return gpu


def path(tensor: Tensor) -> str:
    """Which implementation serves a tensor.

    Args:
        tensor: a weight.

    Returns:
        "numba", "triton" or "torch".
    """
    if tensor.dtype not in _NUMBA_TYPES or not tensor.is_contiguous():
        return "torch"
    if tensor.is_cpu:
        return "numba"
    return "triton" if tensor.is_cuda and _triton() else "torch"


class Arrays:
    """NumPy views of a layer's strengths and probabilities, [R, n], made again only when the tensors moved.

    The views keep the memory alive, so its address can't pass to another tensor while they are kept.
    """

    __slots__ = ("_at", "_found")

    def __init__(self) -> None:
        self._at: tuple[int, int] = (0, 0)
        self._found: tuple[np.ndarray, np.ndarray] | None = None

    def of(self, weight: Tensor, p: Tensor, replicas: int) -> tuple[np.ndarray, np.ndarray]:
        """The views.

        Args:
            weight: expected strengths on the CPU, contiguous.
            p: release probabilities like `weight`, contiguous.
            replicas: R.

        Returns:
            Views of both, [R, n].
        """
        at = (weight.data_ptr(), p.data_ptr())
        if self._found is None or self._at != at:
            shape = (replicas, -1)
            self._found = weight.detach().numpy().reshape(shape), p.numpy().reshape(shape)
            self._at = at
        return self._found


def release(
    weight: Tensor,
    p: Tensor,
    keys: Tensor,
    words: np.ndarray,
    sites: int,
    example: int,
    draw: int,
    arrays: Arrays | None = None,
) -> tuple[Tensor, Tensor]:
    """Draw one mask per replica and apply it; see `synsim.kernels.reference.release`.

    Args:
        weight: expected strengths [*shape] or [R, *shape].
        p: release probabilities like `weight`.
        keys: int64 [R, 2] on the weight's device.
        words: the same keys as uint32 NumPy array.
        sites: release sites per synapse.
        example: index of the example, block or time step.
        draw: number of the draw.
        arrays: views kept by the caller.

    Returns:
        Strengths transmitted and counts of releases (uint8), both like `weight`.
    """
    weight = weight.detach()
    chosen = path(weight)
    if chosen == "torch":
        return reference.release(weight, p, keys, sites, example, draw)
    p = p.contiguous()
    out, count = torch.empty_like(weight), torch.empty_like(weight, dtype=torch.uint8)
    if chosen == "triton":
        gpu = _triton()
        assert gpu is not None
        gpu.release(weight, p, keys, sites, example, draw, out, count)
        return out, count
    shape = (words.shape[0], -1)
    w, q = (arrays or Arrays()).of(weight, p, shape[0])
    o, c = out.numpy().reshape(shape), count.numpy().reshape(shape)
    tiles = w.shape[0] * -(-w.shape[1] // 128)
    if w.size * sites < pool.GRAIN:
        cpu.release(w, q, words, sites, example, draw, o, c, 0, tiles)
    else:
        pool.split(
            lambda start, stop: cpu.release(w, q, words, sites, example, draw, o, c, start, stop),
            tiles,
            w.size * sites,
        )
    return out, count


def mask_gradient(gradient: Tensor, p: Tensor, count: Tensor, sites: int) -> Tensor:
    """Gradient with respect to the expected strength, from that of the strength transmitted; may write in place.

    Args:
        gradient: gradient of the strength transmitted; the caller gives it away.
        p: release probabilities, likewise.
        count: counts of releases, likewise.
        sites: release sites per synapse.

    Returns:
        A tensor like `gradient`.
    """
    if path(gradient) != "numba" or not p.is_contiguous():
        return reference.mask_gradient(gradient, p, count, sites)
    g, q, c = gradient.numpy().reshape(-1), p.numpy().reshape(-1), count.numpy().reshape(-1)
    if g.size < pool.GRAIN:
        cpu.mask_gradient(g, q, c, sites, 0, g.size)
    else:
        pool.split(lambda start, stop: cpu.mask_gradient(g, q, c, sites, start, stop), g.size, g.size)
    return gradient


def learn(
    weight: Tensor,
    p: Tensor,
    gradient: Tensor,
    penalty: Tensor | None,
    constants: Constants,
    arrays: Arrays | None = None,
) -> None:
    """Move strengths and release probabilities in place; see `synsim.kernels.reference.learn`.

    Args:
        weight: expected strengths [*shape] or [R, *shape].
        p: release probabilities like `weight`.
        gradient: gradient of the task's loss like `weight`.
        penalty: gradient of a penalty like `weight`, or None.
        constants: the constants of the rule.
        arrays: views kept by the caller.
    """
    chosen = path(weight) if p.is_contiguous() else "torch"
    if chosen == "torch":
        if not (weight.is_contiguous() and p.is_contiguous()):
            # Kernels walk rows: other layouts, such as channels_last, learn in a copy and keep their strides.
            rows = weight.contiguous(), p.contiguous()
            learn(*rows, gradient, penalty, constants)
            weight.copy_(rows[0])
            p.copy_(rows[1])
            return
        shape = (constants.table.shape[1], -1)
        added = None if penalty is None else penalty.reshape(shape)
        reference.learn(weight.view(shape), p.view(shape), gradient.reshape(shape), added, constants)
        return
    gradient = gradient.contiguous()
    penalty = None if penalty is None else penalty.to(weight).contiguous()
    if chosen == "triton":
        gpu = _triton()
        assert gpu is not None
        gpu.learn(weight, p, gradient, penalty, constants)
    else:
        shape = (constants.table.shape[1], -1)
        w, q = (arrays or Arrays()).of(weight, p, shape[0])
        g = gradient.numpy().reshape(shape)
        extra = np.empty((0, 0), w.dtype) if penalty is None else penalty.numpy().reshape(shape)
        table, plastic, hard = constants.table.numpy(), constants.plastic, constants.hard
        if w.size < pool.GRAIN:
            cpu.learn(w, q, g, extra, table, plastic, hard, 0, w.size)
        else:
            pool.split(lambda start, stop: cpu.learn(w, q, g, extra, table, plastic, hard, start, stop), w.size, w.size)
    # Autograd does not see writes made outside of torch; without this a later backward would be silently wrong.
    increment_version((weight, p) if constants.plastic else (weight,))


def transmit(x: Tensor, weight: Tensor, p: Tensor, word: np.ndarray, sites: int, example: int, draw: int) -> Tensor:
    """Products of inputs and strengths with one mask per example, on the CPU.

    Args:
        x: inputs [B, I].
        weight: expected strengths [O, I].
        p: release probabilities [O, I].
        word: key as uint32 NumPy array [2].
        sites: release sites per synapse.
        example: index of the first example.
        draw: number of the draw.

    Returns:
        [B, O].
    """
    out = x.new_zeros(x.shape[0], weight.shape[0])
    a, w, q, o = (t.contiguous().numpy() for t in (x, weight, p, out))
    pool.split(
        lambda start, stop: cpu_sample.transmit(a, w, q, word, sites, example, draw, o, start, stop),
        w.shape[0],
        w.size * a.shape[0],
    )
    return out


def backpropagate(
    x: Tensor,
    weight: Tensor,
    p: Tensor,
    word: np.ndarray,
    sites: int,
    example: int,
    draw: int,
    gradient: Tensor,
    to_input: bool,
) -> tuple[Tensor | None, Tensor]:
    """Gradients of `transmit`.

    Args:
        x: inputs [B, I].
        weight: expected strengths [O, I].
        p: release probabilities of the forward pass [O, I].
        word: key as uint32 NumPy array [2].
        sites: release sites per synapse.
        example: index of the first example.
        draw: number of the draw.
        gradient: gradient of the result [B, O].
        to_input: whether the gradient of the input is wanted.

    Returns:
        Gradients of x ([B, I] or None) and of the weight ([O, I]).
    """
    to_weight = torch.zeros_like(weight)
    a, w, q, g, tw = (t.contiguous().numpy() for t in (x, weight, p, gradient, to_weight))
    parts: dict[int, np.ndarray] = {}

    def run(start: int, stop: int) -> None:
        part = np.zeros(a.shape if to_input else (0, 0), w.dtype)
        cpu_sample.backpropagate(a, w, q, word, sites, example, draw, g, part, tw, start, stop)
        parts[start] = part

    pool.split(run, w.shape[0], w.size * a.shape[0])
    if not to_input:
        return None, to_weight
    # Added in the order of the rows, not of the threads' arrival.
    total = parts.pop(0)
    for start in sorted(parts):
        total += parts[start]
    return torch.from_numpy(total), to_weight
