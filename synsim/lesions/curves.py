"""Accuracy as synapses are silenced, for all fractions, orders and replicas in one batched pass."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from synsim._checks import require, whole
from synsim._doors import explained, typed
from synsim.inputs import labelled
from synsim.lesions.copies import Copies, bytes_per_copy, can_widen, copied
from synsim.lesions.orders import ORDERS, Order, lesion_ranks, lesion_scores, staying
from synsim.meters import accuracy
from synsim.meters.coverage import say_reliable, say_shared
from synsim.meters.passes import look_for_bypassed
from synsim.networks import replicas_of

FRACTIONS = tuple(k / 10 for k in range(10))


@explained
def lesion_curves(
    net: nn.Module,
    x: Any,
    y: Any = None,
    orders: Sequence[str] | Mapping[str, Order] = ORDERS,
    fractions: Sequence[float] = FRACTIONS,
    samples: int = 10,
    *,
    block: int | None = 100,
    seed: int = 0,
    head: int | None = None,
    memory: int = 64,
    scope: str = "network",
    output: float = 1.0,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Accuracy as synapses are silenced in several orders, each time from the intact network.

    All lesioned copies of a replica share its masks, so that their differences are those of the lesions. A value is
    that of the lesioned network measured alone (`synsim.meters.accuracy`), whatever else is measured beside it.
    Synapses are those of stochastic layers; a warning names the weights of all others, which stay.

    Args:
        net: the network; it is not changed.
        x: images, in any form that `synsim.meters.accuracy` takes.
        y: labels [N] or [R, N]; None: those that x brings with it.
        orders: names from "p" (low release probability first), "weight" (abs(w̄)), "p*weight" and "random"; or a dict of
            labels of your own -> such a name, or importances keyed like `named_parameters()`.
        fractions: F shares of all synapses, from 0 to 1.
        samples: stochastic passes per measurement.
        block: images that share a mask.
        seed: of masks and random order.
        head: index of the head of a network with several, or None.
        memory: MiB that the copies of one pass may take.
        scope: "network": the shares are of all synapses, pooled over the layers; "layer": of each layer's.
        output: factor of the share that stays in the last layer, which keeps all at most; for scope="layer".

    Returns:
        Fractions [F], and per order accuracies [F] or [R, F], in [0, 1].

    Raises:
        ValueError: if a fraction lies outside [0, 1], an order is unknown, or the labels do not fit.

    Source:
        Schug, Benzing & Steger 2021, Fig. 4.2b.

    Example:
        >>> import torch, synsim
        >>> net = synsim.mlp([4, 2], p=0.5)
        >>> _, curves = synsim.lesion_curves(net, torch.eye(4), torch.tensor([0, 1, 0, 1]), orders=["p", "random"])
        >>> list(curves)
        ['p', 'random']
    """
    shares = _shares(fractions)

    def stays(ranks: dict[str, Tensor], share: float) -> dict[str, Tensor]:
        return staying(ranks, share, replicas_of(net), scope, output)

    seen = Passes(samples, block, seed, head, memory)
    return shares, curves_of(
        net, x, y, {name: (order, scope) for name, order in _named(orders).items()}, shares.tolist(), stays, seen
    )


@dataclass(frozen=True)
class Passes:
    """How lesioned copies are measured; see `lesion_curves`."""

    samples: int
    block: int | None
    seed: int
    head: int | None
    memory: int


