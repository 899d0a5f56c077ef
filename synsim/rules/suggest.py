"""The one constant of the plastic rule that depends on the scale of the data, from the data."""

from typing import Any

import torch
from torch import Tensor, nn

from synsim._checks import number, require, whole
from synsim._doors import typed
from synsim._kept import kept
from synsim.inputs import labelled
from synsim.inputs.loss import Objective, losses_of
from synsim.networks import replicas_of
from synsim.synapses import evaluation, synapses


@typed
def suggest_g_lim(
    net: nn.Module,
    x: Any,
    y: Any = None,
    *,
    share: float = 0.1,
    batch: int = 100,
    batches: int = 10,
    seed: int = 0,
    head: int | None = None,
    objective: Objective | None = None,
) -> float | Tensor:
    """The size of the gradient that a given share of synapses exceeds in a step, as `g_lim` of `PresynapticSGD`.

    With this limit the release probability of that share of synapses grows at each step, and that of the others falls.
    Gradients are those of the network as it is, in its present mode, with release masks of their own; it is left as it
    was. Measure with the batch size of the training: gradients of larger batches are smaller.

    Args:
        net: a network with stochastic layers.
        x: examples, in any form that `synsim.meters.accuracy` takes.
        y: labels [N] or [R, N]; None: those that x brings with it.
        share: of the synapses, above 0 and below 1; unreleased ones, which have no gradient, count.
        batch: examples per gradient.
        batches: gradients to look at; fewer if the examples are used up.
        seed: of the releases.
        head: index of the head of a network with several, or None.
        objective: what is minimised: (output, x, y) -> [R]; None: the cross-entropy.

    Returns:
        The limit, or one per replica, float64 [R].

    Raises:
        ValueError: if the network has no stochastic layers, an argument does not fit, or fewer synapses than that share
            have a gradient at all.
    """
    share = number(share, "share", low=0.0, high=1.0, above=True)
    require(share < 1, f"share must be below 1, got {share:g}.")
    batch, batches = whole(batch, "batch"), whole(batches, "batches")
    layers = synapses(net)
    require(bool(layers), "expected a network with stochastic layers, got none.")
    images, labels = labelled(net, x, y)
    require(labels is not None, "labels are needed: give y, or an x that brings its labels with it.")
    assert labels is not None
    weights = [layer.weight for layer in layers.values()]
    found = []
    with kept(net), evaluation(net, seed) as passes, torch.enable_grad():
        for index, start in enumerate(range(0, len(images), batch)[:batches]):
            passes.at(index, 0, start)
            part = slice(start, start + batch)
            shown = images[part]
            wanted = labels[:, part] if labels.ndim == 2 and replicas_of(net) is not None else labels[part]
            losses, _, _ = losses_of(net, shown, wanted, head, objective)
            gradients = torch.autograd.grad(losses.sum(), weights, allow_unused=True)
            lead = replicas_of(net) or 1
            flat = [
                (torch.zeros_like(weight) if gradient is None else gradient).reshape(lead, -1)
                for weight, gradient in zip(weights, gradients, strict=True)
            ]
            found.append(torch.cat(flat, 1).abs())
    ordered = torch.cat(found, 1).sort(dim=1, descending=True).values
    limit = ordered[:, int(share * ordered.shape[1])].double().cpu()
    require(
        bool((limit > 0).all()),
        f"fewer than {share:.0%} of the synapses have a gradient in a step (the others were not released, or feed "
        "silent units). Ask for a smaller share.",
    )
    return float(limit) if replicas_of(net) is None else limit
