"""The layers whose inputs and output gradients a rule sees, and what of their parameters is one matrix."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from synsim._checks import require
from synsim._names import named_modules, named_parameters
from synsim.curvature import wide
from synsim.curvature.capture import Use
from synsim.curvature.layers import Handler, handler_of
from synsim.synapses import StochasticLayer


@dataclass(frozen=True)
class Block:
    """A layer as one matrix [*lead, O, I]: its weight and, as the input that is always 1, its bias.

    In front are the replicas and, where there are several, the groups of a convolution; I counts the values of a
    patch, and one more with a bias.

    Attributes:
        name: of the layer.
        layer: the layer.
        handler: what curvature knows of its type.
        weight: its weight.
        bias: its bias, or None.
    """

    name: str
    layer: Any
    handler: Handler
    weight: nn.Parameter
    bias: nn.Parameter | None

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """Name in the network -> weight and, where there is one, bias."""
        lead = f"{self.name}." if self.name else ""
        found = {f"{lead}weight": self.weight}
        return found if self.bias is None else {**found, f"{lead}bias": self.bias}

    @property
    def trained(self) -> bool:
        """Whether any of them is."""
        return any(parameter.requires_grad for parameter in self.parameters.values())

    @property
    def lead(self) -> tuple[int, ...]:
        """Sizes of the axes in front: replicas, groups."""
        replicas, groups = getattr(self.layer, "replicas", None), getattr(self.layer, "groups", 1)
        return (*(() if replicas is None else (replicas,)), *(() if groups == 1 else (groups,)))

    @property
    def outputs(self) -> int:
        """Outputs of all replicas and groups together."""
        lead = self.weight.shape[: 1 if getattr(self.layer, "replicas", None) is None else 2]
        return lead.numel()

    def matrix(self, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Values of weight and bias as one matrix.

        Args:
            weight: shaped like the weight.
            bias: shaped like the bias; None: zeros, or no column without one.

        Returns:
            [*lead, O, I].
        """
        joined = weight.reshape(*self.lead, -1, self.weight.numel() // self.outputs)
        if self.bias is None:
            return joined
        column = joined.new_zeros(joined.shape[:-1]) if bias is None else bias.reshape(joined.shape[:-1])
        return torch.cat([joined, column.unsqueeze(-1)], -1)

    def parts(self, matrix: Tensor) -> dict[str, Tensor]:
        """The inverse of `matrix`.

        Args:
            matrix: [*lead, O, I].

        Returns:
            Name in the network -> values shaped like the parameter.
        """
        names = list(self.parameters)
        if self.bias is None:
            return {names[0]: matrix.reshape(self.weight.shape)}
        return {
            names[0]: matrix[..., :-1].reshape(self.weight.shape),
            names[1]: matrix[..., -1].reshape(self.bias.shape),
        }

    def targets(self) -> Iterator[tuple[nn.Parameter, Tensor, slice]]:
        """Where the columns of a matrix belong.

        Yields:
            A parameter, its memory as columns of a matrix [*lead, O, K], and which columns they are.
        """
        columns = slice(None) if self.bias is None else slice(0, -1)
        width = self.weight.numel() // self.outputs
        yield self.weight, self.weight.detach().view(*self.lead, -1, width), columns
        if self.bias is not None:
            yield self.bias, self.bias.detach().view(*self.lead, -1, 1), slice(-1, None)

    def rows(self, use: Use, delta: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs, with the 1 of a bias, and output gradients, of at least 32 bits.

        Args:
            use: of the layer in a pass.
            delta: gradients of its outputs.

        Returns:
            [*lead, N, I] and [*lead, N, O].
        """
        found = self.handler.rows(self.layer, wide(use.input), wide(delta))
        assert found is not None
        inputs, errors = found
        if self.bias is not None:
            inputs = torch.cat([inputs, inputs.new_ones(*inputs.shape[:-1], 1)], -1)
        return inputs, errors

    def factor(self) -> Tensor | None:
        """By how much the latest pass scaled each strength.

        Returns:
            k / (N d) [*lead, O, I], 1 for a bias; None where every synapse transmitted its expected strength.
        """
        layer = self.layer
        if not isinstance(layer, StochasticLayer) or layer.address.mean:
            return None
        if layer.stream.reliable and not layer.divides:
            return None
        mask = layer.mask
        assert mask is not None
        scale = mask.to(self.weight.dtype) / (layer.sites * layer.divisor())
        return self.matrix(scale, None if self.bias is None else torch.ones_like(self.bias))


def blocks_of(net: nn.Module) -> dict[str, Block]:
    """The known layers of a network.

    Args:
        net: any module.

    Returns:
        Layer name -> block, in the order of the modules.

    Raises:
        ValueError: if two layers share a parameter.
    """
    found: dict[str, Block] = {}
    owners: dict[int, str] = {}
    for name, layer in named_modules(net):
        handler, own = handler_of(layer), vars(layer)["_parameters"]
        weight = own.get("weight")
        if handler is None or weight is None or not _known(handler, layer):
            continue
        for parameter in (weight, own.get("bias")):
            other = owners.setdefault(id(parameter), name)
            require(
                parameter is None or other == name,
                f"layers {other!r} and {name!r} share a parameter, whose gradient is no product of one layer's inputs "
                "and output gradients. Give each a parameter of its own.",
            )
        found[name] = Block(name, layer, handler, weight, own.get("bias"))
    return found


def _known(handler: Handler, layer: Any) -> bool:
    here = type(handler).rows is not Handler.rows and handler.holds(layer)
    return here and handler.slope(layer) is None


def rest_of(net: nn.Module, blocks: Mapping[str, Block]) -> dict[str, nn.Parameter]:
    """The parameters outside the known layers.

    Args:
        net: the network.
        blocks: its known layers.

    Returns:
        Name -> parameter.
    """
    inside = {id(parameter) for block in blocks.values() for parameter in block.parameters.values()}
    return {name: parameter for name, parameter in named_parameters(net) if id(parameter) not in inside}


def refuse_layers(net: nn.Module) -> None:
    """Refuse layers whose gradients are no products of inputs and output gradients, in the view that is in force.

    Args:
        net: the network.

    Raises:
        ValueError: if examples have masks of their own, or are mixed by batch norm.
    """
    for name, module in net.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            require(
                not module.training and module.track_running_stats,
                f"module {name!r} ({type(module).__name__}) normalises with the statistics of the batch, so that "
                "examples are no longer independent. Call eval() on it, or use GroupNorm or LayerNorm.",
            )
        if isinstance(module, StochasticLayer):
            require(
                module.address.mean or not module.release.per_example,
                f"layer {name!r} has scope={module.scope!r}: with a mask for each example its gradient is no product "
                "of inputs and output gradients. Train in the mean field, with synsim.expected(net): ..., or build "
                'the network with scope="batch".',
            )
