"""Stochastic passes over data, and the accuracy of their mean."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from synsim import _checks
from synsim._doors import typed
from synsim._kept import kept
from synsim.dropout import StreamDropout
from synsim.inputs import Images, as_images, labelled, logits_of, output_replicas
from synsim.losses import class_logits
from synsim.meters.coverage import say_bypassed, shown
from synsim.synapses import StochasticLayer, addressed, evaluation, synapses

CHUNK = 1000
"""Images per forward pass where a mask does not end earlier."""


@typed
def stochastic(net: nn.Module) -> bool:
    """Whether two passes over the same images can differ, in evaluation mode.

    Args:
        net: any module.

    Returns:
        False if every synapse releases always, or the mean field is in force, and no encoder draws spikes.
    """
    others = (one for one in addressed(net).values() if not isinstance(one, StochasticLayer | StreamDropout))
    return _fails(net) or any(not one.idle() for one in others)


def _fails(net: nn.Module) -> bool:
    return any(not layer.address.mean and bool((layer.p < 1).any()) for layer in synapses(net).values())


@typed
def passes(
    net: nn.Module, x: Any, *, samples: int, block: int | None, seed: int, head: int | None = None
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
    samples = _checks.times(samples, "samples")
    count = len(images)
    block = count if block is None else _checks.whole(block, "block")
    with torch.no_grad(), evaluation(net, seed) as address, kept(net):
        net.eval()
        # Where no mask is shared by images, or none is drawn, chunks may be as long as memory likes.
        alone = not address.shares or not _fails(net)
        size = CHUNK if alone else min(block, CHUNK)
        for sample in range(samples):
            for start in range(0, count, block if not alone else count):
                stop = min(count, start + (block if not alone else count))
                for low in range(start, stop, size):
                    part = slice(low, min(stop, low + size))
                    address.at(sample, low // block, low)
                    yield sample, part, logits_of(net, images[part], head)
        say_bypassed(net, images, head)


def look_for_bypassed(net: nn.Module, images: Images, seed: int, head: int | None) -> None:
    """Warn of stochastic layers that something goes around, for meters whose passes are not those of the network.

    Args:
        net: the network.
        images: the images.
        seed: of the masks.
        head: index of the head, or None.
    """
    for _ in passes(net, shown(net, images, 2), samples=1, block=None, seed=seed, head=head):
        pass


@typed
def class_probabilities(
    net: nn.Module,
    x: Any,
    *,
    samples: int = 10,
    block: int | None = 100,
    seed: int = 0,
    head: int | None = None,
) -> Tensor:
    """Mean softmax over stochastic passes.

    Args:
        net: the network.
        x: images: float tensor shaped as the network takes it, or an object with `len()` and slices, or what
            `synsim.inputs.as_images` reads (arrays, lists, loaders, data sets).
        samples: passes; one is enough, and made, for a network that does not fail.
        block: images that share a mask (batch scope); None: all.
        seed: of the masks; they are independent of training.
        head: index of the head of a network with several, or None.

    Returns:
        Probabilities [N, C], or [R, N, C]; [N, T, C] for a network with an output at each of T tokens. Of one output,
        those of its two classes, 1 − σ and σ.
    """
    samples = samples if stochastic(net) else min(samples, 1)
    parts: dict[int, Tensor] = {}
    for _, part, logits in passes(net, x, samples=samples, block=block, seed=seed, head=head):
        soft = class_logits(logits).softmax(-1)
        parts[part.start] = soft if part.start not in parts else parts[part.start].add_(soft)
    axis = 0 if output_replicas(net) is None else 1
    return torch.cat([parts[start] for start in sorted(parts)], dim=axis) / samples


@typed
def accuracy(
    net: nn.Module,
    x: Any,
    y: Any = None,
    *,
    samples: int = 10,
    block: int | None = 100,
    seed: int = 0,
    head: int | None = None,
) -> Tensor:
    """Share of images classified right by the softmax averaged over stochastic passes (protocol of the paper).

    Args:
        net: the network.
        x: images: float tensor shaped as the network takes it, or an object with `len()` and slices, or what
            `synsim.inputs.as_images` reads (arrays, lists, loaders, data sets).
        y: labels [N], or [R, N]; [N, T] for a network with an output at each of T tokens, of which it is the share of
            tokens. None: those that x brings with it.
        samples: passes; one is made for a network that does not fail.
        block: images that share a mask (batch scope), 100 in the published protocol; None: all.
        seed: of the masks.
        head: index of the head of a network with several, or None.

    Returns:
        A number in [0, 1], or [R].

    Raises:
        ValueError: if images or labels do not fit.
    """
    images, y = labelled(net, x, y)
    probabilities = class_probabilities(net, images, samples=samples, block=block, seed=seed, head=head)
    right = (probabilities.argmax(-1) == _labels(net, probabilities, y)).double()
    return right.mean() if output_replicas(net) is None else right.mean(-1)


def _labels(net: nn.Module, probabilities: Tensor, y: Tensor | None) -> Tensor:
    _checks.require(y is not None, "labels are needed: give y, or an x that brings its labels with it.")
    assert y is not None
    y = _checks.labels(y, probabilities.shape[-1]).to(probabilities.device)
    allowed = {probabilities.shape[:-1]}
    if output_replicas(net) is not None:
        allowed.add(probabilities.shape[-2:-1])
    if y.shape not in allowed:
        what = "token" if output_replicas(net) is None and probabilities.ndim == 3 else "image"
        raise ValueError(
            f"y must hold one label per {what}, shape "
            + " or ".join(str(list(shape)) for shape in sorted(allowed, key=len))
            + f", got {list(y.shape)}."
        )
    return y


def one_pass(net: nn.Module, x: Any, y: Any, block: int | None, seed: int, head: int | None) -> tuple[Tensor, Tensor]:
    """Softmax of a single stochastic pass, and the labels.

    Args:
        net: the network.
        x: images.
        y: labels [N] or [R, N]; [N, T] for tokens; None: those that x brings with it.
        block: images that share a mask.
        seed: of the masks.
        head: index of the head, or None.

    Returns:
        Probabilities [N, C] or [R, N, C] in float64, and labels; every token counts as an example.
    """
    images, y = labelled(net, x, y)
    probabilities = class_probabilities(net, images, samples=1, block=block, seed=seed, head=head).double()
    y = _labels(net, probabilities, y)
    if output_replicas(net) is None and probabilities.ndim == 3:
        return probabilities.flatten(0, 1), y.flatten()
    return probabilities, y