def curves_of(
    net: nn.Module,
    x: Any,
    y: Any,
    orders: Mapping[str, tuple[Order, str]],
    shares: Sequence[float],
    stays: Callable[[dict[str, Tensor], float], dict[str, Tensor]],
    seen: Passes,
) -> dict[str, Tensor]:
    """Accuracy under the masks that `stays` makes of the ranks of an order, for several orders and shares.

    Args:
        net: the network; it is not changed.
        x: images.
        y: labels or None.
        orders: label -> order, and the scope of its ranks.
        shares: F shares.
        stays: (ranks, share) -> masks of the synapses that stay.
        seen: how copies are measured.

    Returns:
        Label -> accuracies [F] or [R, F].
    """
    replicas = replicas_of(net)
    images, y = labelled(net, x, y)
    wide = can_widen(net)
    own = _own_labels(y, replicas, wide)
    room = whole(seen.memory, "memory") * 2**20
    ranks = {
        name: lesion_ranks(lesion_scores(net, order, seen.seed), replicas, scope)
        for name, (order, scope) in orders.items()
    }
    wanted = [(name, share) for name in ranks for share in shares]
    most = max(1, room // bytes_per_copy(net)) if wide else 1
    say_reliable(net, "lesions silence the synapses of stochastic layers, and all else stays.")
    say_shared(net, "a lesion silences it in one of them.")
    source, found = copied(net), []
    for part in _parts(wanted, most):
        masks = [stays(ranks[name], share) for name, share in part]
        copies = Copies(source, {name: torch.stack([mask[name] for mask in masks]) for name in masks[0]})
        labels = y if own is None else own.repeat(len(part), 1)
        measured = accuracy(
            copies, images, labels, samples=seen.samples, block=seen.block, seed=seen.seed, head=seen.head
        )
        found.append(measured.reshape(len(part), -1))
    look_for_bypassed(net, images, seen.seed, seen.head)
    # [orders · F, R] -> one curve per order.
    curves = torch.cat(found).reshape(len(ranks), len(shares), -1).transpose(1, 2)
    each = curves.unbind() if replicas is not None else curves[:, 0].unbind()
    return dict(zip(ranks, each, strict=True))


def _parts(wanted: list[tuple[str, float]], most: int) -> Iterator[list[tuple[str, float]]]:
    # As few parts as may be, of about equal size.
    parts = -(-len(wanted) // most)
    edges = (len(wanted) * k // parts for k in range(parts + 1))
    return (wanted[start:stop] for start, stop in itertools.pairwise(edges))


def _own_labels(y: Tensor | None, replicas: int | None, wide: bool) -> Tensor | None:
    # Labels with a row for each replica, if they are such.
    if y is None or y.ndim != 2:
        return None
    if (wide or replicas is not None) and y.shape[0] != replicas:
        raise ValueError(f"y must have shape [N] or one row per replica ({replicas}), got {list(y.shape)}.")
    return None if replicas is None else y


def _shares(fractions: Sequence[float]) -> Tensor:
    shares = torch.as_tensor(list(fractions), dtype=torch.float64, device="cpu")
    require(len(shares) > 0, "expected at least one fraction, got none.")
    require(bool(((shares >= 0) & (shares <= 1)).all()), f"fractions must lie between 0 and 1, got {shares.tolist()}.")
    return shares


def _named(orders: Sequence[str] | Mapping[str, Order]) -> dict[str, Order]:
    if isinstance(orders, Mapping):
        named: dict[str, Order] = dict(orders)
    else:
        require(
            not isinstance(orders, str) and all(isinstance(one, str) for one in orders),
            f"orders must be a sequence of names ({', '.join(ORDERS)}) or a dict of labels -> order, got {orders!r}.",
        )
        named = {one: one for one in orders}
    require(bool(named), "expected at least one order, got none.")
    require(all(isinstance(name, str) for name in named), f"labels of orders must be text, got {list(named)}.")
    values: dict[str, object] = dict(named)
    wrong = [name for name, order in values.items() if isinstance(order, Tensor)]
    require(not wrong, f"give importances under a label: orders={{'mine': importances}}; got tensors at {wrong}.")
    return named


@typed
def lesion_curve(
    net: nn.Module,
    x: Any,
    y: Any = None,
    order: Order = "p",
    fractions: Sequence[float] = FRACTIONS,
    samples: int = 10,
    *,
    block: int | None = 100,
    seed: int = 0,
    head: int | None = None,
    memory: int = 64,
    scope: str = "network",
    output: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Accuracy as synapses are silenced in one order; see `lesion_curves`.

    Args:
        net: the network; it is not changed.
        x: images, in any form that `synsim.meters.accuracy` takes.
        y: labels [N] or [R, N]; None: those that x brings with it.
        order: "p" (low release probability first), "weight" (abs(w̄)), "p*weight", "random", or importances keyed like
            `named_parameters()`.
        fractions: F shares of all synapses, from 0 to 1.
        samples: stochastic passes per measurement.
        block: images that share a mask.
        seed: of masks and random order.
        head: index of the head of a network with several, or None.
        memory: MiB that the copies of one pass may take.
        scope: "network" or "layer".
        output: factor of the share that stays in the last layer; for scope="layer".

    Returns:
        Fractions [F] and accuracies [F] or [R, F], in [0, 1].

    Source:
        Schug, Benzing & Steger 2021, Fig. 4.2b.

    Example:
        >>> import torch, synsim
        >>> net = synsim.mlp([4, 2], p=0.5)
        >>> y = torch.tensor([0, 1, 0, 1])
        >>> removed, accuracy = synsim.lesion_curve(net, torch.eye(4), y, fractions=[0.0, 0.5, 1.0])
        >>> removed
        tensor([0.0000, 0.5000, 1.0000], dtype=torch.float64)
    """
    shares, curves = lesion_curves(
        net, x, y, {"one": order}, fractions, samples, block=block, seed=seed, head=head, memory=memory, scope=scope,
        output=output,
    )  # fmt: skip
    return shares, curves["one"]
