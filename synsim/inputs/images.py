"""Examples as a tensor or as anything that can be sliced, and which of their axes counts them."""

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from synsim import _checks
from synsim._doors import explained, held, typed
from synsim._kept import kept
from synsim.inputs.logits import output_replicas, tensor_of
from synsim.inputs.reading import read
from synsim.networks import MultiHead, example_ndim, replicas_of
from synsim.synapses import StochasticLayer, expected


class Images(Protocol):
    """Anything with a length and slices that are tensors: a tensor, or the examples of a task."""

    def __len__(self) -> int:
        """Number of examples."""

    def __getitem__(self, index: slice, /) -> Tensor:
        """The examples of a slice, [n, ...] or [R, n, ...]."""


class _Shared:
    # A tensor of examples seen through the two operations of `Images`, whichever axis counts them.
    def __init__(self, x: Tensor, axis: int, y: Tensor | None = None, *, ordered: bool = True) -> None:
        self._x, self.axis, self.y, self.ordered = x, axis, y, ordered

    def __len__(self) -> int:
        return self._x.shape[self.axis]

    def __getitem__(self, index: slice) -> Tensor:
        return self._x[index] if self.axis == 0 else self._x[:, index]


@typed
def as_images(net: nn.Module, x: Any) -> Images:
    """Examples as something that can be sliced.

    Args:
        net: the network that will see them.
        x: tensor [N, ...] or, for a network with replicas that see examples of their own, [R, N, ...]; an object with
            `len()` and slices; or what is read once, into memory: a NumPy array, a list, a DataLoader, a data set of
            examples or of pairs (example, label). A loader that shuffles is read in the order of its data set. What is
            not a tensor comes to the device of the network and, if it holds floats, to its floating-point type.

    Returns:
        An object with `len()` and slices; labels that came with the examples are its attribute `y`.

    Raises:
        ValueError: if there are no examples, or they are not finite, or do not fit together.
        TypeError: if x is nothing of the above.
    """
    y, ordered = None, True
    if not isinstance(x, Tensor):
        found = read(x)
        if found is not None:
            x, y, ordered = _placed(net, found.x), found.y, found.ordered
    if isinstance(x, Tensor):
        _checks.dense(x, "x")
        _checks.require(x.ndim > 0, "x must hold examples along its first axis, got a single number.")
        axis = 1 if has_replicas(net, x) else 0
        if x.is_floating_point():
            _checks.images(x, axis=axis)
        x = _Shared(x, axis, y, ordered=ordered)
    images: Images = x
    count_of(images)
    return images


def count_of(images: Images) -> int:
    """How many examples there are.

    Args:
        images: anything with a length and slices.

    Returns:
        Their number, at least 1.

    Raises:
        ValueError: if there are none, or there is a single number in their place.
    """
    _checks.require(not isinstance(images, Tensor) or images.ndim > 0, "images must be several, got a single number.")
    _checks.require(len(images) > 0, "expected at least one image, got none.")
    return len(images)


def _placed(net: nn.Module, x: Tensor) -> Tensor:
    first = next((p for p in net.parameters() if p.is_floating_point()), None)
    if first is None:
        return x
    return x.to(first.device, first.dtype) if x.is_floating_point() else x.to(first.device)


@typed
def labelled(net: nn.Module, x: Any, y: Any = None) -> tuple[Images, Tensor | None]:
    """Examples and their labels.

    Args:
        net: the network that will see them.
        x: as for `as_images`.
        y: labels, a tensor, array or list; None: those that x brings with it, if any.

    Returns:
        Examples, and labels as they are, or None if there are none.

    Raises:
        ValueError: if labels are given beside a loader that chooses its examples at random, so that nobody knows
            which belong together.
    """
    images = as_images(net, x)
    own = None if isinstance(x, Tensor) else getattr(images, "y", None)
    if y is None:
        return images, own
    y = _checks.dense(_checks.tensor(y, "y"), "y")
    _checks.require(y.ndim > 0, "y must hold labels along its first axis, got a single number.")
    if not getattr(images, "ordered", True) and not (own is not None and torch.equal(own.to(y), y)):
        raise ValueError(
            "this loader draws its examples in an order of its own, so that labels given beside it may belong to other "
            "examples. Let the loader yield pairs (example, label) and leave y out, or give a loader without sampler."
        )
    return images, y


@explained
def rows_of(net: nn.Module, y: Tensor, rows: slice) -> Tensor:
    """The labels of some examples.

    Args:
        net: the network.
        y: labels [N], [N, T] for one label per token or, for a network with replicas, [N] or [R, N].
        rows: which examples.

    Returns:
        Their labels.
    """
    held(rows, slice, "rows")
    _checks.require(y.ndim > 0, "y must hold labels along its first axis, got a single number.")
    return y[..., rows] if output_replicas(net) is not None else y[rows]


@typed
def has_replicas(net: nn.Module, x: Tensor) -> bool:
    """Whether examples come with an axis of replicas, each with examples of its own.

    Only a network with replicas may have such an axis. Where its first layer takes the examples as they are, their
    rank tells; where they go through something else first, one example in either reading is tried.

    Args:
        net: the network that will see them.
        x: examples of one pass, or all.

    Returns:
        True for [R, B, ...], False for [B, ...].

    Raises:
        ValueError: if the network takes either reading.
    """
    replicas = replicas_of(net)
    if replicas is None or x.ndim < 3 or x.shape[0] != replicas:
        return False
    axes = example_ndim(net)
    if axes is not None and (x.ndim <= axes + 1 or isinstance(_first(net), StochasticLayer)):
        return x.ndim >= axes + 2
    shape = (output_replicas(net), 1)
    shared, own = (_leads(net, one) == shape for one in (x[:1], x[:, :1]))
    if shared and own and x.shape[1] != 1:
        raise ValueError(
            f"x of shape {list(x.shape)} may be {x.shape[0]} examples for all replicas, or {x.shape[1]} for each of "
            f"the {replicas}: this network takes both. Give an object with len() and slices, which says so."
        )
    return own


def _first(net: nn.Module) -> nn.Module:
    # What sees the input first, where a network is a chain.
    while isinstance(net, nn.Sequential | MultiHead) and len(list(net.children())) > 0:
        net = next(net.children())
    return net


def _leads(net: nn.Module, x: Tensor) -> tuple[int, ...] | None:
    # The axes of the output before that of the classes, or None if the network does not take x.
    options = {"head": 0} if isinstance(net, MultiHead) else {}
    try:
        with torch.no_grad(), kept(net), expected(net):
            return tuple(tensor_of(net(x, **options)).shape[:-1])
    except (RuntimeError, ValueError, TypeError, IndexError):
        return None
