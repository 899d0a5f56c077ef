"""Stochastic passes over data, and the accuracy of their mean."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from synsim import _checks
from synsim._kept import kept
from synsim.inputs import Images, as_images, logits_of
from synsim.networks import replicas_of
from synsim.synapses import evaluation, synapses

CHUNK = 1000
"""Images per forward pass where a mask does not end earlier."""


def stochastic(net: nn.Module) -> bool:
    """Whether two passes over the same images can differ.

    Args:
        net: any module.

    Returns:
        False if every synapse releases always, or the mean field is in force.
    """
    return any(not layer.address.mean and bool((layer.p < 1).any()) for layer in synapses(net).values())


def passes(
    net: nn.Module, x: Tensor | Images, *, samples: int, block: int | None, seed: int, head: int | None = None
) -> Iterator[tuple[int, slice, Tensor]]:
    """Stochastic passes over images: one mask per `block` images, whatever the chunk size.

    The streams are those of the purpose "eval" and start at draw 0; the network is left as it was.

    Args:
        net: the network.
        x: the images.
        samples: passes over all images.
        block: images that share a mask in batch scope; None: all.
        seed: of the masks.
        head: index of the head, or None.

    Yields:
        Number of the pass, slice of the images, and their logits [n, C] or [R, n, C].
    """
    images = as_images(net, x)
    samples = _checks.whole(samples, "samples")
    count = len(images)
    block = count if block is None else _checks.whole(block, "block")
    with torch.no_grad(), evaluation(net, seed) as address, kept(net):
        net.eval()
        # Where no mask is shared by images, or none is drawn, chunks may be as long as memory likes.
        alone = "batch" not in address.scopes or not stochastic(net)
        size = CHUNK if alone else min(block, CHUNK)
        for sample in range(samples):
            for start in range(0, count, block if not alone else count):
                stop = min(count, start + (block if not alone else count))
                for low in range(start, stop, size):
                    part = slice(low, min(stop, low + size))
                    address.at(sample, low // block, low)
                    yield sample, part, logits_of(net, images[part], head)


def class_probabilities(
    net: nn.Module,
    x: Tensor | Images,
    *,
    samples: int = 10,
    block: int | None = 100,
    seed: int = 0,
    head: int | None = None,
) -> Tensor:
    """Mean softmax over stochastic passes.

    Args:
        net: the network.
        x: images: float tensor shaped as the network takes it, or an object with `len()` and slices.
        samples: passes; one is enough, and made, for a network that does not fail.
        block: images that share a mask (batch scope); None: all.
        seed: of the masks; they are independent of training.
        head: index of the head of a network with several, or None.

    Returns:
        Probabilities [N, C], or [R, N, C].
    """
    samples = samples if stochastic(net) else min(samples, 1)
    parts: dict[int, Tensor] = {}
    for _, part, logits in passes(net, x, samples=samples, block=block, seed=seed, head=head):
        soft = logits.softmax(-1)
        parts[part.start] = soft if part.start not in parts else parts[part.start].add_(soft)
    return torch.cat([parts[start] for start in sorted(parts)], dim=-2) / samples


def accuracy(
    net: nn.Module,
    x: Tensor | Images,
    y: Tensor,
    *,
    samples: int = 10,
    block: int | None = 100,
    seed: int = 0,
    head: int | None = None,
) -> Tensor:
    """Share of images classified right by the softmax averaged over stochastic passes (protocol of the paper).

    Args:
        net: the network.
        x: images: float tensor shaped as the network takes it, or an object with `len()` and slices.
        y: labels [N], or [R, N].
        samples: passes; one is made for a network that does not fail.
        block: images that share a mask (batch scope), 100 in the published protocol; None: all.
        seed: of the masks.
        head: index of the head of a network with several, or None.

    Returns:
        A number in [0, 1], or [R].

    Raises:
        ValueError: if images or labels do not fit.
    """
    probabilities = class_probabilities(net, x, samples=samples, block=block, seed=seed, head=head)
    y = _labels(net, probabilities, y)
    return (probabilities.argmax(-1) == y).double().mean(-1)


def _labels(net: nn.Module, probabilities: Tensor, y: Tensor) -> Tensor:
    y = _checks.labels(y, probabilities.shape[-1]).to(probabilities.device)
    if y.shape not in (probabilities.shape[-2:-1], probabilities.shape[:-1]):
        raise ValueError(
            f"y must hold one label per image, shape [{probabilities.shape[-2]}]"
            + ("" if replicas_of(net) is None else f" or {list(probabilities.shape[:-1])}")
            + f", got {list(y.shape)}."
        )
    return y


def one_pass(
    net: nn.Module, x: Any, y: Tensor, block: int | None, seed: int, head: int | None
) -> tuple[Tensor, Tensor]:
    """Softmax of a single stochastic pass, and the labels.

    Args:
        net: the network.
        x: images.
        y: labels [N] or [R, N].
        block: images that share a mask.
        seed: of the masks.
        head: index of the head, or None.

    Returns:
        Probabilities [N, C] or [R, N, C] in float64, and labels.
    """
    probabilities = class_probabilities(net, x, samples=1, block=block, seed=seed, head=head).double()
    return probabilities, _labels(net, probabilities, y)
