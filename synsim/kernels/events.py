"""Release per spike: a spike is released or not at each site of each synapse; numba on the CPU, plain torch elsewhere.

Rows are time-major: row t · B + b is example b at the t-th step of the pass. The bits of synapse (i → o) at a spike
come from the Philox counter (block, site + 256 t, example, draw), t counted from the first step of a loop over time:
with L = ⌈O / 8⌉ blocks per source, block i · L + l holds the 16-bit numbers of the outputs l, l + L, …, l + 7 L. So a
spike costs L blocks whatever the number of sources.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from synsim._checks import require
from synsim._philox import philox
from synsim.kernels import fit, pool
from synsim.kernels.compiling import Later
from synsim.kernels.dispatch import compiled
from synsim.kernels.reference import wide

cpu_events = Later("synsim.kernels.cpu_events")
BYTES = 1 << 25
"""Memory that the bits of one chunk of spikes may take in plain torch."""
LAST_STEP = 2**24


class Place(NamedTuple):
    """Where the bits of a pass come from.

    Attributes:
        keys: int64 [2] on the device of the weights.
        words: the same as uint32.
        sites: release sites per synapse.
        example: index of the first example.
        batch: examples B per time step.
        draw: number of the draw.
        step: index of the first time step.
    """

    keys: Tensor
    words: np.ndarray
    sites: int
    example: int
    batch: int
    draw: int
    step: int = 0


class Spikes(NamedTuple):
    """The spikes of a pass by row: row r has the sources `sources[first[r]]` to `sources[first[r + 1] - 1]`.

    Attributes:
        first: int64 [rows + 1].
        sources: int32 [spikes].
    """

    first: Tensor
    sources: Tensor

    def rows(self) -> Tensor:
        """Row of every spike.

        Returns:
            int64 [spikes].
        """
        counts = self.first.diff()
        return torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)


def spikes_of(x: Tensor) -> Spikes:
    """List the spikes of a binary tensor.

    Args:
        x: [rows, I], each entry 0 or 1.

    Returns:
        The spikes, in the order of rows and sources.

    Raises:
        ValueError: if an entry is neither 0 nor 1.
    """
    x = x.detach().contiguous()
    fast = compiled(x)
    counts = torch.empty(x.shape[0], dtype=torch.int64, device=x.device)
    if fast:
        wrong = cpu_events.count_spikes(x.numpy(), counts.numpy())
    else:
        counts = (x != 0).sum(1)
        wrong = bool(((x != 0) & (x != 1)).any())
    if wrong:
        raise ValueError(
            "release per spike needs spikes, 0 or 1, got other values. Encode the images first (synsim.spiking), or "
            'use scope="event-gaussian" for graded inputs.'
        )
    first = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    if not fast:
        return Spikes(first, x.nonzero()[:, 1].int())
    sources = torch.empty(int(first[-1]), dtype=torch.int32, device=x.device)
    cpu_events.list_spikes(x.numpy(), first.numpy(), sources.numpy())
    return Spikes(first, sources)


def event_bits(
    keys: Tensor, outputs: int, *, source: Tensor, site: int, step: Tensor, example: Tensor, draw: int
) -> Tensor:
    """Sixteen random bits for every output of some spikes, in plain torch: the meaning of the fused kernels.

    Args:
        keys: int64 [2].
        outputs: O.
        source: int64 [E], the presynaptic neurons.
        site: release site, counted from 0.
        step: int64 [E], the time steps.
        example: int64 [E], the examples.
        draw: number of the draw.

    Returns:
        int64 [E, O], each entry in [0, 65536).
    """
    lanes = -(-outputs // 8)
    block = source.reshape(-1, 1) * lanes + torch.arange(lanes, device=source.device)
    counter = (block, site + (step.reshape(-1, 1) << 8), example.reshape(-1, 1), block.new_tensor(draw))
    words = philox(counter, (keys[0], keys[1]))
    halves = [half.expand(block.shape) for word in words for half in (word & 0xFFFF, word >> 16)]
    return torch.stack(halves, dim=1).flatten(1)[:, :outputs]


def _released(spikes: Spikes, p: Tensor, factor: Tensor | None, place: Place):  # type: ignore[no-untyped-def]
    # Chunks of spikes: their rows, sources, and counts of releases [E, O] in the type of p.
    rows, sources = spikes.rows(), spikes.sources.long()
    size, p = max(1, BYTES // (p.shape[0] * 64)), wide(p)
    for low in range(0, len(rows), size):
        row, source = rows[low : low + size], sources[low : low + size]
        threshold = p.t()[source] * 65536.0
        if factor is not None:
            threshold = threshold * factor[row, source].unsqueeze(1)
        step, example = place.step + row // place.batch, place.example + row % place.batch
        at = {"source": source, "step": step, "example": example}
        bits = (event_bits(place.keys, p.shape[0], site=s, draw=place.draw, **at) for s in range(place.sites))
        none = torch.zeros((), dtype=p.dtype, device=p.device)
        yield row, source, sum(((b.to(p.dtype) < threshold).to(p.dtype) for b in bits), none)


def transmit(spikes: Spikes, weight: Tensor, p: Tensor, factor: Tensor | None, place: Place, fast: bool) -> Tensor:
    """What the outputs receive: Σ over spikes of m k / N, with k of N sites released at each synapse.

    Args:
        spikes: the spikes.
        weight: expected strengths [O, I].
        p: release probabilities [O, I].
        factor: [rows, I] by which p is scaled at each spike, or None.
        place: where the bits come from.
        fast: whether to take the fused kernel.

    Returns:
        [rows, O].
    """
    rows = len(spikes.first) - 1
    _fits(spikes, p, factor, place)
    fit.layer(weight, p, 1)
    fit.probabilities(p)
    out = weight.new_zeros(rows, weight.shape[0])
    if not fast:
        scaled = (weight / (p * place.sites)).t()
        for row, source, count in _released(spikes, p, factor, place):
            out.index_add_(0, row, (scaled[source] * count).to(out.dtype))
        return out
    threshold = (p * 65536).t().contiguous().numpy()
    strengths = (weight / (p * place.sites)).t().contiguous().numpy()
    given, o = _factor(factor, weight), out.numpy()
    first, sources = spikes.first.numpy(), spikes.sources.numpy()
    pool.split(
        lambda start, stop: cpu_events.transmit(
            first, sources, given, strengths, threshold, place.words, place.sites, place.example, place.batch,
            place.draw, place.step, o, start, stop,
        ),
        rows,
        len(sources) * weight.shape[0] * place.sites,
    )  # fmt: skip
    return out


def weight_gradient(spikes: Spikes, grad: Tensor, p: Tensor, factor: Tensor | None, place: Place, fast: bool) -> Tensor:
    """Gradient of the expected strengths: Σ over spikes of k / (N p) times the gradient of the output.

    Args:
        spikes: the spikes.
        grad: gradient of the outputs [rows, O].
        p: release probabilities of the forward pass [O, I].
        factor: [rows, I] by which p was scaled, or None.
        place: where the bits came from.
        fast: whether to take the fused kernel.

    Returns:
        [O, I]; 0 where nothing was released.
    """
    _fits(spikes, p, factor, place)
    if grad.shape != (len(spikes.first) - 1, p.shape[0]):
        fit.refuse("the gradient of the outputs", (len(spikes.first) - 1, p.shape[0]), grad.shape)
    into = grad.new_zeros(p.shape[1], p.shape[0])
    if not fast:
        for row, source, count in _released(spikes, p, factor, place):
            into.index_add_(0, source, (grad[row] * count).to(into.dtype))
    else:
        threshold, given = (p * 65536).t().contiguous().numpy(), _factor(factor, grad)
        starts, rows = np.empty(p.shape[1] + 1, np.int64), np.empty(len(spikes.sources), np.int32)
        cpu_events.by_source(spikes.first.numpy(), spikes.sources.numpy(), starts, rows)
        g, summed = grad.contiguous().numpy(), into.numpy()
        pool.split(
            lambda start, stop: cpu_events.gradient(
                starts, rows, given, threshold, place.words, place.sites, place.example, place.batch, place.draw,
                place.step, g, summed, start, stop,
            ),
            p.shape[1],
            len(rows) * p.shape[0] * place.sites,
        )  # fmt: skip
    return into.t().contiguous() / (p * place.sites)


def _fits(spikes: Spikes, p: Tensor, factor: Tensor | None, place: Place) -> None:
    first, sources = spikes
    rows, count = len(first) - 1, len(sources)
    require(
        p.ndim == 2 and first.dtype == torch.int64 and sources.dtype == torch.int32 and place.batch > 0,
        f"expected p [O, I], rows as int64, sources as int32 and a batch of at least 1, got {list(p.shape)}, "
        f"{first.dtype}, {sources.dtype} and {place.batch}.",
    )
    fit.address(place.example + place.batch, place.draw)
    ordered = int(first[0]) == 0 and int(first[-1]) == count and bool((first.diff() >= 0).all())
    require(ordered, f"the rows of {count} spikes must begin at numbers that grow from 0 to {count}. Use spikes_of.")
    if count:
        low, high = (int(end) for end in sources.aminmax())
        require(low >= 0 and high < p.shape[1], f"sources must lie below {p.shape[1]}, got {low} to {high}.")
    if factor is not None and factor.shape != (rows, p.shape[1]):
        fit.refuse("factors of the release probability", (rows, p.shape[1]), factor.shape)


def _factor(factor: Tensor | None, like: Tensor) -> np.ndarray:
    found: np.ndarray = like.new_empty(0, 0).numpy() if factor is None else factor.to(like.dtype).contiguous().numpy()
    return found
