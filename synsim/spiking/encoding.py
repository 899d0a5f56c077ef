"""Images as spikes: Poisson rates, regular rates, latencies, and spikes that are given.

Pixels lie in [0, 1]; times are in ms, rates in Hz.
"""

import math

import numpy as np
import torch
from torch import Tensor

from synsim._checks import require, whole
from synsim._doors import typed
from synsim.kernels.dispatch import compiled
from synsim.spiking.poisson import drawn_spikes, fused_spikes, probability_of, range_of, steps_of
from synsim.synapses.addressed import Addressed, rows_of, transformed

CURVES = ("linear", "logarithmic")


class Encoder(Addressed):
    """Base of the encoders: images [B, I] or [R, B, I] -> spikes [T, B, I] or [R, T, B, I].

    An encoder draws from streams of its own, at the address that views and meters prescribe: training counts on, an
    evaluation shows the same image the same spikes in the same pass whatever the chunk, and under `expected(net)`
    nothing is drawn. Compiled, it is a break of the graph.

    Attributes:
        steps: T.

    Args:
        window: how long an image is shown, ms.
        dt: time step, ms.
        replicas: R, or None.

    Raises:
        ValueError: if a time is not positive, or the window no multiple of dt.
    """

    @typed
    def __init__(self, *, window: float, dt: float, replicas: int | None = None) -> None:
        super().__init__(replicas)
        self.window, self.dt = float(window), float(dt)
        self.steps = steps_of(window, dt)

    @typed
    def forward(self, x: Tensor) -> Tensor:
        """Encode images.

        Args:
            x: pixels in [0, 1], [B, I] or [R, B, I].

        Returns:
            Spikes (0 or 1) of x's type, [T, B, I] or [R, T, B, I]; with replicas possibly one for all of them,
            [T, B, I].

        Raises:
            ValueError: if the shape does not fit, or a pixel lies outside [0, 1].
        """
        self._require_images(x)
        return self.encode(x)

    @typed
    def encode(self, x: Tensor) -> Tensor:
        """The spikes of images, which `forward` has checked.

        Args:
            x: [B, I] or [R, B, I].

        Returns:
            As `forward`.
        """
        raise NotImplementedError

    def pixels(self, neurons: int) -> int:
        """How long the vector of an image is for so many neurons: each pixel is one.

        Args:
            neurons: of the input population.

        Returns:
            The same number.
        """
        return whole(neurons, "neurons")

    def _require_images(self, x: Tensor) -> None:
        fits = x.ndim == 2 or (x.ndim == 3 and self.replicas is not None and x.shape[0] == self.replicas)
        allowed = "[B, I]" if self.replicas is None else f"[B, I] or [{self.replicas}, B, I]"
        require(fits, f"an encoder expects images of shape {allowed}, got {list(x.shape)}. Flatten them first.")
        require(x.shape[-2] > 0, f"expected at least one image, got a tensor of shape {list(x.shape)}.")
        require(x.is_floating_point(), f"images must hold floats, got {x.dtype}. Scale them to [0, 1] first.")
        if not transformed() and not bool(((x >= 0) & (x <= 1)).all()):
            raise ValueError(f'pixels must lie in [0, 1], got {range_of(x)}. Take images with pixels="unit".')

    def extra_repr(self) -> str:
        """What `print(encoder)` shows inside the brackets.

        Returns:
            Window and step.
        """
        return f"window={self.window:g} ms, dt={self.dt:g} ms"


