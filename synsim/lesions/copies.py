"""Lesioned copies of one network as replicas of one program: a mask is drawn once, and each copy keeps a part of it.

Copies of a replica have its seeds, hence its releases: what a copy transmits is what the intact network transmits,
times 0 where the copy has its lesion. So one draw serves all of them, and they share their random numbers.
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor, nn

from synsim._checks import require
from synsim._kept import TURN
from synsim.inputs import has_replicas
from synsim.networks import replicas_of
from synsim.synapses import Address, StochasticLayer, addressed, synapses
from synsim.synapses.given import Given

# Torch's modules that work alike with an axis of replicas before that of the examples; dropout is idle here.
CARRIES = (
    nn.Sequential, nn.ModuleList, nn.Identity, nn.Linear, nn.Dropout, nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU,
    nn.Tanh, nn.Sigmoid, nn.Softplus,
)  # fmt: skip


Net = TypeVar("Net", bound=nn.Module)


class Copies(nn.Module):
    """C lesioned copies of a network; an ordinary network of C · R replicas for the meters.

    Args:
        source: the intact network; its streams are used, so give a copy.
        stays: name of the layer -> mask of the synapses that stay, [C, *shape] or [C, R, *shape].
    """

    def __init__(self, source: nn.Module, stays: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.source = source
        self.copies = next(iter(stays.values())).shape[0]
        # The copies hold no streams of their own, and so are none of the modules that a meter gives addresses to.
        self._wide = [widened(source, self.copies).eval()]
        wide = synapses(self._wide[0])
        self._layers = [
            _Lesion(name, layer, wide[name], stays[name].to(layer.p.dtype)) for name, layer in synapses(source).items()
        ]
        # What else draws, such as an encoder of images as spikes, does as the intact network's does.
        others = zip(addressed(source).values(), addressed(self._wide[0]).values(), strict=True)
        self._drawing = [pair for pair in others if not isinstance(pair[0], StochasticLayer)]

    @property
    def output_replicas(self) -> int | None:
        """Replicas in the output: those of the network, once per copy; None for one copy of a network without."""
        own = replicas_of(self.source)
        return own if self.copies == 1 else self.copies * (own or 1)

    def forward(self, x: Tensor, head: int | None = None) -> Tensor:
        """Logits of all copies.

        Args:
            x: [B, ...] or [R, B, ...].
            head: index of the head of a network with several, or None.

        Returns:
            [C · R, B, K], the replicas of the first copy first; for one copy as the network itself returns them.
        """
        for one, twin in self._drawing:
            twin.address = one.address
        for lesion in self._layers:
            lesion.prepare()
        if self.copies > 1 and has_replicas(self.source, x):
            x = x.repeat(self.copies, *[1] * (x.ndim - 1))
        net = self._wide[0]
        out: Tensor = net(x) if head is None else net(x, head=head)
        return out


class _Lesion:
    # What a layer transmits where it has its lesion, for the layer of the copies that stands for it.
    def __init__(self, name: str, layer: StochasticLayer, twin: StochasticLayer, stays: Tensor) -> None:
        self._layer, self._twin, self._stays = layer, twin, stays
        self._alone = layer.per_example and not layer.address.mean
        if twin._parameters.get("weight") is not None:
            torch.mul(layer.weight.detach(), stays, out=twin.weight.detach().view(stays.shape))
        if self._alone:
            # It draws by itself, from strengths of which those silenced are 0.
            expected = layer.expected_strength.detach() * stays
            require(
                torch.equal(twin.expected_strength.detach().view(stays.shape), expected),
                f"layer {name!r} ({type(layer).__name__}) transmits something where its weight is 0, so that a synapse "
                f"cannot be silenced in scope={layer.scope!r}. Use scope='batch'.",
            )
        self._given = None if self._alone else Given(twin, name)

    def prepare(self) -> None:
        """Draw, and set what the next pass transmits."""
        layer, twin, given = self._layer, self._twin, self._given
        if given is None:
            twin.address = layer.address
            return
        twin.address = replace(Address(), mean=True)
        torch.mul(layer.transmitted().detach(), self._stays, out=given.strengths.view(self._stays.shape))


def copied(net: Net) -> Net:
    """A deep copy, of a network that keeps results of autograd, too: of them the values.

    Args:
        net: the network.

    Returns:
        The copy; its streams stand where those of `net` do.
    """
    # Not while another thread measures it: then modes and gradients are those of a measurement.
    with TURN:
        held = [value for module in net.modules() for value in vars(module).values() if isinstance(value, Tensor)]
        return deepcopy(net, {id(value): value.detach().clone() for value in held if not value.is_leaf})


def widened(net: nn.Module, copies: int) -> nn.Module:
    """The network `copies` times over, as replicas.

    Args:
        net: the network.
        copies: C; with 1 the copy keeps its axes.

    Returns:
        A network of C · R replicas with the seeds of `net`, the replicas of the first copy first.
    """
    wide = copied(net).requires_grad_(False)
    if copies == 1:
        return wide
    for layer in synapses(wide).values():
        layer.weight = nn.Parameter(_repeated(layer, layer.weight, copies), requires_grad=False)
        if layer.bias is not None:
            layer.bias = nn.Parameter(_repeated(layer, layer.bias, copies), requires_grad=False)
        if layer.per_example:
            layer.p = _repeated(layer, layer.p, copies)
    for module in addressed(wide).values():
        module.replicas = copies * (module.replicas or 1)
        module.seed(module.seeds * copies, module.stream_name)
    return wide


def _repeated(layer: StochasticLayer, tensor: Tensor, copies: int) -> Tensor:
    first = tensor.detach() if layer.replicas is not None else tensor.detach().unsqueeze(0)
    return first.repeat(copies, *[1] * (first.ndim - 1))


def can_widen(net: nn.Module) -> bool:
    """Whether a network may be given more replicas: all of its modules must work alike with that axis.

    Args:
        net: the network.

    Returns:
        For a network with replicas, False if a module of another kind holds a tensor with an entry per replica. For one
        without, False if a module is not known to carry an axis of replicas.
    """
    replicas, started = replicas_of(net), False
    for module in net.modules():
        started |= isinstance(module, StochasticLayer)
        # What a hook makes of one more axis is not known.
        if module._forward_hooks or module._forward_pre_hooks:
            return False
        # All modules of this package carry the axis.
        if type(module) in CARRIES or type(module).__module__.startswith("synsim."):
            continue
        if replicas is None and not (isinstance(module, nn.Flatten) and (module.start_dim < 0 or not started)):
            return False
        own = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
        if any(tensor.shape[:1] == (replicas,) for tensor in own):
            return False
    return True


def bytes_per_copy(net: nn.Module) -> int:
    """Memory that a copy takes: its weights, its strengths or probabilities, and the mask of what stays.

    Args:
        net: the network.

    Returns:
        Bytes.
    """
    return sum(3 * layer.p.numel() * layer.p.element_size() for layer in synapses(net).values())
