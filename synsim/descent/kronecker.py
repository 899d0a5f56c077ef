"""Kronecker factors of the Fisher information of a data set: for analysis, and for Laplace approximations."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from synsim._checks import choice, class_labels, require, whole
from synsim._doors import typed
from synsim.curvature import measured
from synsim.curvature.capture import Tape, capture
from synsim.curvature.labels import seeds_of
from synsim.descent.blocks import blocks_of, refuse_layers
from synsim.descent.factors import gram
from synsim.descent.outputs import LABELS, LIKELIHOODS, exact, pulled, refuse_exact, sampled
from synsim.descent.seen import refuse_use
from synsim.inputs import labelled, logits_of, output_replicas, rows_of
from synsim.losses import replica_cross_entropy

CHUNK = 100


@typed
def kronecker(
    net: nn.Module,
    x: Any,
    y: Any = None,
    *,
    labels: str = "sampled",
    likelihood: str = "categorical",
    scale: str = "mean",
    head: int | None = None,
    seed: int = 0,
) -> dict[str, tuple[Tensor, Tensor]]:
    """Kronecker factors of all linear and convolutional layers, over a data set, in the mean field.

    The Fisher information of the mean loss with respect to the weights [O, I] of a layer, in row-major order, is
    approximated by E ⊗ A.

    Args:
        net: the network, left as it is.
        x: examples, in any form that importances take.
        y: their labels, for labels="empirical".
        labels: "sampled", "empirical" or "exact", as in `KFAC`.
        likelihood: "categorical" or "gaussian".
        scale: "mean": A is a mean over examples; "sum": their sum, as in the published constants of `KFAC`.
        head: index of the head, or None.
        seed: of sampled labels, for a network without stochastic layers.

    Returns:
        Layer name -> A [.., I, I], with one input more for a bias, and E [.., O, O], a mean over examples. In front are
        the replicas and the groups of a convolution.

    Raises:
        ValueError: if an argument does not fit, or a layer is used several times in a pass.
    """
    labels, likelihood = choice(labels, "labels", LABELS), choice(likelihood, "likelihood", LIKELIHOODS)
    scale = choice(scale, "scale", ("mean", "sum"))
    images, y = labelled(net, x, y)
    require(y is not None or labels != "empirical", "labels='empirical' needs the true labels: give y.")
    require(bool(blocks_of(net)), "expected a network with linear or convolutional layers, got none.")
    y = None if y is None else class_labels(y, "y")
    count, seeds = len(images), seeds_of(net, whole(seed, "seed", 0))
    require(count > 0, "expected at least one example, got none.")
    sums: dict[str, tuple[Tensor, Tensor]] = {}
    terms = 0
    with measured(net) as measurement:
        refuse_layers(net)
        for index, rows in enumerate(measurement.rows(count, CHUNK)):
            with torch.enable_grad(), capture(net) as tape:
                logits = logits_of(net, images[rows], head)
            refuse_exact(logits, output_replicas(net), labels)
            terms += logits[..., 0].numel() // (output_replicas(net) or 1)
            errors: Iterable[Tensor]
            if labels == "empirical":
                assert y is not None
                errors = [_empirical(net, logits, rows_of(net, y, rows))]
            elif labels == "exact":
                errors = exact(logits, likelihood)
            else:
                errors = [sampled(logits, likelihood, seeds, "descent/kronecker", index)]
            _add(sums, net, tape, logits, errors)
    return {name: (a / terms if scale == "mean" else a, e / terms) for name, (a, e) in sums.items()}


def _empirical(net: nn.Module, logits: Tensor, y: Tensor) -> Tensor:
    # Gradients of the loss of every example alone.
    outputs = logits.detach().requires_grad_()
    tokens = outputs.ndim == 3 and output_replicas(net) is None
    with torch.enable_grad():
        loss = replica_cross_entropy(outputs, y, tokens=tokens).sum()
    (found,) = torch.autograd.grad(loss, outputs)
    return found * (outputs[..., 0].numel() // (output_replicas(net) or 1))


def _add(
    sums: dict[str, tuple[Tensor, Tensor]], net: nn.Module, tape: Tape, logits: Tensor, errors: Iterable[Tensor]
) -> None:
    blocks = {name: block for name, block in blocks_of(net).items() if name in tape.uses}
    for name in blocks:
        refuse_use(name, tape)
    outputs = [tape.uses[name].output for name in blocks]
    for number, pull in enumerate(pulled(logits, errors, outputs)):
        for (name, block), error in zip(blocks.items(), pull, strict=True):
            if error is None:
                continue
            rows = block.rows(tape.uses[name], error)
            before = sums.get(name)
            inputs = gram(rows[0]) if number == 0 else None
            if before is None:
                assert inputs is not None
                sums[name] = inputs, gram(rows[1])
                continue
            before[1].add_(gram(rows[1]))
            if inputs is not None:
                before[0].add_(inputs)
