"""Learning when to fail: the step of expected strengths and release probabilities as a torch Optimizer.

Source: Schug, Benzing & Steger 2021, eq. 4.3 to 4.5, in the order in which the published code applies them.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from synsim import kernels
from synsim._checks import Number, choice, flag, number, require, tensor
from synsim._doors import explained, shown, typed
from synsim._names import by_own_name
from synsim._optimisers import closed, needs_closure, refuse_scaled
from synsim._rules import Home, Rule, network, per_replica, settable
from synsim.kernels import LEAST_PROBABILITY, Constants
from synsim.synapses import StochasticLayer, synapses
from synsim.synapses.base import living, say_unheard

BOUNDS = ("soft", "hard")
_RANGES = {
    "lr": (0.0, math.inf),
    "weight_decay": (0.0, math.inf),
    "p_up": (0.0, 1.0),
    "p_down": (0.0, 1.0),
    "g_lim": (0.0, math.inf),
    "p_min": (LEAST_PROBABILITY, 1.0),
    "p_max": (LEAST_PROBABILITY, 1.0),
    "p_freeze": (0.0, math.inf),
}
_IN_TABLE = (*_RANGES, "modulate_lr", "plastic", "bounds")


@typed
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
        p: release probabilities, any shape. Constants are numbers, or tensors that broadcast with p, such as [R, 1, 1]
            for one per replica.
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
        ValueError: if `bounds` is unknown, a constant is out of its range, p is no probability, or the gradient is not
            finite or of another shape.
    """
    choice(bounds, "bounds", BOUNDS)
    p, gradient = tensor(p, "p"), tensor(gradient, "gradient")
    require(p.is_floating_point() and bool(((p >= 0) & (p <= 1)).all()), "p must hold probabilities from 0 to 1.")
    require(
        gradient.shape == p.shape and bool(gradient.isfinite().all()),
        f"gradient must be finite and of the shape of p, {list(p.shape)}, got shape {list(gradient.shape)}.",
    )
    given = {"p_up": p_up, "p_down": p_down, "g_lim": g_lim, "p_min": p_min, "p_max": p_max}
    if p_freeze is not None:
        given["p_freeze"] = p_freeze
    at = {name: _within(value, name, gradient if name == "g_lim" else p) for name, value in given.items()}
    require(bool((at["p_min"] <= at["p_max"]).all()), f"p_min must not exceed p_max, got {p_min} and {p_max}.")
    size = gradient.abs()
    grows = size >= at["g_lim"] if bounds == "soft" else size > at["g_lim"]
    step = torch.where(grows, at["p_up"], -at["p_down"])
    if bounds == "soft":
        step = step * (at["p_max"] - p)
    if p_freeze is not None:
        step = torch.where(p >= at["p_freeze"], torch.zeros_like(step), step)
    return torch.minimum(torch.maximum(p + step, at["p_min"]), at["p_max"])


def _within(value: float | Tensor, what: str, like: Tensor) -> Tensor:
    # A constant in its range, as a tensor that broadcasts with p or the gradient.
    low, high = _RANGES[what]
    found = tensor(value, what)
    require(found.numel() > 0 and not found.is_complex() and found.dtype != torch.bool, f"{what} must hold numbers.")
    for extreme in (found.amin(), found.amax()):
        number(extreme, what, low=low, high=high)
    sizes = zip(reversed(found.shape), reversed(like.shape), strict=False)
    require(
        found.ndim <= like.ndim and all(size in (1, whole) for size, whole in sizes),
        f"{what} must be a number or broadcast with p of shape {list(like.shape)}, got {list(found.shape)}.",
    )
    return found.to(like)


