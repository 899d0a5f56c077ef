"""Naive doubles that several files of tests compare with."""

import torch


def holm(p):
    """Holm's step-down correction, one p value after the other."""
    floor, corrected = 0.0, {}
    for rank, name in enumerate(sorted(p, key=p.get)):
        floor = max(floor, min(1.0, p[name] * (len(p) - rank)))
        corrected[name] = floor
    return corrected


def naive_fisher(net, x, place, classes):
    """Squared gradients of log p(class | example), weighted by p, one example and class after the other.

    `place` is called with the index of each example, before its pass.
    """
    sums = {name: torch.zeros_like(value) for name, value in net.named_parameters()}
    for i in range(len(x)):
        place(i)
        log_p = net(x[i : i + 1]).log_softmax(-1).reshape(-1, classes)
        for r in range(log_p.shape[0]):
            for c in range(classes):
                gradient = torch.autograd.grad(log_p[r, c], list(net.parameters()), retain_graph=True)
                for name, one in zip(sums, gradient, strict=True):
                    sums[name] += log_p[r, c].exp().detach() * one.square() / len(x)
    return sums
