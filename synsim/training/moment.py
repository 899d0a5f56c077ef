"""A moment of a run, and what is told of its events.

`fit` tells its observers, in the order of its list, of five events:

| event | when |
|---|---|
| `task_starts` | before the first step of a task |
| `step_ends` | after each step |
| `epoch_ends` | after the last step of an epoch: what is measured after each epoch |
| `task_ends` | then, if it was the task's last: what is measured after each task, and protected from then on |
| `measured` | then: schedules move, the user's `on_epoch` is called, the state is saved |

An observer is a subclass of `Observer` with the events that concern it. What it has to remember for a run that is
resumed, it puts into a checkpoint in `pack` and finds again in `load`. To add one, give it a place in the list in
`synsim.training.loop.fit`: before the checkpoints, which save what the others have done.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from synsim.inputs.loss import Objective
from synsim.tasks import Task
from synsim.training.history import History

EVENTS = ("task_starts", "step_ends", "epoch_ends", "task_ends", "measured")


@dataclass(frozen=True, slots=True)
class Moment:
    """Where a run stands.

    Attributes:
        net: the network.
        optimiser: its optimiser.
        task: the present task.
        index: its place in the sequence.
        epoch: of the task, from 0.
        step: of the epoch, from 0; where an epoch ends, the number of its steps.
        seeds: one per replica.
        batch: examples per step.
        objective: what is minimised; None: the cross-entropy.
        history: what is measured.
    """

    net: nn.Module
    optimiser: Optimizer
    task: Task
    index: int
    epoch: int
    step: int
    seeds: tuple[int, ...]
    batch: int
    objective: Objective | None
    history: History

    @property
    def within(self) -> int:
        """The step, counted from the start of the task."""
        return self.epoch * (self.task.per_epoch // self.batch) + self.step


class Observer:
    """Told of the events of a run; to one that a subclass leaves alone nothing happens."""

    def task_starts(self, moment: Moment) -> None:
        """A task begins."""

    def step_ends(self, moment: Moment) -> None:
        """A step was made."""

    def epoch_ends(self, moment: Moment) -> None:
        """The last step of an epoch was made."""

    def task_ends(self, moment: Moment) -> None:
        """The last epoch of a task was measured."""

    def measured(self, moment: Moment) -> None:
        """All that is measured after this epoch is in the history."""

    def pack(self, tensors: dict[str, Tensor]) -> dict[str, Any]:
        """State, for a checkpoint.

        Args:
            tensors: gets what of it are tensors.

        Returns:
            The rest as JSON, under names of its own.
        """
        return {}

    def load(self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any], net: nn.Module) -> None:
        """Go on from a checkpoint.

        Args:
            tensors: all of the checkpoint.
            meta: all the rest of it.
            net: the network, already in its saved state.
        """


def told(observers: Sequence[Observer], event: str) -> list[Callable[[Moment], None]]:
    """Whom an event concerns.

    Args:
        observers: all.
        event: name of the event.

    Returns:
        The methods to call; a step has no time for calls that do nothing.
    """
    nothing = getattr(Observer, event)
    return [getattr(each, event) for each in observers if getattr(type(each), event) is not nothing]
