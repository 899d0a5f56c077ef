"""What the rules of this room share: they move by what they make of the gradients of a pass that they saw."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from synsim._checks import Number, require
from synsim._doors import explained, shown, typed
from synsim._names import by_own_name, named_parameters
from synsim.descent.blocks import Block
from synsim.descent.factors import along
from synsim.descent.gradient import Gradient
from synsim.descent.seen import Pass, Seen
from synsim.descent.watching import Watching
from synsim.rules.network import Home
from synsim.rules.settable import per_replica
from synsim.synapses import StochasticLayer


class Descent(Watching):
    """Base of the rules that look at inputs and output gradients of layers.

    One step is::

        with rule.watch():
            logits = net(x)
        losses = synsim.losses.replica_cross_entropy(logits, y)
        rule.zero_grad()
        rule.backward(losses, logits)
        rule.step()

    As with `loss.backward()`, gradients are added to those that are there.

    A subclass says in `_move` what a layer's gradient becomes.

    Args:
        net: the network. Its linear and convolutional layers are known; other parameters move by gradient descent.
        settings: constants of a group.

    Raises:
        ValueError: if a constant does not fit, or there are other parameters and no `lr_rest`.
    """

    def _settings(self, settings: dict[str, Any]) -> dict[str, Any]:
        found = dict(settings)
        for name in ("lr", "lr_rest", "momentum", "weight_decay"):
            if found[name] is not None:
                found[name] = per_replica(found[name], name, self._replicas)
        high = torch.as_tensor(found["momentum"], device="cpu").max()
        require(bool(high < 1), f"momentum must lie in [0, 1), got {found['momentum']}.")
        found["damping"] = damping_of(found["damping"], self._replicas)
        return found

    def _fits(self, home: Home, owners: Sequence[StochasticLayer], group: Mapping[str, Any]) -> None:
        lead = home.parameter.shape[:1]
        require(
            self._replicas is None or lead == (self._replicas,),
            f"parameter {home.name!r} must have a leading axis of {self._replicas} replicas, got "
            f"{list(home.parameter.shape)}. Build all layers with the same replicas.",
        )

    @torch.no_grad()
    @typed
    def moves(self, penalty: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """What the next step would subtract, up to the rate: the preconditioned gradients of the pass at hand.

        Momentum and decay are left out.

        Args:
            penalty: gradients of a penalty, keyed like `named_parameters()`.

        Returns:
            Name of a parameter of a known layer -> tensor like it.
        """
        done, pulls = self._at_hand(), self._pulls(penalty)
        self._prepare(done)
        found: dict[str, Tensor] = {}
        for name, move in self._preconditioned(self._gradients(done, pulls)).items():
            found.update(done.seen[name].block.parts(move.matrix))
        return found

    @torch.no_grad()
    @explained
    def step(  # type: ignore[override]
        self, closure: Callable[[], float] | None = None, *, penalty: Mapping[str, Tensor] | None = None
    ) -> float | None:
        """Move the parameters by the pass at hand.

        Args:
            closure: as for every torch optimiser; it makes a pass under `watch` and calls `backward`.
            penalty: gradients of a penalty, keyed like `named_parameters()`. They join the task's *before* both are
                preconditioned.

        Returns:
            The closure's loss, or None.

        Raises:
            ValueError: if there was no pass, or the penalty does not fit.
        """
        loss = None
        if closure is not None:
            require(callable(closure), f"closure must be something to call, got {shown(closure)}.")
            with torch.enable_grad():
                loss = closure()
        done, pulls = self._at_hand(), self._pulls(penalty)
        self._prepare(done)
        blocks = {name: one.block for name, one in done.seen.items()}
        heavy = {name: self._heavy(blocks[name], each) for name, each in self._gradients(done, pulls).items()}
        for name, move in self._preconditioned(heavy).items():
            self._subtract(blocks[name], move)
        self._descend(pulls)
        self._learn(done)
        for parameter in self._firsts():
            state = self.state[parameter]
            state["step"] = state.get("step", 0) + 1
        self._pass = None
        self._note_used()
        return loss

    def _prepare(self, done: Pass) -> None:
        # What has to be there before anything is preconditioned.
        pass

    def _learn(self, done: Pass) -> None:
        # What a step leaves behind, once it was made.
        pass

    def _preconditioned(self, gradients: Mapping[str, Gradient]) -> dict[str, Gradient]:
        # What the parameters of all layers move against.
        return {name: self._move(self._blocks[name], gradient) for name, gradient in gradients.items()}

    def _move(self, block: Block, gradient: Gradient) -> Gradient:
        # What the parameters of a layer move against, where each layer has a preconditioner of its own.
        raise NotImplementedError

    def _at_hand(self) -> Pass:
        require(
            self._pass is not None,
            f"{type(self).__name__} has no pass at hand: call the network within `with rule.watch():`, then "
            "rule.backward(losses, logits) in place of loss.backward(), then rule.step().",
        )
        assert self._pass is not None
        return self._pass

    def _firsts(self) -> list[nn.Parameter]:
        # Under these parameters the state of a layer is kept.
        return [block.weight for block in self._blocks.values()]

    def _group(self, parameter: Tensor) -> dict[str, Any]:
        for group in self.param_groups:
            if any(parameter is each for each in group["params"]):
                return group
        raise ValueError("a layer of the network is not among the parameters of this rule: add_param_group it.")

    def _constant(self, block: Block, name: str) -> Any:
        # A constant of a layer's group, [R, 1, ...] for one per replica, as it goes with matrices [*lead, O, I].
        value = self._group(block.weight)[name]
        if not isinstance(value, Tensor) or value.ndim == 0:
            return value
        return value.to(block.weight).reshape(-1, *[1] * (len(block.lead) + 1))

    def _pulls(self, penalty: Mapping[str, Tensor] | None) -> Mapping[str, Tensor]:
        if not penalty:
            return {}
        named = dict(named_parameters(self._net))
        if not penalty.keys() <= named.keys():
            penalty = by_own_name(self._net, penalty)
        for name, pull in penalty.items():
            require(name in named, f"the penalty names {name!r}, which this network has not; expected {sorted(named)}.")
            shape = list(named[name].shape)
            require(
                list(pull.shape) == shape, f"the penalty of {name!r} must have shape {shape}, got {list(pull.shape)}."
            )
        return penalty

    def _pulled(self, one: Seen, pulls: Mapping[str, Tensor]) -> Gradient | None:
        gradient, block = one.gradient(), one.block
        found = [pulls.get(name) for name in block.parameters]
        if gradient is None or all(pull is None for pull in found):
            return gradient
        weight = torch.zeros_like(block.weight) if found[0] is None else found[0]
        bias = found[1] if block.bias is not None else None
        return Gradient(matrix=gradient.matrix + block.matrix(weight, bias))

    def _gradients(self, done: Pass, pulls: Mapping[str, Tensor]) -> dict[str, Gradient]:
        each = {name: self._pulled(one, pulls) for name, one in done.seen.items()}
        return {name: gradient for name, gradient in each.items() if gradient is not None}

    def _heavy(self, block: Block, gradient: Gradient) -> Gradient:
        # With momentum: the raw gradients of earlier steps in it.
        momentum, state = self._constant(block, "momentum"), self.state[block.weight]
        if not (isinstance(momentum, Tensor) or momentum):
            return gradient
        before = state.get("momentum")
        matrix = gradient.matrix.clone() if before is None else before.mul_(momentum).add_(gradient.matrix)
        state["momentum"] = matrix
        return Gradient(matrix=matrix)

    def _subtract(self, block: Block, move: Gradient) -> None:
        lr, decay = self._constant(block, "lr"), self._constant(block, "weight_decay")
        if isinstance(decay, Tensor) or decay:
            for parameter in block.parameters.values():
                parameter.mul_(1 - along(_flat(lr), parameter) * along(_flat(decay), parameter))
        for parameter, target, columns in block.targets():
            if parameter.requires_grad:
                move.columns(columns).added_to(target, -lr)

    def _descend(self, pulls: Mapping[str, Tensor]) -> None:
        for name, parameter in self._rest.items():
            if parameter.grad is None or not parameter.requires_grad:
                continue
            rate = self._group(parameter)["lr_rest"]
            require(rate is not None, f"{name!r} belongs to no known layer: set lr_rest in the rule's param_groups.")
            gradient = parameter.grad + pulls[name] if name in pulls else parameter.grad
            parameter.sub_(gradient * along(rate, parameter))


def damping_of(value: Number, replicas: int | None) -> float | Tensor:
    """The damping λ, checked.

    Args:
        value: a number, or [R].
        replicas: R, or None.

    Returns:
        A float, or float64 [R].

    Raises:
        ValueError: if it is not positive.
    """
    found = per_replica(value, "damping", replicas, low=-torch.inf)
    require(
        bool((torch.as_tensor(found, device="cpu") > 0).all()),
        f"damping must be above 0, got {found}: without it the inverse does not exist for fewer examples than inputs. "
        "For less of it use a small number, such as 1e-6.",
    )
    return found


def _flat(value: Any) -> Any:
    return value.reshape(-1) if isinstance(value, Tensor) else value
