"""Protection of old tasks in a training loop that is not ours, by the hooks of its optimiser."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from synsim._checks import Number, finite, require, warn, whole
from synsim._doors import typed
from synsim._names import named_parameters
from synsim.consolidation import Consolidation
from synsim.importance import Importance
from synsim.inputs import labelled
from synsim.inputs.loss import Objective
from synsim.networks import replicas_of
from synsim.rules.base import closed, refuse_scaled, traits, with_penalty
from synsim.training.compatible import made
from synsim.training.engine import Before, before_step, remember, slow_down
from synsim.training.gradients import drops, full_gradient, independent
from synsim.training.measuring import value_of
from synsim.training.observing import Accumulating, Extra
from synsim.training.plan import check_optimiser
from synsim.training.step import forward_backward

_attached: WeakSet[Optimizer] = WeakSet()
_BETWEEN = "Add parameters between tasks, or use an importance that is measured after a task."


class Guard:
    """What `attach` returns: importances that observe the steps of an optimiser, and the consolidation they feed.

    Attributes:
        importance: of the tasks that were finished; None without.
        consolidation: what is done with it; None without.
        tasks: how many tasks were finished.
        found: importances of the task that was finished last, parameter name -> tensor.
    """

    def __init__(
        self,
        net: nn.Module,
        optimiser: Optimizer,
        importance: Importance | None,
        consolidation: Consolidation | None,
        objective: Objective | None,
    ) -> None:
        self.net, self.optimiser = net, optimiser
        self.importance, self.consolidation, self.objective = importance, consolidation, objective
        self.tasks, self.found = 0, dict[str, Tensor]()
        self._open = False
        self._head: int | None = None
        self._index = 0
        self._accumulating = Accumulating(() if importance is None else (importance,))
        self._data: tuple[Any, Tensor] | None = None
        self._second: dict[str, Tensor] | None = None
        self._now: tuple[Before, dict[str, Tensor], Extra] | None = None
        self._added: list[tuple[nn.Parameter, Tensor]] = []
        self._hooks = [
            optimiser.register_step_pre_hook(self._before),
            optimiser.register_step_post_hook(self._after),
        ]
        _attached.add(optimiser)

    @typed
    def start(self, head: int | None = None, data: Any = None) -> None:
        """Begin a task.

        Args:
            head: index of the head that it uses, for importances that are measured; None: the network has one.
            data: the training data, for importances that need the gradient over all of it (`importance.needs`).

        Raises:
            ValueError: if a task has begun already, or data are needed and not given.
        """
        require(not self._open, "a task has begun already: finish it first (guard.finish(data)).")
        full = self.importance is not None and "full" in self.importance.needs
        require(
            not full or data is not None,
            f"{_name(self.importance)} needs the gradient over all training data: guard.start(data=(x, y)).",
        )
        if full:
            images, y = labelled(self.net, *data if isinstance(data, tuple) else (data,))
            require(y is not None, "labels are needed: guard.start(data=(x, y)).")
            assert y is not None
            self._data = images, y
        self._head = None if head is None else whole(head, "head", 0)
        self._index, self._open = 0, True
        self._accumulating.start(self.net)
        if self._accumulating and drops(self.net):
            warn(
                f"{_name(self.importance)} sees the gradients of this loop as they are, with dropout; in "
                "synsim.training.fit it sees those of the same batch without."
            )

    @contextmanager
    @typed
    def task(self, data: Any = None, y: Any = None, *, head: int | None = None) -> Iterator["Guard"]:
        """A task from start to finish; an error within it drops it.

        Args:
            data: what `finish` takes.
            y: what `finish` takes.
            head: index of the head that the task uses.

        Yields:
            The guard.
        """
        self.start(head, data if y is None or data is None else (data, y))
        try:
            yield self
        except BaseException:
            self._open, self._now, self._second = False, None, None
            raise
        self.finish(data, y)

    @typed
    def second(self, x: Any, y: Any) -> None:
        """Give the gradient of a second, independent batch, for importances that need it; before `optimiser.step()`.

        The gradients at hand stay, and so do the release streams of training.

        Args:
            x: examples, as the network takes them.
            y: their labels.

        Raises:
            ValueError: if no task has begun.
        """
        require(self._open, "no task has begun: call guard.start() first.")
        at_hand = [(p, p.grad) for p in self.net.parameters()]
        again = partial(forward_backward, self.net, self.optimiser, x, y, self._head, self.objective, beside=True)
        try:
            for parameter, _ in at_hand:
                parameter.grad = None
            self._second = independent(self.net, again, self.tasks, self._index)
        finally:
            for parameter, gradient in at_hand:
                parameter.grad = gradient
        finite(self._second, "gradients of the second batch", replicas_of(self.net))

    @typed
    def finish(self, data: Any = None, y: Any = None) -> dict[str, Tensor]:
        """End a task: measure what matters to it, and protect it from now on.

        Args:
            data: examples of the task, for importances that are measured: anything that `Importance.estimate` takes,
                such as a DataLoader. Others need none.
            y: their labels, where the data do not bring them.

        Returns:
            Parameter name -> importance of this task; empty without an importance.

        Raises:
            ValueError: if no task has begun, or data are needed and not given.
            NotFiniteError: if an importance is not finite; what was protected before stays.
        """
        require(self._open, "no task has begun: call guard.start() before it is learned.")
        found: dict[str, Tensor] = {}
        if self.importance is not None:
            measured = f"{_name(self.importance)} is measured on examples of the task"
            needed = f"{measured}: guard.finish(loader) or guard.finish(x, y)."
            require(self.importance.accumulated or data is not None, needed)
            found = value_of(self.importance, self.net, data, y, self._head)
            finite(found, "importances", replicas_of(self.net))
            if self.consolidation is not None:
                remember(self.consolidation, self.net, found, self.importance.accumulate)
        self.tasks, self.found = self.tasks + 1, found
        self._open, self._data = False, None
        return found

    def _before(self, optimiser: Optimizer, args: Any, kwargs: Any) -> Any:
        # Called by the optimiser ahead of its step; args begin with the optimiser itself.
        require(self._open, "no task has begun: call guard.start() before optimiser.step(), or guard.detach().")
        args, kwargs = closed(args, kwargs)
        refuse_scaled(optimiser)
        held = self.consolidation
        if held is None and not self._accumulating:
            return args, kwargs
        # One walk over the modules: a step of a small network is short.
        everything = dict(named_parameters(self.net))
        parameters = {name: p for name, p in everything.items() if p.requires_grad}
        rates = {} if held is None else held.rate(self.net)
        if self._accumulating or rates:
            gradient = {name: p.grad for name, p in parameters.items() if p.grad is not None}
            extra: Extra = {}
            self._accumulating.refuse_late(parameters, "a task", _BETWEEN)
            if self._accumulating:
                finite(gradient, "gradients", replicas_of(self.net))
                extra = self._extra()
            self._now = before_step(parameters, rates), gradient, extra
        penalty = {} if held is None else held.gradient(self.net)
        if penalty and traits(optimiser).takes_penalty:
            return with_penalty(args, kwargs, penalty)
        for name, parameter in everything.items() if penalty else ():
            if name in penalty and parameter.grad is not None:
                self._added.append((parameter, parameter.grad))
                parameter.grad = parameter.grad + penalty[name]
        return args, kwargs

    def _after(self, optimiser: Optimizer, args: Any, kwargs: Any) -> None:
        for parameter, alone in self._added:
            parameter.grad = alone  # the task's, for whoever looks at it
        self._added.clear()
        now, self._now, self._second = self._now, None, None
        if now is not None:
            before, gradient, extra = now
            slow_down(before)
            self._accumulating.observe(self.net, self._index, before, gradient, extra)
        self._index += 1

    def _extra(self) -> Extra:
        wanted, extra = self._accumulating.wants(self._index), Extra()
        if "independent" in wanted:
            require(
                self._second is not None,
                f"{_name(self.importance)} needs the gradient of a second, independent batch at every step: "
                "guard.second(x, y) between backward() and optimiser.step().",
            )
            assert self._second is not None
            extra["independent"] = self._second
        if "full" in wanted:
            assert self._data is not None
            extra["full"] = full_gradient(self.net, *self._data, self._head, self.objective)
        return extra

    def detach(self) -> None:
        """Let go of the optimiser, which goes on without protection."""
        for hook in self._hooks:
            hook.remove()
        _attached.discard(self.optimiser)

    def state_dict(self) -> dict[str, Tensor]:
        """All that is needed to go on after an interruption, within a task or between two.

        Returns:
            Name -> tensor; network and optimiser are not part of it.
        """
        parts = {"importance": {} if self.importance is None else self.importance.state_dict()}
        parts["consolidation"] = {} if self.consolidation is None else self.consolidation.state_dict()
        head = -1 if self._head is None else self._head
        found = {"at": torch.tensor([self.tasks, self._index, int(self._open), head], device="cpu")}
        for part, state in parts.items():
            for name, value in state.items():
                kept = value if isinstance(value, Tensor) else torch.as_tensor(value, device="cpu")
                found[f"{part}//{name}"] = kept
        return found

    @typed
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a saved state; network and optimiser are in theirs already.

        Args:
            state: of `state_dict`.

        Raises:
            ValueError: if it is not the state of a guard with this importance and consolidation.
        """
        at = state.get("at")
        known = isinstance(at, Tensor) and at.shape == (4,) and at.dtype == torch.int64
        require(known, f"expected the state of a guard, got {list(state)[:4]}.")
        parts: dict[str, dict[str, Tensor]] = {"importance": {}, "consolidation": {}}
        for key, value in state.items():
            part, _, name = key.partition("//")
            require(key == "at" or part in parts, f"expected the state of a guard, which has no {key!r}.")
            if key != "at":
                parts[part][name] = value
        tasks, index, opened, head = (int(value) for value in state["at"].tolist())
        for owner, saved in ((self.importance, parts["importance"]), (self.consolidation, parts["consolidation"])):
            require(owner is not None or not saved, "the state has an importance or a consolidation, this guard none.")
        if self.importance is not None:
            if self.importance.accumulated and (opened or parts["importance"]):
                self.importance.start(self.net)
            if parts["importance"]:
                self.importance.load_state_dict(parts["importance"])
        if self.consolidation is not None:
            self.consolidation.load_state_dict(parts["consolidation"])
        self.tasks, self._index, self._open, self._head = tasks, index, bool(opened), None if head < 0 else head
        self._accumulating.go_on(self.net)


