"""What is done with an importance: one interface, and what all of them check."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from synsim._checks import Number, constant, require, tensor, warn
from synsim._doors import held, shown, typed
from synsim._names import by_own_name, named_parameters
from synsim.networks import replicas_of

ALL_ZERO = (
    "all importances are 0. Was the network trained, and is the importance that of a loss or an output that depends on "
    "its parameters?"
)
"""Why nothing is held, for warnings."""


class Consolidation:
    """Protection of what was learned.

    Attributes:
        name: under which `make` builds it.
        anchored: whether it pulls parameters back to where they were, so that it protects even after a fresh start.
        owns: whether tasks own parameters, without any importance, and are tested under masks of their own, so that a
            test must know which task it is.
    """

    name: str = ""
    anchored: bool = False
    owns: bool = False

    def __init__(self) -> None:
        self._said: set[str] = set()

    def _say(self, reason: str, message: str) -> None:
        # Once: after the tenth task of a run nobody wants to read it again.
        if reason not in self._said:
            self._said.add(reason)
            warn(message)

    def _hold(self, net: nn.Module, kept: Mapping[str, Tensor]) -> None:
        # What is kept must belong to parameters of the same shape; that some of them are gone is said once.
        shapes = {name: parameter.shape for name, parameter in named_parameters(net)}
        for name in kept.keys() & shapes.keys():
            require(
                kept[name].shape == shapes[name],
                f"parameter {name!r} has shape {list(shapes[name])} now, and what is kept of it shape "
                f"{list(kept[name].shape)}. If the layer grew and the old entries come first, call grow(net) of this "
                "consolidation; otherwise begin with a new one.",
            )
        gone = sorted(kept.keys() - shapes.keys())
        if not gone:
            return
        require(
            len(gone) < len(kept),
            f"none of the protected parameters {gone} is in this network, which has {sorted(shapes)}. Give the network "
            "that was remembered, under the same names.",
        )
        self._say("gone", f"the protected parameters {gone} are no longer in the network: they are not held.")

    def grow(self, net: nn.Module) -> None:
        """Go on with a network some of whose layers have more units now; old entries come first along every axis.

        Old entries keep their importance and where they were; new ones are free until the next task is remembered.

        Args:
            net: the network, its larger layers in place, under the same names.
        """
        raise NotImplementedError

    def remember(self, net: nn.Module, importance: Mapping[str, Any]) -> None:
        """Take in the importances of a task that was just learned.

        Args:
            net: the network after the task.
            importance: parameter name -> importance ≥ 0, shaped like the parameter: tensors or NumPy arrays of any
                type, kept in single precision at least; other parameters are free.
        """
        raise NotImplementedError

    @typed
    def accumulate_by(self, rule: str) -> None:
        """Add tasks up by this rule, unless another one was asked for; here: nothing to add up.

        Args:
            rule: the one that suits the importance, `Importance.accumulate`.
        """

    def gradient(self, net: nn.Module) -> dict[str, Tensor]:
        """Gradient of the penalty.

        Args:
            net: the network.

        Returns:
            Parameter name -> gradient; empty if there is no penalty.
        """
        held(net, nn.Module, "net")
        return {}

    @typed
    def value(self, net: nn.Module) -> Tensor:
        """The penalty itself, differentiable; 0 for a consolidation that is no penalty: see `rate`.

        Args:
            net: the network.

        Returns:
            A number, or [R]; 0 if there is no penalty.
        """
        return torch.zeros(replicas_of(net) or (), device="cpu")

    def rate(self, net: nn.Module) -> dict[str, Tensor]:
        """Factors of the update, between 0 (frozen) and 1 (free).

        Args:
            net: the network.

        Returns:
            Parameter name -> factor, shaped like the parameter, or a bool mask of what is free; empty if all are.
        """
        held(net, nn.Module, "net")
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


def checked(net: nn.Module, importance: Mapping[str, Any]) -> dict[str, Tensor]:
    """Importances that fit the network.

    Args:
        net: the network.
        importance: parameter name -> importance.

    Returns:
        The same, on the parameters' device and in their type, but in single precision at least.

    Raises:
        ValueError: if a name is unknown, a shape is another, or a value is negative, not finite or too large.
    """
    require(
        isinstance(importance, Mapping),
        f"the importance must be a dict from parameter names to tensors, got {type(importance).__name__}.",
    )
    parameters = dict(named_parameters(net))
    found = {}
    for name, given in by_own_name(net, importance).items():
        if name not in parameters:
            raise ValueError(
                f"the importance names parameter {name!r}, which this network has not; expected names among "
                f"{sorted(parameters)}. Measure the importance on the network that is protected."
            )
        value = tensor(given, f"the importance of {name!r}").detach()
        shape = parameters[name].shape
        if value.shape != shape:
            raise ValueError(
                f"the importance of {name!r} must have shape {list(shape)}, got {list(value.shape)}. "
                "Measure the importance on the network that is protected."
            )
        require(
            not value.is_complex() and not parameters[name].is_complex(),
            f"the importance of {name!r} and the parameter must be real, got {value.dtype} and "
            f"{parameters[name].dtype}.",
        )
        if not bool(value.isfinite().all()) or bool((value < 0).any()):
            raise ValueError(
                f"the importance of {name!r} must be finite and at least 0, got values from "
                f"{float(value.min()):g} to {float(value.max()):g}."
            )
        # In half precision everything below 6e-8 would be 0, and most importances are.
        found[name] = value.to(parameters[name].device, torch.promote_types(parameters[name].dtype, torch.float32))
        _same_range(name, value, found[name])
    require(bool(found), "expected the importance of at least one parameter, got none.")
    return found


def _same_range(name: str, given: Tensor, taken: Tensor) -> None:
    if given.dtype != torch.float64 or taken.dtype == torch.float64:
        return
    lost = int(((given != 0) & (taken.to(given.device) == 0)).sum())
    require(
        bool(taken.isfinite().all()) and not lost,
        f"the importance of {name!r} must lie between 1e-45 and 3e38, or be 0, to be kept in single precision, got "
        f"values up to {float(given.max()):g} and {lost} too small. Scale all importances by one number, and the "
        "strength by its inverse.",
    )


def grown(value: Tensor, name: str, like: Tensor, fill: float | Tensor) -> Tensor:
    """What is kept of a parameter, for more entries.

    Args:
        value: what is kept, old shape.
        name: of the parameter.
        like: the parameter now.
        fill: what new entries get: a number, or a tensor of the new shape.

    Returns:
        Of the new shape.

    Raises:
        ValueError: if the parameter has fewer entries than before along an axis, or another number of axes.
    """
    if value.shape == like.shape:
        return value
    require(
        value.ndim == like.ndim and all(old <= new for old, new in zip(value.shape, like.shape, strict=True)),
        f"parameter {name!r} must have at least shape {list(value.shape)} to have grown, got {list(like.shape)}.",
    )
    full = torch.empty(like.shape, dtype=value.dtype, device=value.device)
    full.copy_(fill) if isinstance(fill, Tensor) else full.fill_(fill)
    full[tuple(slice(size) for size in value.shape)] = value
    return full


def parts_of(state: Mapping[str, Tensor], names: Sequence[str], kind: str) -> dict[str, dict[str, Tensor]]:
    """The tensors of a saved state, by part.

    Args:
        state: of `state_dict`, "part/parameter" -> tensor.
        names: of the parts.
        kind: of the consolidation, for the message.

    Returns:
        Part -> parameter name -> a copy.

    Raises:
        ValueError: if the state has other parts, or other than tensors of floats.
    """
    found: dict[str, dict[str, Tensor]] = {name: {} for name in names}
    for key, value in state.items():
        part, _, name = key.partition("/") if isinstance(key, str) else ("", "", "")
        require(
            part in found and name != "",
            f"the state of a {kind!r} holds {', '.join(names)}, got {key!r}. Was it saved by another consolidation?",
        )
        fits = isinstance(value, Tensor) and value.is_floating_point()
        require(
            fits and value.layout == torch.strided and not value.is_meta,
            f"the state of a {kind!r} holds dense tensors of floats, got {shown(value)} for {key!r}.",
        )
        found[part][name] = value.clone()
    return found


def bounded(value: Number, what: str, high: float = float("inf"), low: float = 0.0) -> Number:
    """A constant within its bounds, before the network is known.

    Args:
        value: a number or one per replica.
        what: its name in the message.
        high: largest value allowed.
        low: smallest value allowed.

    Returns:
        The value as it was given.

    Raises:
        ValueError: if a value is too small, too large or not finite.
    """
    several = getattr(value, "ndim", int(isinstance(value, Sequence))) > 0
    require(not several or len(value) > 0, f"{what} must be a number or one per replica, got {value!r}.")  # type: ignore[arg-type]
    constant(value, what, len(value) if several else None, low=low, high=high)  # type: ignore[arg-type]
    return value


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