class PresynapticSGD(Rule):
    """Gradient descent on expected strengths, and the metaplasticity of release probabilities.

    One step on a synapse with gradient g (mask and 1 / p are in it; an unreleased synapse has g = 0):

    1. D = g, times (p_max − p) if `modulate_lr`, plus weight_decay · w̄, plus the penalty's gradient;
    2. w̄ ← w̄ − lr · D;
    3. p ← `probability_step(p, g)`, with the p that step 1 saw.

    Decay and penalty never enter step 3. A weight whose `.grad` is None keeps w̄ and p. Parameters without a release
    probability (biases, plain layers) move by gradient descent at `lr` without decay, unless `train_bias=False`.
    In a layer with a buffer `ghost` (`synsim.controls`) p is that ghost, and the release probability stays.

    Handled as every torch optimiser: constants stand in `param_groups`, where schedules and edits reach them (what was
    given here is copied); one number per replica is a tensor that torch's schedulers scale as they would a number.
    `add_param_group` takes further modules or parameters, with constants of their own; a copy or pickle holds a copy of
    the network, unless both are copied together. The rule sees the gradients as they are: clipped, accumulated over
    several passes (each with its mask), or unscaled by a GradScaler, whose skipped steps move nothing. After
    `zero_grad(set_to_none=False)` a head that was not used has gradient 0 rather than none, and its p falls.

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
        TypeError: if `net` is not a module, such as `net.parameters()`.
        ValueError: if a constant is negative, not finite or of the wrong shape, if p_min > p_max, if the network has no
            stochastic layer, or one whose weight is re-parametrised (prune, weight_norm) or shared by several.
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
        require(
            bool(synapses(network(net, type(self).__name__))),
            "expected a network with stochastic layers, got none. Use a torch optimiser for it.",
        )
        self._tables: dict[int, _Table] = {}
        super().__init__(
            net,
            {
                "lr": lr,
                "p_up": p_up,
                "p_down": p_down,
                "g_lim": g_lim,
                "p_min": p_min,
                "p_max": p_max,
                "p_freeze": p_freeze,
                "weight_decay": weight_decay,
                "modulate_lr": modulate_lr,
                "plastic": plastic,
                "bounds": bounds,
                "train_bias": train_bias,
            },
        )

    _looked = False
    """Whether the layers were looked at, in the first step, for weights that are used without a release."""

    def _settings(self, settings: dict[str, Any]) -> dict[str, Any]:
        found = {**settings, "bounds": choice(settings["bounds"], "bounds", BOUNDS)}
        found.update({name: flag(settings[name], name) for name in ("modulate_lr", "plastic", "train_bias")})
        for name, (low, high) in _RANGES.items():
            if name != "p_freeze" or settings[name] is not None:
                found[name] = per_replica(settings[name], name, self._replicas, low=low, high=high)
        least, most = torch.as_tensor(found["p_min"], device="cpu"), torch.as_tensor(found["p_max"], device="cpu")
        require(
            bool((least <= most).all()),
            f"p_min must not exceed p_max, got {least.tolist()} and {most.tolist()}.",
        )
        return found

    def _fits(self, home: Home, owners: Sequence[StochasticLayer], group: Mapping[str, Any]) -> None:
        if not owners:
            _refuse_leaf(home)
            return
        require(
            owners[0].replicas == self._replicas,
            f"the layer of {home.name!r} has replicas={owners[0].replicas}, the network of this rule "
            f"replicas={self._replicas}. Build all layers with the same replicas.",
        )
        apart = any(layer.learned is not owners[0].learned for layer in owners)
        require(
            not apart or not (group["plastic"] or group["modulate_lr"]),
            f"{home.name!r} is the weight of {len(owners)} layers, each with release probabilities of its own: one "
            "gradient can't tell whose releases it came from. Share p as well (b.p = a.p), or use plastic=False and "
            "modulate_lr=False.",
        )

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Go on from a copy, a pickle, or a `state_dict`.

        Args:
            state: attribute -> value.
        """
        super().__setstate__(state)
        self._tables = {}

    @torch.no_grad()
    @explained
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
            ValueError: if the penalty names an unknown parameter or has another shape, a constant in `param_groups` is
                out of its range, or a layer has got another weight.
        """
        if isinstance(closure, Mapping):
            require(penalty is None, "expected one penalty, got two: give it by its name, step(penalty=...).")
            closure, penalty = None, closure
        loss = None
        if closure is not None:
            require(callable(closure), f"closure must be something to call, got {shown(closure)}.")
            with torch.enable_grad():
                loss = closure()
        penalty = self._checked({} if penalty is None else penalty)
        if not self._looked:
            self._looked = True
            say_unheard(synapses(self._net))
        homes = self._homes
        for index, group in enumerate(self.param_groups):
            constants: Constants | None = None
            for parameter in group["params"]:
                gradient = parameter.grad
                if gradient is None:
                    continue
                home = homes.get(id(parameter)) or self._home(parameter, group)
                layer = home.layer
                if layer is not None:
                    if layer._parameters.get("weight") is not home.parameter:
                        raise ValueError(_replaced(home))
                    if constants is None or constants.table.device != parameter.device:
                        constants = self._constants(index, group, parameter.device)
                    p, arrays = _learned(layer)
                    kernels.learn(parameter.detach(), p, gradient, penalty.get(home.name), constants, arrays)
                elif group["train_bias"]:
                    added = penalty.get(home.name)
                    _descend(home, gradient if added is None else gradient + added, group["lr"])
        return loss

    def _constants(self, index: int, group: dict[str, Any], device: torch.device) -> Constants:
        values = [group[name] for name in _IN_TABLE]
        # Schedules may change a constant at any time, a tensor even in place; the table is made again when one has.
        now = [v if v.__class__ is float else (id(v), getattr(v, "_version", 0)) for v in values]
        table = self._tables.get(index)
        if table is None or table.now != now or table.device != device:
            for name, value in self._settings({name: group[name] for name in self.defaults}).items():
                # What somebody put in stays what it is, and lists and arrays become what schedules can set.
                kept = isinstance(group[name], float | int | Tensor | None)
                group[name] = settable(group[name]) if kept else value
            table = self._tables[index] = self._tabled(group, device)
        return table.constants

    def _tabled(self, group: Mapping[str, Any], device: torch.device) -> "_Table":
        values = [group[name] for name in _IN_TABLE]
        now = [v if v.__class__ is float else (id(v), getattr(v, "_version", 0)) for v in values]
        numbers = [*values[: len(_RANGES) - 1], 2.0 if group["p_freeze"] is None else group["p_freeze"]]
        numbers.append(float(group["modulate_lr"]))
        rows = [
            torch.as_tensor(value, dtype=torch.float64, device="cpu").expand(self._replicas or 1) for value in numbers
        ]
        table = torch.stack([row.cpu() for row in rows]).contiguous().to(device)
        # The values are kept, so that none of their identities can pass to another object.
        return _Table(now, values, device, Constants(table, bool(group["plastic"]), group["bounds"] == "hard"))

    def _checked(self, penalty: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        if not penalty.keys() <= self._named.keys():
            penalty = by_own_name(self._net, penalty)
        for name, pull in penalty.items():
            if name not in self._named:
                self._rename()
            home = self._named.get(name)
            if home is None:
                raise ValueError(
                    f"the penalty names {name!r}, which this network has not; "
                    f"expected names among {sorted(self._named)}."
                )
            shape = home.parameter.shape
            if pull.shape != shape:
                raise ValueError(f"the penalty of {name!r} must have shape {list(shape)}, got {list(pull.shape)}.")
        return penalty


@dataclass(frozen=True)
class _Table:
    # Constants of a group as kernels take them, and the values that they were made from.
    now: list[Any]
    values: list[Any]
    device: torch.device
    constants: Constants


class Plasticity:
    """What `plastic` returns: release probabilities that move after each step of another optimiser.

    Attributes:
        rule: a `PresynapticSGD` of rate 0, whose `param_groups` hold the constants.
    """

    def __init__(self, optimiser: Optimizer, rule: PresynapticSGD) -> None:
        self.rule = rule
        self._seen: list[tuple[Tensor, Tensor | None]] = []
        before = optimiser.register_step_pre_hook(self._before)
        # First of all hooks: what others add to the gradients, such as a penalty, is none of the task's.
        cast("OrderedDict[int, object]", optimiser._optimizer_step_pre_hooks).move_to_end(before.id, last=False)
        self._hooks = [before, optimiser.register_step_post_hook(self._after)]

    def _before(self, optimiser: Optimizer, args: Any, kwargs: Any) -> Any:
        args, kwargs = closed(args, kwargs)
        refuse_scaled(optimiser)
        parameters = (parameter for group in self.rule.param_groups for parameter in group["params"])
        self._seen = [(parameter, parameter.grad) for parameter in parameters]
        return args, kwargs

    def _after(self, optimiser: Optimizer, args: Any, kwargs: Any) -> None:
        now = [(parameter, parameter.grad) for parameter, _ in self._seen]
        try:
            for parameter, gradient in self._seen:
                parameter.grad = gradient
            self.rule.step()
        finally:
            for parameter, gradient in now:
                parameter.grad = gradient

    def state_dict(self) -> dict[str, Any]:
        """The constants; release probabilities are part of the network's state.

        Returns:
            As for every torch optimiser.
        """
        return self.rule.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with saved constants.

        Args:
            state: of `state_dict`.

        Raises:
            ValueError: if it is no such state.
        """
        try:
            self.rule.load_state_dict(state)
        except (AttributeError, IndexError, KeyError, TypeError) as error:
            raise ValueError(
                f"expected a state that `state_dict` of such a handle returned, got {shown(state)}."
            ) from error

    def detach(self) -> None:
        """Let go of the optimiser; release probabilities stay as they are from now on."""
        for hook in self._hooks:
            hook.remove()


