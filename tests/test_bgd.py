"""Bayesian Gradient Descent against a plain rewrite of its equations, and the normal numbers that it draws."""

import copy

import numpy as np
import pytest
import torch
from scipy.special import ndtri
from torch import nn

import synsim
from synsim import streams
from synsim.kernels import normal
from synsim.networks import MultiHead
from synsim.rules import BGD
from synsim.training.state import pack, unpack

DOUBLE = torch.float64


def plain_net(dtype=DOUBLE):
    net = nn.Sequential(nn.Linear(7, 5), nn.ReLU(), nn.Linear(5, 3)).to(dtype)
    drawn = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=drawn, dtype=DOUBLE) * 0.5)
    return net


def batch(seed=0, dtype=DOUBLE, shape=(11,)):
    drawn = torch.Generator().manual_seed(seed)
    x = torch.randn(*shape, 7, generator=drawn, dtype=DOUBLE).to(dtype)
    return x, torch.randint(3, shape, generator=drawn)


def closure_of(net, x, y, **options):
    def closure():
        losses = synsim.losses.replica_cross_entropy(net(x, **options), y)
        losses.sum().backward()
        return losses

    return closure


def states(optimiser):
    return [value for p in optimiser.param_groups[0]["params"] for value in (p.detach(), optimiser.state[p]["sigma"])]


def assert_same(one, other):
    assert len(one) == len(other) > 0
    for a, b in zip(one, other, strict=True):
        assert torch.equal(a, b)


def gradients(weights, x, y):
    """Loss, and gradients of the mean cross-entropy of a network of two layers, by hand."""
    w, b, v, c = weights
    hidden = np.maximum(x @ w.T + b, 0)
    logits = hidden @ v.T + c
    soft = np.exp(logits - logits.max(1, keepdims=True))
    soft /= soft.sum(1, keepdims=True)
    delta = (soft - np.eye(3)[y]) / len(y)
    back = (delta @ v) * (hidden > 0)
    return -np.log(soft[np.arange(len(y)), y]).mean(), [back.T @ x, back.sum(0), delta.T @ hidden, delta.sum(0)]


@pytest.mark.parametrize(("sigma", "eta", "pairs"), [(0.02, 1.0, False), (0.3, 0.5, False), (0.3, 0.5, True)])
def test_a_step_is_the_published_one(sigma, eta, pairs):
    net, samples, scale = plain_net(), 4, 11
    optimiser = BGD(net, sigma=sigma, eta=eta, samples=samples, scale=scale, seed=5, antithetic=pairs)
    mu = [p.detach().numpy().copy() for p in net.parameters()]
    sd = [np.full_like(m, sigma) for m in mu]
    keys = [streams.keys("train", [5], f"bgd/{name}") for name, _ in net.named_parameters()]
    for step in range(3):
        x, y = batch(step)
        first, second = ([np.zeros_like(m) for m in mu] for _ in range(2))
        loss = 0.0
        for k in range(samples):
            at, sign = (step * samples + k - k % 2, 1 - 2 * (k % 2)) if pairs else (step * samples + k, 1)
            draws = [normal.reference(key, m.size, at, DOUBLE) for key, m in zip(keys, mu, strict=True)]
            eps = [sign * e.numpy().reshape(m.shape) for e, m in zip(draws, mu, strict=True)]
            found, G = gradients([m + s * e for m, s, e in zip(mu, sd, eps, strict=True)], x.numpy(), y.numpy())
            loss += found / samples
            for i, (g, e) in enumerate(zip(G, eps, strict=True)):
                first[i] += g * scale / samples
                second[i] += g * scale * e / samples
        for i in range(len(mu)):
            mu[i] = mu[i] - eta * sd[i] ** 2 * first[i]
            sd[i] = sd[i] * np.sqrt(1 + (0.5 * sd[i] * second[i]) ** 2) - 0.5 * sd[i] ** 2 * second[i]
        assert float(optimiser.step(closure_of(net, x, y))) == pytest.approx(loss, rel=1e-12)
        for parameter, m, s in zip(net.parameters(), mu, sd, strict=True):
            np.testing.assert_allclose(parameter.detach().numpy(), m, rtol=1e-10, atol=1e-14)
            np.testing.assert_allclose(optimiser.state[parameter]["sigma"].numpy(), s, rtol=1e-10)


