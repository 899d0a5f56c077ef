"""The loss of a network on what it is shown, for each of its replicas."""

from collections.abc import Callable

from torch import Tensor, nn

from synsim.inputs.logits import output_of
from synsim.losses import replica_cross_entropy
from synsim.networks import replicas_of

Objective = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(output of the network, images, labels) -> loss of every replica, [R] or a number."""


def losses_of(
    net: nn.Module, x: Tensor, y: Tensor, head: int | None = None, objective: Objective | None = None
) -> tuple[Tensor, Tensor, bool]:
    """Losses of one batch.

    Args:
        net: the network.
        x: images [B, ...] or [R, B, ...].
        y: labels [B] or [R, B].
        head: index of the head, or None.
        objective: what is minimised; None: the cross-entropy.

    Returns:
        Loss of every replica, the output, and whether it has an axis of tokens.
    """
    logits = output_of(net, x, head)
    tokens = logits.ndim == 3 and replicas_of(net) is None
    losses = replica_cross_entropy(logits, y, tokens=tokens) if objective is None else objective(logits, x, y)
    return losses, logits, tokens
