"""Replicas that fail: held at their last good state, and named, while the others go on."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from synsim._doors import typed
from synsim.training.history import Failure, History
from synsim.training.moment import Moment
from synsim.training.step import Held, finite_replicas, what_failed


class TrainingFailedError(RuntimeError):
    """Every replica failed, or a finished run has replicas that did."""

    @typed
    def __init__(self, failures: Sequence[Failure | str]) -> None:
        super().__init__("\n".join(str(failure) for failure in failures))
        self.failures = tuple(failures)


class Replicas:
    """Which replicas of a run are alive.

    Args:
        net: the network.
        optimiser: its optimiser.
        history: gets the failures.

    Attributes:
        alive: bool [R] on the CPU.
    """

    def __init__(self, net: nn.Module, optimiser: Optimizer, history: History) -> None:
        self._held, self._history = Held(net, optimiser), history
        self.alive = torch.ones(len(history.seeds), dtype=torch.bool, device="cpu")

    @property
    def failed(self) -> list[int]:
        """Those that are not, in the order in which they failed."""
        return [failure.replica for failure in self._history.failures]

    def load(self) -> None:
        """Hold those that the history says have failed."""
        for replica in self.failed:
            self.alive[replica] = False
            self._held.hold(replica)

    def look(self, losses: Tensor, moment: Moment) -> None:
        """Hold replicas whose loss or gradients are not finite, before a step moves them.

        Args:
            losses: of the step, [R].
            moment: of the step.

        Raises:
            TrainingFailedError: if none is left.
        """
        finite = finite_replicas(moment.net, losses)
        if bool(finite.all()):
            return
        for replica in (self.alive & ~finite).nonzero().flatten().tolist():
            what, settings = what_failed(moment.net, losses, replica), getattr(moment.optimiser, "settings", None)
            self.fail(moment, [replica], f"{what} (with {settings(replica)})" if callable(settings) else what)

    def fail(self, moment: Moment, replicas: Sequence[int], what: str) -> None:
        """Note that replicas failed.

        Args:
            moment: when.
            replicas: which.
            what: what was not finite.

        Raises:
            TrainingFailedError: if none is left.
        """
        for replica in replicas:
            if bool(self.alive[replica]):
                self.alive[replica] = False
                self._held.hold(replica)
                seed, at = moment.seeds[replica], (moment.task.name, moment.epoch, moment.step)
                self._history.failures.append(Failure(replica, seed, *at, what))
        if not bool(self.alive.any()):
            raise TrainingFailedError(self._history.failures)

    def restore(self) -> None:
        """Put those that failed back where they were, after a step."""
        if self._history.failures:
            self._held.restore()