@typed
def plastic(
    optimiser: Optimizer,
    net: nn.Module,
    *,
    p_up: Number,
    p_down: Number,
    g_lim: Number,
    p_min: Number = 0.25,
    p_max: Number = 1.0,
    p_freeze: Number | None = None,
    bounds: str = "soft",
) -> Plasticity:
    """Let the release probabilities of a network learn beside any optimiser of torch, which moves the strengths.

    After each step of the optimiser p moves by `probability_step`, with the gradients that the step began with: those
    of the task, before weight decay and penalties, clipped or unscaled as they are. Skipped steps move nothing.

    Args:
        optimiser: any optimiser of torch but those that take a closure to compute gradients.
        net: a module with stochastic layers.
        p_up: step up of the release probability; this and the other constants as for `PresynapticSGD`.
        p_down: step down.
        g_lim: size of the gradient, |g|, from which the release probability grows.
        p_min: lower bound of p.
        p_max: upper bound of p.
        p_freeze: release probability from which p is kept for good; None: never.
        bounds: "soft" or "hard".

    Returns:
        A handle, with the constants and `detach`.

    Raises:
        ValueError: if the optimiser moves p already or holds no strength of the network, or a constant does not fit.
    """
    require(
        not isinstance(optimiser, PresynapticSGD),
        f"expected an optimiser that moves strengths alone, got a {type(optimiser).__name__}.",
    )
    require(
        not needs_closure(optimiser),
        f"{type(optimiser).__name__} looks at several gradients in one step. Use an optimiser that needs no closure.",
    )
    rule = PresynapticSGD(
        net, 0.0, p_up=p_up, p_down=p_down, g_lim=g_lim, p_min=p_min, p_max=p_max, p_freeze=p_freeze, bounds=bounds,
        train_bias=False,
    )  # fmt: skip
    held = {id(parameter) for group in optimiser.param_groups for parameter in group["params"]}
    known = any(id(parameter) in held for group in rule.param_groups for parameter in group["params"])
    require(known, f"this {type(optimiser).__name__} holds none of the parameters of this network.")
    twice = any(isinstance(getattr(hook, "__self__", None), Plasticity) for hook in _hooks_of(optimiser))
    require(not twice, "release probabilities move with this optimiser already: detach() the first handle.")
    return Plasticity(optimiser, rule)


