"""Fused kernels for CUDA in Triton, with the same bits as the reference."""

import triton
import triton.language as tl
from torch import Tensor

from synsim.kernels.constants import NAMES, Constants

BLOCK = 1024
# Triton takes only globals of this kind into a kernel.
LR, WEIGHT_DECAY, P_UP, P_DOWN, G_LIM, P_MIN, P_MAX, P_FREEZE, MODULATE_LR = map(tl.constexpr, range(len(NAMES)))


@triton.jit
def _philox(c0, c1, c2, c3, k0, k1):
    for _ in tl.static_range(10):
        first = c0.to(tl.uint64) * 0xD2511F53
        second = c2.to(tl.uint64) * 0xCD9E8D57
        n0 = (second >> 32).to(tl.uint32) ^ c1 ^ k0
        n2 = (first >> 32).to(tl.uint32) ^ c3 ^ k1
        c1 = second.to(tl.uint32)
        c3 = first.to(tl.uint32)
        c0 = n0
        c2 = n2
        k0 = (k0.to(tl.uint64) + 0x9E3779B9).to(tl.uint32)
        k1 = (k1.to(tl.uint64) + 0xBB67AE85).to(tl.uint32)
    return c0, c1, c2, c3


# Counters change at every call; specialised values (1, multiples of 16) would compile the kernel again.
@triton.jit(do_not_specialize=["sites", "example", "draw"])
def _release(weight, p, keys, out, count, n, sites, example, draw, BLOCK: tl.constexpr):
    r = tl.program_id(1)
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = i < n
    at = r.to(tl.int64) * n + i
    within = i % 128
    slot = within // 16
    block = ((i // 128) * 16 + within % 16).to(tl.uint32)
    zero = tl.zeros([BLOCK], tl.uint32)
    k0 = tl.load(keys + 2 * r).to(tl.uint32) + zero
    k1 = tl.load(keys + 2 * r + 1).to(tl.uint32) + zero
    w = tl.load(weight + at, mask=inside, other=0.0)
    q = tl.load(p + at, mask=inside, other=1.0)
    threshold = q * 65536.0
    total = tl.zeros([BLOCK], tl.int32)
    for site in range(sites):
        c0, c1, c2, c3 = _philox(
            block, (zero + site).to(tl.uint32), (zero + example).to(tl.uint32), (zero + draw).to(tl.uint32), k0, k1
        )
        word = tl.where(slot < 2, c0, tl.where(slot < 4, c1, tl.where(slot < 6, c2, c3)))
        bits = tl.where(slot % 2 == 0, word & 0xFFFF, word >> 16).to(q.dtype)
        total += (bits < threshold).to(tl.int32)
    tl.store(out + at, w / (q * sites) * total.to(q.dtype), mask=inside)
    tl.store(count + at, total.to(tl.uint8), mask=inside)


@triton.jit
def _learn(
    weight,
    p,
    gradient,
    penalty,
    table,
    n,
    replicas,
    PENALTY: tl.constexpr,
    PLASTIC: tl.constexpr,
    HARD: tl.constexpr,
    BLOCK: tl.constexpr,
):
    r = tl.program_id(1)
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = i < n
    at = r.to(tl.int64) * n + i
    w = tl.load(weight + at, mask=inside, other=0.0)
    q = tl.load(p + at, mask=inside, other=1.0)
    g = tl.load(gradient + at, mask=inside, other=0.0)
    kind = w.dtype
    lr = tl.load(table + LR * replicas + r).to(kind)
    weight_decay = tl.load(table + WEIGHT_DECAY * replicas + r).to(kind)
    p_up = tl.load(table + P_UP * replicas + r).to(kind)
    p_down = tl.load(table + P_DOWN * replicas + r).to(kind)
    g_lim = tl.load(table + G_LIM * replicas + r).to(kind)
    p_min = tl.load(table + P_MIN * replicas + r).to(kind)
    p_max = tl.load(table + P_MAX * replicas + r).to(kind)
    p_freeze = tl.load(table + P_FREEZE * replicas + r).to(kind)
    modulate_lr = tl.load(table + MODULATE_LR * replicas + r).to(kind)
    room = p_max - q
    change = g * (modulate_lr * room + (1.0 - modulate_lr)) + weight_decay * w
    if PENALTY:
        change += tl.load(penalty + at, mask=inside, other=0.0)
    tl.store(weight + at, w - lr * change, mask=inside)
    if PLASTIC:
        size = tl.abs(g)
        step = tl.where(size > g_lim, p_up, -p_down) if HARD else tl.where(size >= g_lim, p_up, -p_down)
        step = tl.where(q >= p_freeze, 0.0, step)
        if not HARD:
            step = step * room
        moved = q + step
        moved = tl.where(moved < p_min, p_min, moved)
        tl.store(p + at, tl.where(moved > p_max, p_max, moved), mask=inside)


def release(
    weight: Tensor, p: Tensor, keys: Tensor, sites: int, example: int, draw: int, out: Tensor, count: Tensor
) -> None:
    """`synsim.kernels.reference.release` in one kernel, into `out` and `count`."""
    n = weight.numel() // keys.shape[0]
    grid = (triton.cdiv(n, BLOCK), keys.shape[0])
    _release[grid](weight, p, keys, out, count, n, sites, example, draw, BLOCK=BLOCK)


def learn(weight: Tensor, p: Tensor, gradient: Tensor, penalty: Tensor | None, c: Constants) -> None:
    """`synsim.kernels.reference.learn` in one kernel; same arguments."""
    replicas = c.table.shape[1]
    n = weight.numel() // replicas
    grid = (triton.cdiv(n, BLOCK), replicas)
    _learn[grid](
        weight, p, gradient, weight if penalty is None else penalty, c.table, n, replicas,
        PENALTY=penalty is not None, PLASTIC=c.plastic, HARD=c.hard, BLOCK=BLOCK,
    )  # fmt: skip
