"""Learning under protection: importances observed or measured, and the consolidation that they feed."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from synsim._checks import Number, require, whole
from synsim._doors import explained, typed
from synsim._names import named_parameters
from synsim.consolidation import Consolidation
from synsim.consolidation.owned import MEASURES
from synsim.importance import Importance
from synsim.networks import replicas_of
from synsim.rules.base import begin_anew
from synsim.tasks import Task
from synsim.training.compatible import check_batch, check_rule, look_for_lone_classes, made
from synsim.training.engine import Tensors, before_step, remember, slow_down
from synsim.training.measuring import Fail, importances_of
from synsim.training.moment import Moment
from synsim.training.observing import Accumulating, Beside, Extra
from synsim.training.owning import claim, owner
from synsim.training.step import apply_step

Found = Mapping[str, Mapping[str, Tensor]]
AfterTask = Callable[[nn.Module, Task, Found], Tensor]
"""(network, task, importances by name) -> a measurement [...] or [R, ...], of one shape for all tasks."""
_RELEASE = (
    "Release layers (requires_grad_) at the end of a task, such as in a probe of its last epoch, or use an importance "
    "that is measured after a task."
)


class Protection:
    """What protects old tasks while new ones are learned, and what is recorded besides; for one run of `fit`.

    Importances that accumulate see gradients without dropout, ĝ of the batch of the update as well as ĝ′ of an
    independent one, as in the published experiments on CIFAR (Benzing 2022); the update has dropout. ĝ has the release
    masks of the update, ĝ′ masks of its own. Where units drop out, ĝ costs a second pass over the batch.

    Args:
        importance: measured or accumulated for every task; needed with a consolidation that it feeds, and none with
            one whose tasks own synapses. A name (see `synsim.importance.available`), or what `synsim.importance.make`
            returns.
        consolidation: what is done with it, by name (see `synsim.consolidation.available`) or as what
            `synsim.consolidation.make` returns; None: nothing. Without an `accumulate` of its own, tasks add up as
            suits the importance (`Importance.accumulate`).
        strength: of a consolidation that is given by name.
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
        importance: str | Importance | None = None,
        consolidation: str | Consolidation | None = None,
        *,
        strength: Number | None = None,
        watch: Mapping[str, Importance] | None = None,
        after_task: Mapping[str, AfterTask] | None = None,
        reset_optimiser: bool = False,
        reinitialise: Callable[[nn.Module, int], None] | None = None,
    ) -> None:
        importance, consolidation = made(importance, consolidation, strength)
        names = dict(watch or {})
        require("importance" not in names, "'importance' is the name of the importance that protects.")
        self.consolidation = consolidation
        self.all = names if importance is None else {**names, "importance": importance}
        self.after_task = dict(after_task or {})
        self.reset_optimiser, self.reinitialise = reset_optimiser, reinitialise
        self._accumulating, self._beside = Accumulating(self.all.values()), Beside()
        self.owned = owner(consolidation)

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
        if self.owned is not None:
            self.owned.begin(net)
        if self.reset_optimiser:
            begin_anew(optimiser)
        self._accumulating.start(net)

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
        net, observing = moment.net, self._accumulating
        rates = {} if self.consolidation is None else self.consolidation.rate(net)
        if not observing and not rates:
            apply_step(net, moment.optimiser, self._penalty(net), again)
            return
        parameters = {name: p for name, p in named_parameters(net) if p.requires_grad}
        observing.refuse_late(parameters, f"task {moment.task.name!r}", _RELEASE)
        gradient: Tensors = {}
        extra: Extra = {}
        if observing:
            gradient, extra = self._beside.measure(moment, observing.wants(moment.within), again)
        before = before_step(parameters, rates)
        apply_step(net, moment.optimiser, self._penalty(net), again)
        slow_down(before)
        if self.owned is not None:
            self.owned.hold(net)
        observing.observe(net, moment.within, before, gradient, extra, failed)

    def _penalty(self, net: nn.Module) -> Callable[[], Mapping[str, Tensor]] | None:
        if self.consolidation is None:
            return None
        gradient = self.consolidation.gradient(net)
        return (lambda: gradient) if gradient else None

    @property
    def measures(self) -> tuple[str, ...]:
        """Names of what is measured as a task claims."""
        return () if self.owned is None else MEASURES

    @typed
    def claim(
        self, net: nn.Module, optimiser: Optimizer, task: Task, failed: Sequence[int] = (), fail: Fail | None = None
    ) -> dict[str, Tensor]:
        """A task was learned: it claims its synapses, if tasks own any, and may relearn with them from now on.

        Args:
            net: the network.
            optimiser: its optimiser.
            task: the task.
            failed: replicas that failed.
            fail: told of replicas that turn out to have diverged; None: that is an error.

        Returns:
            Measurements by name, each with a leading axis R (1 without replicas); empty without claims.
        """
        if self.owned is None:
            return {}
        failed = [whole(one, "failed", 0, (replicas_of(net) or 1) - 1) for one in failed]
        found = claim(self.owned, net, task, failed, fail)
        if self.reset_optimiser and not self.owned.settled:
            begin_anew(optimiser)
        return found

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
        found: Found = {}
        if not last or self.after_task:
            found = importances_of(self.all, net, task, failed, fail)
        if self.owned is not None:
            self.owned.settle()
        elif self.consolidation is not None and not last:
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
        self._accumulating.go_on(net)
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
        check_batch(self.all, batch)
        check_rule(optimiser, self.consolidation, self.reset_optimiser, self.reinitialise)
        if self.consolidation is not None and self.owned is None and len(tasks) > 1:
            look_for_lone_classes(tasks)
