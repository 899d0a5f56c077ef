"""What the rules of this room share: they see a pass, make its gradients, and move by what they make of them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from synsim._checks import NotFiniteError, Number, flag, require
from synsim._doors import explained, shown, typed
from synsim._names import by_own_name, named_parameters
from synsim.curvature.capture import Tape, capture
from synsim.descent.blocks import Block, blocks_of, refuse_layers, rest_of
from synsim.descent.factors import along
from synsim.descent.gradient import Gradient
from synsim.descent.seen import Pass, Seen, add, refuse_use
from synsim.rules.network import Home, Rule, network
from synsim.rules.settable import per_replica
from synsim.synapses import StochasticLayer


class Descent(Rule):
    """Base of the rules that look at inputs and output gradients of layers.

    One step is::

        with rule.watch():
            logits = net(x)
        losses = synsim.losses.replica_cross_entropy(logits, y)
        rule.backward(losses, logits)
        rule.step()

    A subclass says in `_move` what a layer's gradient becomes.

    Args:
        net: the network. Its linear and convolutional layers are known; other parameters move by gradient descent.
        settings: constants of a group.

    Raises:
        ValueError: if a constant does not fit, or there are other parameters and no `lr_rest`.
    """

    watches = True
    """Asked by loops: a pass is made under `watch`, and its gradients by `backward`."""
    _own: tuple[str, ...] = ()
    """Attributes that copies hold."""

    def __init__(self, net: nn.Module, settings: dict[str, Any]) -> None:
        blocks = blocks_of(network(net, type(self).__name__))
        require(
            bool(blocks),
            f"{type(self).__name__} expects a network with linear or convolutional layers, got none. Use an optimiser "
            "of torch.",
        )
        rest = [name for name, parameter in rest_of(net, blocks).items() if parameter.requires_grad]
        require(
            not rest or settings["lr_rest"] is not None,
            f"{', '.join(rest[:5])} belong to no linear or convolutional layer: give lr_rest, the rate at which they "
            "move by gradient descent, or call requires_grad_(False) on them.",
        )
        self._tape: Tape | None = None
        self._pass: Pass | None = None
        self._blocks, self._rest = blocks, rest_of(net, blocks)
        super().__init__(net, settings)

    def __getstate__(self) -> dict[str, Any]:
        """What copies and pickles hold.

        Returns:
            Attribute -> value.
        """
        return {**super().__getstate__(), **{name: self.__dict__[name] for name in self._own}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Go on from a copy, a pickle, or a `state_dict`.

        Args:
            state: attribute -> value.
        """
        super().__setstate__(state)
        if "_net" in state:
            self._tape = self._pass = None
            self._walk()

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

    @contextmanager
    @typed
    def watch(self) -> Iterator["Descent"]:
        """See the forward pass that is made within; no hook outlives the context.

        Yields:
            The rule.

        Raises:
            ValueError: if the network has layers whose gradients are no products of inputs and output gradients.
        """
        refuse_layers(self._net)
        self._walk()
        self._tape = self._pass = None
        with torch.enable_grad(), capture(self._net, list(self._rest.values())) as tape:
            yield self
        self._tape = tape

    def _walk(self) -> None:
        # Layers may come and go between passes; within one they are asked for often.
        self._blocks = blocks_of(self._net)
        self._rest = rest_of(self._net, self._blocks)

    @explained
    def backward(self, losses: Tensor, logits: Tensor, *, gradients: bool = True, tolerant: bool = False) -> None:
        """Make the gradients of the pass that was watched.

        Args:
            losses: mean over examples, a number or [R].
            logits: output of the network, [B, C] or [R, B, C].
            gradients: whether `.grad` is filled. Without, a step is cheaper where the number of examples is small
                against the layer's width, and nobody can clip them or look at them.
            tolerant: leave replicas out of the averages whose losses or gradients are not finite, as `fit` does, which
                holds them; else that is an error.

        Raises:
            ValueError: if no pass was watched, or a layer was used several times in it.
            NotFiniteError: if a loss is not finite; nothing has moved then.
        """
        tape, gradients, tolerant = self._tape, flag(gradients, "gradients"), flag(tolerant, "tolerant")
        require(
            tape is not None and bool(tape.uses),
            "no pass was watched: call the network within `with rule.watch():`, then rule.backward(losses, logits).",
        )
        assert tape is not None
        self._check(losses, logits)
        seen = self._gather(tape, losses, gradients)
        require(
            bool(seen),
            "the losses do not depend on the pass that was watched: compute them from its output, with no other pass "
            "in between.",
        )
        examples = logits[..., 0].numel() // (self._replicas or 1)
        finite = self._look(losses.detach(), seen, tolerant)
        self._pass = Pass(seen, examples, finite)
        self._beyond(self._pass, tape, logits)
        self._tape = None

    def _check(self, losses: Tensor, logits: Tensor) -> None:
        replicas, form = self._replicas, "a number" if self._replicas is None else f"[{self._replicas}] or a number"
        fits = losses.shape in ((), () if replicas is None else (replicas,))
        require(fits, f"losses must be {form}, one mean for each replica, got shape {list(losses.shape)}.")
        require(
            losses.requires_grad,
            "losses must be those of the pass that was watched, in its graph; these need no gradient.",
        )
        fits = logits.ndim >= 2 and (replicas is None or logits.shape[0] == replicas) and logits.is_floating_point()
        form = "[B, C]" if replicas is None else f"[{replicas}, B, C]"
        require(fits, f"logits must be the output of the network, {form}, got shape {list(logits.shape)}.")

    def _gather(self, tape: Tape, losses: Tensor, gradients: bool) -> dict[str, Seen]:
        trained = {name: block for name, block in self._blocks.items() if block.trained}
        blocks = {name: block for name, block in trained.items() if name in tape.uses}
        for name in blocks:
            refuse_use(name, tape)
        rest = [parameter for parameter in self._rest.values() if parameter.requires_grad]
        wanted = [*(tape.uses[name].output for name in blocks), *rest]
        found = torch.autograd.grad(losses.sum(), wanted, retain_graph=self._again(), allow_unused=True)
        seen = {}
        with torch.no_grad():
            for (name, block), delta in zip(blocks.items(), found, strict=False):
                if delta is not None:
                    inputs, errors = block.rows(tape.uses[name], delta)
                    seen[name] = Seen(block, inputs, errors, block.factor())
            for parameter, gradient in zip(rest, found[len(blocks) :], strict=True):
                add(parameter, gradient)
            for one in seen.values() if gradients else ():
                one.fill()
        return seen

    def _look(self, losses: Tensor, seen: Mapping[str, Seen], tolerant: bool) -> Tensor | None:
        total = losses.sum() + sum(one.errors.sum() + one.inputs.sum() for one in seen.values())
        if bool(total.isfinite()):
            return None
        good = losses.isfinite().reshape(-1)
        for one in seen.values() if tolerant else ():
            for rows in (one.errors, one.inputs):
                good = good & rows.reshape(len(good), -1).isfinite().all(1)
        if tolerant or bool(good.all()):
            return good
        bad = (~good).nonzero().flatten().tolist()
        where = "" if self._replicas is None else f" of replicas {bad}"
        raise NotFiniteError(
            f"the loss{where} is not finite at step {self.steps}: {losses.tolist()}. The network may have diverged: "
            "use a smaller lr or a larger damping.",
            bad,
        )

    def _again(self) -> bool:
        # Whether `_beyond` goes through the graph once more.
        return False

    def _beyond(self, done: Pass, tape: Tape, logits: Tensor) -> None:
        # What else a rule needs of the pass.
        pass

    @property
    def steps(self) -> int:
        """Steps that were made."""
        return max((int(state["step"]) for state in self.state.values() if "step" in state), default=0)

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
