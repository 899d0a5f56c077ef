"""Descent on neurons once more, slowly: example by example, dense matrices, plain loops over steps, in float64."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Factors = tuple[Tensor, Tensor]


def seen(weights: Sequence[Tensor], x: Tensor, y: Tensor) -> list[list[tuple[Tensor, Tensor]]]:
    """For every layer and example: its input, with a 1 behind it, and the gradient of −log softmax(z)[label]."""
    found: list[list[tuple[Tensor, Tensor]]] = [[] for _ in weights]
    for image, label in zip(x, y, strict=True):
        inputs, outputs, h = [], [], image
        for index, weight in enumerate(weights):
            inputs.append(torch.cat([h, h.new_ones(1)]))
            outputs.append((weight @ inputs[-1]).requires_grad_())
            h = outputs[-1].relu() if index < len(weights) - 1 else outputs[-1]
        loss = h.logsumexp(0) - h[label]
        for layer, one, error in zip(found, inputs, torch.autograd.grad(loss, outputs), strict=True):
            layer.append((one.detach(), error))
    return found


def outer(pairs: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Mean over examples of output gradient times input, [O, I]."""
    return sum(torch.outer(e, a) for a, e in pairs) / len(pairs)


def heuristic(a: Tensor, e: Tensor, damping: float) -> tuple[float, float]:
    """λ_A and λ_E."""
    pi = ((a.trace() / len(a)) / (e.trace() / len(e))).sqrt()
    return pi * damping**0.5, damping**0.5 / pi


def preconditioned(damp: str, gradient: Tensor, factors: Factors, damping: float) -> Tensor:
    """The inverse of a dense matrix [O · I, O · I] times the gradient in row-major order."""
    a, e = factors
    eye_a, eye_e = torch.eye(len(a), dtype=a.dtype), torch.eye(len(e), dtype=e.dtype)
    left, right = heuristic(a, e, damping) if damp in ("heuristic", "left") else (damping, damping)
    dense = {
        "foof": lambda: torch.kron(eye_e, a + damping * eye_a),
        "left": lambda: torch.kron(eye_e, a + left * eye_a),
        "heuristic": lambda: torch.kron(e + right * eye_e, a + left * eye_a),
        "standard": lambda: torch.kron(e, a) + damping * torch.eye(len(a) * len(e), dtype=a.dtype),
    }[damp]()
    return torch.linalg.solve(dense, gradient.flatten()).reshape(gradient.shape)


def as_published(gradient: Tensor, factors: Factors, damping: float) -> Tensor:
    """Standard damping as the author's code has it: U_E stands where its transpose belongs, and the other way round."""
    (s_a, u_a), (s_e, u_e) = (torch.linalg.eigh(each) for each in factors)
    inner = (u_e @ gradient @ u_a) / (torch.outer(s_e, s_a) + damping)
    return u_e.T @ inner @ u_a.T


class Naive:
    """A rule for a ReLU network of weights [O, I + 1], whose last column is the bias.

    `labels(weights, x, y, step)` gives the labels that the factors of outputs are made of.
    """

    def __init__(self, weights: Sequence[Tensor], damp: str, labels: Callable[..., Tensor], **constants: float) -> None:
        self.weights, self.damp, self.labels, self.of = [w.clone() for w in weights], damp, labels, constants
        self.sums: list[Factors] = [
            (w.new_zeros(w.shape[1], w.shape[1]), w.new_zeros(w.shape[0], w.shape[0])) for w in weights
        ]
        self.absorbed, self.done = 0, 0
        self.frozen: list[Factors] = []
        self.momentum = [torch.zeros_like(w) for w in weights]

    def absorb(self, x: Tensor, y: Tensor, step: int) -> None:
        m = self.of["average"]
        for index, pairs in enumerate(seen(self.weights, x, self.labels(self.weights, x, y, step))):
            a = sum(torch.outer(one, one) for one, _ in pairs)
            e = sum(torch.outer(error, error) for _, error in pairs) / len(pairs)
            before = self.sums[index]
            self.sums[index] = m * before[0] + (1 - m) * a, m * before[1] + (1 - m) * e
        self.absorbed += 1

    def invert(self) -> None:
        by = 1 - self.of["average"] ** self.absorbed
        self.frozen = [(a / by, e / by) for a, e in self.sums]

    def step(self, x: Tensor, y: Tensor) -> None:
        of = self.of
        drawn = [w.clone() for w in self.weights]
        for index, pairs in enumerate(seen(self.weights, x, y)):
            self.momentum[index] = of["momentum"] * self.momentum[index] + outer(pairs)
            move = preconditioned(self.damp, self.momentum[index], self.frozen[index], of["damping"])
            drawn[index] = (1 - of["lr"] * of["weight_decay"]) * drawn[index] - of["lr"] * move
        if self.done % of["period"] >= of["period"] - of["collect"]:
            self.absorb(x, y, self.done)
        self.weights, self.done = drawn, self.done + 1
        if self.done % of["period"] == 0:
            self.invert()
