"""Importances and consolidations of this package in strategies of Avalanche (pip install avalanche-lib)."""

from typing import Any

import torch
from avalanche.training.plugins import SupervisedPlugin

from synsim._checks import Number, require
from synsim._doors import typed
from synsim.consolidation import Consolidation
from synsim.importance import Importance
from synsim.networks import MultiHead
from synsim.training.guard import Guard, attach


class ProtectionPlugin(SupervisedPlugin):  # type: ignore[misc,unused-ignore]
    """Protects old experiences: `Naive(..., plugins=[ProtectionPlugin("fisher", "penalty", strength=10.0)])`.

    It does what `synsim.training.attach` does, around the optimiser of the strategy: the criterion stays that of the
    task, and metrics of the loss hold no penalty. A `MultiHead` uses the head that the task label numbers.

    Attributes:
        guard: what `attach` returned, from the first experience on; its `found` are the latest importances.

    Args:
        importance: a name (see `synsim.importance.available`) or what `synsim.importance.make` returns.
        consolidation: a name (see `synsim.consolidation.available`) or what `synsim.consolidation.make` returns.
        strength: of a penalty or a modulation that is given by name.
    """

    @typed
    def __init__(
        self, importance: str | Importance, consolidation: str | Consolidation, *, strength: Number | None = None
    ) -> None:
        super().__init__()
        self.guard: Guard | None = None
        self._asked = importance, consolidation, strength

    def before_training_exp(self, strategy: Any, *args: Any, **options: Any) -> None:
        """An experience begins; called by the strategy, whose optimiser is ready."""
        importance, consolidation, strength = self._asked
        if self.guard is None:
            self.guard = attach(strategy.model, strategy.optimizer, importance, consolidation, strength=strength)
        require(self.guard.optimiser is strategy.optimizer, "the strategy must keep its optimiser; it has another one.")
        head = strategy.experience.task_label if isinstance(strategy.model, MultiHead) else None
        full = "full" in getattr(self.guard.importance, "needs", ())
        self.guard.start(head, _examples(strategy) if full else None)

    def after_training_exp(self, strategy: Any, *args: Any, **options: Any) -> None:
        """An experience ends; called by the strategy."""
        assert self.guard is not None
        self.guard.finish(*_examples(strategy))


def _examples(strategy: Any) -> tuple[torch.Tensor, torch.Tensor]:
    rows = list(strategy.experience.dataset)
    x, y = (torch.stack([torch.as_tensor(row[part], device=strategy.device) for row in rows]) for part in (0, 1))
    return x, y