def _hooks_of(optimiser: Optimizer) -> list[Any]:
    return list(optimiser._optimizer_step_pre_hooks.values())


def _learned(layer: StochasticLayer) -> tuple[Tensor, kernels.Arrays | None]:
    # The probabilities that move, and the views kept of them: the layer keeps those of its release probabilities.
    p = layer.learned
    return p, layer.stream.arrays if p is layer._buffers["p"] else None


def _refuse_leaf(home: Home) -> None:
    # What a parametrisation computes a stochastic weight from looks like any plain parameter.
    for layer in living():
        own = vars(layer)["_parameters"]
        if "weight" in own or home.parameter is own.get("bias"):
            continue
        if any(home.parameter is leaf for leaf in layer.parameters()):
            raise ValueError(
                f"{home.name!r} re-parametrises the weight of a {type(layer).__name__} (prune, weight_norm, "
                "spectral_norm, parametrize). The rule moves expected strength and release probability by one "
                "gradient, and needs the weight itself: make it permanent first with torch.nn.utils.prune.remove, "
                "remove_weight_norm, remove_spectral_norm or parametrize.remove_parametrizations."
            )


def _replaced(home: Home) -> str:
    return (
        f"the layer whose weight was {home.name!r} has another weight now (assigned anew, pruned or parametrised), "
        "which this rule was not given. Build a new rule from the network, or change the weight in place."
    )


def _descend(home: Home, gradient: Tensor, lr: float | Tensor) -> None:
    parameter = home.parameter
    if isinstance(lr, Tensor) and lr.ndim == 1:
        require(
            parameter.ndim > 0 and parameter.shape[0] == lr.shape[0],
            f"lr has one rate per replica ({lr.shape[0]}), but {home.name!r} of shape {list(parameter.shape)} has no "
            "replica axis in front. Use one rate, or give that parameter a group with a rate of its own.",
        )
        lr = lr.to(parameter).reshape(-1, *[1] * (parameter.ndim - 1))
        parameter.sub_(lr * gradient)
    else:
        parameter.sub_(gradient, alpha=float(lr))
