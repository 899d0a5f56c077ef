"""Factors that are averaged over steps and inverted now and then: what FOOF and KFAC share."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from synsim._checks import NotFiniteError, choice, require, warn, whole
from synsim._doors import typed
from synsim.descent.base import Descent
from synsim.descent.blocks import Block
from synsim.descent.factors import along, symmetric, take_in, weight_of
from synsim.descent.seen import Pass, Seen
from synsim.losses import replica_cross_entropy
from synsim.rules.settable import per_replica
from synsim.synapses import StochasticLayer, evaluation

SCALES = ("sum", "mean")
RELEASES = ("pass", "mean")


class Averaging(Descent):
    """Base of the rules whose preconditioner is made of averages Σ ← m Σ + (1 − m) S over steps, divided by 1 − m^k.

    A step moves the parameters with the inverses at hand, then lets the averages take its pass in, then, every `period`
    steps, inverts them. A layer without inverses takes in the pass and inverts first.
    """

    _own: tuple[str, ...] = ("period", "collect", "warmup", "scale", "release", "_said", "_warming")

    def _set(self, period: int, collect: int | None, warmup: int, scale: str, release: str) -> None:
        self.period = whole(period, "period")
        self.collect = self.period if collect is None else whole(collect, "collect")
        require(
            self.collect <= self.period,
            f"collect counts steps before an inversion, of which there is one in every period of {self.period}; got "
            f"{self.collect}. Use collect={self.period}, or a longer period.",
        )
        self.warmup = whole(warmup, "warmup", 0)
        self.scale, self.release = choice(scale, "scale", SCALES), choice(release, "release", RELEASES)
        self._said, self._warming = False, -1

    @property
    def _first(self) -> str:
        # In the state of a layer, what is there once its averages were inverted.
        return "inputs_inverse"

    def _settings(self, settings: dict[str, Any]) -> dict[str, Any]:
        found = super()._settings(settings)
        found["average"] = per_replica(found["average"], "average", self._replicas)
        high = torch.as_tensor(found["average"], device="cpu").max()
        require(bool(high < 1), f"average must lie in [0, 1), got {found['average']}.")
        return found

    @property
    def cold(self) -> bool:
        """Whether no layer has an inverse yet, so that a warm-up is due."""
        return not any(self._first in state for state in self.state.values())

    def reset(self) -> None:
        """Forget averages, inverses and momentum."""
        self.state.clear()
        self._pass = None

    @typed
    def warm_up(self, batches: Iterable[Any], head: int | None = None) -> None:
        """Let the averages take in the first `warmup` batches, and invert; no parameter moves.

        Release masks are those of an evaluation, so that the streams of training stay where they are.

        Args:
            batches: inputs, or pairs of inputs and labels, each shaped as in training.
            head: index of the head, or None.

        Raises:
            ValueError: if there is no batch, or one does not fit the network.
        """
        count = 0
        try:
            with evaluation(self._net) as passes:
                for count, batch in enumerate(islice(iter(batches), max(1, self.warmup)), start=1):
                    self._warming = count - 1
                    passes.at(self._warming, 0, 0)
                    x, y = batch if isinstance(batch, tuple | list) else (batch, None)
                    self._take(x, y, head)
        finally:
            self._warming, self._pass = -1, None
        require(count > 0, "warm_up expects at least one batch, got none.")
        self._invert(self._blocks.values())

    def _stream(self) -> tuple[str, int]:
        # Where labels of this pass are drawn from.
        return ("descent/warm-up", self._warming) if self._warming >= 0 else ("descent/labels", self.steps)

    def _take(self, x: Tensor, y: Tensor | None, head: int | None) -> None:
        try:
            with self.watch():
                logits = self._net(x) if head is None else self._net(x, head=head)
        except RuntimeError as error:
            shape = list(x.shape) if isinstance(x, Tensor) else type(x).__name__
            raise ValueError(f"warm_up expects batches as the network takes them, got {shape}: {error}") from error
        wanted = self._needs_losses()
        require(
            y is not None or not wanted, f"{type(self).__name__} needs labels: warm_up(pairs of inputs and labels)."
        )
        losses = replica_cross_entropy(logits, y) if wanted else logits.sum(-1).mean(-1)
        self.backward(losses, logits, gradients=False)
        for parameter in self._rest.values():
            parameter.grad = None
        assert self._pass is not None
        self._absorb(self._pass, self._pass.seen.values())

    def _needs_losses(self) -> bool:
        # Whether the factors are made of the gradients of the losses.
        return False

    def _collecting(self) -> bool:
        if self._warming >= 0:
            return True
        return self.steps % self.period >= self.period - self.collect

    def _feeds(self, names: Iterable[str]) -> bool:
        # Whether a pass that uses these layers goes into the averages.
        blocks = [self._blocks[name] for name in names if name in self._blocks]
        return self._collecting() or not all(self._ready(block) for block in blocks)

    def _ready(self, block: Block) -> bool:
        return self._first in self.state[block.weight]

    def _prepare(self, done: Pass) -> None:
        fresh = [one for one in done.seen.values() if not self._ready(one.block)]
        if fresh and self.cold and self.warmup and self.steps == 0 and not self._said:
            self._said = True
            warn(
                f"{type(self).__name__} starts from the factors of one batch, which hold until step {self.period}: "
                f"call rule.warm_up(batches) first, which takes in {self.warmup} (fit does so by itself), or say "
                "warmup=0.",
            )
        if fresh:
            self._absorb(done, fresh)
            self._invert([one.block for one in fresh], done.tolerant)
            done.taken |= {one.block.name for one in fresh}

    def _learn(self, done: Pass) -> None:
        if self._collecting():
            self._absorb(done, [one for one in done.seen.values() if one.block.name not in done.taken])
        if (self.steps + 1) % self.period == 0:
            self._invert(self._blocks.values(), done.tolerant)

    @torch.no_grad()
    def _absorb(self, done: Pass, seen: Iterable[Seen]) -> None:
        for one in seen:
            state, average = self.state[one.block.weight], self._group(one.block.weight)["average"]
            for name, rows, scale in self._rows(done, one):
                total = state.get(name)
                if total is None:
                    total = state[name] = rows.new_zeros(*rows.shape[:-2], rows.shape[-1], rows.shape[-1])
                if done.finite is not None:
                    good = done.finite.to(rows.device) if self._replicas else done.finite.all().to(rows.device)
                    rows = torch.where(good.reshape(-1, *[1] * (rows.ndim - 1)), rows, torch.zeros_like(rows))
                take_in(total, rows, average, scale)
                if name == "inputs" and self.release == "mean":
                    more = rows.square().sum(-2) * spread(one.block) * scale
                    total.diagonal(dim1=-2, dim2=-1).add_(more * (1 - along(average, more)))
            state["passes"] = state.get("passes", 0) + 1

    def _rows(self, done: Pass, one: Seen) -> Iterator[tuple[str, Tensor, float]]:
        # Of which rows a pass adds a Gram matrix to the averages of a layer, and times what.
        yield "inputs", one.inputs, 1 / done.examples if self.scale == "mean" else 1.0

    def averages(self) -> dict[str, tuple[Tensor, ...]]:
        """The averaged factors of all layers that were seen, divided by 1 − m^k.

        Returns:
            Layer name -> Σ_A [.., I, I], with one input more for a bias, and, where the rule has it, Σ_E [.., O, O].
        """
        seen = {name: block for name, block in self._blocks.items() if "passes" in self.state[block.weight]}
        return {name: tuple(symmetric(each) for each in self._averages(block)) for name, block in seen.items()}

    def _averages(self, block: Block) -> list[Tensor]:
        # Lower triangles: no more is read of them.
        state, average = self.state[block.weight], self._group(block.weight)["average"]
        weight = weight_of(average, state["passes"])
        found = []
        for name in ("inputs", "outputs"):
            if name in state:
                total = state[name]
                by = weight if not isinstance(weight, Tensor) else weight.to(total).reshape(-1, *[1] * (total.ndim - 1))
                found.append(total / by)
        return found

    @torch.no_grad()
    def _invert(self, blocks: Iterable[Block], tolerant: bool = False) -> None:
        for block in blocks:
            if "passes" not in self.state[block.weight]:
                continue
            try:
                found = self._inverted(block)
            except NotFiniteError as error:
                if not tolerant or self._replicas is None:
                    raise
                found = self._without(block, error.replicas)
            self.state[block.weight].update(found)

    def _without(self, block: Block, failed: Sequence[int]) -> dict[str, Tensor]:
        # The inverses of the other replicas. Those that failed get NaN, by which a loop finds them at its next loss.
        for name in ("inputs", "outputs"):
            total = self.state[block.weight].get(name)
            if total is not None:
                total[list(failed)] = torch.eye(total.shape[-1], dtype=total.dtype, device=total.device)
        found = self._inverted(block)
        for value in found.values():
            value[list(failed)] = torch.nan
        return found

    def _inverted(self, block: Block) -> dict[str, Tensor]:
        # What is made of the averages of a layer, by the names under which it is kept.
        raise NotImplementedError


def spread(block: Block) -> Tensor | float:
    """By how much release adds to the second moment of each input, relative to it.

    A release multiplies an input by k / (N p), whose variance is (1/p − 1) / N; the expected Gram matrix of what
    arrives is AᵀA plus this, meaned over the outputs, on the diagonal.

    Args:
        block: the layer.

    Returns:
        [*lead, I], 0 for a bias; 0.0 where nothing is released.
    """
    layer = block.layer
    if not isinstance(layer, StochasticLayer) or layer.address.mean:
        return 0.0
    chance = layer.p.detach()
    relative = (1 / chance - 1) / layer.sites
    return block.matrix(relative, None).mean(-2)
