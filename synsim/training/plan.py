"""What a call of `fit` is asked to do: tasks, steps and seeds, checked before anything moves."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from synsim._checks import require, tensor, warn, whole
from synsim._names import named_parameters
from synsim.importance.selection import seeds_of
from synsim.networks import replicas_of
from synsim.rules.base import traits
from synsim.tasks import Task
from synsim.training.moment import Moment

Position = tuple[int, int, int]
"""Index of a task, epoch within it, step within the epoch: what is to be done next."""


@dataclass(frozen=True)
class Plan:
    """The steps of a run.

    Attributes:
        tasks: tasks to train on, in order.
        test: tasks to test on.
        seeds: one per replica.
        batch: examples per step.
        per_epoch: steps per pass over each task.
        counts: steps on each task.
        rounds: epochs of each task, the last one before relearning perhaps incomplete.
        again: those of them in which a task relearns with the synapses that it has claimed.
    """

    tasks: tuple[Task, ...]
    test: tuple[Task, ...]
    seeds: tuple[int, ...]
    batch: int
    per_epoch: tuple[int, ...]
    counts: tuple[int, ...]
    rounds: tuple[int, ...]
    again: int = 0

    def done(self, position: Position) -> int:
        """Steps made before a position.

        Args:
            position: what is to be done next.

        Returns:
            Their number.
        """
        index, epoch, step = position
        before = sum(self.counts[:index])
        return before + sum(self.steps(index, each) for each in range(epoch)) + step

    def epochs(self, position: Position) -> Iterator[Position]:
        """The epochs that are left.

        Args:
            position: what is to be done next.

        Yields:
            Index of the task, epoch, and the first step to be made in it.
        """
        first, begun, step = position
        for index in range(first, len(self.tasks)):
            for epoch in range(begun if index == first else 0, self.rounds[index]):
                yield index, epoch, step if (index, epoch) == (first, begun) else 0

    def steps(self, index: int, epoch: int) -> int:
        """Steps of an epoch; the last one of learning may be incomplete.

        Args:
            index: of the task.
            epoch: of the task.

        Returns:
            Their number.
        """
        size = self.per_epoch[index]
        if epoch >= self.rounds[index] - self.again:
            return size
        return min(size, self.counts[index] - (self.again + epoch) * size)

    def ends_learning(self, moment: Moment) -> bool:
        """Whether an epoch is the last in which its task is learned, before it may relearn.

        Args:
            moment: of the epoch.

        Returns:
            True then.
        """
        return moment.epoch == self.rounds[moment.index] - self.again - 1

    def ends_task(self, moment: Moment) -> bool:
        """Whether an epoch is the last of its task.

        Args:
            moment: of the epoch.

        Returns:
            True then.
        """
        return moment.epoch == self.rounds[moment.index] - 1

    def ends_run(self, moment: Moment) -> bool:
        """Whether an epoch is the last of all.

        Args:
            moment: of the epoch.

        Returns:
            True then.
        """
        return self.ends_task(moment) and moment.index == len(self.tasks) - 1

    def after(self, moment: Moment) -> Position:
        """What follows an epoch.

        Args:
            moment: of the epoch.

        Returns:
            The first step of the next one.
        """
        return (moment.index + 1, 0, 0) if self.ends_task(moment) else (moment.index, moment.epoch + 1, 0)

    def before(self, position: Position) -> Position:
        """The epoch that ended last.

        Args:
            position: the first step of another one; not the first of all.

        Returns:
            Its end.
        """
        index, epoch, _ = position
        index, epoch = (index, epoch - 1) if epoch else (index - 1, self.rounds[index - 1] - 1)
        return index, epoch, self.steps(index, epoch)


def plan(
    net: nn.Module,
    tasks: Iterable[Task],
    test: Iterable[Task] | None,
    seeds: Sequence[int] | None,
    epochs: int | None,
    steps: int | None,
    batch: int,
    again: int = 0,
) -> Plan:
    """The steps of a run, from the arguments of `fit`.

    Args:
        net: the network.
        tasks: tasks to train on, in order.
        test: tasks to test on; None: the same.
        seeds: one per replica; None: those of the network, 0 for one without stochastic layers.
        epochs: passes over each task.
        steps: steps on each task, in place of epochs.
        batch: examples per step.
        again: epochs in which each task relearns.

    Returns:
        The plan.

    Raises:
        ValueError: if an argument does not fit.
    """
    sequence = _listed(tasks, "tasks")
    require(len(sequence) > 0, "expected at least one task, got none.")
    require((epochs is None) != (steps is None), "give either epochs or steps.")
    batch = whole(batch, "batch")
    least = min(task.per_epoch for task in sequence)
    require(least >= batch, f"a batch of {batch} needs as many examples, got {least}. Choose a smaller batch.")
    per_epoch = tuple(task.per_epoch // batch for task in sequence)
    learned = tuple(whole(steps, "steps") if epochs is None else one * whole(epochs, "epochs") for one in per_epoch)
    lead = replicas_of(net) or 1
    if seeds is None:
        seeds = seeds_of(net, 0)
    require(len(seeds) == lead, f"expected {lead} seeds, one per replica, got {len(seeds)}.")
    return Plan(
        sequence,
        sequence if test is None else _listed(test, "test"),
        tuple(whole(seed, "seed", 0) for seed in seeds),
        batch,
        per_epoch,
        tuple(count + again * one for count, one in zip(learned, per_epoch, strict=True)),
        tuple(-(-count // one) + again for count, one in zip(learned, per_epoch, strict=True)),
        again,
    )


def _listed(tasks: Iterable[Task], what: str) -> tuple[Task, ...]:
    sequence = tuple(tasks)
    for task in sequence:
        require(
            isinstance(task, Task),
            f"{what} must be tasks, as synsim.tasks builds them, got a {type(task).__name__}.",
        )
    return sequence


def check_optimiser(net: nn.Module, optimiser: Optimizer) -> None:
    """Refuse an optimiser that can't train a network, and say which parameters it leaves alone.

    Args:
        net: the network.
        optimiser: the optimiser.

    Raises:
        ValueError: if it holds none of the trained parameters, or needs a closure for several replicas.
    """
    trained = {name: parameter for name, parameter in named_parameters(net) if parameter.requires_grad}
    require(bool(trained), "no parameter of the network requires a gradient: there is nothing to train.")
    held = {id(parameter) for group in optimiser.param_groups for parameter in group["params"]}
    left = [name for name, parameter in trained.items() if id(parameter) not in held]
    require(
        len(left) < len(trained),
        f"this {type(optimiser).__name__} holds none of the parameters of this network. Build it with this network's.",
    )
    if left:
        warn(
            f"the optimiser does not hold {', '.join(left[:5])}{' …' if len(left) > 5 else ''}: they stay as they are, "
            "while their gradients add up. Call requires_grad_(False) on them, or add them to the optimiser.",
        )
    require(
        not traits(optimiser).couples_replicas or replicas_of(net) in (None, 1),
        f"{type(optimiser).__name__} looks at one loss and would couple the replicas. Train a network without "
        "replicas, or use another optimiser.",
    )


def vector(value: Tensor | float, lead: int, what: str) -> Tensor:
    """A measurement as float64 [R] on the CPU; one number stands for all replicas.

    Args:
        value: a number, or [R].
        lead: R, 1 without replicas.
        what: its name in the message.

    Returns:
        [R] or [1].

    Raises:
        ValueError: if it has another shape.
    """
    found = tensor(value, what).detach().reshape(-1).cpu().to(torch.float64)
    require(len(found) in (1, lead), f"{what} must be a number or one per replica ({lead}), got {len(found)} numbers.")
    return found