class PoissonRates(Encoder):
    """Each pixel fires independently in each step, with probability rate · dt · x.

    In the mean field nothing is drawn: each step shows the expected number of spikes, a graded input.

    Args:
        rate: of a pixel of 1, Hz.
        window: how long an image is shown, ms.
        dt: time step, ms.
        replicas: R, or None; each has spikes of its own.

    Raises:
        ValueError: if the rate is negative or above 1 / dt.
    """

    @typed
    def __init__(self, rate: float = 100.0, *, window: float, dt: float, replicas: int | None = None) -> None:
        super().__init__(window=window, dt=dt, replicas=replicas)
        self.rate, self.probability = float(rate), probability_of(rate, dt)

    @typed
    def encode(self, x: Tensor) -> Tensor:
        """The spikes of images.

        Args:
            x: [B, I] or [R, B, I].

        Returns:
            Spikes [T, B, I] or [R, T, B, I]; in the mean field the same probabilities at every step.
        """
        self._require_images(x)
        p = x.detach().double() * self.probability
        if self.address.mean:
            return p.to(x.dtype).unsqueeze(-3).expand(*x.shape[:-2], self.steps, *x.shape[-2:])
        keys, words = self._key_on(self.address.purpose, x.device)
        draw = self.latest_draw if transformed() else self._next()
        # Lesioned copies of one network see the same spikes, which are then made once.
        if x.ndim == 2 and (self.replicas is None or len(set(self.seeds)) == 1):
            return self._spikes(p, x, keys[0], words[0], draw)
        rows = [p if x.ndim == 2 else p[r] for r in range(len(words))]
        return torch.stack([self._spikes(row, x, keys[r], words[r], draw) for r, row in enumerate(rows)])

    def _spikes(self, p: Tensor, x: Tensor, key: Tensor, words: np.ndarray, draw: int) -> Tensor:
        first = self.address.example
        if not transformed() and compiled(x):
            return fused_spikes(p, words, first, draw, self.steps, x.dtype)
        return drawn_spikes(p, key, first + rows_of(x, p.shape[-2]), draw, self.steps).to(x.dtype)

    def extra_repr(self) -> str:
        """What `print(encoder)` shows inside the brackets.

        Returns:
            Rate, window and step.
        """
        return f"rate={self.rate:g} Hz, {super().extra_repr()}"


class RegularRates(Encoder):
    """Each pixel fires at equal intervals: in step t where ⌊(t + 1) r + ½⌋ > ⌊t r + ½⌋ with r = rate · dt · x.

    Args:
        rate: of a pixel of 1, Hz.
        window: how long an image is shown, ms.
        dt: time step, ms.
        replicas: R, or None; all see the same spikes.

    Raises:
        ValueError: if the rate is negative or above 1 / dt.
    """

    @typed
    def __init__(self, rate: float = 100.0, *, window: float, dt: float, replicas: int | None = None) -> None:
        super().__init__(window=window, dt=dt, replicas=replicas)
        self.rate, self.probability = float(rate), probability_of(rate, dt)

    def idle(self) -> bool:
        """Whether a pass would draw nothing: these spikes follow from the image.

        Returns:
            True.
        """
        return True

    @typed
    def encode(self, x: Tensor) -> Tensor:
        """The spikes of images.

        Args:
            x: [B, I] or [R, B, I].

        Returns:
            Spikes [T, B, I] or [R, T, B, I].
        """
        self._require_images(x)
        per_step = (x.detach().double() * self.probability).unsqueeze(-3)
        edges = torch.arange(self.steps + 1, dtype=torch.float64, device=x.device).reshape(-1, 1, 1)
        # The margin keeps r = 1/n, which has no exact number, from losing a spike to rounding.
        return ((edges * per_step + 0.5 + 1e-9).floor().diff(dim=-3) > 0).to(x.dtype)


