"""Masks of `synsim.sparse` in a run of `fit`: put into force, saved, and let go of."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from synsim._checks import require, warn
from synsim.sparse import Gradual, Sparsity
from synsim.training.moment import Observer

LEAD = "sparsity//"


class Sparsifying(Observer):
    """The masks of a run; they change with the steps of its optimiser, by hooks of their own.

    Args:
        sparsity: `Gradual` or `TopKast`; None: all synapses are there.
    """

    def __init__(self, sparsity: Sparsity | None) -> None:
        self._sparsity = sparsity

    def check(self, steps: int, protected: bool) -> None:
        """Refuse what does not go together, and warn of pruning that a run does not come to the end of.

        Args:
            steps: of the run.
            protected: whether a protection holds weights too.

        Raises:
            ValueError: if it does.
        """
        if self._sparsity is None:
            return
        require(
            not protected,
            "a protection and a sparsity both say which weights a step may move: give one of them. What tasks own is "
            'protected by consolidation.make("packnet") or ("efficient-packnet").',
        )
        if isinstance(self._sparsity, Gradual) and self._sparsity.steps + steps < self._sparsity.stop:
            warn(
                f"pruning ends after {self._sparsity.stop} steps, the run after {self._sparsity.steps + steps}: it "
                "does not come down to the share that is to be kept.",
            )

    @contextmanager
    def during(self, net: nn.Module, optimiser: Optimizer) -> Iterator[None]:
        """In force within this context.

        Args:
            net: the network.
            optimiser: its optimiser.

        Yields:
            Nothing.
        """
        if self._sparsity is None:
            yield
            return
        self._sparsity.attach(net, optimiser)
        try:
            yield
        finally:
            self._sparsity.detach()

    def pack(self, tensors: dict[str, Tensor]) -> dict[str, Any]:
        """Masks and hidden values, and of which kind they are."""  # noqa: DOC201
        if self._sparsity is None:
            return {}
        tensors.update({f"{LEAD}{name}": value for name, value in self._sparsity.state_dict().items()})
        return {"sparsity": type(self._sparsity).__name__}

    def load(self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any], net: nn.Module) -> None:
        """Go on."""
        saved, own = meta.get("sparsity"), self._sparsity and type(self._sparsity).__name__
        require(
            saved == own,
            f"the run that is resumed was begun with sparsity={saved}, this is {own}. Go on with the same one, or "
            "begin a run of its own.",
        )
        if self._sparsity is not None:
            state = {name[len(LEAD) :]: value for name, value in tensors.items() if name.startswith(LEAD)}
            self._sparsity.load_state_dict(state)
