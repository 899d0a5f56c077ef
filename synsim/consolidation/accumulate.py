"""How the importances of successive tasks become one."""

from collections.abc import Mapping

from torch import Tensor

from synsim._checks import choice, require, within
from synsim._doors import typed

RULES = ("sum", "decayed", "average", "last")


class Accumulation:
    """λ over tasks, from the importances λ_k of each.

    "sum": λ ← λ + λ_k (Huszár 2018; SI, EWC of Benzing 2022). "decayed": λ ← γ λ + λ_k (online EWC, Schwarz et al.
    2018); γ acts here, once, and nowhere else. "average": λ ← α λ_k + (1 − α) λ (EWC++, Chaudhry et al. 2018), after
    the first task λ_1. "last": λ ← λ_k.

    Args:
        rule: one of these; None: "sum", or what the importance asks for (`prefer`).
        decay: γ of "decayed", or α of "average".
    """

    @typed
    def __init__(self, rule: str | None = None, decay: float | None = None) -> None:
        self._given, rule = rule is not None, "sum" if rule is None else rule
        self.rule = choice(rule, "accumulate", RULES)
        needs = rule in ("decayed", "average")
        require(needs == (decay is not None), f"decay belongs to 'decayed' and 'average', got {decay!r} with {rule!r}.")
        self.decay = None if decay is None else within(decay, "decay", "[0, 1]")

    @typed
    def prefer(self, rule: str) -> None:
        """Take a rule, unless one was given.

        Args:
            rule: "sum" or "last".
        """
        if not self._given:
            self.rule = Accumulation(rule).rule

    @typed
    def add(self, total: Mapping[str, Tensor], new: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The importances after one more task.

        Args:
            total: those before; empty before the first task.
            new: those of the task.

        Returns:
            Parameter name -> importance.

        Raises:
            ValueError: if an importance does not fit, or the sum is too large for its type.
        """
        for name, value in new.items():
            fits = not value.is_complex() and value.shape == total.get(name, value).shape
            require(
                fits,
                f"the importance of {name!r} must be real and shaped as before, got {value.dtype} {list(value.shape)}.",
            )
        if not total or self.rule == "last":
            return {name: value.clone() for name, value in new.items()}
        decay = 1.0 if self.decay is None else self.decay
        kept, added = {"sum": (1.0, 1.0), "decayed": (decay, 1.0), "average": (1 - decay, decay)}[self.rule]
        found = {name: value * kept for name, value in total.items()}
        for name, value in new.items():
            found[name] = found[name].add_(value, alpha=added) if name in found else added * value
        for name, value in found.items():
            require(
                bool(value.isfinite().all()),
                f"the importances of {name!r} add up to more than {value.dtype} holds. Scale all importances down by "
                "one number, and the strength up by it.",
            )
        return found
