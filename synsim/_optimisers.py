"""What one has to know of torch's optimisers to work beside them."""

from collections.abc import Callable
from functools import cache
from inspect import Parameter, signature
from typing import Any

import torch
from torch.optim import Optimizer

from synsim._checks import require


def needs_closure(optimiser: Optimizer) -> bool:
    """Whether an optimiser takes a step only by a closure that computes the loss, as LBFGS.

    Args:
        optimiser: the optimiser.

    Returns:
        True if its `step` has an argument `closure` without default.
    """
    return _needs_closure(type(optimiser).step)


@cache
def _needs_closure(step: Callable[..., object]) -> bool:
    closure = signature(step).parameters.get("closure")
    return closure is not None and closure.default is Parameter.empty


def closed(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Run the closure of a step ahead of it, for hooks that look at the gradients.

    Args:
        args: of a hook before the step; the first is the optimiser.
        kwargs: of that hook.

    Returns:
        The same arguments, with a closure that only returns the loss.
    """
    closure = args[1] if len(args) > 1 else kwargs.get("closure")
    if not callable(closure):
        return args, kwargs
    with torch.enable_grad():
        loss = closure()

    def done() -> Any:
        return loss

    return ((args[0], done, *args[2:]), kwargs) if len(args) > 1 else (args, {**kwargs, "closure": done})


def refuse_scaled(optimiser: Optimizer) -> None:
    """Refuse gradients that a GradScaler leaves to the optimiser to unscale.

    Args:
        optimiser: the optimiser, ahead of its step.

    Raises:
        ValueError: if it is such a fused one.
    """
    require(
        getattr(optimiser, "grad_scale", None) is None,
        f"the gradients of this fused {type(optimiser).__name__} are still scaled: call scaler.unscale_(optimiser) "
        "before scaler.step(optimiser).",
    )
