"""A run of several phases (methods, say) in one folder: what is finished is kept, what was cut off goes on."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import xarray
from torch import Tensor, nn
from torch.optim import Optimizer

from synsim import records
from synsim._checks import number, require
from synsim._doors import check_fields, typed
from synsim.records.words import described
from synsim.sweep import Sweep
from synsim.tasks import Task
from synsim.training.failing import TrainingFailedError
from synsim.training.history import History
from synsim.training.loop import fit
from synsim.training.stopping import StoppedError


@dataclass(frozen=True)
class Phase:
    """A finished phase.

    Attributes:
        name: its name.
        dataset: its measurements.
        state: `state_dict` of its trained network.
    """

    name: str
    dataset: xarray.Dataset
    state: dict[str, Tensor]

    def __post_init__(self) -> None:
        check_fields(self)


class Session:
    """The folder of a run, and the phases that it went through.

    Args:
        folder: from `synsim.records.create`.
        every: seconds between checkpoints.
        stop: whether the run is to stop (see `synsim.training.stopping`). It then saves at its next step and ends with
            StoppedError.
        quiet: no progress bars.

    Attributes:
        failures: replicas that failed, as text.
        notes: JSON values that `finish` keeps in `run.json`.
    """

    @typed
    def __init__(
        self,
        folder: records.RunFolder,
        every: float = 60.0,
        stop: Callable[[], bool] = lambda: False,
        quiet: bool = False,
    ) -> None:
        self.folder, self.every, self.stop, self.quiet = folder, number(every, "every"), stop, quiet
        self._tensors: dict[str, Tensor] = {}
        self._meta: dict[str, Any] = {}
        saved = folder.load_checkpoint()
        if saved is not None:
            self._tensors, self._meta = saved[0], saved[1]["phases"]
        self.failures: list[str] = []
        self.notes: dict[str, Any] = {}

    @typed
    def open(self, name: str) -> "PhaseStore":
        """Checkpoints of a phase that does not go through `fit`.

        Args:
            name: of the phase.

        Returns:
            Where its state is kept.

        Raises:
            StoppedError: if the run is to stop.
        """
        require(
            name != "" and "//" not in name and not name.endswith("/"),
            f"a phase needs a name without '//' and without '/' at its end, got {name!r}.",
        )
        if self.stop():
            raise StoppedError
        return PhaseStore(self, name)

    @typed
    def fit(
        self,
        name: str,
        net: nn.Module,
        optimiser: Optimizer,
        tasks: Iterable[Task],
        *,
        sweep: Sweep | None = None,
        keep: bool = True,
        tolerant: bool | None = None,
        **options: Any,
    ) -> Phase:
        """Train a network as a phase of the run, or take the phase from the checkpoint if it is finished.

        Args:
            name: of the phase, and the label of its progress bar.
            net: its network, built from the config; it ends up trained.
            optimiser: its optimiser.
            tasks: tasks to train on, in order.
            sweep: the settings and seeds that the replicas are; the measurements then have an axis for each.
            keep: see `phase`.
            tolerant: that a replica diverges is a result, and no failure of the run; None: if the sweep has several
                settings.
            **options: of `synsim.training.fit`, such as epochs and probes.

        Returns:
            The finished phase.

        Raises:
            TypeError: if `fit` has no such option.
            TrainingFailedError: if every replica failed.
        """
        require(not {"store", "stop"} & options.keys(), "store and stop are those of the session; leave them out.")
        options = {"progress": None if self.quiet else name, **options}
        if sweep is not None:
            options = {"seeds": sweep.seeds, **options}
            tolerant = len(sweep) > 1 if tolerant is None else tolerant
        phase = self.phase(
            name, net, lambda store: fit(net, optimiser, tasks, store=store, **options), keep=keep, sweep=bool(tolerant)
        )
        return phase if sweep is None else replace(phase, dataset=sweep.unfold(phase.dataset))

    @typed
    def phase(
        self,
        name: str,
        net: nn.Module,
        train: Callable[["PhaseStore"], History],
        *,
        keep: bool = True,
        sweep: bool = False,
    ) -> Phase:
        """Run a phase, or take it from the checkpoint if it is finished.

        Args:
            name: its name.
            net: its network, built from the config; it ends up trained.
            train: calls `fit` with the store it is given.
            keep: whether the trained network stays in the checkpoint. A run of many phases would carry all of their
                networks along; with False only the measurements stay, and `Phase.state` is empty.
            sweep: whether replicas try out settings, some of which may be too strong. That one of them diverges is then
                a result, marked in the dataset, and does not make the run a failed one.

        Returns:
            The finished phase.

        Raises:
            TrainingFailedError: if every replica failed; what is known is in the record then.
        """
        store = self.open(name)
        saved = self.stored(name)
        if saved is not None and "finished" in saved[1]:
            return self._finished(name, History.restored(*saved), {}, sweep)
        try:
            history = train(store)
        except TrainingFailedError as error:
            self.failures += [f"{name}: {failure}" for failure in error.failures]
            self.folder.finish("failed", failures=self.failures)
            raise
        if not keep:
            self.store(name, history.tensors(), history.description())
        state = {k: v.detach().clone() for k, v in net.state_dict().items()} if keep else {}
        return self._finished(name, history, state, sweep)

    def _finished(self, name: str, history: History, state: dict[str, Tensor], sweep: bool) -> Phase:
        if not sweep:
            self.failures += [f"{name}: {failure}" for failure in history.failures]
        return Phase(name, history.dataset(), state)

    @typed
    def finish(self, dataset: xarray.Dataset, rows: Sequence[dict[str, Any]]) -> None:
        """Write record and summary, and mark the run as finished.

        Args:
            dataset: everything measured.
            rows: rows of the result table.

        Raises:
            TrainingFailedError: if a replica failed; the results of the others are written first.
        """
        self.folder.save_record(described(dataset, self.folder.run))
        self.folder.save_summary(rows)
        self.folder.save_page()
        self.folder.finish("failed" if self.failures else "finished", failures=self.failures, **self.notes)
        if self.failures:
            raise TrainingFailedError(self.failures)

    @typed
    def store(self, name: str, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
        """Write a checkpoint with the present state of one phase and the last state of all others.

        Args:
            name: of the phase.
            tensors: its tensors.
            meta: everything else.
        """
        kept = {key: value for key, value in self._tensors.items() if not key.startswith(f"{name}//")}
        self._tensors = {**kept, **{f"{name}//{key}": value.detach().cpu() for key, value in tensors.items()}}
        self._meta[name] = meta
        self.folder.save_checkpoint(self._tensors, {"phases": self._meta})

    @typed
    def stored(self, name: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The last state of a phase.

        Args:
            name: of the phase.

        Returns:
            Its tensors and everything else, or None.
        """
        if name not in self._meta:
            return None
        lead = f"{name}//"
        found = {key[len(lead) :]: value for key, value in self._tensors.items() if key.startswith(lead)}
        return found, self._meta[name]


class PhaseStore:
    """Checkpoints of one phase.

    Args:
        session: the run.
        name: of the phase.
    """

    @typed
    def __init__(self, session: Session, name: str) -> None:
        self._session, self._name = session, name
        self._last = time.monotonic()

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The state saved last. The run has begun when it asks for this: its folder is made.

        Returns:
            Tensors and everything else, or None.
        """
        self._session.folder.start()
        return self._session.stored(self._name)

    @typed
    def save(self, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
        """Write a checkpoint.

        Args:
            tensors: state.
            meta: everything else.

        Raises:
            StoppedError: if the run is to stop; it is saved then.
        """
        # The session keeps what it is given until the next checkpoint, and training goes on in place.
        copies = {name: value.detach().clone() for name, value in tensors.items()}
        self._session.store(self._name, copies, meta)
        self._last = time.monotonic()
        if self._session.stop():
            raise StoppedError

    def due(self) -> bool:
        """Whether the time between checkpoints is over.

        Returns:
            True if it is time to save, or the run is to stop.
        """
        return self._session.stop() or time.monotonic() - self._last >= self._session.every
