"""What a training loop asks of a rule, whoever wrote it: of this package, an optimiser of torch, or one of your own.

A rule is a `torch.optim.Optimizer`, and its class answers, so that optimisers of torch do so as they are:

| question | yes, if | of torch's own |
|---|---|---|
| does it take a penalty beside the task's gradient? | `step` has an argument `penalty` | none: it is added to `.grad` |
| does it need the loss again? | `step` has an argument `closure` without default, or `needs_closure = True` | LBFGS |
| does it look at all replicas at once? | `couples_replicas`; unless given: if it needs the loss again | LBFGS |
| does it protect old tasks by itself? | `protects` says in a few words with what | none |
| does it see the layers in a pass? | `watches = True`: then it has `watch()` and `backward(losses, output)` | none |

What a replica that diverges is moved by it may say in words, by `settings(replica)`.

Its state is what `state_dict()` returns: per parameter under "state", and whatever else under names of its own, nested
dicts and lists of tensors of any shape, numbers and text. A loop keeps all of it, and hands it to `load_state_dict`. A
rule with such names has a method `reset()`, which a loop that starts anew with each task calls. The names are there
from the start: by them a checkpoint of another rule is told and refused.

A rule that watches sees the pass that is made within `with rule.watch():`, and makes its gradients by `backward`, in
place of that of the loss. It may also have `cold` and `warm_up(pairs of inputs and labels)`: while it is cold, a loop
calls that with the first batches of a task, ahead of the first step. And it may have `estimates` and
`estimate(images)`: while that is true, a loop shows it other images ahead of every step, as many as its `images` says,
or as the batch has. Where importances need gradients of other batches (`Importance.needs`), these passes come between
that of the update and `step`, and are not watched.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from inspect import Parameter, signature
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from synsim._checks import require

COMMON = frozenset({"state", "param_groups"})
"""What the state of every optimiser holds; other names are its rule's own."""


@dataclass(frozen=True)
class Traits:
    """The answers of a rule.

    Attributes:
        takes_penalty: whether `step(penalty=...)` takes gradients keyed like parameters beside those of the task.
        needs_closure: whether `step(closure)` computes the loss anew, at several values of the parameters.
        couples_replicas: whether one number for all replicas decides about the step of each.
        protects: with what it protects old tasks by itself, in a few words; empty: it does not.
        watches: whether passes are made under `watch`, and gradients by `backward`.
    """

    takes_penalty: bool
    needs_closure: bool
    couples_replicas: bool
    protects: str
    watches: bool = False


def traits(rule: Optimizer) -> Traits:
    """What a rule can do and needs, as its class says.

    Args:
        rule: any optimiser.

    Returns:
        The answers.

    Raises:
        TypeError: if it is no optimiser.
    """
    kind: Any = type(rule)
    return _traits(kind, getattr(kind, "step", None))


@cache
def _traits(kind: Any, step: Any) -> Traits:
    # `step` is an argument since somebody may give the class another one.
    if not issubclass(kind, Optimizer):
        raise TypeError(f"a rule must be a torch.optim.Optimizer, got a {kind.__name__}.")
    arguments = signature(step).parameters
    closure = arguments.get("closure")
    again = bool(getattr(kind, "needs_closure", closure is not None and closure.default is Parameter.empty))
    couples = bool(getattr(kind, "couples_replicas", again))
    return Traits(
        "penalty" in arguments,
        again,
        couples,
        str(getattr(kind, "protects", "")),
        bool(getattr(kind, "watches", False)),
    )


def begin_anew(rule: Optimizer) -> None:
    """Forget what a rule has gathered, such as Adam's moments.

    Args:
        rule: any optimiser.

    Raises:
        ValueError: if it keeps state beyond that of its parameters and does not say how to forget it.
    """
    reset = getattr(rule, "reset", None)
    if callable(reset):
        reset()
        return
    own = sorted(str(name) for name in rule.state_dict().keys() - COMMON)
    require(not own, f"{type(rule).__name__} keeps {', '.join(own)}: give it a method reset() that forgets them.")
    rule.state.clear()


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


def with_penalty(
    args: tuple[Any, ...], kwargs: dict[str, Any], penalty: Mapping[str, Tensor]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a step with a penalty, for a rule that takes one; what the caller gives comes on top.

    Args:
        args: of a hook before the step; the first is the optimiser.
        kwargs: of that hook.
        penalty: gradients, keyed like `named_parameters()`.

    Returns:
        Arguments for the step.
    """
    given = kwargs.get("penalty") or {}
    if len(args) > 1 and isinstance(args[1], Mapping):
        given, args = args[1], (args[0], *args[2:])
    added = {name: value + penalty[name] if name in penalty else value for name, value in given.items()}
    return args, {**kwargs, "penalty": {**penalty, **added}}
