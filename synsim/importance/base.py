"""The one interface of all importances, and what the loop tells those that accumulate."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from synsim import _checks
from synsim._doors import typed

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Step:
    """One training step, as an accumulating importance sees it. All tensors are keyed and shaped like parameters.

    Attributes:
        index: number of the step within its task, from 0.
        gradient: of the task's loss alone on the batch of the update, without any penalty and without dropout.
        delta: w_{t+1} − w_t, penalty included.
        before: w_t.
        extra: gradients measured besides at w_t: "independent" (another batch), "full" (the whole training set).
    """

    index: int
    gradient: Tensors
    delta: Tensors
    before: Tensors
    extra: Mapping[str, Tensors] = field(default_factory=dict)


class Importance:
    """How much each parameter matters to a task: measured after it (`estimate`), or accumulated along the way.

    Attributes:
        name: under which `make` builds it.
        accumulate: how its values of several tasks become one unless the consolidation says otherwise: "sum", or "last"
            for a quantity that grows over tasks by itself.
        batch: examples per step that its formula takes for granted, or None.
        accumulated: whether it is accumulated (`start`, `observe`, `value`) instead of measured (`estimate`).
        needs: gradients that the loop measures at w_t before the update: a subset of {"independent", "full"}.
    """

    name: str = ""
    accumulate: str = "sum"
    batch: int | None = None
    accumulated: bool = False
    needs: frozenset[str] = frozenset()

    def wants(self, index: int) -> frozenset[str]:
        """Which of `needs` a step of this index needs.

        Args:
            index: number of the step within its task.

        Returns:
            A subset of `needs`.
        """
        _checks.index(index, "index")
        return self.needs

    @typed
    def estimate(self, net: nn.Module, x: Any, y: Any = None, *, head: int | None = None) -> dict[str, Tensor]:
        """Measure the importances on data of a task that was learned.

        Args:
            net: the network; it is left as it was.
            x: images [N, ...] or, for a network with replicas, also [R, N, ...]; an object with `len()` and slices; or
                what `synsim.inputs.as_images` reads: arrays, lists, a DataLoader, a data set.
            y: labels [N] or [R, N], where they are needed; [N, T] for a network with an output at each of T tokens.
                None: those that x brings with it.
            head: index of the active head; parameters of the others get 0.

        Returns:
            Parameter name -> importance ≥ 0, shaped like the parameter.

        Raises:
            TypeError: if this importance is accumulated.
        """
        found: dict[str, Tensor] = self._refuse("is accumulated during training: call start, observe and value instead")
        return found

    @typed
    def start(self, net: nn.Module) -> None:
        """Begin a task.

        Args:
            net: the network at the start of the task, after any re-initialisation.

        Raises:
            TypeError: if this importance is measured.
        """
        self._refuse("is measured after a task: call estimate instead")

    def observe(self, net: nn.Module, step: Step) -> None:
        """Take in one training step.

        Args:
            net: the network after the step.
            step: what happened.

        Raises:
            TypeError: if this importance is measured.
        """
        self._refuse("is measured after a task: call estimate instead")

    def value(self) -> dict[str, Tensor]:
        """The importances of the steps observed since `start`.

        Returns:
            Parameter name -> importance ≥ 0, shaped like the parameter.

        Raises:
            TypeError: if this importance is measured.
        """
        found: dict[str, Tensor] = self._refuse("is measured after a task: call estimate instead")
        return found

    def _refuse(self, why: str) -> Any:
        raise TypeError(f"{self.name!r} {why}.")

    def state_dict(self) -> dict[str, Any]:
        """What is needed to go on after an interruption.

        Returns:
            Name -> tensor or number.
        """
        return {}

    @typed
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state.

        Args:
            state: of `state_dict`.

        Raises:
            ValueError: if the state is not of this importance.
        """
        if state:
            raise ValueError(f"{self.name!r} has no state, got {sorted(state)}.")
