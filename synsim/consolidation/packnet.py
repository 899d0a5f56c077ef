"""How much a task claims: a fixed share, or as little as its accuracy on held-out examples allows.

Sources: Mallya & Lazebnik 2018, "PackNet: Adding multiple tasks to a single network by iterative pruning"; Schwarz et
al. 2021, "Powerpropagation", Algorithm 1 (EfficientPackNet).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from synsim._checks import Number, choice, require, times, whole, within
from synsim._doors import typed
from synsim.consolidation.base import bounded, per_replica
from synsim.consolidation.forward import Masks
from synsim.consolidation.owned import Owned
from synsim.lesions.curves import Passes, curves_of
from synsim.lesions.orders import SCOPES, kept, lesion_ranks, lesion_scores
from synsim.meters import accuracy
from synsim.networks import replicas_of
from synsim.sparse.masks import masked

SHARES = ("of-all", "of-free")
DENSITIES = tuple(0.01 ** (1 - k / 24) for k in range(25))
"""Twenty-five shares in geometric steps, from 1 % to all."""


class PackNet(Owned):
    """A fixed share of each layer per task: the largest weights among those that are free.

    A task sees what it and all tasks before it own. It is pruned to that, and then mostly needs retraining.

    Args:
        tasks: T, how many tasks there will be.
        share: "of-all": each task claims 1/T of all synapses of a layer, so that the last one takes the rest;
            "of-free": 1/T of those that are free.
        retrain: epochs in which a task relearns with what it has claimed, under its mask; only that moves.
        fresh: "redraw": synapses that are still free get new random values as a task begins; "keep": they stay.
        samples: stochastic passes per measurement of a network that fails.
        block: images that share a mask of releases.
    """

    name = "packnet"

    @typed
    def __init__(
        self,
        *,
        tasks: int | None = None,
        share: str = "of-all",
        retrain: int = 0,
        fresh: str = "redraw",
        samples: int = 10,
        block: int | None = 100,
    ) -> None:
        super().__init__(retrain, fresh)
        require(tasks is not None, "packnet divides a network among a known number of tasks: give tasks=T.")
        self.tasks, self.share = whole(tasks, "tasks"), choice(share, "share", SHARES)
        self.samples, self.block = times(samples, "samples"), block

    @typed
    def check(self, net: nn.Module, tasks: int | None = None, validation: bool = True) -> None:
        """Refuse a network or tasks that can't own synapses.

        Args:
            net: the network.
            tasks: how many tasks there will be; None: unknown.
            validation: not needed.

        Raises:
            ValueError: if there are more tasks than T, or the network does not fit.
        """
        super().check(net, tasks, validation)
        require(
            max(tasks or 0, self.claims) <= self.tasks,
            f"packnet divides the network among tasks={self.tasks}, got {max(tasks or 0, self.claims)} tasks. Give the "
            "number of all tasks that will come.",
        )

    def _choose(self, net: nn.Module, owned: Masks, x: Any, y: Any) -> tuple[Masks, dict[str, Tensor]]:
        require(
            self.claims < self.tasks,
            f"packnet divides the network among tasks={self.tasks}, and all of them have claimed.",
        )
        replicas = replicas_of(net)
        # What is owned already comes last.
        scores = {name: each.masked_fill(owned[name], -1.0) for name, each in lesion_scores(net, "weight").items()}
        mask = {}
        for name, rank in lesion_ranks(scores, replicas, "layer").items():
            count = rank.numel() // (replicas or 1)
            mask[name] = owned[name] | (rank >= count - self._due(count, owned[name], replicas))
        found = {"dense_accuracy": _nothing(replicas), "sparse_accuracy": _nothing(replicas)}
        if x is not None:
            found["dense_accuracy"] = accuracy(net, x, y, samples=self.samples, block=self.block)
            with masked(net, mask):
                found["sparse_accuracy"] = accuracy(net, x, y, samples=self.samples, block=self.block)
        return mask, found

    def _due(self, count: int, owned: Tensor, replicas: int | None) -> int:
        # Every replica has claimed as many as the others.
        if self.share == "of-free":
            return (count - int(owned.sum()) // (replicas or 1)) // self.tasks
        return (self.claims + 1) * count // self.tasks - self.claims * count // self.tasks


class EfficientPackNet(Owned):
    """As little as a task needs: the smallest mask of large weights that keeps gamma of the dense accuracy.

    The mask takes the largest of all weights, those of old tasks included, and only what of it is free is claimed. All
    densities are tried in one batched pass over validation examples; where none keeps more than gamma times the
    accuracy of the dense network, everything stays. Nothing brakes it: once no synapse is free, dense accuracy is
    chance, and every later task is dead. This is said, and measured ("full"); `reserve` prevents it.

    Args:
        gamma: γ in (0, 1], a number, or one per replica.
        densities: shares of all synapses that are tried, ascending; None: 25 from 1 % to all. All is tried in any case.
        retrain: epochs in which a task relearns with what it has claimed, under its mask; only that moves.
        fresh: "redraw": synapses that are still free get new random values as a task begins; "keep": they stay.
        scope: "network": the largest weights of the whole network; "layer": of each layer.
        reserve: share of the synapses that are free that a task may not claim, in [0, 1); then tasks never use all.
        samples: stochastic passes per measurement of a network that fails.
        block: images that share a mask of releases.
        memory: MiB that the copies of one pass may take.
    """

    name = "efficient-packnet"

    @typed
    def __init__(
        self,
        *,
        gamma: Number = 0.9,
        densities: Sequence[float] | None = None,
        retrain: int = 0,
        fresh: str = "redraw",
        scope: str = "network",
        reserve: float = 0.0,
        samples: int = 10,
        block: int | None = 100,
        memory: int = 64,
    ) -> None:
        super().__init__(retrain, fresh)
        self.gamma = bounded(gamma, "gamma", high=1.0)
        least = torch.as_tensor(gamma, dtype=torch.float64, device="cpu").min()
        require(float(least) > 0, f"gamma must lie in (0, 1], got {gamma}: with 0 nothing would have to be kept.")
        tried = [within(one, "every density", "(0, 1]") for one in (DENSITIES if densities is None else densities)]
        require(len(tried) > 0, "expected at least one density, got none.")
        require(tried == sorted(set(tried)), f"densities must be ascending, each once, got {tried}.")
        self.densities = (*tried, *(() if tried[-1] == 1 else (1.0,)))
        self.scope, self.reserve = choice(scope, "scope", SCOPES), within(reserve, "reserve", "[0, 1)")
        self._pooled = scope == SCOPES[0]
        self.samples, self.block, self.memory = times(samples, "samples"), block, whole(memory, "memory")

    @typed
    def check(self, net: nn.Module, tasks: int | None = None, validation: bool = True) -> None:
        """Refuse a network or tasks that can't own synapses.

        Args:
            net: the network.
            tasks: not needed.
            validation: whether all tasks hold out examples for validation.

        Raises:
            ValueError: if a task has no examples for validation, or the network does not fit.
        """
        super().check(net, tasks, validation)
        require(
            validation,
            "efficient-packnet chooses how many synapses a task claims on examples that it was not trained on. Hold "
            "some out: tasks.permuted(..., validation=5000).",
        )

    def _choose(self, net: nn.Module, owned: Masks, x: Any, y: Any) -> tuple[Masks, dict[str, Tensor]]:
        self.check(net, validation=x is not None)
        replicas = replicas_of(net)

        def stays(ranks: Masks, density: float) -> Masks:
            return self._within_reserve(kept(ranks, density, replicas, self.scope), owned, ranks, replicas)

        seen = Passes(self.samples, self.block, 0, None, self.memory)
        scores = curves_of(net, x, y, {"one": ("weight", self.scope)}, self.densities, stays, seen)["one"]
        dense = accuracy(net, x, y, samples=self.samples, block=self.block)
        gamma = torch.as_tensor(per_replica(self.gamma, "gamma", net, high=1.0), device=dense.device)
        place = first_above(scores, gamma * dense)
        ranks = lesion_ranks(lesion_scores(net, "weight"), replicas, self.scope)
        tried = {k: stays(ranks, self.densities[k]) for k in sorted(set(place.reshape(-1).tolist()))}
        mask = {name: torch.zeros_like(rank, dtype=torch.bool) for name, rank in ranks.items()}
        for name, each in mask.items():
            for row, k in enumerate(place.tolist()) if replicas else ():
                each[row] = tried[k][name][row]
            if not replicas:
                each.copy_(tried[int(place)][name])
        best = scores.gather(-1, place.unsqueeze(-1)).squeeze(-1)
        return mask, {"dense_accuracy": dense.double(), "sparse_accuracy": best.double()}

    def _within_reserve(self, mask: Masks, owned: Masks, ranks: Masks, replicas: int | None) -> Masks:
        # Of what would be claimed the largest, as many as may be.
        if self.reserve == 0:
            return mask
        lead, found = replicas or 1, dict(mask)
        parts = [list(mask)] if self._pooled else [[name] for name in mask]
        for names in parts:
            rows = {name: (mask[name].reshape(lead, -1), owned[name].reshape(lead, -1)) for name in names}
            flat, taken = (torch.cat([rows[name][k] for name in names], 1) for k in (0, 1))
            rank = torch.cat([ranks[name].reshape(lead, -1) for name in names], 1)
            stays = flat & (taken | largest(flat & ~taken, rank, self._room(~taken)))
            sizes = [rows[name][0].shape[1] for name in names]
            for name, part in zip(names, stays.split(sizes, 1), strict=True):
                found[name] = part.reshape(mask[name].shape)
        return found

    def _room(self, free: Tensor) -> Tensor:
        return ((1 - self.reserve) * free.sum(1).double()).floor().long()


def first_above(scores: Tensor, limit: Tensor) -> Tensor:
    """Index of the first score above a limit; that of the last one where none is.

    Args:
        scores: [F] or [R, F].
        limit: a number or [R].

    Returns:
        int64, a number or [R].
    """
    passes = scores > limit.unsqueeze(-1)
    return torch.where(passes.any(-1), passes.to(torch.uint8).argmax(-1), scores.shape[-1] - 1)


def largest(among: Tensor, rank: Tensor, count: Tensor) -> Tensor:
    """The entries of the highest rank.

    Args:
        among: bool [R, n], who is considered.
        rank: int64 [R, n], different numbers from 0 on.
        count: int64 [R], how many at most.

    Returns:
        bool [R, n].
    """
    considered = torch.where(among, rank, -1)
    places = considered.argsort(1, descending=True).argsort(1)
    return among & (places < count.unsqueeze(1))


def _nothing(replicas: int | None) -> Tensor:
    return torch.full((replicas,) if replicas else (), torch.nan, dtype=torch.float64, device="cpu")
