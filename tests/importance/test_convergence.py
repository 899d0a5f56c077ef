"""What is drawn at random goes to what it estimates, at the rate it must."""

import math

import pytest
import torch
from torch import nn

from synsim import Step, importance, mlp

REPEATS = 128
BAND = math.exp(4 * 0.5 * math.sqrt(2 * 2 / REPEATS))
"""Four standard deviations of a ratio of RMS errors over REPEATS repeats each.

The squared error of a repeat is a sum of squares of (nearly) normal numbers, however they correlate; its relative
standard deviation is therefore at most √2 (one number alone), that of a mean over the repeats √(2 / REPEATS), that of
a ratio of two means √(4 / REPEATS), and the root halves it. The ratio is 4 where the error goes with 1 / √n.
"""


def small():
    generator = torch.Generator().manual_seed(1)
    net = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 4)).double()
    with torch.no_grad():
        for w in net.parameters():
            w.copy_(torch.randn(w.shape, generator=generator))
    return net, torch.randn(8, 5, generator=generator, dtype=torch.float64)


def rms(net, x, limit, name, **options):
    """Root of the mean over repeats of the squared distance to the limit, all parameters together."""
    squares = []
    for seed in range(REPEATS):
        found = importance.make(name, seed=seed, **options).estimate(net, x)
        squares.append(sum(float((found[key] - value).square().sum()) for key, value in limit.items()))
    return math.sqrt(sum(squares) / REPEATS)


def test_drawn_labels_converge_with_the_root_of_the_draws():
    net, x = small()
    exact = importance.make("fisher").estimate(net, x)
    errors = [rms(net, x, exact, "fisher", labels="sampled", draws=draws) for draws in (2, 32)]
    assert 4 / BAND < errors[0] / errors[1] < 4 * BAND


@pytest.mark.parametrize("name", ["fisher", "absolute-fisher"])
def test_every_pass_draws_labels_of_its_own(name):
    net = mlp([5, 6, 4], p=1.0, seed=2, dtype=torch.float64)
    x = torch.randn(8, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    passes = importance.make(name, labels="sampled", draws=2, view="sampled", samples=3).estimate(net, x)
    # Without noise in the network, three passes of two draws are six draws.
    draws = importance.make(name, labels="sampled", draws=6).estimate(net, x)
    for key, value in draws.items():
        assert torch.allclose(passes[key], value, rtol=1e-12)


@pytest.mark.parametrize(("few", "many"), [(8, 128), (2, 32)])
def test_slices_converge_to_the_closed_expectation(few, many):
    net, x = small()
    closed = importance.make("sliced-cramer", slices=None).estimate(net, x)
    errors = [rms(net, x, closed, "sliced-cramer", slices=slices) for slices in (few, many)]
    assert 4 / BAND < errors[0] / errors[1] < 4 * BAND


BATCH, STEPS, COPIES = 16, 20, 4000
GRADIENTS = torch.randn(40, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64) * 0.7
GRADIENTS += torch.tensor([0.0, 0.4, 2.0], dtype=torch.float64)
"""Gradients of 40 examples for three parameters: noise alone, noise before mean, mean before noise."""


def second_moments(beta=0.999, **options):
    """value² of SOS for COPIES independent runs over STEPS batches drawn with replacement: [3, COPIES]."""
    net = nn.Linear(COPIES, 3, bias=False).double()
    sos = importance.make("sos", beta=beta, bias_correction=True, **options)
    sos.start(net)
    generator = torch.Generator().manual_seed(3)

    def batch():
        index = torch.randint(len(GRADIENTS), (BATCH, COPIES), generator=generator)
        return {"weight": GRADIENTS[index].mean(0).t()}

    for index in range(STEPS):
        zero = {"weight": torch.zeros(3, COPIES, dtype=torch.float64)}
        sos.observe(net, Step(index, batch(), zero, zero, {"independent": batch()}))
    return sos.value()["weight"].square()


@pytest.mark.parametrize(
    ("options", "of"),
    [
        ({"alpha": "unbiased", "batch": BATCH}, "empirical Fisher"),
        ({"alpha": "unbiased", "batch": BATCH, "root": "plus"}, "empirical Fisher"),
        ({"alpha": 0.0}, "biased by the batch"),
        ({"alpha": 1.0}, "noise"),
    ],
)
def test_what_second_order_synapses_estimate(options, of):
    mean, fisher = GRADIENTS.mean(0), GRADIENTS.square().mean(0)
    noise = fisher - mean**2
    expected = {
        "empirical Fisher": fisher,
        "biased by the batch": (BATCH - 1) / BATCH * mean**2 + fisher / BATCH,
        "noise": 2 / BATCH * noise,
    }
    found = second_moments(**options)
    error = found.std(1) / math.sqrt(COPIES)
    assert bool((error < 0.01 * found.mean(1)).all()), "the band below must be tight"
    assert bool(((found.mean(1) - expected[of]).abs() < 5 * error).all())
    for other in expected.keys() - {of}:
        assert bool(((found.mean(1) - expected[other]).abs() > 20 * error).any()), f"could be {other} as well"


@pytest.mark.parametrize(
    ("batch", "plus", "minus", "scale_plus", "scale_minus"),
    [
        (16, 1.437851, 0.695482, 0.19171, 0.092731),
        (256, 1.092570, 0.915273, 0.0085692, 0.0071786),
        (2048, 1.031750, 0.969227, 0.0010081, 0.00094697),
    ],
)
def test_the_unbiased_alpha(batch, plus, minus, scale_plus, scale_minus):
    roots = importance.unbiased_alpha(batch, "plus"), importance.unbiased_alpha(batch)
    assert roots == pytest.approx((plus, minus), abs=5.1e-7)
    assert [(1 - alpha) ** 2 for alpha in roots] == pytest.approx([scale_plus, scale_minus], rel=5.1e-5)
    assert roots[0] * roots[1] == pytest.approx(1, rel=1e-14)
    for alpha in roots:
        assert (batch - 1) * alpha**2 - 2 * batch * alpha + batch - 1 == pytest.approx(0, abs=1e-9)


def test_the_unbiased_alpha_of_batches_of_one():
    assert importance.unbiased_alpha(1) == 0
    assert importance.unbiased_alpha(2, "minus") * importance.unbiased_alpha(2, "plus") == pytest.approx(1, rel=1e-14)
    with pytest.raises(ValueError, match="plus root is infinite"):
        importance.unbiased_alpha(1, "plus")
    with pytest.raises(ValueError, match="root must be one of minus, plus"):
        importance.unbiased_alpha(4, "larger")
