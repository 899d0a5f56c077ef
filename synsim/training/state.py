"""The whole state of a training run as tensors and JSON, so that it can go on to the same bits."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from synsim._checks import require, warn
from synsim._names import own_name
from synsim.training.trees import decode, encode


def pack(net: nn.Module, optimiser: Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """State of network and optimiser.

    Args:
        net: the network; its release streams are part of its `state_dict`.
        optimiser: its optimiser; for the constants of its groups see `groups_of`.

    Returns:
        Tensors by name, and the optimiser's plain numbers.
    """
    tensors = {f"net/{own_name(net, name)}": value.detach() for name, value in net.state_dict().items()}
    state = optimiser.state_dict()
    numbers: dict[str, Any] = {}
    for index, entry in state["state"].items():
        for name, value in entry.items():
            if isinstance(value, Tensor):
                tensors[f"optimiser/{index}/{name}"] = value
            else:
                numbers[f"{index}/{name}"] = encode(value, f"parts/{index}/{name}", tensors)
    return tensors, numbers


def groups_of(optimiser: Optimizer, tensors: dict[str, Tensor], lead: str = "groups") -> list[Any]:
    """Constants of the groups of an optimiser as JSON.

    Args:
        optimiser: any optimiser.
        tensors: gets the constants that are tensors.
        lead: first part of their names.

    Returns:
        One tree per group.
    """
    groups = optimiser.state_dict()["param_groups"]
    return [
        encode({name: value for name, value in group.items() if name != "params"}, f"{lead}/{index}", tensors)
        for index, group in enumerate(groups)
    ]


def unpack(
    net: nn.Module,
    optimiser: Optimizer,
    tensors: Mapping[str, Tensor],
    numbers: Mapping[str, Any],
    trees: Sequence[Any] | None = None,
    changed: Mapping[int, set[str]] | None = None,
) -> None:
    """Bring network and optimiser back to a saved state.

    Args:
        net: a network built from the same config.
        optimiser: its optimiser, built from the same config.
        tensors: from `pack`.
        numbers: from `pack`.
        trees: constants of the optimiser's groups, from `groups_of`; None: they stay.
        changed: constants, by group, that stay as they are.

    Raises:
        ValueError: if the optimiser has other groups than the one that was saved.
    """
    # A run may go on with a network that is wrapped now, or no longer (torch.compile).
    names = {own_name(net, name): name for name in net.state_dict()}
    parts = {name[4:]: value for name, value in tensors.items() if name.startswith("net/")}
    net.load_state_dict({names.get(name, name): value for name, value in parts.items()})
    state: dict[Any, dict[str, Any]] = {}
    saved = {name[10:]: value for name, value in tensors.items() if name.startswith("optimiser/")}
    for name, value in [*saved.items(), *numbers.items()]:
        index, key = name.split("/", 1)
        whole = value.clone() if isinstance(value, torch.Tensor) else decode(value, tensors)
        state.setdefault(int(index) if index.isdigit() else index, {})[key] = whole
    groups = optimiser.state_dict()["param_groups"]
    trees = [{"items": []}] * len(groups) if trees is None else trees
    require(
        len(trees) == len(groups),
        f"the checkpoint holds an optimiser of {len(trees)} parameter groups, this one has {len(groups)}. Add the same "
        "groups before the run goes on.",
    )
    for place, (group, tree) in enumerate(zip(groups, trees, strict=True)):
        kept: set[str] = (changed or {}).get(place, set())
        group.update({name: value for name, value in decode(tree, tensors, group).items() if name not in kept})
    optimiser.load_state_dict({"state": state, "param_groups": groups})


def changes(optimiser: Optimizer, tensors: Mapping[str, Tensor], built: list[Any]) -> dict[int, set[str]]:
    """Constants with which an optimiser was built otherwise than the one whose run is resumed; said in a warning.

    Args:
        optimiser: as it was built.
        tensors: of the checkpoint.
        built: `groups_of` the other one, as it was built.

    Returns:
        Index of a group -> names.
    """
    found: dict[int, set[str]] = {}
    words = []
    for index, (group, tree) in enumerate(zip(optimiser.state_dict()["param_groups"], built, strict=False)):
        for name, before in decode(tree, tensors, group).items():
            now = group.get(name)
            if not _same(before, now):
                found.setdefault(index, set()).add(name)
                words.append(f"{name} of group {index} (was {before}, is {now})")
    if words:
        warn(
            f"the run that is resumed was begun with other constants: {', '.join(words)}. It goes on with those given "
            "now, and ends elsewhere than a run that was not interrupted.",
        )
    return found


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) or isinstance(other, Tensor):
        both = isinstance(one, Tensor) and isinstance(other, Tensor)
        return both and one.shape == other.shape and bool((one == other.to(one)).all())
    return bool(one == other)
