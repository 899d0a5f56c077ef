"""What is done with an importance: one interface, and what all of them check."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from synsim._checks import Number, constant, require
from synsim._doors import typed
from synsim.networks import replicas_of


class Consolidation:
    """Protection of what was learned.

    Attributes:
        name: under which `make` builds it.
        anchored: whether it pulls parameters back to where they were, so that it protects even after a fresh start.
    """

    name: str = ""
    anchored: bool = False

    @typed
    def remember(self, net: nn.Module, importance: Mapping[str, Tensor]) -> None:
        """Take in the importances of a task that was just learned.

        Args:
            net: the network after the task.
            importance: parameter name -> importance ≥ 0, shaped like the parameter; other parameters are free.
        """
        raise NotImplementedError

    @typed
    def accumulate_by(self, rule: str) -> None:
        """Add tasks up by this rule, unless another one was asked for; here: nothing to add up.

        Args:
            rule: the one that suits the importance, `Importance.accumulate`.
        """

    @typed
    def gradient(self, net: nn.Module) -> dict[str, Tensor]:
        """Gradient of the penalty.

        Args:
            net: the network.

        Returns:
            Parameter name -> gradient; empty if there is no penalty.
        """
        return {}

    @typed
    def value(self, net: nn.Module) -> Tensor:
        """The penalty itself.

        Args:
            net: the network.

        Returns:
            A number, or [R]; 0 if there is no penalty.
        """
        return torch.zeros(replicas_of(net) or (), device="cpu")

    @typed
    def rate(self, net: nn.Module) -> dict[str, Tensor]:
        """Factors of the update, between 0 (frozen) and 1 (free).

        Args:
            net: the network.

        Returns:
            Parameter name -> factor, shaped like the parameter; empty if all are free.
        """
        return {}

    def state_dict(self) -> dict[str, Any]:
        """What is needed to go on after an interruption.

        Returns:
            Name -> tensor.
        """
        raise NotImplementedError

    @typed
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state.

        Args:
            state: of `state_dict`.
        """
        raise NotImplementedError


@typed
def checked(net: nn.Module, importance: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Importances that fit the network.

    Args:
        net: the network.
        importance: parameter name -> importance.

    Returns:
        The same, on the parameters' device and in their type.

    Raises:
        ValueError: if a name is unknown, a shape is another, or a value is negative or not finite.
    """
    parameters = dict(net.named_parameters())
    found = {}
    for name, value in importance.items():
        if name not in parameters:
            raise ValueError(
                f"the importance names parameter {name!r}, which this network has not; expected names among "
                f"{sorted(parameters)}. Measure the importance on the network that is protected."
            )
        shape = parameters[name].shape
        if value.shape != shape:
            raise ValueError(
                f"the importance of {name!r} must have shape {list(shape)}, got {list(value.shape)}. "
                "Measure the importance on the network that is protected."
            )
        if not bool(value.isfinite().all()) or bool((value < 0).any()):
            raise ValueError(
                f"the importance of {name!r} must be finite and at least 0, got values from "
                f"{float(value.min()):g} to {float(value.max()):g}."
            )
        found[name] = value.detach().to(parameters[name])
    require(bool(found), "expected the importance of at least one parameter, got none.")
    return found


@typed
def bounded(value: Number, what: str, high: float = float("inf")) -> Number:
    """A constant within its bounds, before the network is known.

    Args:
        value: a number or one per replica.
        what: its name in the message.
        high: largest value allowed.

    Returns:
        The value as it was given.

    Raises:
        ValueError: if a value is negative, too large or not finite.
    """
    several = getattr(value, "ndim", int(isinstance(value, Sequence))) > 0
    constant(value, what, len(value) if several else None, high=high)  # type: ignore[arg-type]
    return value


@typed
def per_replica(value: Number, what: str, net: nn.Module, high: float = float("inf")) -> float | Tensor:
    """A constant as a number, or as [R].

    Args:
        value: a number or one per replica.
        what: its name in the message.
        net: the network.
        high: largest value allowed.

    Returns:
        A float, or float64 [R].
    """
    return constant(value, what, replicas_of(net), high=high)


@typed
def shaped(value: float | Tensor, like: Tensor) -> float | Tensor:
    """A constant that broadcasts with a parameter.

    Args:
        value: a number or [R].
        like: the parameter.

    Returns:
        A number, or a tensor [R, 1, …].
    """
    if isinstance(value, Tensor):
        return value.to(like).reshape(-1, *[1] * (like.ndim - 1))
    return value


@typed
def ranks(
    importance: Mapping[str, Tensor], replicas: int | None, among: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """For every parameter the share of parameters that are less important, over the whole network, per replica.

    Args:
        importance: name -> tensor.
        replicas: R, or None.
        among: name -> bool like the importance: who is compared; others get −1. None: all.

    Returns:
        Name -> share in [0, 1), shaped like the importance; ties share the smaller value.
    """
    lead = replicas or 1
    flat = torch.cat([value.reshape(lead, -1) for value in importance.values()], dim=1)
    if among is not None:
        compared = torch.cat([value.reshape(lead, -1) for value in among.values()], dim=1)
        flat = flat.masked_fill(~compared, -1.0)
    ordered = flat.sort(dim=1).values
    below = torch.searchsorted(ordered, flat).double()
    if among is not None:
        outside = (~compared).sum(1, keepdim=True).double()
        count = (flat.shape[1] - outside).clamp(min=1)
        below = torch.where(compared, below - outside, -count)
    else:
        count = torch.full((lead, 1), float(flat.shape[1]), dtype=torch.float64, device=flat.device)
    share = below / count
    sizes = [value.numel() // lead for value in importance.values()]
    parts = share.split(sizes, dim=1)
    return {name: part.reshape(value.shape) for (name, value), part in zip(importance.items(), parts, strict=True)}
