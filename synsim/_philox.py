"""The generator behind `synsim.streams`, of numbers that are known to fit: here nothing is looked at.

Philox 4x32-10 (Salmon, Moraes, Dror & Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10
WORD = 0xFFFFFFFF

TILE = 128
"""Synapses that share one tile of release bits: 16 lanes of 8 numbers with 16 bits each."""
LANES = 16


def philox(counter: Sequence[Tensor], words: Sequence[Tensor | int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Random words: `synsim.streams.philox`.

    Args:
        counter: four int64 tensors that broadcast together, each entry in [0, 2**32).
        words: the two words of the key; numbers, or int64 tensors that broadcast with the counter.

    Returns:
        Four int64 tensors of random 32-bit words.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = words
    for _ in range(ROUNDS):
        # int64 products wrap modulo 2**64, which leaves both 32-bit halves right once the sign is masked away.
        first, second = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            ((second >> 32) & WORD) ^ c1 ^ k0,
            second & WORD,
            ((first >> 32) & WORD) ^ c3 ^ k1,
            first & WORD,
        )
        k0, k1 = (k0 + WEYL[0]) & WORD, (k1 + WEYL[1]) & WORD
    return c0, c1, c2, c3


def release_bits(keys: Tensor, count: int, *, site: int, example: Tensor, draw: int) -> Tensor:
    """Bits of synapses: `synsim.streams.release_bits`.

    Args:
        keys: int64 [R, 2].
        count: synapses per replica.
        site: release site, counted from 0.
        example: int64 [E], index of the example, block or time step.
        draw: number of the draw.

    Returns:
        int64 [E, R, count], each entry in [0, 65536).
    """
    device = keys.device
    blocks = -(-count // TILE) * LANES
    block = torch.arange(blocks, device=device)
    where = example.to(device).reshape(-1, 1, 1)
    counter = (block, block.new_tensor(site), where, block.new_tensor(draw))
    words = philox(counter, (keys[:, 0].reshape(-1, 1), keys[:, 1].reshape(-1, 1)))
    halves = [half for word in words for half in (word & 0xFFFF, word >> 16)]
    shape = (where.shape[0], keys.shape[0], blocks)
    slots = [half.expand(shape).reshape(*shape[:2], blocks // LANES, LANES) for half in halves]
    return torch.stack(slots, dim=-2).reshape(*shape[:2], -1)[..., :count]
