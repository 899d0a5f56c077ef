"""Permuted tasks that pass into one another, without boundaries."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from synsim import streams
from synsim._checks import number, require, whole
from synsim._doors import check_fields, shown, typed
from synsim.tasks.examples import Data
from synsim.tasks.joining import joint
from synsim.tasks.scenarios import permuted
from synsim.tasks.task import Task

EXACT = 2**53
"""Up to which floats hold every whole number."""


@dataclass(frozen=True)
class Transition:
    """The examples of one phase of a stream that drifts from task to task.

    Example t · N + n is image n in the pixel order of task t. Images are drawn uniformly with replacement; near the
    ends of phase k some come from the task before or after it (see `continuous`).

    Attributes:
        phase: k.
        tasks: T.
        images: N.
        count: draws per epoch.
        epochs: of the phase.
        ramp: draws at each end of the phase that may come from the neighbouring task.
    """

    phase: int
    tasks: int
    images: int
    count: int
    epochs: int
    ramp: int

    def __post_init__(self) -> None:
        """Check the numbers against each other."""
        check_fields(self)
        for name in ("tasks", "images", "count", "epochs"):
            whole(getattr(self, name), name)
        whole(self.phase, "phase", 0, self.tasks - 1)
        whole(self.ramp, "ramp", 0, (self.count * self.epochs + 1) // 2)
        for product, what in (
            (self.count * self.epochs, "count · epochs"),
            (self.tasks * self.images, "tasks · images"),
        ):
            require(
                product <= EXACT, f"{what} must not exceed 2⁵³, up to which a share of them is exact, got {product:,}."
            )

    @typed
    def shares(self, at: Tensor) -> Tensor:
        """Probability that a draw comes from the neighbouring task rather than from the phase's own.

        Args:
            at: draws, counted from 0 in the phase.

        Returns:
            Like `at`, float64: negative for the task before (its absolute value is the probability), positive for the
            one after.

        Raises:
            ValueError: if a draw is none of the phase.
        """
        real = not at.is_complex() and at.dtype != torch.bool
        require(
            real and (at.numel() == 0 or (float(at.min()) >= 0 and float(at.max()) <= self.count * self.epochs)),
            f"at must hold draws from 0 to {self.count * self.epochs}, got {shown(at)} with others.",
        )
        at, length = at.double(), self.count * self.epochs
        found = torch.zeros_like(at)
        if self.ramp and self.phase > 0:
            found -= 0.5 * (1 - at / self.ramp).clamp_min(0.0)
        if self.ramp and self.phase < self.tasks - 1:
            found += 0.5 * (1 - (length - at) / self.ramp).clamp_min(0.0)
        return found

    def __call__(self, seeds: Sequence[int], epoch: int, *, independent: bool = False) -> Tensor:
        """The draws of an epoch.

        Args:
            seeds: R seeds.
            epoch: counted from 0 within the phase.
            independent: those of a second, independent stream.

        Returns:
            int64 [R, count].
        """
        epoch = whole(epoch, "epoch", 0, self.epochs - 1)
        label = f"continuous/{'independent/' if independent else ''}{self.phase}"
        drawn = [
            streams.uniform(streams.keys("order", seeds, f"{label}/{what}"), self.count, epoch)
            for what in ("task", "image")
        ]
        shares = self.shares(torch.arange(self.count, device="cpu") + epoch * self.count)
        task = self.phase + torch.where(drawn[0] < shares.abs(), shares.sign(), 0.0).long()
        return task * self.images + (drawn[1] * self.images).long()


@typed
def continuous(
    data: Data,
    *,
    tasks: int = 10,
    epochs: int = 10,
    transition: float = 0.25,
    seeds: Sequence[int] | int = 0,
    pixels: str = "standard",
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> list[Task]:
    """Permuted tasks without boundaries: each drifts into the next.

    A phase shows as many draws as `epochs` passes over the images, drawn with replacement. The share `transition` of
    them lies in transitions: in the last half of that share the probability of the next task rises from 0 to 0.5,
    in the first half that of the task before falls from 0.5 to 0. The
    first phase has no transition in, the last none out.

    Args:
        data: the data set; grey images.
        tasks: number of tasks, T.
        epochs: passes' worth of draws per phase; train with `fit(..., epochs=epochs)`.
        transition: share of a phase in transitions, from 0 to 1.
        seeds: of the pixel orders: one for all, or one per replica.
        pixels: "standard" or "unit".
        device: where the images live.
        dtype: type of the batches.

    Returns:
        One task per phase. Their training examples are the union of all tasks, and their `stream` says which are shown;
        test examples are those of the phase's own task.

    Raises:
        ValueError: if the transition is no share, or the images have colours.

    Source:
        Schug, Benzing & Steger 2021, Methods (continuous Permuted MNIST): 600,000 draws per task, 75,000 per ramp.
    """
    transition = number(transition, "transition, a share between 0 and 1,", high=1.0)
    tasks, epochs = whole(tasks, "tasks"), whole(epochs, "epochs")
    parts = permuted(data, tasks=tasks, seeds=seeds, pixels=pixels, device=device, dtype=dtype)
    count = len(parts[0].train)
    ramp = round(transition * count * epochs / 2)
    union = joint(parts)[0].train
    return [
        replace(part, train=union, stream=Transition(phase, tasks, count, count, epochs, ramp))
        for phase, part in enumerate(parts)
    ]
