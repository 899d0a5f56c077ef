"""Mutual information between class and prediction, in bits."""

import math

import torch
from torch import Tensor, nn

from synsim._checks import require, whole
from synsim.inputs import Images
from synsim.meters.energy import energy
from synsim.meters.passes import one_pass

KINDS = ("soft", "argmax")


def mutual_information(
    net: nn.Module,
    x: Tensor | Images,
    y: Tensor,
    *,
    kind: str = "soft",
    classes: int | None = None,
    block: int | None = 100,
    seed: int = 0,
    head: int | None = None,
) -> Tensor:
    """Information I(Y; Z) in bits that the prediction Z carries about the class Y, from a single stochastic pass.

    "soft" is the published estimator: Z is a label drawn from the softmax, so with q(z | y) the mean softmax of the
    images of class y and p(y) their share, I = Σ p(y) q(z | y) log2[q(z | y) / p(z)]. Its upper bound is the entropy of
    the classes, log2 C for balanced ones. "argmax" takes Z as the most probable label, with the Miller-Madow correction
    of the entropies (Miller 1955): +(K − 1) / 2N nats for K occupied cells.

    Args:
        net: the network.
        x: images.
        y: labels [N] or [R, N].
        kind: "soft" or "argmax".
        classes: number of classes of Y; None: the width of the network's output.
        block: images that share a mask.
        seed: of the masks.
        head: index of the head, or None.

    Returns:
        Bits, a number or [R]; float64.

    Raises:
        ValueError: if the kind is unknown, or all images are of one class (there is nothing to know).

    Source:
        Schug, Benzing & Steger 2021, Box 4.1; estimator of the published code.
    """
    require(kind in KINDS, f"kind must be one of {', '.join(KINDS)}, got {kind!r}.")
    probabilities, labels = one_pass(net, x, y, block, seed, head)
    width = probabilities.shape[-1]
    classes = width if classes is None else whole(classes, "classes")
    require(
        int(labels.max()) < classes,
        f"labels must lie below classes={classes}, got {int(labels.max())}.",
    )
    alone = probabilities.ndim == 2
    if alone:
        probabilities = probabilities.unsqueeze(0)
    labels = labels.expand(probabilities.shape[:-1])
    require(
        bool((labels.amax(-1) > labels.amin(-1)).all()),
        "expected images of at least two classes, got one: the information about a single class is 0 by definition. "
        "Evaluate on a test set that holds all classes of the task.",
    )
    if kind == "argmax":
        chosen = probabilities.argmax(-1)
        probabilities = torch.nn.functional.one_hot(chosen, width).double()
    joint = joint_distribution(probabilities, labels, classes)
    bits = information(joint)
    if kind == "argmax":
        bits = bits + miller_madow(joint, labels.shape[-1])
    return bits[0] if alone else bits


def joint_distribution(probabilities: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Joint distribution of class and prediction.

    Args:
        probabilities: of the predictions, [R, N, K].
        labels: [R, N].
        classes: C.

    Returns:
        [R, C, K], each replica summing to 1; classes without images have a row of 0.
    """
    joint = probabilities.new_zeros(probabilities.shape[0], classes, probabilities.shape[-1])
    index = labels.unsqueeze(-1).expand(probabilities.shape)
    return joint.scatter_add_(1, index, probabilities) / labels.shape[-1]


def information(joint: Tensor) -> Tensor:
    """Mutual information of a joint distribution, with 0 · log 0 = 0.

    Args:
        joint: [..., C, K].

    Returns:
        Bits [...].
    """
    product = joint.sum(-1, keepdim=True) * joint.sum(-2, keepdim=True)
    # xlogy is 0 where its first argument is; the quotient is made safe only there.
    ratio = torch.where(joint > 0, joint / product.clamp_min(torch.finfo(joint.dtype).tiny), 1.0)
    return torch.xlogy(joint, ratio).sum((-1, -2)) / math.log(2)


def miller_madow(joint: Tensor, count: int) -> Tensor:
    """Miller-Madow correction of a plug-in mutual information, H(Y) + H(Z) − H(Y, Z).

    Args:
        joint: distribution of counts, [..., C, K].
        count: number of images.

    Returns:
        Bits to add [...]; usually negative.
    """
    cells = (joint > 0).sum((-1, -2))
    rows, columns = (joint.sum(-1) > 0).sum(-1), (joint.sum(-2) > 0).sum(-1)
    return ((rows - 1) + (columns - 1) - (cells - 1)).double() / (2 * count * math.log(2))


def information_per_energy(
    net: nn.Module,
    x: Tensor | Images,
    y: Tensor,
    *,
    kind: str = "synaptic",
    classes: int | None = None,
    block: int | None = 100,
    seed: int = 0,
) -> Tensor:
    """Bits per unit of energy: `mutual_information` (soft) over `energy`.

    Args:
        net: the network.
        x: images.
        y: labels [N] or [R, N].
        kind: of the energy.
        classes: number of classes of Y, or None.
        block: images that share a mask.
        seed: of the masks.

    Returns:
        Bits per unit of energy, a number or [R]; float64. Not a number where the energy is 0.

    Source:
        Schug, Benzing & Steger 2021, Fig. 4.1b.
    """
    bits = mutual_information(net, x, y, classes=classes, block=block, seed=seed)
    return bits / energy(net, kind, x=x, block=block, seed=seed)
