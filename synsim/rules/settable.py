"""Constants of a rule, one number or one per replica, in a form that torch's schedulers can set."""

from typing import Any

import torch
from torch import Tensor

from synsim._checks import constant


class PerReplica(Tensor):
    """A constant with one number per replica, which torch's schedulers can set: they `fill_` what they find."""

    # Results of operations on it are plain tensors.
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    def fill_(self, value: Tensor | float) -> "PerReplica":  # type: ignore[override]
        """Set all numbers.

        Args:
            value: one number for all, or [R].

        Returns:
            The same tensor.
        """
        self.copy_(torch.as_tensor(value, dtype=self.dtype, device=self.device))
        return self

    def __deepcopy__(self, memo: object) -> "PerReplica":
        """The same numbers on memory of their own.

        Args:
            memo: of `copy.deepcopy`.

        Returns:
            The copy.
        """
        return self.detach().clone().as_subclass(PerReplica)

    def __float__(self) -> float:
        """The number, if there is only one.

        Returns:
            The number.

        Raises:
            TypeError: with several replicas.
        """
        if self.numel() == 1:
            return float(self.item())
        raise TypeError(
            f"this constant has one value per replica, {self.tolist()}, and can't become a single number. "
            "ReduceLROnPlateau and the like need one rate for all: build the rule with a number, or change "
            'rule.param_groups[0]["lr"] in place, such as .mul_(0.1).'
        )


def per_replica(value: Any, what: str, replicas: int | None, **bounds: float) -> float | Tensor:
    """A constant that schedulers can set, one number or one per replica, apart from what the caller holds.

    Args:
        value: a number, or [R].
        what: its name in the message.
        replicas: R, or None.
        **bounds: `low` and `high` of `constant`.

    Returns:
        A float, or float64 [R].
    """
    found = constant(value, what, replicas, **bounds)
    return settable(found.clone()) if isinstance(found, Tensor) else found


def settable(value: Any) -> Any:
    """A constant in a form that torch's schedulers can set.

    Args:
        value: any constant.

    Returns:
        The same; a tensor [R] as `PerReplica`, on the same memory.
    """
    several = isinstance(value, Tensor) and value.ndim == 1 and not isinstance(value, PerReplica)
    return value.as_subclass(PerReplica) if several else value