class Latency(Encoder):
    """Each pixel fires once, the brighter the earlier; a pixel of 0 never.

    "linear": at (1 − x) · latest. "logarithmic": when a membrane of time constant τ under the constant input x reaches
    θ: at τ ln(x / (x − θ)), never if x ≤ θ.

    Args:
        window: how long an image is shown, ms; what would come later does not come.
        dt: time step, ms.
        curve: "linear" or "logarithmic".
        latest: latency of the darkest pixel of the linear curve, ms; None: the last step of the window.
        tau: τ of the logarithmic curve, ms.
        threshold: θ of the logarithmic curve, in (0, 1).
        replicas: R, or None; all see the same spikes.

    Raises:
        ValueError: if the curve is unknown, or a constant does not fit.
    """

    @typed
    def __init__(
        self,
        *,
        window: float,
        dt: float,
        curve: str = "linear",
        latest: float | None = None,
        tau: float = 10.0,
        threshold: float = 0.1,
        replicas: int | None = None,
    ) -> None:
        super().__init__(window=window, dt=dt, replicas=replicas)
        require(curve in CURVES, f"curve must be one of {', '.join(CURVES)}, got {curve!r}.")
        require(latest is None or 0 < latest < math.inf, f"latest must be a positive time in ms, got {latest}.")
        require(0 < tau < math.inf, f"tau must be a positive time in ms, got {tau}.")
        require(
            curve != "logarithmic" or self.dt <= tau,
            f"dt must not be longer than tau = {tau:g} ms, got dt = {self.dt:g} ms. Take a smaller step.",
        )
        require(0 < threshold < 1, f"threshold must lie in (0, 1), got {threshold}.")
        self.curve, self.tau, self.threshold = curve, float(tau), float(threshold)
        self.latest = (self.steps - 1) * self.dt if latest is None else float(latest)

    def idle(self) -> bool:
        """Whether a pass would draw nothing: these spikes follow from the image.

        Returns:
            True.
        """
        return True

    @typed
    def encode(self, x: Tensor) -> Tensor:
        """The spikes of images.

        Args:
            x: [B, I] or [R, B, I].

        Returns:
            Spikes [T, B, I] or [R, T, B, I].
        """
        self._require_images(x)
        value = x.detach().double()
        if self.curve == "linear":
            at = (1 - value) * self.latest
            fires = value > 0
        else:
            fires = value > self.threshold
            at = self.tau * (value / torch.where(fires, value - self.threshold, 1.0)).log()
        step = (at / self.dt).round()
        steps = torch.arange(self.steps, dtype=torch.float64, device=x.device).reshape(-1, 1, 1)
        return ((step.unsqueeze(-3) == steps) & fires.unsqueeze(-3)).to(x.dtype)


class GivenSpikes(Encoder):
    """Spike trains in place of images: vectors of T · I entries of 0 and 1, all neurons of the first step first.

    These are the spike trains [N, T, I] of a data set, as its tasks of `pixels="unit"` flatten them. Nothing is drawn.

    Args:
        window: how long a train is, ms.
        dt: time step, ms.
        replicas: R, or None; all see the same spikes.
    """

    def idle(self) -> bool:
        """Whether a pass would draw nothing: the spikes are given.

        Returns:
            True.
        """
        return True

    def pixels(self, neurons: int) -> int:
        """How long the vector of a spike train is for so many neurons.

        Args:
            neurons: of the input population.

        Returns:
            T times their number.
        """
        return self.steps * whole(neurons, "neurons")

    @typed
    def encode(self, x: Tensor) -> Tensor:
        """The spikes themselves, time before the examples.

        Args:
            x: [B, T · I] or [R, B, T · I], 0 or 1.

        Returns:
            Spikes [T, B, I] or [R, T, B, I].

        Raises:
            ValueError: if the vectors are not of T steps, or hold anything else.
        """
        self._require_images(x)
        require(
            x.shape[-1] % self.steps == 0 and x.shape[-1] > 0,
            f"spike trains of {self.steps} steps must be vectors of {self.steps} · neurons entries, got "
            f"{x.shape[-1]}. Give the encoder their window and dt.",
        )
        if not transformed() and not bool(((x == 0) | (x == 1)).all()):
            raise ValueError(
                "spikes must be 0 or 1, got other values. Images need an encoder that makes spikes of them."
            )
        trains: Tensor = x.detach().unflatten(-1, (self.steps, -1))
        return trains.transpose(-2, -3)
