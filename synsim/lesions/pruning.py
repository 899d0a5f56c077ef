"""Pruning is a lesion, read from the other side: accuracy over the share of synapses that stay."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from synsim._checks import require
from synsim._doors import typed
from synsim.lesions.curves import Passes, curves_of
from synsim.lesions.orders import Order, kept
from synsim.networks import replicas_of

KEEP = tuple(0.01 ** (1 - k / 19) for k in range(20))
"""Twenty shares in geometric steps, from 1 % to all."""


@typed
def pruning_curve(
    net: nn.Module,
    x: Any,
    y: Any = None,
    keep: Sequence[float] = KEEP,
    order: Order = "weight",
    samples: int = 10,
    *,
    scope: str = "layer",
    output: float = 2.0,
    block: int | None = 100,
    seed: int = 0,
    head: int | None = None,
    memory: int = 64,
) -> tuple[Tensor, Tensor]:
    """Accuracy of a network of which only a share of the synapses is kept, without retraining.

    The same as `lesion_curve`, but that exactly floor(keep · n) synapses stay, and that each layer keeps its share.

    Args:
        net: the network, of stochastic layers (for one of torch's, `synsim.convert(net, p=1.0)`); it is not changed.
        x: images, in any form that `synsim.meters.accuracy` takes.
        y: labels [N] or [R, N]; None: those that x brings with it.
        keep: F shares that stay, above 0 and at most 1.
        order: those with the highest scores stay: "weight" (abs(w̄)), "p", "p*weight", "random", or importances.
        samples: stochastic passes per measurement; one is made for a network that does not fail.
        scope: "layer": the share is of each layer; "network": of all synapses, pooled.
        output: factor of the share in the last layer, which keeps all at most; for scope="layer".
        block: images that share a mask.
        seed: of masks and random order.
        head: index of the head of a network with several, or None.
        memory: MiB that the copies of one pass may take.

    Returns:
        Shares [F] and accuracies [F] or [R, F], in [0, 1].

    Raises:
        ValueError: if a share does not lie above 0 and up to 1, or an argument does not fit.

    Source:
        Schwarz et al. 2021, Powerpropagation, Fig. 1a: layerwise, the output layer keeping twice the share.

    Example:
        >>> import torch, synsim
        >>> net = synsim.mlp([4, 2], p=1.0)
        >>> keep, accuracy = synsim.pruning_curve(net, torch.eye(4), torch.tensor([0, 1, 0, 1]), keep=[0.5, 1.0])
        >>> accuracy.shape
        torch.Size([2])
    """
    shares = torch.as_tensor(list(keep), dtype=torch.float64, device="cpu")
    require(len(shares) > 0, "expected at least one share to keep, got none.")
    require(bool(((shares > 0) & (shares <= 1)).all()), f"keep must lie above 0 and up to 1, got {shares.tolist()}.")
    factor = output if scope == "layer" else 1.0

    def stays(ranks: dict[str, Tensor], share: float) -> dict[str, Tensor]:
        return kept(ranks, share, replicas_of(net), scope, factor)

    seen = Passes(samples, block, seed, head, memory)
    return shares, curves_of(net, x, y, {"one": (order, scope)}, shares.tolist(), stays, seen)["one"]
