"""Activation checkpoints: the repetition of a pass inside a backward pass finds the address of the pass it repeats.

`torch.utils.checkpoint` runs a segment of a network twice. The first pass notes, with the segment, at which address
each module drew; the repetition draws there again and consumes nothing, also if the same input went through the network
twice, if several batches wait for their backward pass, if a layer is called several times, or if a view was in force
that is no more. Notes live with torch's own object of the segment: a frame (`use_reentrant=False`) or the context of an
autograd node (`use_reentrant=True`), which the Python stack tells.
"""

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.utils.checkpoint

if TYPE_CHECKING:
    from synsim.synapses.addressed import Address, Addressed, View

_hooks = torch._C._autograd._top_saved_tensors_default_hooks  # type: ignore[attr-defined,unused-ignore]
_backward = torch._C._current_graph_task_id
_FILE = torch.utils.checkpoint.__file__
_NOTES = "_synsim_notes"
_CALLS = ("checkpoint", "_checkpoint_impl")
"""Functions of torch, of older and of newer versions, that hold the generator of a segment."""
_UNPACK = "_checkpoint_hook.__init__.<locals>.unpack_hook"
_PACK = "_checkpoint_hook.__init__.<locals>.pack_hook"

UNKNOWN = (
    "{name} is asked to draw inside a backward pass, but not by a segment of torch.utils.checkpoint that it drew in "
    "before: the mask of the pass that is repeated can't be told. Use torch.utils.checkpoint.checkpoint, and call the "
    "layer itself in the segment; or hold one mask (with synsim.frozen(net, draw): ...) around both passes."
)


class Notes:
    """The addresses at which modules drew in a segment, in the order of their passes, and how far a repetition is."""

    def __init__(self) -> None:
        self.addresses: dict[Addressed, list[Address]] = {}
        self.repeated: tuple[int, dict[Addressed, int]] = (-1, {})

    def add(self, module: "Addressed", address: "Address") -> None:
        """Note the address of a pass.

        Args:
            module: what draws.
            address: with the number of the draw, or of the mean field.
        """
        self.addresses.setdefault(module, []).append(address)

    def next(self, module: "Addressed", run: int) -> "Address":
        """The address of the pass that is repeated.

        Args:
            module: what draws.
            run: number of the backward pass; each repeats the segment from its start.

        Returns:
            The address noted.

        Raises:
            RuntimeError: if there was no such pass.
        """
        if self.repeated[0] != run:
            self.repeated = run, {}
        places, noted = self.repeated[1], self.addresses.get(module, [])
        place = places.get(module, 0)
        if place >= len(noted):
            raise RuntimeError(UNKNOWN.format(name=_named(module)))
        places[module] = place + 1
        return noted[place]


class Segments(NamedTuple):
    """Where a pass stands: the segment that it repeats, or None, and those that will repeat it."""

    repeated: Notes | None
    run: int
    noted: list[Notes]


def suspected() -> bool:
    """Whether a pass may belong to a checkpoint: a cheap question, asked at every pass.

    Returns:
        False if it does not.
    """
    if torch.is_grad_enabled():
        return _hooks(True) is not None or _backward() != -1
    # The first pass of use_reentrant=True runs without gradients, as many passes do.
    return _inside_a_node()


def _inside_a_node() -> bool:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if code.co_filename == _FILE and code.co_qualname.startswith("CheckpointFunction."):
            return True
        frame = frame.f_back
    return False