def test_the_closure_sees_the_perturbed_weights_and_cleared_gradients():
    net = nn.Linear(3, 2, bias=False, dtype=DOUBLE)
    optimiser, seen = BGD(net, sigma=0.5, samples=3, scale=1, seed=9), []
    mean = net.weight.detach().clone()

    def closure():
        assert net.weight.grad is None
        seen.append(net.weight.detach().clone())
        loss = net.weight.square().mean()
        loss.backward()
        return loss

    loss = optimiser.step(closure)
    keys = streams.keys("train", [9], "bgd/weight")
    for k, weight in enumerate(seen):
        eps = normal.reference(keys, 6, k, DOUBLE).reshape(2, 3)
        assert torch.allclose(weight, mean + 0.5 * eps, rtol=1e-14)
    assert len(seen) == 3
    assert not loss.requires_grad
    assert float(loss) == pytest.approx(np.mean([float(w.square().mean()) for w in seen]), rel=1e-14)


def test_pairs_of_opposite_sign_leave_only_the_curvature_in_sigma():
    net = nn.Linear(3, 2, bias=False, dtype=DOUBLE)
    slope = torch.arange(6, dtype=DOUBLE).reshape(2, 3)
    start = net.weight.detach().clone()

    def closure():
        loss = (slope * net.weight).sum()
        loss.backward()
        return loss

    single: list[torch.Tensor] = []
    paired: list[torch.Tensor] = []
    for found, pairs in ((single, False), (paired, True)):
        net.weight.data.copy_(start)
        optimiser = BGD(net, sigma=0.1, samples=2, scale=1, antithetic=pairs)
        optimiser.step(closure)
        found.append(optimiser.state[net.weight]["sigma"])
    torch.testing.assert_close(paired[0], torch.full_like(slope, 0.1), rtol=1e-15, atol=0)
    assert float((single[0] - 0.1).abs().max()) > 1e-3


def test_linear_regression_finds_the_known_posterior():
    drawn = torch.Generator().manual_seed(4)
    x = torch.randn(4000, generator=drawn, dtype=DOUBLE)
    y = 0.7 * x + torch.randn(4000, generator=drawn, dtype=DOUBLE)
    prior = 0.2
    precision = 1 / prior**2 + float(x.square().sum())
    mean = float(x @ y) / precision
    net = nn.Linear(1, 1, bias=False, dtype=DOUBLE)
    with torch.no_grad():
        net.weight.zero_()
    optimiser = BGD(net, sigma=prior, samples=20, scale=10)
    for start in range(0, 4000, 10):
        rows = slice(start, start + 10)

        def closure(rows=rows):
            loss = 0.5 * (y[rows] - net.weight * x[rows]).square().mean()
            loss.backward()
            return loss

        optimiser.step(closure)
    sd = float(optimiser.state[net.weight]["sigma"])
    assert 0.95 < sd * precision**0.5 < 1.05
    assert abs(net.weight.item() - mean) < 0.5 * sd


def test_sigma_neither_vanishes_nor_explodes_under_a_steep_loss():
    net = nn.Linear(1, 1, bias=False)
    optimiser = BGD(net, sigma=1.0, samples=8, scale=1)

    def closure():
        loss = 1e6 * net.weight.square().sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    # h is about 10⁶, so that √(1 + h²) − h is about 1 / (2 h); the plain formula would give 0 in float32.
    assert 1e-8 < float(optimiser.state[net.weight]["sigma"]) < 1e-5


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
def test_replicas_alone_and_together_give_the_same_bits(dtype, one_thread):
    together, alone = (synsim.mlp([40, 30, 5], dtype=dtype, **kw) for kw in ({"replicas": 3, "seed": 4}, {"seed": 6}))
    optimisers = [BGD(net, sigma=0.05, eta=2.0, samples=3, scale=20) for net in (together, alone)]
    drawn = torch.Generator().manual_seed(0)
    for _ in range(20):
        x = torch.randn(3, 20, 40, generator=drawn, dtype=dtype)
        y = torch.randint(5, (3, 20), generator=drawn)
        many = optimisers[0].step(closure_of(together, x, y))
        one = optimisers[1].step(closure_of(alone, x[2], y[2]))
        assert many.shape == (3,)
        assert torch.allclose(many[2], one, rtol=1e-5)
    assert_same([value[2] for value in states(optimisers[0])], states(optimisers[1]))


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
@pytest.mark.parametrize("sizes", [[1, 1], [7, 13, 3], [61, 17]])
def test_the_step_itself_does_not_depend_on_the_place_in_memory(dtype, sizes, one_thread):
    options = {"bias": True, "dtype": dtype}
    together, alone = (synsim.mlp(sizes, **options, **kw) for kw in ({"replicas": 3, "seed": 4}, {"seed": 6}))
    optimisers = [BGD(net, sigma=0.3, eta=0.1, samples=3, scale=5) for net in (together, alone)]
    for _ in range(5):
        for net, optimiser in zip((together, alone), optimisers, strict=True):

            def closure(net=net):
                loss = sum(p.square().square().sum() for p in net.parameters())
                loss.backward()
                return loss

            optimiser.step(closure)
    assert_same([value[2] for value in states(optimisers[0])], states(optimisers[1]))


