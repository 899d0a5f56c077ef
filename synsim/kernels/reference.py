"""The release and the learning step in plain torch: the meaning of the fused kernels, on any device and precision."""

import torch
from torch import Tensor

from synsim._philox import release_bits
from synsim.kernels.constants import Constants
from synsim.kernels.dispatch import TYPES


def count_releases(p: Tensor, keys: Tensor, sites: int, example: Tensor, draw: int) -> Tensor:
    """How many of a synapse's sites release: its 16 bits at a site are below p · 65536.

    Args:
        p: release probabilities [R, n].
        keys: int64 [R, 2].
        sites: release sites per synapse.
        example: int64 [E].
        draw: number of the draw.

    Returns:
        uint8 [E, R, n], from 0 to `sites`.
    """
    p = wide(p)
    threshold = p * 65536.0
    total = torch.zeros((), dtype=torch.uint8, device=p.device)
    for site in range(sites):
        bits = release_bits(keys, p.shape[1], site=site, example=example, draw=draw)
        total = total + (bits.to(p.dtype) < threshold).to(torch.uint8)
    return total


def wide(tensor: Tensor) -> Tensor:
    """A tensor in a type that holds the sixteen bits of a release: half precisions become float32.

    Args:
        tensor: of any float type.

    Returns:
        The tensor, or a copy in float32.
    """
    return tensor if tensor.dtype in TYPES else tensor.float()


def scale_of(count: Tensor, p: Tensor, sites: int) -> Tensor:
    """Factor that turns an expected strength into the strength transmitted.

    Args:
        count: counts of releases.
        p: release probabilities.
        sites: release sites per synapse.

    Returns:
        count / (sites · p).
    """
    exact = wide(p)
    return (count.to(exact.dtype) / (exact * sites)).to(p.dtype)


def release(weight: Tensor, p: Tensor, keys: Tensor, sites: int, example: int, draw: int) -> tuple[Tensor, Tensor]:
    """Draw one mask per replica and apply it.

    Args:
        weight: expected strengths, [R · n] in any shape.
        p: release probabilities like `weight`.
        keys: int64 [R, 2].
        sites: release sites per synapse.
        example: index of the example, block or time step.
        draw: number of the draw.

    Returns:
        Strengths transmitted and counts of releases (uint8), like `weight`.
    """
    where = torch.tensor([example], dtype=torch.int64, device=keys.device)
    count = count_releases(p.reshape(keys.shape[0], -1), keys, sites, where, draw)[0].reshape(weight.shape)
    exact = wide(p)
    return (weight / (exact * sites) * count.to(exact.dtype)).to(weight.dtype), count


def mask_gradient(gradient: Tensor, p: Tensor, count: Tensor, sites: int) -> Tensor:
    """Gradient with respect to the expected strength; 0 where nothing was released.

    Args:
        gradient: gradient of the strength transmitted.
        p: release probabilities, likewise.
        count: counts of releases, likewise.
        sites: release sites per synapse.

    Returns:
        A tensor like `gradient`.
    """
    exact = wide(p)
    passed = (gradient / (exact * sites) * count.to(exact.dtype)).to(gradient.dtype)
    return torch.where(count > 0, passed, torch.zeros_like(passed))


def learn(weight: Tensor, p: Tensor, gradient: Tensor, penalty: Tensor | None, c: Constants) -> None:
    """Move strengths and release probabilities in place, by the equations of `synsim.rules.presynaptic`.

    Args:
        weight: expected strengths [R, n].
        p: release probabilities [R, n].
        gradient: gradient of the task's loss [R, n].
        penalty: gradient of a penalty [R, n], or None.
        c: the constants of the rule, [R] each.
    """
    k = c.columns(p)
    room = k["p_max"] - p
    change = gradient * (k["modulate_lr"] * room + (1 - k["modulate_lr"])) + k["weight_decay"] * weight
    if penalty is not None:
        change = change + penalty
    weight.sub_(k["lr"] * change)
    if not c.plastic:
        return
    size = gradient.abs()
    up = (size > k["g_lim"]) if c.hard else (size >= k["g_lim"])
    step = torch.where(up, k["p_up"], -k["p_down"])
    step = torch.where(p >= k["p_freeze"], torch.zeros_like(step), step)
    moved = p + (step if c.hard else step * room)
    p.copy_(torch.minimum(torch.maximum(moved, k["p_min"]), k["p_max"]))


def learn_in_place(weight: Tensor, p: Tensor, gradient: Tensor, penalty: Tensor | None, c: Constants) -> None:
    """`learn` for tensors in the shape of a layer, in any order in memory.

    Args:
        weight: expected strengths [*shape] or [R, *shape].
        p: release probabilities like `weight`.
        gradient: gradient of the task's loss like `weight`.
        penalty: gradient of a penalty like `weight`, or None.
        c: the constants of the rule, [R] each.
    """
    shape = (c.table.shape[1], -1)
    added = None if penalty is None else penalty.to(weight).reshape(shape)
    # Where the order in memory is another one than that of the synapses, a reshaped tensor is a copy.
    w, q = weight.reshape(shape), p.reshape(shape)
    learn(w, q, gradient.reshape(shape), added, c)
    for tensor, moved in ((weight, w), (p, q)):
        if moved.data_ptr() != tensor.data_ptr():
            tensor.copy_(moved.reshape(tensor.shape))
