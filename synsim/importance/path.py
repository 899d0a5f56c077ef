"""Importances accumulated along the path of training: synaptic intelligence and its relatives."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from synsim import _checks
from synsim._checks import finite, require, whole
from synsim._doors import explained, held, shown, typed
from synsim._names import named_parameters
from synsim.curvature import wide
from synsim.importance.base import Importance, Step, Tensors
from synsim.networks import replicas_of


class Accumulated(Importance):
    """What accumulating importances share: the window of steps, the decay, rescaling, and their state.

    Args:
        window: first step and step after the last (None: to the end) that count, such as (2340, None).
        decay: d of a moving average v ← d · v + (1 − d) · term; None: the plain sum.
        rescale: divide by the squared displacement over the task, (w_T − w_0)² + ξ (Zenke et al. 2017; eq. 3.6).
        xi: ξ; 0.1 on MNIST and 0.001 on CIFAR in Benzing 2022.
        clip: set negative sums to 0.
        cap: upper bound of the importance, or None.
    """

    accumulated = True

    @typed
    def __init__(
        self,
        *,
        window: tuple[int, int | None] = (0, None),
        decay: float | None = None,
        rescale: bool = True,
        xi: float = 0.1,
        clip: bool = True,
        cap: float | None = None,
    ) -> None:
        first, last = window
        first = whole(first, "window[0]", 0)
        last = None if last is None else whole(last, "window[1]", 0)
        window = (first, last)
        require(
            last is None or last > first,
            f"window must be (first step, step after the last), got {window}.",
        )
        require(decay is None or 0 <= decay < 1, f"decay must lie in [0, 1), got {decay!r}.")
        require(xi > 0, f"xi must be positive, got {xi!r}.")
        require(cap is None or cap > 0, f"cap must be positive, got {cap!r}.")
        self.window, self.decay, self.rescale, self.xi, self.clip, self.cap = window, decay, rescale, xi, clip, cap
        self._sum: dict[str, Tensor] = {}
        self._first: dict[str, Tensor] = {}
        self._net: nn.Module | None = None

    def wants(self, index: int) -> frozenset[str]:
        """Which of `needs` a step of this index needs: none outside of the window.

        Args:
            index: number of the step within its task.

        Returns:
            A subset of `needs`.
        """
        return self.needs if self._inside(_checks.index(index, "index")) else frozenset()

    def _inside(self, index: int) -> bool:
        return self.window[0] <= index and (self.window[1] is None or index < self.window[1])

    @typed
    def start(self, net: nn.Module) -> None:
        """Begin a task: forget the sums, and take the parameters as the start of the path.

        Args:
            net: the network at the start of the task, after any re-initialisation.
        """
        self._net = net
        self._first = {name: p.detach().clone() for name, p in named_parameters(net) if p.requires_grad}
        self._sum = {name: torch.zeros_like(wide(value)) for name, value in self._first.items()}

    @explained
    def observe(self, net: nn.Module, step: Step) -> None:
        """Take in one training step.

        Args:
            net: the network after the step.
            step: what happened.

        Raises:
            ValueError: if the step has gradients or parameters of another network, or lacks a gradient it needs.
        """
        held(net, nn.Module, "net"), held(step, Step, "step")
        require(bool(self._sum), f"{self.name}: call start before observe.")
        self._net = net
        if not self._inside(step.index):
            return
        for kind in self.wants(step.index):
            require(kind in step.extra, f"{self.name} needs the {kind} gradient in Step.extra[{kind!r}], got none.")
        for kind, tensors in {"gradient": step.gradient, "delta": step.delta, **step.extra}.items():
            for name, value in tensors.items():
                known = self._sum.get(name)
                if known is None or known.shape != value.shape:
                    self._refuse_step(kind, name, value)
        if self.decay is not None:
            for total in self._sum.values():
                total.mul_(self.decay)
        self.add(step, 1.0 if self.decay is None else 1 - self.decay)

    def _refuse_step(self, kind: str, name: str, value: Tensor) -> None:
        expected = list(self._sum[name].shape) if name in self._sum else "no such parameter"
        raise ValueError(
            f"{self.name}: the step has a {kind} of {name!r} of shape {list(value.shape)}, the network given to start "
            f"has {expected}. Call start with the network that is trained."
        )

    @explained
    def add(self, step: Step, weight: float) -> None:
        """Add the term of one step to the sums.

        Args:
            step: what happened.
            weight: factor of the term.
        """
        raise NotImplementedError

    @property
    def sums(self) -> dict[str, Tensor]:
        """The sums as they stand: raw, before clipping, rescaling and cap."""
        return dict(self._sum)

    def value(self) -> dict[str, Tensor]:
        """The importances: clipped, rescaled by the displacement so far, capped.

        Returns:
            Parameter name -> importance, shaped like the parameter.

        Raises:
            NotFiniteError: if a sum is not finite; the message names the parameter.
            ValueError: if nothing was started.
        """
        require(self._net is not None, f"{self.name}: call start before value.")
        assert self._net is not None
        parameters = dict(named_parameters(self._net))
        sums, found = self.sums, {}
        finite(sums, f"{self.name}: gradients on the way", replicas_of(self._net))
        for name, total in sums.items():
            result = total.clamp(min=0) if self.clip else total.clone()
            if self.rescale:
                result /= (wide(parameters[name].detach()) - wide(self._first[name])).square_().add_(self.xi)
            found[name] = result if self.cap is None else result.clamp(max=self.cap)
        return found

    def state_dict(self) -> dict[str, Any]:
        """Sums and start of the path.

        Returns:
            Name -> tensor.
        """
        parts = {"sum": self._sum, "first": self._first}
        return {f"{part}/{name}": value for part, values in parts.items() for name, value in values.items()}

    @typed
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state; call `start` first, so that the network is known.

        Args:
            state: of `state_dict`.

        Raises:
            ValueError: if the state is of another network.
        """
        require(self._net is not None, f"{self.name}: call start before load_state_dict.")
        mine = self.state_dict()
        require(mine.keys() == state.keys(), f"{self.name}: the state is of another network or importance.")
        for name, value in state.items():
            fits = isinstance(value, Tensor) and value.shape == mine[name].shape and value.is_floating_point()
            require(
                fits and value.layout == torch.strided and not value.is_meta,
                f"{self.name}: {name!r} must be a tensor of floats, of shape {list(mine[name].shape)}, "
                f"got {shown(value)}.",
            )
        for name, value in state.items():
            mine[name].copy_(value)


