"""The importances of a task that was learned: measured on its examples, or what has added up along the way."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from synsim._checks import NotFiniteError, finite
from synsim._kept import kept
from synsim.importance import Importance
from synsim.networks import replicas_of
from synsim.tasks import Task
from synsim.training.engine import check_measured, without

Fail = Callable[[Sequence[int]], None]
"""Told of replicas whose importances are not finite."""


def importances_of(
    importances: Mapping[str, Importance], net: nn.Module, task: Task, failed: Sequence[int], fail: Fail | None
) -> dict[str, dict[str, Tensor]]:
    """All importances of a task.

    Args:
        importances: by name.
        net: the network after the task.
        task: the task.
        failed: replicas that failed; theirs are 0.
        fail: told of replicas that turn out to have diverged; None: that is an error.

    Returns:
        Name -> importances.

    Raises:
        NotFiniteError: if an importance is not finite and nobody is told of it.
    """
    failed, values = list(failed), {}
    for name, importance in importances.items():
        try:
            values[name] = _finite(importance, net, task, failed)
        except NotFiniteError as error:
            if fail is None:
                raise
            fail(error.replicas)
            failed += error.replicas
            values[name] = _finite(importance, net, task, failed)
    return values


def _finite(importance: Importance, net: nn.Module, task: Task, failed: Sequence[int]) -> dict[str, Tensor]:
    if importance.accumulated and failed:
        state = importance.state_dict().items()
        importance.load_state_dict({name: without(value, failed) if value.ndim > 1 else value for name, value in state})
    with at_zero(net, () if importance.accumulated else failed):
        values = value_of(importance, net, task.train, task.train.y, task.head)
    if failed:
        values = {name: without(value, failed) for name, value in values.items()}
    finite(values, "importances", replicas_of(net))
    return values


def value_of(importance: Importance, net: nn.Module, data: Any, y: Any, head: int | None) -> dict[str, Tensor]:
    """One importance of a task.

    Args:
        importance: measured, or accumulated.
        net: the network after the task; it is left as it was.
        data: examples, for one that is measured.
        y: their labels, or None where the data bring them.
        head: index of the head, or None.

    Returns:
        Parameter name -> importance.
    """
    if importance.accumulated:
        values = importance.value()
    else:
        with kept(net):
            net.eval()
            values = importance.estimate(net, data, y, head=head)
    check_measured(net, importance, values)
    return values


@contextmanager
def at_zero(net: nn.Module, failed: Sequence[int]) -> Iterator[None]:
    """Replicas that failed with weights of 0: those of one that diverged may be so large that its gradients overflow.

    Args:
        net: the network.
        failed: replicas.

    Yields:
        Nothing.
    """
    before = [(p.detach()[r], p.detach()[r].clone()) for p in net.parameters() for r in failed if replicas_of(net)]
    try:
        for place, _ in before:
            place.zero_()
        yield
    finally:
        for place, value in before:
            place.copy_(value)
