"""Tasks made from a data set: single, split, permuted, by class."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from synsim._checks import available_device, choice, class_labels, is_whole, require, tensor, whole
from synsim._doors import typed
from synsim.tasks.examples import Data, Examples, scaling
from synsim.tasks.order import pixel_orders
from synsim.tasks.task import Task

HEADS = ("shared", "separate", "incremental")
TASKS = 10_000
"""Permuted tasks that are made."""


@typed
def single(
    data: Data,
    *,
    pixels: str = "standard",
    flat: bool = True,
    validation: int = 0,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> list[Task]:
    """All classes as one task.

    Args:
        data: the data set.
        pixels: "standard" or "unit".
        flat: whether images become vectors.
        validation: so many of the last training images are held out, in `Task.validation`.
        device: where the images live.
        dtype: type of the batches.

    Returns:
        A list of one task.

    Example:
        >>> import synsim
        >>> (task,) = synsim.tasks.single(synsim.data.load("digits"))
        >>> task.inputs, task.classes
        (64, 10)
    """
    train, test, held = _three(data, validation, pixels, flat, device, dtype)
    return [Task(data.name, train, test, data.classes, validation=held)]


@typed
def split(
    data: Data,
    *,
    pairs: Sequence[Sequence[int]] | None = None,
    heads: str = "shared",
    pixels: str = "standard",
    flat: bool = True,
    validation: int = 0,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> list[Task]:
    """Classes in successive groups (protocol: pairs 01, 23, 45, 67, 89).

    Args:
        data: the data set.
        pairs: classes of each task; None: successive pairs, for which the number of classes must be even.
        heads: "shared": one output layer, the label is the position in the group (the parity for the usual pairs);
            "separate": the same labels, and an output layer for each task; "incremental": one output layer on which
            every class keeps its own unit (class-incremental learning).
        pixels: "standard" or "unit".
        flat: whether images become vectors.
        validation: so many of the last training images are held out, in `Task.validation`.
        device: where the images live.
        dtype: type of the batches.

    Returns:
        One task per group.

    Raises:
        ValueError: if a class is unknown, in two groups or without training images, a group has a single class or no
            test images, or one class would be left over.

    Example:
        >>> import synsim
        >>> [task.name for task in synsim.tasks.split(synsim.data.load("digits"), heads="shared")]
        ['0 1', '2 3', '4 5', '6 7', '8 9']
    """
    choice(heads, "heads", HEADS)
    train, test, held = _three(data, validation, pixels, flat, device, dtype)
    groups = _pairs(data.classes) if pairs is None else _groups(pairs, data.classes)
    found = []
    for index, group in enumerate(groups):
        require(len(group) > 1, f"a task needs at least two classes, got {group}.")
        name = " ".join(_name(data, label) for label in group)
        parts = [_select(part, group) for part in (train, test, *([held] if held is not None else []))]
        require(all(len(part) > 0 for part in parts), f"the data set has no images of the classes {name}.")
        absent = sorted({label for place, label in enumerate(group) if not bool((parts[0].labels == place).any())})
        require(
            not absent,
            f"the data set has no training images of the classes {absent}, so that a task of {list(group)} can't be "
            "learned. Name the classes of each task by pairs=, without these.",
        )
        if heads == "incremental":
            own = torch.tensor(group, device=parts[0].labels.device)
            parts = [replace(part, labels=own[part.labels]) for part in parts]
        units = data.classes if heads == "incremental" else len(group)
        head = index if heads == "separate" else None
        found.append(Task(name, parts[0], parts[1], units, head, validation=_third(parts)))
    return found


def _pairs(classes: int) -> list[tuple[int, ...]]:
    pairs = [(label, label + 1) for label in range(0, classes - 1, 2)]
    spelt = ", ".join(str(list(pair)) for pair in (*pairs[:-1], (*pairs[-1], classes - 1))) if pairs else ""
    require(
        classes % 2 == 0,
        f"{classes} classes do not make pairs: class {classes - 1} would be left out. "
        + (f"Name the classes of each task, such as pairs=[{spelt}]." if pairs else "A task needs two at least."),
    )
    return list(pairs)


def _groups(pairs: Sequence[Sequence[int]], classes: int) -> list[tuple[int, ...]]:
    groups = [tuple(whole(label, "a class of pairs", -classes) for label in pair) for pair in pairs]
    require(len(groups) > 0, "pairs must name the classes of at least one task, got none. None takes successive pairs.")
    flattened = [label for group in groups for label in group]
    require(len(set(flattened)) == len(flattened), f"every class may be in one group only, got {groups}.")
    _known(flattened, classes)
    return groups


def _known(given: Sequence[int], classes: int) -> None:
    unknown = [label for label in given if not 0 <= label < classes]
    require(not unknown, f"classes must lie between 0 and {classes - 1}, got {unknown}.")


@typed
def by_class(
    data: Data,
    *,
    order: Sequence[int] | None = None,
    pixels: str = "unit",
    flat: bool = True,
    validation: int = 0,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> list[Task]:
    """One class per task, for networks that learn to reproduce their input.

    Args:
        data: the data set.
        order: the classes in the order of the tasks; None: 0, 1, 2, ….
        pixels: "standard" or "unit".
        flat: whether images become vectors.
        validation: so many of the last training images are held out, in `Task.validation`.
        device: where the images live.
        dtype: type of the batches.

    Returns:
        One task per class; every label is 0.

    Raises:
        ValueError: if a class is unknown, given twice, or has no images.
    """
    train, test, held = _three(data, validation, pixels, flat, device, dtype)
    given = range(data.classes) if order is None else order
    chosen = [whole(label, "a class of the order", -data.classes) for label in given]
    require(len(set(chosen)) == len(chosen) > 0, f"every class may be given once, got {chosen}.")
    _known(chosen, data.classes)
    found = []
    for label in chosen:
        parts = [_select(part, (label,)) for part in (train, test, *([held] if held is not None else []))]
        require(all(len(part) > 0 for part in parts), f"the data set has no images of the class {label}.")
        found.append(Task(_name(data, label), parts[0], parts[1], 1, validation=_third(parts)))
    return found


def _name(data: Data, label: int) -> str:
    names = getattr(data, "names", ())
    return str(names[label]) if names else str(label)


@typed
def permuted(
    data: Data,
    *,
    tasks: int = 10,
    seeds: Sequence[int] | int = 0,
    pixels: str = "standard",
    validation: int = 0,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> list[Task]:
    """The same images with their pixels in another fixed order per task, the first task included.

    Args:
        data: the data set; grey images.
        tasks: number of tasks.
        seeds: of the pixel orders: one for all, or one per replica.
        pixels: "standard" or "unit".
        validation: so many of the last training images are held out, in `Task.validation`.
        device: where the images live.
        dtype: type of the batches.

    Returns:
        The tasks; they share the stored images.

    Raises:
        ValueError: if the images have colours.

    Example:
        >>> import synsim
        >>> len(synsim.tasks.permuted(synsim.data.load("digits"), tasks=3))
        3
    """
    tasks = whole(tasks, "tasks", 1, TASKS)
    train, test, held = _three(data, validation, pixels, True, device, dtype)
    require(len(data.mean) == 1, "permuted tasks need grey images: a permutation would mix the channels' scales.")
    count = train.images[0].numel()
    shared = is_whole(seeds)
    rows = [whole(seed, "seeds", 0) for seed in ([seeds] if shared else seeds)]  # type: ignore[union-attr]
    require(len(rows) > 0, "seeds must be a seed for all replicas, or one for each, got none.")
    found = []
    for index in range(tasks):
        own = pixel_orders(rows, index, count)
        orders = (own if shared else own.unsqueeze(1)).to(train.images.device)
        parts = [replace(part, orders=orders) for part in (train, test, *([held] if held is not None else []))]
        name = f"permutation {index + 1}"
        found.append(Task(name, parts[0], parts[1], data.classes, validation=_third(parts)))
    return found


def _third(parts: Sequence[Examples]) -> Examples | None:
    return parts[2] if len(parts) > 2 else None


def _three(
    data: Data,
    validation: int,
    pixels: str,
    flat: bool,
    device: torch.device | str | None,
    dtype: torch.dtype,
) -> tuple[Examples, Examples, Examples | None]:
    # For training, for tests, and what is held out of training, the last of its images.
    train, test = _both(data, pixels, flat, device, dtype)
    count = whole(validation, "validation", 0)
    if count == 0:
        return train, test, None
    most = len(train.images) - 1
    require(count <= most, f"validation must leave images to train on: at most {most} of them, got {count}.")
    stays, held = (
        replace(train, images=train.images[part], labels=train.labels[part])
        for part in (slice(None, -count), slice(-count, None))
    )
    return stays, test, held


def _both(
    data: Data, pixels: str, flat: bool, device: torch.device | str | None, dtype: torch.dtype
) -> tuple[Examples, Examples]:
    place = available_device(device)
    offset, scale = scaling(data, pixels, place, dtype)
    train, test = (
        Examples(
            tensor(x, f"{data.name}: the images").to(place),
            class_labels(y, f"{data.name}: the labels").to(place),
            offset,
            scale,
            flat=flat,
            dtype=dtype,
        )
        for x, y in ((data.x_train, data.y_train), (data.x_test, data.y_test))
    )
    return train, test


def _select(part: Examples, group: Sequence[int]) -> Examples:
    wanted = torch.tensor(list(group), device=part.labels.device)
    kept = torch.isin(part.labels, wanted).nonzero().flatten()
    labels = (part.labels[kept].unsqueeze(1) == wanted).int().argmax(1)
    return replace(part, images=part.images[kept], labels=labels)
