"""Gradients of the negative log-likelihood with respect to the outputs, for labels that the network itself gives.

For a loss −log q(y | z) of outputs z, the Fisher information of z is the covariance of its gradient over labels y drawn
from q. A factor Σ_E is made of such gradients, pulled back to the outputs of a layer.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from synsim import streams
from synsim._checks import require
from synsim.curvature.labels import sampled_labels
from synsim.kernels.normal import normals
from synsim.losses import class_logits

LABELS = ("sampled", "empirical", "exact")
LIKELIHOODS = ("categorical", "gaussian")


def sampled(outputs: Tensor, likelihood: str, seeds: Sequence[int], name: str, draw: int) -> Tensor:
    """Gradients for one label per example, drawn from the network's own output.

    Args:
        outputs: [B, C], [R, B, C] or, for tokens, [B, T, C].
        likelihood: "categorical": classes by softmax, or by the sigmoid of one output; "gaussian": of variance 1.
        seeds: one per replica.
        name: of the stream.
        draw: number of the draw.

    Returns:
        Like the outputs: gradients of −log q of every example alone.
    """
    outputs, tokens = outputs.detach(), outputs.ndim == 3 and len(seeds) != outputs.shape[0]
    if likelihood == "gaussian":
        keys = streams.keys("label", seeds, name)
        count = outputs.numel() // len(seeds)
        drawn = normals(keys.to(outputs.device), keys.numpy().astype(np.uint32), count, draw, outputs.dtype)
        return drawn.reshape(outputs.shape)
    chances = class_logits(outputs).softmax(-1)
    count = chances.shape[0 if tokens else -2]
    labels = sampled_labels(chances, seeds, name, slice(0, count), count, draw, tokens=tokens)
    return _towards(chances, labels)[..., -outputs.shape[-1] :]


def exact(outputs: Tensor, likelihood: str) -> Iterator[Tensor]:
    """Gradients whose outer products add up to the Fisher information of the outputs.

    Args:
        outputs: [B, C] or [R, B, C].
        likelihood: as for `sampled`.

    Yields:
        Like the outputs: one for each label, times the root of its probability.
    """
    outputs = outputs.detach()
    if likelihood == "gaussian":
        for k in range(outputs.shape[-1]):
            unit = torch.zeros_like(outputs)
            unit[..., k] = 1
            yield unit
        return
    chances = class_logits(outputs).softmax(-1)
    for c in range(chances.shape[-1]):
        labels = torch.full(chances.shape[:-1], c, device=chances.device)
        root = chances[..., c : c + 1].sqrt()
        yield (root * _towards(chances, labels))[..., -outputs.shape[-1] :]


def _towards(chances: Tensor, labels: Tensor) -> Tensor:
    # Gradient of −log softmax(z)[label] with respect to z.
    return chances.scatter_add(-1, labels.unsqueeze(-1), -torch.ones_like(chances[..., :1]))


def pulled(outputs: Tensor, errors: Iterable[Tensor], layers: Sequence[Tensor]) -> Iterator[list[Tensor | None]]:
    """Pull gradients of the outputs of a network back to the outputs of its layers.

    Args:
        outputs: of the network, in the graph of the pass.
        errors: gradients, like the outputs.
        layers: outputs of the layers, in the same graph.

    Yields:
        For each of the gradients, one tensor per layer; None where the outputs don't depend on the layer.
    """
    # The graph stays: it belongs to the caller, and goes with the tensors that hold it.
    for error in errors:
        yield list(torch.autograd.grad(outputs, layers, error, retain_graph=True, allow_unused=True))


def refuse_exact(outputs: Tensor, replicas: int | None, labels: str) -> None:
    """Refuse all labels of an output at every token.

    Args:
        outputs: of the network.
        replicas: R, or None.
        labels: which labels are asked for.

    Raises:
        ValueError: if outputs have an axis of tokens.
    """
    require(
        labels != "exact" or outputs.ndim == (2 if replicas is None else 3),
        "labels='exact' would need every sequence of labels at the tokens of an example. Use labels='sampled'.",
    )
