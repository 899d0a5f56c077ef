"""Spikes of images: rates, counts, latencies, the same whatever the chunk; readouts; short-term plasticity."""

import math

import pytest
import torch
from scipy import stats

import synsim
from synsim.spiking import (
    Latency,
    PoissonRates,
    RegularRates,
    ShortTerm,
    first_spike,
    max_membrane,
    mean_membrane,
    poisson_spikes,
    spike_count,
)
from synsim.spiking.poisson import drawn_spikes
from synsim.synapses import evaluation


def seeded(encoder, seed=0, name="encoder"):
    encoder.seed([seed + r for r in range(encoder.replicas or 1)], name)
    return encoder


def pixels(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_poisson_rates_are_those_asked_for():
    x = torch.tensor([0.0, 0.01, 0.25, 1.0], dtype=torch.float64).expand(500, 4)
    spikes = seeded(PoissonRates(200.0, window=200.0, dt=0.5))(x)
    assert spikes.shape == (400, 500, 4)
    assert set(spikes.unique().tolist()) == {0.0, 1.0}
    for i, p in enumerate((0.0, 0.001, 0.025, 0.1)):
        assert stats.binomtest(int(spikes[..., i].sum()), 200_000, p).pvalue > 1e-4
    counts = spikes[..., 3].sum(0)
    assert abs(float(counts.var()) / 36.0 - 1) < 4 * math.sqrt(2 / 500)
    a = spikes[..., 3] - 0.1
    for lag in (1, 2, 4):
        assert abs(float((a[lag:] * a[:-lag]).mean()) / 0.09) < 4 / math.sqrt(200_000)
    assert abs(float((a[:, 1:] * a[:, :-1]).mean()) / 0.09) < 4 / math.sqrt(200_000)


def test_the_fused_spikes_are_the_plain_ones():
    x = pixels(7, 13)
    encoder = seeded(PoissonRates(400.0, window=11.0, dt=1.0))
    keys, _ = encoder._key_on("train", x.device)
    plain = drawn_spikes(x * 0.4, keys[0], torch.arange(7), 0, 11)
    assert torch.equal(encoder(x), plain.double())
    assert torch.equal(encoder(x), drawn_spikes(x * 0.4, keys[0], torch.arange(7), 1, 11).double())


def test_an_evaluation_shows_the_same_spikes_whatever_the_chunk_and_leaves_training_alone():
    encoder, x = seeded(PoissonRates(window=20.0, dt=1.0)), pixels(9, 5)
    first = encoder(x)
    with evaluation(encoder) as passes:
        passes.at(1, 0, 0)
        whole = encoder(x)
        passes.at(1, 0, 4)
        assert torch.equal(whole[:, 4:], encoder(x[4:]))
        assert torch.equal(encoder(x[4:]), encoder(x[4:]))
    assert encoder.draws == 1
    assert not torch.equal(encoder(x), first)
    with synsim.frozen(encoder, 0):
        assert torch.equal(encoder(x), first)
    with synsim.expected(encoder):
        assert torch.allclose(encoder(x), (0.1 * x).expand(20, 9, 5))


def test_a_replica_sees_the_same_spikes_alone():
    x = pixels(4, 5)
    together = seeded(PoissonRates(window=20.0, dt=1.0, replicas=3))(x)
    alone = seeded(PoissonRates(window=20.0, dt=1.0), seed=2)(x)
    assert together.shape == (3, 20, 4, 5)
    assert torch.equal(together[2], alone)
    assert not torch.equal(together[1], alone)


def test_images_under_vmap_see_the_spikes_of_their_place():
    encoder, x = seeded(PoissonRates(300.0, window=9.0, dt=1.0)), pixels(6, 5)
    with synsim.frozen(encoder, 4):
        together = encoder(x)
        single = torch.func.vmap(lambda image: encoder(image.unsqueeze(0))[:, 0])(x)
        assert torch.equal(single.transpose(0, 1), together)
        graded = torch.func.vmap(torch.func.grad(lambda w, image: (w * encoder(image.unsqueeze(0))).sum()), (None, 0))
        assert torch.equal(graded(torch.ones(5).double(), x), together.sum(0))


def test_named_spikes():
    rates = torch.full((50, 20), 80.0)
    spikes = poisson_spikes(rates, window=100.0, dt=0.5, seed=[3, 4])
    assert torch.equal(spikes[1], poisson_spikes(rates, window=100.0, dt=0.5, seed=4))
    assert not torch.equal(spikes[1], poisson_spikes(rates, window=100.0, dt=0.5, seed=4, name="other"))
    assert stats.binomtest(int(spikes.sum()), spikes.numel(), 0.04).pvalue > 1e-4


@pytest.mark.parametrize("x", [0.0, 0.1, 0.25, 0.4, 1.0])
def test_regular_rates_have_equal_intervals(x):
    spikes = RegularRates(500.0, window=1000.0, dt=1.0)(torch.full((1, 1), x, dtype=torch.float64)).flatten()
    assert int(spikes.sum()) == round(500 * x)
    gaps = spikes.nonzero().flatten().diff()
    if x:
        assert set(gaps.tolist()) <= {math.floor(2 / x), math.ceil(2 / x)}


def test_latencies():
    x = torch.tensor([[1.0, 0.5, 0.0, 0.05]], dtype=torch.float64)
    spikes = Latency(window=21.0, dt=1.0)(x)[:, 0]
    assert [column.nonzero().flatten().tolist() for column in spikes.t()] == [[0], [10], [], [19]]
    tau, theta = 8.0, 0.1
    spikes = Latency(window=20.0, dt=0.5, curve="logarithmic", tau=tau, threshold=theta)(x)[:, 0]
    # The time at which x (1 − exp(−t / τ)) reaches θ.
    expected = [[round(-tau * math.log(1 - theta / v) / 0.5)] if v > theta else [] for v in x[0].tolist()]
    assert [column.nonzero().flatten().tolist() for column in spikes.t()] == expected


def test_readouts():
    spikes = torch.tensor([[0, 1, 0], [1, 0, 0], [1, 1, 0], [0, 0, 0]], dtype=torch.float64).unsqueeze(1)
    spikes.requires_grad_()
    assert spike_count(spikes).tolist() == [[2, 2, 0]]
    assert first_spike(spikes).tolist() == [[0.75, 1.0, 0.0]]
    (found,) = torch.autograd.grad(first_spike(spikes)[0, 0], spikes)
    assert found[:, 0, 0].tolist() == [0, 0.75, 0, 0]
    v = pixels(2, 6, 3, 4)
    assert torch.allclose(mean_membrane(v), v.sum(1) / 6)
    assert torch.equal(max_membrane(v), torch.stack([v[:, t] for t in range(6)]).max(0).values)


@pytest.mark.parametrize("short", [ShortTerm(0.5, 0.0, 200.0), ShortTerm(0.1, 300.0, 50.0), ShortTerm(0.2, 400.0, 0.0)])
@pytest.mark.parametrize("every", [5, 40])
def test_short_term_plasticity_reaches_its_steady_state(short, every):
    dt, steps = 0.5, 12_000
    spikes = torch.zeros(steps, 1, 2, dtype=torch.float64)
    spikes[::every, :, 0] = 1
    factors = short.factors(spikes, dt)
    u, x = short.steady(every * dt)
    # As printed: u* at a release, and the resources found by it.
    f, d = (math.exp(-every * dt / t) if t else 0.0 for t in (short.tau_facilitation, short.tau_depression))
    assert u == pytest.approx(short.U / (1 - (1 - short.U) * f))
    assert x == pytest.approx((1 - d) / (1 - (1 - u) * d))
    assert float(factors[0, 0, 0]) == 1
    assert float(factors[-every, 0, 0]) == pytest.approx(u * x / short.U, rel=1e-9)
    assert bool((factors[..., 1] == 1).all())


def test_short_term_plasticity_is_the_recursion_of_single_spikes():
    short, dt = ShortTerm(0.2, 30.0, 80.0), 1.0
    spikes = (pixels(60, 2, 3) < 0.2).double()
    factors = short.factors(spikes, dt)
    for b in range(2):
        for i in range(3):
            u, x, last = 0.0, 1.0, 0
            for t in spikes[:, b, i].nonzero().flatten().tolist():
                u *= math.exp(-(t - last) / 30)
                x = 1 - (1 - x) * math.exp(-(t - last) / 80)
                u += 0.2 * (1 - u)
                assert float(factors[t, b, i]) == pytest.approx(u * x / 0.2, rel=1e-10)
                x, last = x * (1 - u), t


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PoissonRates(1001.0, window=10.0, dt=1.0), "rate must lie between 0 and 1 / dt = 1000 Hz, got 1001"),
        (lambda: RegularRates(-1.0, window=10.0, dt=1.0), "rate must lie between 0"),
        (lambda: PoissonRates(window=-10.0, dt=1.0), "window must be a positive, finite time in ms"),
        (lambda: PoissonRates(window=10.0, dt=0.0), "dt must be a positive"),
        (lambda: PoissonRates(window=10.0, dt=3.0), "window must be a multiple of dt = 3 ms, got 10 ms"),
        (lambda: PoissonRates(window=10.0, dt=1.0)(torch.full((2, 3), 1.5)), "pixels must lie in .0, 1., got values"),
        (lambda: PoissonRates(window=10.0, dt=1.0)(-pixels(2, 3)), "pixels must lie in"),
        (lambda: PoissonRates(window=10.0, dt=1.0)(pixels(2, 3) * torch.nan), "pixels must lie in"),
        (
            lambda: PoissonRates(window=10.0, dt=1.0)(pixels(4, 2, 3)),
            r"expects images of shape \[B, I\], got \[4, 2, 3\]",
        ),
        (lambda: PoissonRates(window=10.0, dt=1.0)(torch.ones(2, 3).long()), "must hold floats"),
        (lambda: Latency(window=10.0, dt=1.0, curve="cubic"), "curve must be one of linear, logarithmic"),
        (lambda: Latency(window=10.0, dt=1.0, latest=-1.0), "latest must be a positive time"),
        (lambda: Latency(window=10.0, dt=1.0, threshold=1.0), "threshold must lie in"),
        (
            lambda: poisson_spikes(torch.full((1, 2), 3000.0), window=10.0, dt=0.5),
            "rates must lie between 0 and 1 / dt",
        ),
        (lambda: poisson_spikes(torch.full((2,), 30.0), window=10.0, dt=0.5), r"rates must be \[B, I\]"),
        (
            lambda: Latency(window=10.0, dt=1.0, curve="logarithmic", tau=0.1),
            "dt must not be longer than tau = 0.1 ms",
        ),
        (lambda: ShortTerm().steady(-5.0), "interval must be a positive"),
        (lambda: ShortTerm(0.0), "U must lie in"),
        (lambda: ShortTerm(tau_depression=-1.0), "tau_depression must be a time of at least 0 ms"),
        (lambda: ShortTerm().factors(pixels(3, 2), 1.0), r"spikes must be \[T, B, neurons\]"),
        (lambda: ShortTerm().factors(pixels(3, 2, 2), -1.0), "dt must be a positive"),
        (lambda: spike_count(pixels(3, 2)), r"spikes must be \[T, B, neurons\]"),
        (lambda: spike_count(-pixels(3, 2, 2)), "spikes must be 0 or 1, or lie between"),
        (lambda: first_spike(pixels(3, 2, 2) * torch.nan), "spikes must be 0 or 1, or lie between"),
        (lambda: first_spike(pixels(3, 2, 2) + 1), "spikes must be 0 or 1, or lie between"),
        (lambda: mean_membrane(pixels(3, 2, 2) > 0.5), "v must hold floats, got torch.bool"),
        (lambda: max_membrane(pixels(3, 2, 2) * 1j), "v must hold floats, got torch.complex"),
        (lambda: ShortTerm().factors(pixels(3, 2, 2) + 1, 1.0), "spikes must be 0 or 1, or lie between"),
        (lambda: PoissonRates(window=2**31, dt=1.0), "a window may have 1,000,000 steps, got 2,147,483,648"),
        (lambda: PoissonRates(window=1e300, dt=1e-300), "window must be a multiple of dt"),
        (lambda: poisson_spikes(pixels(1, 2) * 1j, window=10.0, dt=0.5), r"rates must be \[B, I\] in floats"),
        (lambda: poisson_spikes(pixels(1, 2), window=10.0, dt=0.5, draw=2**63), "draw must be .* to 4294967295"),
        (lambda: poisson_spikes(pixels(1, 2), window=10.0, dt=0.5, seed=[]), "expected at least one seed, got none"),
    ],
)
def test_bad_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("encoder", [PoissonRates, RegularRates, Latency])
@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(1, 1, 1, 2, 3), r"expects images of shape \[B, I\], got \[1, 1, 1, 2, 3\]"),
        (torch.tensor(0.5), r"expects images of shape \[B, I\], got \[\]"),
        (torch.zeros(0, 3), "at least one image"),
        (torch.ones(2, 3) * 1j, "images must hold floats, got torch.complex64"),
        (torch.ones(2, 3) > 0, "images must hold floats, got torch.bool"),
        (torch.full((2, 3), math.inf), "pixels must lie in"),
        (torch.eye(3).to_sparse(), "x must be a dense tensor, got"),
    ],
)
def test_no_encoder_lets_other_images_into_its_loops(encoder, x, message):
    for call in (encoder(window=5.0, dt=1.0), encoder(window=5.0, dt=1.0).encode):
        with pytest.raises(ValueError, match=message):
            call(x)
