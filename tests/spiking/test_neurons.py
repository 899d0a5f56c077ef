"""Leaky integrate-and-fire: a loop over numbers in float64, the order within a step, gradients, other libraries."""

import importlib
import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from synsim.spiking import LIF, Arctan, FastSigmoid, Leaky, State, Surrogate, Triangle, leaky, lif, lif_step
from synsim.spiking.neurons.course import _steps

SETTINGS = [LIF(5.0, 0.5, reset, hold, detach) for reset in ("rest", "subtract") for hold in (0.0, 3.0)
            for detach in (True, False)]  # fmt: skip
SURROGATES = (FastSigmoid(5.0), Arctan(), Triangle(0.5, 0.4))


def noise(*shape, seed=0, scale=0.4):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * scale


def by_hand(current, parameters, dt):
    """One neuron: state update, threshold, synapses, reset."""
    v, last, spikes, membranes = 0.0, -1_000_000, [], []
    hold = round(parameters.refractory / dt)
    for t, jump in enumerate(current):
        free = t - last >= hold
        v = v * math.exp(-dt / parameters.tau) if free else v
        fired = v > parameters.threshold and free
        v += jump
        if fired:
            last = t
            v = 0.0 if parameters.reset == "rest" else v - parameters.threshold
        spikes.append(float(fired))
        membranes.append(v)
    return spikes, membranes


@pytest.mark.parametrize("parameters", SETTINGS[::2], ids=str)
def test_it_is_the_loop_over_numbers(parameters):
    current = noise(2, 60, 3, 4)
    spikes, v, state = lif(current, parameters, 0.5)
    for r, b, j in np.ndindex(2, 3, 4):
        expected = by_hand(current[r, :, b, j].tolist(), parameters, 0.5)
        assert spikes[r, :, b, j].tolist() == expected[0]
        assert v[r, :, b, j].tolist() == pytest.approx(expected[1], rel=1e-12, abs=1e-14)
    assert 0 < float(spikes.mean()) < 0.5
    assert torch.equal(state.v, v[:, -1])


def test_the_order_within_a_step():
    # A jump over the threshold at step 1 fires at step 2; the input of step 2 is lost, or kept.
    current = torch.tensor([0.0, 2.0, 0.5, 0.0], dtype=torch.float64).reshape(4, 1, 1)
    d = math.exp(-0.1)
    spikes, v, _ = lif(current, LIF(10.0, 1.0, "rest"), 1.0)
    assert spikes.flatten().tolist() == [0, 0, 1, 0]
    assert v.flatten().tolist() == [0, 2, 0, 0]
    spikes, v, _ = lif(current, LIF(10.0, 1.0, "subtract"), 1.0)
    assert spikes.flatten().tolist() == [0, 0, 1, 1]
    assert v.flatten().tolist() == pytest.approx([0, 2, 2 * d - 0.5, (2 * d - 0.5) * d - 1])


def test_a_refractory_neuron_keeps_its_membrane_but_takes_jumps():
    current = torch.tensor([2.0, 0.0, 3.0, 0.0, 0.0, 0.0], dtype=torch.float64).reshape(6, 1, 1)
    spikes, v, _ = lif(current, LIF(10.0, 1.0, refractory=3.0), 1.0)
    # Fires at 1; refractory at 2 and 3, where the jump of step 2 waits undiminished; may fire again at 4.
    assert spikes.flatten().tolist() == [0, 1, 0, 0, 1, 0]
    assert v.flatten().tolist() == [2, 0, 3, 3, 0, 0]


@pytest.mark.parametrize("parameters", SETTINGS, ids=str)
@pytest.mark.parametrize("surrogate", SURROGATES, ids=lambda s: type(s).__name__)
def test_the_fused_loops_are_the_steps(parameters, surrogate):
    current, v0 = noise(2, 30, 3, 5).requires_grad_(), noise(2, 3, 5, seed=1).requires_grad_()
    state = State(v0, torch.full((2, 3, 5), 2, dtype=torch.int32))
    weights = [noise(2, 30, 3, 5, seed=2), noise(2, 30, 3, 5, seed=3), noise(2, 3, 5, seed=4)]
    found = []
    for run in (
        lambda: lif(current, parameters, 1.0, surrogate=surrogate, state=state),
        lambda: _steps(current, parameters, 1.0, surrogate, state, True),
    ):
        spikes, v, end = run()
        total = sum((w * one).sum() for w, one in zip(weights, (spikes, v, end.v), strict=True))
        found.append([spikes, v, end.v, *torch.autograd.grad(total, [current, v0])])
    for fast, slow in zip(*found, strict=True):
        assert torch.allclose(fast, slow, rtol=1e-11, atol=1e-13)
    assert torch.equal(found[0][0], found[1][0])
    assert float(found[0][3].abs().sum()) > 0