def test_constants_may_differ_by_replica(one_thread):
    together = synsim.mlp([7, 5, 3], replicas=2, seed=4)
    many = BGD(together, sigma=[0.02, 0.3], eta=torch.tensor([1.0, 0.1]), samples=2, scale=11)
    x, y = batch(0, torch.float32)
    for _ in range(3):
        many.step(closure_of(together, x, y))
    for r, (sigma, eta) in enumerate(((0.02, 1.0), (0.3, 0.1))):
        alone = synsim.mlp([7, 5, 3], seed=4 + r)
        one = BGD(alone, sigma=sigma, eta=eta, samples=2, scale=11)
        for _ in range(3):
            one.step(closure_of(alone, x, y))
        for a, b in zip(states(many), states(one), strict=True):
            assert torch.allclose(a[r], b, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("stochastic", [False, True])
def test_a_run_goes_on_to_the_same_bits(packed, stochastic, one_thread):
    def made():
        net = synsim.mlp([7, 5, 3], replicas=2, seed=4) if stochastic else plain_net(torch.float32)
        return net, BGD(net, sigma=0.1, samples=3, scale=11, seed=2)

    def train(net, optimiser, steps):
        for step in steps:
            optimiser.step(closure_of(net, *batch(step, torch.float32)))

    net, optimiser = made()
    train(net, optimiser, range(3))
    kept = pack(net, optimiser) if packed else (net.state_dict(), optimiser.state_dict())
    kept = copy.deepcopy(kept)
    train(net, optimiser, range(3, 6))
    other, resumed = made()
    if packed:
        assert all(isinstance(number, int) for name, number in kept[1].items() if name != "rule")
        unpack(other, resumed, *kept)
    else:
        other.load_state_dict(kept[0])
        resumed.load_state_dict(kept[1])
    train(other, resumed, range(3, 6))
    assert_same(states(optimiser), states(resumed))


def test_an_inactive_head_keeps_mean_and_sigma():
    net = MultiHead(nn.Linear(7, 4), [nn.Linear(4, 3), nn.Linear(4, 3)])
    optimiser = BGD(net, sigma=0.1, samples=2, scale=11)
    before = [value.clone() for value in states(optimiser)]
    optimiser.step(closure_of(net, *batch(0, torch.float32), head=1))
    moved = [not torch.equal(a, b) for a, b in zip(before, states(optimiser), strict=True)]
    assert moved == [True] * 4 + [False] * 4 + [True] * 4


def test_a_frozen_parameter_is_not_perturbed():
    net = nn.Linear(3, 2)
    net.bias.requires_grad_(False)
    optimiser, before = BGD(net, sigma=0.1, samples=2), net.bias.detach().clone()

    def closure():
        assert torch.equal(net.bias, before)
        loss = net(torch.ones(1, 3)).sum()
        loss.backward()
        return loss.item()

    assert isinstance(optimiser.step(closure), float)
    assert torch.equal(net.bias, before)
    assert (optimiser.state[net.bias]["sigma"] == torch.tensor(0.1)).all()


def test_a_closure_that_fails_leaves_everything_as_it_was(one_thread):
    x, y = batch(0, torch.float32)
    net, other = plain_net(torch.float32), plain_net(torch.float32)
    optimiser, reference = (BGD(one, sigma=0.1, samples=4, scale=11) for one in (net, other))
    before = [value.clone() for value in states(optimiser)]
    good, calls = closure_of(net, x, y), []

    def closure():
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("out of ink")
        return good()

    with pytest.raises(RuntimeError, match="out of ink"):
        optimiser.step(closure)
    assert_same(before, states(optimiser))
    optimiser.step(good)
    reference.step(closure_of(other, x, y))
    assert_same(states(optimiser), states(reference))


def test_without_a_closure_or_a_loss_it_says_what_to_do():
    net = plain_net()
    optimiser = BGD(net, samples=2)
    with pytest.raises(ValueError, match=r"expects a closure .* got None.*step\(closure\)"):
        optimiser.step()
    before = [value.clone() for value in states(optimiser)]
    with pytest.raises(ValueError, match="must return the loss, got None"):
        optimiser.step(lambda: None)
    assert_same(before, states(optimiser))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sigma": 0.0}, "sigma must be finite"),
        ({"sigma": [0.1, 0.2, 0.3]}, r"sigma must be a number or a tensor of shape \[2\]"),
        ({"eta": -1.0}, "eta must be finite"),
        ({"samples": 0}, "samples must be a whole number"),
        ({"samples": 3, "antithetic": True}, "samples must be even, got 3"),
        ({"scale": 0}, "scale must be finite"),
        ({"seed": -1}, "seed must be a whole number"),
    ],
)
def test_wrong_constants_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        BGD(synsim.mlp([7, 3], replicas=2), **options)


