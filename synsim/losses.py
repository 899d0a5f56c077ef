"""Cross-entropy that knows about replicas."""

import torch.nn.functional as F
from torch import Tensor


def replica_cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Mean cross-entropy of every replica, in nats.

    Args:
        logits: [B, C] or [R, B, C].
        y: labels from 0 to C − 1, [B], or [R, B] for labels of each replica's own.

    Returns:
        A number, or [R].

    Raises:
        ValueError: if the ranks or sizes do not fit, or there are no examples.
    """
    if logits.ndim not in (2, 3):
        raise ValueError(f"logits must be [B, C] or [R, B, C], got shape {list(logits.shape)}.")
    if y.shape not in (logits.shape[-2:-1], logits.shape[:-1]):
        raise ValueError(
            f"y must be [{logits.shape[-2]}]"
            + (f" or {list(logits.shape[:-1])}" if logits.ndim == 3 else "")
            + f" for logits of shape {list(logits.shape)}, got {list(y.shape)}."
        )
    if logits.shape[-2] == 0:
        raise ValueError("expected at least one example, got an empty batch.")
    if logits.ndim == 2:
        return F.cross_entropy(logits, y.long())
    each = F.cross_entropy(logits.flatten(0, 1), y.long().expand(logits.shape[:-1]).flatten(), reduction="none")
    return each.reshape(logits.shape[:-1]).mean(1)


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy in nats: mean over examples, sum over replicas, so that each replica has its own gradient.

    Args:
        logits: [B, C] or [R, B, C].
        y: labels from 0 to C − 1, [B] or [R, B].

    Returns:
        A number.

    Raises:
        ValueError: if the ranks or sizes do not fit, or a label is out of range.
        IndexError: from torch, for any other reason.
        RuntimeError: from torch, for any other reason.
    """
    try:
        losses = replica_cross_entropy(logits, y)
        return losses.sum() if losses.ndim else losses
    except (IndexError, RuntimeError) as error:
        if y.numel() and (int(y.min()) < 0 or int(y.max()) >= logits.shape[-1]):
            raise ValueError(
                f"y must hold labels from 0 to {logits.shape[-1] - 1}, one per output of the network, "
                f"got labels from {int(y.min())} to {int(y.max())}."
            ) from error
        raise
