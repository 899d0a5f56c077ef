"""Quadratic penalty: important parameters are pulled back to where they were."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from synsim._checks import Number, require
from synsim._doors import typed
from synsim.consolidation.accumulate import Accumulation
from synsim.consolidation.base import Consolidation, bounded, checked, per_replica, shaped
from synsim.networks import replicas_of

ANCHORS = ("last", "separate")


class Penalty(Consolidation):
    """L̃ = L + factor · strength · Σ_i λ_i (w_i − w*_i)².

    The gradient is 2 · factor · strength · λ (w − w*). With factor=1 strength is the c of Benzing 2022 (SI, MAS); with
    factor=0.5 it is the λ of EWC (Kirkpatrick et al. 2017). Published strengths of one convention mean another
    protection in the other.

    Args:
        strength: a number ≥ 0, or one per replica; 0 is no protection, to the bit.
        factor: 1 or ½.
        anchors: "last": one penalty around the parameters after the latest task (Huszár 2018); "separate": one per
            task, each around its own (Kirkpatrick et al. 2017). Both cost the same.
        accumulate: "sum", "decayed", "average" or "last": how importances of tasks add up; None: under `Protection` as
            suits the importance ("last" for release probabilities), otherwise, and for separate anchors, "sum".
        decay: γ or α of "decayed" and "average".
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
    ) -> None:
        require(anchors in ANCHORS, f"anchors must be one of {', '.join(ANCHORS)}, got {anchors!r}.")
        require(factor > 0, f"factor must be positive, got {factor!r}.")
        self.strength, self.factor, self.anchors = bounded(strength, "strength"), factor, anchors
        self.accumulation = Accumulation(accumulate, decay)
        # Σ_k λ_k (w − w_k)² = A w² − 2 B w + C, with A = Σ λ_k, B = Σ λ_k w_k, C = Σ λ_k w_k².
        self._kept: dict[str, dict[str, Tensor]] = {"importance": {}, "anchor": {}, "first": {}, "second": {}}
        self._scaled: dict[str, Tensor] = {}

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

    @typed
    def remember(self, net: nn.Module, importance: Mapping[str, Tensor]) -> None:
        """Accumulate importances, and anchor the parameters where they are.

        Args:
            net: the network after the task.
            importance: of that task.
        """
        new = checked(net, importance)
        per_replica(self.strength, "strength", net)
        parameters = dict(net.named_parameters())
        add = self.accumulation.add
        if self.anchors == "separate":
            where = {name: parameters[name].detach() for name in new}
            self._kept["first"] = add(self._kept["first"], {name: new[name] * where[name] for name in new})
            self._kept["second"] = add(self._kept["second"], {name: new[name] * where[name] ** 2 for name in new})
        self._kept["importance"] = add(self._kept["importance"], new)
        self._kept["anchor"] = {name: parameters[name].detach().clone() for name in self._kept["importance"]}
        self._prepare(net)

    def _prepare(self, net: nn.Module) -> None:
        strength = per_replica(self.strength, "strength", net)
        self._scaled = {
            name: value * (2 * self.factor) * shaped(strength, value) for name, value in self.importance.items()
        }

    @typed
    def gradient(self, net: nn.Module) -> dict[str, Tensor]:
        """Gradient of the penalty.

        Args:
            net: the network.

        Returns:
            Parameter name -> gradient; empty before the first task and for strength 0.
        """
        if not self.importance or (isinstance(self.strength, int | float) and self.strength == 0):
            return {}
        if not self._scaled:
            self._prepare(net)
        found = {}
        strength = per_replica(self.strength, "strength", net) if self.anchors == "separate" else 0.0
        for name, parameter in net.named_parameters():
            scale = self._scaled.get(name)
            if scale is None:
                continue
            if self.anchors == "last":
                found[name] = (parameter.detach() - self._kept["anchor"][name]).mul_(scale)
            else:
                pull = self._kept["first"][name] * (2 * self.factor) * shaped(strength, scale)
                found[name] = torch.addcmul(-pull, scale, parameter.detach())
        return found

    @typed
    def value(self, net: nn.Module) -> Tensor:
        """The penalty itself.

        Args:
            net: the network.

        Returns:
            A number, or [R].
        """
        replicas = replicas_of(net)
        total = torch.zeros(replicas or 1, dtype=torch.float64, device="cpu")
        kept = self._kept
        for name, parameter in net.named_parameters():
            if name not in self.importance:
                continue
            w, importance = parameter.detach().double(), self.importance[name].double()
            if self.anchors == "last":
                each = importance * (w - kept["anchor"][name].double()) ** 2
            else:
                each = importance * w**2 - 2 * kept["first"][name].double() * w + kept["second"][name].double()
            total += each.reshape(replicas or 1, -1).sum(1).cpu()
        strength = per_replica(self.strength, "strength", net)
        total = total * self.factor * strength
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
        for part in self._kept:
            lead = f"{part}/"
            self._kept[part] = {
                name[len(lead) :]: value.clone() for name, value in state.items() if name.startswith(lead)
            }
        self._scaled = {}
