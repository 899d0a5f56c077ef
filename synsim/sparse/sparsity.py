"""Which synapses are there while a network learns: masks that hold at all times, by the hooks of an optimiser."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from synsim._checks import Number, choice, require, warn, within
from synsim._doors import typed
from synsim._names import named_parameters
from synsim.lesions import lesion_ranks, lesion_scores
from synsim.lesions.orders import SCOPES, share_of
from synsim.networks import replicas_of
from synsim.rules.base import closed, refuse_scaled, traits, with_penalty
from synsim.sparse.masks import packed, unpacked
from synsim.synapses import StochasticLayer, synapses

Masks = dict[str, Tensor]


@dataclass
class _Layer:
    # A layer, the values of all of its synapses, and its masks as numbers: products are ten times as fast as choices
    # by bools, and exact.
    layer: StochasticLayer
    name: str
    dense: Tensor
    learned: Tensor
    stays: Tensor
    moves: Tensor
    masked: Tensor
    version: int = -1
    gradient: Tensor | None = None


class Sparsity(ABC):
    """Masks that change while a network learns; the kinds are `Gradual` and `TopKast`.

    `synsim.training.fit(sparsity=...)` takes it, and any other loop by `attach`. At all times but within a step of the
    optimiser the weights of synapses that are not there are 0: passes, tests and meters see the sparse network. For the
    step all have their values; it is made with the gradients of those that may move, and what may not move has its
    value, and its release probability, again afterwards, whatever momentum or decay did.

    Args:
        shares: of the synapses, by name; numbers, or one per replica [R].
        scope: "layer": shares are of each layer's synapses; "network": of all of them.
        output: factor of the shares in the last layer, which keeps all at most; for scope="layer".

    Attributes:
        steps: of the optimiser that were made.
    """

    def __init__(self, shares: Mapping[str, Number], scope: str, output: float) -> None:
        counts = {what: _count(value) for what, value in shares.items()}
        different = {count for count in counts.values() if count is not None}
        require(len(different) < 2, f"{' and '.join(shares)} must be as many, one per replica, got {counts}.")
        self._shares = {what: share_of(value, what, counts[what]) for what, value in shares.items()}
        self.scope, self.output = choice(scope, "scope", SCOPES), within(output, "output", "(0, inf)")
        self._by_layer = choice(scope, "scope", SCOPES) == "layer"
        require(
            self._by_layer or self.output == 1,
            f'output={self.output:g} is for scope="layer"; over the whole network there are no shares.',
        )
        self.steps = 0
        self._layers: dict[str, _Layer] = {}
        self._stays: Masks = {}
        self._moves: Masks = {}
        self._begun = False
        self._hooks: list[Any] = []
        self._replicas: int | None = None

    @property
    def stays(self) -> Masks:
        """Which synapses are there: name of the layer -> bool, shaped like its weight. Empty before `attach`."""
        return dict(self._stays)

    @property
    def moves(self) -> Masks:
        """Which of them, and of the others, a step moves; names and shapes like those of `stays`."""
        return dict(self._moves)

    def density(self) -> Tensor:
        """Share of all synapses that are there.

        Returns:
            Float64 [R], or [] without replicas.

        Raises:
            ValueError: if it is attached to no network.
        """
        require(bool(self._stays), "no network yet: attach it first.")
        lead = self._replicas or 1
        each = torch.stack([mask.reshape(lead, -1).sum(1) for mask in self._stays.values()]).sum(0).double()
        count = sum(mask.numel() for mask in self._stays.values()) // lead
        return each / count if self._replicas else each[0] / count

    @typed
    def attach(self, net: nn.Module, optimiser: Optimizer) -> None:
        """Put the masks into force: from now on, and with each step of the optimiser.

        Args:
            net: a network of stochastic layers (with p = 1 they are deterministic ones).
            optimiser: any that makes one step by one gradient; under Powerpropagation that one, not its inner one.

        Raises:
            ValueError: if it is attached already or was to another network, the optimiser looks at the loss several
                times, or the network has no stochastic layer.
        """
        require(not self._hooks, f"this {type(self).__name__} is attached already: detach() it first.")
        can = traits(optimiser)
        require(
            not (can.needs_closure or can.protects),
            f"{type(optimiser).__name__} looks at the loss at several weights of one step, or moves them by its own "
            "rule: expected an optimiser that makes one step by one gradient, such as SGD or Adam.",
        )
        # Of a network without stochastic layers, or with weights that are computed, this says what to do.
        shapes = {name: score.shape for name, score in lesion_scores(net, "weight").items()}
        known = {name: mask.shape for name, mask in self._stays.items()}
        require(known in ({}, shapes), f"this {type(self).__name__} holds masks of another network: {_told(known)}.")
        self._replicas = replicas_of(net)
        for what, value in self._shares.items():
            share_of(value, what, self._replicas)
        names = {id(parameter): name for name, parameter in named_parameters(net)}
        for name, layer in synapses(net).items():
            weight = layer._parameters.get("weight")
            if weight is None:
                raise ValueError(f"the weight of {name!r} is re-parametrised; make it permanent first.")
            dense, learned = weight.detach().clone(), layer.learned.detach().clone()
            if known:  # it was attached before: the values of what is not there are its own
                dense = torch.where(self._stays[name], dense, self._layers[name].dense)
            every = torch.ones_like(dense)
            self._layers[name] = _Layer(layer, names[id(weight)], dense, learned, every, every, torch.empty_like(dense))
        if not known:
            self._stays = self._moves = {name: each.stays.bool() for name, each in self._layers.items()}
            self._say_empty()
            self._stays, self._moves = self._renewed(self._ranks())
        self._begun = False
        self._as_numbers()
        self._hide()
        self._look()
        self._hooks = [
            optimiser.register_step_pre_hook(self._before),
            optimiser.register_step_post_hook(self._after),
        ]

    def detach(self) -> None:
        """Let go of the optimiser. The network stays as sparse as it is; `attach` goes on."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    @abstractmethod
    def _due(self, steps: int) -> bool:
        """Whether the masks are made anew after so many steps."""

    @abstractmethod
    def _renewed(self, ranks: Masks) -> tuple[Masks, Masks]:
        """Which synapses stay and which move, by the ranks of their present weights."""

    def _pull(self, name: str) -> Tensor | None:
        # Factors of the weights of a layer in the gradient of a penalty, if there is one.
        return None

    def _ranked(self, name: str, score: Tensor) -> Tensor:
        # The score by which synapses are ranked, from the sizes of the weights.
        return score

    def _ranks(self) -> Masks:
        # A replica that has diverged must not end the run of the others.
        scores = {}
        for name, each in self._layers.items():
            scores[name] = self._ranked(name, each.layer.expected_strength.detach().abs().nan_to_num(0.0))
        return lesion_ranks(scores, self._replicas, self.scope)

    def _as_numbers(self) -> None:
        for name, each in self._layers.items():
            each.stays, each.moves = self._stays[name].to(each.dense), self._moves[name].to(each.dense)

    @torch.no_grad()
    def _hide(self) -> None:
        for each in self._layers.values():
            torch.mul(each.dense, each.stays, out=each.layer.weight)

    def _look(self) -> None:
        for name, each in self._layers.items():
            layer, stays = each.layer, self._stays[name]
            if type(layer).expected_strength is not StochasticLayer.expected_strength:
                require(
                    not bool(layer.expected_strength.detach()[~stays].any()),
                    f"layer {name!r} ({type(layer).__name__}) transmits something where its weight is 0, so that a "
                    "synapse cannot be silenced.",
                )

    @torch.no_grad()
    def _before(self, optimiser: Optimizer, args: Any, kwargs: Any) -> Any:
        # Called by the optimiser ahead of its step; args begin with the optimiser itself.
        args, kwargs = closed(args, kwargs)
        refuse_scaled(optimiser)
        apart, pulls = traits(optimiser).takes_penalty, dict[str, Tensor]()
        for name, each in self._layers.items():
            weight, learned = each.layer.weight, each.layer.learned
            if not self._idle():
                torch.lerp(each.dense, weight, each.stays, out=weight)
            if learned._version != each.version:
                each.learned.copy_(learned)
                each.version = learned._version
            each.gradient = weight.grad
            if each.gradient is None:
                continue
            weight.grad = torch.mul(each.gradient, each.moves, out=each.masked)
            factor = self._pull(name)
            if factor is not None and apart:
                pulls[each.name] = weight * factor
            elif factor is not None:
                weight.grad.addcmul_(weight, factor)
        return with_penalty(args, kwargs, pulls) if pulls else (args, kwargs)

    @torch.no_grad()
    def _after(self, optimiser: Optimizer, args: Any, kwargs: Any) -> None:
        self.steps += 1
        due = self._due(self.steps)
        for name, each in self._layers.items():
            weight, learned = each.layer.weight, each.layer.learned
            weight.grad, each.gradient = each.gradient, None  # of the task, for whoever looks at it
            if learned._version != each.version:
                learned.copy_(torch.where(self._moves[name], learned, each.learned))
            if self._idle() and not due:
                weight.mul_(each.stays)
                continue
            torch.lerp(each.dense, weight, each.moves, out=each.dense)
            if due:
                weight.copy_(each.dense)
        if due:
            self._stays, self._moves = self._renewed(self._ranks())
            self._as_numbers()
        if due or not self._idle():
            self._hide()
        self._begun = True

    def _idle(self) -> bool:
        # What is not there does not move either, and need not be looked at but when masks change. (The first step is
        # made as if it did: a rule that looks for zeros then is to find none.)
        return self._begun and self._moves is self._stays

    def state_dict(self) -> dict[str, Tensor]:
        """Steps, masks as bits, and the values of the synapses that are not there.

        Returns:
            Name -> tensor; the network is not part of it.
        """
        found = {"steps": torch.tensor(self.steps, device="cpu")}
        for name, stays in self._stays.items():
            found[f"stays//{name}"], found[f"moves//{name}"] = packed(stays), packed(self._moves[name])
            found[f"rest//{name}"] = self._layers[name].dense[~stays]
        return found

    @typed
    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a saved state; it is attached, and the network is in its own state already.

        Args:
            state: of `state_dict`.

        Raises:
            ValueError: if it is not the state of masks of this network, or there is no network.
        """
        require(bool(self._stays), "no network yet: attach it first.")
        parts = {f"{part}//{name}" for part in ("stays", "moves", "rest") for name in self._stays}
        fits = state.keys() == parts | {"steps"} and all(isinstance(value, Tensor) for value in state.values())
        require(fits, f"expected the state of masks of {', '.join(self._stays)}, got {sorted(state)[:6]}.")
        masks = {
            part: {name: unpacked(state[f"{part}//{name}"].cpu(), tuple(mask.shape)).to(mask.device)
                   for name, mask in self._stays.items()}
            for part in ("stays", "moves")
        }  # fmt: skip
        for name, stays in masks["stays"].items():
            rest, count = state[f"rest//{name}"], int((~stays).sum())
            require(rest.shape == (count,), f"expected {count} values of {name!r}, got {list(rest.shape)}.")
        self.steps, self._stays, self._moves = int(state["steps"]), masks["stays"], masks["moves"]
        if all(mask.equal(self._moves[name]) for name, mask in self._stays.items()):
            self._moves = self._stays
        self._as_numbers()
        for name, each in self._layers.items():
            each.dense.copy_(each.layer.weight)
            each.dense[~self._stays[name]] = state[f"rest//{name}"].to(each.dense)
        self._hide()

    def _say_empty(self) -> None:
        # A layer that is cut off makes a network of chance, which nobody means.
        names = list(self._layers) if self._by_layer else []
        for what, value in self._shares.items():
            least = float(value.min()) if isinstance(value, Tensor) else value
            factors = {name: self.output if name == names[-1] else 1.0 for name in names}
            counts = {name: self._layers[name].dense.numel() // (self._replicas or 1) for name in names}
            cut = [name for name in names if math.floor(min(1.0, factors[name] * least) * counts[name]) == 0]
            if cut:
                warn(f"{what}={least:g} leaves no synapse of {', '.join(cut)}: nothing passes there but biases.")


def _count(value: Number) -> int | None:
    # Of replicas, before there is a network.
    return len(value) if isinstance(value, Sequence | Tensor | np.ndarray) and np.ndim(value) == 1 else None


def _told(shapes: Mapping[str, torch.Size]) -> str:
    return ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
