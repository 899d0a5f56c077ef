"""The whole state of a training run as tensors and JSON, so that it can go on to the same bits."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


def pack(net: nn.Module, optimiser: Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """State of network and optimiser.

    Args:
        net: the network; its release streams are part of its `state_dict`.
        optimiser: its optimiser. Constants are not kept: they come from the config.

    Returns:
        Tensors by name, and the optimiser's plain numbers.
    """
    tensors = {f"net/{name}": value.detach() for name, value in net.state_dict().items()}
    numbers: dict[str, Any] = {}
    for index, entry in optimiser.state_dict()["state"].items():
        for name, value in entry.items():
            if isinstance(value, Tensor):
                tensors[f"optimiser/{index}/{name}"] = value
            else:
                numbers[f"{index}/{name}"] = value
    return tensors, numbers


def unpack(net: nn.Module, optimiser: Optimizer, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
    """Bring network and optimiser back to a saved state.

    Args:
        net: a network built from the same config.
        optimiser: its optimiser, built from the same config.
        tensors: from `pack`.
        numbers: from `pack`.
    """
    net.load_state_dict({name[4:]: value for name, value in tensors.items() if name.startswith("net/")})
    state: dict[int, dict[str, Any]] = {}
    saved = {name[10:]: value for name, value in tensors.items() if name.startswith("optimiser/")}
    for name, value in [*saved.items(), *numbers.items()]:
        index, key = name.split("/", 1)
        state.setdefault(int(index), {})[key] = value.clone() if isinstance(value, torch.Tensor) else value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
