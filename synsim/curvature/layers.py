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

NARROW = 16
"""Entries of a patch below which it stands on the left."""
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

    def stacked(self, layer: Any, given: Tensor, deltas: Tensor, memory: int) -> Gradients:
        """`gradients` for several output gradients of the same pass, which may share work on its inputs.

        Args:
            layer: of the type.
            given: inputs of one replica, `[B, *example]`.
            deltas: T gradients of its outputs for each example, [B, T, O, ...].
            memory: bytes that the gradients may take at a time.

        Yields:
            Rows, gradients of the strengths `[n, t, *shape]` and of the bias `[n, t, O]`, of some or all of the T.
        """
        for delta in deltas.unbind(1):
            for rows, gradient, to_bias in self.gradients(layer, given, delta, memory):
                yield rows, gradient.unsqueeze(1), to_bias.unsqueeze(1)

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
        for rows, gradient, to_bias in self.stacked(layer, given, delta.unsqueeze(1), memory):
            yield rows, gradient[:, 0], to_bias[:, 0]

    def stacked(self, layer: Any, given: Tensor, deltas: Tensor, memory: int) -> Gradients:  # noqa: D102
        shape, groups, terms = shape_of(layer), layer.groups, deltas.shape[1]
        places, patch = deltas.shape[-1] * deltas.shape[-2], shape[1:].numel()
        for rows in _chunks(layer, deltas, memory, 2 * groups * patch * places, terms):
            patches = _patches(layer, given[rows])  # [n, G, K, L]
            d = deltas[rows].flatten(3)
            n = d.shape[0]
            by_group = d.reshape(n, terms, groups, -1, places).transpose(1, 2).reshape(n, groups, -1, places)
            # Terms together make a tall matrix; a product with a narrow one is faster the other way round.
            if patch < NARROW:
                gradient = (patches @ by_group.transpose(-1, -2)).transpose(-1, -2)
            else:
                gradient = by_group @ patches.transpose(-1, -2)
            by_term = gradient.reshape(n, groups, terms, -1, patch).transpose(1, 2)
            yield rows, by_term.reshape(n, terms, *shape), d.sum(-1)

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


def _chunks(layer: Any, delta: Tensor, memory: int, more: int = 0, terms: int = 1) -> Iterator[slice]:
    # As many examples as fit into memory: their gradients, what is made of them, and more values of each.
    each = (3 * terms * shape_of(layer).numel() + more) * delta.element_size()
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
    height, width = kernel
    x = F.pad(x, [padding[1], padding[1], padding[0], padding[0]])
    rows = (x.shape[2] - dilation[0] * (height - 1) - 1) // stride[0] + 1
    columns = (x.shape[3] - dilation[1] * (width - 1) - 1) // stride[1] + 1
    # A view of the overlapping patches: one copy makes them, four times as fast as F.unfold.
    example, channel, row, column = x.stride()
    steps = (example, channel, dilation[0] * row, dilation[1] * column, stride[0] * row, stride[1] * column)
    patches = x.as_strided((*x.shape[:2], height, width, rows, columns), steps)
    return patches.reshape(x.shape[0], layer.groups, -1, rows * columns)


def _by_place(values: Tensor) -> Tensor:
    # [.., B, G, K, L] as [.., G, B · L, K].
    return values.movedim(-4, -3).transpose(-1, -2).flatten(-3, -2)


def _pair(value: int | tuple[int, ...]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])
