"""What a population is: its parameters, and its state between two steps."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from synsim._checks import affordable, available_device, require, whole, within
from synsim._doors import check_fields, shown, typed

RESETS = ("rest", "subtract")


@dataclass(frozen=True)
class LIF:
    """Parameters of a population of leaky integrate-and-fire neurons; v is 0 at rest, inputs are jumps of v.

    Args:
        tau: membrane time constant, ms.
        threshold: θ, in the units of v.
        reset: "rest" or "subtract".
        refractory: refractory period, ms; counted in whole steps, rounded down as Brian2 does.
        detach_reset: keep the reset out of the gradient, as SuperSpike, norse and snnTorch do.

    Raises:
        ValueError: if a time is negative, the threshold not positive, or the reset unknown.
    """

    tau: float = 10.0
    threshold: float = 1.0
    reset: str = "rest"
    refractory: float = 0.0
    detach_reset: bool = True

    def __post_init__(self) -> None:
        check_fields(self)
        _time(self.tau, "tau")
        require(0 < self.threshold < math.inf, f"threshold must be positive and finite, got {self.threshold}.")
        require(self.reset in RESETS, f"reset must be one of {', '.join(RESETS)}, got {self.reset!r}.")
        require(0 <= self.refractory < math.inf, f"refractory must be a time of at least 0 ms, got {self.refractory}.")

    def decay(self, dt: float) -> float:
        """exp(−dt / τ).

        Args:
            dt: time step, ms.

        Returns:
            The factor by which v decays in a step.

        Raises:
            ValueError: if dt is not positive, or longer than τ.
        """
        return decay(self.tau, dt, "tau")

    def hold(self, dt: float) -> int:
        """The refractory period in steps.

        Args:
            dt: time step, ms.

        Returns:
            n; 0 and 1 mean that a neuron may fire at every step.

        Raises:
            ValueError: if dt is not positive, or longer than τ or than the period, unless that is 0.
        """
        _require_step(self.tau, dt, "tau")
        require(
            self.refractory == 0 or self.refractory >= (1 - 1e-3) * dt,
            f"refractory must be 0 or at least dt = {dt:g} ms, got {self.refractory:g} ms. Take a smaller step.",
        )
        # The margin of Brian2's `timestep`, against times that are a little less than a multiple of dt.
        return int((self.refractory + 1e-3 * dt) / dt)

    @typed
    def rest(
        self, shape: Sequence[int], *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> "State":
        """The state of rested neurons, to begin a loop over `lif_step` with.

        Args:
            shape: [B, H] or [R, B, H], as the inputs of a step have it.
            device: where the state lives.
            dtype: floating-point type of v.

        Returns:
            v = 0, nobody refractory.

        Raises:
            ValueError: if the shape is none, or the type holds no floats.
        """
        sizes = [whole(size, "every entry of shape", 0) for size in shape]
        require(len(sizes) in (2, 3), f"shape must be [B, H] or [R, B, H], got {sizes}.")
        require(dtype is None or dtype.is_floating_point, f"dtype must be a float type, got {dtype}.")
        place = available_device(device)
        if place.type == "cpu":
            affordable(math.prod(sizes) * 12, f"a state of shape {sizes}")
        return at_rest(torch.zeros(sizes, device=place, dtype=dtype))


@dataclass(frozen=True)
class Leaky:
    """Parameters of a leaky readout: the same membrane without threshold.

    Args:
        tau: membrane time constant, ms.

    Raises:
        ValueError: if the time is not positive.
    """

    tau: float = 10.0

    def __post_init__(self) -> None:
        check_fields(self)
        _time(self.tau, "tau")


class State(NamedTuple):
    """State of a population at the end of a step.

    Attributes:
        v: membrane [B, H] or [R, B, H].
        left: int32 likewise: steps, the present one included, until the neuron may fire again.
    """

    v: Tensor
    left: Tensor


def decay(tau: float, dt: float, name: str) -> float:
    """exp(−dt / τ), with checks.

    Args:
        tau: time constant, ms.
        dt: time step, ms.
        name: of the time constant, for the message.

    Returns:
        The factor of one step.

    Raises:
        ValueError: if a time is not positive, or dt is longer than τ.
    """
    _require_step(tau, dt, name)
    return math.exp(-dt / tau)


def _require_step(tau: float, dt: float, name: str) -> None:
    _time(dt, "dt")
    _time(tau, name)
    if dt > tau:
        raise ValueError(f"dt must not be longer than {name} = {tau:g} ms, got dt = {dt:g} ms. Take a smaller step.")


def _time(value: float, name: str) -> None:
    # Called at every pass of every layer: the kinds of other numbers are looked at only where it is none of Python's.
    plain = type(value) is float or type(value) is int
    if plain and 0 < value < math.inf:
        return
    try:
        within(math.nan if plain else value, name, "(0, inf)")
    except ValueError as error:
        raise ValueError(f"{name} must be a positive, finite time in ms, got {shown(value)}.") from error


def at_rest(current: Tensor) -> State:
    """The state of rested neurons.

    Args:
        current: input of one step, [B, H] or [R, B, H].

    Returns:
        v = 0, nobody refractory.
    """
    return State(torch.zeros_like(current), torch.zeros_like(current, dtype=torch.int32))
