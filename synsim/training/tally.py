"""Loss, right answers and time, added up over the steps of an epoch."""

import time

import torch
from torch import Tensor

from synsim.training.moment import Moment


class Tally:
    """Sums over an epoch, on the network's device: a step waits for none of them.

    Args:
        replicas: how many, 1 without replicas.
        device: of the network.

    Attributes:
        sums: float64 [2, R], losses and shares of right answers.
    """

    def __init__(self, replicas: int, device: torch.device) -> None:
        self._device = device
        self.load(torch.zeros(2, replicas, dtype=torch.float64, device=device), 0.0)

    def load(self, sums: Tensor, before: float) -> None:
        """Go on with an epoch.

        Args:
            sums: [2, R].
            before: seconds that it took until it was left.
        """
        self.sums = sums.to(self._device).clone()
        self._losses, self._right = self.sums
        self._before = before

    def begin(self, first: int) -> None:
        """The steps of an epoch begin, or those that are left.

        Args:
            first: the first of them.
        """
        if not first:
            self.sums.zero_()
            self._before = 0.0
        self._started = time.perf_counter()

    def add(self, losses: Tensor, right: Tensor) -> None:
        """A step was made.

        Args:
            losses: [R].
            right: [R].
        """
        self._losses.add_(losses)
        self._right.add_(right)

    def seconds(self) -> float:
        """Time spent on the epoch.

        Returns:
            Seconds.
        """
        return self._before + time.perf_counter() - self._started

    def note(self, moment: Moment, alive: Tensor) -> None:
        """Write the means into the history; those of replicas that failed are NaN.

        Args:
            moment: the end of the epoch.
            alive: bool [R].
        """
        mean = torch.where(alive, (self.sums / moment.step).cpu(), torch.nan)
        found, place = moment.history.per_epoch, (moment.index, moment.epoch)
        found["loss"][:, *place], found["train_accuracy"][:, *place] = mean
        found["seconds"][place] = self.seconds()
