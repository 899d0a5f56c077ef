"""Release probabilities that learn beside any optimiser of torch."""

from collections import OrderedDict
from typing import Any, cast

from torch import Tensor, nn
from torch.optim import Optimizer

from synsim._checks import Number, require
from synsim._doors import shown, typed
from synsim.rules.base import closed, refuse_scaled, traits
from synsim.rules.presynaptic import PresynapticSGD


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
        g_lim: size of the gradient, abs(g), from which the release probability grows.
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
        not traits(optimiser).needs_closure,
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
