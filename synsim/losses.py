"""Cross-entropy that knows about replicas, tokens and networks with one output."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from synsim import _checks
from synsim._doors import explained, shown


def class_logits(logits: Tensor) -> Tensor:
    """Logits of at least two classes: one output z stands for two, of logits 0 and z, so that p(1) is its sigmoid.

    Args:
        logits: [..., C].

    Returns:
        The same, or [..., 2] for C = 1.

    Raises:
        ValueError: if logits are no tensor with an axis of classes.
    """
    if not isinstance(logits, Tensor) or logits.ndim == 0:
        raise ValueError(f"logits must be a tensor [..., C], got {shown(logits)}.")
    if logits.shape[-1] != 1:
        return logits
    both: Tensor = F.pad(logits, (1, 0))
    return both


@explained
def replica_cross_entropy(logits: Tensor, y: Any, *, tokens: bool = False) -> Tensor:
    """Mean cross-entropy of every replica, in nats.

    Labels of −100 are left out, of the sum and of the number that it is divided by, as torch does; of nothing but
    these the mean is NaN.

    Args:
        logits: [B, C] or [R, B, C]; or, with tokens=True, [B, T, C]. Of one output (C = 1) the labels are 0 and 1, and
            the loss is the binary cross-entropy of its sigmoid.
        y: labels from 0 to C − 1, [B], or [R, B] for labels of each replica's own; [B, T] for tokens.
        tokens: whether the first two axes of logits of rank 3 count examples and their tokens. Shapes cannot tell.

    Returns:
        A number, or [R]. Over tokens it is one mean, as of B · T examples.

    Raises:
        ValueError: if the ranks or sizes do not fit, there are no examples, or a label is no whole number or out of
            range.
        IndexError: from torch, for any other reason.
        RuntimeError: from torch, for any other reason.

    Example:
        >>> import torch
        >>> replica_cross_entropy(torch.zeros(2, 3, 10), torch.tensor([1, 2, 3]))
        tensor([2.3026, 2.3026])
    """
    try:
        return _losses(logits, y, tokens)
    except (IndexError, RuntimeError):
        _checks.labels(y, max(2, logits.shape[-1]), ignored=True)
        raise


def _losses(logits: Tensor, y: Any, tokens: bool) -> Tensor:
    if tokens is not False:
        tokens = _checks.flag(tokens, "tokens")
    if logits.ndim not in (2, 3):
        raise ValueError(f"logits must be [B, C] or [R, B, C], got shape {list(logits.shape)}.")
    whole = isinstance(y, Tensor) and y.dtype == torch.int64
    if whole and logits.ndim == 2 and logits.shape[1] > 1 and y.shape == logits.shape[:1] and y.shape[0] > 0:
        # The commonest case, at every step of training, with as little as possible around torch's own.
        return F.cross_entropy(logits, y)
    y = _labels(y, logits, tokens)
    if logits.shape[-2] == 0 or logits.shape[0] == 0:
        raise ValueError("expected at least one example, got an empty batch.")
    logits, reduction = class_logits(logits), "none" if logits.ndim == 3 and not tokens else "mean"
    labels = y.expand(logits.shape[:-1]).flatten()
    found: Tensor = F.cross_entropy(logits.flatten(0, -2), labels, reduction=reduction)
    if reduction == "mean":
        return found
    means = found.reshape(logits.shape[:-1]).mean(1)
    if y.is_cpu and int(y.min()) >= 0:
        return means
    # A factor of exactly 1 where nothing is left out.
    share: Tensor = y.shape[-1] / (y != _checks.IGNORED).sum(-1, dtype=means.dtype)
    return means * share


def _labels(y: Any, logits: Tensor, tokens: bool) -> Tensor:
    if not isinstance(y, Tensor):
        y = _checks.tensor(y, "y").to(logits.device)
    found: Tensor = y.long()
    allowed = (logits.shape[:-1],) if tokens else (logits.shape[-2:-1], logits.shape[:-1])
    if y.shape not in allowed:
        raise ValueError(
            "y must be "
            + " or ".join(str(list(shape)) for shape in dict.fromkeys(allowed))
            + f" for logits of shape {list(logits.shape)}, got {list(y.shape)}."
        )
    if y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
        _checks.labels(y, logits.shape[-1])
    return found


def cross_entropy(logits: Tensor, y: Any, *, tokens: bool = False) -> Tensor:
    """Cross-entropy in nats: mean over examples, sum over replicas, so that each replica has its own gradient.

    Logits of rank 3 are those of replicas, [R, B, C], unless tokens=True: an output of a plain network at each of T
    tokens, [B, T, C], has the same rank, and there the loss is the mean over all tokens, as torch's. `fit`, meters and
    importances look at the network and need no telling.

    Args:
        logits: [B, C] or [R, B, C]; or, with tokens=True, [B, T, C]. One output (C = 1) is that of a binary classifier.
        y: labels from 0 to C − 1, [B] or [R, B]; [B, T] for tokens. Labels of −100 are left out.
        tokens: whether logits of rank 3 are [B, T, C].

    Returns:
        A number.

    Raises:
        ValueError: if the ranks or sizes do not fit, or a label is out of range.
        IndexError: from torch, for any other reason.
        RuntimeError: from torch, for any other reason.

    Example:
        >>> import torch
        >>> cross_entropy(torch.zeros(3, 10), torch.tensor([1, 2, 3]))
        tensor(2.3026)
    """
    losses = replica_cross_entropy(logits, y, tokens=tokens)
    return losses.sum() if losses.ndim else losses
