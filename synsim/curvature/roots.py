"""A root of the Fisher information of a softmax, column by column."""

import torch
from torch import Tensor


def fisher_roots(logits: Tensor) -> Tensor:
    """Gradients of the logits whose outer products add up to the Fisher of each example's softmax.

    diag(p) − p pᵀ has rank C − 1. The usual root √p_c (δ_c − p) has C columns; turned so that √p becomes an axis
    (a Householder reflection), the last of them is 0 and left out.

    Args:
        logits: [..., N, C] with C of at least 2.

    Returns:
        [C − 1, ..., N, C].
    """
    logs = logits.log_softmax(-1)
    p, root = logs.exp(), (logs / 2).exp()
    one = torch.eye(logits.shape[-1], dtype=logits.dtype, device=logits.device)
    last = (root[..., -1:] / (1 + root[..., -1:])) * (one[-1] - p)
    found = root.unsqueeze(-1) * (one - p.unsqueeze(-2) - last.unsqueeze(-2))
    return found[..., :-1, :].movedim(-2, 0)
