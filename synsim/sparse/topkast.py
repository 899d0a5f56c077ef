"""Always sparse training: few synapses transmit, some more are learned, and those that grow take over.

Source: Jayakumar et al. 2020, "Top-KAST: Top-K always sparse training", which Schwarz et al. 2021 powerpropagate
(Table 1).
"""

import torch
from torch import Tensor

from synsim._checks import Number, number, require, times
from synsim._doors import typed
from synsim.lesions import kept
from synsim.sparse.sparsity import Masks, Sparsity


class TopKast(Sparsity):
    """Sparse forward and backward passes: the largest weights transmit, and somewhat more of them are learned.

    Two sets are chosen anew every so many steps: A, the share `forward` of the synapses, those of largest abs(w̄), is
    what is there; B ⊇ A, the share `backward`, is what steps move. Synapses of B that grow come into A, others leave
    it; those outside of B keep their values. A penalty pulls the weights that are learned towards 0, harder those that
    do not transmit, so that only what has use grows: its gradient is c·w̄ on A and c·w̄ / `forward` on B outside of A.
    The step of release probabilities does not see it. Steps are counted from the first one, over all tasks.

    Args:
        forward: D, share of the synapses that are there, above 0 and at most 1; a number, or one per replica [R].
        backward: share of the synapses that are learned, at least D; a number, or one per replica.
        every: steps from one choice of the sets to the next; the first one is by the initial weights.
        penalty: c, at least 0.
        scope: "layer": shares are of each layer's synapses; "network": of all of them.
        output: factor of the shares in the last layer, which keeps all at most; for scope="layer".

    Raises:
        ValueError: if a share or number does not fit, or fewer synapses are learned than are there.
    """

    @typed
    def __init__(
        self,
        forward: Number,
        backward: Number,
        every: int = 100,
        penalty: float = 1e-4,
        *,
        scope: str = "layer",
        output: float = 1.0,
    ) -> None:
        super().__init__({"forward": forward, "backward": backward}, scope, output)
        self.forward, self.backward = self._shares["forward"], self._shares["backward"]
        self.every, self.penalty = times(every, "every"), number(penalty, "penalty")
        self._factors: dict[str, Tensor] = {}  # of the weights, in the gradient of the penalty
        enough = self.backward >= self.forward
        require(
            bool(enough.all() if isinstance(enough, Tensor) else enough),
            f"backward must be at least forward, {forward!r}, got {backward!r}: what transmits is learned.",
        )

    def _due(self, steps: int) -> bool:
        return steps % self.every == 0

    def _renewed(self, ranks: Masks) -> tuple[Masks, Masks]:
        shares = self.forward, self.backward
        stays, moves = (kept(ranks, share, self._replicas, self.scope, self.output) for share in shares)
        return stays, moves

    def _as_numbers(self) -> None:
        super()._as_numbers()
        self._factors.clear()

    def _pull(self, name: str) -> Tensor | None:
        if self.penalty and name not in self._factors:
            each = self._layers[name]
            density = torch.as_tensor(self.forward, dtype=torch.float64, device="cpu").to(each.stays)
            density = density.reshape(-1, *[1] * (each.stays.ndim - 1))
            self._factors[name] = self.penalty * (each.stays + (each.moves - each.stays) / density)
        return self._factors.get(name)
