"""Short-term plasticity: depression and facilitation of release, by Tsodyks and Markram."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from synsim._checks import require, within
from synsim._doors import check_fields, typed
from synsim.spiking.neurons import check_spikes, decay
from synsim.synapses.depletion import PerSynapse


@dataclass(frozen=True)
class ShortTerm:
    """Tsodyks-Markram depression and facilitation, per presynaptic neuron or per synapse, in its mean field.

    At a spike u⁺ = u + U (1 − u), the fraction u⁺ x is released, and x ← x (1 − u⁺), u ← u⁺; between spikes u → 0 with
    τ_f and x → 1 with τ_d. A rested synapse releases U, so its release probability p is scaled by u⁺ x / U: p stays
    what learning moves, and is the probability after a long pause. u and x follow the spikes, not the releases (their
    mean; a stochastic synapse whose own sites run empty would differ by the correlation of u and x).

    In release per spike the probability of a spike is p · factor, at most 1; a facilitated synapse whose p · factor
    would exceed 1 therefore transmits less than w̄ · factor. In the other scopes the input is scaled by the factor. No
    gradient passes through u and x.

    With a number for U, all synapses of a neuron share its u and x. With U="p", every synapse has its own, and its p
    takes the place of U: reliable synapses depress, unreliable ones facilitate. A spike is then released with
    probability u⁺ x, which never exceeds 1. That costs time and memory per spike and synapse.

    Args:
        U: fraction released by a rested synapse, in (0, 1]; or "p": that of each synapse is its release probability.
        tau_facilitation: τ_f, ms; 0: no facilitation (u⁺ = U).
        tau_depression: τ_d, ms; 0: no depression (x = 1).

    Raises:
        ValueError: if U is neither "p" nor in (0, 1], or a time is negative.

    Source:
        Tsodyks & Markram 1997, PNAS 94: 719-723; Tsodyks, Pawelzik & Markram 1998, Neural Computation 10: 821-835.
    """

    U: float | str = 0.5
    tau_facilitation: float = 0.0
    tau_depression: float = 200.0

    def __post_init__(self) -> None:
        check_fields(self)
        good = self.per_synapse or (not isinstance(self.U, str) and 0 < self.U <= 1)
        require(good, f'U must lie in (0, 1], or be "p", got {self.U!r}.')
        for value, name in ((self.tau_facilitation, "tau_facilitation"), (self.tau_depression, "tau_depression")):
            require(0 <= value < math.inf, f"{name} must be a time of at least 0 ms, got {value}.")

    @property
    def per_synapse(self) -> bool:
        """Whether each synapse has u and x of its own."""
        return self.U == "p"

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
    def factors(self, spikes: Tensor, dt: float, p: Tensor | None = None) -> Tensor:
        """By how much the release probability is scaled, u⁺ x / U, for a spike at each step were there one.

        Args:
            spikes: 0 or 1, [T, B, I] or [R, T, B, I].
            dt: time step, ms.
            p: release probabilities [O, I] or [R, O, I], where U is that of each synapse; else None.

        Returns:
            A tensor like the spikes; 1 before the first spike. Per synapse [T, B, O, I] or [R, T, B, O, I].

        Raises:
            ValueError: if dt is not positive, or longer than a time constant that is not 0, the spikes are none, or p
                is missing, of no use, or of other inputs.
        """
        check_spikes(spikes)
        if not self.per_synapse:
            require(p is None, 'p is for short-term plasticity per synapse. Leave it out, or take ShortTerm(U="p").')
            return self._factors(spikes, dt)
        if p is None or p.shape[-1] != spikes.shape[-1] or p.ndim != spikes.ndim - 1:
            raise ValueError(
                f'with U="p", p must be the release probabilities of {spikes.shape[-1]} inputs, [O, I], or [R, O, I] '
                f"with spikes of replicas, got {None if p is None else list(p.shape)}."
            )
        wide = spikes.detach().unsqueeze(-2).expand(*spikes.shape[:-1], *p.shape[-2:])
        return self._factors(wide, dt, p.detach().unsqueeze(-3), -4)

    def _factors(self, spikes: Tensor, dt: float, fraction: Tensor | None = None, time: int = -3) -> Tensor:
        fired = spikes.detach()
        traces = Traces(self, dt, fired.select(time, 0), fraction)
        out = torch.empty_like(fired, memory_format=torch.contiguous_format)
        for t in range(fired.shape[time]):
            out.select(time, t).copy_(traces.factor())
            traces.after(fired.select(time, t))
        return out

    @typed
    def steady(self, interval: float, p: float | None = None) -> tuple[float, float]:
        """Closed form for a regular train.

        Args:
            interval: between spikes, ms.
            p: of the synapse, where that is U; else None.

        Returns:
            u⁺ and x at a spike; the factor is u⁺ x / U.

        Raises:
            ValueError: if the interval is not positive, or p is missing or of no use.
        """
        require(0 < interval < math.inf, f"interval must be a positive, finite time in ms, got {interval}.")
        f, d = (math.exp(-interval / t) if t > 0 else 0.0 for t in (self.tau_facilitation, self.tau_depression))
        require((p is not None) == self.per_synapse, f'p goes with U="p", and only with it, got U={self.U!r}, p={p}.')
        fraction = float(self.U) if p is None else within(p, "p", "(0, 1]")
        u = fraction / (1 - (1 - fraction) * f)
        return u, (1 - d) / (1 - (1 - u) * d)


def factor_of(short_term: ShortTerm | None, spikes: Tensor, dt: float) -> Tensor | PerSynapse | None:
    """What a layer is given as `factor` for a whole pass.

    Args:
        short_term: short-term plasticity, or None.
        spikes: [T, B, I] or [R, T, B, I].
        dt: time step, ms.

    Returns:
        Factors of rows, [T · B, I] or [R, T · B, I]; decays where each synapse has traces of its own; or None.
    """
    if short_term is None:
        return None
    if short_term.per_synapse:
        return PerSynapse(*short_term.decays(dt))
    return short_term._factors(spikes, dt).flatten(-3, -2)


class Traces:
    """u and x, step by step.

    Args:
        short_term: the constants.
        dt: time step, ms.
        like: spikes of one step, [B, I] or [R, B, I]; or of each synapse.
        fraction: U of each synapse; None: that of the constants.
    """

    def __init__(self, short_term: ShortTerm, dt: float, like: Tensor, fraction: Tensor | None = None) -> None:
        self._down = short_term.decays(dt)
        self._fraction = float(short_term.U) if fraction is None else fraction
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
