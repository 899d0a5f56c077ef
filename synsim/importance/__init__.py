"""Every importance behind one interface: measured after a task, or accumulated along the way."""

from typing import Any

from synsim._doors import typed
from synsim.importance.base import Importance, Step
from synsim.importance.fisher import AbsoluteFisher, Fisher, FisherBatched, SqrtFisher
from synsim.importance.path import SI, BiasSI, OnlineAbsoluteFisher, PathIntegral, UnbiasedSI
from synsim.importance.plain import Magnitude, ReleaseProbability, Uniform
from synsim.importance.second_order import SOS, unbiased_alpha
from synsim.importance.sensitivity import MAS, MASMax
from synsim.importance.sliced import SlicedCramer

__all__ = ["Importance", "Step", "available", "make", "unbiased_alpha"]

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


def available() -> tuple[str, ...]:
    """Names of all importances.

    Returns:
        What `make` takes: first those measured after a task, then those accumulated along the way.
    """
    return tuple(_KINDS)


@typed
def make(name: str, **options: Any) -> Importance:
    """Build an importance.

    Args:
        name: one of `available()`.
        options: of that importance; `help(type(synsim.importance.make(name)))` lists them.

    Returns:
        The importance.

    Raises:
        ValueError: if the name or an option is unknown, or an option does not fit.
    """
    if name not in _KINDS:
        raise ValueError(f"importance must be one of {', '.join(_KINDS)}, got {name!r}.")
    try:
        return _KINDS[name](**options)
    except TypeError as error:
        raise ValueError(f"importance {name!r}: {error}. See help(synsim.importance.make({name!r})).") from error
