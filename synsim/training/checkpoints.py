"""Where a run can be left: its whole state is saved after steps and epochs, and found again."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, Protocol

from torch import Tensor, nn
from torch.optim import Optimizer

from synsim._names import named_parameters
from synsim.training.failing import Replicas
from synsim.training.history import History
from synsim.training.moment import Moment, Observer
from synsim.training.plan import Plan, Position
from synsim.training.schedule import Schedule, suits
from synsim.training.state import changes, groups_of, pack, unpack
from synsim.training.tally import Tally


class Store(Protocol):
    """Where a loop keeps its state."""

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The state saved last, or None."""

    def save(self, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
        """Keep a state."""

    def due(self) -> bool:
        """Whether it is time to save."""


class TrainingStoppedError(RuntimeError):
    """A run was asked to stop; what it had reached is kept.

    Attributes:
        history: what was measured until then.
    """

    def __init__(self, task: str, epoch: int, step: int, history: History, kept: bool) -> None:
        after = "its state is in the checkpoint; resume to go on" if kept else "there is no store, so nothing was kept"
        super().__init__(f"stopped in task {task!r}, epoch {epoch}, after step {step}: {after}.")
        self.history = history


class Checkpoints(Observer):
    """Saves a run whenever its store says that it is time, after each task, and when it is asked to stop.

    Args:
        store: where states are kept, or None.
        stop: whether the run is to stop; asked after each step.
        plan: of the run.
        net: the network.
        optimiser: its optimiser, as it was built.
        tally: sums over the present epoch.

    Attributes:
        others: observers with a state of their own.
    """

    def __init__(
        self,
        store: Store | None,
        stop: Callable[[], bool] | None,
        plan: Plan,
        net: nn.Module,
        optimiser: Optimizer,
        tally: Tally,
    ) -> None:
        self._store, self._plan, self._net, self._optimiser, self._tally = store, plan, net, optimiser, tally
        self._stop = stop if stop is not None else getattr(store, "stopping", None)
        self._due: Callable[[], bool] = store.due if store is not None else lambda: False
        self.others: Sequence[Observer] = ()
        # The constants with which the optimiser was built: those that are given on resuming may differ.
        built: dict[str, Tensor] = {}
        self._groups = [] if store is None else groups_of(optimiser, built, "built")
        self._built = {name: value.clone() for name, value in built.items()}

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do."""
        return self._store is None and self._stop is None

    def resume(self, history: History, replicas: Replicas, schedule: Schedule | None) -> Position:
        """Bring a run back to where it was left.

        Args:
            history: gets what was measured.
            replicas: gets those that failed.
            schedule: of this call, which must be that of the run.

        Returns:
            Where it goes on: at the first step of all, if nothing was saved.

        Raises:
            ValueError: if the run had another schedule, or an optimiser of other groups.
        """
        saved = None if self._store is None else self._store.load()
        if saved is None:
            return 0, 0, 0
        tensors, meta = saved
        suits(schedule, meta.get("schedule"))
        changed = changes(self._optimiser, tensors, meta.get("built", []))
        unpack(self._net, self._optimiser, tensors, meta["numbers"], meta.get("groups"), changed)
        for name, parameter in named_parameters(self._net) if "trained" in meta else ():
            parameter.requires_grad_(name in meta["trained"])
        history.load(tensors, meta["failures"])
        for observer in self.others:
            observer.load(tensors, meta, self._net)
        self._tally.load(tensors["sums"], meta["elapsed"])
        replicas.load()
        return meta["task"], meta["epoch"], meta["step"]

    def step_ends(self, moment: Moment) -> None:
        """Save, and stop, if it is time for it."""
        stopping = self._stopping()
        if stopping or self._due():
            self._save(moment, (moment.index, moment.epoch, moment.step + 1), self._tally.seconds())
        if stopping:
            raise self._stopped(moment, moment.step + 1)

    def measured(self, moment: Moment) -> None:
        """Save after each task; and save, and stop, if it is time for it."""
        stopping = not self._plan.ends_run(moment) and self._stopping()
        if self._plan.ends_task(moment) or stopping or self._due():
            self.after_epoch(moment)
        if stopping:
            raise self._stopped(moment, moment.step)

    def after_epoch(self, moment: Moment) -> None:
        """Save the state after an epoch.

        Args:
            moment: its end.
        """
        self._save(moment, self._plan.after(moment), 0.0)

    def _stopping(self) -> bool:
        return self._stop is not None and self._stop()

    def _stopped(self, moment: Moment, steps: int) -> TrainingStoppedError:
        return TrainingStoppedError(moment.task.name, moment.epoch, steps, moment.history, self._store is not None)

    def _save(self, moment: Moment, position: Position, elapsed: float) -> None:
        if self._store is None:
            return
        tensors, numbers = pack(self._net, self._optimiser)
        meta = {
            "numbers": numbers,
            "groups": groups_of(self._optimiser, tensors),
            "trained": [name for name, parameter in named_parameters(self._net) if parameter.requires_grad],
            "built": self._groups,
            "failures": [asdict(failure) for failure in moment.history.failures],
            "task": position[0],
            "epoch": position[1],
            "step": position[2],
            "elapsed": elapsed,
        }
        for observer in self.others:
            meta |= observer.pack(tensors)
        self._store.save({**tensors, **self._built, **moment.history.tensors(), "sums": self._tally.sums}, meta)
