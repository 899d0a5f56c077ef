"""Each surrogate gradient is the printed formula, and the derivative of its primitive; a spike stays a step."""

import numpy as np
import pytest
import torch
from scipy import integrate

from synsim.spiking import LIF, Arctan, FastSigmoid, Triangle, lif
from synsim.spiking.surrogate import SURROGATES, surrogate

X = torch.cat([torch.linspace(-3, 3, 601, dtype=torch.float64), torch.tensor([1e-9, 50.0], dtype=torch.float64)])

FORMULAS = [
    (FastSigmoid(7.0), lambda x: 1 / (7.0 * abs(x) + 1) ** 2),
    (Arctan(3.0), lambda x: 3.0 / 2 / (1 + (np.pi / 2 * 3.0 * x) ** 2)),
    (Triangle(0.4, 0.8), lambda x: 0.4 / 0.8 * max(0.0, 1 - abs(x / 0.8))),
]


@pytest.mark.parametrize(("chosen", "formula"), FORMULAS)
def test_the_derivative_is_the_formula(chosen, formula):
    expected = torch.tensor([formula(float(x)) for x in X], dtype=torch.float64)
    assert torch.allclose(chosen.derivative(X), expected, rtol=1e-13, atol=0)


@pytest.mark.parametrize(("chosen", "formula"), FORMULAS)
def test_a_spike_is_a_step_with_that_derivative(chosen, formula):
    x = X.clone().requires_grad_()
    spike = chosen.spike(x)
    assert torch.equal(spike, (X > 0).double())
    (found,) = torch.autograd.grad(spike.sum(), x)
    assert torch.allclose(found, chosen.derivative(X), rtol=1e-12, atol=1e-15)
    area = integrate.quad(formula, -1.3, 0.7, points=[-0.8, 0.0], epsabs=1e-12)[0]
    ends = chosen.primitive(torch.tensor([-1.3, 0.7], dtype=torch.float64))
    assert float(ends[1] - ends[0]) == pytest.approx(area, rel=1e-9)


class Blind(FastSigmoid):
    """A surrogate of a user's own, made from a given one: nothing passes."""

    def derivative(self, x):
        return torch.zeros_like(x)

    def primitive(self, x):
        return 0 * x


def test_a_subclass_of_a_given_surrogate_has_its_own_gradient():
    current = torch.full((20, 3, 4), 0.4, dtype=torch.float64, requires_grad=True)
    for chosen, silent in ((Blind(), True), (FastSigmoid(), False)):
        spikes, _, _ = lif(current, LIF(), 1.0, surrogate=chosen)
        (found,) = torch.autograd.grad(spikes.sum(), current)
        assert bool((found == 0).all()) is silent


def test_names_and_bad_constants():
    assert {name: surrogate(name) for name in SURROGATES} == {name: kind() for name, kind in SURROGATES.items()}
    for make, message in (
        (lambda: surrogate("sigmoid"), "surrogate must be one of fast-sigmoid, arctan, triangle"),
        (lambda: FastSigmoid(0.0), "slope must be positive"),
        (lambda: Arctan(-1.0), "alpha must be positive"),
        (lambda: Triangle(width=float("inf")), "width must be positive"),
    ):
        with pytest.raises(ValueError, match=message):
            make()
