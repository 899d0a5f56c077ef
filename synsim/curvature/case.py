"""A network with a few of its examples, each of which can be passed alone: what a trial is made on."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from inspect import ismethod
from typing import Any, TypeVar
from weakref import WeakMethod, ref

import torch
from torch import Tensor, nn

from synsim._doors import typed
from synsim._kept import INTERNAL
from synsim.curvature.layers import handler_of
from synsim.curvature.measuring import Measurement
from synsim.inputs import Images, has_replicas, logits_of, output_replicas
from synsim.inputs.images import count_of
from synsim.synapses import Addressed, addressed
from synsim.synapses.addressed import PLAIN

T = TypeVar("T")

TRIED = 3
"""Examples of a trial."""
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
FIXED = (bool, int, float, str, type(None), torch.dtype, torch.Size)
DEEP, LONG = 3, 32
"""How far settings of a network are looked into: containers within containers, and entries of each."""
MANY = 32
"""Structures of one network that are remembered: settings that count would make them without end."""
FAILURES = (RuntimeError, ValueError, TypeError, IndexError, AttributeError, KeyError)
"""What networks raise where they cannot go."""


@dataclass(frozen=True)
class Case:
    """A network with a few examples.

    Attributes:
        net: the network, in the state in which it is to be measured.
        x: the examples.
        axis: which axis of x counts them.
        head: index of the head, or None.
        images: all examples, of which these are the first.
        measurement: the passes to make.
    """

    net: nn.Module
    x: Tensor
    axis: int
    head: int | None
    images: Images
    measurement: Measurement

    @property
    def count(self) -> int:
        """Number of examples."""
        return self.x.shape[self.axis]

    @property
    def lead(self) -> int:
        """Which axis of the output counts the examples."""
        return 0 if output_replicas(self.net) is None else 1

    def in_parts(self, size: int = 1) -> Iterator[Tensor]:
        """Pass a few examples at a time, with the masks that they have in a pass of all.

        Args:
            size: how many; 1: each alone.

        Yields:
            Outputs of these examples.
        """
        for i in range(0, self.count, size):
            layers = [layer for layer in addressed(self.net).values() if layer.per_example and not layer.address.mean]
            with _later(layers, i):
                yield logits_of(self.net, self.x.narrow(self.axis, i, min(size, self.count - i)), self.head)

    def together(self) -> Tensor:
        """Pass all examples at once.

        Returns:
            Their output.
        """
        return logits_of(self.net, self.x, self.head)

    def chunk(self, count: int) -> "Case":
        """The same network with more examples: those of the first chunk, whose masks are set.

        Args:
            count: how many examples a chunk has at most.

        Returns:
            The case.
        """
        rows = next(iter(self.measurement.rows(len(self.images), count)))
        return replace(self, x=self.images[rows].to(self.x.dtype))

    def in_doubles(self) -> "Case | None":
        """The same in float64.

        Returns:
            A case of a copy, or None if the network cannot be copied.
        """
        try:
            net = copy.deepcopy(self.net).double()
        except FAILURES:
            return None
        return replace(self, net=net, x=self.x.double() if self.x.is_floating_point() else self.x)

    @cached_property
    def structure(self) -> object:
        """What a verdict was reached for: anything else is tried anew. Numbers of hooks are never given twice."""
        seen: dict[int, int] = {}
        parts: list[object] = []
        for module in self.net.modules():
            own = module.__dict__
            plain = tuple((name, _frozen(value)) for name, value in own.items() if name not in INTERNAL)
            flags = tuple(bool(one) for one in module._buffers.values() if one is not None and _flag(one))
            hooks = tuple(tuple(own[kind]) for kind in HOOKS)
            held = tuple(
                (name, seen.setdefault(id(p), len(seen)), p.shape, p.dtype, p.requires_grad, *(p._backward_hooks or ()))
                for name, p in module._parameters.items()
                if p is not None
            )
            address = module.address if isinstance(module, Addressed) else PLAIN
            state = address.mean, address.draw is None
            parts.append((type(module), type(module).forward, handler_of(module), plain, flags, hooks, held, state))
        modes = torch.is_autocast_enabled("cpu"), torch.is_autocast_enabled("cuda"), torch.is_grad_enabled()
        shape = self.x.shape, self.axis, self.x.dtype, self.x.device
        return (*parts, shape, self.head, modes)


def remember(known: dict[object, T], key: object, verdict: T) -> None:
    """Keep a verdict on a structure, and not more than a few of them.

    Args:
        known: structure -> verdict, of one network.
        key: the structure.
        verdict: what was found.
    """
    if len(known) >= MANY:
        known.clear()
    known[key] = verdict


@typed
def case_of(net: nn.Module, images: Images, measurement: Measurement, head: int | None) -> Case:
    """The first examples, with the masks of the first pass.

    Args:
        net: the network.
        images: its examples.
        measurement: the passes to make.
        head: index of the head, or None.

    Returns:
        The case.

    Raises:
        ValueError: if there are no examples.
    """
    parts = [images[i : i + 1] for i in range(min(TRIED, count_of(images)))]
    axis = 1 if has_replicas(net, parts[0]) else 0
    measurement.start()
    return Case(net, torch.cat(parts, axis), axis, head, images, measurement)


@contextmanager
def _later(layers: list[Addressed], i: int) -> Iterator[None]:
    before = [layer.address for layer in layers]
    for layer in layers:
        layer.address = replace(layer.address, example=layer.address.example + i)
    try:
        yield
    finally:
        for layer, address in zip(layers, before, strict=True):
            layer.address = address


def _frozen(value: Any, deep: int = DEEP) -> object:
    # A setting as something that can be compared later, whatever is written into it meanwhile.
    if isinstance(value, FIXED):
        return value
    if isinstance(value, list | tuple):
        return tuple(_frozen(one, deep - 1) for one in value[:LONG]) if deep else len(value)
    if isinstance(value, dict):
        return tuple((str(key), _frozen(value[key], deep - 1)) for key in list(value)[:LONG]) if deep else len(value)
    if isinstance(value, set | frozenset):
        return frozenset(map(str, value)) if len(value) <= LONG else len(value)
    if isinstance(value, Tensor):
        return bool(value) if _flag(value) else None
    if callable(value):
        return _pointer(value)
    held = getattr(value, "__dict__", None)
    # Of an object its own settings alone: what it points to may be as large as a trainer with its data.
    return type(value), None if held is None else _frozen(dict(held), min(deep, 1))


def _pointer(value: Any) -> object:
    # Not held: it may hold the network. One that is no more equals none.
    if ismethod(value):
        return WeakMethod(value)
    try:
        found = ref(value)
        hash(found)
    except TypeError:
        return type(value)
    return found


def _flag(value: Tensor) -> bool:
    return value.dtype == torch.bool and value.ndim == 0 and not value.is_meta
