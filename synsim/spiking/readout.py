"""Logits from the last population: by spike count, by membrane, by first spike."""

from collections.abc import Callable

from torch import Tensor

from synsim._checks import choice
from synsim._doors import typed
from synsim.spiking.neurons import check_spikes, check_time_axis


@typed
def spike_count(spikes: Tensor) -> Tensor:
    """How often each output neuron fired.

    Args:
        spikes: 0 or 1, [T, B, C] or [R, T, B, C].

    Returns:
        [B, C] or [R, B, C].

    Raises:
        ValueError: if the axes do not fit, or an entry lies outside [0, 1].
    """
    check_spikes(spikes)
    return _spike_count(spikes)


@typed
def mean_membrane(v: Tensor) -> Tensor:
    """Mean membrane over time.

    Args:
        v: [T, B, C] or [R, T, B, C].

    Returns:
        [B, C] or [R, B, C].

    Raises:
        ValueError: if the axes do not fit.
    """
    check_time_axis(v, "v")
    return v.mean(-3)


@typed
def max_membrane(v: Tensor) -> Tensor:
    """Largest membrane over time.

    Args:
        v: [T, B, C] or [R, T, B, C].

    Returns:
        [B, C] or [R, B, C].

    Raises:
        ValueError: if the axes do not fit.
    """
    check_time_axis(v, "v")
    return v.amax(-3)


@typed
def first_spike(spikes: Tensor) -> Tensor:
    """How early each output neuron fired: 1 at the first step, 1 / T at the last, 0 if never.

    The gradient goes to the first spike; to all steps alike of a neuron that never fired.

    Args:
        spikes: 0 or 1, [T, B, C] or [R, T, B, C].

    Returns:
        [B, C] or [R, B, C].

    Raises:
        ValueError: if the axes do not fit, or an entry lies outside [0, 1].
    """
    check_spikes(spikes)
    return _first_spike(spikes)


def _spike_count(spikes: Tensor) -> Tensor:
    return spikes.sum(-3)


def _first_spike(spikes: Tensor) -> Tensor:
    steps = spikes.shape[-3]
    left = spikes.new_tensor([(steps - t) / steps for t in range(steps)]).reshape(-1, 1, 1)
    return (spikes * left).amax(-3)


READOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "count": spike_count,
    "mean": mean_membrane,
    "max": max_membrane,
    "first": first_spike,
}
"""Name -> function; "count" and "first" read the spikes of a population that fires, the others a leaky membrane."""
_INNER = {**READOUTS, "count": _spike_count, "first": _first_spike}


def read(name: str, series: Tensor) -> Tensor:
    """What a readout makes of spikes or membranes that a network has made, at every pass: they are not looked at.

    Args:
        name: of the readout.
        series: spikes or membranes, [T, B, C] or [R, T, B, C].

    Returns:
        [B, C] or [R, B, C].
    """
    return _INNER[name](series)


def fires(name: str) -> bool:
    """Whether a readout reads spikes rather than membranes.

    Args:
        name: of the readout.

    Returns:
        True for "count" and "first".

    Raises:
        ValueError: if there is no such readout.
    """
    return choice(name, "readout", list(READOUTS)) in ("count", "first")
