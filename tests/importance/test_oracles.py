"""The Fisher diagonal and gradients per example against two independent libraries and a closed form, in float32."""

import naive
import pytest
import torch
from backpack import backpack, extend
from backpack.extensions import BatchGrad, DiagGGNExact, SumGradSquared
from nngeometry.metrics import FIM
from nngeometry.object import PMatDiag
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from synsim import importance

N, CLASSES = 12, 5


def build(kind):
    layers = {
        "linear": lambda: [nn.Linear(8, 7), nn.ReLU(), nn.Linear(7, 6), nn.ReLU(), nn.Linear(6, CLASSES)],
        "conv": lambda: [
            nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 6, 3, stride=2), nn.ReLU(), nn.Flatten(),
            nn.Linear(24, CLASSES),
        ],
    }  # fmt: skip
    net = nn.Sequential(*layers[kind]())
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for w in net.parameters():
            w.copy_(torch.randn(w.shape, generator=generator) / w[0].numel() ** 0.5)
    x = torch.randn(N, *{"linear": (8,), "conv": (3, 5, 6)}[kind], generator=generator)
    return net, x, torch.randint(CLASSES, (N,), generator=generator)


def backpacked(net, x, y, extension, field, reduction="sum"):
    net, loss = extend(net), extend(nn.CrossEntropyLoss(reduction=reduction))
    with backpack(extension):
        loss(net(x.requires_grad_()), y).backward()
    return {name: getattr(w, field) for name, w in net.named_parameters()}


@pytest.mark.parametrize("kind", ["linear", "conv"])
def test_the_exact_fisher_is_that_of_nngeometry(kind):
    net, x, y = build(kind)
    found = importance.make("fisher").estimate(net, x)
    diagonal = FIM(net, DataLoader(TensorDataset(x, y), batch_size=5), PMatDiag, variant="classif_logits").get_diag()
    flat = dict(zip(found, diagonal.split([w.numel() for w in found.values()]), strict=True))
    naive.close(found, {name: flat[name].reshape(w.shape) for name, w in net.named_parameters()}, 1e-5)


@pytest.mark.parametrize("kind", ["linear", "conv"])
def test_the_exact_fisher_is_the_ggn_of_backpack(kind):
    net, x, y = build(kind)
    found = importance.make("fisher").estimate(net, x)
    naive.close(found, backpacked(net, x, y, DiagGGNExact(), "diag_ggn_exact", "mean"), 1e-5)


@pytest.mark.parametrize("kind", ["linear", "conv"])
def test_the_empirical_fisher_is_that_of_backpack(kind):
    net, x, y = build(kind)
    found = importance.make("fisher", labels="empirical").estimate(net, x, y)
    sums = backpacked(net, x, y, SumGradSquared(), "sum_grad_squared")
    naive.close(found, {name: value / N for name, value in sums.items()}, 1e-5)


@pytest.mark.parametrize("kind", ["linear", "conv"])
def test_absolute_and_batched_ones_follow_from_the_gradients_of_backpack(kind):
    net, x, y = build(kind)
    absolute = importance.make("absolute-fisher", labels="empirical").estimate(net, x, y)
    batched = importance.make("fisher-batched", batch=4).estimate(net, x, y)
    each = backpacked(net, x, y, BatchGrad(), "grad_batch")
    naive.close(absolute, {name: value.abs().mean(0) for name, value in each.items()}, 1e-5)
    by_batch = {name: value.unflatten(0, (3, 4)).mean(1).square().mean(0) for name, value in each.items()}
    naive.close(batched, by_batch, 1e-5)


@pytest.mark.parametrize("kind", ["linear", "conv"])
def test_mas_follows_from_the_gradients_of_backpack(kind):
    net, x, _ = build(kind)
    found = importance.make("mas", of="logits").estimate(net, x)
    net, loss = extend(net), extend(nn.MSELoss(reduction="sum"))
    with backpack(BatchGrad()):
        loss(net(x.requires_grad_()), torch.zeros(N, CLASSES)).backward()
    naive.close(found, {name: w.grad_batch.abs().mean(0) for name, w in net.named_parameters()}, 1e-5)


def test_softmax_regression_has_a_closed_form():
    net, x, y = build("linear")
    net = net[:1]
    p = (x @ net[0].weight.t() + net[0].bias).softmax(-1).detach()
    exact = importance.make("fisher").estimate(net, x)
    variance = p * (1 - p)
    naive.close(exact, {"0.weight": variance.t() @ x**2 / N, "0.bias": variance.mean(0)}, 1e-5)
    empirical = importance.make("fisher", labels="empirical").estimate(net, x, y)
    error = (p - torch.eye(7)[y]) ** 2
    naive.close(empirical, {"0.weight": error.t() @ x**2 / N, "0.bias": error.mean(0)}, 1e-5)
