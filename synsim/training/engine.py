"""One protected step in two halves, around whatever moves the parameters: a loop of ours, or anybody's optimiser."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from synsim._checks import require
from synsim._doors import shown
from synsim._names import by_own_name, named_parameters
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
        if name not in before.parameters:
            continue
        parameter, value = before.parameters[name], before.values[name]
        # lerp is exact at both ends: a rate of 1 changes nothing, a rate of 0 leaves the parameter in place. A mask
        # does that whatever the sign of a zero, and where the move is not finite.
        masked = rate.dtype == torch.bool
        parameter.copy_(torch.where(rate, parameter, value) if masked else torch.lerp(value, parameter, rate))


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


def check_measured(net: nn.Module, importance: Importance, found: Mapping[str, Tensor]) -> None:
    """Refuse importances that do not fit the network, as those of a kind of one's own may.

    Args:
        net: the network.
        importance: what measured them.
        found: parameter name -> importance.

    Raises:
        TypeError: if they are no dict of tensors.
        ValueError: if a name is no parameter's, or a shape is another one than the parameter's.
    """
    kind = f"importance {importance.name!r}"
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise TypeError(f"{kind} must be a dict from parameter names to tensors, got {shown(found)}.")
    parameters = dict(named_parameters(net))
    for name, value in by_own_name(net, found).items():
        require(
            name in parameters,
            f"{kind} names {name!r}, which is no parameter of this network; it has {', '.join(sorted(parameters))}.",
        )
        shape = list(parameters[name].shape)
        require(
            list(value.shape) == shape,
            f"{kind} of {name!r} must have the shape of the parameter, {shape}, got {list(value.shape)}: one value per "
            "entry, with replicas first where the network has them.",
        )


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
