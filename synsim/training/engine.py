"""One protected step in two halves, around whatever moves the parameters: a loop of ours, or anybody's optimiser."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from synsim.consolidation import Consolidation
from synsim.importance import Importance, Step

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Before:
    """What stood before the parameters moved.

    Attributes:
        parameters: those that are trained, by name.
        values: their values.
        rates: factors of their update, where some are slower.
    """

    parameters: Mapping[str, nn.Parameter]
    values: Tensors
    rates: Tensors


def before_step(parameters: Mapping[str, nn.Parameter], rates: Tensors) -> Before:
    """Keep what the second half of a step compares with.

    Args:
        parameters: those that are trained, by name.
        rates: of a consolidation; empty if all are free.

    Returns:
        What is kept.
    """
    return Before(parameters, {name: p.detach().clone() for name, p in parameters.items()}, rates)


@torch.no_grad()
def slow_down(before: Before) -> None:
    """Take back a part of the update where a consolidation slows it down.

    Args:
        before: of the step.
    """
    for name, rate in before.rates.items():
        # lerp is exact at both ends: a rate of 1 changes nothing, a rate of 0 leaves the parameter in place.
        if name in before.parameters:
            parameter = before.parameters[name]
            parameter.copy_(torch.lerp(before.values[name], parameter, rate))


@torch.no_grad()
def tell(
    net: nn.Module,
    importances: Sequence[Importance],
    index: int,
    before: Before,
    gradient: Tensors,
    extra: Mapping[str, dict[str, Tensor]],
    failed: Sequence[int] = (),
) -> None:
    """Let importances observe a step.

    Args:
        net: the network after it.
        importances: those that accumulate.
        index: of the step within its task.
        before: of the step.
        gradient: of the task alone.
        extra: gradients measured besides.
        failed: replicas that failed, of which they see zeros.
    """
    delta = {name: p.detach() - before.values[name] for name, p in before.parameters.items()}
    seen = dict(gradient)
    for part in (seen, delta, *extra.values()) if failed else ():
        part.update({name: without(value, failed) for name, value in part.items()})
    step = Step(index, seen, delta, before.values, extra)
    for importance in importances:
        importance.observe(net, step)


def without(value: Tensor, failed: Sequence[int]) -> Tensor:
    """A copy in which some replicas are 0.

    Args:
        value: [R, ...].
        failed: replicas.

    Returns:
        The copy.
    """
    value = value.clone()
    value[list(failed)] = 0
    return value


def remember(consolidation: Consolidation, net: nn.Module, importance: Mapping[str, Tensor], accumulate: str) -> None:
    """Let a consolidation remember a task; tasks add up as suits the importance, here and not in other hands.

    Args:
        consolidation: what protects.
        net: the network after the task.
        importance: of the task.
        accumulate: the rule that suits it.
    """
    accumulation = getattr(consolidation, "accumulation", None)
    before = getattr(accumulation, "rule", None)
    consolidation.accumulate_by(accumulate)
    try:
        consolidation.remember(net, importance)
    finally:
        if accumulation is not None:
            accumulation.rule = before