class SI(Accumulated):
    """Synaptic intelligence: Σ_t −ĝ_t Δ_t, with ĝ the gradient of the batch that the step used (Zenke et al. 2017).

    Since Δ_t depends on ĝ_t, the sum overestimates the drop of the loss (Benzing 2022, section 3.4). Options as for
    every accumulated importance; cost: one product per parameter and step.
    """

    name = "si"

    @explained
    def add(self, step: Step, weight: float) -> None:
        """Add −ĝ Δ.

        Args:
            step: what happened.
            weight: factor of the term.
        """
        _subtract(self._sum, step.gradient, step.delta, weight)


class UnbiasedSI(Accumulated):
    """SI without its bias, SIU: Σ_t −ĝ'_t Δ_t, with ĝ' the gradient of an independent batch at the same w_t.

    Source: Benzing 2022, section 3.4. Cost: a second batch per step.
    """

    name = "si-unbiased"
    needs = frozenset({"independent"})

    @explained
    def add(self, step: Step, weight: float) -> None:
        """Add −ĝ' Δ.

        Args:
            step: what happened.
            weight: factor of the term.
        """
        _subtract(self._sum, step.extra["independent"], step.delta, weight)


class BiasSI(Accumulated):
    """The bias of SI alone, SIB: Σ_t −(ĝ_t − ĝ'_t) Δ_t (Benzing 2022, section 3.4). Cost: a second batch per step."""

    name = "si-bias"
    needs = frozenset({"independent"})

    @explained
    def add(self, step: Step, weight: float) -> None:
        """Add −(ĝ − ĝ') Δ.

        Args:
            step: what happened.
            weight: factor of the term.
        """
        _subtract(self._sum, step.gradient, step.delta, weight)
        _subtract(self._sum, step.extra["independent"], step.delta, -weight)


