"""Iterative pruning: while a network learns, fewer and fewer synapses stay.

Source: Zhu & Gupta 2018, "To prune, or not to prune", eq. (1), the schedule of Gale et al. 2019, by which Schwarz et
al. 2021 prune iteratively.
"""

import math

from torch import Tensor

from synsim._checks import Number, require, times, whole
from synsim._doors import typed
from synsim.lesions import kept
from synsim.sparse.sparsity import Masks, Sparsity


class Gradual(Sparsity):
    """Pruning by magnitude along a cubic schedule; what was pruned stays so.

    After t steps, from `start` to `stop` and every so many, the share keep + (1 − keep)·(1 − (t − start)/(stop −
    start))³ of the synapses stays, floor(share · n) of them, those of largest abs(w̄): many go early, while there are
    many to choose from, and few late. Steps are counted from the first one, over all tasks.

    Args:
        keep: share that stays in the end, above 0 and at most 1; a number, or one per replica [R].
        start: steps after which pruning begins.
        stop: steps after which it has ended.
        every: steps from one pruning to the next; the last one is after `stop` steps in any case.
        scope: "layer": the share of each layer's synapses; "network": of all of them.
        output: factor of the share in the last layer, which keeps all at most; for scope="layer".

    Raises:
        ValueError: if a share or number does not fit, or `stop` comes before `start`.
    """

    @typed
    def __init__(
        self, keep: Number, start: int, stop: int, every: int, *, scope: str = "layer", output: float = 1.0
    ) -> None:
        super().__init__({"keep": keep}, scope, output)
        self.keep = self._shares["keep"]
        self.start, self.stop, self.every = whole(start, "start", 0), whole(stop, "stop", 0), times(every, "every")
        require(self.stop >= self.start, f"stop must be at least start, {self.start}, got {self.stop}.")

    @typed
    def share(self, steps: int) -> float | Tensor:
        """The share that the schedule asks for after so many steps.

        Args:
            steps: made since the first.

        Returns:
            A number, or float64 [R] if `keep` is one per replica.
        """
        steps = whole(steps, "steps", 0)
        left = float(steps < self.start)
        if self.start <= steps < self.stop:
            left = 1 - (steps - self.start) / (self.stop - self.start)
        return self.keep + (1 - self.keep) * left**3

    def _due(self, steps: int) -> bool:
        within = self.start <= steps <= self.stop
        return within and (steps == self.stop or (steps - self.start) % self.every == 0)

    def _ranked(self, name: str, score: Tensor) -> Tensor:
        return score.masked_fill(~self._stays[name], -math.inf)

    def _renewed(self, ranks: Masks) -> tuple[Masks, Masks]:
        if not self._due(self.steps):
            return self._stays, self._moves
        stays = kept(ranks, self.share(self.steps), self._replicas, self.scope, self.output)
        return stays, stays
