"""Logits from the last population: by spike count, by membrane, by first spike."""

from collections.abc import Callable

from torch import Tensor

from synsim._checks import require
from synsim._doors import typed
from synsim.spiking.neurons import check_time_axis


@typed
def spike_count(spikes: Tensor) -> Tensor:
    """How often each output neuron fired.

    Args:
        spikes: [T, B, C] or [R, T, B, C].

    Returns:
        [B, C] or [R, B, C].
    """
    check_time_axis(spikes, "spikes")
    return spikes.sum(-3)


@typed
def mean_membrane(v: Tensor) -> Tensor:
    """Mean membrane over time.

    Args:
        v: [T, B, C] or [R, T, B, C].

    Returns:
        [B, C] or [R, B, C].
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
    """
    check_time_axis(v, "v")
    return v.amax(-3)


@typed
def first_spike(spikes: Tensor) -> Tensor:
    """How early each output neuron fired: 1 at the first step, 1 / T at the last, 0 if never.

    The gradient goes to the first spike; to all steps alike of a neuron that never fired.

    Args:
        spikes: [T, B, C] or [R, T, B, C].

    Returns:
        [B, C] or [R, B, C].
    """
    check_time_axis(spikes, "spikes")
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


def fires(name: str) -> bool:
    """Whether a readout reads spikes rather than membranes.

    Args:
        name: of the readout.

    Returns:
        True for "count" and "first".

    Raises:
        ValueError: if there is no such readout.
    """
    require(name in READOUTS, f"readout must be one of {', '.join(READOUTS)}, got {name!r}.")
    return name in ("count", "first")
