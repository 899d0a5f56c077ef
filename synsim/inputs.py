"""What a network is shown, and what comes out: images as a tensor or as anything that can be sliced, and logits."""

from typing import Protocol

from torch import Tensor, nn

from synsim import _checks
from synsim.networks import MultiHead, example_ndim, replicas_of


class Images(Protocol):
    """Anything with a length and slices that are float tensors: a tensor, or the examples of a task."""

    def __len__(self) -> int:
        """Number of images."""

    def __getitem__(self, index: slice, /) -> Tensor:
        """The images of a slice, [n, ...] or [R, n, ...]."""


class _Shared:
    # A tensor of images seen through the two operations of `Images`, whichever axis counts the images.
    def __init__(self, x: Tensor, axis: int) -> None:
        self._x, self.axis = x, axis

    def __len__(self) -> int:
        return self._x.shape[self.axis]

    def __getitem__(self, index: slice) -> Tensor:
        return self._x[index] if self.axis == 0 else self._x[:, index]


def as_images(net: nn.Module, x: Tensor | Images) -> Images:
    """Images as something that can be sliced.

    Args:
        net: the network that will see them.
        x: float tensor [N, ...] or, for replicas with images of their own, [R, N, ...]; or an object with `len()` and
            slices.

    Returns:
        An object with `len()` and slices.

    Raises:
        ValueError: if there are no images, or they are integers or not finite.
    """
    if isinstance(x, Tensor):
        axes = example_ndim(net)
        axis = 1 if axes is not None and x.ndim == axes + 2 else 0
        _checks.images(x, axis=axis)
        x = _Shared(x, axis)
    if len(x) == 0:
        raise ValueError("expected at least one image, got none.")
    return x


def logits_of(net: nn.Module, x: Tensor, head: int | None) -> Tensor:
    """Logits of a network, with checks of what came in and out.

    Args:
        net: the network.
        x: images of one forward pass.
        head: index of the head, or None for a network with one output layer.

    Returns:
        [B, C] or [R, B, C].

    Raises:
        ValueError: if x holds integers, a network of several heads is given none, or the output is not of rank 2 or 3.
    """
    if not x.is_floating_point():
        _checks.images(x)
    if head is None and isinstance(net, MultiHead):
        raise ValueError(
            f"this network has {len(net.heads)} heads, got none: give head, the index of the active one "
            f"(0 to {len(net.heads) - 1})."
        )
    out: Tensor = net(x) if head is None else net(x, head=head)
    if out.ndim not in (2, 3):
        raise ValueError(f"the network must return logits [B, C] or [R, B, C], got shape {list(out.shape)}.")
    return out


def has_replicas(net: nn.Module, x: Tensor) -> bool:
    """Whether images come with an axis of replicas, each with images of its own.

    Args:
        net: the network that will see them.
        x: images of one pass.

    Returns:
        True for [R, B, ...], False for [B, ...].
    """
    axes = example_ndim(net)
    return axes is not None and replicas_of(net) is not None and x.ndim == axes + 2
