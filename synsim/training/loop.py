"""The loop over tasks, as a list of events: R replicas at once, measurements per epoch, checkpoints, resume.

Who listens to the events, and how to add another, is said in `synsim.training.moment`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import islice
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from synsim import streams
from synsim._checks import require, times, warn, whole
from synsim._doors import typed
from synsim._progress import Lines, bar
from synsim.consolidation.owned import Owned
from synsim.importance.selection import seeds_of
from synsim.inputs.loss import Objective
from synsim.networks import replicas_of
from synsim.rules.base import traits
from synsim.sparse import Sparsity
from synsim.synapses import synapses
from synsim.synapses.finding import say_unheard
from synsim.tasks import Task, batches
from synsim.training.checkpoints import Checkpoints, Store
from synsim.training.failing import Replicas
from synsim.training.history import History, check_names
from synsim.training.moment import EVENTS, Moment, Observer, told
from synsim.training.observers import OnEpoch, Probe, Probing, Progress, Protecting, Telling, Testing, test_of
from synsim.training.owning import View, check_owned
from synsim.training.plan import Plan, Position, check_optimiser, plan
from synsim.training.protection import Protection
from synsim.training.schedule import Schedule, Scheduler
from synsim.training.sparsifying import Sparsifying
from synsim.training.step import Penalty, apply_step, forward_backward
from synsim.training.tally import Tally


@typed
def fit(
    net: nn.Module,
    optimiser: Optimizer,
    tasks: Iterable[Task],
    *,
    seeds: Sequence[int] | None = None,
    epochs: int | None = None,
    steps: int | None = None,
    batch: int = 100,
    test: Iterable[Task] | None = None,
    samples: int = 10,
    block: int | None = 100,
    probes: Mapping[str, Probe] | None = None,
    penalty: Penalty | None = None,
    protection: Protection | None = None,
    sparsity: Sparsity | None = None,
    objective: Objective | None = None,
    tested_by: Probe | None = None,
    scheduler: Scheduler | None = None,
    schedule_every: str = "epoch",
    on_epoch: OnEpoch | None = None,
    store: Store | None = None,
    stop: Callable[[], bool] | None = None,
    progress: str | None = None,
    test_every_epoch: bool = True,
    test_ahead: bool = True,
    probe_every: int = 1,
) -> History:
    """Train on tasks in sequence.

    Each replica sees the examples in an order of its own, a function of its seed, the task and the epoch. A replica
    whose loss or gradient is not finite is held at the state before that step; the others go on.

    The order of events: a task starts (fresh parameters, a fresh optimiser, if the protection says so). Each step
    computes the gradient, leaves out replicas that failed, moves the parameters, and moves a scheduler that is stepped
    so. After an epoch the present task is tested, then the probes measure; after a task's last epoch all of `test` are
    tested, and the protection measures and remembers. Then a scheduler of epochs moves, `on_epoch` is called, and the
    state is saved: after each task, and whenever `store.due()` says so after a step or an epoch.

    Layers may be frozen at any time, by a probe say, and released again between tasks; importances that add up from the
    start of a task refuse a layer that is released within it.

    Args:
        net: the network.
        optimiser: its optimiser.
        tasks: tasks to train on, in order.
        seeds: one per replica (one without replicas), for the order of the examples; None: those of the network's
            stochastic layers, as its first one holds them, and 0 for a network without any.
        epochs: passes over each task.
        steps: steps on each task, in place of epochs; the order is drawn anew whenever the examples are used up.
        batch: examples per step; the last, incomplete batch of an epoch is dropped.
        test: tasks to test on; None: those trained on.
        samples: stochastic passes per test.
        block: images that share a mask in a test.
        probes: further measurements after each epoch, by name.
        penalty: returns gradients of a penalty, keyed like `named_parameters()`.
        protection: importances and the consolidation that they feed, in place of `penalty`.
        sparsity: `synsim.sparse.Gradual` or `TopKast`: which synapses are there, from the first step on; not together
            with a protection.
        objective: what is minimised: (output, images, labels) -> [R]; None: the cross-entropy.
        tested_by: the test of a task, in place of the accuracy: (network, task) -> a number or [R].
        scheduler: a scheduler of torch for this optimiser, or what makes one from it; its state is part of checkpoints.
            `ReduceLROnPlateau` sees the mean training loss of each epoch.
        schedule_every: "epoch": it is stepped after each epoch; "step": after each step.
        on_epoch: called after each epoch with what was measured, a dict: "task", "epoch", "step" (steps made on this
            task), all that `History.per_epoch` has, probes included, and at the end of a task "accuracy", one row per
            task of `test`, and what the protection measures then. Values are numbers, or lists with one per replica. It
            may change constants and freeze layers. If it raises, the state is saved first, and a run that is resumed
            calls it with the same row again; so does one that was killed, for epochs that it has to repeat.
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

    Example:
        >>> import synsim
        >>> tasks = synsim.tasks.single(synsim.data.load("digits"))
        >>> net = synsim.mlp([64, 10], p=0.5)
        >>> rule = synsim.PresynapticSGD(net, lr=0.1, p_up=0.1, p_down=0.1, g_lim=1e-3)
        >>> fit(net, rule, tasks, seeds=[0], epochs=1, batch=50).accuracy.shape
        torch.Size([1, 1, 1])
    """
    probe_every, samples, probes = whole(probe_every, "probe_every"), times(samples, "samples"), dict(probes or {})
    owned = _owned(protection)
    todo = plan(net, tasks, test, seeds, epochs, steps, batch, again=getattr(owned, "retrain", 0))
    view = View(owned, todo.tasks)
    _check(todo, net, optimiser, probes, penalty, protection, on_epoch)
    sparsifying = Sparsifying(sparsity)
    sparsifying.check(sum(todo.counts), protection is not None)
    schedule = None if scheduler is None else Schedule(scheduler, optimiser, schedule_every)
    _look_for_scheduler(optimiser, schedule, store)

    history = History.empty(todo.seeds, _names(todo.tasks), _names(todo.test), max(todo.rounds), list(probes))
    replicas = Replicas(net, optimiser, history)
    tally = Tally(len(todo.seeds), next(net.parameters()).device)
    checkpoints = Checkpoints(store, stop, todo, net, optimiser, tally)
    telling = None if on_epoch is None else Telling(todo, on_epoch, checkpoints.after_epoch)

    # In this order they are told of an event.
    observers = _present(
        Testing(
            todo,
            tested_by or test_of(samples, block),
            test_every_epoch,
            test_ahead,
            once=_untouched(tested_by, probes, owned),
            view=view,
        ),
        Probing(todo, probes, probe_every, view),
        None if protection is None else Protecting(todo, protection, replicas),
        sparsifying,
        schedule,
        telling,
    )
    checkpoints.others = tuple(observers)

    with sparsifying.during(net, optimiser):
        position = checkpoints.resume(history, replicas, schedule)
        if seeds is None:
            history.seeds = seeds_of(net, 0)  # of the run that is resumed
        with _bar(progress, todo, position) as shown:
            if not shown.disable:
                observers.insert(0, Progress(shown))
            if not checkpoints.idle:
                observers.append(checkpoints)
            run = _Run(net, optimiser, todo, history, replicas, tally, penalty, protection, objective, observers)
            if telling is not None and telling.pending:
                telling.measured(run.moment(*todo.before(position)))
            for index, epoch, first in todo.epochs(position):
                if epoch == 0 and first == 0:
                    run.tell("task_starts", run.moment(index, epoch, first))
                moment = run.train(index, epoch, first)
                run.tell("epoch_ends", moment)
                if todo.ends_task(moment):
                    run.tell("task_ends", moment)
                run.tell("measured", moment)
    return history


class _Run:
    # The moving parts of one call of `fit`, and its inner loop.
    def __init__(
        self,
        net: nn.Module,
        optimiser: Optimizer,
        todo: Plan,
        history: History,
        replicas: Replicas,
        tally: Tally,
        penalty: Penalty | None,
        protection: Protection | None,
        objective: Objective | None,
        observers: Sequence[Observer],
    ) -> None:
        self.net, self.optimiser, self.todo, self.history = net, optimiser, todo, history
        self.replicas, self.tally = replicas, tally
        self.penalty, self.protection, self.objective = penalty, protection, objective
        self.told = {event: told(observers, event) for event in EVENTS}
        self.looked = False

    def view(self, moment: Moment) -> AbstractContextManager[Any]:
        # A task that has claimed relearns under its mask.
        owned = _owned(self.protection)
        return nullcontext() if owned is None else View(owned, self.todo.tasks).of(moment.net, moment.task)

    def tell(self, event: str, moment: Moment) -> None:
        for hear in self.told[event]:
            hear(moment)

    def moment(self, index: int, epoch: int, step: int) -> Moment:
        return Moment(
            self.net, self.optimiser, self.todo.tasks[index], index, epoch, step, self.history.seeds, self.todo.batch,
            self.objective, self.history,
        )  # fmt: skip

    def train(self, index: int, epoch: int, first: int) -> Moment:
        self.tally.begin(first)
        task, hear = self.todo.tasks[index], self.told["step_ends"]
        order = task.order(self.history.seeds, index, epoch).to(self.tally.sums.device)
        # Asked once: a walk over all modules.
        alone = replicas_of(self.net) is None
        warm_up(self.optimiser, task, order, self.todo.batch, alone)
        steps = self.todo.steps(index, epoch)
        for step, rows in enumerate(islice(batches(order, self.todo.batch, first), steps - first), start=first):
            moment = self.moment(index, epoch, step)
            x, y = task.batch(rows[0] if alone else rows)
            with self.view(moment):
                show_others(moment, alone)
                self.step(moment, x, y)
            for listen in hear:
                listen(moment)
        end = self.moment(index, epoch, steps)
        self.tally.note(end, self.replicas.alive)
        return end

    def step(self, moment: Moment, x: Tensor, y: Tensor) -> None:
        net, optimiser, head = self.net, self.optimiser, moment.task.head
        losses, right = forward_backward(net, optimiser, x, y, head, self.objective)
        self.replicas.look(losses, moment)
        if not self.looked:
            self.looked = True
            say_unheard(synapses(net))
        again = partial(_losses, net, optimiser, x, y, head, self.objective)
        if self.protection is None:
            apply_step(net, optimiser, self.penalty, again)
        else:
            self.protection.step(moment, again, self.replicas.failed)
        self.replicas.restore()
        self.tally.add(losses, right)


def _losses(
    net: nn.Module, optimiser: Optimizer, x: Tensor, y: Tensor, head: int | None, objective: Objective | None
) -> Tensor:
    return forward_backward(net, optimiser, x, y, head, objective, beside=True)[0]


def warm_up(optimiser: Optimizer, task: Task, order: Tensor, batch: int, alone: bool) -> None:
    """Let a rule that watches see the first batches of a task before it moves anything, if it has seen none yet.

    Args:
        optimiser: the rule.
        task: the task.
        order: of its examples in an epoch, [R, N].
        batch: examples per step.
        alone: whether the network has no replicas.
    """
    rule: Any = optimiser
    if traits(optimiser).watches and getattr(rule, "cold", False):
        pairs = (task.batch(rows[0] if alone else rows) for rows in batches(order, batch))
        rule.warm_up(pairs, head=task.head)


def _owned(protection: Protection | None) -> Owned | None:
    return None if protection is None else protection.owned


def _untouched(tested_by: Probe | None, probes: Mapping[str, Probe], owned: Owned | None) -> bool:
    # Whether the network at the end of a task is that of the test after its last epoch.
    return tested_by is None and not probes and owned is None


def show_others(moment: Moment, alone: bool) -> None:
    """Show other images, drawn at random from the training data, to a rule that estimates something of them.

    Args:
        moment: of the step to come.
        alone: whether the network has no replicas.
    """
    rule: Any = moment.optimiser
    if not (traits(moment.optimiser).watches and getattr(rule, "estimates", False)):
        return
    count, data = getattr(rule, "images", None) or moment.batch, moment.task.train
    keys = streams.keys("order", moment.seeds, f"estimate/{moment.index}/{moment.epoch}")
    rows = (streams.uniform(keys, count, moment.step) * len(data)).long().to(next(moment.net.parameters()).device)
    rule.estimate(moment.task.batch(rows[0] if alone else rows)[0], head=moment.task.head)


def _names(tasks: Sequence[Task]) -> list[str]:
    return [task.name for task in tasks]


def _present(*observers: Observer | None) -> list[Observer]:
    return [each for each in observers if each is not None]


def _bar(progress: str | None, todo: Plan, position: Position) -> Lines:
    total, done = sum(todo.counts), todo.done(position)
    return bar(total=total, initial=done, desc=progress or "", shown=progress is not None)


def _check(
    todo: Plan,
    net: nn.Module,
    optimiser: Optimizer,
    probes: Mapping[str, Probe],
    penalty: Penalty | None,
    protection: Protection | None,
    on_epoch: OnEpoch | None,
) -> None:
    require(penalty is None or protection is None, "give either a penalty or a protection, not both.")
    measured = () if protection is None else (*protection.after_task, *protection.measures)
    check_names(probes, measured)
    require(on_epoch is None or "step" not in probes, "probe 'step' has the name of an entry of on_epoch's rows.")
    if protection is not None:
        protection.check(todo.tasks, optimiser, todo.batch)
        if protection.owned is not None:
            check_owned(protection.owned, net, todo.tasks, todo.test)
    check_optimiser(net, optimiser)


def _look_for_scheduler(optimiser: Optimizer, schedule: Schedule | None, store: Store | None) -> None:
    if store is not None and schedule is None and hasattr(optimiser.step, "_wrapped_by_lr_sched"):
        warn(
            "a scheduler of torch is attached to this optimiser. fit neither steps it nor keeps its counters in "
            "checkpoints: give it as fit(scheduler=...).",
        )
