"""Whether gradients go along linearly: that of a sum of outputs is the sum of theirs."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from synsim._kept import kept
from synsim.curvature.case import FAILURES
from synsim.curvature.means import parameters_of
from synsim.curvature.meeting import tolerance
from synsim.curvature.roots import fisher_roots
from synsim.inputs import tensor_of
from synsim.losses import class_logits
from synsim.synapses import expected


def linear(net: nn.Module, x: Tensor, head: int | None) -> bool:
    """Whether squared gradients along the columns of a root add up to those of the labels, as the chain rule has it.

    They do not where something changes gradients on their way, such as a hook that clips them: then only the labels
    themselves say what is meant.

    Args:
        net: the network; it is as it was afterwards.
        x: a few of its examples, for one pass of the mean field.
        head: index of the active head.

    Returns:
        True too where no such pass is possible: what the network cannot do is said by who measures.
    """
    try:
        # One thread at a time: another one may have set parameters aside.
        with torch.enable_grad(), kept(net), expected(net):
            wanted = list(parameters_of(net).values())
            logits = class_logits(tensor_of(net(x) if head is None else net(x, head=head)))
            roots = fisher_roots(logits.detach())
            first, second, both = (
                torch.autograd.grad(logits, wanted, along, retain_graph=True, allow_unused=True)
                for along in (roots[0], roots[-1], roots[0] + roots[-1])
            )
    except FAILURES:
        return True
    return all(_adds_up(parts) for parts in zip(first, second, both, strict=True))


def _adds_up(parts: Sequence[Tensor | None]) -> bool:
    first, second, both = (part for part in parts)
    if first is None or second is None or both is None:
        return True
    first, second, both = first.to_dense(), second.to_dense(), both.to_dense()
    if not bool(both.isfinite().all()):
        return True
    bound = tolerance(both.dtype) * (first.abs() + second.abs()).max()
    return bool(((first + second - both).abs() <= bound).all())
