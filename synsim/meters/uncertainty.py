"""How sure one can be of a mutual information, given the images it was measured on."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from synsim import streams
from synsim._checks import require, times
from synsim._doors import typed
from synsim.meters.estimators import information, jackknife, joint_distribution, leave_one_out, miller_madow
from synsim.meters.information import predictions

WEIGHTS = 2**22
"""Weights of images that are drawn at a time."""


class InformationInterval(NamedTuple):
    """Mutual information with its uncertainty, in bits; numbers, or [R]; float64.

    Attributes:
        bits: the published estimate, that of `mutual_information`.
        corrected: the estimate with its bias taken off by the jackknife; the middle of the interval.
        low: lower end of the interval.
        high: upper end.
    """

    bits: Tensor
    corrected: Tensor
    low: Tensor
    high: Tensor


@typed
def information_interval(
    net: nn.Module,
    x: Any,
    y: Any = None,
    *,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
    kind: str = "soft",
    classes: int | None = None,
    block: int | None = 100,
    head: int | None = None,
) -> InformationInterval:
    """Bootstrap interval of `mutual_information` over images (Efron & Tibshirani 1993).

    Images are drawn with replacement, and the percentiles of the plug-in estimate over the resamples are moved so that
    their mean is the jackknife's estimate. Without the move they would be useless where there is little to know: the
    estimate is biased upwards, and each resample is biased upwards once more (for a network at chance, percentile and
    BCa intervals never hold the truth). The ends are not cut at 0.

    The interval is about other images from the same source, shown to the same network with the same masks. It knows
    nothing of other seeds of training, and misses the truth more often where images are few for the C × K cells.

    Args:
        net: the network.
        x: images, as for `accuracy`.
        y: labels [N] or [R, N], a tensor, array or list; None: those that x brings with it.
        level: confidence, between 0 and 1.
        resamples: number of resamples; all replicas share them.
        seed: of the masks and of the resamples.
        kind: "soft" or "argmax".
        classes: number of classes of Y; None: the width of the network's output.
        block: images that share a mask.
        head: index of the head, or None.

    Returns:
        Estimates and the ends of the interval.

    Raises:
        ValueError: if the level does not lie between 0 and 1, or an argument does not fit `mutual_information`.
    """
    require(0 < level < 1, f"level must be between 0 and 1, such as 0.95, got {level!r}.")
    resamples = times(resamples, "resamples", 2)
    seen, labels, classes, alone = predictions(net, x, y, kind, classes, block, seed, head)
    joint = joint_distribution(seen, labels, classes)
    plain = information(joint)
    corrected = jackknife(plain, leave_one_out(seen, labels, classes))
    again = bootstrap(seen, labels, classes, resamples, seed)
    tails = again.new_tensor([(1 - level) / 2, (1 + level) / 2])
    low, high = again.quantile(tails, 0) - again.mean(0) + corrected
    bits = plain + miller_madow(joint, labels.shape[-1]) if kind == "argmax" else plain
    found = InformationInterval(bits, corrected, low, high)
    return InformationInterval(*(one[0] for one in found)) if alone else found


@typed
def bootstrap(probabilities: Tensor, labels: Tensor, classes: int, resamples: int, seed: int) -> Tensor:
    """Plug-in information of images drawn with replacement.

    Args:
        probabilities: of the predictions, [R, N, K].
        labels: [R, N].
        classes: C.
        resamples: how many.
        seed: of the resamples; their stream is "eval/bootstrap".

    Returns:
        Bits [resamples, R].
    """
    replicas, count = labels.shape
    # A class at a time: the images of a class, weighted, add up to its row of the joint distribution.
    order = labels.argsort(dim=1, stable=True)
    sizes = [torch.bincount(row, minlength=classes).tolist() for row in labels]
    parts = []
    step = max(1, WEIGHTS // count)
    for start in range(0, resamples, step):
        weights = resampled(count, range(start, min(resamples, start + step)), seed, labels.device)
        rows = []
        for r in range(replicas):
            split = zip(
                weights[:, order[r]].split(sizes[r], 1), probabilities[r, order[r]].split(sizes[r]), strict=True
            )
            rows.append(information(torch.stack([w @ q for w, q in split], 1) / count))
        parts.append(torch.stack(rows, 1))
    return torch.cat(parts)


@typed
def resampled(count: int, which: range, seed: int, device: torch.device) -> Tensor:
    """How often each image is drawn, for N draws with replacement.

    Args:
        count: images N.
        which: numbers of the resamples; each has a stream of its own.
        seed: of all of them.
        device: where the result lives.

    Returns:
        float64 [len(which), N], each row summing to N.
    """
    keys = streams.keys("eval/bootstrap", which, str(seed)).to(device)
    index = (streams.integers(keys, count) * count) >> 32
    return torch.zeros(len(which), count, dtype=torch.float64, device=device).scatter_add_(
        1, index, torch.ones(1, 1, dtype=torch.float64, device=device).expand(index.shape)
    )
