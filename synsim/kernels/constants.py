"""The constants of a learning step in the form that kernels take."""

from dataclasses import dataclass

from torch import Tensor

LEAST_PROBABILITY = 2.0**-12
"""Smallest release probability that a layer takes. Sixteen bits decide on a release, so that p counts in steps of 2⁻¹⁶,
rounded up; from here on that changes the mean of what is transmitted by less than 1 / 16."""

NAMES = ("lr", "decay", "p_up", "p_down", "g_lim", "p_min", "p_max", "p_freeze", "modulation")


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

    def columns(self, like: Tensor) -> dict[str, Tensor]:
        """The constants by name, each [R, 1] in the precision of `like`.

        Args:
            like: a tensor of the wanted dtype and device.

        Returns:
            Name -> tensor of shape [R, 1].
        """
        table = self.table.to(like)
        return {name: table[row].unsqueeze(1) for row, name in enumerate(NAMES)}