@dataclass(frozen=True)
class Smooth(Surrogate):
    """Fires in fractions, so that the surrogate is the true derivative."""

    def derivative(self, x):
        return (1 - x.tanh().square()) * 2

    def primitive(self, x):
        return 2 * x.tanh()

    def spike(self, x):
        return self.primitive(x)


@pytest.mark.parametrize("reset", ["rest", "subtract"])
def test_the_steps_have_the_gradient_of_finite_differences(reset):
    parameters = LIF(4.0, 0.5, reset, detach_reset=False)
    current = noise(6, 2, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda c: lif(c, parameters, 1.0, surrogate=Smooth())[:2], (current,))


def test_steps_in_two_parts_are_one_run():
    current, parameters = noise(40, 2, 7), LIF(5.0, 0.4, refractory=4.0)
    whole = lif(current, parameters, 1.0)
    first = lif(current[:17], parameters, 1.0)
    second = lif(current[17:], parameters, 1.0, state=first[2])
    assert torch.equal(whole[0], torch.cat([first[0], second[0]]))
    assert torch.equal(whole[1], torch.cat([first[1], second[1]]))


def test_replicas_and_many_neurons():
    current = noise(3, 12, 5, 700).float()
    spikes, v, _ = lif(current, LIF(5.0, 0.5), 1.0)
    for r in range(3):
        alone = lif(current[r], LIF(5.0, 0.5), 1.0)
        assert torch.equal(spikes[r], alone[0])
        assert torch.equal(v[r], alone[1])


def test_the_leaky_readout_is_a_weighted_sum():
    current = noise(9, 2, 3).requires_grad_()
    v = leaky(current, Leaky(4.0), 0.5)
    powers = torch.tensor([[math.exp(-0.125) ** (t - s) if s <= t else 0.0 for s in range(9)] for t in range(9)])
    expected = torch.einsum("ts,sbc->tbc", powers.double(), current)
    assert torch.allclose(v, expected, rtol=1e-6)
    weights = noise(9, 2, 3, seed=5)
    (found,) = torch.autograd.grad((v * weights).sum(), current)
    assert torch.allclose(found, torch.einsum("ts,tbc->sbc", powers.double(), weights), rtol=1e-6)


def test_it_works_inside_transforms():
    current, parameters = noise(10, 2, 3), LIF(5.0, 0.4)

    def total(c):
        return lif(c, parameters, 1.0)[0].sum()

    inside = torch.func.grad(total)(current)
    outside = torch.autograd.grad(total(current.requires_grad_()), current)[0]
    assert torch.allclose(inside, outside, rtol=1e-12)


def test_snntorch_spikes_and_differentiates_alike():
    snn = pytest.importorskip("snntorch", reason="snnTorch is not installed; it is only compared with")
    fast_sigmoid = importlib.import_module("snntorch.surrogate").fast_sigmoid(slope=25)
    current, beta = noise(40, 3, 20).requires_grad_(), math.exp(-0.1)
    ours, _, _ = lif(current, LIF(10.0, 1.0), 1.0)
    # There a step is decay, input, threshold, and the reset comes before the next input: the same neuron, half a step
    # ahead, if the input that our reset erases is left out.
    given = beta * current * (1 - ours.detach())
    neuron, found = snn.Leaky(beta=beta, spike_grad=fast_sigmoid, reset_mechanism="zero").double(), []
    membrane = neuron.init_leaky()
    for one in given:
        spikes, membrane = neuron(one, membrane)
        found.append(spikes)
    theirs = torch.stack(found)
    assert torch.equal(theirs[:-1].double(), ours[1:])
    assert 0 < float(ours.detach().mean()) < 0.5
    weights = noise(39, 3, 20, seed=1)
    gradients = [torch.autograd.grad((weights * one).sum(), current)[0] for one in (theirs[:-1], ours[1:])]
    assert torch.allclose(*gradients, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LIF(-1.0), "tau must be a positive, finite time in ms, got -1"),
        (lambda: LIF(threshold=0.0), "threshold must be positive"),
        (lambda: LIF(reset="zero"), "reset must be one of rest, subtract"),
        (lambda: LIF(refractory=-2.0), "refractory must be a time of at least 0 ms"),
        (lambda: Leaky(0.0), "tau must be a positive"),
        (lambda: lif(noise(3, 2, 2), LIF(5.0), 6.0), "dt must not be longer than tau = 5 ms, got dt = 6 ms"),
        (lambda: lif(noise(3, 2, 2), LIF(5.0), -1.0), "dt must be a positive"),
        (lambda: lif(noise(3, 2), LIF(5.0), 1.0), r"current must be \[T, B, neurons\]"),
        (lambda: lif(noise(0, 3, 2), LIF(5.0), 1.0), "with T > 0"),
        (lambda: leaky(noise(3, 2, 2), Leaky(1.0), 2.0), "dt must not be longer"),
        (
            lambda: lif(noise(3, 2, 2), LIF(5.0), 1.0, state=State(noise(2, 3), torch.zeros(2, 3))),
            r"the state must be of v .* \[2, 2\], got .* \[2, 3\]",
        ),
    ],
)
def test_bad_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


