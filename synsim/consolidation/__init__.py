"""How old tasks are protected: a quadratic penalty, slower learning, freezing, a hard mask, or their own synapses."""

from typing import Any

from synsim._checks import choice, options_of
from synsim._doors import typed
from synsim.consolidation.accumulate import Accumulation
from synsim.consolidation.base import Consolidation
from synsim.consolidation.packnet import EfficientPackNet, PackNet
from synsim.consolidation.penalty import Penalty
from synsim.consolidation.rates import Freeze, Mask, Modulation

__all__ = ["Accumulation", "Consolidation", "available", "make", "register"]

_KINDS: dict[str, type[Consolidation]] = {
    kind.name: kind for kind in (Penalty, Modulation, Freeze, Mask, PackNet, EfficientPackNet)
}


@typed
def available(owns: bool | None = None) -> tuple[str, ...]:
    """Names of all kinds of consolidation.

    Args:
        owns: True: those whose tasks own synapses; False: those that an importance feeds; None: both.

    Returns:
        What `make` takes.
    """
    return tuple(name for name, kind in _KINDS.items() if owns in (None, kind.owns))


def register(kind: type[Consolidation]) -> type[Consolidation]:
    """Make a kind of consolidation of one's own known by its name, to `make` and to all that takes names; a decorator.

    Args:
        kind: a subclass of `Consolidation` with a `name` of its own.

    Returns:
        The same class.

    Raises:
        TypeError: if it is no such class.
        ValueError: if the name is empty or taken by another class.
    """
    if not (isinstance(kind, type) and issubclass(kind, Consolidation)):
        raise TypeError(f"expected a subclass of synsim.consolidation.Consolidation, got {kind!r}.")
    held = _KINDS.get(kind.name)
    # A class that is defined again, as in a notebook, replaces its former self.
    again = held is not None and (held.__module__, held.__qualname__) == (kind.__module__, kind.__qualname__)
    if not kind.name or (held is not None and not again):
        raise ValueError(
            f"{kind.__name__} needs a `name` of its own, got {kind.name!r}; taken are {', '.join(_KINDS)}."
        )
    _KINDS[kind.name] = kind
    return kind


@typed
def make(name: str, **options: Any) -> Consolidation:
    """Build a consolidation.

    Args:
        name: "penalty", "modulation", "freeze" or "mask", which an importance feeds; "packnet" or "efficient-packnet",
            whose tasks own synapses.
        options: of that kind; `help(type(synsim.consolidation.make("penalty")))` lists them.

    Returns:
        The consolidation.

    Raises:
        ValueError: if the name or an option is unknown, or an option does not fit.

    Example:
        >>> make("penalty", strength=10.0, factor=0.5).name
        'penalty'
    """
    name = choice(name, "consolidation", tuple(_KINDS))
    options_of(_KINDS[name], f"consolidation {name!r}", options)
    return _KINDS[name](**options)
