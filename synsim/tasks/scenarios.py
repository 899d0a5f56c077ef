"""Tasks made from a data set: split, permuted, joint, single."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from synsim._checks import available_device, require, whole
from synsim._doors import check_fields, typed
from synsim.tasks.examples import Data, Examples, scaling
from synsim.tasks.order import Stream, epoch_order, independent_order, pixel_orders

HEADS = ("shared", "separate", "incremental")


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
    """

    name: str
    train: Examples
    test: Examples
    classes: int
    head: int | None = None
    stream: Stream | None = None

    def __post_init__(self) -> None:
        check_fields(self)

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
        """
        if self.stream is not None:
            return self.stream(seeds, epoch, independent=independent)
        draw = independent_order if independent else epoch_order
        return draw(seeds, index, epoch, len(self.train))

    @typed
    def batch(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Training images and labels.

        Args:
            index: int64 [B] or [R, B].

        Returns:
            Images [B, ...] or [R, B, ...], and labels shaped like the index.
        """
        return self.train.batch(index)


@typed
def single(
    data: Data,
    *,
    pixels: str = "standard",
    flat: bool = True,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> list[Task]:
    """All classes as one task.

    Args:
        data: the data set.
        pixels: "standard" or "unit".
        flat: whether images become vectors.
        device: where the images live.
        dtype: type of the batches.

    Returns:
        A list of one task.
    """
    train, test = _both(data, pixels, flat, device, dtype)
    return [Task(data.name, train, test, data.classes)]


@typed
def split(
    data: Data,
    *,
    pairs: Sequence[Sequence[int]] | None = None,
    heads: str = "shared",
    pixels: str = "standard",
    flat: bool = True,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> list[Task]:
    """Classes in successive groups (protocol: pairs 01, 23, 45, 67, 89).

    Args:
        data: the data set.
        pairs: classes of each task; None: successive pairs.
        heads: "shared": one output layer, the label is the position in the group (the parity for the usual pairs);
            "separate": the same labels, and an output layer for each task; "incremental": one output layer on which
            every class keeps its own unit (class-incremental learning).
        pixels: "standard" or "unit".
        flat: whether images become vectors.
        device: where the images live.
        dtype: type of the batches.

    Returns:
        One task per group.

    Raises:
        ValueError: if a class is unknown or in two groups, or a group has a single class or no images.
    """
    require(heads in HEADS, f"heads must be one of {', '.join(HEADS)}, got {heads!r}.")
    groups = [tuple(pair) for pair in pairs] if pairs else [(k, k + 1) for k in range(0, data.classes - 1, 2)]
    flattened = [label for group in groups for label in group]
    require(len(set(flattened)) == len(flattened), f"every class may be in one group only, got {groups}.")
    unknown = [label for label in flattened if not 0 <= label < data.classes]
    require(not unknown, f"classes must lie between 0 and {data.classes - 1}, got {unknown}.")
    train, test = _both(data, pixels, flat, device, dtype)
    found = []
    for index, group in enumerate(groups):
        require(len(group) > 1, f"a task needs at least two classes, got {group}.")
        name = " ".join(str(label) for label in group)
        parts = [_select(part, group) for part in (train, test)]
        require(all(len(part) > 0 for part in parts), f"the data set has no images of the classes {name}.")
        if heads == "incremental":
            own = torch.tensor(group, device=parts[0].labels.device)
            parts = [replace(part, labels=own[part.labels]) for part in parts]
        units = data.classes if heads == "incremental" else len(group)
        found.append(Task(name, parts[0], parts[1], units, index if heads == "separate" else None))
    return found


@typed
def by_class(
    data: Data,
    *,
    order: Sequence[int] | None = None,
    pixels: str = "unit",
    flat: bool = True,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> list[Task]:
    """One class per task, for networks that learn to reproduce their input.

    Args:
        data: the data set.
        order: the classes in the order of the tasks; None: 0, 1, 2, ….
        pixels: "standard" or "unit".
        flat: whether images become vectors.
        device: where the images live.
        dtype: type of the batches.

    Returns:
        One task per class; every label is 0.

    Raises:
        ValueError: if a class is unknown, given twice, or has no images.
    """
    chosen = list(range(data.classes)) if order is None else [int(label) for label in order]
    require(len(set(chosen)) == len(chosen) > 0, f"every class may be given once, got {chosen}.")
    unknown = [label for label in chosen if not 0 <= label < data.classes]
    require(not unknown, f"classes must lie between 0 and {data.classes - 1}, got {unknown}.")
    train, test = _both(data, pixels, flat, device, dtype)
    found = []
    for label in chosen:
        parts = [_select(part, (label,)) for part in (train, test)]
        require(all(len(part) > 0 for part in parts), f"the data set has no images of the class {label}.")
        found.append(Task(str(label), parts[0], parts[1], 1))
    return found


@typed
def permuted(
    data: Data,
    *,
    tasks: int = 10,
    seeds: Sequence[int] | int = 0,
    pixels: str = "standard",
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> list[Task]:
    """The same images with their pixels in another fixed order per task, the first task included.

    Args:
        data: the data set; grey images.
        tasks: number of tasks.
        seeds: of the pixel orders: one for all, or one per replica.
        pixels: "standard" or "unit".
        device: where the images live.
        dtype: type of the batches.

    Returns:
        The tasks; they share the stored images.

    Raises:
        ValueError: if the images have colours.
    """
    whole(tasks, "tasks")
    require(len(data.mean) == 1, "permuted tasks need grey images: a permutation would mix the channels' scales.")
    train, test = _both(data, pixels, True, device, dtype)
    count = train.images[0].numel()
    found = []
    for index in range(tasks):
        own = pixel_orders([seeds] if isinstance(seeds, int) else seeds, index, count)
        orders = (own if isinstance(seeds, int) else own.unsqueeze(1)).to(train.images.device)
        parts = [replace(part, orders=orders) for part in (train, test)]
        found.append(Task(f"permutation {index + 1}", parts[0], parts[1], data.classes))
    return found


@typed
def joint(tasks: Sequence[Task]) -> list[Task]:
    """All tasks mixed into one, for training on everything at once.

    Args:
        tasks: tasks that share an output layer.

    Returns:
        A list of one task whose examples are the union.

    Raises:
        ValueError: if there are no tasks, or they have heads of their own.
    """
    require(len(tasks) > 0, "expected at least one task, got none.")
    require(
        all(task.head is None for task in tasks), "joint training needs tasks with a shared head, got separate heads."
    )
    train, test = (_union([getattr(task, part) for task in tasks]) for part in ("train", "test"))
    return [Task("joint", train, test, max(task.classes for task in tasks))]


def _union(parts: Sequence[Examples]) -> Examples:
    first = parts[0]
    orders = [part.orders for part in parts if part.orders is not None]
    if orders:
        require(
            len(orders) == len(parts) and all(part.images is first.images for part in parts),
            "permuted tasks can be joined only if they share their images.",
        )
        return replace(first, orders=torch.cat(orders, dim=-2))
    return replace(
        first, images=torch.cat([part.images for part in parts]), labels=torch.cat([part.labels for part in parts])
    )


def _both(
    data: Data, pixels: str, flat: bool, device: torch.device | str | None, dtype: torch.dtype
) -> tuple[Examples, Examples]:
    place = available_device(device)
    offset, scale = scaling(data, pixels, place, dtype)
    train, test = (
        Examples(x.to(place), y.to(place).long(), offset, scale, flat=flat, dtype=dtype)
        for x, y in ((data.x_train, data.y_train), (data.x_test, data.y_test))
    )
    return train, test


def _select(part: Examples, group: Sequence[int]) -> Examples:
    wanted = torch.tensor(list(group), device=part.labels.device)
    kept = torch.isin(part.labels, wanted).nonzero().flatten()
    labels = (part.labels[kept].unsqueeze(1) == wanted).int().argmax(1)
    return replace(part, images=part.images[kept], labels=labels)
