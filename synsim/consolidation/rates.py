"""Protection by slower learning: rate modulation, freezing, and hard masks."""

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from synsim._checks import Number, require
from synsim._doors import typed
from synsim.consolidation.accumulate import Accumulation
from synsim.consolidation.base import Consolidation, bounded, checked, per_replica, ranks, shaped
from synsim.networks import replicas_of

SCALES = ("none", "max", "quantile", "rank")


class _Rates(Consolidation):
    # What the three have in common: accumulated importances, and factors made from them after each task.
    def __init__(self, accumulate: str | None, decay: float | None) -> None:
        self.accumulation = Accumulation(accumulate, decay)
        self._importance: dict[str, Tensor] = {}
        self._rate: dict[str, Tensor] = {}

    @property
    def importance(self) -> dict[str, Tensor]:
        """Accumulated importances; empty before the first task."""
        return self._importance

    def accumulate_by(self, rule: str) -> None:
        """Add tasks up by this rule, unless another one was asked for.

        Args:
            rule: the one that suits the importance.
        """
        self.accumulation.prefer(rule)

    def remember(self, net: nn.Module, importance: Mapping[str, Tensor]) -> None:
        """Accumulate importances, and set the factors.

        Args:
            net: the network after the task.
            importance: of that task.
        """
        self._importance = self.accumulation.add(self._importance, checked(net, importance))
        self._rate = self.factors(net)

    def factors(self, net: nn.Module) -> dict[str, Tensor]:
        """The factors that follow from the importances.

        Args:
            net: the network.

        Returns:
            Parameter name -> factor.
        """
        raise NotImplementedError

    def rate(self, net: nn.Module) -> dict[str, Tensor]:
        """Factors of the update.

        Args:
            net: the network.

        Returns:
            Parameter name -> factor in [0, 1]; empty before the first task.
        """
        return self._rate

    def state_dict(self) -> dict[str, Any]:
        """Importances and factors.

        Returns:
            Name -> tensor.
        """
        parts = {"importance": self._importance, "rate": self._rate}
        return {f"{part}/{name}": value for part, values in parts.items() for name, value in values.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state.

        Args:
            state: of `state_dict`.
        """
        parts: dict[str, dict[str, Tensor]] = {"importance": {}, "rate": {}}
        for name, value in state.items():
            part, own = name.split("/", 1)
            parts[part][own] = value.clone()
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
        require(scale in SCALES, f"scale must be one of {', '.join(SCALES)}, got {scale!r}.")
        require(0 < quantile <= 1, f"quantile must lie in (0, 1], got {quantile!r}.")
        super().__init__(accumulate, decay)
        self.strength, self.scale, self.quantile = bounded(strength, "strength"), scale, quantile

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
        return {
            name: ((1 - value).clamp(0, 1) ** shaped(strength, value)).to(self._importance[name])
            for name, value in scaled.items()
        }

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
            return {
                name: 1 - ((value >= shaped(limit, value)) & (value > 0)).to(value)
                for name, value in self._importance.items()
            }
        share = per_replica(0.0 if self.share is None else self.share, "share", net, high=1.0)
        place = ranks(self._importance, replicas_of(net))
        held = {name: _top(place[name], share) & (value > 0) for name, value in self._importance.items()}
        everything = {name: torch.ones_like(value, dtype=torch.bool) for name, value in held.items()}
        _warn_of_ties(self.name, share, self._importance, everything, held, replicas_of(net))
        return {name: 1 - held[name].to(value) for name, value in self._importance.items()}


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
        _warn_of_ties(self.name, share, self._importance, free, held, replicas_of(net))
        return {**self._rate, **{name: (free[name] & ~held[name]).to(self._importance[name]) for name in held}}


def _top(place: Tensor, share: float | Tensor) -> Tensor:
    # A share times the number of parameters may miss a whole number by rounding.
    return place >= 1 - shaped(share, place) - 1e-9


def _warn_of_ties(
    kind: str,
    share: float | Tensor,
    importance: Mapping[str, Tensor],
    among: Mapping[str, Tensor],
    held: Mapping[str, Tensor],
    replicas: int | None,
) -> None:
    lead = replicas or 1

    def count(values: Mapping[str, Tensor]) -> Tensor:
        return torch.stack([value.reshape(lead, -1).sum(1) for value in values.values()]).sum(0).double()

    matter = count({name: value & (importance[name] > 0) for name, value in among.items()})
    due = torch.as_tensor(share, dtype=torch.float64, device=matter.device) * count(among)
    none = (count(held) == 0) & (matter > 0) & (due >= 1)
    if bool(none.any()):
        where = "" if replicas is None else f" in replicas {none.nonzero().flatten().tolist()}"
        warnings.warn(
            f"{kind} holds no parameter{where}: more of them tie at the largest importance than the share takes, and "
            "ties are spared. Use another importance, a larger share, or freeze with a threshold.",
            UserWarning,
            stacklevel=4,
        )
