"""One forward pass with the inputs and outputs of every layer at hand, from which gradients per example follow."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from synsim._names import named_modules
from synsim.curvature.layers import handler_of, leads
from synsim.synapses import StochasticLayer

HIDING = "CheckpointFunctionBackward"
"""Steps of a graph behind which `torch.autograd.grad` finds no parameters: reentrant checkpoints."""


@dataclass
class Use:
    """One use of a layer.

    Attributes:
        input: what came in, apart from autograd.
        output: what came out, before any later layer could overwrite it.
    """

    input: Tensor
    output: Tensor


@dataclass
class Tape:
    """What a forward pass left behind.

    Attributes:
        uses: layer name -> its use.
        calls: layer name -> how often it was used.
    """

    uses: dict[str, Use] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)


@contextmanager
def capture(net: nn.Module, inside: Collection[Tensor] = ()) -> Iterator[Tape]:
    """Record inputs and outputs of the known layers while the context lasts; parameters stay out of autograd.

    Args:
        net: any module; afterwards it is as it was.
        inside: parameters that stay in autograd all the same.

    Yields:
        The tape; a second forward pass overwrites the first.
    """
    tape = Tape()
    kept = {id(parameter) for parameter in inside}
    wanted = [parameter for parameter in net.parameters() if parameter.requires_grad and id(parameter) not in kept]

    def record(name: str, given: Tensor, output: Tensor) -> Tensor:
        tape.calls[name] += 1
        if not output.requires_grad:
            output = output.detach().requires_grad_()
        tape.uses[name] = Use(given.detach(), output)
        # A copy goes on, since an activation may work in place.
        return output.clone()

    with _listening(net, record):
        try:
            for parameter in wanted:
                parameter.requires_grad_(False)
            yield tape
        finally:
            for parameter in wanted:
                parameter.requires_grad_(True)


@contextmanager
def _listening(net: nn.Module, hear: Callable[[str, Tensor, Tensor], Tensor | None]) -> Iterator[None]:
    # Before any hook of the user's, so that what a layer gives out is heard, and what hooks make of it is theirs.
    def hook(name: str) -> Any:
        def heard(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Tensor) -> Tensor | None:
            given = [*inputs, *(value for value in named.values() if value is not None)]
            plain = len(given) == 1 and isinstance(given[0], Tensor) and isinstance(output, Tensor)
            return hear(name, given[0] if plain else torch.empty(0, device="cpu"), output)

        return heard

    layers = {name: module for name, module in named_modules(net) if handler_of(module) is not None}
    handles = [
        module.register_forward_hook(hook(name), prepend=True, with_kwargs=True) for name, module in layers.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def simple(
    net: nn.Module, trained: Mapping[str, Tensor], count: int, run: Callable[[], Tensor]
) -> tuple[Tensor, bool, int]:
    """One pass, and whether the graph allows closed forms.

    Products of inputs and output gradients may be the gradients per example if every trained parameter belongs to a
    known layer, which is used at most once, on the examples themselves, and if no parameter has a way to the output
    around these layers.

    Args:
        net: any module, with its parameters in autograd.
        trained: name -> parameter.
        count: examples of the pass.
        run: makes the pass and returns the output.

    Returns:
        The output, the answer, and how many values the known layers take in and give out per example.

    Raises:
        ValueError: if the graph hides parameters.
    """
    modules = dict(named_modules(net))
    calls: Counter[str] = Counter()
    starts: list[Node | None] = []
    ends: set[Node | None] = set()
    width, fits = 0, True

    def record(name: str, given: Tensor, output: Tensor) -> Tensor:
        nonlocal width, fits
        calls[name] += 1
        width += given.numel() + 4 * output.numel()
        fits = fits and given.ndim > 1 and _examples(modules[name], given) == _examples(modules[name], output) == count
        starts.append(given.grad_fn)
        # A copy goes on, since an activation that works in place may rewrite the graph of a view.
        output = output.clone()
        ends.add(output.grad_fn)
        return output

    with torch.enable_grad(), _listening(net, record):
        out = run()
    counted = {id(parameter) for parameter in trained.values()}
    around = _reached([out.grad_fn, *starts], ends - {None}) & counted
    owners: Counter[int] = Counter()
    known = True
    for name, module in named_modules(net, remove_duplicate=False):
        own = {key: id(p) for key, p in module.named_parameters(recurse=False) if id(p) in counted}
        handler = handler_of(module)
        closed = handler is not None and calls[name] <= 1 and handler.holds(module)
        known = known and (not own or (closed and own.keys() <= {"weight", "bias"}))
        owners.update(own.values())
    return out, fits and not around and known and all(held == 1 for held in owners.values()), width // count


def _reached(starts: list[Node | None], ends: set[Node | None]) -> set[int]:
    # Ids of the leaves that a graph reaches without passing one of the ends.
    waiting, seen, leaves = [node for node in starts if node is not None], set(ends), set()
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        if HIDING in node.name():
            raise ValueError(
                "the network recomputes parts of itself by torch.utils.checkpoint with use_reentrant=True, behind "
                "which no gradient of a parameter can be asked for. Use use_reentrant=False."
            )
        variable = getattr(node, "variable", None)
        if variable is not None:
            leaves.add(id(variable))
        waiting += [before for before, _ in node.next_functions if before is not None]
    return leaves


def _examples(layer: nn.Module, x: Tensor) -> int:
    return x.shape[1 if leads(layer, x) else 0]


def mask_of(layer: nn.Module, examples: int) -> Tensor | None:
    """Factors k / (N p) by which the latest pass scaled the expected strengths.

    Args:
        layer: a layer of the network.
        examples: examples of that pass.

    Returns:
        None where every synapse transmitted its expected strength; [1, R, *shape] for one mask per pass, and
        [E, R, *shape] for one per example (R = 1 without replicas).
    """
    if not isinstance(layer, StochasticLayer) or layer.address.mean:
        return None
    return layer.scales(examples if layer.per_example else 1)
