"""The two hot loops of a network: release and learning. The fastest path for the tensors at hand is chosen by itself.

Tensors come in the shape of a layer's weight; the keys or constants, one row or column per replica, say how many
replicas it holds.
"""

import numpy as np
import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from synsim.kernels import fit, pool, reference
from synsim.kernels.compiling import Later
from synsim.kernels.constants import LEAST_PROBABILITY, NAMES, Constants
from synsim.kernels.dispatch import path
from synsim.kernels.fit import Arrays

__all__ = [
    "LEAST_PROBABILITY",
    "NAMES",
    "Arrays",
    "Constants",
    "backpropagate",
    "certain",
    "learn",
    "mask_gradient",
    "path",
    "release",
    "transmit",
]

cpu, cpu_sample = Later("synsim.kernels.cpu"), Later("synsim.kernels.cpu_sample")
gpu = Later("synsim.kernels.gpu")


def certain(weight: Tensor, p: Tensor, replicas: int, arrays: Arrays) -> bool:
    """Whether every synapse is seen to release always, p = 1, so that nothing need be drawn.

    Args:
        weight: expected strengths.
        p: release probabilities like `weight`.
        replicas: R.
        arrays: views kept by the caller.

    Returns:
        False also where that can't be told at little cost.
    """
    if path(weight, p) != "numba":
        return False
    bits = arrays.of(weight, p, replicas)[2]
    return bool(cpu.certain(bits.reshape(-1)))


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
    weight, replicas = weight.detach(), words.shape[0]
    chosen = path(weight)
    fit.address(example, draw)
    if chosen != "numba":
        fit.layer(weight, p, replicas)
        (arrays or Arrays()).look(weight, p, replicas)
    if chosen == "torch":
        return reference.release(weight, p, keys, sites, example, draw)
    p = p.contiguous()
    out, count = torch.empty_like(weight), torch.empty_like(weight, dtype=torch.uint8)
    if chosen == "triton":
        gpu.release(weight, p, keys, sites, example, draw, out, count)
        return out, count
    shape = (replicas, -1)
    w, q, bits = (arrays or Arrays()).of(weight, p, replicas)
    o, c = out.numpy().reshape(shape), count.numpy().reshape(shape)
    tiles = replicas * -(-w.shape[1] // 128)
    work = 2 * w.size * sites  # a draw takes twice as long as a move of strength and probability
    if work < pool.GRAIN:
        right = cpu.release(w, q, bits, words, sites, example, draw, o, c, 0, tiles)
    else:
        parts: list[bool] = []
        pool.split(
            lambda start, stop: parts.append(cpu.release(w, q, bits, words, sites, example, draw, o, c, start, stop)),
            tiles,
            work,
        )
        right = all(parts)
    if not right:
        fit.probabilities(p)
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
    if not gradient.shape == p.shape == count.shape:
        fit.refuse("p and the counts of releases", gradient.shape, p.shape, count.shape)
    if path(gradient, p) != "numba":
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
    replicas = constants.table.shape[1]
    fit.learning(weight, p, gradient, penalty, constants)
    chosen = path(weight, p)
    if chosen == "torch":
        reference.learn_in_place(weight, p, gradient, penalty, constants)
        return
    gradient = gradient.contiguous()
    penalty = None if penalty is None else penalty.to(weight).contiguous()
    if chosen == "triton":
        gpu.learn(weight, p, gradient, penalty, constants)
    else:
        shape = (replicas, -1)
        w, q, _ = (arrays or Arrays()).of(weight, p, replicas)
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
    fit.address(example + x.shape[0], draw)
    fit.samples(x, weight, p)
    fit.probabilities(p)
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
    fit.samples(x, weight, p, gradient)
    to_weight = torch.zeros_like(weight, memory_format=torch.contiguous_format)
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
