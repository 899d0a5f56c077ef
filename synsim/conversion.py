"""A way in for models that were not built here: their linear layers and convolutions learn when to fail."""

import difflib
from collections.abc import Callable, Collection, Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from synsim._checks import require, warn
from synsim._doors import shown, typed
from synsim.synapses import BernoulliConv2d, BernoulliLinear, StochasticLayer, synapses
from synsim.synapses import seed as seed_streams
from synsim.synapses.views import seeds_of

Net = TypeVar("Net", bound=nn.Module)
Choice = Callable[[str, nn.Module], bool]

HOOKS = (
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_backward_pre_hooks",
    "_backward_hooks",
)
WRAPPED = ("OptimizedModule", "DistributedDataParallel", "DataParallel", "FullyShardedDataParallel")


@typed
def convert(
    model: Net,
    *,
    p: float | Tensor = 0.25,
    only: Collection[str] | Callable[..., Any] | None = None,
    scope: str = "batch",
    sites: int = 1,
    seed: int = 0,
    inplace: bool = False,
) -> Net:
    """Make the plain linear layers and convolutions of any model stochastic; their weights are the expected strengths.

    Names of modules and parameters stay, so a `state_dict` of the plain model fits but for the release probabilities
    (`load_state_dict(..., strict=False)`). With p = 1 the model computes what it did, bit for bit. What is left as it
    is, such as embeddings, recurrent layers, attention, and subclasses of the two kinds, is said once, unless `only`
    chose.

    In evaluation mode torch runs its Transformer layers fused, past the layers inside; where such layers were
    converted, that is turned off for this model.

    Args:
        model: any module; compile or wrap it afterwards.
        p: release probability at the start, in (0, 1].
        only: names of modules (with all that is inside of them), or a function (name, module) -> bool; None: all.
        scope: "batch": one mask per forward pass; "sample": one per example.
        sites: release sites per synapse.
        seed: of the releases.
        inplace: change the model itself, whose parameters an optimiser may hold already, instead of a copy.

    Returns:
        The stochastic model.

    Raises:
        ValueError: if there is no such layer, a name is unknown, a layer that was chosen by name can't be converted, or
            a weight is shared by several modules.

    Example:
        >>> import torch, synsim
        >>> net = synsim.convert(torch.nn.Sequential(torch.nn.Linear(4, 2)), p=0.5)
        >>> type(net[0]).__name__, float(net[0].p[0, 0])
        ('BernoulliLinear', 0.5)
    """
    kind = type(model).__name__
    require(
        kind not in WRAPPED and not isinstance(model, torch.jit.ScriptModule),
        f"convert the model before it is wrapped or compiled, got a {kind}.",
    )
    chosen = _chosen(model, only)
    seeds_of(seed, None)
    plain = {name: module for name, module in _modules(model) if chosen(name, module) and _is_plain(module)}
    problems = {name: why for name, module in plain.items() if (why := _problem(module)) is not None}
    left = [f"{name!r} ({why})" for name, why in problems.items()]
    require(
        not left or not isinstance(only, Collection) or any(name not in only for name in problems),
        f"can't convert {', '.join(left)}.",
    )
    names = [name for name in plain if name not in problems]
    _refuse_nothing(model, names, left)
    _refuse_shared(model, names)
    found = model if inplace else deepcopy(model)
    # All of them are made before the first is put into its place, so that a refusal leaves a model whole.
    made: dict[nn.Module, StochasticLayer] = {}
    for name in names:
        old = found.get_submodule(name)
        made[old] = made.get(old) or _stochastic(old, p, scope, sites)
    olds = [(name, found.get_submodule(name)) for name in names]
    for name, old in olds:
        found = _put(found, name, made[old])
    _turn_off_fused(found)
    seed_streams(found, seed)
    if only is None:
        _say_left(found, left)
    return found


