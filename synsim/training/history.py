"""What a training run leaves behind, as arrays with labelled axes."""

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
import xarray
from torch import Tensor

from synsim._checks import dense, require, times, whole
from synsim._doors import check_fields, typed
from synsim.records.dataset import is_name


@dataclass(frozen=True)
class Failure:
    """A replica whose loss, gradient or importance was not finite.

    Attributes:
        replica: its index.
        seed: its seed.
        task: name of the task.
        epoch: epoch of the task, from 0.
        step: step of the epoch, from 0.
        what: what was not finite.
    """

    replica: int
    seed: int
    task: str
    epoch: int
    step: int
    what: str = "loss or gradient"

    def __post_init__(self) -> None:
        check_fields(self)

    def __str__(self) -> str:
        """One line for people.

        Returns:
            Replica, seed, task, epoch and step.
        """
        return (
            f"replica {self.replica} (seed {self.seed}) failed in task {self.task!r}, epoch {self.epoch}, "
            f"step {self.step}: its {self.what} was not finite. It was held at the state before that step."
        )


PER_EPOCH = ("loss", "train_accuracy", "test_accuracy", "seconds")

TAKEN = frozenset({*PER_EPOCH, "accuracy", "failed", "replica", "seed", "task", "after_task", "test_task", "epoch"})
"""Names of variables and axes that every history has."""


@typed
def check_names(probes: Iterable[str], after_task: Iterable[str] = ()) -> None:
    """Refuse names of measurements that would overwrite others, or that no record can hold.

    Args:
        probes: names of measurements per epoch.
        after_task: names of measurements at the end of each task.

    Raises:
        ValueError: if a name is taken, given twice, or cannot be the name of a variable in NetCDF.
    """
    kinds = [("probe", name) for name in probes] + [("after_task", name) for name in after_task]
    names = [name for _, name in kinds]
    for kind, name in kinds:
        if not is_name(name):
            raise ValueError(
                f"{kind} {name!r} can't be kept in a record: a name must be printable text, not empty and without '/'."
                " Rename it."
            )
        lead, _, number = name.rpartition("_")
        axis = number.isdecimal() and lead in names  # the name of an axis of a measurement with several
        if name in TAKEN or axis or names.count(name) > 1:
            raise ValueError(
                f"{kind} {name!r} has the name of another measurement or axis, which it would overwrite. Rename it; "
                f"these are taken: {', '.join(sorted(TAKEN))}."
            )


