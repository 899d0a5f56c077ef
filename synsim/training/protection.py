"""Learning under protection: importances observed or measured, and the consolidation that they feed."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from synsim._checks import NotFiniteError, finite, require, warn, whole
from synsim._doors import explained, typed
from synsim._kept import kept
from synsim._names import named_parameters
from synsim.consolidation import Consolidation
from synsim.importance import Importance
from synsim.networks import replicas_of
from synsim.rules.base import begin_anew, traits
from synsim.tasks import Task, batches
from synsim.training.engine import before_step, check_measured, remember, slow_down, tell, without
from synsim.training.gradients import drops, full_gradient, gradients_at_hand, independent, without_dropout
from synsim.training.moment import Moment
from synsim.training.step import apply_step, forward_backward

Found = Mapping[str, Mapping[str, Tensor]]
Fail = Callable[[Sequence[int]], None]
AfterTask = Callable[[nn.Module, Task, Found], Tensor]
"""(network, task, importances by name) -> a measurement [...] or [R, ...], of one shape for all tasks."""


class Protection:
    """What protects old tasks while new ones are learned, and what is recorded besides; for one run of `fit`.

    Importances that accumulate see gradients without dropout, ĝ of the batch of the update as well as ĝ′ of an
    independent one, as in the published experiments on CIFAR (Benzing 2022); the update has dropout. ĝ has the release
    masks of the update, ĝ′ masks of its own. Where units drop out, ĝ costs a second pass over the batch.

    Args:
        importance: measured or accumulated for every task; needed with a consolidation.
        consolidation: what is done with it; None: nothing. Without an `accumulate` of its own, tasks add up as suits
            the importance (`Importance.accumulate`).
        watch: further importances by name, observed without any influence on training.
        after_task: measurements at the end of each task, by name; they see the importances of that task: those of
            `watch`, and "importance", the one that feeds the consolidation.
        reset_optimiser: whether the optimiser's state (Adam's moments) starts anew with each task.
        reinitialise: gives the network fresh parameters at the start of task k > 0: (network, k). It goes with no
            consolidation or with a penalty, which pulls them back; others would hold the fresh values.
    """

    @typed
    def __init__(
        self,
        importance: Importance | None = None,
        consolidation: Consolidation | None = None,
        *,
        watch: Mapping[str, Importance] | None = None,
        after_task: Mapping[str, AfterTask] | None = None,
        reset_optimiser: bool = False,
        reinitialise: Callable[[nn.Module, int], None] | None = None,
    ) -> None:
        require(
            consolidation is None or importance is not None,
            "a consolidation needs an importance: give synsim.importance.make(...).",
        )
        names = dict(watch or {})
        require("importance" not in names, "'importance' is the name of the importance that protects.")
        self.consolidation = consolidation
        self.all = names if importance is None else {**names, "importance": importance}
        self.after_task = dict(after_task or {})
        self.reset_optimiser, self.reinitialise = reset_optimiser, reinitialise
        self._accumulated = {name: one for name, one in self.all.items() if one.accumulated}
        self._order: tuple[tuple[object, ...], Tensor] | None = None
        self._begun: set[str] = set()

    @typed
    def start(self, net: nn.Module, optimiser: Optimizer, index: int) -> None:
        """Begin a task.

        Args:
            net: the network.
            optimiser: its optimiser.
            index: of the task.
        """
        if index and self.reinitialise is not None:
            self.reinitialise(net, index)
        if self.reset_optimiser:
            begin_anew(optimiser)
        self._begin(net)

    def _begin(self, net: nn.Module) -> None:
        self._begun = {name for name, p in named_parameters(net) if p.requires_grad}
        for one in self._accumulated.values():
            one.start(net)

    @explained
    def step(self, moment: Moment, again: Callable[[], Tensor], failed: Sequence[int] = ()) -> None:
        """Move the parameters by the task's gradient at hand, protected, and let the importances observe it.

        Args:
            moment: of the step; the network after its backward pass.
            again: computes losses and gradients of the batch anew (see `apply_step`).
            failed: replicas that failed.

        Raises:
            ValueError: if a parameter began to be trained within a task that an importance adds up from its start.
        """
        net, optimiser = moment.net, moment.optimiser
        rates = {} if self.consolidation is None else self.consolidation.rate(net)
        if not self._accumulated and not rates:
            apply_step(net, optimiser, self._penalty(net), again)
            return
        parameters = {name: p for name, p in named_parameters(net) if p.requires_grad}
        if self._accumulated and not self._begun.issuperset(parameters):
            self._refuse_late(parameters.keys() - self._begun, moment.task)
        gradient = gradients_at_hand(net)
        seen = without_dropout(net, again) if self._accumulated and drops(net) else gradient
        extra = self._extra(moment)
        for name, parameter in parameters.items():
            parameter.grad = gradient.get(name)
        before = before_step(parameters, rates)
        apply_step(net, optimiser, self._penalty(net), again)
        slow_down(before)
        if self._accumulated:
            tell(net, list(self._accumulated.values()), moment.within, before, seen, extra, failed)

    def _refuse_late(self, names: Iterable[str], task: Task) -> None:
        raise ValueError(
            f"{', '.join(sorted(names))} began to be trained within task {task.name!r}, but "
            f"{', '.join(sorted({one.name for one in self._accumulated.values()}))} adds up from the start of a task. "
            "Release layers (requires_grad_) at the end of a task, such as in a probe of its last epoch, or use an "
            "importance that is measured after a task."
        )

    def _penalty(self, net: nn.Module) -> Callable[[], Mapping[str, Tensor]] | None:
        if self.consolidation is None:
            return None
        gradient = self.consolidation.gradient(net)
        return (lambda: gradient) if gradient else None

    def _extra(self, moment: Moment) -> dict[str, dict[str, Tensor]]:
        wanted: set[str] = set().union(*(one.wants(moment.within) for one in self._accumulated.values()))
        extra = {}
        if "independent" in wanted:
            extra["independent"] = self._independent(moment)
        if "full" in wanted:
            task = moment.task
            extra["full"] = full_gradient(moment.net, task.train, task.train.y, task.head, moment.objective)
        return extra

    def _independent(self, moment: Moment) -> dict[str, Tensor]:
        net, task = moment.net, moment.task
        key = (moment.index, moment.epoch, moment.seeds, len(task.train), task.stream)
        if self._order is None or self._order[0] != key:
            device = next(net.parameters()).device
            order = task.order(moment.seeds, moment.index, moment.epoch, independent=True)
            self._order = (key, order.to(device))
        rows = next(batches(self._order[1], moment.batch, moment.step))
        x, y = task.batch(rows[0] if replicas_of(net) is None else rows)
        again = partial(forward_backward, net, moment.optimiser, x, y, task.head, moment.objective)
        return independent(net, again, moment.index, moment.within)

    @typed
    def finish(
        self, net: nn.Module, task: Task, last: bool, failed: Sequence[int] = (), fail: Fail | None = None
    ) -> dict[str, Tensor]:
        """End a task: importances, consolidation, measurements.

        Args:
            net: the network.
            task: the task just learned.
            last: whether no task follows; nothing is measured then that nobody would look at.
            failed: replicas that failed; their importances mean nothing, and must not end the run of the others.
            fail: told of replicas that turn out to have diverged; None: that is an error.

        Returns:
            Measurements by name, each with a leading axis R (1 without replicas).

        Raises:
            NotFiniteError: if an importance is not finite and nobody is told of it.
        """
        failed = [whole(one, "failed", 0, (replicas_of(net) or 1) - 1) for one in failed]
        found: dict[str, dict[str, Tensor]] = {}
        if not last or self.after_task:
            for name, one in self.all.items():
                try:
                    found[name] = _measured(one, net, task, failed)
                except NotFiniteError as error:
                    if fail is None:
                        raise
                    fail(error.replicas)
                    failed = [*failed, *error.replicas]
                    found[name] = _measured(one, net, task, failed)
        if self.consolidation is not None and not last:
            remember(self.consolidation, net, found["importance"], self.all["importance"].accumulate)
        lead = replicas_of(net)
        results = {name: measure(net, task, found).detach().double().cpu() for name, measure in self.after_task.items()}
        return {name: value if lead else value.unsqueeze(0) for name, value in results.items()}

    def tensors(self) -> dict[str, Tensor]:
        """State, for a checkpoint.

        Returns:
            Name -> tensor.
        """
        parts = {f"importance/{name}": one.state_dict() for name, one in self.all.items()}
        if self.consolidation is not None:
            parts["consolidation"] = self.consolidation.state_dict()
        return {f"protection/{part}//{name}": value for part, state in parts.items() for name, value in state.items()}

    @typed
    def load(self, net: nn.Module, tensors: Mapping[str, Tensor]) -> None:
        """Go on from a checkpoint.

        Args:
            net: the network, already in its saved state.
            tensors: of the checkpoint.
        """

        def part(name: str) -> dict[str, Any]:
            lead, device = f"protection/{name}//", next(net.parameters()).device
            return {key[len(lead) :]: value.to(device) for key, value in tensors.items() if key.startswith(lead)}

        for name, one in self.all.items():
            state = part(f"importance/{name}")
            if state:
                if one.accumulated:
                    one.start(net)
                one.load_state_dict(state)
        self._begun = {name for name, p in named_parameters(net) if p.requires_grad}
        if self.consolidation is not None:
            self.consolidation.load_state_dict(part("consolidation"))

    @typed
    def check(self, tasks: Sequence[Task], optimiser: Optimizer | None = None, batch: int | None = None) -> None:
        """Refuse what does not go together, and warn of a stream in which a penalty cannot work.

        Args:
            tasks: the tasks to learn.
            optimiser: the optimiser, if it is known.
            batch: examples per step, if they are known.

        Raises:
            ValueError: if a rule that protects by itself (BGD) is to be combined with a consolidation or a reset, or
                fresh parameters with anything that does not pull them back, or an importance was built for batches of
                another size.
        """
        for name, one in self.all.items():
            require(
                batch is None or one.batch in (None, batch),
                f"{name} ({one.name!r}) was built for batch={one.batch}, got batches of {batch}: its estimate would be "
                "biased. Give both the same number.",
            )
        protects = "" if optimiser is None else traits(optimiser).protects
        require(
            not protects or not (self.consolidation or self.reset_optimiser or self.reinitialise),
            f"{type(optimiser).__name__} protects by itself, {protects}: train it without a consolidation, and without "
            "reset_optimiser and reinitialise, which would forget what it remembers.",
        )
        kept = self.consolidation
        require(
            self.reinitialise is None or kept is None or kept.anchored,
            f"reinitialise goes with a penalty or without a consolidation, got {getattr(kept, 'name', '')!r}: what was "
            "learned is overwritten, and fresh random values are held in its place. Use "
            "consolidation.make('penalty'), or leave reinitialise out.",
        )
        if self.consolidation is None or len(tasks) < 2 or any(task.head is not None for task in tasks):
            return
        seen: set[int] = set()
        for task in tasks:
            own = set(torch.unique(task.train.labels).tolist())
            if seen and not own & seen:
                warn(
                    "every task has classes of its own on one shared output layer (class-incremental learning). "
                    "Protecting parameters, as EWC, SI and MAS do, cannot work there: old classes are never contrasted "
                    "with new ones (van de Ven, Tuytelaars & Tolias 2022, Nature Machine Intelligence 4, 1185). "
                    "Use tasks with separate heads (heads='separate') or a shared label (heads='shared').",
                )
                return
            seen |= own


def _measured(one: Importance, net: nn.Module, task: Task, failed: Sequence[int]) -> dict[str, Tensor]:
    if one.accumulated:
        if failed:
            state = one.state_dict().items()
            one.load_state_dict({name: without(value, failed) if value.ndim > 1 else value for name, value in state})
        found = one.value()
    else:
        with kept(net), _at_zero(net, failed):
            net.eval()
            found = one.estimate(net, task.train, task.train.y, head=task.head)
    check_measured(net, one, found)
    if failed:
        found = {name: without(value, failed) for name, value in found.items()}
    finite(found, "importances", replicas_of(net))
    return found


@contextmanager
def _at_zero(net: nn.Module, failed: Sequence[int]) -> Iterator[None]:
    # The weights of a replica that diverged may be so large that its gradients overflow.
    kept = [(p.detach()[r], p.detach()[r].clone()) for p in net.parameters() for r in failed if replicas_of(net)]
    try:
        for place, _ in kept:
            place.zero_()
        yield
    finally:
        for place, value in kept:
            place.copy_(value)
