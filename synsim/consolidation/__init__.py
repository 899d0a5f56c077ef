"""What is done with an importance: a quadratic penalty, slower learning, freezing, or a hard mask."""

from typing import Any

from synsim._doors import typed
from synsim.consolidation.accumulate import Accumulation
from synsim.consolidation.base import Consolidation
from synsim.consolidation.penalty import Penalty
from synsim.consolidation.rates import Freeze, Mask, Modulation

__all__ = ["Accumulation", "Consolidation", "available", "make"]

_KINDS: dict[str, type[Consolidation]] = {kind.name: kind for kind in (Penalty, Modulation, Freeze, Mask)}


def available() -> tuple[str, ...]:
    """Names of all kinds of consolidation.

    Returns:
        What `make` takes.
    """
    return tuple(_KINDS)


@typed
def make(name: str, **options: Any) -> Consolidation:
    """Build a consolidation.

    Args:
        name: "penalty", "modulation", "freeze" or "mask".
        options: of that kind; `help(type(synsim.consolidation.make("penalty")))` lists them.

    Returns:
        The consolidation.

    Raises:
        ValueError: if the name or an option is unknown, or an option does not fit.
    """
    if name not in _KINDS:
        raise ValueError(f"consolidation must be one of {', '.join(_KINDS)}, got {name!r}.")
    try:
        return _KINDS[name](**options)
    except TypeError as error:
        raise ValueError(f"consolidation {name!r}: {error}.") from error