@dataclass
class History:
    """Measurements of one training run.

    Attributes:
        seeds: one per replica.
        trained: names of the tasks trained on, in order.
        tested: names of the tasks tested after each.
        epochs: per task.
        per_epoch: name -> float64 [R, trained, epochs]; "seconds" is [trained, epochs].
        accuracy: float64 [R, trained, tested], test accuracy in [0, 1] after each task.
        failures: replicas that failed.
        after_task: name -> float64 [R, trained, ...], measurements at the end of each task.
    """

    seeds: tuple[int, ...]
    trained: tuple[str, ...]
    tested: tuple[str, ...]
    epochs: int
    per_epoch: dict[str, Tensor] = field(default_factory=dict)
    accuracy: Tensor = field(default_factory=lambda: torch.empty(0, device="cpu"))
    failures: list[Failure] = field(default_factory=list)
    after_task: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_fields(self)
        times(self.epochs, "epochs")
        for name, value in (*self.per_epoch.items(), *self.after_task.items(), ("accuracy", self.accuracy)):
            axes = 3 if name == "accuracy" else 2
            require(
                dense(value, name).is_floating_point() and (value.ndim >= axes or value.numel() == 0),
                f"{name} must hold floats [R, trained, ...], got {value.dtype} {list(value.shape)}.",
            )

    def __repr__(self) -> str:
        """One line.

        Returns:
            Replicas, tasks, epochs, and the mean accuracy over all tasks at the end.
        """
        tested = self.accuracy.numel() > 0
        end = f", accuracy {float(self.accuracy[:, -1].nanmean()):.4g} at the end" if tested else ""
        failed = f", {len(self.failures)} failed" if self.failures else ""
        return f"History({len(self.seeds)} replicas, {len(self.trained)} tasks of {self.epochs} epochs{end}{failed})"

    def _repr_html_(self) -> str:
        shown: str = self.dataset()._repr_html_()
        return f"<p>{html.escape(repr(self))}</p>{shown}"

    @staticmethod
    @typed
    def empty(
        seeds: Sequence[int], trained: Sequence[str], tested: Sequence[str], epochs: int, probes: Sequence[str]
    ) -> "History":
        """A history in which nothing was measured yet.

        Args:
            seeds: one per replica.
            trained: names of the tasks to train on.
            tested: names of the tasks to test on.
            epochs: per task.
            probes: names of further measurements per epoch.

        Returns:
            A history full of NaN.
        """
        check_names(probes)
        epochs = times(epochs, "epochs")
        shape = (len(seeds), len(trained), epochs)
        per_epoch = {
            name: torch.full(shape, torch.nan, dtype=torch.float64, device="cpu") for name in (*PER_EPOCH, *probes)
        }
        per_epoch["seconds"] = per_epoch["seconds"][0].clone()
        accuracy = torch.full((len(seeds), len(trained), len(tested)), torch.nan, dtype=torch.float64, device="cpu")
        return History(tuple(seeds), tuple(trained), tuple(tested), epochs, per_epoch, accuracy)

    @typed
    def record(self, task: int, found: Mapping[str, Tensor]) -> None:
        """Keep measurements made at the end of a task.

        Args:
            task: its index.
            found: name -> [R, ...].

        Raises:
            ValueError: if there is no such task, or a measurement does not fit.
        """
        task = whole(task, "task", 0, len(self.trained) - 1)
        for name, value in found.items():
            dense(value, name)
            require(
                value.ndim > 0 and value.shape[0] == len(self.seeds) and not value.is_complex(),
                f"{name} must be real, of shape [{len(self.seeds)}, ...], one entry per replica, got {value.dtype} "
                f"{list(value.shape)}.",
            )
            if name not in self.after_task:
                shape = (value.shape[0], len(self.trained), *value.shape[1:])
                self.after_task[name] = torch.full(shape, torch.nan, dtype=torch.float64, device="cpu")
            kept = self.after_task[name][:, task]
            require(
                value.shape == kept.shape,
                f"{name} must have shape {list(kept.shape)} as after earlier tasks, got {list(value.shape)}.",
            )
            kept.copy_(value)

    def tensors(self) -> dict[str, Tensor]:
        """All arrays, for a checkpoint.

        Returns:
            Name -> array.
        """
        epochs = {f"epoch/{name}": value for name, value in self.per_epoch.items()}
        tasks = {f"after/{name}": value for name, value in self.after_task.items()}
        return {**epochs, **tasks, "accuracy": self.accuracy}

    def description(self) -> dict[str, Any]:
        """Everything but the arrays, as JSON values; with `tensors` it gives a finished history back.

        Returns:
            Names, seeds and failures, marked as finished.
        """
        return {
            "finished": True,
            "seeds": list(self.seeds),
            "trained": list(self.trained),
            "tested": list(self.tested),
            "epochs": self.epochs,
            "failures": [asdict(failure) for failure in self.failures],
        }

    @staticmethod
    @typed
    def restored(tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> "History":
        """A finished history from a checkpoint.

        Args:
            tensors: of `tensors`.
            about: of `description`.

        Returns:
            The history.

        Raises:
            ValueError: if either is of something else.
        """
        missing = [name for name in ("seeds", "trained", "tested", "epochs", "failures") if name not in about]
        require(not missing, f"about must be what description() returns, got none of {', '.join(missing)}.")
        found = History(tuple(about["seeds"]), tuple(about["trained"]), tuple(about["tested"]), about["epochs"])
        found.per_epoch = {name[6:]: value for name, value in tensors.items() if name.startswith("epoch/")}
        found.load(tensors, about["failures"])
        return found

    @typed
    def load(self, tensors: Mapping[str, Tensor], failures: Sequence[Mapping[str, object]]) -> None:
        """Continue from a checkpoint.

        Args:
            tensors: from `tensors`.
            failures: fields of the failures.

        Raises:
            ValueError: if arrays are missing, or a failure has other fields.
        """
        missing = [name for name in ("accuracy", *(f"epoch/{one}" for one in self.per_epoch)) if name not in tensors]
        require(not missing, f"the checkpoint must hold what tensors() returns, got none of {', '.join(missing)}.")
        try:
            self.failures = [Failure(**one) for one in failures]  # type: ignore[arg-type]
        except TypeError as error:
            raise ValueError(f"failures must have the fields of synsim.training.Failure: {error}.") from error
        lead = len(self.seeds), len(self.trained)
        wanted = {f"epoch/{name}": (*lead[name == "seconds" :], self.epochs) for name in self.per_epoch}
        for name, shape in {**wanted, "accuracy": (*lead, len(self.tested))}.items():
            value = tensors[name]
            require(
                tuple(value.shape) == shape and value.is_floating_point(),
                f"{name!r} of the checkpoint must hold floats {list(shape)}, got {value.dtype} {list(value.shape)}.",
            )
        for name in self.per_epoch:
            self.per_epoch[name] = tensors[f"epoch/{name}"].clone()
        self.accuracy = tensors["accuracy"].clone()
        self.after_task = {name[6:]: value.clone() for name, value in tensors.items() if name.startswith("after/")}

    def dataset(self) -> xarray.Dataset:
        """The arrays with labelled axes.

        Returns:
            A dataset over replica, task (trained on, also called after_task), test_task and epoch. Accuracies lie in
            [0, 1], losses are nats, seconds are wall time.
        """
        axes = ("replica", "task", "epoch")
        variables: dict[str, tuple[tuple[str, ...], Any]] = {
            name: (axes if value.ndim == 3 else axes[1:], value.numpy()) for name, value in self.per_epoch.items()
        }
        for name, value in self.after_task.items():
            own = tuple(f"{name}_{axis}" for axis in range(value.ndim - 2))
            variables[name] = (("replica", "task", *own), value.numpy())
        failed = np.zeros(len(self.seeds), dtype=bool)
        for failure in self.failures:
            failed[failure.replica] = True
        return xarray.Dataset(
            {
                **variables,
                "accuracy": (("replica", "after_task", "test_task"), self.accuracy.numpy()),
                "failed": (("replica",), failed),
            },
            coords={
                "replica": np.arange(len(self.seeds)),
                "seed": ("replica", np.array(self.seeds, dtype=np.int64)),
                "task": list(self.trained),
                "after_task": list(self.trained),
                "test_task": list(self.tested),
                "epoch": np.arange(1, self.epochs + 1),
            },
            attrs={"failures": "; ".join(str(failure) for failure in self.failures)},
        )
