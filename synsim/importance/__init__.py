"""Every importance behind one interface: measured after a task, or accumulated along the way."""

from typing import Any

from synsim._checks import choice, options_of
from synsim._doors import typed
from synsim.importance.base import Importance, Step
from synsim.importance.fisher import AbsoluteFisher, Fisher, FisherBatched, SqrtFisher
from synsim.importance.path import SI, BiasSI, OnlineAbsoluteFisher, PathIntegral, UnbiasedSI
from synsim.importance.plain import Magnitude, ReleaseProbability, Uniform
from synsim.importance.second_order import SOS, unbiased_alpha
from synsim.importance.sensitivity import MAS, MASMax
from synsim.importance.sliced import SlicedCramer

__all__ = ["ALIASES", "Importance", "Step", "available", "make", "register", "unbiased_alpha"]

_KINDS: dict[str, type[Importance]] = {
    kind.name: kind
    for kind in (
        Fisher,
        FisherBatched,
        SqrtFisher,
        AbsoluteFisher,
        MAS,
        MASMax,
        SlicedCramer,
        ReleaseProbability,
        Magnitude,
        Uniform,
        SI,
        UnbiasedSI,
        BiasSI,
        PathIntegral,
        OnlineAbsoluteFisher,
        SOS,
    )
}


ALIASES = {"ewc": "fisher", "synaptic-intelligence": "si", "memory-aware-synapses": "mas", "l2": "uniform"}
"""Names that others use -> ours. EWC is the exact Fisher information."""


def available() -> tuple[str, ...]:
    """Names of all importances.

    Returns:
        What `make` takes: first those measured after a task, then those accumulated along the way.

    Example:
        >>> "si" in available()
        True
    """
    return tuple(_KINDS)


def register(kind: type[Importance]) -> type[Importance]:
    """Make a kind of importance of one's own known by its name, to `make` and to all that takes names; a decorator.

    Args:
        kind: a subclass of `Importance` with a `name` of its own.

    Returns:
        The same class.

    Raises:
        TypeError: if it is no such class.
        ValueError: if the name is empty or taken by another class.
    """
    if not (isinstance(kind, type) and issubclass(kind, Importance)):
        raise TypeError(f"expected a subclass of synsim.importance.Importance, got {kind!r}.")
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
def make(name: str, **options: Any) -> Importance:
    """Build an importance.

    Args:
        name: one of `available()`, or what others call one of them (`ALIASES`), such as "ewc".
        options: of that importance; `help(type(synsim.importance.make(name)))` lists them.

    Returns:
        The importance.

    Raises:
        ValueError: if the name or an option is unknown, or an option does not fit.

    Example:
        >>> import torch, synsim
        >>> net = synsim.mlp([4, 2], p=1.0)
        >>> found = make("fisher", labels="exact").estimate(net, torch.eye(4), torch.tensor([0, 1, 0, 1]))
        >>> {name: list(value.shape) for name, value in found.items()}
        {'0.weight': [2, 4]}
    """
    name = choice(ALIASES.get(name.lower(), name), "importance", tuple(_KINDS))
    options_of(_KINDS[name], f"importance {name!r}", options)
    return _KINDS[name](**options)
