"""The loop over tasks: R replicas at once, measurements per epoch, checkpoints, resume."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from tqdm import tqdm

from synsim._checks import require, times, warn, whole
from synsim._doors import typed
from synsim._names import named_parameters
from synsim.meters import accuracy
from synsim.networks import replicas_of
from synsim.synapses import synapses
from synsim.synapses.base import say_unheard
from synsim.tasks import Task, batches
from synsim.training.history import Failure, History, check_names
from synsim.training.plan import Plan, check_optimiser, plan, vector
from synsim.training.protection import Protection
from synsim.training.schedule import Schedule, Scheduler, suits
from synsim.training.state import changes, groups_of, pack, unpack
from synsim.training.step import Held, Objective, Penalty, apply_step, finite_replicas, forward_backward, what_failed

Probe = Callable[[nn.Module, Task], Tensor]
"""A measurement per epoch: (network, current task) -> a number or [R]."""


class Store(Protocol):
    """Where a loop keeps its state."""

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The state saved last, or None."""

    def save(self, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
        """Keep a state."""

    def due(self) -> bool:
        """Whether it is time to save."""


class TrainingFailedError(RuntimeError):
    """Every replica failed, or a finished run has replicas that did."""

    @typed
    def __init__(self, failures: Sequence[Failure | str]) -> None:
        super().__init__("\n".join(str(failure) for failure in failures))
        self.failures = tuple(failures)


class TrainingStoppedError(RuntimeError):
    """A run was asked to stop; what it had reached is kept.

    Attributes:
        history: what was measured until then.
    """

    def __init__(self, task: str, epoch: int, step: int, history: History, kept: bool) -> None:
        after = "its state is in the checkpoint; resume to go on" if kept else "there is no store, so nothing was kept"
        super().__init__(f"stopped in task {task!r}, epoch {epoch}, after step {step}: {after}.")
        self.history = history


@dataclass(frozen=True)
class _Listeners:
    # What is asked and told beside the training itself.
    penalty: Penalty | None
    protection: Protection | None
    objective: Objective | None
    schedule: Schedule | None
    stop: Callable[[], bool] | None


class _Run:
    # The moving parts of one call of `fit`.
    def __init__(
        self,
        net: nn.Module,
        optimiser: Optimizer,
        history: History,
        store: Store | None,
        listeners: _Listeners,
    ) -> None:
        self.net, self.optimiser, self.history, self.store = net, optimiser, history, store
        self.protection, self.objective, self.penalty = listeners.protection, listeners.objective, listeners.penalty
        self.schedule, self.stop = listeners.schedule, listeners.stop
        self.at = (0, 0, 0)
        lead = len(history.seeds)
        self.device = next(net.parameters()).device
        self.sums = torch.zeros(2, lead, dtype=torch.float64, device=self.device)
        self.alive = torch.ones(lead, dtype=torch.bool, device="cpu")
        self.held = Held(net, optimiser)
        self.elapsed = 0.0
        self.looked = False
        self.built: dict[str, Tensor] = {}
        self.groups = [] if store is None else groups_of(optimiser, self.built, "built")
        self.built = {name: value.clone() for name, value in self.built.items()}

    def resume(self) -> None:
        saved = None if self.store is None else self.store.load()
        if saved is None:
            return
        tensors, meta = saved
        suits(self.schedule, meta.get("schedule"))
        changed = changes(self.optimiser, tensors, meta.get("built", []))
        unpack(self.net, self.optimiser, tensors, meta["numbers"], meta.get("groups"), changed)
        for name, parameter in named_parameters(self.net) if "trained" in meta else ():
            parameter.requires_grad_(name in meta["trained"])
        if self.schedule is not None:
            self.schedule.load(meta["schedule"], tensors)
        self.history.load(tensors, meta["failures"])
        self.at = (meta["task"], meta["epoch"], meta["step"])
        if self.protection is not None:
            self.protection.load(self.net, tensors)
        self.sums = tensors["sums"].to(self.device)
        self.elapsed = meta["elapsed"]
        for failure in self.history.failures:
            self.alive[failure.replica] = False
            self.held.hold(failure.replica)

    def save(self, task: int, epoch: int, step: int, elapsed: float) -> None:
        if self.store is None:
            return
        tensors, numbers = pack(self.net, self.optimiser)
        meta = {
            "numbers": numbers,
            "groups": groups_of(self.optimiser, tensors),
            "trained": [name for name, parameter in named_parameters(self.net) if parameter.requires_grad],
            "built": self.groups,
            "failures": [asdict(failure) for failure in self.history.failures],
            "task": task,
            "epoch": epoch,
            "step": step,
            "elapsed": elapsed,
        }
        if self.schedule is not None:
            meta["schedule"] = self.schedule.pack(tensors)
        protected = {} if self.protection is None else self.protection.tensors()
        self.store.save({**tensors, **self.built, **protected, **self.history.tensors(), "sums": self.sums}, meta)

    def due(self) -> bool:
        return self.store is not None and self.store.due()

    def stopping(self) -> bool:
        return self.stop is not None and self.stop()

    def stopped(self, task: str, epoch: int, step: int) -> TrainingStoppedError:
        return TrainingStoppedError(task, epoch, step, self.history, self.store is not None)

    def failed(self) -> list[int]:
        return [failure.replica for failure in self.history.failures]

    def guard(self, losses: Tensor, task: str, epoch: int, step: int) -> None:
        finite = finite_replicas(self.net, losses)
        for replica in (self.alive & ~finite).nonzero().flatten().tolist():
            self.fail(task, epoch, step, [replica], what_failed(self.net, losses, replica))

    def fail(self, task: str, epoch: int, step: int, replicas: Sequence[int], what: str = "importance") -> None:
        for replica in replicas:
            if bool(self.alive[replica]):
                self.alive[replica] = False
                self.held.hold(replica)
                self.history.failures.append(Failure(replica, self.history.seeds[replica], task, epoch, step, what))
        if not bool(self.alive.any()):
            raise TrainingFailedError(self.history.failures)


@typed
def fit(
    net: nn.Module,
    optimiser: Optimizer,
    tasks: Iterable[Task],
    *,
    seeds: Sequence[int],
    epochs: int | None = None,
    steps: int | None = None,
    batch: int = 100,
    test: Iterable[Task] | None = None,
    samples: int = 10,
    block: int | None = 100,
    probes: Mapping[str, Probe] | None = None,
    penalty: Penalty | None = None,
    protection: Protection | None = None,
    objective: Objective | None = None,
    tested_by: Probe | None = None,
    scheduler: Scheduler | None = None,
    schedule_every: str = "epoch",
    store: Store | None = None,
    stop: Callable[[], bool] | None = None,
    progress: str | None = None,
    test_every_epoch: bool = True,
    test_ahead: bool = True,
    probe_every: int = 1,
) -> History:
    """Train on tasks in sequence.

    Each replica sees the examples in an order of its own, a function of its seed, the task and the epoch. After each
    epoch the present task is tested, after each task all of `test`. A replica whose loss or gradient is not finite is
    held at the state before that step; the others go on.

    Layers may be frozen at any time, by a probe say, and released again between tasks; importances that add up from the
    start of a task refuse a layer that is released within it.

    Args:
        net: the network.
        optimiser: its optimiser.
        tasks: tasks to train on, in order.
        seeds: one per replica (one without replicas), for the order of the examples.
        epochs: passes over each task.
        steps: steps on each task, in place of epochs; the order is drawn anew whenever the examples are used up.
        batch: examples per step; the last, incomplete batch of an epoch is dropped.
        test: tasks to test on; None: those trained on.
        samples: stochastic passes per test.
        block: images that share a mask in a test.
        probes: further measurements after each epoch, by name.
        penalty: returns gradients of a penalty, keyed like `named_parameters()`.
        protection: importances and the consolidation that they feed, in place of `penalty`.
        objective: what is minimised: (output, images, labels) -> [R]; None: the cross-entropy.
        tested_by: the test of a task, in place of the accuracy: (network, task) -> a number or [R].
        scheduler: a scheduler of torch for this optimiser, or what makes one from it; its state is part of checkpoints.
            `ReduceLROnPlateau` sees the mean training loss of each epoch.
        schedule_every: "epoch": it is stepped after each epoch; "step": after each step.
        store: where checkpoints are kept, and what is resumed: network, optimiser, its constants, and the schedule.
        stop: asked after each step; when it says True, the state is saved and the run ends. None: what `store.stopping`
            says, if it has that.
        progress: label of the progress bar, or None for no bar.
        test_every_epoch: whether the present task is tested after each epoch, not only at its end.
        test_ahead: whether tasks are tested before they are trained on; if not, their accuracy is NaN until then.
        probe_every: epochs from one measurement by the probes to the next; the last epoch of a task is always measured,
            and what was not is NaN.

    Returns:
        The measurements. Look at `failures`: replicas that failed are listed there.

    Raises:
        ValueError: if an argument does not fit, or the run that is resumed had another scheduler.
        TrainingFailedError: if every replica failed.
        TrainingStoppedError: if `stop` said so.
    """
    probe_every, samples = whole(probe_every, "probe_every"), times(samples, "samples")
    todo = plan(net, tasks, test, seeds, epochs, steps, batch)
    require(penalty is None or protection is None, "give either a penalty or a protection, not both.")
    check_names(probes or {}, protection.after_task if protection is not None else ())
    if protection is not None:
        protection.check(todo.tasks, optimiser, todo.batch)
    check_optimiser(net, optimiser)
    schedule = None if scheduler is None else Schedule(scheduler, optimiser, schedule_every)
    if store is not None and schedule is None and hasattr(optimiser.step, "_wrapped_by_lr_sched"):
        warn(
            "a scheduler of torch is attached to this optimiser. fit neither steps it nor keeps its counters in "
            "checkpoints: give it as fit(scheduler=...).",
        )
    listeners = _Listeners(penalty, protection, objective, schedule, stop or getattr(store, "stopping", None))
    names = [[task.name for task in part] for part in (todo.tasks, todo.test)]
    empty = History.empty(todo.seeds, names[0], names[1], max(todo.rounds), list(probes or {}))
    run = _Run(net, optimiser, empty, store, listeners)
    run.resume()
    tester = _Tester(
        todo, tested_by or partial(_tested, samples=samples, block=block), dict(probes or {}), test_every_epoch,
        test_ahead, probe_every,
    )  # fmt: skip
    with tqdm(
        total=sum(todo.counts),
        initial=todo.done(run.at),
        desc=progress,
        disable=progress is None,
        unit="step",
        mininterval=0.5,
    ) as bar:
        for index in range(run.at[0], len(todo.tasks)):
            if protection is not None and not (index == run.at[0] and any(run.at[1:])):
                protection.start(net, optimiser, index)
            for epoch in range(run.at[1] if index == run.at[0] else 0, todo.rounds[index]):
                _round(run, todo, tester, index, epoch, bar)
    return run.history


@dataclass(frozen=True)
class _Tester:
    # What is measured after an epoch, and when.
    todo: Plan
    test: Probe
    probes: Mapping[str, Probe]
    every_epoch: bool
    ahead: bool
    probe_every: int

    def measure(self, net: nn.Module, history: History, index: int, epoch: int) -> None:
        task, lead = self.todo.tasks[index], len(self.todo.seeds)
        last = epoch == self.todo.rounds[index] - 1
        if self.every_epoch or last:
            found = vector(self.test(net, task), lead, "the test of a task")
            history.per_epoch["test_accuracy"][:, index, epoch] = found
        if last or (epoch + 1) % self.probe_every == 0:
            for name, probe in self.probes.items():
                history.per_epoch[name][:, index, epoch] = vector(probe(net, task), lead, f"probe {name!r}")
        if last:
            untested = () if self.ahead else self.todo.tasks[index + 1 :]
            for column, other in enumerate(self.todo.test):
                if not any(other is later for later in untested):
                    found = vector(self.test(net, other), lead, "the test of a task")
                    history.accuracy[:, index, column] = found


def _round(run: _Run, todo: Plan, tester: _Tester, index: int, epoch: int, bar: Any) -> None:
    # One epoch, and what follows it.
    task, last = todo.tasks[index], epoch == todo.rounds[index] - 1
    first = run.at[2] if (index, epoch) == run.at[:2] else 0
    end = todo.counts[index] - epoch * todo.per_epoch[index]
    _epoch(run, task, index, epoch, (first, end), todo.batch, bar)
    tester.measure(run.net, run.history, index, epoch)
    finished = last and index == len(todo.tasks) - 1
    if last and run.protection is not None:
        fail = partial(run.fail, task.name, epoch, end)
        run.history.record(index, run.protection.finish(run.net, task, finished, run.failed(), fail))
    if run.schedule is not None:
        run.schedule.after_epoch(float(run.history.per_epoch["loss"][:, index, epoch].nanmean()))
    stopping = not finished and run.stopping()
    if last or stopping or run.due():
        run.save(*((index + 1, 0) if last else (index, epoch + 1)), 0, 0.0)
    if stopping:
        raise run.stopped(task.name, epoch, min(end, todo.per_epoch[index]))


def _losses(
    net: nn.Module, optimiser: Optimizer, x: Tensor, y: Tensor, head: int | None, objective: Objective | None
) -> Tensor:
    return forward_backward(net, optimiser, x, y, head, objective)[0]


def _tested(net: nn.Module, task: Task, samples: int, block: int | None) -> Tensor:
    return accuracy(net, task.test, task.test.y, samples=samples, block=block, head=task.head)


def _epoch(run: _Run, task: Task, index: int, epoch: int, span: tuple[int, int], batch: int, bar: Any) -> None:
    first, stop = span
    started = time.perf_counter()
    before = run.elapsed if first else 0.0
    if not first:
        run.sums.zero_()
    order = task.order(run.history.seeds, index, epoch).to(run.device)
    alone = replicas_of(run.net) is None
    for step, rows in enumerate(islice(batches(order, batch, first), stop - first), start=first):
        x, y = task.batch(rows[0] if alone else rows)
        losses, right = forward_backward(run.net, run.optimiser, x, y, task.head, run.objective)
        run.guard(losses, task.name, epoch, step)
        if not run.looked:
            run.looked = True
            say_unheard(synapses(run.net))
        again = partial(_losses, run.net, run.optimiser, x, y, task.head, run.objective)
        if run.protection is None:
            apply_step(run.net, run.optimiser, run.penalty, again)
        else:
            at = (index, epoch, step, epoch * (task.per_epoch // batch) + step)
            run.protection.step(
                run.net, run.optimiser, task, run.history.seeds, at, batch, again, run.failed(), run.objective
            )
        run.held.restore()
        run.sums += torch.stack([losses, right]).double()
        if run.schedule is not None:
            run.schedule.after_step()
        bar.update(1)
        stopping = run.stopping()
        if stopping or run.due():
            run.save(index, epoch, step + 1, before + time.perf_counter() - started)
        if stopping:
            raise run.stopped(task.name, epoch, step + 1)
    mean = torch.where(run.alive, (run.sums / min(stop, task.per_epoch // batch)).cpu(), torch.nan)
    run.history.per_epoch["loss"][:, index, epoch] = mean[0]
    run.history.per_epoch["train_accuracy"][:, index, epoch] = mean[1]
    run.history.per_epoch["seconds"][index, epoch] = before + time.perf_counter() - started
    bar.set_postfix(task=task.name, loss=f"{float(mean[0].nanmean()):.3g}")
