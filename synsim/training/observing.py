"""Importances that add up along the way: what they are shown of each step, in any loop."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from torch import Tensor, nn

from synsim._names import named_parameters
from synsim.importance import Importance
from synsim.networks import replicas_of
from synsim.tasks import batches
from synsim.training.engine import Before, Tensors, tell
from synsim.training.gradients import drops, full_gradient, gradients_at_hand, independent, without_dropout
from synsim.training.moment import Moment
from synsim.training.step import forward_backward

Extra = dict[str, dict[str, Tensor]]


class Accumulating:
    """Those importances, of all, that observe the steps of a task; false if there are none.

    Args:
        importances: all.
    """

    def __init__(self, importances: Iterable[Importance]) -> None:
        self._observing = [importance for importance in importances if importance.accumulated]
        self._begun: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self._observing)

    @property
    def names(self) -> str:
        """Their names, for people."""
        return ", ".join(sorted({importance.name for importance in self._observing}))

    def start(self, net: nn.Module) -> None:
        """A task begins.

        Args:
            net: the network.
        """
        self.go_on(net)
        for importance in self._observing:
            importance.start(net)

    def go_on(self, net: nn.Module) -> None:
        """A task that had begun goes on from a saved state.

        Args:
            net: the network, with the parameters that are trained.
        """
        self._begun = {name for name, parameter in named_parameters(net) if parameter.requires_grad}

    def wants(self, index: int) -> set[str]:
        """Gradients to be measured besides.

        Args:
            index: of the step within its task.

        Returns:
            A subset of "independent" and "full".
        """
        return set().union(*(importance.wants(index) for importance in self._observing))

    def refuse_late(self, parameters: Iterable[str], where: str, remedy: str) -> None:
        """Refuse parameters that were not trained when the task began.

        Args:
            parameters: those that are trained now.
            where: in which task, for the message.
            remedy: what to do.

        Raises:
            ValueError: if there are any.
        """
        if not self._observing or self._begun.issuperset(parameters):
            return
        late = ", ".join(sorted(set(parameters) - self._begun))
        raise ValueError(
            f"{late} began to be trained within {where}, but {self.names} adds up from its start. {remedy}"
        )

    def observe(
        self,
        net: nn.Module,
        index: int,
        before: Before,
        gradient: Tensors,
        extra: Mapping[str, dict[str, Tensor]],
        failed: Sequence[int] = (),
    ) -> None:
        """A step was made.

        Args:
            net: the network after it.
            index: of the step within its task.
            before: what stood before it.
            gradient: of the task alone.
            extra: gradients measured besides.
            failed: replicas that failed.
        """
        if self._observing:
            tell(net, self._observing, index, before, gradient, extra, failed)


class Beside:
    """Gradients that `fit` measures beside its own for importances that observe."""

    def __init__(self) -> None:
        self._order: tuple[tuple[object, ...], Tensor] | None = None

    def measure(self, moment: Moment, wanted: set[str], again: Callable[[], object]) -> tuple[Tensors, Extra]:
        """Measure them; the gradients at hand stay.

        Args:
            moment: of the step.
            wanted: a subset of "independent" and "full".
            again: computes the gradients of the batch anew.

        Returns:
            The gradient of the batch without dropout, and those that are wanted.
        """
        net, task, extra = moment.net, moment.task, dict[str, dict[str, Tensor]]()
        gradient = gradients_at_hand(net)
        seen = without_dropout(net, again) if drops(net) else gradient
        if "independent" in wanted:
            extra["independent"] = self._independent(moment)
        if "full" in wanted:
            extra["full"] = full_gradient(net, task.train, task.train.y, task.head, moment.objective)
        for name, parameter in named_parameters(net):
            if parameter.requires_grad:
                parameter.grad = gradient.get(name)
        return seen, extra

    def _independent(self, moment: Moment) -> dict[str, Tensor]:
        net, task = moment.net, moment.task
        key = (moment.index, moment.epoch, moment.seeds, len(task.train), task.stream)
        if self._order is None or self._order[0] != key:
            device = next(net.parameters()).device
            order = task.order(moment.seeds, moment.index, moment.epoch, independent=True)
            self._order = (key, order.to(device))
        rows = next(batches(self._order[1], moment.batch, moment.step))
        x, y = task.batch(rows[0] if replicas_of(net) is None else rows)
        again = partial(forward_backward, net, moment.optimiser, x, y, task.head, moment.objective, beside=True)
        return independent(net, again, moment.index, moment.within)
