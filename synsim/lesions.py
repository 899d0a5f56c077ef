"""Lesions: synapses are silenced in some order, and accuracy is measured. The model given is never edited."""

from collections.abc import Mapping, Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

from synsim import streams
from synsim._checks import require
from synsim.inputs import Images
from synsim.meters import accuracy
from synsim.networks import replicas_of
from synsim.synapses import StochasticLayer, synapses

ORDERS = ("p", "weight", "p*weight", "random")
FRACTIONS = tuple(k / 10 for k in range(10))


def lesion_scores(net: nn.Module, order: str | Mapping[str, Tensor], seed: int = 0) -> dict[str, Tensor]:
    """Score of every synapse; those with a low score go first.

    Args:
        net: the network.
        order: "p", "weight" (abs(w̄)), "p*weight", "random", or importances keyed like `named_parameters()`.
        seed: of the random order.

    Returns:
        Name of the layer -> score, shaped like its weight.

    Raises:
        ValueError: if the order is unknown, or an importance is missing or of the wrong shape.
    """
    layers = synapses(net)
    require(bool(layers), "expected a network with stochastic layers, got none.")
    if isinstance(order, Mapping):
        return {name: _given(order, name, layer) for name, layer in layers.items()}
    require(order in ORDERS, f"order must be one of {', '.join(ORDERS)} or a dict of importances, got {order!r}.")
    if order == "random":
        return {name: _random(layer, f"{seed}/{name}") for name, layer in layers.items()}
    scores = {}
    for name, layer in layers.items():
        size = layer.weight.detach().abs()
        scores[name] = {"p": layer.p, "weight": size, "p*weight": layer.p * size}[order]
    return scores


def _given(order: Mapping[str, Tensor], name: str, layer: StochasticLayer) -> Tensor:
    key = f"{name}.weight" if name else "weight"
    if key not in order:
        raise ValueError(f"the importances lack {key!r}; expected one tensor per stochastic layer.")
    if order[key].shape != layer.weight.shape:
        raise ValueError(
            f"the importance of {key!r} must have shape {list(layer.weight.shape)}, got {list(order[key].shape)}."
        )
    return order[key].detach()


def _random(layer: StochasticLayer, label: str) -> Tensor:
    keys = streams.keys("eval/lesion", layer.seeds, label)
    drawn = streams.uniform(keys, layer.weight.numel() // len(layer.seeds))
    return drawn.reshape(layer.weight.shape).to(layer.weight.device)


def lesion_masks(scores: Mapping[str, Tensor], fraction: float, replicas: int | None) -> dict[str, Tensor]:
    """Which synapses stay when a share of all, pooled over the layers, is silenced.

    Args:
        scores: from `lesion_scores`.
        fraction: share to silence, from 0 to 1.
        replicas: R or None.

    Returns:
        Name of the layer -> bool mask of the synapses that stay. Exactly the share goes: ties are broken by position,
        spread over the layers and rows by a fixed shuffle, so that the scale of the scores doesn't matter.
    """
    lead = replicas or 1
    flat = torch.cat([score.reshape(lead, -1).double() for score in scores.values()], dim=1)
    count = flat.shape[1]
    shuffle = streams.permutation(streams.keys("eval/lesion", [0], "ties"), count)[0].to(flat.device)
    ranks = torch.argsort(flat[:, shuffle], dim=1, stable=True)
    stays = torch.ones_like(flat, dtype=torch.bool)
    stays.scatter_(1, shuffle[ranks[:, : round(fraction * count)]], False)
    parts = torch.split(stays, [score.numel() // lead for score in scores.values()], dim=1)
    return {name: part.reshape(score.shape) for (name, score), part in zip(scores.items(), parts, strict=True)}


def lesion_curve(
    net: nn.Module,
    x: Tensor | Images,
    y: Tensor,
    order: str | Mapping[str, Tensor] = "p",
    fractions: Sequence[float] = FRACTIONS,
    samples: int = 10,
    *,
    block: int | None = 100,
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    """Accuracy as synapses are silenced, each time from the intact network.

    Args:
        net: the network; it is not changed.
        x: images.
        y: labels [N] or [R, N].
        order: "p" (low release probability first), "weight" (abs(w̄)), "p*weight", "random", or importances keyed like
            `named_parameters()`.
        fractions: F shares of all synapses, from 0 to 1.
        samples: stochastic passes per measurement.
        block: images that share a mask.
        seed: of masks and random order.

    Returns:
        Fractions [F] and accuracies [F] or [R, F], in [0, 1].

    Raises:
        ValueError: if a fraction lies outside [0, 1], or the order is unknown.

    Source:
        Schug, Benzing & Steger 2021, Fig. 4.2b.
    """
    shares = torch.as_tensor(list(fractions), dtype=torch.float64)
    require(bool(((shares >= 0) & (shares <= 1)).all()), f"fractions must lie between 0 and 1, got {shares.tolist()}.")
    scores = lesion_scores(net, order, seed)
    copy = deepcopy(net)
    layers, replicas = synapses(copy), replicas_of(net)
    found = []
    for share in shares.tolist():
        stays = lesion_masks(scores, share, replicas)
        with torch.no_grad():
            for name, layer in layers.items():
                layer.weight.copy_(torch.where(stays[name], synapses(net)[name].weight, 0))
        found.append(accuracy(copy, x, y, samples=samples, block=block, seed=seed))
    return shares, torch.stack(found, dim=-1)