@typed
def attach(
    net: nn.Module,
    optimiser: Optimizer,
    importance: str | Importance | None = None,
    consolidation: str | Consolidation | None = None,
    *,
    strength: Number | None = None,
    objective: Objective | None = None,
) -> Guard:
    """Protect old tasks in a training loop of one's own, whatever its optimiser, scheduler and data.

    The guard listens to the optimiser: before a step it adds the penalty's gradient, after it it slows parameters down,
    and lets the importance observe what happened. Steps that are skipped (by a GradScaler) are no steps. In the same
    loop it does what `synsim.training.fit` does with a `Protection`, to the bit.

    Args:
        net: the network.
        optimiser: that of the loop: of torch, or a rule of this package.
        importance: a name (see `synsim.importance.available`) or what `synsim.importance.make` returns.
        consolidation: a name (see `synsim.consolidation.available`) or what `synsim.consolidation.make` returns.
        strength: of a penalty or a modulation that is given by name.
        objective: what `Guard.second` minimises: (output, x, y) -> loss of every replica; None: the cross-entropy.

    Returns:
        The guard. Call `start` and `finish` around each task.

    Raises:
        ValueError: if the optimiser has a guard, holds no parameter of the network, or can't be protected.

    Example:
        >>> import torch, synsim
        >>> net = synsim.mlp([4, 2], p=1.0)
        >>> optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
        >>> guard = synsim.attach(net, optimiser, importance="mas", consolidation="penalty", strength=1.0)
        >>> with guard.task(torch.eye(4), torch.tensor([0, 1, 0, 1])):
        ...     synsim.cross_entropy(net(torch.eye(4)), torch.tensor([0, 1, 0, 1])).backward()
        ...     optimiser.step()
        >>> guard.tasks
        1
    """
    require(optimiser not in _attached, "this optimiser has a guard already: guard.detach() that one first.")
    check_optimiser(net, optimiser)
    name, can = type(optimiser).__name__, traits(optimiser)
    require(not can.protects, f"{name} protects by itself, {can.protects}: train it without a guard.")
    require(
        not can.needs_closure,
        f"{name} looks at the loss at several weights of one step, where a penalty's gradient is known at the first "
        "only. Use an optimiser that needs no closure.",
    )
    importance, consolidation = made(importance, consolidation, strength)
    require(
        consolidation is None or not consolidation.owns,
        f"{getattr(consolidation, 'name', '')} needs to know when a task claims, relearns and is tested: learn by "
        "synsim.training.fit(..., protection=Protection(consolidation=...)).",
    )
    return Guard(net, optimiser, importance, consolidation, objective)


def _name(importance: Importance | None) -> str:
    return repr(getattr(importance, "name", "")) if importance is not None else "the importance"
