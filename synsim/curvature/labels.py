"""Labels drawn from a network's own output, each a function of its address."""

from collections.abc import Sequence

from torch import Tensor, nn

from synsim import streams
from synsim._checks import NotFiniteError
from synsim.synapses import synapses


def seeds_of(net: nn.Module, seed: int) -> tuple[int, ...]:
    """Seeds for choices made while measuring: those of the replicas, so that each chooses the same alone.

    Args:
        net: any module.
        seed: used for a network without stochastic layers.

    Returns:
        One seed per replica (one without replicas).
    """
    layer = next(iter(synapses(net).values()), None)
    return (seed,) if layer is None else layer.seeds


def sampled_labels(
    probabilities: Tensor,
    seeds: Sequence[int],
    name: str,
    rows: slice,
    count: int,
    draw: int,
    *,
    tokens: bool = False,
) -> Tensor:
    """Labels drawn from the network's own output, a function of seed, image and draw.

    Args:
        probabilities: [B, C] or [R, B, C]; [B, T, C] for tokens.
        seeds: one per replica.
        name: tells streams apart.
        rows: which of the images these are.
        count: images in all.
        draw: number of the draw.
        tokens: whether the first two axes of three count images and their tokens.

    Returns:
        int64 [B], [R, B] or [B, T].

    Raises:
        NotFiniteError: if a probability is not finite; the message names the image.
    """
    bad = (~probabilities.isfinite()).any(-1)
    if bool(bad.any()):
        first = int((bad.any(1) if tokens else bad.reshape(-1, bad.shape[-1]).any(0)).nonzero()[0])
        raise NotFiniteError(
            f"the output for image {rows.start + first} is not finite, so no label can be drawn from it. "
            "The network may have diverged; look at its weights.",
            [0] if tokens else bad.reshape(-1, bad.shape[-1]).any(1).nonzero().flatten().tolist(),
        )
    each = probabilities.shape[1] if tokens else 1
    numbers = streams.uniform(streams.keys("label", seeds, name), count * each, draw)
    if tokens:
        numbers = numbers[0].reshape(count, each)[rows]
    else:
        numbers = numbers[:, rows] if probabilities.ndim == 3 else numbers[0, rows]
    numbers = numbers.to(probabilities.device)
    below = probabilities.double().cumsum(-1)
    # The last sum may fall short of 1 by rounding.
    return (numbers.unsqueeze(-1) >= below[..., :-1]).sum(-1)
