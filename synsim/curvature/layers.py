"""Closed forms of gradients per example, by the type of a layer; a type of one's own takes its place by `register`.

The gradient per example of a layer that multiplies is made of its input and the gradient of its output. What differs
between kinds of layers is said here, and nowhere else. A type without an entry takes the general path through
`torch.func`; one with an entry takes it too wherever a trial shows that the closed form does not hold.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synsim.synapses import BernoulliConv2d, BernoulliLinear, StochasticLayer

Gradients = Iterator[tuple[slice, Tensor, Tensor]]
"""Rows of a chunk of n examples, and their gradients: of the strengths [n, *shape] and of the bias [n, O]."""


class Handler(ABC):
    """What is asked of a kind of layer with the parameters `weight` and, perhaps, `bias`.

    Attributes:
        axes: of one input example: 1 for rows, 3 for images.
    """

    axes: int

    def holds(self, layer: Any) -> bool:
        """Whether the closed form is meant for a layer of this type, as it is set.

        Args:
            layer: of the type.

        Returns:
            True, if nothing else is said.
        """
        return True

    def outer(self, layer: Any, given: Tensor) -> bool:
        """Whether the gradient of every example is one outer product δ aᵀ of output gradient and input.

        Sums over examples are then one product of matrices, and no gradient of a single one is made.

        Args:
            layer: of the type.
            given: its input.

        Returns:
            False, if nothing else is said.
        """
        return False

    @abstractmethod
    def gradients(self, layer: Any, given: Tensor, delta: Tensor, memory: int) -> Gradients:
        """Gradients per example with respect to the strengths that the layer multiplies with, were all released.

        Args:
            layer: of the type.
            given: inputs of one replica, `[B, *example]`.
            delta: gradients of its outputs, [B, O, ...].
            memory: bytes that they may take at a time.

        Yields:
            Rows, gradients of the strengths and gradients of the bias.
        """

    def rows(self, layer: Any, given: Tensor, delta: Tensor) -> tuple[Tensor, Tensor] | None:
        """Inputs and output gradients of all places at which the strengths were used, one row each.

        The gradient of the strengths is the sum over rows of output gradient times input.

        Args:
            layer: of the type.
            given: its input, as it came in.
            delta: gradient of its output.

        Returns:
            Inputs [..., N, I] and output gradients [..., N, O]; in front are the replicas and, where there are
            several, the groups of a convolution, whose I and O are those of one group. None if nothing else is said.
        """
        return None

    def slope(self, layer: Any) -> Tensor | None:
        """Derivative of the strength by the stored weight, entry by entry, where a layer stores something else.

        Args:
            layer: of the type.

        Returns:
            A tensor like the weight; None for 1.
        """
        return None


class Linear(Handler):
    """Rows times a matrix: the gradient is Σ over positions of δ aᵀ."""

    axes = 1

    def outer(self, layer: Any, given: Tensor) -> bool:  # noqa: D102
        return given.ndim == 2 or (given.ndim == 3 and replicas_of(layer) is not None)

    def gradients(self, layer: Any, given: Tensor, delta: Tensor, memory: int) -> Gradients:  # noqa: D102
        for rows in _chunks(layer, delta, memory):
            d = delta[rows]
            a = given[rows].reshape(d.shape[0], -1, given.shape[-1])
            d = d.reshape(d.shape[0], -1, d.shape[-1])
            yield rows, d.transpose(1, 2) @ a, d.sum(1)

    def rows(self, layer: Any, given: Tensor, delta: Tensor) -> tuple[Tensor, Tensor] | None:  # noqa: D102
        if replicas_of(layer) is None:
            return given.reshape(-1, given.shape[-1]), delta.reshape(-1, delta.shape[-1])
        delta = delta.flatten(1, -2)
        own = given.flatten(1, -2) if given.ndim > 2 else given.expand(delta.shape[0], *given.shape)
        return own, delta


class Convolution(Handler):
    """Images under a kernel: the gradient is Σ over positions of δ times the patch of the image beneath."""

    axes = 3

    def holds(self, layer: Any) -> bool:  # noqa: D102
        return bool(getattr(layer, "padding_mode", "zeros") == "zeros")

    def gradients(self, layer: Any, given: Tensor, delta: Tensor, memory: int) -> Gradients:  # noqa: D102
        shape = shape_of(layer)
        patch = shape[1:].numel() * delta.shape[-1] * delta.shape[-2]
        for rows in _chunks(layer, delta, memory, 2 * layer.groups * patch):
            patches = _patches(layer, given[rows])  # [n, G, K, L]
            d = delta[rows].flatten(2)
            by_group = d.reshape(d.shape[0], layer.groups, -1, d.shape[-1])
            gradient = by_group @ patches.transpose(-1, -2)
            yield rows, gradient.reshape(d.shape[0], *shape), d.sum(-1)

    def rows(self, layer: Any, given: Tensor, delta: Tensor) -> tuple[Tensor, Tensor] | None:  # noqa: D102
        replicas, groups = replicas_of(layer), layer.groups
        lead = delta.shape[:-3]  # replicas and images
        patches = _patches(layer, given.flatten(0, -4))  # [R · B or B, G, K, L]
        own = patches.reshape(*given.shape[:-3], *patches.shape[1:])
        if own.ndim < len(lead) + 3:
            own = own.expand(*lead, *patches.shape[1:])
        errors = delta.flatten(-2).reshape(*lead, groups, -1, own.shape[-1])  # [R, B, G, O / G, L]
        found = [_by_place(each) for each in (own, errors)]
        if groups == 1:
            found = [each.squeeze(0 if replicas is None else 1) for each in found]
        return found[0], found[1]


_HANDLERS: dict[type, Handler] = {}


def register(kind: type[nn.Module], handler: Handler) -> None:
    """Give a type of layers its closed form; subclasses of the type keep the general path until they have their own.

    Args:
        kind: the type. One that is given again takes the new handler.
        handler: its handler; an instance of `Linear` or `Convolution` serves layers that multiply as those do.

    Raises:
        TypeError: if it is no type of modules, or no handler.
    """
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        raise TypeError(f"expected a subclass of torch.nn.Module, got {kind!r}.")
    if not isinstance(handler, Handler):
        raise TypeError(
            f"expected an instance of a subclass of synsim.curvature.Handler, got {handler!r}. "
            "Layers that multiply as nn.Linear does take synsim.curvature.Linear()."
        )
    _HANDLERS[kind] = handler


for linear in (nn.Linear, BernoulliLinear):
    register(linear, Linear())
for convolution in (nn.Conv2d, BernoulliConv2d):
    register(convolution, Convolution())


def handler_of(layer: nn.Module) -> Handler | None:
    """The handler of a layer's type.

    Args:
        layer: any module.

    Returns:
        The handler, or None for types without an entry.
    """
    return _HANDLERS.get(type(layer))


def replicas_of(layer: nn.Module) -> int | None:
    """The replicas of a layer.

    Args:
        layer: any module.

    Returns:
        R, or None without an axis of replicas.
    """
    return layer.replicas if isinstance(layer, StochasticLayer) else None


def shape_of(layer: Any) -> torch.Size:
    """The shape of one replica's weight.

    Args:
        layer: a layer with a handler.

    Returns:
        The shape.
    """
    return layer.weight.shape[0 if replicas_of(layer) is None else 1 :]  # type: ignore[no-any-return]


def leads(layer: nn.Module, x: Tensor) -> bool:
    """Whether an input or output has an axis of replicas before that of the examples.

    Args:
        layer: a layer with a handler.
        x: what came in or out.

    Returns:
        True or False.
    """
    handler = handler_of(layer)
    return handler is not None and replicas_of(layer) is not None and x.ndim == handler.axes + 2


def _chunks(layer: Any, delta: Tensor, memory: int, more: int = 0) -> Iterator[slice]:
    # As many examples as fit into memory: their gradients, what is made of them, and more values of each.
    each = (3 * shape_of(layer).numel() + more) * delta.element_size()
    step = max(1, memory // each)
    return (slice(start, start + step) for start in range(0, delta.shape[0], step))


def _patches(layer: nn.Conv2d | BernoulliConv2d, x: Tensor) -> Tensor:
    kernel = tuple(layer.weight.shape[-2:])
    dilation, stride = _pair(layer.dilation), _pair(layer.stride)
    if isinstance(layer.padding, str):
        # "same" puts what cannot be halved at the end.
        wide = [d * (k - 1) if layer.padding == "same" else 0 for d, k in zip(dilation, kernel, strict=True)]
        x = F.pad(x, [wide[1] // 2, wide[1] - wide[1] // 2, wide[0] // 2, wide[0] - wide[0] // 2])
        padding = (0, 0)
    else:
        padding = _pair(layer.padding)
    patches = F.unfold(x, kernel, dilation, padding, stride)
    return patches.reshape(x.shape[0], layer.groups, -1, patches.shape[-1])


def _by_place(values: Tensor) -> Tensor:
    # [.., B, G, K, L] as [.., G, B · L, K].
    return values.movedim(-4, -3).transpose(-1, -2).flatten(-3, -2)


def _pair(value: int | tuple[int, ...]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])
