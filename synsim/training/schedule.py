"""Schedules of an optimiser's constants in the loop: torch's, stepped by epoch or step and kept in checkpoints."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from synsim._checks import choice, require
from synsim.training.moment import Moment, Observer
from synsim.training.trees import decode, encode

EVERY = ("epoch", "step")
Scheduler = LRScheduler | Callable[[Optimizer], LRScheduler]
"""A scheduler of torch, or what makes one from the optimiser, such as `lambda o: ExponentialLR(o, 0.9)`."""


class Schedule(Observer):
    """A scheduler as the loop asks it.

    Args:
        scheduler: of torch, for this optimiser, or what makes one.
        optimiser: the optimiser.
        every: "epoch" or "step".

    Raises:
        ValueError: if the scheduler belongs to another optimiser, can't be stepped so, or can't be kept.
    """

    def __init__(self, scheduler: Scheduler, optimiser: Optimizer, every: str = "epoch") -> None:
        self.every = choice(every, "schedule_every", EVERY)
        made: Any = scheduler(optimiser) if callable(scheduler) else scheduler
        require(
            all(hasattr(made, name) for name in ("step", "state_dict", "load_state_dict")),
            f"scheduler must be one of torch.optim.lr_scheduler or make one from the optimiser, got "
            f"{type(made).__name__}.",
        )
        require(
            getattr(made, "optimizer", optimiser) is optimiser,
            "the scheduler moves the constants of another optimiser. Build it with the one that is trained with.",
        )
        self._measured = isinstance(made, ReduceLROnPlateau)
        require(
            not self._measured or (self.every == "epoch" and made.mode == "min"),
            "ReduceLROnPlateau is stepped by the mean training loss of an epoch: use mode='min' and "
            "schedule_every='epoch'.",
        )
        self.scheduler = made
        self.pack({})

    @property
    def name(self) -> str:
        """The scheduler's class."""
        return type(self.scheduler).__name__

    def step_ends(self, moment: Moment) -> None:
        """Move the constants, if that is done after each step."""
        if self.every == "step":
            self.scheduler.step()

    def measured(self, moment: Moment) -> None:
        """Move the constants, if that is done after each epoch."""
        if self.every == "epoch" and self._measured:
            self.scheduler.step(float(moment.history.per_epoch["loss"][:, moment.index, moment.epoch].nanmean()))
        elif self.every == "epoch":
            self.scheduler.step()

    def pack(self, tensors: dict[str, Tensor]) -> dict[str, Any]:
        """State, for a checkpoint.

        Args:
            tensors: gets what of it is a tensor.

        Returns:
            Kind and state, as "schedule".

        Raises:
            ValueError: if something in it can't be kept.
        """
        try:
            tree = encode(self.scheduler.state_dict(), "schedule", tensors)
        except TypeError as error:
            raise ValueError(f"the state of {self.name} can't be kept: {error}") from error
        return {"schedule": {"kind": self.name, "every": self.every, "state": tree}}

    def load(self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any], net: nn.Module) -> None:
        """Go on."""
        state = meta["schedule"]["state"]
        self.scheduler.load_state_dict(decode(state, tensors, self.scheduler.state_dict()))


def suits(schedule: Schedule | None, saved: Mapping[str, Any] | None) -> None:
    """Refuse to go on with another schedule than the one that a checkpoint holds.

    Args:
        schedule: of this run, or None.
        saved: the "schedule" of `Schedule.pack`, or None.

    Raises:
        ValueError: if one is missing, or they are of different kinds.
    """
    had = "none" if saved is None else f"{saved['kind']} per {saved['every']}"
    has = "none" if schedule is None else f"{schedule.name} per {schedule.every}"
    require(
        had == has,
        f"the run that is resumed has the scheduler: {had}; this call of fit has: {has}. Give the same scheduler, or "
        "begin the run anew.",
    )
