"""One forward pass with the inputs and outputs of every layer at hand, from which gradients per example follow."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from synsim.synapses import BernoulliConv2d, BernoulliLinear, StochasticLayer

Layer = nn.Linear | nn.Conv2d | BernoulliLinear | BernoulliConv2d
KNOWN = (nn.Linear, nn.Conv2d, BernoulliLinear, BernoulliConv2d)
"""Layers whose gradient per example is a product of input and output gradient."""


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
        calls: layer name -> how often it was called.
    """

    uses: dict[str, Use] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)


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
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
            tape.calls[name] += 1
            if not torch.is_grad_enabled():
                tape.uses[name] = Use(inputs[0].detach(), output)
                return None
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


def closed(net: nn.Module, trained: Mapping[str, Tensor], calls: Counter[str]) -> bool:
    """Whether every trained parameter belongs to a known layer that a forward pass uses at most once.

    Args:
        net: any module.
        trained: name -> parameter.
        calls: of one forward pass, from a tape.

    Returns:
        True if the products of inputs and output gradients are the gradients per example.
    """
    counted = {id(parameter) for parameter in trained.values()}
    owners: Counter[int] = Counter()
    for name, module in net.named_modules(remove_duplicate=False):
        own = [id(parameter) for parameter in module.parameters(recurse=False) if id(parameter) in counted]
        known = type(module) in KNOWN and calls[name] <= 1 and getattr(module, "padding_mode", "zeros") == "zeros"
        if own and not known:
            return False
        owners.update(own)
    return all(count == 1 for count in owners.values())


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
