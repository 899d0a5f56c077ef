"""What goes together in a protection, and what does not: said before anything is learned."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.optim import Optimizer

from synsim import consolidation as consolidations
from synsim import importance as importances
from synsim._checks import Number, require, warn
from synsim.consolidation import Consolidation
from synsim.importance import Importance
from synsim.rules.base import traits
from synsim.tasks import Task


def made(
    importance: str | Importance | None, consolidation: str | Consolidation | None, strength: Number | None
) -> tuple[Importance | None, Consolidation | None]:
    """An importance and a consolidation, where they may be given by name.

    Args:
        importance: a name (see `synsim.importance.available`), or the object.
        consolidation: a name (see `synsim.consolidation.available`), or the object.
        strength: of a consolidation that is given by name.

    Returns:
        The objects.

    Raises:
        ValueError: if a name is unknown, a strength belongs to nothing, or the consolidation has no importance.
    """
    if isinstance(importance, str):
        importance = importances.make(importance)
    if isinstance(consolidation, str):
        options = {} if strength is None else {"strength": strength}
        consolidation = consolidations.make(consolidation, **options)
    else:
        require(strength is None, "strength goes with a consolidation by name; give the object its strength.")
    owns = consolidation is not None and consolidation.owns
    require(
        consolidation is None or owns or importance is not None,
        "a consolidation needs an importance: give synsim.importance.make(...), or its name.",
    )
    require(
        not owns or importance is None,
        f"{getattr(consolidation, 'name', '')} takes no importance: its tasks claim the largest weights. Leave the "
        "importance out, or observe it with watch=.",
    )
    return importance, consolidation


def check_batch(importances: Mapping[str, Importance], batch: int | None) -> None:
    """Refuse importances that were built for batches of another size.

    Args:
        importances: by name.
        batch: examples per step; None: unknown.

    Raises:
        ValueError: if one was.
    """
    for name, importance in importances.items():
        require(
            batch is None or importance.batch in (None, batch),
            f"{name} ({importance.name!r}) was built for batch={importance.batch}, got batches of {batch}: its "
            "estimate would be biased. Give both the same number.",
        )


def check_rule(
    optimiser: Optimizer | None,
    consolidation: Consolidation | None,
    reset_optimiser: bool,
    reinitialise: Callable[..., Any] | None,
) -> None:
    """Refuse what would undo what a rule or a consolidation remembers.

    Args:
        optimiser: the rule; None: unknown.
        consolidation: what protects.
        reset_optimiser: whether the rule starts anew with each task.
        reinitialise: what gives fresh parameters with each task.

    Raises:
        ValueError: if it would.
    """
    protects = "" if optimiser is None else traits(optimiser).protects
    require(
        not protects or not (consolidation or reset_optimiser or reinitialise),
        f"{type(optimiser).__name__} protects by itself, {protects}: train it without a consolidation, and without "
        "reset_optimiser and reinitialise, which would forget what it remembers.",
    )
    require(
        reinitialise is None or consolidation is None or consolidation.anchored,
        f"reinitialise goes with a penalty or without a consolidation, got {getattr(consolidation, 'name', '')!r}: "
        "what was learned is overwritten, and fresh random values are held in its place. Use "
        "consolidation.make('penalty'), or leave reinitialise out.",
    )


def look_for_lone_classes(tasks: Sequence[Task]) -> None:
    """Warn of a stream in which protecting parameters cannot work.

    Args:
        tasks: the tasks to learn.
    """
    if any(task.head is not None for task in tasks):
        return
    seen: set[int] = set()
    for task in tasks:
        own = set(torch.unique(task.train.labels).tolist())
        if seen and not own & seen:
            warn(
                "every task has classes of its own on one shared output layer (class-incremental learning). "
                "Protecting parameters, as EWC, SI and MAS do, cannot work there: old classes are never contrasted "
                "with new ones (van de Ven, Tuytelaars & Tolias 2022, Nature Machine Intelligence 4, 1185). "
                "Use tasks with separate heads (heads='separate') or a shared label (heads='shared').",
            )
            return
        seen |= own
