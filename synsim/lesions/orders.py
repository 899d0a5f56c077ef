"""Which synapses go first: scores, ranks over all layers, and the masks of the synapses that stay."""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from synsim import streams
from synsim._checks import Number, choice, constant, dense, require, tensor, whole, within
from synsim._doors import typed
from synsim._names import by_own_name
from synsim.synapses import StochasticLayer, synapses

ORDERS = ("p", "weight", "p*weight", "random")
SCOPES = ("network", "layer")
"""Among which synapses shares and ranks are counted: all of them together, or those of each layer."""
Order = str | Mapping[str, Tensor]


def stochastic(net: nn.Module) -> dict[str, StochasticLayer]:
    """The layers whose synapses can be silenced.

    Args:
        net: the network.

    Returns:
        Name -> layer.

    Raises:
        ValueError: if there is none.
    """
    layers = synapses(net)
    require(
        bool(layers),
        "expected a network with stochastic layers, got none. A deterministic network is one with p = 1: build it by "
        "synsim.mlp(..., p=1.0), or take synsim.convert(net, p=1.0), which computes the same.",
    )
    return layers


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
    layers, seed = stochastic(net), whole(seed, "seed", 0)
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
def lesion_ranks(scores: Mapping[str, Tensor], replicas: int | None, scope: str = "network") -> dict[str, Tensor]:
    """Rank of every synapse among those of all layers, or of its own; rank 0 goes first.

    Ties are broken by position, spread over the layers and rows by a fixed shuffle, so that the scale of the scores
    doesn't matter.

    Args:
        scores: from `lesion_scores`.
        replicas: R or None.
        scope: "network": among all layers; "layer": within each.

    Returns:
        Name of the layer -> int64, shaped like its weight; a permutation of 0, 1, … per replica (and layer).

    Raises:
        ValueError: if scores are NaN, or not of so many replicas, or the scope is unknown.
    """
    if choice(scope, "scope", SCOPES) == "layer":
        require(bool(scores), "expected scores of at least one layer, got none.")
        return {name: lesion_ranks({name: score}, replicas)[name] for name, score in scores.items()}
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
def staying(
    ranks: Mapping[str, Tensor], fraction: float, replicas: int | None, scope: str = "network", output: float = 1.0
) -> dict[str, Tensor]:
    """Which synapses stay when those of the lowest ranks are silenced.

    Args:
        ranks: from `lesion_ranks`, of the same scope.
        fraction: share to silence, from 0 to 1: of all synapses, or of each layer's.
        replicas: R or None.
        scope: "network" or "layer".
        output: factor of the share that stays in the last layer, which keeps all at most; for scope="layer".

    Returns:
        Name of the layer -> bool mask, shaped like its weight.

    Raises:
        ValueError: if the fraction does not lie between 0 and 1, or the scope or factor does not fit.
    """
    fraction = within(fraction, "fraction", "[0, 1]")
    return _staying(ranks, replicas, scope, output, lambda count, factor: [count - _gone(count, fraction, factor)])


@typed
def kept(
    ranks: Mapping[str, Tensor], keep: Number, replicas: int | None, scope: str = "network", output: float = 1.0
) -> dict[str, Tensor]:
    """Which synapses stay when a share of them is kept, those of the highest ranks; exactly floor(keep · n).

    Args:
        ranks: from `lesion_ranks`, of the same scope.
        keep: share that stays, above 0 and at most 1: of all synapses, or of each layer's. A number, or one per
            replica.
        replicas: R or None.
        scope: "network" or "layer".
        output: factor of the share in the last layer, which keeps all at most; for scope="layer".

    Returns:
        Name of the layer -> bool mask, shaped like its weight.

    Raises:
        ValueError: if the share does not lie above 0 and up to 1, or the scope or factor does not fit.
    """
    shares = share_of(keep, "keep", replicas)
    each = shares.tolist() if isinstance(shares, Tensor) else [shares]

    def stay(count: int, factor: float) -> list[int]:
        return [math.floor(min(1.0, factor * one) * count) for one in each]

    return _staying(ranks, replicas, scope, output, stay)


def share_of(value: Number, what: str, replicas: int | None) -> float | Tensor:
    """A share that something keeps, or one for each replica.

    Args:
        value: a number, or one per replica, above 0 and at most 1.
        what: its name in the message.
        replicas: R or None.

    Returns:
        A float, or float64 [R].

    Raises:
        ValueError: if it is no such share.
    """
    found = constant(value, what, replicas, high=1)
    low = float(found.min()) if isinstance(found, Tensor) else found
    require(low > 0, f"{what} must lie in (0, 1], got {value!r}.")
    return found


def _gone(count: int, fraction: float, factor: float) -> int:
    return round((1 - min(1.0, factor * (1 - fraction))) * count) if factor != 1 else round(fraction * count)


def _staying(
    ranks: Mapping[str, Tensor],
    replicas: int | None,
    scope: str,
    output: float,
    stay: Callable[[int, float], list[int]],
) -> dict[str, Tensor]:
    # `stay` says how many of so many synapses stay, with a factor of the share: one number, or one per replica.
    output = within(output, "output", "(0, inf)")
    lead = replicas or 1
    if choice(scope, "scope", SCOPES) == "network":
        require(output == 1, f'output={output:g} is for scope="layer"; over the whole network there are no shares.')
        count = sum(rank.numel() for rank in ranks.values()) // lead
        return {name: _beyond(rank, [count - each for each in stay(count, 1.0)]) for name, rank in ranks.items()}
    last = list(ranks)[-1] if ranks else None
    found = {}
    for name, rank in ranks.items():
        count = rank.numel() // lead
        stays = stay(count, output if name == last else 1.0)
        found[name] = _beyond(rank, [count - each for each in stays])
    return found


def _beyond(rank: Tensor, gone: list[int]) -> Tensor:
    if len(gone) == 1:
        return rank >= gone[0]
    return rank >= torch.tensor(gone, device=rank.device).reshape(-1, *[1] * (rank.ndim - 1))


@typed
def lesion_masks(
    scores: Mapping[str, Tensor], fraction: float, replicas: int | None, scope: str = "network", output: float = 1.0
) -> dict[str, Tensor]:
    """Which synapses stay when a share is silenced: of all of them, or of each layer's.

    Args:
        scores: from `lesion_scores`.
        fraction: share to silence, from 0 to 1.
        replicas: R or None.
        scope: "network" or "layer".
        output: factor of the share that stays in the last layer; for scope="layer".

    Returns:
        Name of the layer -> bool mask of the synapses that stay. Exactly the share goes; ties as in `lesion_ranks`.
    """
    return staying(lesion_ranks(scores, replicas, scope), fraction, replicas, scope, output)
