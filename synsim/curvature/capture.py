"""One forward pass with the inputs and outputs of every layer at hand, from which gradients per example follow."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from synsim.synapses import BernoulliConv2d, BernoulliLinear, StochasticLayer

Layer = nn.Linear | nn.Conv2d | BernoulliLinear | BernoulliConv2d
KNOWN = (nn.Linear, nn.Conv2d, BernoulliLinear, BernoulliConv2d)
"""Layers whose gradient per example is a product of input and output gradient."""
PROBES = (2, 3)
"""Images of the passes that tell which axis counts the examples."""


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
    """

    uses: dict[str, Use] = field(default_factory=dict)


@contextmanager
def capture(net: nn.Module) -> Iterator[Tape]:
    """Record inputs and outputs of the known layers while the context lasts; parameters stay out of autograd.

    Args:
        net: any module; afterwards it is as it was.

    Yields:
        The tape; a second forward pass overwrites the first.
    """
    tape = Tape()
    layers = {name: module for name, module in net.named_modules() if type(module) in KNOWN}
    wanted = [parameter for parameter in net.parameters() if parameter.requires_grad]

    def record(name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            if not output.requires_grad:
                output = output.detach().requires_grad_()
            tape.uses[name] = Use(inputs[0].detach(), output)
            # A copy goes on, since an activation may work in place.
            return output.clone()

        return hook

    handles = [module.register_forward_hook(record(name)) for name, module in layers.items()]
    try:
        for parameter in wanted:
            parameter.requires_grad_(False)
        yield tape
    finally:
        for handle in handles:
            handle.remove()
        for parameter in wanted:
            parameter.requires_grad_(True)


def closed(net: nn.Module, trained: Mapping[str, Tensor], run: Callable[[int], Tensor]) -> tuple[bool, int]:
    """Whether products of inputs and output gradients are the gradients per example, from two small passes.

    That is so if every trained parameter belongs to a known layer, which is used at most once, on the batch itself,
    and if no parameter has a way to the output around these layers.

    Args:
        net: any module, with its parameters in autograd.
        trained: name -> parameter.
        run: makes a forward pass of so many images and returns the output.

    Returns:
        The answer, and how many values the known layers take in and give out per example.
    """
    counted = {id(parameter) for parameter in trained.values()}
    calls: Counter[str] = Counter()
    width, count, fits = 0, 0, True

    def record(name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            nonlocal width, fits
            calls[name] += 1
            width += inputs[0].numel() + 4 * output.numel()
            fits = fits and _examples(module, inputs[0]) == _examples(module, output) == count
            return output.detach()

        return hook

    layers = {name: module for name, module in net.named_modules() if type(module) in KNOWN}
    handles = [module.register_forward_hook(record(name)) for name, module in layers.items()]
    around = False
    try:
        # An axis of time may be as long as one of the batches, but not as both.
        for count in PROBES:
            with torch.enable_grad():
                around = run(count).requires_grad or around
    finally:
        for handle in handles:
            handle.remove()
    owners: Counter[int] = Counter()
    simple = fits and not around
    for name, module in net.named_modules(remove_duplicate=False):
        own = {key: id(p) for key, p in module.named_parameters(recurse=False) if id(p) in counted}
        once = calls[name] <= len(PROBES)
        known = type(module) in KNOWN and once and getattr(module, "padding_mode", "zeros") == "zeros"
        simple = simple and (not own or (known and own.keys() <= {"weight", "bias"}))
        owners.update(own.values())
    return simple and all(held == 1 for held in owners.values()), width // sum(PROBES)


def _examples(layer: nn.Module, x: Tensor) -> int:
    rank = 3 if isinstance(layer, nn.Conv2d | BernoulliConv2d) else 1
    lead = isinstance(layer, StochasticLayer) and layer.replicas is not None and x.ndim == rank + 2
    return x.shape[1 if lead else 0]


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
    return layer.scales(examples if layer.scope == "sample" else 1)