class PathIntegral(Accumulated):
    """Path integral of the full gradient: Σ −g_t (w_{t+n} − w_t), with g over the whole training set every n steps.

    Summed over all parameters it approximates the drop of the loss, L(0) − L(T). Cost: a pass over the training set
    every `every` steps.

    Args:
        every: n.
        window: as for every accumulated importance, and so are the others; there is no decay.
        rescale: whether sums are divided by the squared way of the parameter plus ξ.
        xi: ξ.
        clip: set negative sums to 0.
        cap: upper bound of the importance, or None.
    """

    name = "path-integral"
    needs = frozenset({"full"})

    def __init__(
        self,
        *,
        every: int = 1,
        window: tuple[int, int | None] = (0, None),
        rescale: bool = True,
        xi: float = 0.1,
        clip: bool = True,
        cap: float | None = None,
    ) -> None:
        super().__init__(window=window, rescale=rescale, xi=xi, clip=clip, cap=cap)
        self.every = whole(every, "every")
        self._gradient: dict[str, Tensor] = {}
        self._moved: dict[str, Tensor] = {}

    def wants(self, index: int) -> frozenset[str]:
        """The full gradient, every `every` steps.

        Args:
            index: number of the step within its task.

        Returns:
            {"full"} or nothing.
        """
        wanted = super().wants(index)
        return wanted if (index - self.window[0]) % self.every == 0 else frozenset()

    @typed
    def start(self, net: nn.Module) -> None:
        """Begin a task.

        Args:
            net: the network at the start of the task.
        """
        super().start(net)
        self._gradient = {name: torch.zeros_like(value) for name, value in self._sum.items()}
        self._moved = {name: torch.zeros_like(value) for name, value in self._sum.items()}

    @explained
    def add(self, step: Step, weight: float) -> None:
        """Add −g times the way since g was measured.

        Args:
            step: what happened.
            weight: factor of the term.
        """
        if "full" in self.wants(step.index):
            self._flush()
            for name, value in step.extra["full"].items():
                self._gradient[name].copy_(value)
        for name, value in step.delta.items():
            self._moved[name].add_(value, alpha=weight)

    def _flush(self) -> None:
        _subtract(self._sum, self._gradient, self._moved, 1.0)
        for value in self._moved.values():
            value.zero_()

    @property
    def sums(self) -> dict[str, Tensor]:
        """The sums as they stand, the way since the last full gradient included."""
        return {name: torch.addcmul(total, self._gradient[name], self._moved[name], value=-1)
                for name, total in self._sum.items()}  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        """Sums, start of the path, and what is not yet summed.

        Returns:
            Name -> tensor.
        """
        parts = {"gradient": self._gradient, "moved": self._moved}
        own = {f"{part}/{name}": value for part, values in parts.items() for name, value in values.items()}
        return {**super().state_dict(), **own}


class OnlineAbsoluteFisher(Accumulated):
    """Online absolute Fisher, OnAF: Σ_t |ĝ_t| (Benzing 2020, section 4). Cost: one pass over the gradient per step."""

    name = "online-absolute-fisher"

    @explained
    def add(self, step: Step, weight: float) -> None:
        """Add |ĝ|.

        Args:
            step: what happened.
            weight: factor of the term.
        """
        for name, gradient in step.gradient.items():
            self._sum[name].add_(gradient.abs(), alpha=weight)


def _subtract(sums: dict[str, Tensor], gradient: Tensors, delta: Tensors, weight: float) -> None:
    for name, value in gradient.items():
        sums[name].addcmul_(wide(value), wide(delta[name]), value=-weight)
