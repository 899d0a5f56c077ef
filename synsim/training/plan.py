"""What a call of `fit` is asked to do: tasks, steps and seeds, checked before anything moves."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from synsim._checks import require, tensor, warn, whole
from synsim._names import named_parameters
from synsim.networks import replicas_of
from synsim.rules.base import traits
from synsim.tasks import Task


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
        rounds: epochs of each task, the last perhaps incomplete.
    """

    tasks: tuple[Task, ...]
    test: tuple[Task, ...]
    seeds: tuple[int, ...]
    batch: int
    per_epoch: tuple[int, ...]
    counts: tuple[int, ...]
    rounds: tuple[int, ...]

    def done(self, at: tuple[int, int, int]) -> int:
        """Steps made before a moment.

        Args:
            at: index of the task, epoch, step within the epoch.

        Returns:
            Their number.
        """
        before = sum(self.counts[: at[0]])
        return before + (self.per_epoch[at[0]] * at[1] + at[2] if at[0] < len(self.tasks) else 0)


def plan(
    net: nn.Module,
    tasks: Iterable[Task],
    test: Iterable[Task] | None,
    seeds: Sequence[int],
    epochs: int | None,
    steps: int | None,
    batch: int,
) -> Plan:
    """The steps of a run, from the arguments of `fit`.

    Args:
        net: the network.
        tasks: tasks to train on, in order.
        test: tasks to test on; None: the same.
        seeds: one per replica.
        epochs: passes over each task.
        steps: steps on each task, in place of epochs.
        batch: examples per step.

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
    counts = tuple(whole(steps, "steps") if epochs is None else one * whole(epochs, "epochs") for one in per_epoch)
    lead = replicas_of(net) or 1
    require(len(seeds) == lead, f"expected {lead} seeds, one per replica, got {len(seeds)}.")
    return Plan(
        sequence,
        sequence if test is None else _listed(test, "test"),
        tuple(whole(seed, "seed", 0) for seed in seeds),
        batch,
        per_epoch,
        counts,
        tuple(-(-count // one) for count, one in zip(counts, per_epoch, strict=True)),
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
