"""Names of modules and parameters, the same whether a network is wrapped or not.

`torch.compile`, `DistributedDataParallel` and the like put a network into a module of theirs, and its name before every
name inside. Streams of releases, importances and saved states go by name: with these, what was measured, seeded or
saved on one of the two holds for the other.
"""

from collections.abc import Iterator, Mapping
from typing import TypeVar

from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

_INNER = {"_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module"}
_WRAPPERS = (DistributedDataParallel, DataParallel, AveragedModel)
"""Those that call what they wrap "module", as others may call a part of theirs."""
Value = TypeVar("Value")


def own_name(net: nn.Module, name: str) -> str:
    """A name without those of wrappers.

    Args:
        net: the network, possibly wrapped, as may be its parts.
        name: of a module, parameter, buffer or entry of `state_dict` in it.

    Returns:
        The name that it has in the network itself.
    """
    kept: list[str] = []
    module: nn.Module | None = net
    for part in name.split("."):
        inner = None if module is None else module._modules.get(part)
        wrapped = inner is not None and (part in _INNER or (part == "module" and isinstance(module, _WRAPPERS)))
        if not wrapped:
            kept.append(part)
        module = inner
    return ".".join(kept)


def named_parameters(net: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """As the method of every module, under the network's own names.

    Args:
        net: any module.

    Yields:
        Name and parameter.
    """
    for name, parameter in net.named_parameters():
        yield own_name(net, name), parameter


def named_modules(net: nn.Module, remove_duplicate: bool = True) -> Iterator[tuple[str, nn.Module]]:
    """As the method of every module, under the network's own names; a wrapper comes before what it wraps.

    Args:
        net: any module.
        remove_duplicate: whether a module with two names comes once.

    Yields:
        Name and module.
    """
    for name, module in net.named_modules(remove_duplicate=remove_duplicate):
        yield own_name(net, name), module


def by_own_name(net: nn.Module, values: Mapping[str, Value]) -> dict[str, Value]:
    """Values that are keyed by the names of a network or of its wrapped form, under its own names.

    Args:
        net: any module.
        values: name -> value.

    Returns:
        Own name -> value.
    """
    return {own_name(net, name): value for name, value in values.items()}
