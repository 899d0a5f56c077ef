"""Learning when to fail: the step of expected strengths and release probabilities as a torch Optimizer.

Source: Schug, Benzing & Steger 2021, eq. 4.3 to 4.5, in the order in which the published code applies them.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from synsim import kernels
from synsim._checks import Number, constant, require
from synsim.kernels import Constants
from synsim.networks import replicas_of
from synsim.synapses import StochasticLayer, synapses

BOUNDS = ("soft", "hard")
_IN_TABLE = ("lr", "weight_decay", "p_up", "p_down", "g_lim", "p_min", "p_max")


def probability_step(
    p: Tensor,
    gradient: Tensor,
    *,
    p_up: float | Tensor,
    p_down: float | Tensor,
    g_lim: float | Tensor,
    p_min: float | Tensor = 0.25,
    p_max: float | Tensor = 1.0,
    p_freeze: float | Tensor | None = None,
    bounds: str = "soft",
) -> Tensor:
    """Release probabilities after one step (eq. 4.4, 4.7).

    With soft bounds, as the published constants were tuned,
    p ← clamp(p + (p_max − p) · Δ) with Δ = p_up where |g| ≥ g_lim, else −p_down. With hard bounds, as the equation is
    printed, p ← clamp(p + Δ) with Δ = p_up where |g| > g_lim, else −p_down. Where p ≥ p_freeze nothing moves.

    Args:
        p: release probabilities, any shape.
        gradient: gradient of the task's loss with respect to the expected strengths, mask and 1 / p included.
        p_up: step up.
        p_down: step down.
        g_lim: size of the gradient that decides.
        p_min: lower bound.
        p_max: upper bound.
        p_freeze: probability from which a synapse is consolidated; None: never.
        bounds: "soft" or "hard".

    Returns:
        The new release probabilities, like `p`.

    Raises:
        ValueError: if `bounds` is unknown.
    """
    require(bounds in BOUNDS, f"bounds must be one of {', '.join(BOUNDS)}, got {bounds!r}.")
    low, high, up, down = (
        torch.as_tensor(value, dtype=p.dtype, device=p.device) for value in (p_min, p_max, p_up, p_down)
    )
    size = gradient.abs()
    grows = size >= g_lim if bounds == "soft" else size > g_lim
    step = torch.where(grows, up, -down)
    if bounds == "soft":
        step = step * (high - p)
    if p_freeze is not None:
        step = torch.where(p >= p_freeze, torch.zeros_like(step), step)
    return torch.minimum(torch.maximum(p + step, low), high)


class PresynapticSGD(Optimizer):
    """Gradient descent on expected strengths, and the metaplasticity of release probabilities.

    One step on a synapse with gradient g (mask and 1 / p are in it; an unreleased synapse has g = 0):

    1. D = g, times (p_max − p) if `modulate_lr`, plus weight_decay · w̄, plus the penalty's gradient;
    2. w̄ ← w̄ − lr · D;
    3. p ← `probability_step(p, g)`, with the p that step 1 saw.

    Decay and penalty never enter step 3. A weight whose `.grad` is None keeps w̄ and p. Parameters without a release
    probability (biases, plain layers) move by gradient descent at `lr` without decay, unless `train_bias=False`.
    In a layer with a buffer `ghost` (`synsim.controls`) p is that ghost, and the release probability stays.

    Args:
        net: a module with stochastic layers.
        lr: learning rate η. This and every other constant may be a number or one number per replica ([R]).
        p_up: step up of the release probability.
        p_down: step down.
        g_lim: size of the gradient, |g|, from which the release probability grows.
        p_min: lower bound of p.
        p_max: upper bound of p.
        p_freeze: release probability from which p is kept for good; None: never.
        modulate_lr: scale the gradient by (p_max − p) (eq. 4.5), so that reliable synapses are consolidated.
        plastic: False keeps all release probabilities.
        bounds: "soft" scales the p-step by (p_max − p), as the published code does; "hard" is the printed equation.
        weight_decay: ρ; adds ρ · w̄ to the gradient (penalty ρ / 2 · w̄²).
        train_bias: whether parameters without a release probability move.

    Raises:
        ValueError: if a constant is negative, not finite or of the wrong shape, if p_min > p_max, or if the network
            has no stochastic layer.
    """

    def __init__(
        self,
        net: nn.Module,
        lr: Number,
        *,
        p_up: Number,
        p_down: Number,
        g_lim: Number,
        p_min: Number = 0.25,
        p_max: Number = 1.0,
        p_freeze: Number | None = None,
        modulate_lr: bool = False,
        plastic: bool = True,
        bounds: str = "soft",
        weight_decay: Number = 0.0,
        train_bias: bool = True,
    ) -> None:
        layers = synapses(net)
        require(bool(layers), "expected a network with stochastic layers, got none. Use a torch optimiser for it.")
        require(bounds in BOUNDS, f"bounds must be one of {', '.join(BOUNDS)}, got {bounds!r}.")
        replicas = replicas_of(net)
        settings: dict[str, Any] = {
            "lr": constant(lr, "lr", replicas),
            "p_up": constant(p_up, "p_up", replicas, high=1.0),
            "p_down": constant(p_down, "p_down", replicas, high=1.0),
            "g_lim": constant(g_lim, "g_lim", replicas),
            "p_min": constant(p_min, "p_min", replicas, low=1e-6, high=1.0),
            "p_max": constant(p_max, "p_max", replicas, low=1e-6, high=1.0),
            "p_freeze": None if p_freeze is None else constant(p_freeze, "p_freeze", replicas),
            "weight_decay": constant(weight_decay, "weight_decay", replicas),
            "modulate_lr": bool(modulate_lr),
            "plastic": bool(plastic),
            "bounds": bounds,
            "train_bias": bool(train_bias),
        }
        low, high = torch.as_tensor(settings["p_min"]), torch.as_tensor(settings["p_max"])
        require(
            bool((low <= high).all()),
            f"p_min must not exceed p_max, got {low.tolist()} and {high.tolist()}.",
        )
        self._replicas = replicas
        owners = {id(layer.weight): layer for layer in layers.values()}
        named = list(net.named_parameters())
        self._layers: dict[str, StochasticLayer] = {
            name: owners[id(parameter)] for name, parameter in named if id(parameter) in owners
        }
        self._others = {name: parameter for name, parameter in named if id(parameter) not in owners}
        super().__init__([parameter for _, parameter in named], settings)
        self._table: tuple[list[Any], Tensor] | None = None
        self._kept: list[Any] = []

    @torch.no_grad()
    def step(  # type: ignore[override]
        self,
        closure: Callable[[], float] | Mapping[str, Tensor] | None = None,
        *,
        penalty: Mapping[str, Tensor] | None = None,
    ) -> float | None:
        """Move expected strengths and release probabilities.

        Args:
            closure: computes the loss anew, as for every torch optimiser. (A mapping given here is the penalty.)
            penalty: gradients of a penalty, keyed like `named_parameters()`; added outside mask and modulation.

        Returns:
            The closure's loss, or None.

        Raises:
            ValueError: if the penalty names an unknown parameter or has another shape.
        """
        if isinstance(closure, Mapping):
            closure, penalty = None, closure
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        penalty = penalty or {}
        self._check(penalty)
        group = self.param_groups[0]
        constants = Constants(self._constants(group), group["plastic"], group["bounds"] == "hard")
        for name, layer in self._layers.items():
            weight = layer.weight
            gradient = weight.grad
            if gradient is not None:
                p, arrays = _learned(layer)
                kernels.learn(weight.detach(), p, gradient, penalty.get(name), constants, arrays)
        if group["train_bias"]:
            for name, parameter in self._others.items():
                if parameter.grad is not None:
                    gradient = parameter.grad if name not in penalty else parameter.grad + penalty[name]
                    _descend(parameter, gradient, group["lr"])
        return loss

    def _constants(self, group: dict[str, Any]) -> Tensor:
        device = next(iter(self._layers.values())).weight.device
        freeze = 2.0 if group["p_freeze"] is None else group["p_freeze"]
        values = [*(group[name] for name in _IN_TABLE), freeze, float(group["modulate_lr"])]
        # Schedules may change a constant at any time, a tensor even in place; the table is made again when one has.
        now = [(id(v), v._version) if isinstance(v, Tensor) else v for v in values]
        if self._table is None or self._table[0] != now or self._table[1].device != device:
            rows = [torch.as_tensor(value, dtype=torch.float64).expand(self._replicas or 1) for value in values]
            # The values are kept, so that none of their identities can pass to another tensor.
            self._kept = values
            self._table = (now, torch.stack([row.cpu() for row in rows]).contiguous().to(device))
        return self._table[1]

    def _check(self, penalty: Mapping[str, Tensor]) -> None:
        for name, tensor in penalty.items():
            layer = self._layers.get(name)
            parameter = layer.weight if layer is not None else self._others.get(name)
            if parameter is None:
                raise ValueError(
                    f"the penalty names {name!r}, which this network has not; "
                    f"expected names among {sorted([*self._layers, *self._others])}."
                )
            if tensor.shape != parameter.shape:
                raise ValueError(
                    f"the penalty of {name!r} must have shape {list(parameter.shape)}, got {list(tensor.shape)}."
                )


def _learned(layer: StochasticLayer) -> tuple[Tensor, kernels.Arrays | None]:
    # The probabilities that move, and the views kept of them: the layer keeps those of its release probabilities.
    ghost = layer._buffers.get("ghost")
    return (layer.p, layer.stream.arrays) if ghost is None else (ghost, None)


def _descend(parameter: Tensor, gradient: Tensor, lr: float | Tensor) -> None:
    if isinstance(lr, Tensor) and lr.ndim == 1:
        lr = lr.to(parameter).reshape(-1, *[1] * (parameter.ndim - 1))
        parameter.sub_(lr * gradient)
    else:
        parameter.sub_(gradient, alpha=float(lr))
