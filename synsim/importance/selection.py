"""The images and labels an importance is measured on."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from synsim import streams
from synsim._checks import labels, number, require, times, whole
from synsim.curvature.labels import sampled_labels as sampled_labels
from synsim.curvature.labels import seeds_of as seeds_of
from synsim.inputs import Images, has_replicas, labelled, output_replicas, rows_of
from synsim.networks import replicas_of

READ = 1000


@dataclass(frozen=True)
class View:
    """How an importance looks at a network.

    Attributes:
        images: how many images, drawn at random without replacement; None: all.
        view: "expected" (mean field) or "sampled" (the mean over `samples` stochastic passes).
        samples: passes in the sampled view.
        block: images that share a mask in the sampled view.
        memory: MiB that a chunk may take.
        seed: of the choice of images, of sampled labels and of masks.
    """

    images: int | None = None
    view: str = "expected"
    samples: int = 10
    block: int = 100
    memory: float = 16.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Check what can be checked without a network.

        Raises:
            ValueError: if an option is out of bounds.
        """
        if self.images is not None:
            self._keep("images", whole(self.images, "images"))
        known = isinstance(self.view, str) and self.view in ("expected", "sampled")
        require(known, f"view must be expected or sampled, got {self.view!r}.")
        self._keep("samples", times(self.samples, "samples"))
        self._keep("block", whole(self.block, "block"))
        self._keep("seed", whole(self.seed, "seed", 0))
        try:
            self._keep("memory", number(self.memory, "memory", above=True))
        except ValueError as error:
            raise ValueError(f"memory must be positive and finite (MiB), got {self.memory!r}.") from error

    def _keep(self, name: str, value: float) -> None:
        # NumPy's numbers and torch's become Python's: a seed is spelled out in the names of streams.
        object.__setattr__(self, name, value)


class Chosen:
    """Images at chosen places of a larger set, seen through `len()` and slices.

    Args:
        images: the whole set.
        index: int64 [n], or [R, n] for a choice of each replica's own.
        lead: whether the images of the set have a replica axis.
    """

    def __init__(self, images: Images, index: Tensor, lead: bool) -> None:
        self._index = index
        self._batch = getattr(images, "batch", None)
        self._found = None if self._batch is not None else _gathered(images, index, lead)

    def __len__(self) -> int:
        """Number of images.

        Returns:
            n.
        """
        return self._index.shape[-1]

    def __getitem__(self, rows: slice) -> Tensor:
        """Images of a slice.

        Returns:
            [n, ...] or [R, n, ...].
        """
        found: Tensor
        if self._found is None:
            assert self._batch is not None
            found = self._batch(self._index[..., rows])[0]
        else:
            found = self._found[rows] if self._index.ndim == 1 else self._found[:, rows]
        return found


def _gathered(images: Images, index: Tensor, lead: bool) -> Tensor:
    # One walk over the set in blocks, so that no more than a block and the chosen images are held at a time.
    order = index.reshape(-1, index.shape[-1])
    found: Tensor | None = None
    for start in range(0, len(images), READ):
        block = images[start : start + READ]
        size = block.shape[1 if lead else 0]
        for r, own in enumerate(order.to(block.device)):
            here = ((own >= start) & (own < start + size)).nonzero().flatten()
            part = (block[r] if lead else block)[own[here] - start]
            if found is None:
                found = part.new_empty(*order.shape, *part.shape[1:])
            found[r, here] = part
    assert found is not None
    return found if index.ndim == 2 else found[0]


def select(net: nn.Module, x: Any, y: Any, view: View) -> tuple[Images, Tensor | None]:
    """The images to measure on, and their labels.

    Args:
        net: the network.
        x: all images, in any form that `as_images` takes.
        y: all labels [N] or [R, N], or [N, T] of tokens; None: those of `x` if it has any.
        view: how many images.

    Returns:
        Images and labels.

    Raises:
        ValueError: if there are no images, or fewer than asked for, or labels do not fit.
    """
    images, y = labelled(net, x, y)
    count, replicas = len(images), replicas_of(net)
    if replicas is None:
        fits = y is None or (y.ndim > 0 and y.shape[0] == count)
    else:
        fits = y is None or y.shape in ((count,), (replicas, count))
    if not fits:
        assert y is not None
        raise ValueError(
            f"y must hold one label per image, shape [{count}]"
            + ("" if replicas is None else f" or [{replicas}, {count}]")
            + f", got {list(y.shape)}."
        )
    if view.images is None or view.images == count:
        return images, y
    require(view.images <= count, f"images={view.images} were asked for, got a data set of {count}.")
    orders = streams.permutation(streams.keys("order", seeds_of(net, view.seed), f"importance/{view.seed}"), count)
    index = orders[:, : view.images]
    index = index[0] if replicas is None else index
    if y is not None:
        own = replicas is not None and y.ndim == 2
        y = y.gather(-1, index.to(y.device)) if own else y[index.to(y.device)]
    return Chosen(images, index, has_replicas(net, images[0:1])), y


def true_labels(y: Tensor | None, classes: int, name: str) -> Tensor:
    """Labels, checked.

    Args:
        y: labels or None.
        classes: outputs of the network.
        name: of the importance, for the message.

    Returns:
        int64 labels.

    Raises:
        ValueError: if there are none, or one is out of range.
    """
    require(y is not None, f"{name} needs the true labels: give y to estimate.")
    assert y is not None
    return labels(y, classes)


def own_labels(net: nn.Module, y: Tensor | None, logits: Tensor, rows: slice, name: str) -> Tensor:
    """The labels of a chunk, checked, one for each output.

    Args:
        net: the network.
        y: labels of all images, or None.
        logits: of the chunk, [B, C], [R, B, C] or, for tokens, [B, T, C].
        rows: which images the chunk has.
        name: of the importance, for the message.

    Returns:
        int64 [B], [R, B] or [B, T].

    Raises:
        ValueError: if there are none, or not one for each output, or one is out of range.
    """
    part = rows_of(net, true_labels(y, max(2, logits.shape[-1]), name), rows).to(logits.device)
    lead = logits.shape[:-1]
    if part.shape == lead or (output_replicas(net) is not None and part.shape == lead[1:]):
        return part.expand(lead)
    assert y is not None
    what = f"token, shape [N, {lead[1]}]" if logits.ndim == 3 else "image, shape [N]"
    raise ValueError(f"y must hold one label per {what}, got {list(y.shape)}.")
