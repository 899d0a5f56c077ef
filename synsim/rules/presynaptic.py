"""Learning when to fail: the step of expected strengths and release probabilities as a torch Optimizer.

Source: Schug, Benzing & Steger 2021, eq. 4.3 to 4.5, in the order in which the published code applies them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from synsim import kernels
from synsim._checks import Number, choice, flag, require
from synsim._doors import explained, shown
from synsim._names import by_own_name
from synsim.kernels.constants import RANGES, SETTINGS, Constants
from synsim.rules.network import Home, Rule, network
from synsim.rules.settable import per_replica, settable
from synsim.rules.steps import BOUNDS
from synsim.rules.suggest import suggest_g_lim
from synsim.synapses import StochasticLayer, synapses
from synsim.synapses.base import living
from synsim.synapses.finding import say_unheard


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
        g_lim: size of the gradient, abs(g), from which the release probability grows.
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

    Example:
        >>> import torch, synsim
        >>> net = synsim.mlp([4, 2], p=0.5)
        >>> rule = synsim.PresynapticSGD(net, lr=0.1, p_up=0.1, p_down=0.1, g_lim=1e-9)
        >>> synsim.cross_entropy(net(torch.ones(1, 4)), torch.tensor([0])).backward()
        >>> rule.step()
        >>> bool(((net[0].p == 0.55) | (net[0].p < 0.5)).all())
        True
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
        for name, (low, high) in RANGES.items():
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

    suggest_g_lim = staticmethod(suggest_g_lim)

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
        values = [group[name] for name in SETTINGS]
        # Schedules may change a constant at any time, a tensor even in place; the table is made again when one has.
        now = _versions(values)
        table = self._tables.get(index)
        if table is None or table.now != now or table.device != device:
            for name, value in self._settings({name: group[name] for name in self.defaults}).items():
                # What somebody put in stays what it is, and lists and arrays become what schedules can set.
                kept = isinstance(group[name], float | int | Tensor | None)
                group[name] = settable(group[name]) if kept else value
            values = [group[name] for name in SETTINGS]
            # The values are kept, so that none of their identities can pass to another object.
            constants = Constants.of(group, self._replicas or 1, device)
            table = self._tables[index] = _Table(_versions(values), values, device, constants)
        return table.constants

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


def _versions(values: list[Any]) -> list[Any]:
    return [v if v.__class__ is float else (id(v), getattr(v, "_version", 0)) for v in values]


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
