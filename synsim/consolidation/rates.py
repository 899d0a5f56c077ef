"""Protection by slower learning: rate modulation, freezing, and hard masks."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from synsim._checks import Number, choice, require, within
from synsim._doors import explained, typed
from synsim._names import named_parameters
from synsim.consolidation.accumulate import Accumulation
from synsim.consolidation.base import (
    ALL_ZERO,
    Consolidation,
    bounded,
    checked,
    grown,
    parts_of,
    per_replica,
    ranks,
    shaped,
)
from synsim.networks import replicas_of

SCALES = ("none", "max", "quantile", "rank")


class _Rates(Consolidation):
    # What the three have in common: accumulated importances, and factors made from them after each task.
    def __init__(self, accumulate: str | None, decay: float | None) -> None:
        super().__init__()
        self.accumulation = Accumulation(accumulate, decay)
        self._importance: dict[str, Tensor] = {}
        self._rate: dict[str, Tensor] = {}

    @property
    def importance(self) -> dict[str, Tensor]:
        """Accumulated importances; empty before the first task."""
        return self._importance

    @typed
    def accumulate_by(self, rule: str) -> None:
        """Add tasks up by this rule, unless another one was asked for.

        Args:
            rule: the one that suits the importance.
        """
        self.accumulation.prefer(rule)

    @explained
    def remember(self, net: nn.Module, importance: Mapping[str, Any]) -> None:
        """Accumulate importances, and set the factors.

        Args:
            net: the network after the task.
            importance: of that task.

        Raises:
            ValueError: if an importance does not fit; what was known before stays.
        """
        new = checked(net, importance)
        self._hold(net, {**self._importance, **self._rate})
        types = {name: parameter.dtype for name, parameter in named_parameters(net)}
        importances, rates = self._importance, self._rate
        self._rate = {name: value for name, value in rates.items() if name in types}
        self._importance = self.accumulation.add(
            {name: value for name, value in importances.items() if name in types}, new
        )
        try:
            factors = self.factors(net)
        except ValueError:
            self._importance, self._rate = importances, rates
            raise
        self._rate = {name: value.to(types[name]) for name, value in factors.items()}

    def _say_if_idle(
        self, share: float | Tensor, among: Mapping[str, Tensor], held: Mapping[str, Tensor], replicas: int | None
    ) -> None:
        # Why a share holds nothing. A replica without importances is one that failed, unless all of them are.
        importance = self._importance
        matter = _count({name: value & (importance[name] > 0) for name, value in among.items()}, replicas)
        shares = torch.as_tensor(share, dtype=torch.float64, device=matter.device)
        room = _count(among, replicas)
        none = (_count(held, replicas) == 0) & (shares > 0)
        reasons = {
            "zero": (none & (_count(importance, replicas).sum() == 0), ALL_ZERO),
            "full": (
                none & (room == 0),
                "all parameters are claimed by earlier tasks. Use a smaller share, or freeze, which decides anew.",
            ),
            "small": (
                none & (matter > 0) & (shares * room < 1),
                "the share is less than one of the parameters that are free. Use a larger share.",
            ),
            "ties": (
                none & (matter > 0) & (shares * room >= 1),
                "more of them tie at the largest importance than the share takes, and ties are spared. Use another "
                "importance, a larger share, or freeze with a threshold.",
            ),
        }
        for reason, (replicas_idle, why) in reasons.items():
            if bool(replicas_idle.any()):
                where = "" if replicas is None else f" in replicas {replicas_idle.nonzero().flatten().tolist()}"
                self._say(reason, f"{self.name} holds no parameter{where}: {why}")

    def factors(self, net: nn.Module) -> dict[str, Tensor]:
        """The factors that follow from the importances.

        Args:
            net: the network.

        Returns:
            Parameter name -> factor.
        """
        raise NotImplementedError

    @explained
    def rate(self, net: nn.Module | None) -> dict[str, Tensor]:
        """Factors of the update.

        Args:
            net: the network; None: no look at whether its parameters are still those that were remembered.

        Returns:
            Parameter name -> factor in [0, 1]; empty before the first task.
        """
        if net is not None:
            self._hold(net, self._rate)
        return self._rate

    @explained
    def grow(self, net: nn.Module) -> None:
        """Go on with a network some of whose layers have more units now; old entries come first along every axis.

        Old entries keep their importance and rate; new ones are free until the next task is remembered.

        Args:
            net: the network, its larger layers in place, under the same names.

        Raises:
            ValueError: if it is another network.
        """
        parameters = dict(named_parameters(net))
        for values, fill in ((self._importance, 0.0), (self._rate, 1.0)):
            for name in values.keys() & parameters.keys():
                values[name] = grown(values[name], name, parameters[name], fill)
        self._hold(net, {**self._importance, **self._rate})

    def state_dict(self) -> dict[str, Any]:
        """Importances and factors.

        Returns:
            Name -> tensor.
        """
        parts = {"importance": self._importance, "rate": self._rate}
        return {f"{part}/{name}": value for part, values in parts.items() for name, value in values.items()}

    @typed
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state.

        Args:
            state: of `state_dict`.
        """
        parts = parts_of(state, ("importance", "rate"), self.name)
        self._importance, self._rate = parts["importance"], parts["rate"]


