"""One task: examples for training, for tests and for validation, and in which order they come."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from synsim._checks import Labels, labels, require, whole
from synsim._doors import check_fields, typed
from synsim.tasks.examples import Examples
from synsim.tasks.order import Stream, epoch_order, independent_order

LARGEST = 2**31 - 1
"""Classes and output layers that are counted."""


@dataclass(frozen=True, eq=False)
class Task:
    """One task.

    Attributes:
        name: for tables and figures.
        train: training examples.
        test: test examples.
        classes: how many labels there are.
        head: index of the output layer, or None for the one that all tasks share.
        stream: which examples are shown in an epoch; None: each once, in random order.
        validation: training examples that are held out, for choices that tests must not make; None: none.

    Raises:
        ValueError: if a label is none of the classes.
    """

    name: str
    train: Examples
    test: Examples
    classes: int
    head: int | None = None
    stream: Stream | None = None
    validation: Examples | None = None

    def __post_init__(self) -> None:
        """Check the labels against the number of classes."""
        check_fields(self)
        whole(self.classes, "classes", 1, LARGEST)
        if self.head is not None:
            whole(self.head, "head", 0, LARGEST)
        if self.stream is not None:
            whole(self.stream.count, "the stream's count of examples per epoch")
        parts = {"train": self.train, "test": self.test, "validation": self.validation}
        for part, examples in parts.items():
            if examples is not None:
                labels(examples.labels, self.classes, f"task {self.name!r}: the {part} part", ignored=True)

    @property
    def inputs(self) -> int:
        """Width of an example as it is batched, its last axis: the pixels of a flat image."""
        return int(self.train[0:1].shape[-1])

    @property
    def per_epoch(self) -> int:
        """Examples shown in an epoch."""
        return len(self.train) if self.stream is None else self.stream.count

    @typed
    def order(self, seeds: Sequence[int], index: int, epoch: int, *, independent: bool = False) -> Tensor:
        """The examples of an epoch in the order in which every replica sees them.

        Args:
            seeds: R seeds.
            index: place of the task in its sequence.
            epoch: counted from 0 within the task.
            independent: those of the second, independent batches (SIU, SIB, SOS).

        Returns:
            int64 [R, per_epoch], for `batch`.

        Raises:
            ValueError: if the stream has fewer epochs.
        """
        if self.stream is not None:
            epochs = getattr(self.stream, "epochs", epoch + 1)
            require(
                epoch < epochs,
                f"the stream of task {self.name!r} has {epochs} epochs, and ends with them, got epoch {epoch}, counted "
                f"from 0. Train with fit(..., epochs={epochs}), or make tasks of more epochs.",
            )
            return self.stream(seeds, epoch, independent=independent)
        draw = independent_order if independent else epoch_order
        return draw(seeds, index, epoch, len(self.train))

    def batch(self, index: Labels) -> tuple[Tensor, Tensor]:
        """Training images and labels.

        Args:
            index: int64 [B] or [R, B]; arrays and lists will do.

        Returns:
            Images [B, ...] or [R, B, ...], and labels shaped like the index.
        """
        return self.train.batch(index)
