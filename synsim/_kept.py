"""Leaving a network as it was: modes, attributes, buffers and random generators, whatever its forward pass writes."""

import random
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from threading import RLock
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

Restore = Callable[[], None]

TURN = RLock()
"""Whose turn it is to measure. The mode of a network, the random generators and settings of torch belong to all
threads: two that change them and put them back by turns would measure in each other's state, and leave it behind."""

INTERNAL = frozenset(nn.Module().__dict__) - {"training"}
"""Where torch itself keeps parameters, buffers, modules and hooks."""
FIXED = frozenset({bool, int, float, str, type(None), tuple, torch.dtype})
"""Types without anything inside that a forward pass could write: of most attributes."""
DEEP = 4
"""Containers within containers that are looked into."""


@contextmanager
def kept(net: nn.Module) -> Iterator[None]:
    """Put a network back as it was, once passes through it are done.

    Every module gets its mode, its attributes and its buffers back, with the values they had: tensors, arrays, lists,
    sets and dicts that were written in place included, and nothing that a forward pass stored stays behind. So do
    the random generators of torch, NumPy and Python. What a forward pass keeps elsewhere (a closure, a file) is out of
    reach. Parameters are not copied, but for those of embeddings with max_norm: no other pass moves them. One thread at
    a time does this with a network.

    Args:
        net: any module.

    Yields:
        Nothing.

    Raises:
        ValueError: if the network holds parameters that have no shape yet.
    """
    for name, parameter in net.named_parameters():
        if is_lazy(parameter):
            raise ValueError(
                f"parameter {name!r} of the network has no shape before its first pass. Run one batch through it first."
            )
    with TURN:
        yield from _kept(net)


def _kept(net: nn.Module) -> Iterator[None]:
    undo = [_module(module) for module in net.modules()]
    devices = {parameter.device for parameter in net.parameters() if parameter.device.type == "cuda"}
    cuda = {device: torch.cuda.get_rng_state(device) for device in devices}
    try:
        with kept_generators():
            yield
    finally:
        for restore in undo:
            restore()
        for device, state in cuda.items():
            torch.cuda.set_rng_state(state, device)


@contextmanager
def kept_generators() -> Iterator[None]:
    """Put the random generators of torch, NumPy and Python back where they were, such as after reading a data set.

    Yields:
        Nothing.
    """
    with TURN:
        before = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
        try:
            yield
        finally:
            torch.set_rng_state(before[0])
            np.random.set_state(before[1])  # noqa: NPY002
            random.setstate(before[2])


def _module(module: nn.Module) -> Restore:
    own, size = {name: value for name, value in module.__dict__.items() if name not in INTERNAL}, len(module.__dict__)
    buffers, parameters = dict(module._buffers), dict(module._parameters)
    # The layers of this package move no buffer in a pass, and theirs are as large as their weights.
    watched = [] if hasattr(module, "address") else list(buffers.values())
    if getattr(module, "max_norm", None) is not None:
        # Embeddings that shorten, in a pass, the rows that they look up.
        watched += list(parameters.values())
    parts = [value for value in (*own.values(), *watched) if type(value) not in FIXED]
    undo = [one for value in parts if (one := _content(value, DEEP)) is not None]

    def restore() -> None:
        for one in undo:
            one()
        now = module.__dict__
        now.update(own)
        if len(now) != size:
            for name in [name for name in now if name not in INTERNAL and name not in own]:
                del now[name]
        for held, before in ((module._buffers, buffers), (module._parameters, parameters)):
            if len(held) != len(before) or any(held.get(name) is not value for name, value in before.items()):
                held.clear()
                held.update(before)  # type: ignore[arg-type]

    return restore


def _content(value: Any, deep: int) -> Restore | None:
    # What undoes changes of a value in place, or None if it has nothing inside that could change.
    if isinstance(value, Tensor):
        return _tensor(value)
    if isinstance(value, np.ndarray):
        return partial(np.copyto, value, value.copy())
    if not isinstance(value, list | dict | set | deque) or deep == 0:
        return None
    inside = [
        back
        for part in (value.values() if isinstance(value, dict) else value)
        if (back := _content(part, deep - 1)) is not None
    ]
    saved = value.copy()

    def restore() -> None:
        for one in inside:
            one()
        value.clear()
        if isinstance(value, dict | set):
            value.update(saved)
        else:
            value.extend(saved)

    return restore


def _tensor(value: Tensor) -> Restore | None:
    if value.is_meta or value.layout != torch.strided or torch._C._functorch.is_functorch_wrapped_tensor(value):  # type: ignore[attr-defined,unused-ignore]
        return None
    saved, shape = value.detach().clone(), value.shape

    def restore() -> None:
        with torch.no_grad():
            if value.shape != shape:
                value.data = saved
            elif not torch.equal(value, saved):
                value.detach().copy_(saved)

    return restore
