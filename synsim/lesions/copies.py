"""Lesioned copies of one network as replicas of one program: a mask is drawn once, and each copy keeps a part of it.

Copies of a replica have its seeds, hence its releases: what a copy transmits is what the intact network transmits,
times 0 where the copy has its lesion. So one draw serves all of them, and they share their random numbers.
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor, nn

from synsim.inputs import has_replicas
from synsim.networks import replicas_of
from synsim.synapses import Address, StochasticLayer, addressed, synapses

# Torch's modules that work alike with an axis of replicas before that of the examples; dropout is idle here.
CARRIES = (
    nn.Sequential, nn.ModuleList, nn.Identity, nn.Linear, nn.Dropout, nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU,
    nn.Tanh, nn.Sigmoid, nn.Softplus,
)  # fmt: skip


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
            (layer, wide[name], stays[name].to(layer.weight.dtype)) for name, layer in synapses(source).items()
        ]
        for layer, own, kept in self._layers:
            torch.mul(layer.weight.detach(), kept, out=own.weight.detach().view(kept.shape))
        # What else draws, such as an encoder of images as spikes, does as the intact network's does.
        others = zip(addressed(source).values(), addressed(self._wide[0]).values(), strict=True)
        self._drawing = [pair for pair in others if not isinstance(pair[0], StochasticLayer)]

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
        for layer, own, kept in self._layers:
            if layer.per_example and not layer.address.mean:
                own.address = layer.address
                continue
            # Strengths already drawn are transmitted as they are: to the copy they are a mean field.
            own.address = replace(Address(), mean=True)
            torch.mul(layer.transmitted().detach(), kept, out=own.weight.detach().view(kept.shape))
        if self.copies > 1 and has_replicas(self.source, x):
            x = x.repeat(self.copies, *[1] * (x.ndim - 1))
        net = self._wide[0]
        out: Tensor = net(x) if head is None else net(x, head=head)
        return out


def widened(net: nn.Module, copies: int) -> nn.Module:
    """The network `copies` times over, as replicas.

    Args:
        net: the network.
        copies: C; with 1 the copy keeps its axes.

    Returns:
        A network of C · R replicas with the seeds of `net`, the replicas of the first copy first.
    """
    wide = deepcopy(net).requires_grad_(False)
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
        module.seed(module.seeds * copies, module._name)
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
    """Memory that a copy takes: its strengths and the mask of what stays.

    Args:
        net: the network.

    Returns:
        Bytes.
    """
    return sum(
        (3 if la.per_example else 2) * la.weight.numel() * la.weight.element_size() for la in synapses(net).values()
    )
