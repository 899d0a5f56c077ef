"""Masks of the synapses that stay: made by ranks, put into force as a view, and packed into bits."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from synsim._checks import require, warn, whole
from synsim._doors import shown, typed
from synsim.lesions import kept, lesion_ranks, lesion_scores
from synsim.lesions.orders import Order, stochastic
from synsim.networks import replicas_of
from synsim.synapses import StochasticLayer

# The weights, by their ids, of each view that is in force.
_SILENCED: list[set[int]] = []


@typed
def masks(
    net: nn.Module,
    keep: float,
    order: Order = "weight",
    scope: str = "network",
    output: float = 1.0,
    *,
    seed: int = 0,
) -> dict[str, Tensor]:
    """The synapses that stay when a share of them is kept, those with the highest scores; exactly floor(keep · n).

    Args:
        net: a network of stochastic layers.
        keep: share that stays, above 0 and at most 1.
        order: "weight" (abs(w̄)), "p", "p*weight", "random", or importances keyed like `named_parameters()`.
        scope: "network": of all synapses, pooled over the layers; "layer": of each layer's.
        output: factor of the share in the last layer, which keeps all at most; for scope="layer".
        seed: of the random order.

    Returns:
        Name of the layer -> bool, shaped like its weight.

    Raises:
        ValueError: if the share, order, scope or factor does not fit, or the network has no stochastic layer.
    """
    replicas = replicas_of(net)
    return kept(lesion_ranks(lesion_scores(net, order, seed), replicas, scope), keep, replicas, scope, output)


@contextmanager
@typed
def masked(net: nn.Module, stays: Mapping[str, Tensor]) -> Iterator[nn.Module]:
    """Only some synapses are there: all others are silenced, in every pass and every measurement, and come back.

    Views nest: within another one those stay that both keep. What does not stay gets no gradient, and has its value
    again afterwards, whatever happened to it meanwhile; what stays may be trained. (An optimiser that moves weights
    without a gradient, by momentum say, is to be begun anew, or the silenced ones move until the end of the view.)
    The weights themselves are 0 meanwhile, for other threads too.

    Args:
        net: a network of stochastic layers.
        stays: name of the layer -> bool, shaped like its weight; layers that are not named keep all synapses.

    Yields:
        The network.

    Raises:
        ValueError: if a mask is not one of this network, or a synapse of a layer is not silent at a weight of 0.
    """
    layers = stochastic(net)
    checked = {name: _checked(name, mask, layers) for name, mask in stays.items()}
    weights = {name: layers[name].weight for name in checked}
    before = {name: weight.detach().clone() for name, weight in weights.items()}
    hooks = [
        weight.register_hook(lambda gradient, mask=checked[name]: gradient * mask)
        for name, weight in weights.items()
        if weight.requires_grad
    ]
    held = {id(weight) for weight in weights.values()}
    _SILENCED.append(held)
    try:
        with torch.no_grad():
            for name, weight in weights.items():
                weight.masked_fill_(~checked[name], 0.0)
        for name, mask in checked.items():
            if type(layers[name]).expected_strength is StochasticLayer.expected_strength:
                continue
            rest = layers[name].expected_strength.detach()[~mask]
            require(
                not bool(rest.any()),
                f"layer {name!r} ({type(layers[name]).__name__}) transmits something where its weight is 0, so that a "
                "synapse cannot be silenced.",
            )
        yield net
    finally:
        _SILENCED.remove(held)
        for hook in hooks:
            hook.remove()
        with torch.no_grad():
            for name, weight in weights.items():
                weight.copy_(torch.where(checked[name], weight, before[name]))


def silenced(weight: Tensor) -> bool:
    """Whether a view of `masked` holds synapses of this weight at 0 for a while.

    Args:
        weight: of a layer.

    Returns:
        True within such a view.
    """
    return any(id(weight) in held for held in _SILENCED)


def _checked(name: str, mask: Tensor, layers: Mapping[str, StochasticLayer]) -> Tensor:
    require(
        name in layers,
        f"the masks name {name!r}, expected stochastic layers among {sorted(layers)}: these are of another network.",
    )
    weight = layers[name]._parameters.get("weight")
    if weight is None:
        raise ValueError(f"the weight of {name!r} is re-parametrised; make it permanent first.")
    fits = isinstance(mask, Tensor) and mask.dtype == torch.bool and mask.shape == weight.shape and not mask.is_meta
    require(fits, f"the mask of {name!r} must be bool {list(weight.shape)}, got {shown(mask)}.")
    cut = ~mask.reshape(layers[name].replicas or 1, -1).any(1)
    if bool(cut.any()):
        which = f" in replicas {cut.nonzero().flatten().tolist()}" if layers[name].replicas else ""
        warn(f"no synapse of {name!r} stays{which}: it transmits nothing but its bias.")
    return mask.to(weight.device)


@typed
def packed(mask: Tensor) -> Tensor:
    """A mask as bits, for files and checkpoints.

    Args:
        mask: bool, of any shape.

    Returns:
        uint8 [n / 8], rounded up, on the CPU.

    Raises:
        ValueError: if it is no mask.
    """
    held = mask.dtype == torch.bool and not mask.is_meta and mask.layout is torch.strided
    require(held, f"expected a bool mask, got {shown(mask)}.")
    return torch.from_numpy(np.packbits(mask.cpu().numpy().reshape(-1)))


@typed
def unpacked(bits: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The mask that `packed` made bits of.

    Args:
        bits: uint8, from `packed`.
        shape: of the mask.

    Returns:
        bool of that shape, on the CPU.

    Raises:
        ValueError: if there are more or fewer bits than that.
    """
    count = math.prod(whole(size, "every entry of shape", 0) for size in shape)
    held = bits.dtype == torch.uint8 and not bits.is_meta and bits.layout is torch.strided
    fits = held and bits.ndim == 1 and len(bits) == -(-count // 8)
    require(fits, f"expected uint8 [{-(-count // 8)}] for a mask of shape {list(shape)}, got {shown(bits)}.")
    values = np.unpackbits(bits.cpu().numpy(), count=count).astype(bool)
    return torch.from_numpy(values).reshape(shape)
