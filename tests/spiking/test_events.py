"""Release per spike: masks one by one in float64, the same bits on every path, moments, and what refuses."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

import synsim
from synsim import kernels
from synsim.kernels import events
from synsim.synapses import evaluation

SMALL = 1e-4
"""Two-sided level of a test at a fixed seed."""


def spikes(*shape, rate=0.3, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(*shape, generator=generator, dtype=torch.float64) < rate).to(dtype)


def layer(inputs, outputs, scope="event", seed=5, dtype=torch.float64, **options):
    made = synsim.BernoulliLinear(inputs, outputs, scope=scope, dtype=dtype, **options)
    synsim.seed(made, seed)
    made.reset_parameters()
    return made


@pytest.mark.parametrize("replicas", [None, 3])
@pytest.mark.parametrize("sites", [1, 3])
@pytest.mark.parametrize("outputs", [5, 21])
def test_it_is_one_mask_per_spike(replicas, sites, outputs):
    one = layer(11, outputs, p=0.3, sites=sites, replicas=replicas, bias=True)
    steps, batch = 4, 6
    x = spikes(*(() if replicas is None else (replicas,)), steps * batch, 11).requires_grad_()
    y = one(x, steps=steps)
    g = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    y.backward(g)
    out, to_weight = torch.zeros_like(y), torch.zeros_like(one.weight)
    for t in range(steps):
        for b in range(batch):
            row = t * batch + b
            scale = one.draw_mask(b, t).double() / (one.p * sites)
            given = x[..., row, :].detach()
            out[..., row, :] = (scale * one.weight.detach() @ given.unsqueeze(-1)).squeeze(-1) + one.bias.detach()
            to_weight += scale * g[..., row, :].unsqueeze(-1) * given.unsqueeze(-2)
    assert torch.allclose(y, out, rtol=1e-12, atol=1e-14)
    assert torch.allclose(one.weight.grad, to_weight, rtol=1e-12, atol=1e-14)
    # The gradient of a presynaptic neuron, silent or not, is that of the expected strengths.
    assert torch.allclose(x.grad, g @ one.weight.detach(), rtol=1e-12)
    assert bool(((to_weight == 0) == (one.weight.grad == 0)).all())
    assert torch.allclose(one.bias.grad, g.sum(-2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sites", [1, 3])
@pytest.mark.parametrize("scaled", [False, True])
def test_numba_and_torch_draw_the_same_bits(dtype, sites, scaled, monkeypatch):
    monkeypatch.setattr(events, "BYTES", 1 << 14)
    weight, p = torch.ones(37, 50, dtype=dtype), 0.05 + 0.95 * torch.rand(37, 50, dtype=dtype)
    x, factor = spikes(60, 50, dtype=dtype), torch.rand(60, 50, dtype=dtype) if scaled else None
    keys = torch.tensor([123, 2**32 - 5])
    place = events.Place(keys, keys.numpy().astype(np.uint32), sites, 7, 20, 3)
    listed = events.spikes_of(x)
    # With w̄ = N p every release counts as one, so that sums are exact.
    weight = weight * p * sites
    fast, slow = (events.transmit(listed, weight, p, factor, place, fast) for fast in (True, False))
    assert torch.allclose(fast, slow, rtol=1e-5)
    assert torch.equal(fast.round(), slow.round())
    g = torch.randn(60, 37, dtype=torch.float64).to(dtype)
    gradients = [events.weight_gradient(listed, g, p, factor, place, fast) for fast in (True, False)]
    assert torch.allclose(*gradients, rtol=1e-4, atol=1e-5)


def test_bits_do_not_depend_on_chunks_threads_or_company():
    one, x = layer(20, 9, p=0.4), spikes(8, 30, 20)
    with torch.no_grad(), evaluation(one) as passes:
        passes.at(2, 0, 0)
        whole = one(x.flatten(0, 1), steps=8).unflatten(0, (8, 30))
        parts = []
        for low in (0, 13):
            passes.at(2, 0, low)
            part = x[:, low : 13 if low == 0 else 30]
            parts.append(one(part.flatten(0, 1), steps=8).unflatten(0, (8, -1)))
        assert torch.equal(whole, torch.cat(parts, 1))
        passes.at(3, 0, 0)
        assert not torch.equal(whole, one(x.flatten(0, 1), steps=8).unflatten(0, (8, 30)))
    together = layer(20, 9, p=0.4, replicas=3, seed=4)
    alone = layer(20, 9, p=0.4, seed=5)
    rows = x.flatten(0, 1)
    assert torch.equal(together(rows, steps=8)[1], alone(rows, steps=8))


def test_several_threads_give_the_same():
    one, x = layer(300, 200, p=0.4, dtype=torch.float32), spikes(400, 300, rate=0.1, dtype=torch.float32)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            one.weight.grad = None
            with synsim.frozen(one, 0):
                y = one(x, steps=4)
                y.square().sum().backward()
            found.append((y.detach(), one.weight.grad))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])


@pytest.mark.parametrize(("p", "sites"), [(0.25, 1), (0.7, 1), (0.4, 5)])
def test_mean_and_variance_are_those_of_the_binomial(p, sites):
    one, rows = layer(12, 10, p=p, sites=sites), 40_000
    x = spikes(1, 12, rate=0.5, seed=3).expand(rows, 12)
    with torch.no_grad():
        y = one(x, steps=100)
    weight = one.weight.detach()
    p = math.ceil(p * 65536) / 65536
    mean, variance = weight @ x[0], (weight.square() * (1 - p) / (p * sites)) @ x[0]
    z = (y.mean(0) - mean) / (variance / rows).sqrt()
    kurtosis = torch.tensor(stats.kurtosis(y.numpy(), axis=0))
    z2 = (y.var(0) / variance - 1) / ((kurtosis + 2) / rows).sqrt()
    assert float(z.abs().max()) < 4
    assert float(z2.abs().max()) < 4
    assert 2 * stats.norm.sf(abs(float(z.sum())) / math.sqrt(10)) > SMALL


@pytest.mark.parametrize("apart", ["step", "example", "output", "source", "draw", "site"])
def test_releases_are_independent(apart):
    def bits(step=0, example=0, source=0, site=0, draw=0):
        count = 40_000 if apart in ("output", "source") else 1
        at = {"source": source, "step": step, "example": example}
        at = {name: torch.full((count,), value) for name, value in at.items()}
        at["example"] = at["example"] + torch.arange(count)
        outputs = 16 if count > 1 else 200_000
        return events.event_bits(torch.tensor([3, 4]), outputs, site=site, draw=draw, **at) < 20_000

    first = bits()
    second = first.roll(1, 1) if apart == "output" else bits(**{apart: 1})
    a, b = (one.double().flatten() for one in (first, second))
    r = float(torch.corrcoef(torch.stack([a, b]))[0, 1])
    assert 2 * stats.norm.sf(abs(r) * math.sqrt(a.numel())) > SMALL


def test_views():
    one, x = layer(20, 9, p=0.4), spikes(40, 20)
    before = one.draws
    with synsim.expected(one):
        assert torch.allclose(one(x, steps=4), x @ one.weight.t())
    with synsim.frozen(one, 3):
        assert torch.equal(one(x, steps=4), one(x, steps=4))
    assert one.draws == before
    assert not torch.equal(one(x, steps=4), one(x, steps=4))
    assert one.draws == before + 2
    assert one.mask is None


def test_the_rule_sees_silence_as_no_gradient():
    one = layer(6, 4, p=0.5)
    rule = synsim.PresynapticSGD(one, lr=0.1, p_up=0.1, p_down=0.1, g_lim=0.0, bounds="hard", p_min=0.1)
    x = torch.zeros(10, 6, dtype=torch.float64)
    x[:, :3] = 1
    one(x, steps=5).sum().backward()
    rule.step()
    assert torch.allclose(one.p[:, 3:], torch.tensor(0.4, dtype=torch.float64))
    assert torch.allclose(one.p[:, :3], torch.where(one.weight.grad[:, :3] != 0, 0.6, 0.4).double())


def test_a_transform_takes_the_masks_of_the_latest_draw():
    one, x = layer(7, 5, p=0.4, sites=2), spikes(12, 7)
    out = one(x, steps=3)
    weight = one.weight.detach()
    inside = torch.func.functional_call
    found = torch.func.grad(lambda w: inside(one, {"weight": w}, (x,), {"steps": 3}).square().sum())(weight)
    out.square().sum().backward()
    assert torch.allclose(found, one.weight.grad, rtol=1e-10)


def test_a_factor_scales_the_probability_at_a_spike():
    one, rows = layer(4, 50, p=0.4), 20_000
    x, factor = torch.ones(rows, 4, dtype=torch.float64), torch.tensor([0.0, 0.5, 1.0, 2.0]).double().expand(rows, 4)
    with torch.no_grad():
        y = one(x, steps=10, factor=factor)
        mean = one.weight @ factor[0]
        variance = (one.weight.square() * (factor[0] / 0.4 - factor[0].square())).sum(1)
    assert float(((y.mean(0) - mean) / (variance / rows).sqrt()).abs().max()) < 4
    with synsim.expected(one):
        assert torch.allclose(one(x, steps=10, factor=factor)[0], mean)
    batch = layer(4, 50, scope="batch", p=1.0)
    assert torch.allclose(batch(x, steps=10, factor=factor), (x * factor) @ batch.weight.t())
    given = x.clone().requires_grad_()
    one(given, steps=10, factor=factor).sum().backward()
    assert torch.allclose(given.grad, one.weight.detach().sum(0) * factor)


@pytest.mark.parametrize(("scope", "same"), [("batch", (True, True)), ("sample", (True, False))])
def test_other_scopes_keep_their_masks_over_time(scope, same):
    one = layer(7, 5, scope=scope, p=0.4, replicas=2)
    x = spikes(1, 3, 7).expand(6, 3, 7).clone()
    x[:, 1] = x[:, 0]
    y = one(x.flatten(0, 1), steps=6).unflatten(1, (6, 3))
    assert torch.allclose(y[:, 0], y[:, 5]) is same[0]
    assert torch.allclose(y[:, :, 0], y[:, :, 1]) is same[1]
    for b in range(3):
        mask = one.draw_mask(b) / one.p
        assert torch.allclose(y[:, 2, b], torch.einsum("roi,i->ro", mask * one.weight, x[2, b]))


def test_the_gaussian_has_the_moments_of_release_per_spike():
    rows, p = 40_000, 0.25
    one = layer(12, 10, scope="event-gaussian", p=p, sites=2)
    x = spikes(1, 12, rate=0.7, seed=3).expand(rows, 12).clone()
    with torch.no_grad():
        y = one(x, steps=100)
        mean, variance = one.weight @ x[0], (one.weight.square() * (1 - p) / (p * 2)) @ x[0]
    assert float(((y.mean(0) - mean) / (variance / rows).sqrt()).abs().max()) < 4
    assert float(((y.var(0) / variance - 1) / math.sqrt(2 / rows)).abs().max()) < 4
    assert float(torch.corrcoef(y.t()).fill_diagonal_(0).abs().max()) < 4.5 / math.sqrt(rows)


@pytest.mark.parametrize("sites", [1, 3])
def test_the_gaussian_and_release_per_spike_have_the_same_moments_under_depression(sites):
    rows, p = 40_000, 0.5
    x = spikes(1, 12, rate=0.7, seed=3).expand(rows, 12).clone()
    factor = torch.linspace(0.05, 1, 12, dtype=torch.float64).expand(rows, 12)
    for scope in ("event", "event-gaussian"):
        one = layer(12, 10, scope=scope, p=p, sites=sites)
        with torch.no_grad():
            y = one(x, steps=100, factor=factor)
            mean = one.weight @ (x[0] * factor[0])
            variance = (one.weight.square() / (p * sites)) @ (x[0] * factor[0] * (1 - p * factor[0]))
        assert float(((y.mean(0) - mean) / (variance / rows).sqrt()).abs().max()) < 4
        # The deviations of a variance are those of a normal distribution only for the Gaussian.
        assert float(((y.var(0) / variance - 1) / math.sqrt(2 / rows)).abs().max()) < (4 if "gauss" in scope else 8)


@pytest.mark.parametrize("spiking", [6, 60])
def test_the_error_of_the_gaussian_is_within_its_stated_bound(spiking):
    rows, p = 40_000, 0.25
    exact, near = (layer(spiking, 1, scope=scope, p=p) for scope in ("event", "event-gaussian"))
    x = torch.ones(rows, spiking, dtype=torch.float64)
    with torch.no_grad():
        for one in (exact, near):
            one.weight.fill_(1.0)
        distance = stats.ks_2samp(exact(x)[:, 0].numpy(), near(x)[:, 0].numpy()).statistic
    bound = 0.56 * (p**2 + (1 - p) ** 2) / math.sqrt(spiking * p * (1 - p))
    sampling = stats.kstwobign.isf(SMALL) * math.sqrt(2 / rows)
    # It is an approximation: the error is there, and below the bound.
    assert sampling < distance < bound + sampling


def test_the_gradient_of_the_gaussian_is_that_of_its_formula():
    one, x = layer(6, 4, scope="event-gaussian", p=0.5), spikes(8, 6)
    x[3] = 0
    given = x.clone().requires_grad_()
    with synsim.frozen(one, 0):
        assert torch.autograd.gradcheck(lambda w: torch.func.functional_call(one, {"weight": w}, (x,)), (one.weight,))
        one(given).sum().backward()
    assert bool(given.grad.isfinite().all())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layer(3, 2)(torch.full((4, 3), 0.5).double()), "needs spikes, 0 or 1, got other values"),
        (lambda: layer(3, 2)(torch.full((4, 3), torch.nan).double()), "needs spikes, 0 or 1"),
        (lambda: layer(3, 2)(spikes(5, 3), steps=2), "5 rows are no 2 time steps of equally many examples"),
        (lambda: layer(3, 2)(spikes(4, 3), steps=0), "steps must be a whole number"),
        (lambda: layer(3, 2)(spikes(4, 3), factor=spikes(2, 3)), r"factor must be \[4, 3\] like x"),
        (lambda: layer(3, 2).scales(2), "no mask per example"),
        (
            lambda: layer(3, 2, scope="event-gaussian")(spikes(4, 3), factor=1.5 + spikes(4, 3)),
            "needs factors of at most 1",
        ),
        (lambda: layer(3, 2, scope="event-gaussian").draw_mask(), "has no masks"),
        (lambda: layer(3, 2, scope="spike"), "scope must be one of batch, sample, event, event-gaussian"),
        (lambda: synsim.BernoulliConv2d(1, 1, 3, scope="event"), "scope must be one of batch, sample, got 'event'"),
    ],
)
def test_bad_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_path_for_other_types_is_plain():
    assert kernels.path(torch.zeros(3, dtype=torch.bfloat16)) == "torch"
    one = layer(6, 4, dtype=torch.bfloat16, p=1.0)
    x = spikes(4, 6, dtype=torch.bfloat16)
    assert torch.allclose(one(x, steps=2).float(), (x.float() @ one.weight.float().t()).detach(), atol=0.05)
