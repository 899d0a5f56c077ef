"""Stochastic passes over data, and the accuracy of their mean."""

import itertools
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
AT_ONCE = 2**20
"""Logits that wait for a softmax over several passes at once."""


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
    net: nn.Module,
    x: Any,
    *,
    samples: int,
    block: int | None,
    seed: int,
    head: int | None = None,
    together: bool = False,
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
        together: whether the passes over the same images follow each other, so that each image is made ready once;
            else one pass over all of them follows another. The masks are the same.

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
        parts = _parts(count, count if alone else block)
        shown, batch = parts[0], images[parts[0]]
        version = batch._version
        for sample, part in _in_order(samples, parts, together):
            # Again, where the network wrote into what it was shown.
            if part is not shown or batch._version != version:
                shown, batch = part, images[part]
                version = batch._version
            address.at(sample, part.start // block, part.start)
            yield sample, part, logits_of(net, batch, head)
        say_bypassed(net, images, head)


def _parts(count: int, block: int) -> list[slice]:
    # What is shown at once: CHUNK images at most, and never those of two blocks.
    found = []
    for start in range(0, count, block):
        stop = min(count, start + block)
        found += [slice(low, min(stop, low + CHUNK)) for low in range(start, stop, CHUNK)]
    return found


def _in_order(samples: int, parts: list[slice], together: bool) -> Iterator[tuple[int, slice]]:
    if together:
        return ((sample, part) for part, sample in itertools.product(parts, range(samples)))
    return itertools.product(range(samples), parts)


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
    found: list[Tensor] = []
    waiting: list[Tensor] = []
    for sample, _, logits in passes(net, x, samples=samples, block=block, seed=seed, head=head, together=True):
        # A copy: a network may write every output into the same memory.
        waiting.append(class_logits(logits).clone())
        if sample == 0:
            found.append(torch.zeros_like(waiting[0]))
        if sample == samples - 1 or len(waiting) * logits.numel() > AT_ONCE:
            _add(found[-1], waiting)
            waiting = []
    axis = 0 if output_replicas(net) is None else 1
    return torch.cat(found, dim=axis) / samples


def _add(total: Tensor, logits: list[Tensor]) -> None:
    # The softmax of several passes at once, since torch takes no second thread for a single one; their sum in order,
    # on which its last bits depend.
    for soft in torch.stack(logits).softmax(-1):
        total.add_(soft)


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

    Example:
        >>> import torch, synsim
        >>> net = synsim.mlp([2, 2], p=1.0)
        >>> _ = torch.nn.init.eye_(net[0].weight)
        >>> synsim.meters.accuracy(net, torch.eye(2), torch.tensor([0, 0]))
        tensor(0.5000, dtype=torch.float64)
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
