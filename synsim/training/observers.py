"""What listens to a run beside its training: tests, probes, protection, a progress bar, and the user's `on_epoch`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn

from synsim._progress import Lines
from synsim.meters import accuracy
from synsim.networks import replicas_of
from synsim.tasks import Task
from synsim.training.failing import Replicas
from synsim.training.moment import Moment, Observer
from synsim.training.owning import View
from synsim.training.plan import Plan, vector
from synsim.training.protection import Protection

Probe = Callable[[nn.Module, Task], Tensor]
"""A measurement per epoch: (network, current task) -> a number or [R]."""

Row = dict[str, Any]
OnEpoch = Callable[[Row], None]
"""Told of each epoch: a row of numbers, or lists with one per replica."""


def test_of(samples: int, block: int | None) -> Probe:
    """The usual test of a task: the accuracy on its test set.

    Args:
        samples: stochastic passes.
        block: images that share a mask.

    Returns:
        (network, task) -> a number or [R].
    """

    def test(net: nn.Module, task: Task) -> Tensor:
        return accuracy(net, task.test, task.test.y, samples=samples, block=block, head=task.head)

    return test


@dataclass
class Testing(Observer):
    """Tests of the present task after its epochs, and of all tasks after each task.

    Attributes:
        plan: of the run.
        test: (network, task) -> a number or [R].
        every_epoch: whether the present task is tested after each epoch, not only at its end.
        ahead: whether tasks are tested before they are trained on.
        once: whether the test that ends the last epoch of a task stands for that of the same task at its end: the same
            masks, and nothing has touched the network in between.
        view: the network as a task sees it; no task is tested that owns nothing yet.
    """

    plan: Plan
    test: Probe
    every_epoch: bool
    ahead: bool
    once: bool
    view: View

    def epoch_ends(self, moment: Moment) -> None:
        """Test the present task."""
        if self.every_epoch or self.plan.ends_task(moment):
            place = moment.history.per_epoch["test_accuracy"][:, moment.index, moment.epoch]
            place.copy_(self._tested(moment, moment.task))

    def task_ends(self, moment: Moment) -> None:
        """Test all tasks."""
        untested = () if self.ahead else self.plan.tasks[moment.index + 1 :]
        just = moment.history.per_epoch["test_accuracy"][:, moment.index, moment.epoch]
        for column, task in enumerate(self.plan.test):
            if not any(task is later for later in untested) and self.view.shows(task):
                found = just if self.once and task is moment.task else self._tested(moment, task)
                moment.history.accuracy[:, moment.index, column] = found

    def _tested(self, moment: Moment, task: Task) -> Tensor:
        with self.view.of(moment.net, task):
            return vector(self.test(moment.net, task), len(moment.seeds), "the test of a task")


@dataclass
class Probing(Observer):
    """Further measurements, by name.

    Attributes:
        plan: of the run.
        probes: name -> measurement.
        every: epochs from one measurement to the next; the last of a task is always measured.
        view: the network as a task sees it.
    """

    plan: Plan
    probes: Mapping[str, Probe]
    every: int
    view: View

    def epoch_ends(self, moment: Moment) -> None:
        """Measure."""
        if (moment.epoch + 1) % self.every and not self.plan.ends_task(moment):
            return
        for name, probe in self.probes.items():
            with self.view.of(moment.net, moment.task):
                found = vector(probe(moment.net, moment.task), len(moment.seeds), f"probe {name!r}")
            moment.history.per_epoch[name][:, moment.index, moment.epoch] = found


@dataclass
class Protecting(Observer):
    """The tasks of a protection; its steps are part of the training itself.

    Attributes:
        plan: of the run.
        protection: told where tasks start and end.
        replicas: those that failed are left out, and told of importances that are not finite.
    """

    plan: Plan
    protection: Protection
    replicas: Replicas

    def task_starts(self, moment: Moment) -> None:
        """Begin to observe."""
        self.protection.start(moment.net, moment.optimiser, moment.index)

    def epoch_ends(self, moment: Moment) -> None:
        """Claim, where tasks own synapses."""
        if self.plan.ends_learning(moment):
            fail = partial(self._fail, moment)
            found = self.protection.claim(moment.net, moment.optimiser, moment.task, self.replicas.failed, fail)
            moment.history.record(moment.index, found)

    def task_ends(self, moment: Moment) -> None:
        """Measure and remember."""
        with View(self.protection.owned, self.plan.tasks).of(moment.net, moment.task):
            found = self.protection.finish(
                moment.net, moment.task, self.plan.ends_run(moment), self.replicas.failed, partial(self._fail, moment)
            )
        moment.history.record(moment.index, found)

    def _fail(self, moment: Moment, replicas: Any) -> None:
        self.replicas.fail(moment, replicas, "importance")

    def pack(self, tensors: dict[str, Tensor]) -> dict[str, Any]:
        """All of it are tensors."""  # noqa: DOC201
        tensors.update(self.protection.tensors())
        return {}

    def load(self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any], net: nn.Module) -> None:
        """Go on."""
        self.protection.load(net, tensors)


class Progress(Observer):
    """A bar of the steps, with the task and its loss.

    Args:
        bar: of `synsim._progress`.
    """

    def __init__(self, bar: Lines) -> None:
        self._bar = bar

    def step_ends(self, moment: Moment) -> None:
        """One more."""
        self._bar.update(1)

    def epoch_ends(self, moment: Moment) -> None:
        """Name the task."""
        loss = moment.history.per_epoch["loss"][:, moment.index, moment.epoch]
        self._bar.set_postfix(task=moment.task.name, loss=f"{float(loss.nanmean()):.3g}")


class Telling(Observer):
    """Calls `on_epoch` with what was measured, until it has returned once for each epoch.

    If it raises, the state after the epoch is saved, and a run that goes on from there begins with this call.

    Args:
        plan: of the run.
        on_epoch: what is called.
        save: saves the state after an epoch.
    """

    def __init__(self, plan: Plan, on_epoch: OnEpoch, save: Callable[[Moment], None]) -> None:
        self._plan, self._call, self._save = plan, on_epoch, save
        self.pending = False

    def measured(self, moment: Moment) -> None:
        """Tell of the epoch."""
        self.pending = True
        try:
            self._call(self.row(moment))
        except Exception:
            self._save(moment)
            raise
        self.pending = False

    def row(self, moment: Moment) -> Row:
        """What was measured after an epoch.

        Args:
            moment: the end of that epoch.

        Returns:
            Names, numbers and lists of them: task, epoch, step (steps made on the task), all that the history has per
            epoch and, at the end of a task, per task. A network with replicas has lists of one number per replica.
        """
        history, lead = moment.history, replicas_of(moment.net)
        found: Row = {"task": moment.task.name, "epoch": moment.epoch, "step": moment.within}

        def plain(value: Tensor) -> Any:
            return (value if lead else value[0]).tolist()

        for name, values in history.per_epoch.items():
            at = values[..., moment.index, moment.epoch]
            found[name] = at.item() if name == "seconds" else plain(at)
        if self._plan.ends_task(moment):
            found["accuracy"] = plain(history.accuracy[:, moment.index])
            found |= {name: plain(values[:, moment.index]) for name, values in history.after_task.items()}
        return found

    def pack(self, tensors: dict[str, Tensor]) -> dict[str, Any]:
        """Whether the last epoch is still to be told of."""  # noqa: DOC201
        return {"untold": True} if self.pending else {}

    def load(self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any], net: nn.Module) -> None:
        """Go on."""
        self.pending = bool(meta.get("untold", False))