def test_a_shared_parameter_among_replicas_is_refused():
    net = nn.Sequential(nn.Linear(7, 5), synsim.mlp([5, 3], replicas=2))
    with pytest.raises(ValueError, match=r"'0.weight' must have a leading axis of 2 replicas, got \[5, 7\]"):
        BGD(net)


def test_it_leaves_the_generators_of_torch_alone():
    before = torch.get_rng_state()
    net = plain_net()
    torch.set_rng_state(before)
    BGD(net, samples=2).step(closure_of(net, *batch()))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
@pytest.mark.parametrize("count", [1, 127, 128, 5000])
@pytest.mark.parametrize("draw", [0, 2**32 - 1])
def test_numba_and_torch_give_the_same_normals(dtype, count, draw):
    keys = streams.keys("train", [3, 4], "bgd/a")
    words = keys.numpy().astype(np.uint32)
    found = normal.normals(keys, words, count, draw, dtype)
    assert found.dtype == dtype
    assert torch.equal(found, normal.reference(keys, count, draw, dtype))
    assert torch.equal(found[1:], normal.normals(keys[1:], words[1:], count, draw, dtype))


def test_several_threads_give_the_same_normals(one_thread):
    keys = streams.keys("train", [3, 4, 5], "bgd/a")
    words = keys.numpy().astype(np.uint32)
    one = normal.normals(keys, words, 400_001, 7, torch.float32)
    torch.set_num_threads(2)
    assert torch.equal(one, normal.normals(keys, words, 400_001, 7, torch.float32))


def test_half_precision_takes_the_torch_path():
    keys = streams.keys("train", [3], "bgd/a")
    found = normal.normals(keys, keys.numpy().astype(np.uint32), 300, 0, torch.bfloat16)
    assert torch.equal(found, normal.reference(keys, 300, 0, torch.float32).bfloat16())


def test_the_table_is_that_of_the_normal_distribution():
    table = normal.table().astype(np.float64)
    exact = ndtri((np.arange(65536) + 0.5) / 65536)
    assert (np.diff(table) > 0).all()
    np.testing.assert_array_equal(table, -table[::-1])
    assert abs(table.var() - 1) < 1e-7
    np.testing.assert_allclose(table, exact / exact.std(), rtol=1e-6)
    assert 0.9999 < exact.std() < 1.0


def test_the_normals_have_the_moments_of_a_normal():
    keys = streams.keys("train", [3, 4], "bgd/a")
    n = 1_000_000
    z, other = normal.normals(keys, keys.numpy().astype(np.uint32), n, 0, DOUBLE).numpy()
    # Four standard errors either way.
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs((z**power).mean() - moment) < 4 * (variance / n) ** 0.5
    assert abs((z * other).mean()) < 4 / n**0.5
    assert abs((z[1:] * z[:-1]).mean()) < 4 / n**0.5
    assert abs((z > 1.96).mean() - 0.025) < 4 * (0.025 / n) ** 0.5
