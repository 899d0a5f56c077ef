"""Estimators of mutual information from the predictions for single images: tensors in, bits out."""

import math

import torch
from torch import Tensor

from synsim._checks import affordable


def joint_distribution(probabilities: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Joint distribution of class and prediction.

    Args:
        probabilities: of the predictions, [R, N, K].
        labels: [R, N].
        classes: C.

    Returns:
        [R, C, K], each replica summing to 1; classes without images have a row of 0.
    """
    lead, width = probabilities.shape[0], probabilities.shape[-1]
    affordable(probabilities.element_size() * lead * classes * width, f"a joint distribution of {classes} classes")
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


def leave_one_out(probabilities: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Plug-in information without each image in turn, in one pass: only the row of its class and the margin change.

    Args:
        probabilities: of the predictions, [R, N, K].
        labels: [R, N].
        classes: C.

    Returns:
        Bits [R, N].
    """
    sums = joint_distribution(probabilities, labels, classes) * labels.shape[-1]
    rows, columns, all_ = sums.sum(-1), sums.sum(-2), sums.sum((-1, -2))
    own = sums.gather(1, labels.unsqueeze(-1).expand(probabilities.shape))
    mass = probabilities.sum(-1)

    def shrink(total: Tensor, part: Tensor) -> Tensor:
        # How much Σ t log t falls when a part is taken off; rounding may leave less than nothing.
        left = (total - part).clamp_min(0)
        return torch.xlogy(total, total) - torch.xlogy(left, left)

    whole_ = sum(sign * torch.xlogy(t, t).flatten(1).sum(1) for sign, t in ((1, sums), (-1, rows), (-1, columns)))
    whole_ = whole_ + torch.xlogy(all_, all_)
    change = shrink(own, probabilities).sum(-1) - shrink(columns.unsqueeze(1), probabilities).sum(-1)
    change = change - shrink(rows.gather(1, labels), mass) + shrink(all_.unsqueeze(1), mass)
    return (whole_.unsqueeze(1) - change) / (all_.unsqueeze(1) - mass) / math.log(2)


def jackknife(bits: Tensor, left_out: Tensor) -> Tensor:
    """The jackknife's estimate: free of the part of the bias that goes with 1 / N.

    Args:
        bits: plug-in estimates from all images, [R].
        left_out: those without each image, [R, N].

    Returns:
        Bits [R].
    """
    count = left_out.shape[-1]
    return bits + (count - 1) * (bits.unsqueeze(-1) - left_out).mean(-1)
