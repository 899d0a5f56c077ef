"""Quadratic penalty: important parameters are pulled back to where they were."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from synsim._checks import Number, choice, number, require
from synsim._doors import explained, held, typed
from synsim._names import named_parameters
from synsim.consolidation.accumulate import Accumulation
from synsim.consolidation.base import ALL_ZERO, Consolidation, bounded, checked, grown, parts_of, per_replica, shaped
from synsim.networks import replicas_of
from synsim.sparse.power import over_slope, root
from synsim.sparse.space import POWERS, in_phi
from synsim.sparse.weights import weights_of

ANCHORS = ("last", "separate")
SPACES = ("theta", "phi")
PARTS = ("importance", "anchor", "pull", "spread")


class Penalty(Consolidation):
    """L̃ = L + factor · strength · Σ_i λ_i (w_i − w*_i)².

    Learn with it by `fit(..., protection=)`, by `PresynapticSGD.step(penalty=c.gradient(net))`, which keeps it out of
    the release probabilities, or with torch's optimisers by adding `c.value(net)` to the loss. The gradient
    is 2 · factor · strength · λ (w − w*). With factor=1 strength is the c of Benzing 2022 (SI, MAS); with factor=0.5
    it is the λ of EWC (Kirkpatrick et al. 2017). Published strengths of one convention mean another
    protection in the other.

    Args:
        strength: a number ≥ 0, or one per replica; 0 is no protection, to the bit.
        factor: 1 or ½.
        anchors: "last": one penalty around the parameters after the latest task (Huszár 2018); "separate": one per
            task, each around its own (Kirkpatrick et al. 2017). Both cost the same.
        accumulate: "sum", "decayed", "average" or "last": how importances of tasks add up; None: under `Protection` as
            suits the importance ("last" for release probabilities), otherwise, and for separate anchors, "sum".
        decay: γ or α of "decayed" and "average".
        space: "theta": of the parameters; "phi": of φ = root(w) for the weights of layers, as they move under
            `Powerpropagation`, with importances turned by `synsim.sparse.in_phi`.
        alpha: the power α of space="phi", a number or one per replica.
        power: "square" or "absolute", see `synsim.sparse.in_phi`; for space="phi".
    """

    name = "penalty"
    anchored = True

    def __init__(
        self,
        *,
        strength: Number = 1.0,
        factor: float = 1.0,
        anchors: str = "last",
        accumulate: str | None = None,
        decay: float | None = None,
        space: str = "theta",
        alpha: Number | None = None,
        power: str = "square",
    ) -> None:
        super().__init__()
        self.space, self.power = choice(space, "space", SPACES), choice(power, "power", POWERS)
        together = 'space="phi" needs alpha, that of the Powerpropagation it goes with; space="theta" has none.'
        require((alpha is not None) == (space == "phi"), together)
        self.alpha = 1.0 if alpha is None else bounded(alpha, "alpha", low=1)
        self.strength, self.anchors = bounded(strength, "strength"), choice(anchors, "anchors", ANCHORS)
        try:
            self.factor = number(factor, "factor", above=True)
        except ValueError as error:
            raise ValueError(f"factor must be positive, got {factor!r}.") from error
        self.accumulation = Accumulation(accumulate, decay)
        # Σ_k λ_k (w − w_k)² = A d² − 2 B d + C with d = w − w*, where w* is the latest anchor, A = Σ λ_k,
        # B = Σ λ_k (w_k − w*), C = Σ λ_k (w_k − w*)²: without w*, large numbers would cancel.
        self._kept: dict[str, dict[str, Tensor]] = {part: {} for part in PARTS}
        self._scaled: dict[str, Tensor] = {}
        self._pull: dict[str, Tensor] = {}

    @property
    def importance(self) -> dict[str, Tensor]:
        """Accumulated importances; empty before the first task."""
        return self._kept["importance"]

    @typed
    def accumulate_by(self, rule: str) -> None:
        """Add tasks up by this rule, unless another one was asked for, or every task has an anchor of its own.

        Args:
            rule: the one that suits the importance.
        """
        if self.anchors == "last":
            self.accumulation.prefer(rule)

    @explained
    def remember(self, net: nn.Module, importance: Mapping[str, Any]) -> None:
        """Accumulate importances, and anchor the parameters where they are.

        Args:
            net: the network after the task.
            importance: of that task.
        """
        new = checked(net, importance)
        if self.space == "phi":
            new = in_phi(new, net, self.alpha, self.power)
        per_replica(self.strength, "strength", net)
        self._hold(net, self.importance)
        parameters = {name: place.detach() for name, place in self._places(net).items()}
        kept = {part: {name: value for name, value in values.items() if name in parameters}
                for part, values in self._kept.items()}  # fmt: skip
        add = self.accumulation.add
        if self.anchors == "separate":
            _recentre(kept, parameters)
            nothing = {name: torch.zeros_like(value) for name, value in new.items()}
            kept["pull"], kept["spread"] = add(kept["pull"], nothing), add(kept["spread"], nothing)
        kept["importance"] = add(kept["importance"], new)
        kept["anchor"] = {name: parameters[name].clone() for name in kept["importance"]}
        scaled = self._prepared(net, kept["importance"])
        self._kept, self._scaled, self._pull = kept, scaled, self._prepared(net, kept["pull"])
        zero = not any(bool((value != 0).any()) for value in self.importance.values())
        if zero and not self._off():
            self._say("zero", f"{self.name} holds no parameter: {ALL_ZERO}")

    def _places(self, net: nn.Module) -> dict[str, Tensor]:
        # The parameters as the penalty sees them.
        found: dict[str, Tensor] = dict(named_parameters(net))
        if self.space == "phi":
            found.update({name: root(weight, self.alpha) for name, weight in weights_of(net).items()})
        return found

    def _off(self) -> bool:
        return bool((torch.as_tensor(self.strength, device="cpu") == 0).all())

    def _prepared(self, net: nn.Module, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        strength = per_replica(self.strength, "strength", net)
        found = {name: value * (2 * self.factor) * shaped(strength, value) for name, value in values.items()}
        for name, value in found.items():
            require(
                bool(value.isfinite().all()),
                f"strength times the importance of {name!r} is more than {value.dtype} holds. Lower the strength.",
            )
        return found

    @explained
    def grow(self, net: nn.Module) -> None:
        """Go on with a network some of whose layers have more units now; old entries come first along every axis.

        Old entries keep their importance and anchor; new ones are free until the next task is remembered.

        Args:
            net: the network, its larger layers in place, under the same names.

        Raises:
            ValueError: if it is another network.
        """
        parameters = {name: place.detach() for name, place in self._places(net).items()}
        for part, values in self._kept.items():
            for name in values.keys() & parameters.keys():
                fill = parameters[name] if part == "anchor" else 0.0
                values[name] = grown(values[name], name, parameters[name], fill)
        self._scaled, self._pull = {}, {}
        self._hold(net, self.importance)

    def gradient(self, net: nn.Module) -> dict[str, Tensor]:
        """Gradient of the penalty, with respect to the parameters in either space.

        Args:
            net: the network.

        Returns:
            Parameter name -> gradient in the parameter's type; empty before the first task and for strength 0.
        """
        held(net, nn.Module, "net")
        if not self.importance or (isinstance(self.strength, int | float) and self.strength == 0):
            return {}
        self._hold(net, self.importance)
        if not self._scaled:
            self._scaled = self._prepared(net, self.importance)
            self._pull = self._prepared(net, self._kept["pull"])
        found, rooted = {}, weights_of(net) if self.space == "phi" else {}
        for name, place in self._places(net).items():
            scale, parameter = self._scaled.get(name), place.detach()
            if scale is None:
                continue
            away = parameter.to(scale.dtype) - self._kept["anchor"][name]
            pull = self._pull.get(name)
            each = away.mul_(scale) if pull is None else torch.addcmul(-pull, scale, away)
            found[name] = each.to(parameter.dtype)
            if name in rooted:
                found[name] = over_slope(found[name], parameter, self.alpha)
        return found

    @typed
    def value(self, net: nn.Module) -> Tensor:
        """The penalty itself, differentiable: `(loss + c.value(net)).backward()` adds what `gradient` returns.

        Args:
            net: the network.

        Returns:
            A number, or [R], which is to be summed before it is added to a loss; float64.
        """
        replicas = replicas_of(net)
        self._hold(net, self.importance)
        first = next(net.parameters(), None)
        device = None if first is None else first.device
        total = torch.zeros(replicas or 1, dtype=torch.float64, device=device)
        for name, parameter in self._places(net).items():
            if name not in self.importance:
                continue
            kept = {part: values[name].double() for part, values in self._kept.items() if name in values}
            away = parameter.double() - kept["anchor"]
            each = kept["importance"] * away**2
            if "pull" in kept:
                each = each - 2 * kept["pull"] * away + kept["spread"]
            total = total + each.reshape(replicas or 1, -1).sum(1).to(total.device)
        strength = per_replica(self.strength, "strength", net)
        total = total * self.factor * (strength.to(total.device) if isinstance(strength, Tensor) else strength)
        return total if replicas else total[0]

    def state_dict(self) -> dict[str, Any]:
        """Importances and anchors.

        Returns:
            Name -> tensor.
        """
        return {f"{part}/{name}": value for part, values in self._kept.items() for name, value in values.items()}

    @typed
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state.

        Args:
            state: of `state_dict`.
        """
        self._kept = parts_of(state, PARTS, self.name)
        self._scaled, self._pull = {}, {}


def _recentre(kept: dict[str, dict[str, Tensor]], parameters: Mapping[str, Tensor]) -> None:
    # The same parabola, written around where the parameters are now.
    for name, total in kept["importance"].items():
        away = parameters[name].to(total.dtype) - kept["anchor"][name]
        pull = kept["pull"][name]
        kept["spread"][name] = kept["spread"][name] - 2 * away * pull + total * away**2
        kept["pull"][name] = pull - total * away
