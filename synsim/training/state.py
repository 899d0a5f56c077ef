"""The whole state of a training run as tensors and JSON, so that it can go on to the same bits."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from synsim._checks import require, warn
from synsim._names import own_name
from synsim.rules.base import COMMON
from synsim.training.trees import decode, encode


def pack(net: nn.Module, optimiser: Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """State of network and optimiser.

    Args:
        net: the network; its release streams are part of its `state_dict`.
        optimiser: its optimiser; for the constants of its groups see `groups_of`.

    Returns:
        Tensors by name; and the optimiser's plain numbers, its kind ("rule") and, if its state has more than entries of
        parameters, that ("further").

    Raises:
        TypeError: if a state holds other than tensors, numbers, text, dicts and lists.
    """
    tensors = {f"net/{own_name(net, name)}": value.detach() for name, value in net.state_dict().items()}
    state = optimiser.state_dict()
    numbers: dict[str, Any] = {"rule": type(optimiser).__name__}
    further = {name: value for name, value in state.items() if name not in COMMON}
    apart = {index: entry for index, entry in state["state"].items() if not _flat(index, entry)}
    if apart:
        further["state"] = apart
    if further:
        numbers["further"] = encode(further, "rule", tensors)
    for index, entry in state["state"].items():
        for name, value in entry.items() if index not in apart else ():
            if isinstance(value, Tensor):
                tensors[f"optimiser/{index}/{name}"] = value
            else:
                numbers[f"{index}/{name}"] = encode(value, f"parts/{index}/{name}", tensors)
    return tensors, numbers


def _flat(index: Any, entry: Any) -> bool:
    # Whether "index/name" -> value says all: that of most optimisers, and all that older checkpoints hold.
    known = isinstance(index, int) or (isinstance(index, str) and not index.isdigit() and "/" not in index)
    return known and isinstance(entry, Mapping) and all(isinstance(name, str) for name in entry)


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
        ValueError: if the optimiser is of another kind, keeps other state or has other groups than the one that was
            saved; nothing has moved then.
    """
    present = optimiser.state_dict()
    further = decode(numbers.get("further", {"items": []}), tensors, present)
    _suits(optimiser, present, numbers.get("rule"), further)
    trees = [{"items": []}] * len(present["param_groups"]) if trees is None else trees
    require(
        len(trees) == len(present["param_groups"]),
        f"the checkpoint holds an optimiser of {len(trees)} parameter groups, this one has "
        f"{len(present['param_groups'])}. Add the same groups before the run goes on.",
    )
    # A run may go on with a network that is wrapped now, or no longer (torch.compile).
    before = {own_name(net, name): (name, value.dtype) for name, value in net.state_dict().items()}
    parts = {name[4:]: value for name, value in tensors.items() if name.startswith("net/")}
    net.load_state_dict({before[name][0] if name in before else name: value for name, value in parts.items()})
    state = {**further.pop("state", {}), **_entries(tensors, numbers)}
    groups = present["param_groups"]
    for place, (group, tree) in enumerate(zip(groups, trees, strict=True)):
        kept: set[str] = (changed or {}).get(place, set())
        group.update({name: value for name, value in decode(tree, tensors, group).items() if name not in kept})
    optimiser.load_state_dict({"state": state, "param_groups": groups, **further})
    if all(before[name][1] == value.dtype for name, value in parts.items()):
        _keep_types(optimiser, state)


def _entries(tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> dict[Any, dict[str, Any]]:
    # The state of an optimiser that stands under "index/name".
    saved: dict[str, Any] = {name[10:]: tensors[name].clone() for name in tensors if name.startswith("optimiser/")}
    saved.update({name: decode(value, tensors) for name, value in numbers.items() if "/" in name})
    found: dict[Any, dict[str, Any]] = {}
    for name, value in saved.items():
        index, key = name.split("/", 1)
        found.setdefault(int(index) if index.isdigit() else index, {})[key] = value
    return found


def _keep_types(optimiser: Optimizer, state: Mapping[Any, Any]) -> None:
    # Torch turns floats beside a parameter into its type; a rule that keeps sums in double precision means it.
    held = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    for index, saved in state.items():
        if not isinstance(index, int) or not isinstance(saved, Mapping):
            continue
        entry = optimiser.state[held[index]]
        for name, value in saved.items():
            if not isinstance(value, Tensor):
                entry[name] = _moved(value, held[index].device)
            elif name in entry and value.dtype != entry[name].dtype:
                entry[name] = value.to(held[index].device)


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, Mapping):
        return {key: _moved(each, device) for key, each in value.items()}
    return [_moved(each, device) for each in value] if isinstance(value, list) else value


def _suits(optimiser: Optimizer, present: Mapping[str, Any], kind: str | None, further: Mapping[str, Any]) -> None:
    # Checkpoints of old do not say of which kind their optimiser was.
    name = type(optimiser).__name__
    require(
        kind in (None, name),
        f"the run that is resumed was begun with {kind}, and its checkpoint holds the state of that; this is {name}. "
        f"Go on with {kind}, or begin a run of its own.",
    )
    saved, own = further.keys() - COMMON, present.keys() - COMMON
    require(
        not saved - own,
        f"the checkpoint holds {', '.join(sorted(saved - own))} of a {kind}, and this {name} keeps nothing of that "
        "name in its state_dict. Go on with the rule that the run was begun with.",
    )
    require(
        not own - saved,
        f"this {name} keeps {', '.join(sorted(own - saved))}, and the checkpoint holds nothing of that name: what it "
        "had gathered is lost. Begin a new run.",
    )


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
