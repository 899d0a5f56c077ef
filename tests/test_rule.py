"""The learning rule against a plain rewrite of the published step, option by option."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import synsim

BASE = {"p_up": 0.07, "p_down": 0.05, "g_lim": 0.02, "p_min": 0.25, "p_max": 1.0, "p_freeze": None}
OPTIONS = [
    {},
    {"bounds": "hard"},
    {"modulate_lr": True},
    {"p_freeze": 0.5},
    {"p_freeze": 0.5, "bounds": "hard", "modulate_lr": True},
    {"weight_decay": 0.3},
    {"weight_decay": 0.3, "modulate_lr": True, "p_max": 0.9, "p_min": 0.1},
    {"plastic": False},
    {"g_lim": 0.0},
    {"p_up": 1.0, "p_down": 1.0, "bounds": "hard"},
]


def forward(weights, ps, masks, sites, x, y):
    """Gradients of the mean cross-entropy with respect to the expected strengths, by hand."""
    factors = [mask / (p * sites) for mask, p in zip(masks, ps, strict=True)]
    used = [w * f for w, f in zip(weights, factors, strict=True)]
    hidden = np.maximum(x @ used[0].T, 0)
    logits = hidden @ used[1].T
    soft = np.exp(logits - logits.max(1, keepdims=True))
    soft /= soft.sum(1, keepdims=True)
    delta = (soft - np.eye(soft.shape[1])[y]) / len(y)
    back = (delta @ used[1]) * (hidden > 0)
    return [back.T @ x * factors[0], delta.T @ hidden * factors[1]]


def learn(w, p, g, k, lr, penalty):
    """One synapse matrix, one step, in the order of the published code."""
    change = g * (k["p_max"] - p) if k.get("modulate_lr") else g
    new = w - lr * (change + k.get("weight_decay", 0.0) * w + penalty)
    if not k.get("plastic", True):
        return new, p
    hard = k.get("bounds") == "hard"
    up = abs(g) > k["g_lim"] if hard else abs(g) >= k["g_lim"]
    step = np.where(up, k["p_up"], -k["p_down"]) * (1.0 if hard else k["p_max"] - p)
    if k["p_freeze"] is not None:
        step = np.where(p >= k["p_freeze"], 0.0, step)
    return new, np.clip(p + step, k["p_min"], k["p_max"])


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("sites", [1, 3])
@pytest.mark.parametrize("penalised", [False, True])
def test_a_step_is_the_published_one(options, sites, penalised):
    k = {**BASE, **options}
    net = synsim.mlp([9, 7, 4], sites=sites, seed=2, dtype=torch.float64)
    generator = torch.Generator().manual_seed(3)
    for layer in synsim.synapses(net).values():
        layer.p.uniform_(0.3, 0.9, generator=generator)
    rule = synsim.PresynapticSGD(net, 0.1, **k)
    x = torch.randn(11, 9, generator=generator, dtype=torch.float64)
    y = torch.randint(4, (11,), generator=generator)
    for _ in range(3):
        layers = [net[0], net[2]]
        weights = [layer.weight.detach().numpy().copy() for layer in layers]
        ps = [layer.p.numpy().copy() for layer in layers]
        extra = {
            name: torch.randn(p.shape, generator=generator, dtype=torch.float64) for name, p in net.named_parameters()
        }
        rule.zero_grad()
        synsim.cross_entropy(net(x), y).backward()
        masks = [layer.mask.double().numpy() for layer in layers]
        gradients = forward(weights, ps, masks, sites, x.numpy(), y.numpy())
        rule.step(penalty=extra if penalised else None)
        for layer, name, w, p, g in zip(layers, extra, weights, ps, gradients, strict=True):
            np.testing.assert_allclose(layer.weight.grad.numpy(), g, rtol=1e-11, atol=1e-15)
            new, chance = learn(w, p, g, k, 0.1, extra[name].numpy() if penalised else 0.0)
            np.testing.assert_allclose(layer.weight.detach().numpy(), new, rtol=1e-12, atol=1e-15)
            np.testing.assert_allclose(layer.p.numpy(), chance, rtol=1e-12)


def test_constants_may_differ_by_replica():
    many = {"lr": [0.1, 0.2], "p_up": [0.01, 0.1], "weight_decay": [0.0, 0.3], "g_lim": [0.0, 1e-3]}
    tensors = {name: torch.tensor(values) for name, values in many.items()}
    together = synsim.mlp([9, 7, 4], replicas=2, seed=2, dtype=torch.float64)
    rule = synsim.PresynapticSGD(together, tensors.pop("lr"), p_down=0.05, p_freeze=0.6, **tensors)
    x, y = torch.randn(11, 9, dtype=torch.float64), torch.arange(11) % 4
    synsim.cross_entropy(together(x), y).backward()
    rule.step()
    for r in range(2):
        alone = synsim.mlp([9, 7, 4], seed=2 + r, dtype=torch.float64)
        own = {name: values[r] for name, values in many.items()}
        single = synsim.PresynapticSGD(alone, own.pop("lr"), p_down=0.05, p_freeze=0.6, **own)
        synsim.cross_entropy(alone(x), y).backward()
        single.step()
        assert torch.allclose(together[0].weight[r], alone[0].weight, rtol=1e-6)
        assert torch.allclose(together[0].p[r], alone[0].p, rtol=1e-6)


def test_the_pure_function_is_what_the_optimiser_does():
    net = synsim.mlp([9, 4], seed=2, dtype=torch.float64)
    constants = {"p_up": 0.07, "p_down": 0.05, "g_lim": 0.02, "p_freeze": 0.9}
    rule = synsim.PresynapticSGD(net, 0.1, **constants)
    synsim.cross_entropy(net(torch.randn(5, 9, dtype=torch.float64)), torch.arange(5) % 4).backward()
    expected = synsim.probability_step(net[0].p.clone(), net[0].weight.grad, **constants)
    rule.step()
    assert torch.allclose(net[0].p, expected, rtol=1e-14)


def test_an_unreleased_synapse_loses_probability_and_keeps_its_strength():
    net = synsim.mlp([9, 4], p=0.5, seed=2)
    rule = synsim.PresynapticSGD(net, 0.1, p_up=0.07, p_down=0.05, g_lim=1e-9)
    before = net[0].weight.detach().clone()
    synsim.cross_entropy(net(torch.randn(5, 9)), torch.arange(5) % 4).backward()
    rule.step()
    silent = ~net[0].mask
    assert silent.any()
    assert torch.equal(net[0].weight[silent], before[silent])
    assert torch.allclose(net[0].p[silent], torch.tensor(0.5 - 0.05 * 0.5))


def test_without_a_gradient_nothing_moves():
    net = synsim.mlp([9, 7, 4], seed=2)
    rule = synsim.PresynapticSGD(net, 0.1, p_up=0.1, p_down=0.1, g_lim=0.0, weight_decay=0.5)
    before = copy_of(net)
    rule.step()
    assert all(torch.equal(a, b) for a, b in zip(before, copy_of(net), strict=True))


def copy_of(net):
    return [t.detach().clone() for t in (*net.parameters(), *net.buffers())]


@pytest.mark.parametrize("trained", [True, False])
def test_biases_move_by_plain_descent_or_not_at_all(trained):
    net = synsim.mlp([9, 4], bias=True, seed=2, dtype=torch.float64)
    rule = synsim.PresynapticSGD(net, 0.1, p_up=0.1, p_down=0.1, g_lim=0.0, weight_decay=0.5, train_bias=trained)
    before = net[0].bias.detach().clone()
    synsim.cross_entropy(net(torch.randn(5, 9, dtype=torch.float64)), torch.arange(5) % 4).backward()
    rule.step()
    expected = before - 0.1 * net[0].bias.grad if trained else before
    assert torch.allclose(net[0].bias, expected, rtol=1e-14)


def test_schedulers_work():
    net = synsim.mlp([9, 4], p=1.0, seed=2, dtype=torch.float64)
    rule = synsim.PresynapticSGD(net, 1.0, p_up=0.1, p_down=0.1, g_lim=0.0, plastic=False)
    schedule = torch.optim.lr_scheduler.StepLR(rule, 1, 0.1)
    x, y = torch.randn(5, 9, dtype=torch.float64), torch.arange(5) % 4
    for rate in (1.0, 0.1):
        before = net[0].weight.detach().clone()
        rule.zero_grad()
        synsim.cross_entropy(net(x), y).backward()
        rule.step()
        schedule.step()
        assert torch.allclose(net[0].weight, before - rate * net[0].weight.grad, rtol=1e-12)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(0.01, 1.0), min_size=1, max_size=9),
    st.floats(0, 1), st.floats(0, 1), st.floats(0, 2), st.floats(0.01, 0.5), st.floats(0.5, 1),
    st.sampled_from(["soft", "hard"]),
)  # fmt: skip
def test_probabilities_stay_within_their_bounds(values, up, down, limit, low, high, bounds):
    p = torch.tensor(values, dtype=torch.float64)
    moved = synsim.probability_step(
        p, torch.linspace(-2, 2, len(p)), p_up=up, p_down=down, g_lim=limit, p_min=low, p_max=high, bounds=bounds
    )
    assert bool(((moved >= low) & (moved <= high)).all())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": -1.0}, "lr must be finite and at least 0"),
        ({"p_up": float("nan")}, "p_up must be finite"),
        ({"p_down": 2.0}, "p_down must be finite and between 0 and 1"),
        ({"p_min": 0.9, "p_max": 0.5}, "p_min must not exceed p_max"),
        ({"weight_decay": torch.ones(3)}, r"weight_decay must be a number or a tensor of shape \[2\]"),
        ({"bounds": "wide"}, "bounds must be one of soft, hard"),
        ({"g_lim": "small"}, "g_lim must be a number"),
    ],
)
def test_bad_constants(options, message):
    given = {"lr": 0.1, "p_up": 0.1, "p_down": 0.1, "g_lim": 0.0, **options}
    with pytest.raises(ValueError, match=message):
        synsim.PresynapticSGD(synsim.mlp([9, 4], replicas=2), given.pop("lr"), **given)


def test_bad_penalties_and_networks():
    net = synsim.mlp([9, 4])
    rule = synsim.PresynapticSGD(net, 0.1, p_up=0.1, p_down=0.1, g_lim=0.0)
    with pytest.raises(ValueError, match="the penalty names 'nobody'"):
        rule.step(penalty={"nobody": torch.ones(1)})
    with pytest.raises(ValueError, match=r"must have shape \[4, 9\], got \[9, 4\]"):
        rule.step(penalty={"0.weight": torch.ones(9, 4)})
    with pytest.raises(ValueError, match="expected a network with stochastic layers"):
        synsim.PresynapticSGD(torch.nn.Linear(3, 2), 0.1, p_up=0.1, p_down=0.1, g_lim=0.0)
