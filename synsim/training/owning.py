"""Tasks that own synapses, in a run of `fit`: what goes together, claims, and the view in which a task is tested."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from synsim._checks import NotFiniteError, require
from synsim.consolidation import Consolidation
from synsim.consolidation.owned import Owned
from synsim.networks import replicas_of
from synsim.tasks import Task
from synsim.training.measuring import Fail, at_zero


def owner(consolidation: Consolidation | None) -> Owned | None:
    """A consolidation whose tasks own synapses.

    Args:
        consolidation: any, or None.

    Returns:
        The same, or None if it is none of these.
    """
    return consolidation if isinstance(consolidation, Owned) else None


def check_owned(owned: Owned, net: nn.Module, tasks: Sequence[Task], test: Sequence[Task]) -> None:
    """Refuse a network and tasks that can't own synapses.

    Args:
        owned: the consolidation.
        net: the network.
        tasks: to train on.
        test: to test on.

    Raises:
        ValueError: if a task has a head of its own or is tested without being learned, two have one name, or the
            network or the number of tasks does not fit.
    """
    owned.check(net, len(tasks), all(task.validation is not None for task in tasks))
    require(
        all(task.head is None for task in (*tasks, *test)),
        f"{owned.name} divides a network among tasks that share its output layer, got tasks with heads of their own. "
        "Use heads='shared' or heads='incremental'.",
    )
    strange = [task.name for task in test if place_of(task, tasks) is None]
    require(
        not strange,
        f"a test needs the mask of its task, and {strange} are not among the tasks that are learned. Leave test= out, "
        "or give tasks of the same names, each name once.",
    )


def place_of(task: Task, tasks: Sequence[Task]) -> int | None:
    """Where a task stands in a sequence: the same object, or else the one of its name.

    Args:
        task: a task to test.
        tasks: those that are learned.

    Returns:
        Its index, or None if there is none, or several.
    """
    same = [index for index, one in enumerate(tasks) if one is task]
    named = same or [index for index, one in enumerate(tasks) if one.name == task.name]
    return named[0] if len(named) == 1 else None


@dataclass(frozen=True)
class View:
    """The network as tasks see it; without an effect where they own nothing.

    Attributes:
        owned: the consolidation, or None.
        tasks: those that are learned, in order.
    """

    owned: Owned | None
    tasks: Sequence[Task]

    def shows(self, task: Task) -> bool:
        """Whether a task can be tested.

        Args:
            task: one of these.

        Returns:
            False if it owns nothing yet.
        """
        return self.owned is None or self._place(task) < self.owned.claims

    def of(self, net: nn.Module, task: Task) -> AbstractContextManager[Any]:
        """The view of a task: that of its mask, or before it has one the whole network.

        Args:
            net: the network.
            task: one of these.

        Returns:
            A context.
        """
        if self.owned is None or not self.shows(task):
            return nullcontext()
        return self.owned.view(net, self._place(task))

    def _place(self, task: Task) -> int:
        place = place_of(task, self.tasks)
        return len(self.tasks) if place is None else place


def claim(owned: Owned, net: nn.Module, task: Task, failed: Sequence[int], fail: Fail | None) -> dict[str, Tensor]:
    """Let a task claim what it needs.

    Args:
        owned: the consolidation.
        net: the network after the task.
        task: the task.
        failed: replicas that failed; their claims mean nothing.
        fail: told of replicas whose weights turn out not to be finite; None: that is an error.

    Returns:
        Measurements by name, each with a leading axis R (1 without replicas).

    Raises:
        NotFiniteError: if a weight is not finite and nobody is told of it.
    """
    held, labels = task.validation, None if task.validation is None else task.validation.y
    failed = list(failed)
    try:
        with at_zero(net, failed):
            found: Mapping[str, Tensor] = owned.claim(net, held, labels)
    except NotFiniteError as error:
        if fail is None:
            raise
        fail(error.replicas)
        with at_zero(net, [*failed, *error.replicas]):
            found = owned.claim(net, held, labels)
    lead = replicas_of(net)
    return {name: (value if lead else value.unsqueeze(0)).double().cpu() for name, value in found.items()}
