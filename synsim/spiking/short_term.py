"""Short-term plasticity: depression and facilitation of release, by Tsodyks and Markram."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from synsim._checks import require
from synsim._doors import check_fields, typed
from synsim.spiking.neurons import check_spikes, decay


@dataclass(frozen=True)
class ShortTerm:
    """Tsodyks-Markram depression and facilitation, per presynaptic neuron, in its mean field.

    At a spike u⁺ = u + U (1 − u), the fraction u⁺ x is released, and x ← x (1 − u⁺), u ← u⁺; between spikes u → 0 with
    τ_f and x → 1 with τ_d. A rested synapse releases U, so its release probability p is scaled by u⁺ x / U: p stays
    what learning moves, and is the probability after a long pause. u and x follow the spikes, not the releases (their
    mean; a stochastic synapse whose own sites run empty would differ by the correlation of u and x).

    In release per spike the probability of a spike is p · factor, at most 1; a facilitated synapse whose p · factor
    would exceed 1 therefore transmits less than w̄ · factor. In the other scopes the input is scaled by the factor. No
    gradient passes through u and x.

    Args:
        U: fraction released by a rested synapse, in (0, 1].
        tau_facilitation: τ_f, ms; 0: no facilitation (u⁺ = U).
        tau_depression: τ_d, ms; 0: no depression (x = 1).

    Raises:
        ValueError: if U lies outside (0, 1], or a time is negative.

    Source:
        Tsodyks & Markram 1997, PNAS 94: 719-723; Tsodyks, Pawelzik & Markram 1998, Neural Computation 10: 821-835.
    """

    U: float = 0.5
    tau_facilitation: float = 0.0
    tau_depression: float = 200.0

    def __post_init__(self) -> None:
        check_fields(self)
        require(0 < self.U <= 1, f"U must lie in (0, 1], got {self.U}.")
        for value, name in ((self.tau_facilitation, "tau_facilitation"), (self.tau_depression, "tau_depression")):
            require(0 <= value < math.inf, f"{name} must be a time of at least 0 ms, got {value}.")

    @typed
    def decays(self, dt: float) -> tuple[float, float]:
        """exp(−dt / τ) of facilitation and depression.

        Args:
            dt: time step, ms.

        Returns:
            The factors by which u, and 1 − x, decay in a step; 0 where the time constant is.

        Raises:
            ValueError: if dt is not positive, or longer than a time constant that is not 0.
        """
        require(0 < dt < math.inf, f"dt must be a positive, finite time in ms, got {dt}.")
        f, d = self.tau_facilitation, self.tau_depression
        return decay(f, dt, "tau_facilitation") if f > 0 else 0.0, decay(d, dt, "tau_depression") if d > 0 else 0.0

    @typed
    def factors(self, spikes: Tensor, dt: float) -> Tensor:
        """By how much the release probability is scaled, u⁺ x / U, for a spike at each step were there one.

        Args:
            spikes: 0 or 1, [T, B, I] or [R, T, B, I].
            dt: time step, ms.

        Returns:
            A tensor like the spikes; 1 before the first spike.

        Raises:
            ValueError: if dt is not positive, or longer than a time constant that is not 0, or the spikes are none.
        """
        check_spikes(spikes)
        return self._factors(spikes, dt)

    def _factors(self, spikes: Tensor, dt: float) -> Tensor:
        fired = spikes.detach()
        traces = Traces(self, dt, fired.select(-3, 0))
        out = torch.empty_like(fired, memory_format=torch.contiguous_format)
        for t in range(fired.shape[-3]):
            out.select(-3, t).copy_(traces.factor())
            traces.after(fired.select(-3, t))
        return out

    @typed
    def steady(self, interval: float) -> tuple[float, float]:
        """Closed form for a regular train.

        Args:
            interval: between spikes, ms.

        Returns:
            u⁺ and x at a spike; the factor is u⁺ x / U.

        Raises:
            ValueError: if the interval is not positive.
        """
        require(0 < interval < math.inf, f"interval must be a positive, finite time in ms, got {interval}.")
        f, d = (math.exp(-interval / t) if t > 0 else 0.0 for t in (self.tau_facilitation, self.tau_depression))
        u = self.U / (1 - (1 - self.U) * f)
        return u, (1 - d) / (1 - (1 - u) * d)


class Traces:
    """u and x of a population, step by step.

    Args:
        short_term: the constants.
        dt: time step, ms.
        like: spikes of one step, [B, I] or [R, B, I].
    """

    def __init__(self, short_term: ShortTerm, dt: float, like: Tensor) -> None:
        self._down, self._fraction = short_term.decays(dt), short_term.U
        self._u, self._x = torch.zeros_like(like), torch.ones_like(like)

    def factor(self) -> Tensor:
        """By how much the release probability is scaled at this step, were there a spike.

        Returns:
            u⁺ x / U, like the spikes of a step.
        """
        self._up = self._u + self._fraction * (1 - self._u)
        self._released = self._up * self._x
        return self._released / self._fraction

    def after(self, spikes: Tensor) -> None:
        """What happens at the spikes of the step whose factor was asked for, then until the next step.

        Args:
            spikes: of this step.
        """
        self._u = torch.lerp(self._u, self._up, spikes) * self._down[0]
        self._x = 1 - (1 - (self._x - self._released * spikes)) * self._down[1]
