"""The constants of a learning step: one table with names, for the rule and for all kernels."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

LEAST_PROBABILITY = 2.0**-12
"""Smallest release probability that a layer takes. Sixteen bits decide on a release, so that p counts in steps of 2⁻¹⁶,
rounded up; from here on that changes the mean of what is transmitted by less than 1 / 16."""

RANGES = {
    "lr": (0.0, math.inf),
    "weight_decay": (0.0, math.inf),
    "p_up": (0.0, 1.0),
    "p_down": (0.0, 1.0),
    "g_lim": (0.0, math.inf),
    "p_min": (LEAST_PROBABILITY, 1.0),
    "p_max": (LEAST_PROBABILITY, 1.0),
    "p_freeze": (0.0, math.inf),
}
"""Constants that are numbers, one or one per replica -> least and largest value."""
NAMES = (*RANGES, "modulate_lr")
"""Rows of the table that kernels read."""
LR, WEIGHT_DECAY, P_UP, P_DOWN, G_LIM, P_MIN, P_MAX, P_FREEZE, MODULATE_LR = range(len(NAMES))
SETTINGS = (*NAMES, "plastic", "bounds")
"""All that a learning step needs to know of a rule."""
_NEVER = 2.0


@dataclass(frozen=True)
class Constants:
    """Constants of one learning step, one column per replica.

    Attributes:
        table: float64 [len(NAMES), R] on the device of the weights, rows in the order of `NAMES`.
        plastic: whether release probabilities move.
        hard: True for the printed rule, clamped; False for steps scaled by (p_max − p).
    """

    table: Tensor
    plastic: bool
    hard: bool

    @staticmethod
    def of(settings: Mapping[str, Any], replicas: int, device: torch.device) -> "Constants":
        """The constants of a rule, from what stands in a group of its parameters.

        Args:
            settings: all of `SETTINGS`, within `RANGES`; numbers or [R]; p_freeze may be None: never.
            replicas: R, 1 without replicas.
            device: of the weights.

        Returns:
            The constants.
        """
        numbers = {**settings, "modulate_lr": float(settings["modulate_lr"])}
        if settings["p_freeze"] is None:
            numbers["p_freeze"] = _NEVER
        rows = [torch.as_tensor(numbers[name], dtype=torch.float64, device="cpu").expand(replicas) for name in NAMES]
        # Constants that schedulers can set are a subclass of tensors; on the CPU already, `cpu` makes plain ones.
        table = torch.stack([row.cpu() for row in rows]).contiguous().to(device)
        return Constants(table, bool(settings["plastic"]), settings["bounds"] == "hard")

    def columns(self, like: Tensor) -> dict[str, Tensor]:
        """The constants by name, each [R, 1] in the precision of `like`.

        Args:
            like: a tensor of the wanted dtype and device.

        Returns:
            Name -> tensor of shape [R, 1].
        """
        table = self.table.to(like)
        return {name: table[row].unsqueeze(1) for row, name in enumerate(NAMES)}