class Modulation(_Rates):
    """Rate modulation: updates are multiplied by (1 − s)^strength, with s the importance scaled to [0, 1].

    With strength=1 and scale="none" this is the factor (1 − p) of presynaptic consolidation (eq. 4.5). strength=0
    is no protection, to the bit.

    Args:
        strength: exponent ≥ 0, or one per replica.
        scale: "none": the importance is in [0, 1] already (release probability); "max": divided by the largest of
            the network; "quantile": by its `quantile`, and cut at 1; "rank": the share of less important parameters.
        quantile: for scale="quantile".
        accumulate: "sum", "decayed", "average" or "last": how importances of tasks add up; None: under `Protection` as
            suits the importance ("last" for release probabilities), otherwise "sum".
        decay: γ or α of "decayed" and "average".
    """

    name = "modulation"

    @typed
    def __init__(
        self,
        *,
        strength: Number = 1.0,
        scale: str = "rank",
        quantile: float = 0.95,
        accumulate: str | None = None,
        decay: float | None = None,
    ) -> None:
        super().__init__(accumulate, decay)
        self.strength, self.scale = bounded(strength, "strength"), choice(scale, "scale", SCALES)
        self.quantile = within(quantile, "quantile", "(0, 1]")

    @typed
    def factors(self, net: nn.Module) -> dict[str, Tensor]:
        """(1 − s)^strength.

        Args:
            net: the network.

        Returns:
            Parameter name -> factor.

        Raises:
            ValueError: if scale="none" and an importance exceeds 1.
        """
        strength = per_replica(self.strength, "strength", net)
        scaled = self._scaled(replicas_of(net))
        found = {
            name: ((1 - value).clamp(0, 1) ** shaped(strength, value)).to(self._importance[name])
            for name, value in scaled.items()
        }
        free = all(bool((value == 1).all()) for value in found.values())
        if free and bool((torch.as_tensor(strength, device="cpu") != 0).any()):
            zero = _count(self._importance, replicas_of(net)).sum() == 0
            why = ALL_ZERO if zero else "all importances are alike, and none has rank above another. Use scale='max'."
            self._say("idle", f"{self.name} slows no parameter down: {why}")
        return found

    def _scaled(self, replicas: int | None) -> dict[str, Tensor]:
        importance = self._importance
        if self.scale == "rank":
            return ranks(importance, replicas)
        if self.scale == "none":
            top = max(float(value.max()) for value in importance.values())
            require(
                top <= 1 + 1e-6,
                f"scale='none' takes importances in [0, 1], got {top:g}. Use scale='rank', 'max' or 'quantile', or for "
                "release probabilities accumulate='last'.",
            )
            return importance
        lead = replicas or 1
        flat = torch.cat([value.reshape(lead, -1) for value in importance.values()], dim=1)
        if self.scale == "max":
            size = flat.amax(1)
        else:
            place = round(self.quantile * (flat.shape[1] - 1)) + 1
            size = flat.kthvalue(place, dim=1).values
        size = torch.where(size > 0, size, torch.ones_like(size))
        divisor: float | Tensor = size if replicas else float(size)
        return {name: (value / shaped(divisor, value)).clamp(max=1) for name, value in importance.items()}