def segments() -> Segments:
    """The segments that the present pass belongs to, from the innermost outwards.

    Returns:
        What it repeats and what will repeat it.
    """
    noted: list[Any] = []
    run, repeated = 0, None
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and repeated is None:
        code = frame.f_code
        if code.co_filename == _FILE:
            if code.co_qualname == "CheckpointFunction.forward":
                noted.append(frame.f_locals["ctx"])
            elif code.co_qualname == "CheckpointFunction.backward":
                run, repeated = _backward(), frame.f_locals["ctx"]
            elif code.co_qualname == _UNPACK:
                run, repeated = hash(frame.f_locals["gid"]), frame.f_locals["frame"]
            elif code.co_qualname in _CALLS and frame.f_locals.get("gen") is not None:
                noted.append(frame.f_locals["gen"].gi_frame.f_locals["new_frame"])
        frame = frame.f_back
    # Segments that begin and end in hooks of a module, not in a call.
    top = _hooks(True)
    pack = None if top is None else top[0]
    if getattr(pack, "__qualname__", "") == _PACK:
        assert pack is not None
        own = inspect.getclosurevars(pack).nonlocals["frame"]
        if all(own is not other for other in noted):
            noted.append(own)
    return Segments(None if repeated is None else _notes(repeated), run, [_notes(one) for one in noted])


def _notes(holder: Any) -> Notes:
    notes = getattr(holder, _NOTES, None)
    if notes is None:
        notes = Notes()
        setattr(holder, _NOTES, notes)
    return notes


def resolve(module: "Addressed") -> "Address | None":
    """The address of a pass that may belong to a checkpoint; it is noted where it will be asked for.

    Args:
        module: what draws.

    Returns:
        An address with the number of its draw, or of the mean field; None if the pass belongs to none.

    Raises:
        RuntimeError: inside a backward pass, if the pass that is repeated can't be told.
    """
    found = segments()
    if found.repeated is not None:
        address = found.repeated.next(module, found.run)
    elif _backward() != -1 and torch.is_grad_enabled() and not module.idle():
        raise RuntimeError(UNKNOWN.format(name=_named(module)))
    elif not found.noted:
        return None
    else:
        address = module.address
        if not module.idle() and address.draw is None:
            address = replace(address, draw=module.count_on())
    for notes in found.noted:
        notes.add(module, address)
    return address


def number(module: "Addressed") -> int:
    """The number of a draw made past a module's `forward`.

    Args:
        module: what draws.

    Returns:
        The number.
    """
    address = resolve(module)
    return module.count_on() if address is None or address.draw is None else address.draw


def tied(forward: Callable[..., Any], module: "Addressed", args: Any, kwargs: Any) -> Any:
    """Run a pass at the address of the pass that it repeats, or note where it draws.

    Args:
        forward: method of the module.
        module: what draws.
        args: of the method.
        kwargs: of the method.

    Returns:
        What the method returns.
    """
    view = module.stream.here.view
    if view is not None and view.tied:  # entered already: a `forward` that calls that of its base
        return forward(module, *args, **kwargs)
    address = resolve(module)
    if address is None:
        return forward(module, *args, **kwargs)
    with _held(module, address):
        return forward(module, *args, **kwargs)


@contextmanager
def one_pass(module: "Addressed") -> Iterator[None]:
    """Steps made past the `forward` of a module are one pass of it, with one draw.

    Args:
        module: what draws.

    Yields:
        Nothing.
    """
    from synsim.synapses.addressed import transformed

    address = resolve(module) if suspected() else None
    if address is None:
        address = module.address
        if not module.idle() and address.draw is None and not transformed():
            address = replace(address, draw=module.count_on())
    with _held(module, address, steps=True) as view:
        view.asked = not module.idle()
        yield


@contextmanager
def _held(module: "Addressed", address: "Address", steps: bool = False) -> Iterator["View"]:
    from synsim.synapses.addressed import View

    here = module.stream.here
    before = here.view
    view = here.view = View(address, tied=True)
    view.under = address if steps else None if before is None else before.under
    try:
        yield view
    finally:
        here.view = before
        if before is not None:
            before.asked = before.asked or view.asked
            if before.under is not None and _backward() == -1:
                before.address = replace(before.address, step=view.address.step)
        if view.counts is not None and _backward() == -1:
            module._note(view.counts)


def _named(module: "Addressed") -> str:
    return f"layer {module._name!r}" if module._name else type(module).__name__
