"""Tasks mixed into one."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from synsim._checks import require
from synsim._doors import typed
from synsim.tasks.examples import Examples
from synsim.tasks.task import Task


@typed
def joint(tasks: Sequence[Task]) -> list[Task]:
    """All tasks mixed into one, for training on everything at once.

    Args:
        tasks: tasks that share an output layer.

    Returns:
        A list of one task whose examples are the union.

    Raises:
        ValueError: if there are no tasks, they have heads or streams of their own, or their images are scaled
            differently.
    """
    require(len(tasks) > 0, "expected at least one task, got none.")
    require(
        all(task.head is None for task in tasks), "joint training needs tasks with a shared head, got separate heads."
    )
    require(
        all(task.stream is None for task in tasks),
        "joint training shows each example once per epoch, and these tasks have streams of their own. Join those that "
        "the streams were made of, such as tasks.permuted's.",
    )
    train, test = (_union([getattr(task, part) for task in tasks]) for part in ("train", "test"))
    held = [task.validation for task in tasks if task.validation is not None]
    validation = _union(held) if len(held) == len(tasks) else None
    return [Task("joint", train, test, max(task.classes for task in tasks), validation=validation)]


def _union(parts: Sequence[Examples]) -> Examples:
    first = parts[0]
    for part in parts[1:]:
        same = (
            (part.images.shape[1:], part.images.dtype, part.images.device, part.flat, part.dtype)
            == (first.images.shape[1:], first.images.dtype, first.images.device, first.flat, first.dtype)
            and torch.equal(part.offset, first.offset)
            and torch.equal(part.scale, first.scale)
        )
        require(
            same,
            "tasks can be joined only if their images are alike: of one shape, type, device and scale. "
            "Make them of one data set, with the same options.",
        )
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