class Freeze(_Rates):
    """Freezing: the most important parameters do not move.

    Give either `share` or `threshold`. Which parameters are frozen is decided anew after each task, from the
    accumulated importances; a parameter of importance 0 is never frozen. Parameters that tie are frozen all or not at
    all, so that fewer than the share may be; a warning says so if that leaves none.

    Args:
        share: share of all parameters to freeze, in [0, 1], or one per replica; 0 is no protection, to the bit.
        threshold: importance from which a parameter is frozen (0.9353 for release probabilities in the paper).
        accumulate: "sum", "decayed", "average" or "last": how importances of tasks add up; None: under `Protection` as
            suits the importance ("last" for release probabilities), otherwise "sum".
        decay: γ or α of "decayed" and "average".
    """

    name = "freeze"

    @typed
    def __init__(
        self,
        *,
        share: Number | None = None,
        threshold: Number | None = None,
        accumulate: str | None = None,
        decay: float | None = None,
    ) -> None:
        require((share is None) != (threshold is None), "give either share or threshold.")
        super().__init__(accumulate, decay)
        self.share = None if share is None else bounded(share, "share", high=1.0)
        self.threshold = None if threshold is None else bounded(threshold, "threshold")

    @typed
    def factors(self, net: nn.Module) -> dict[str, Tensor]:
        """0 for frozen parameters, 1 for the others.

        Args:
            net: the network.

        Returns:
            Parameter name -> factor.
        """
        if self.threshold is not None:
            limit = per_replica(self.threshold, "threshold", net)
            found = {
                name: 1 - ((value >= shaped(limit, value)) & (value > 0)).to(value)
                for name, value in self._importance.items()
            }
            self._say_if_below(found)
            return found
        share = per_replica(0.0 if self.share is None else self.share, "share", net, high=1.0)
        place = ranks(self._importance, replicas_of(net))
        held = {name: _top(place[name], share) & (value > 0) for name, value in self._importance.items()}
        everything = {name: torch.ones_like(value, dtype=torch.bool) for name, value in held.items()}
        self._say_if_idle(share, everything, held, replicas_of(net))
        return {name: 1 - held[name].to(value) for name, value in self._importance.items()}

    def _say_if_below(self, rates: Mapping[str, Tensor]) -> None:
        if not all(bool((value == 1).all()) for value in rates.values()):
            return
        top = max(float(value.max()) for value in self._importance.values())
        why = ALL_ZERO
        if top > 0:
            why = (
                f"the largest importance is {top:g}, below threshold={self.threshold}. Lower the threshold, or freeze "
                "a share; release probabilities come close to 1 only where PresynapticSGD has moved them."
            )
        self._say("idle", f"{self.name} holds no parameter: {why}")


class Mask(_Rates):
    """Hard mask: each task claims a share of the parameters that are still free, and what is claimed is fixed for good.

    In contrast to `freeze`, a claim is never taken back, and the importances of one task alone decide about it (cf.
    PackNet, Mallya & Lazebnik 2018, without its pruning). Parameters that tie are claimed all or not at all, as for
    `freeze`, and those of importance 0 never.

    Args:
        share: share of the free parameters that a task claims, in [0, 1], or one per replica; 0 is no protection.
    """

    name = "mask"

    @typed
    def __init__(self, *, share: Number = 0.5) -> None:
        super().__init__("last", None)
        self.share = bounded(share, "share", high=1.0)

    @typed
    def factors(self, net: nn.Module) -> dict[str, Tensor]:
        """0 for claimed parameters, 1 for free ones.

        Args:
            net: the network.

        Returns:
            Parameter name -> factor.
        """
        share = per_replica(self.share, "share", net, high=1.0)
        free = {name: self._rate[name] > 0 if name in self._rate else torch.ones_like(value, dtype=torch.bool)
                for name, value in self._importance.items()}  # fmt: skip
        place = ranks(self._importance, replicas_of(net), free)
        held = {name: free[name] & _top(place[name], share) & (value > 0) for name, value in self._importance.items()}
        self._say_if_idle(share, free, held, replicas_of(net))
        return {**self._rate, **{name: (free[name] & ~held[name]).to(self._importance[name]) for name in held}}


def _top(place: Tensor, share: float | Tensor) -> Tensor:
    # A share times the number of parameters may miss a whole number by rounding.
    return place >= 1 - shaped(share, place) - 1e-9


def _count(values: Mapping[str, Tensor], replicas: int | None) -> Tensor:
    # How many entries are not 0, per replica.
    lead = replicas or 1
    return torch.stack([(value != 0).reshape(lead, -1).sum(1) for value in values.values()]).sum(0).double()
