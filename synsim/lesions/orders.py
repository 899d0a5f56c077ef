"""Which synapses go first: scores, ranks over all layers, and the masks of the synapses that stay."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from synsim import streams
from synsim._checks import dense, require, tensor, whole, within
from synsim._doors import typed
from synsim._names import by_own_name
from synsim.synapses import StochasticLayer, synapses

ORDERS = ("p", "weight", "p*weight", "random")
Order = str | Mapping[str, Tensor]


@typed
def lesion_scores(net: nn.Module, order: Order, seed: int = 0) -> dict[str, Tensor]:
    """Score of every synapse; those with a low score go first.

    Args:
        net: the network.
        order: "p", "weight" (abs(w̄)), "p*weight", "random", or importances keyed like `named_parameters()`.
        seed: of the random order.

    Returns:
        Name of the layer -> score, shaped like its weight.

    Raises:
        ValueError: if the order is unknown, or an importance is missing, of the wrong shape or NaN.
    """
    layers, seed = synapses(net), whole(seed, "seed", 0)
    require(bool(layers), "expected a network with stochastic layers, got none.")
    if isinstance(order, Mapping):
        given = by_own_name(net, order)
        return {name: _given(given, name, layer) for name, layer in layers.items()}
    require(order in ORDERS, f"order must be one of {', '.join(ORDERS)} or a dict of importances, got {order!r}.")
    if order == "random":
        return {name: _random(layer, f"{seed}/{name}") for name, layer in layers.items()}
    scores = {}
    for name, layer in layers.items():
        size = layer.expected_strength.detach().abs()
        scores[name] = {"p": layer.p, "weight": size, "p*weight": layer.p * size}[order]
    return scores


def _given(order: Mapping[str, Tensor], name: str, layer: StochasticLayer) -> Tensor:
    key = f"{name}.weight" if name else "weight"
    if key not in order:
        raise ValueError(f"the importances lack {key!r}; expected one tensor per stochastic layer.")
    score = tensor(order[key], f"the importance of {key!r}").detach().to(layer.p.device)
    if score.shape != layer.p.shape:
        raise ValueError(f"the importance of {key!r} must have shape {list(layer.p.shape)}, got {list(score.shape)}.")
    # NaN would be sorted as the greatest, and so would pass for the most important.
    require(not bool(score.isnan().any()), f"the importance of {key!r} holds NaN, which has no rank. Measure it again.")
    return score


def _random(layer: StochasticLayer, label: str) -> Tensor:
    keys = streams.keys("eval/lesion", layer.seeds, label)
    drawn = streams.uniform(keys, layer.p.numel() // len(layer.seeds))
    return drawn.reshape(layer.p.shape).to(layer.p.device)


@typed
def lesion_ranks(scores: Mapping[str, Tensor], replicas: int | None) -> dict[str, Tensor]:
    """Rank of every synapse among those of all layers; rank 0 goes first.

    Ties are broken by position, spread over the layers and rows by a fixed shuffle, so that the scale of the scores
    doesn't matter.

    Args:
        scores: from `lesion_scores`.
        replicas: R or None.

    Returns:
        Name of the layer -> int64, shaped like its weight; a permutation of 0, 1, … per replica.

    Raises:
        ValueError: if scores are NaN, or not of so many replicas.
    """
    lead = 1 if replicas is None else whole(replicas, "replicas")
    require(bool(scores), "expected scores of at least one layer, got none.")
    for name, score in scores.items():
        real = not (dense(score, f"the scores of {name!r}").is_complex() or bool(score.isnan().any()))
        require(real, f"the scores of {name!r} must be real and not NaN, got {score.dtype}.")
        fits = score.ndim > 0 and (replicas is None or score.shape[0] == replicas)
        require(fits, f"the scores of {name!r} must be shaped like its weight, got {list(score.shape)}.")
    flat = torch.cat([score.reshape(lead, -1).double() for score in scores.values()], dim=1)
    count = flat.shape[1]
    shuffle = streams.permutation(streams.keys("eval/lesion", [0], "ties"), count)[0].to(flat.device)
    order = shuffle[torch.argsort(flat[:, shuffle], dim=1, stable=True)]
    ranks = torch.empty_like(order)
    ranks.scatter_(1, order, torch.arange(count, device=flat.device).expand_as(order))
    parts = torch.split(ranks, [score.numel() // lead for score in scores.values()], dim=1)
    return {name: part.reshape(score.shape) for (name, score), part in zip(scores.items(), parts, strict=True)}


@typed
def staying(ranks: Mapping[str, Tensor], fraction: float, replicas: int | None) -> dict[str, Tensor]:
    """Which synapses stay when those of the lowest ranks are silenced.

    Args:
        ranks: from `lesion_ranks`.
        fraction: share to silence, from 0 to 1, pooled over the layers.
        replicas: R or None.

    Returns:
        Name of the layer -> bool mask, shaped like its weight.

    Raises:
        ValueError: if the fraction does not lie between 0 and 1.
    """
    fraction = within(fraction, "fraction", "[0, 1]")
    gone = round(fraction * (sum(rank.numel() for rank in ranks.values()) // (replicas or 1)))
    return {name: rank >= gone for name, rank in ranks.items()}


@typed
def lesion_masks(scores: Mapping[str, Tensor], fraction: float, replicas: int | None) -> dict[str, Tensor]:
    """Which synapses stay when a share of all, pooled over the layers, is silenced.

    Args:
        scores: from `lesion_scores`.
        fraction: share to silence, from 0 to 1.
        replicas: R or None.

    Returns:
        Name of the layer -> bool mask of the synapses that stay. Exactly the share goes; ties as in `lesion_ranks`.
    """
    return staying(lesion_ranks(scores, replicas), fraction, replicas)