@typed
def plain_state(net: nn.Module, replica: int | None = None) -> dict[str, Tensor]:
    """Weights under the names that plain layers have: what `nn.Linear` and `nn.Conv2d` in their place would load.

    They are the mean field: the expected strength of every synapse; release probabilities are left out. The plain model
    takes them by `load_state_dict`, and `safetensors.torch.save_file` writes them to a file.

    Args:
        net: any module with stochastic layers.
        replica: which one, for a network with replicas.

    Returns:
        Name -> tensor, apart from the network.

    Raises:
        ValueError: if there is no such replica, or a network with several is asked for all of them.
    """
    layers = synapses(net)
    _check_replica(layers, replica)
    found: dict[str, Tensor] = {}
    for name, value in net.state_dict().items():
        owner, _, own = name.rpartition(".")
        if own == "_extra_state":
            continue
        layer = layers.get(owner)
        if layer is None:
            found[name] = value.detach().clone()
        elif own in ("weight", "bias"):
            held = layer.expected_strength if own == "weight" else value
            found[name] = (held if replica is None else held[replica]).detach().clone()
    return found


@torch.no_grad()
@typed
def load_plain_state(net: Net, state: Mapping[str, Tensor] | str | Path, replica: int | None = None) -> Net:
    """Take the weights of a plain model as expected strengths; release probabilities stay.

    Args:
        net: a module with stochastic layers, changed in place.
        state: name -> tensor, as `plain_state` gives it or the `state_dict` of a plain model of the same shape; or a
            file of safetensors that holds it. It must name all weights and nothing else.
        replica: which one takes them, for a network with replicas; None: all of them.

    Returns:
        The same network.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if names or shapes do not fit, or the file is none of safetensors; nothing is changed then.
    """
    layers = synapses(net)
    if replica is not None:
        _check_replica(layers, replica)
    given = _from_file(Path(state)) if isinstance(state, str | Path) else dict(state)
    lead = next((layer.replicas for layer in layers.values()), None)
    wanted = plain_state(net, None if lead is None else replica or 0)
    missing, unknown = sorted(wanted.keys() - given.keys()), sorted(given.keys() - wanted.keys())
    require(
        not missing and not unknown,
        f"the names must be those of the network: missing {missing[:4]}, unknown {unknown[:4]}.",
    )
    for name, value in wanted.items():
        require(
            isinstance(given[name], Tensor) and given[name].shape == value.shape,
            f"{name!r} must be a tensor {list(value.shape)}, got {shown(given[name])}.",
        )
    own = net.state_dict()
    for name, value in given.items():
        owner, _, part = name.rpartition(".")
        layer = layers.get(owner)
        if layer is None:
            own[name].copy_(value)
            continue
        held = layer.expected_strength.clone() if part == "weight" else own[name]
        (held if replica is None else held[replica]).copy_(value)
        if part == "weight":
            layer.set_expected(held)
    return net


def _check_replica(layers: Mapping[str, StochasticLayer], replica: int | None) -> None:
    there = next((layer.replicas for layer in layers.values()), None)
    fits = replica is None if there is None else replica is not None and 0 <= replica < there
    require(
        fits, f"the network has {'no' if there is None else there} replicas; choose one of them, got replica={replica}."
    )


def _from_file(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError  # here: the import of the package needs no files
    from safetensors.torch import load_file

    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file.")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} can't be read as safetensors ({error}).") from error


def _modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    # A module that has two names comes twice.
    yield from model.named_modules(remove_duplicate=False)


