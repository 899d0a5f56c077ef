"""How a rule sees a pass: the inputs of layers, the gradients of their outputs, and the gradients made of both."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from synsim._checks import NotFiniteError, flag, require, warn
from synsim._doors import explained, typed
from synsim.curvature.capture import Tape, capture
from synsim.descent.blocks import blocks_of, refuse_layers, rest_of
from synsim.descent.seen import Pass, Seen, Used, add, refuse_use
from synsim.rules.network import Rule, network


class Watching(Rule):
    """A rule that sees passes and makes their gradients.

    Args:
        net: the network. Its linear and convolutional layers are known; other parameters stay in autograd.
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
        self._used: Used | None = None
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
            self._tape = self._pass = self._used = None
            self._walk()

    @contextmanager
    @typed
    def watch(self) -> Iterator["Watching"]:
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

    def _note_used(self) -> None:
        # Whether the next pass finds them again is asked of one tensor: all are cleared together.
        given = (parameter for group in self.param_groups for parameter in group["params"])
        first = next((parameter for parameter in given if parameter.grad is not None), None)
        self._used = None if first is None else Used(first)

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
                holds them, and let those go whose factors have no inverse any more: they move to NaN, and the others
                go on. Else both are errors.

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
        if self._used is not None and self._used.stands():
            warn(
                "the gradients of the step before are still there, and those of this pass are added to them: call "
                "rule.zero_grad() before rule.backward(losses, logits)."
            )
        self._used = None
        seen = self._gather(tape, losses, gradients)
        require(
            bool(seen),
            "the losses do not depend on the pass that was watched: compute them from its output, with no other pass "
            "in between.",
        )
        examples = logits[..., 0].numel() // (self._replicas or 1)
        finite = self._look(losses.detach(), seen, tolerant)
        self._pass = Pass(seen, examples, finite, tolerant)
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
