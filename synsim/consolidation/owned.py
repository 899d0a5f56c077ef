"""Owned synapses: each task claims some for good, and sees its own and those of earlier tasks that it uses.

What a task claims is never moved again, and a **forward mask** of its own says which synapses it is tested with. So old
tasks do not change by one bit, and a test must know which task it is.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from synsim._checks import choice, finite, require, times, whole
from synsim._doors import shown, typed
from synsim._names import named_parameters
from synsim.consolidation.base import Consolidation
from synsim.consolidation.forward import ForwardMasks, Masks, check_synapses, share_of
from synsim.networks import redraw, replicas_of
from synsim.sparse.masks import masked
from synsim.synapses import synapses

FRESH = ("redraw", "keep")
MEASURES = ("density", "claimed", "used", "dense_accuracy", "sparse_accuracy", "full")
"""What `claim` returns, and a record holds for every task."""


class Owned(Consolidation):
    """What the kinds have in common: a claim per task, and what follows from it.

    A task goes through four steps: `begin`, learning with `rate`, `claim`, and after relearning under `view`, if there
    is any, `settle`. `synsim.training.fit` does this by itself.

    Args:
        retrain: epochs in which a task relearns with what it has claimed, under its mask; only that moves.
        fresh: "redraw": synapses that are still free get new random values as a task begins (draw = task); "keep":
            they stay as they are.
    """

    owns = True

    def __init__(self, retrain: int, fresh: str) -> None:
        super().__init__()
        self.retrain, self.fresh = times(retrain, "retrain", 0), choice(fresh, "fresh", FRESH)
        self._masks, self._settled = ForwardMasks(), True
        self._forget()

    def _forget(self) -> None:
        # What is made of the claims when it is asked for.
        self._owner: Masks | None = None
        self._rates: Masks | None = None
        self._releases: dict[str, tuple[Tensor, tuple[int, int]]] = {}
        self._latest: tuple[int, Masks] | None = None

    @property
    def claims(self) -> int:
        """How many tasks have claimed."""
        return len(self._masks)

    @property
    def settled(self) -> bool:
        """Whether no task is relearning with what it has claimed."""
        return self._settled

    @typed
    def check(self, net: nn.Module, tasks: int | None = None, validation: bool = True) -> None:
        """Refuse a network or tasks that can't own synapses.

        Args:
            net: the network.
            tasks: how many tasks there will be; None: unknown.
            validation: whether all of them hold out examples for validation.

        Raises:
            ValueError: see `forward.check_synapses`.
        """
        check_synapses(net, self._masks.shapes)

    @typed
    def begin(self, net: nn.Module) -> None:
        """A task begins: what is still free starts anew.

        Args:
            net: the network.
        """
        self.check(net)
        if not self.claims or self.fresh == "keep":
            return
        owned, layers = self.owned(net), synapses(net)
        before = {name: layer.weight.detach().clone() for name, layer in layers.items()}
        biases = {name: layer.bias.detach().clone() for name, layer in layers.items() if layer.bias is not None}
        redraw(net, draw=self.claims)
        with torch.no_grad():
            for name, layer in layers.items():
                layer.weight.copy_(torch.where(owned[name], before[name], layer.weight))
                if layer.bias is not None:
                    layer.bias.copy_(biases[name])

    @typed
    def claim(self, net: nn.Module, x: Any = None, y: Any = None) -> dict[str, Tensor]:
        """A task was learned, and claims what it needs.

        Args:
            net: the network after the task.
            x: validation examples of the task, which it was not trained on: images, in any form that
                `synsim.meters.accuracy` takes.
            y: their labels; None: those that x brings with it.

        Returns:
            Float64 [R] (a number without replicas) by name: "density" (share of all synapses that the task's mask
            keeps), "claimed" (newly), "used" (by all tasks so far), "dense_accuracy" and "sparse_accuracy" (of x, with
            all synapses and with the mask; NaN without x), and "full" (1 where nothing was free any more).

        Raises:
            ValueError: if the task before has not settled, or the network or the examples do not fit.
            NotFiniteError: if weights are not finite.
        """
        self.check(net)
        require(self._settled, "the task before relearns still: settle() first.")
        lead = replicas_of(net)
        finite({f"{name}.weight": layer.weight.detach() for name, layer in synapses(net).items()}, "weights", lead)
        owned = self.owned(net)
        mask, found = self._choose(net, owned, x, y)
        new = {name: mask[name] & ~owned[name] for name in mask}
        self._masks.add(mask)
        self._settled = self.retrain == 0
        self._forget()
        self._owner = {name: mask[name] | owned[name] for name in mask}
        shares = {"density": mask, "claimed": new, "used": self.owned(net), "full": owned}
        found |= {name: share_of(each, lead) for name, each in shares.items()}
        found["full"] = (found["full"] == 1).double()
        self._say_full(found["full"].reshape(-1), lead)
        self._say_empty(mask, lead or 1)
        return {name: found[name] for name in MEASURES}

    def _choose(self, net: nn.Module, owned: Masks, x: Any, y: Any) -> tuple[Masks, dict[str, Tensor]]:
        # The mask of a task, and its accuracies.
        raise NotImplementedError

    def _say_full(self, full: Tensor, replicas: int | None) -> None:
        if bool(full.any()):
            where = "" if replicas is None else f" in replicas {full.nonzero().flatten().tolist()}"
            self._say(
                f"full{where}",
                f"{self.name}: all synapses were owned when task {self.claims} (counted from 1) began{where}. It and "
                "later ones can learn nothing of their own. Use a larger network, a lower gamma, or reserve=.",
            )

    def _say_empty(self, mask: Masks, lead: int) -> None:
        empty = [name for name, each in mask.items() if not bool(each.reshape(lead, -1).any(1).all())]
        if empty:
            self._say(
                "empty",
                f"{self.name}: the mask of task {self.claims} (counted from 1) leaves no synapse of layer "
                f"{', '.join(empty)}, which transmits nothing but its bias to it. "
                "Use a larger network, fewer tasks, or scope='layer'.",
            )

    def settle(self) -> None:
        """The task that claimed last has relearned; from now on nothing that is owned moves."""
        self._settled = True
        self._forget()

    @typed
    def mask(self, net: nn.Module, task: int) -> dict[str, Tensor]:
        """The forward mask of a task.

        Args:
            net: the network.
            task: its index, from 0, in the order of the claims.

        Returns:
            Name of the layer -> bool, shaped like its weight.

        Raises:
            ValueError: if the task has claimed nothing yet, or the network is another one.
        """
        task = whole(task, "task", 0)
        require(
            task < self.claims,
            f"task {task} (from 0) owns nothing yet, {self.claims} tasks have claimed: learn it, and claim.",
        )
        self.check(net)
        if self._latest is None or self._latest[0] != task:
            self._latest = task, self._masks.of([task], net)
        return dict(self._latest[1])

    @contextmanager
    @typed
    def view(self, net: nn.Module, task: int) -> Iterator[nn.Module]:
        """The network as a task sees it, for tests and measurements; all other synapses are silenced meanwhile.

        Args:
            net: the network.
            task: index of the task, in the order of the claims.

        Yields:
            The network.
        """
        with masked(net, self.mask(net, task)):
            yield net

    @typed
    def owned(self, net: nn.Module) -> dict[str, Tensor]:
        """The synapses that tasks own.

        Args:
            net: the network.

        Returns:
            Name of the layer -> bool, shaped like its weight.
        """
        if self._owner is None:
            self._owner = self._masks.of(range(self.claims), net)
        return dict(self._owner)

    def rate(self, net: nn.Module | None) -> dict[str, Tensor]:
        """Which parameters move: those that are free, or while a task relearns those that it has claimed.

        All others (biases, layers without stochastic synapses) are the first task's.

        Args:
            net: the network; None: as it was when this was asked last.

        Returns:
            Parameter name -> bool, True where it moves, shaped like the parameter; empty before the first claim.
        """
        if not self.claims:
            return {}
        if self._rates is None:
            assert net is not None
            self._rates = self._moving(net)
        return self._rates

    def _moving(self, net: nn.Module) -> Masks:
        layers, owned = synapses(net), self.owned(net)
        if self._settled:
            moves = {name: ~each for name, each in owned.items()}
        else:
            before, latest = (self._masks.of(tasks, net) for tasks in (range(self.claims - 1), [self.claims - 1]))
            moves = {name: latest[name] & ~before[name] for name in latest}
        self._releases = {name: (layer.p.detach().clone(), _stamp(layer.p)) for name, layer in layers.items()}
        names = {id(parameter): name for name, parameter in named_parameters(net)}
        found = {names[id(layer.weight)]: moves[name] for name, layer in layers.items()}
        if self._settled or self.claims > 1:
            others = {name: one for name, one in named_parameters(net) if name not in found}
            found |= {name: torch.zeros_like(one, dtype=torch.bool) for name, one in others.items()}
        return found

    @torch.no_grad()
    def hold(self, net: nn.Module) -> None:
        """Put release probabilities back that a rule has moved where nothing may move; after a step.

        Args:
            net: the network.
        """
        rates = self.rate(net)
        for name, layer in synapses(net).items() if rates else ():
            p, stamp = self._releases[name]
            if _stamp(layer.p) != stamp:
                moves = rates[f"{name}.weight" if name else "weight"]
                layer.p.copy_(torch.where(moves, layer.p, p))
                self._releases[name] = p, _stamp(layer.p)

    @typed
    def remember(self, net: nn.Module, importance: Mapping[str, Any]) -> None:
        """Not for these: a task claims by `claim`.

        Args:
            net: the network.
            importance: not used.

        Raises:
            ValueError: always.
        """
        raise ValueError(f"{self.name} takes no importance: a task claims its synapses by claim(net, x, y).")

    @typed
    def grow(self, net: nn.Module) -> None:
        """Not for these.

        Args:
            net: the network.

        Raises:
            ValueError: always.
        """
        raise ValueError(f"{self.name} goes with a network whose layers keep their size. Begin with a new one.")

    def state_dict(self) -> dict[str, Any]:
        """The masks of all tasks, in bits.

        Returns:
            Name -> tensor.
        """
        return {"at": torch.tensor([self.claims, int(self._settled)], device="cpu"), **self._masks.tensors()}

    @typed
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state.

        Args:
            state: of `state_dict`.

        Raises:
            ValueError: if it is that of another kind.
        """
        at = state.get("at")
        known = isinstance(at, Tensor) and at.shape == (2,) and at.dtype == torch.int64
        require(known, f"expected the state of {self.name!r}, got {shown(state)}.")
        claims, settled = state["at"].tolist()
        self._masks.load(state, whole(claims, "the number of claims in the state", 0))
        self._settled = bool(settled)
        self._forget()


def _stamp(p: Tensor) -> tuple[int, int]:
    # Of another tensor, or one that was written to, it is another.
    return p.data_ptr(), p._version