def _chosen(model: nn.Module, only: Collection[str] | Choice | None) -> Choice:
    if only is None:
        return lambda name, module: True
    if callable(only):
        return only
    require(
        not isinstance(only, str) and len(only) > 0 and all(isinstance(name, str) for name in only),
        f"only must be names of modules, a function (name, module) -> bool, or None, got {only!r}.",
    )
    known = [name for name, _ in _modules(model)]
    for name in only:
        near = difflib.get_close_matches(name, known, 1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        require(name in known, f"the model has no module {name!r}.{hint}")
    inside = tuple(f"{name}." for name in only)
    return lambda name, module: name in only or "" in only or name.startswith(inside)


def _is_plain(module: nn.Module) -> bool:
    # Exactly: what a subclass computes is its own affair.
    return type(module) in (nn.Linear, nn.Conv2d) or (
        parametrize.is_parametrized(module, "weight") and isinstance(module, nn.Linear | nn.Conv2d)
    )


def _problem(module: nn.Module) -> str | None:
    if "weight" not in module._parameters:
        return "its weight is re-parametrised; make that permanent first"
    if isinstance(module, nn.Conv2d) and module.padding_mode != "zeros":
        return f"padding_mode={module.padding_mode!r}; only zeros are padded"
    dtype = module.get_parameter("weight").dtype
    if not dtype.is_floating_point:
        return f"its weight is {dtype}"
    return None


def _refuse_nothing(model: nn.Module, names: list[str], left: list[str]) -> None:
    if names:
        return
    if any(isinstance(module, StochasticLayer) for module in model.modules()):
        raise ValueError("the model is stochastic already, and has no further nn.Linear or nn.Conv2d to convert.")
    why = f" Not converted: {', '.join(left)}." if left else ""
    raise ValueError(f"found no nn.Linear or nn.Conv2d to convert in this {type(model).__name__}.{why}")


def _refuse_shared(model: nn.Module, names: list[str]) -> None:
    # One weight in two modules would be released with two sets of probabilities, or with one and with none.
    owners: dict[int, dict[int, str]] = {}
    for name, module in _modules(model):
        for parameter in module._parameters.values():
            if parameter is not None:
                owners.setdefault(id(parameter), {}).setdefault(id(module), name)
    for name in names:
        module = model.get_submodule(name)
        others = [other for other in owners[id(module.weight)].values() if other != name]
        shared = len(owners[id(module.weight)]) > 1
        require(
            not shared,
            f"the weight of {name!r} is that of {', '.join(map(repr, others))} as well: it would be released with "
            "other probabilities there, or never fail. Give each a weight of its own, or leave them out by `only`.",
        )


def _stochastic(old: nn.Module, p: float | Tensor, scope: str, sites: int) -> StochasticLayer:
    shared: dict[str, Any] = {"p": p, "scope": scope, "sites": sites, "bias": old.bias is not None}
    shared |= {"device": old.weight.device, "dtype": old.weight.dtype}
    new: StochasticLayer
    if isinstance(old, nn.Linear):
        new = BernoulliLinear(old.in_features, old.out_features, **shared)
    else:
        assert isinstance(old, nn.Conv2d)
        new = BernoulliConv2d(
            old.in_channels,
            old.out_channels,
            old.kernel_size,  # type: ignore[arg-type]
            old.stride,  # type: ignore[arg-type]
            old.padding,  # type: ignore[arg-type]
            old.dilation,  # type: ignore[arg-type]
            old.groups,
            **shared,
        )
    for part in ("weight", "bias"):
        new.register_parameter(part, old._parameters[part])
    for name in HOOKS:
        getattr(new, name).update(getattr(old, name))
    return new.train(old.training)


def _put(model: Net, name: str, module: nn.Module) -> Net:
    if not name:
        return module  # type: ignore[return-value]
    home, _, last = name.rpartition(".")
    setattr(model.get_submodule(home), last, module)
    return model


def _turn_off_fused(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.TransformerEncoderLayer) and any(
            isinstance(part, StochasticLayer) for part in module.modules()
        ):
            # The flag that torch asks before it takes the weights of the layers inside.
            module.activation_relu_or_gelu = 0


def _say_left(model: nn.Module, left: list[str]) -> None:
    # Of gains and biases, which connect nothing, no word.
    converted = {parameter for layer in synapses(model).values() for parameter in layer.parameters()}
    others = [
        f"{name!r} ({type(module).__name__})"
        for name, module in model.named_modules()
        if any(p is not None and p.ndim > 1 and p not in converted for p in module._parameters.values())
    ]
    said = [*left, *others]
    if said:
        more = f" and {len(said) - 6} more" if len(said) > 6 else ""
        warn(f"convert left as they are: {', '.join(said[:6])}{more}. Their synapses never fail.")
