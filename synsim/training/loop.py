"""The loop over tasks: R replicas at once, measurements per epoch, checkpoints, resume."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from itertools import islice
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from tqdm import tqdm

from synsim._checks import require, whole
from synsim._doors import typed
from synsim.meters import accuracy
from synsim.networks import replicas_of
from synsim.tasks import Task, batches
from synsim.training.history import Failure, History, check_names
from synsim.training.protection import Protection
from synsim.training.state import pack, unpack
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


class _Run:
    # The moving parts of one call of `fit`.
    def __init__(
        self,
        net: nn.Module,
        optimiser: Optimizer,
        history: History,
        store: Store | None,
        protection: Protection | None,
        objective: Objective | None,
    ) -> None:
        self.net, self.optimiser, self.history, self.store = net, optimiser, history, store
        self.protection, self.objective = protection, objective
        self.at = (0, 0, 0)
        lead = len(history.seeds)
        self.device = next(net.parameters()).device
        self.sums = torch.zeros(2, lead, dtype=torch.float64, device=self.device)
        self.alive = torch.ones(lead, dtype=torch.bool, device="cpu")
        self.held = Held(net, optimiser)
        self.elapsed = 0.0

    def resume(self) -> None:
        saved = None if self.store is None else self.store.load()
        if saved is None:
            return
        tensors, meta = saved
        unpack(self.net, self.optimiser, tensors, meta["numbers"])
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
            "failures": [asdict(failure) for failure in self.history.failures],
            "task": task,
            "epoch": epoch,
            "step": step,
            "elapsed": elapsed,
        }
        protected = {} if self.protection is None else self.protection.tensors()
        self.store.save({**tensors, **protected, **self.history.tensors(), "sums": self.sums}, meta)

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
    tasks: Sequence[Task],
    *,
    seeds: Sequence[int],
    epochs: int | None = None,
    steps: int | None = None,
    batch: int = 100,
    test: Sequence[Task] | None = None,
    samples: int = 10,
    block: int | None = 100,
    probes: Mapping[str, Probe] | None = None,
    penalty: Penalty | None = None,
    protection: Protection | None = None,
    objective: Objective | None = None,
    tested_by: Probe | None = None,
    store: Store | None = None,
    progress: str | None = None,
    test_every_epoch: bool = True,
    test_ahead: bool = True,
    probe_every: int = 1,
) -> History:
    """Train on tasks in sequence.

    Each replica sees the examples in an order of its own, a function of its seed, the task and the epoch. After each
    epoch the present task is tested, after each task all of `test`. A replica whose loss or gradient is not finite is
    held at the state before that step; the others go on.

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
        store: where checkpoints are kept, and what is resumed.
        progress: label of the progress bar, or None for no bar.
        test_every_epoch: whether the present task is tested after each epoch, not only at its end.
        test_ahead: whether tasks are tested before they are trained on; if not, their accuracy is NaN until then.
        probe_every: epochs from one measurement by the probes to the next; the last epoch of a task is always measured,
            and what was not is NaN.

    Returns:
        The measurements. Look at `failures`: replicas that failed are listed there.

    Raises:
        ValueError: if an argument does not fit.
        TrainingFailedError: if every replica failed.
    """
    require(len(tasks) > 0, "expected at least one task, got none.")
    require((epochs is None) != (steps is None), "give either epochs or steps.")
    probe_every, batch = whole(probe_every, "probe_every"), whole(batch, "batch")
    least = min(task.per_epoch for task in tasks)
    require(
        least >= batch,
        f"a batch of {batch} needs as many examples, got {least}. Choose a smaller batch.",
    )
    per_epoch = [task.per_epoch // batch for task in tasks]
    counts = [whole(steps, "steps") if epochs is None else one * whole(epochs, "epochs") for one in per_epoch]
    rounds = [-(-count // one) for count, one in zip(counts, per_epoch, strict=True)]
    lead = replicas_of(net) or 1
    require(len(seeds) == lead, f"expected {lead} seeds, one per replica, got {len(seeds)}.")
    require(penalty is None or protection is None, "give either a penalty or a protection, not both.")
    check_names(probes or {}, protection.after_task if protection is not None else ())
    if protection is not None:
        protection.check(tasks, optimiser, batch)
    test = tasks if test is None else test
    names = [[task.name for task in part] for part in (tasks, test)]
    empty = History.empty(seeds, names[0], names[1], max(rounds), list(probes or {}))
    run = _Run(net, optimiser, empty, store, protection, objective)
    run.resume()
    test_task = tested_by or partial(_tested, samples=samples, block=block)
    done = sum(counts[: run.at[0]])
    if run.at[0] < len(tasks):
        done += per_epoch[run.at[0]] * run.at[1] + run.at[2]
    with tqdm(
        total=sum(counts), initial=done, desc=progress, disable=progress is None, unit="step", mininterval=0.5
    ) as bar:
        for index in range(run.at[0], len(tasks)):
            task = tasks[index]
            if protection is not None and not (index == run.at[0] and any(run.at[1:])):
                protection.start(net, optimiser, index)
            for epoch in range(run.at[1] if index == run.at[0] else 0, rounds[index]):
                first = run.at[2] if (index, epoch) == run.at[:2] else 0
                stop = counts[index] - epoch * per_epoch[index]
                _epoch(run, task, index, epoch, (first, stop), batch, penalty, bar)
                last = epoch == rounds[index] - 1
                if test_every_epoch or last:
                    found = test_task(net, task)
                    run.history.per_epoch["test_accuracy"][:, index, epoch] = found.reshape(-1).cpu()
                probed = last or (epoch + 1) % probe_every == 0
                for name, probe in (probes or {}).items() if probed else ():
                    run.history.per_epoch[name][:, index, epoch] = probe(net, task).detach().reshape(-1).cpu().double()
                if last:
                    ahead = () if test_ahead else tasks[index + 1 :]
                    for column, other in enumerate(test):
                        if any(other is later for later in ahead):
                            continue
                        found = test_task(net, other)
                        run.history.accuracy[:, index, column] = found.reshape(-1).cpu()
                    if protection is not None:
                        last_task, failed = index == len(tasks) - 1, run.failed()
                        fail = partial(run.fail, task.name, epoch, stop)
                        run.history.record(index, protection.finish(net, task, last_task, failed, fail))
                if store is not None and (last or store.due()):
                    run.save(*((index + 1, 0) if last else (index, epoch + 1)), 0, 0.0)
    return run.history


def _losses(
    net: nn.Module, optimiser: Optimizer, x: Tensor, y: Tensor, head: int | None, objective: Objective | None
) -> Tensor:
    return forward_backward(net, optimiser, x, y, head, objective)[0]


def _tested(net: nn.Module, task: Task, samples: int, block: int | None) -> Tensor:
    return accuracy(net, task.test, task.test.y, samples=samples, block=block, head=task.head)


def _epoch(
    run: _Run,
    task: Task,
    index: int,
    epoch: int,
    span: tuple[int, int],
    batch: int,
    penalty: Penalty | None,
    bar: Any,
) -> None:
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
        again = partial(_losses, run.net, run.optimiser, x, y, task.head, run.objective)
        if run.protection is None:
            apply_step(run.net, run.optimiser, penalty, again)
        else:
            at = (index, epoch, step, epoch * (task.per_epoch // batch) + step)
            run.protection.step(
                run.net, run.optimiser, task, run.history.seeds, at, batch, again, run.failed(), run.objective
            )
        run.held.restore()
        run.sums += torch.stack([losses, right]).double()
        bar.update(1)
        if run.store is not None and run.store.due():
            run.save(index, epoch, step + 1, before + time.perf_counter() - started)
    mean = torch.where(run.alive, (run.sums / min(stop, task.per_epoch // batch)).cpu(), torch.nan)
    run.history.per_epoch["loss"][:, index, epoch] = mean[0]
    run.history.per_epoch["train_accuracy"][:, index, epoch] = mean[1]
    run.history.per_epoch["seconds"][index, epoch] = before + time.perf_counter() - started
    bar.set_postfix(task=task.name, loss=f"{float(mean[0].nanmean()):.3g}")
