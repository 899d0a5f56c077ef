"""Random numbers with an address: the counter-based generator behind every random choice of a run.

Nothing here has a state. A number is a function of a key (what it is for, the seed, the module's name) and of a
counter (where and when), so it can be had again alone or among others, on any device, after a crash.

Generator: Philox 4x32-10 (Salmon, Moraes, Dror & Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
"""

from collections.abc import Sequence
from hashlib import blake2b

import torch
from torch import Tensor

from synsim import _philox
from synsim._checks import affordable, require, whole
from synsim._doors import typed
from synsim._philox import WORD as WORD


@typed
def key(purpose: str, seed: int, name: str = "") -> tuple[int, int]:
    """Key of a stream: the first 64 bits of blake2b(purpose | seed | name), as two 32-bit words.

    Args:
        purpose: what the numbers are for: "train", "eval", "label", "init" or "order", possibly with a suffix.
        seed: a non-negative integer.
        name: the module's name in its network, or any other label that tells streams of one purpose apart.

    Returns:
        The two words of the key, low word first.
    """
    seed = whole(seed, "seed", 0)
    digest = blake2b(f"{purpose}|{seed}|{name}".encode()).digest()
    return int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:8], "little")


@typed
def keys(purpose: str, seeds: Sequence[int], name: str = "") -> Tensor:
    """Keys of one stream per seed.

    Args:
        purpose: what the numbers are for.
        seeds: R seeds.
        name: the module's name.

    Returns:
        The keys, int64 of shape [R, 2], each entry below 2**32.
    """
    return torch.tensor([key(purpose, seed, name) for seed in seeds], dtype=torch.int64, device="cpu").reshape(-1, 2)


@typed
def philox(counter: Sequence[Tensor], words: Sequence[Tensor | int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Philox 4x32-10 in plain torch: the reference that the fused kernels are held against.

    Args:
        counter: four int64 tensors that broadcast together, each entry in [0, 2**32).
        words: the two words of the key; numbers, or int64 tensors that broadcast with the counter.

    Returns:
        Four int64 tensors of random 32-bit words.

    Raises:
        ValueError: if there are not four counters and two words, or one does not fit into 32 bits.
    """
    require(
        len(counter) == 4 and len(words) == 2,
        f"expected four counters and two words of a key, got {len(counter)} and {len(words)}.",
    )
    for what, each in (*(("counter", one) for one in counter), *(("words", one) for one in words)):
        if isinstance(each, Tensor):
            _check_words(each, what)
        else:
            whole(each, what, 0, WORD)
    return _philox.philox(counter, words)


def _check_words(given: Tensor, what: str) -> None:
    fits = not (given.is_floating_point() or given.is_complex() or given.dtype == torch.bool)
    if fits and given.numel():
        fits = int(given.min()) >= 0 and int(given.max()) <= WORD
    shape = list(given.shape)
    require(fits, f"{what} must hold whole numbers from 0 to 2**32 - 1, got {given.dtype} of shape {shape}.")


def _check_keys(keys: Tensor) -> None:
    require(
        keys.ndim == 2 and keys.shape[1] == 2,
        f"keys must be of shape [R, 2], as streams.keys makes them, got {list(keys.shape)}.",
    )
    _check_words(keys, "keys")


@typed
def release_bits(keys: Tensor, count: int, *, site: int, example: Tensor, draw: int) -> Tensor:
    """Sixteen random bits for every synapse, replica and example, at one site and draw.

    Synapse i of a layer (in the flat order of its weight) lives in tile i // 128, lane i % 16, slot (i % 128) // 16;
    tile and lane make the block counter, the slot chooses one of the eight 16-bit numbers of the block.

    Args:
        keys: int64 [R, 2].
        count: synapses per replica.
        site: release site, counted from 0.
        example: int64 [E], index of the example, block or time step.
        draw: number of the draw.

    Returns:
        int64 [E, R, count], each entry in [0, 65536).

    Raises:
        ValueError: if keys, count, site, example or draw do not fit.
    """
    _check_keys(keys)
    _check_words(example, "example")
    count, site, draw = whole(count, "count", 0), whole(site, "site", 0, 254), whole(draw, "draw", 0, WORD)
    require(example.ndim == 1, f"example must be of shape [E], got {list(example.shape)}.")
    affordable(200 * example.numel() * keys.shape[0] * count, f"release bits of {count} synapses")
    return _philox.release_bits(keys, count, site=site, example=example, draw=draw)


@typed
def integers(keys: Tensor, count: int, draw: int = 0) -> Tensor:
    """Random 32-bit integers.

    Args:
        keys: int64 [R, 2].
        count: numbers per key.
        draw: number of the draw; another one gives other numbers.

    Returns:
        int64 [R, count], each entry in [0, 2**32).
    """
    count, draw = whole(count, "count", 0), whole(draw, "draw", 0, WORD)
    _check_keys(keys)
    affordable(200 * keys.shape[0] * count, f"{count} random numbers")
    block = torch.arange(-(-count // 4), device=keys.device)
    zero = block.new_tensor(0)
    words = _philox.philox((block, zero, zero, block.new_tensor(draw)), (keys[:, :1], keys[:, 1:]))
    return torch.stack(words, dim=-1).reshape(keys.shape[0], -1)[:, :count]


@typed
def uniform(keys: Tensor, count: int, draw: int = 0) -> Tensor:
    """Uniform numbers in [0, 1) with 24 random bits, the same values whatever the precision they are used in.

    Args:
        keys: int64 [R, 2].
        count: numbers per key.
        draw: number of the draw.

    Returns:
        float64 [R, count].

    Example:
        >>> import torch
        >>> drawn = uniform(keys("release", [1, 2], "layer"), 3)
        >>> drawn.shape, bool((drawn < 1).all())
        (torch.Size([2, 3]), True)
    """
    return (integers(keys, count, draw) >> 8).double() * 2.0**-24


@typed
def permutation(keys: Tensor, count: int, draw: int = 0) -> Tensor:
    """Random orders of `count` things, one per key.

    Args:
        keys: int64 [R, 2].
        count: how many things.
        draw: number of the draw, such as the epoch.

    Returns:
        int64 [R, count], each row a permutation of 0 … count − 1.
    """
    count = whole(count, "count", 0)
    words = integers(keys, 2 * count, draw)
    return torch.argsort(words[:, :count] << 31 | words[:, count:] >> 1, dim=1, stable=True)