CURRENT, REST = noise(2, 3), State(noise(2, 3) * 0, torch.zeros(2, 3, dtype=torch.int32))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: lif_step(CURRENT, REST, 10.0, 1.0), "parameters must be a LIF, got 10.0"),
        (lambda: lif_step(CURRENT, (REST.v, REST.left), LIF(), 1.0), "state must be a State or None, got tuple"),
        (lambda: lif_step(CURRENT, REST, LIF(), 1.0, "arctan"), "surrogate must be a Surrogate or None, got 'arctan'"),
        (lambda: lif_step(CURRENT.tolist(), REST, LIF(), 1.0), "current must be a tensor of floats"),
        (lambda: lif_step(CURRENT > 0, REST, LIF(), 1.0), "current must be a tensor of floats, .*torch.bool"),
        (lambda: lif_step(CURRENT[:1], REST, LIF(), 1.0), r"the state must be of v .* \[1, 3\], got .* \[2, 3\]"),
        (lambda: lif_step(CURRENT[0], REST, LIF(), 1.0), r"current must be .* \[B, H\]"),
        (lambda: lif_step(CURRENT, State(REST.v[:, :1], REST.left), LIF(), 1.0), "the state must be of v"),
        (lambda: lif_step(CURRENT, State(REST.v, REST.left + 0.5), LIF(), 1.0), "the state must be .*torch.float32"),
        (lambda: lif_step(CURRENT, State(None, REST.left), LIF(), 1.0), "the state must be .* got None"),
        (lambda: lif(CURRENT[None], LIF(), 1.0, state=State(REST.v.float(), REST.left)), "the state must be of v"),
        (lambda: lif(CURRENT[None] > 0, LIF(), 1.0), "current must hold floats, got torch.bool"),
        (
            lambda: leaky(CURRENT[None], Leaky(), 1.0, start=REST.v[:1]),
            r"start must be .* \[2, 3\], .* got .* \[1, 3\]",
        ),
        (lambda: leaky(CURRENT[None], Leaky(), 1.0, start=REST.v.float()), "start must be torch.float64"),
        (lambda: LIF().decay("1"), "dt must be a positive, finite time in ms, got '1'"),
        (lambda: LIF().decay(True), "dt must be a positive, finite time in ms, got True"),
        (lambda: LIF().decay(None), "dt must be a positive, finite time in ms, got None"),
        (lambda: LIF().decay(torch.ones(2)), r"dt must be a positive, finite time in ms, got .* \[2\]"),
        (lambda: LIF().decay(math.nan), "dt must be a positive, finite time in ms, got nan"),
        (lambda: LIF(refractory=5.0).hold(0), "dt must be a positive, finite time in ms, got 0"),
        (lambda: LIF().hold(math.nan), "dt must be a positive, finite time in ms, got nan"),
        (lambda: LIF().hold(1e300), "dt must not be longer than tau = 10 ms"),
    ],
)
def test_what_would_be_broadcast_or_enter_a_loop_at_another_size_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_times_of_other_kinds_are_times():
    for dt in (np.float32(0.5), torch.tensor(0.5), np.array(0.5)):
        assert float(LIF().decay(dt)) == pytest.approx(math.exp(-0.05))
        assert LIF(refractory=5.0).hold(dt) == 10


@pytest.mark.parametrize("lead", [(), (2,)])
def test_a_loop_begins_at_rest(lead):
    current, lif_of = noise(*lead, 6, 4, 3), LIF(refractory=2.0, threshold=0.3)
    found, state = [], None
    for now in current.unbind(-3):
        spikes, state = lif_step(now, state, lif_of, 1.0)
        found.append(spikes)
    assert torch.equal(torch.stack(found, -3), lif(current, lif_of, 1.0)[0])
    rest = lif_of.rest((*lead, 4, 3), dtype=torch.float64)
    first = current.unbind(-3)[0]
    for one, same in zip(lif_step(first, rest, lif_of, 1.0)[1], lif_step(first, None, lif_of, 1.0)[1], strict=True):
        assert torch.equal(one, same)
    assert rest.left.dtype == torch.int32
    assert lif_of.rest([2, 3]).v.dtype == torch.float32
    for shape, message in (((3,), r"shape must be \[B, H\]"), ((2, -1), "every entry of shape"), (2, "shape must be")):
        with pytest.raises(ValueError, match=message):
            lif_of.rest(shape)
    with pytest.raises(ValueError, match="dtype must be a float type"):
        lif_of.rest((2, 3), dtype=torch.int32)


def test_one_step_alone():
    spikes, state = lif_step(
        torch.tensor([[0.3, 0.2]]), State(torch.tensor([[2.0, 0.1]]), torch.zeros(1, 2, dtype=torch.int32)), LIF(), 1.0
    )
    assert spikes.tolist() == [[1, 0]]
    assert state.v[0].tolist() == pytest.approx([0.0, 0.1 * math.exp(-0.1) + 0.2])
