"""Mutual information between class and prediction, in bits."""

from typing import Any

import torch
from torch import Tensor, nn

from synsim._checks import require, whole
from synsim._doors import typed
from synsim.inputs.images import labelled
from synsim.meters.energy import energy
from synsim.meters.estimators import information, jackknife, joint_distribution, leave_one_out, miller_madow
from synsim.meters.passes import one_pass

KINDS = ("soft", "argmax")
CORRECTIONS = ("published", "none", "jackknife")


@typed
def mutual_information(
    net: nn.Module,
    x: Any,
    y: Any = None,
    *,
    kind: str = "soft",
    classes: int | None = None,
    block: int | None = 100,
    seed: int = 0,
    head: int | None = None,
    correction: str = "published",
) -> Tensor:
    """Information I(Y; Z) in bits that the prediction Z carries about the class Y, from a single stochastic pass.

    "soft" is the published estimator: Z is a label drawn from the softmax, so with q(z | y) the mean softmax of the
    images of class y and p(y) their share, I = Σ p(y) q(z | y) log2[q(z | y) / p(z)]. Its upper bound is the entropy of
    the classes, log2 C for balanced ones. "argmax" takes Z as the most probable label, with the Miller-Madow correction
    of the entropies (Miller 1955): +(K − 1) / 2N nats for K occupied cells.

    From N images either is biased, mostly upwards, by about the spread of the K outputs within the C classes over 2N.
    `correction="jackknife"` takes that off to first order, for both kinds: N I − (N − 1) mean(I without one image)
    (Quenouille 1956). For labels it is close to Miller-Madow; for softmax means, whose spread is smaller than that of
    labels, Miller-Madow would take off too much. The result may lie a little below 0 where there is nothing to know.

    Args:
        net: the network.
        x: images, as for `accuracy`.
        y: labels [N] or [R, N], a tensor, array or list; None: those that x brings with it.
        kind: "soft" or "argmax".
        classes: number of classes of Y; None: the width of the network's output.
        block: images that share a mask.
        seed: of the masks.
        head: index of the head, or None.
        correction: of the bias. "published": none for "soft", Miller-Madow for "argmax"; "none"; or "jackknife".

    Returns:
        Bits, a number or [R]; float64.

    Raises:
        ValueError: if the kind or the correction is unknown, or all images are of one class (there is nothing to
            know).

    Source:
        Schug, Benzing & Steger 2021, Box 4.1; estimator of the published code.

    Example:
        >>> import torch, synsim
        >>> net = synsim.mlp([2, 2], p=1.0)
        >>> _ = torch.nn.init.eye_(net[0].weight)
        >>> synsim.meters.mutual_information(net, 100 * torch.eye(2), torch.tensor([0, 1]))
        tensor(1., dtype=torch.float64)
    """
    allowed = f"correction must be one of {', '.join(CORRECTIONS)}, got {correction!r}."
    require(correction in CORRECTIONS, allowed)
    seen, labels, classes, alone = predictions(net, x, y, kind, classes, block, seed, head)
    joint = joint_distribution(seen, labels, classes)
    bits = information(joint)
    if correction == "jackknife":
        bits = jackknife(bits, leave_one_out(seen, labels, classes))
    elif correction == "published" and kind == "argmax":
        bits = bits + miller_madow(joint, labels.shape[-1])
    return bits[0] if alone else bits


@typed
def predictions(
    net: nn.Module,
    x: Any,
    y: Any,
    kind: str,
    classes: int | None,
    block: int | None,
    seed: int,
    head: int | None,
) -> tuple[Tensor, Tensor, int, bool]:
    """Distribution of the prediction Z for every image, from a single stochastic pass, with checks.

    Args:
        net: the network.
        x: images, as for `accuracy`.
        y: labels [N] or [R, N], a tensor, array or list; None: those that x brings with it.
        kind: "soft": the softmax; "argmax": all on the most probable label.
        classes: number of classes of Y, or None.
        block: images that share a mask.
        seed: of the masks.
        head: index of the head, or None.

    Returns:
        Probabilities [R, N, K] in float64, labels [R, N], number of classes of Y, and whether R = 1 stands for no
        axis of replicas.
    """
    require(kind in KINDS, f"kind must be one of {', '.join(KINDS)}, got {kind!r}.")
    probabilities, labels = one_pass(net, x, y, block, seed, head)
    width = probabilities.shape[-1]
    classes = width if classes is None else whole(classes, "classes", 1, 2**31)
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
        probabilities = torch.nn.functional.one_hot(probabilities.argmax(-1), width).double()
    return probabilities, labels, classes, alone


@typed
def information_per_energy(
    net: nn.Module,
    x: Any,
    y: Any = None,
    *,
    kind: str = "synaptic",
    classes: int | None = None,
    block: int | None = 100,
    seed: int = 0,
    head: int | None = None,
) -> Tensor:
    """Bits per unit of energy: `mutual_information` (soft) over `energy`.

    Args:
        net: the network.
        x: images, as for `accuracy`.
        y: labels [N] or [R, N], a tensor, array or list; None: those that x brings with it.
        kind: of the energy.
        classes: number of classes of Y, or None.
        block: images that share a mask.
        seed: of the masks.
        head: index of the head, or None.

    Returns:
        Bits per unit of energy, a number or [R]; float64. Not a number where the energy is 0.

    Source:
        Schug, Benzing & Steger 2021, Fig. 4.1b.

    Example:
        >>> import torch, synsim
        >>> net = synsim.mlp([2, 2], p=1.0)
        >>> _ = torch.nn.init.eye_(net[0].weight)
        >>> synsim.meters.information_per_energy(net, 100 * torch.eye(2), torch.tensor([0, 1]))  # 1 bit, energy 2
        tensor(0.5000, dtype=torch.float64)
    """
    images, y = labelled(net, x, y)
    bits = mutual_information(net, images, y, classes=classes, block=block, seed=seed, head=head)
    return bits / energy(net, kind, x=images, block=block, seed=seed, head=head)
