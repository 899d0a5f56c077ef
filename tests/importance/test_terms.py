"""Several gradients of one pass share what is made of its inputs: same numbers, in whatever parts they are summed."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from synsim import importance
from synsim.curvature.layers import Convolution, Linear
from synsim.curvature.roots import fisher_roots

DOUBLE = torch.float64
GEOMETRIES = [
    (1, 1, 1, 1),
    (2, 0, 1, 2),
    (2, 3, 2, 1),
    ((1, 3), (2, 0), (2, 1), 2),
    (1, "same", 2, 1),
    (1, "valid", 1, 2),
]


def draw(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=DOUBLE)


@pytest.mark.parametrize(("stride", "padding", "dilation", "groups"), GEOMETRIES)
@pytest.mark.parametrize("channels", [2, 8])
def test_gradients_of_a_convolution_are_those_of_autograd(channels, stride, padding, dilation, groups):
    layer = nn.Conv2d(channels, 4, (3, 2), stride, padding, dilation, groups, dtype=DOUBLE)
    x = draw(5, channels, 9, 8)
    deltas = torch.stack([draw(*layer(x).shape) + term for term in range(3)], 1)
    weights, biases = torch.zeros(5, 3, *layer.weight.shape, dtype=DOUBLE), torch.zeros(5, 3, 4, dtype=DOUBLE)
    for rows, gradient, to_bias in Convolution().stacked(layer, x, deltas, 8_000):
        assert rows.stop - rows.start < 5
        weights[rows], biases[rows] = gradient, to_bias
    for example, term in itertools.product(range(5), range(3)):
        out = layer(x[example : example + 1])
        found = torch.autograd.grad(out, [layer.weight, layer.bias], deltas[example : example + 1, term])
        assert torch.allclose(weights[example, term], found[0], rtol=1e-12, atol=1e-12)
        assert torch.allclose(biases[example, term], found[1], rtol=1e-12, atol=1e-12)


def test_a_handler_that_knows_single_gradients_alone_stacks_them():
    layer, x, deltas = nn.Linear(6, 4, dtype=DOUBLE), draw(5, 7, 6), draw(5, 3, 7, 4)
    total = torch.zeros(4, 6, dtype=DOUBLE)
    for _, gradient, _ in Linear().stacked(layer, x, deltas, 2000):
        total += gradient.square().sum((0, 1))
    assert torch.allclose(total, torch.einsum("btso,bsi->btoi", deltas, x).square().sum((0, 1)), rtol=1e-12)


def test_the_columns_of_a_root_add_up_to_the_information_of_a_softmax():
    logits = 3 * draw(7, 5)
    roots, p = fisher_roots(logits), logits.softmax(-1)
    assert roots.shape == (4, 7, 5)
    expected = torch.diag_embed(p) - p.unsqueeze(-1) * p.unsqueeze(-2)
    assert torch.allclose(torch.einsum("cni,cnj->nij", roots, roots), expected, atol=1e-14)
    certain = fisher_roots(torch.tensor([[0.0, 200.0, -200.0]], dtype=DOUBLE))
    assert certain.isfinite().all()
    assert float(certain.abs().max()) < 1e-40


def naive(net, x):
    """Every label of every image, by autograd, each weighed by its probability."""
    total = {name: torch.zeros_like(parameter) for name, parameter in net.named_parameters()}
    for image in x:
        log_p = net(image[None]).log_softmax(-1)[0]
        for label in range(len(log_p)):
            found = torch.autograd.grad(log_p[label], list(net.parameters()), retain_graph=True)
            for sum_, one in zip(total.values(), found, strict=True):
                sum_ += log_p[label].detach().exp() * one.square() / len(x)
    return total


@pytest.mark.parametrize("memory", [0.003, 0.05, 16.0])
@pytest.mark.parametrize("classes", [1, 2, 6])
def test_the_exact_fisher_in_parts_of_any_size(memory, classes):
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.Tanh(), nn.Conv2d(4, 3, 2, stride=2), nn.Flatten(), nn.Linear(12, classes)
    )
    net, x = net.double(), draw(7, 2, 6, 6)
    found = importance.make("fisher", memory=memory).estimate(net, x)
    two = nn.Sequential(net, nn.ConstantPad1d((1, 0), 0.0)) if classes == 1 else net
    for value, expected in zip(found.values(), naive(two, x).values(), strict=True):
        assert torch.allclose(value, expected, rtol=1e-10, atol=1e-14)


def test_patches_that_overlap_are_copied_and_left_as_they_were():
    layer, x = nn.Conv2d(2, 3, 3), draw(4, 2, 5, 5)
    before = x.clone()
    deltas = torch.ones(4, 1, 3, 3, 3, dtype=DOUBLE)
    ((_, gradient, _),) = Convolution().stacked(layer.double(), x, deltas, 10**7)
    assert torch.equal(x, before)
    assert torch.allclose(gradient[:, 0, 0].flatten(1), F.unfold(x, 3).sum(-1), rtol=1e-12)
