"""The output of a network, with checks of what came in and out."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from synsim import _checks
from synsim._doors import explained
from synsim.networks import MultiHead, replicas_of

LOW = (torch.float16, torch.bfloat16)
"""Types in which no sum should be taken."""


@explained
def output_replicas(net: nn.Module) -> int | None:
    """Replicas in the output of a network: its own, or those that it stands for.

    Args:
        net: any module; one that runs several copies of another network says so by an attribute `output_replicas`.

    Returns:
        R, or None if the output has no axis of replicas.
    """
    # Asked at every pass, and getattr takes long to find nothing in a module.
    own = "output_replicas" in vars(net) or hasattr(type(net), "output_replicas")
    stands_for: Any = net.output_replicas if own else None
    return replicas_of(net) if stands_for is None else stands_for


def tensor_of(output: Any) -> Tensor:
    """The logits in what a network returned.

    Args:
        output: a tensor, or a mapping with a tensor called "logits", as libraries of pretrained networks return it.

    Returns:
        The logits; those of a 16-bit type as float32, so that sums over them hold.

    Raises:
        TypeError: if the network returned anything else.
    """
    found = output.get("logits") if isinstance(output, Mapping) else output
    if not isinstance(found, Tensor):
        what = f"a {type(output).__name__}"
        what += f" of {len(output)}" if isinstance(output, tuple | list) else ""
        what += f" with {sorted(map(str, output))}" if isinstance(output, Mapping) else ""
        raise TypeError(
            f"the network must return a tensor of logits, or a dict with one called 'logits', got {what}. "
            "Wrap it in a module whose forward returns the logits alone."
        )
    if not found.is_floating_point():
        raise TypeError(
            f"the network must return logits, floats, got {found.dtype}. Leave argmax and comparisons out of its "
            "forward."
        )
    return found.float() if found.dtype in LOW else found


@explained
def logits_of(net: nn.Module, x: Tensor, head: int | None) -> Tensor:
    """Logits of a network, with checks of what came in and out.

    Args:
        net: the network.
        x: examples of one forward pass, [B, ...]; a network with replicas also takes [R, B, ...].
        head: index of the head, or None for a network with one output layer.

    Returns:
        [B, C], [B, T, C] for an output at each of T tokens or, for a network with replicas, [R, B, C].

    Raises:
        ValueError: if the network got integers that it does not take, or x of another type or device; if a network of
            several heads is given none, or the output has other axes.
        TypeError: from `tensor_of`.
        RuntimeError: from the network.
        IndexError: from the network.
    """
    if head is None and isinstance(net, MultiHead):
        raise ValueError(
            f"this network has {len(net.heads)} heads, got none: give head, the index of the active one "
            f"(0 to {len(net.heads) - 1})."
        )
    try:
        out = tensor_of(output_of(net, x, head))
    except (RuntimeError, ValueError, IndexError) as error:
        why = _elsewhere(net, x) if x.is_floating_point() else _integers(net, x, error)
        if not why:
            raise
        raise ValueError(why) from error
    _check_axes(net, x, out)
    return out


def output_of(net: nn.Module, x: Tensor, head: int | None) -> Any:
    """What a network returns.

    Args:
        net: the network.
        x: examples of one forward pass.
        head: index of the head, or None for a network with one output layer.

    Returns:
        Its output.

    Raises:
        TypeError: if a head is given and the network takes none.
    """
    if head is None:
        return net(x)
    try:
        return net(x, head=head)
    except TypeError as error:
        if "'head'" not in str(error):
            raise
        raise TypeError(
            f"head must be None for a network with one output layer, got {head!r}. A network of several heads is a "
            "synsim.MultiHead, or has an argument head in its forward."
        ) from error


def _elsewhere(net: nn.Module, x: Tensor) -> str:
    # Where the examples are of another type, or lie on another device, than the parameters; "" if they do not.
    places = {(one.dtype, one.device) for one in net.parameters() if one.is_floating_point()}
    if not places or (x.dtype, x.device) in places:
        return ""
    dtype, device = next(iter(places))
    return (
        f"the parameters of the network are {dtype} on {device}, got x of {x.dtype} on {x.device}. Convert it with "
        f"x.to({str(device)!r}, {dtype}), or move the network."
    )


def _integers(net: nn.Module, x: Tensor, error: Exception) -> str:
    if not any(isinstance(module, nn.Embedding | nn.EmbeddingBag) for module in net.modules()):
        try:
            _checks.images(x)
        except ValueError as floats:
            return str(floats)
    if x.dtype not in (torch.int64, torch.int32):
        return f"token indices must be int64 or int32, got {x.dtype}. Convert them with x.long()."
    return f"the network does not take x, {x.dtype} from {int(x.min())} to {int(x.max())}: {error}"


def _check_axes(net: nn.Module, x: Tensor, out: Tensor) -> None:
    replicas = output_replicas(net)
    if replicas is None:
        fits = out.ndim in (2, 3) and out.shape[0] == x.shape[0]
        form = f"[B, C] or [B, T, C] with B = {x.shape[0]}"
    else:
        fits, form = out.ndim == 3 and out.shape[0] == replicas, f"[R, B, C] with R = {replicas}"
    if not fits:
        raise ValueError(
            f"the network must return logits {form} for x of shape {list(x.shape)}, got shape {list(out.shape)}. "
            "Examples come first, classes last."
        )
