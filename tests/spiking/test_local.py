"""The three-factor rule against eligibility traces carried forward in time, closed forms, and back-propagation."""

import math

import pytest
import torch

import synsim
from synsim.losses import replica_cross_entropy
from synsim.spiking import FastSigmoid, ShortTerm, spiking_mlp
from synsim.spiking.local import LocalMLP, local_gradients, random_feedback, symmetric_feedback
from synsim.training import fit

SIZES = [8, 6, 5, 3]


def small(sizes=(8, 6, 3), **options):
    chosen = {"window": 12.0, "threshold": 0.3, "gain": 3.0, "surrogate": "arctan", "rate": 400.0}
    return spiking_mlp(list(sizes), **{**chosen, "dtype": torch.float64, **options})


def batch(count=7, classes=3):
    x = torch.rand(count, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return x, torch.arange(count) % classes


def gradients(net, backward):
    net.zero_grad()
    losses = backward()
    return losses, [layer.weight.grad.clone() for layer in net.layers]


def both(net, feedback):
    # The gradients of back-propagation and the local ones, of the same draw.
    x, y = batch()
    with synsim.frozen(net, draw=0):
        exact = gradients(net, lambda: _backward(net, x, y))
        local = gradients(net, lambda: local_gradients(net, x, y, feedback))
        masks = [layer.mask for layer in net.layers]
    return exact, local, masks


def _backward(net, x, y):
    losses = replica_cross_entropy(net(x), y)
    losses.sum().backward()
    return losses.detach()


def cosine(a, b):
    return float((a * b).sum() / (a.norm() * b.norm()))


@pytest.mark.parametrize("reset", ["rest", "subtract"])
def test_it_is_the_sum_over_traces_carried_forward_in_time(reset):
    net = small(SIZES, p=0.6, reset=reset, tau=7.0, tau_readout=5.0)
    feedback = random_feedback(net)
    x, y = batch()
    with synsim.frozen(net, draw=0):
        _, found = gradients(net, lambda: local_gradients(net, x, y, feedback))
        with torch.no_grad():
            record = net.run(net.encode(x))
        masks = [layer.mask for layer in net.layers]
    steps, count = 12, len(x)
    error = (torch.softmax(record.logits, -1) - torch.nn.functional.one_hot(y, 3)) / count
    slow, fast = math.exp(-1 / 5.0), math.exp(-1 / 7.0)
    for index, (layer, name) in enumerate(zip(net.layers, net.populations()[1:], strict=True)):
        into, released = record.spikes[net.populations()[index]], masks[index] / layer.p
        assert not bool(masks[index].all())
        trace = torch.zeros(count, layer.out_features, layer.in_features, dtype=torch.float64)
        v = torch.zeros(count, layer.out_features, dtype=torch.float64)
        expected = torch.zeros_like(layer.weight)
        for t in range(steps):
            if name == "output":
                # Membrane of the readout: the trace itself, of which the logits are the mean.
                trace = slow * trace + into[t][:, None, :] * released
                expected = expected + (3.0 / steps) * torch.einsum("bo,boi->oi", error, trace)
                continue
            # The readout still integrates what is sent at t: once at each step from t on, decaying.
            left = (3.0 / steps) * sum(slow**k for k in range(steps - t))
            u = fast * v
            near = net.surrogate.derivative(u - 0.3)
            signal = left * error @ feedback[name].T
            expected = expected + torch.einsum("bo,boi->oi", signal * near, fast * trace)
            s = (u > 0.3).double()
            assert torch.equal(s, record.spikes[name][t])
            trace = fast * trace + into[t][:, None, :] * released
            v = u + into[t] @ (layer.weight * released).T
            if reset == "rest":
                trace, v = trace * (1 - s)[:, :, None], v * (1 - s)
            else:
                v = v - 0.3 * s
        assert bool((expected != 0).any())
        torch.testing.assert_close(found[index], expected.detach(), rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize(
    "options",
    [
        {"p": 0.5},
        {"p": 0.5, "scope": "sample", "sites": 2},
        {"p": 0.5, "scope": "event"},
        {"p": 0.5, "readout": "max"},
        {"p": 0.5, "readout": "count", "replicas": 2, "bias": True},
        {"p": 0.5, "scope": "event", "short_term": ShortTerm(0.5, 0.0, 20.0)},
    ],
    ids=str,
)
def test_the_readout_has_its_exact_gradient_and_loss(options):
    net = small(SIZES, **options)
    (losses, exact), (same, local) = both(net, None)[:2]
    assert torch.equal(losses, same)
    assert torch.equal(exact[-1], local[-1])
    assert not torch.allclose(exact[0], local[0])


@pytest.mark.parametrize(
    "options",
    [
        {"p": 1.0},
        {"p": 1.0, "replicas": 2, "reset": "subtract", "refractory": 2.0},
        {"p": 0.4, "scope": "event"},
        {"p": 0.4, "scope": "event", "sites": 3, "replicas": 2},
        {"p": 1.0, "readout": "max", "tau_readout": 3.0},
        {"p": 1.0, "readout": "count"},
        {"p": 1.0, "threshold": 1e9},
    ],
    ids=str,
)
def test_with_symmetric_feedback_one_hidden_layer_has_the_gradient_of_back_propagation(options):
    net = small(**options)
    (losses, exact), (same, local) = both(net, symmetric_feedback(net))[:2]
    assert torch.equal(losses, same)
    assert bool((exact[0] != 0).any())
    for a, b in zip(exact, local, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-9, atol=1e-15)


def test_deeper_layers_are_reached_directly_and_not_through_those_above():
    net = small(SIZES, p=1.0)
    feedback = symmetric_feedback(net)
    _, second, last = (layer.weight.detach() for layer in net.layers)
    torch.testing.assert_close(feedback["hidden 2"], last.T)
    torch.testing.assert_close(feedback["hidden 1"], (last @ second).T)
    (_, exact), (_, local), _ = both(net, feedback)
    torch.testing.assert_close(local[1], exact[1], rtol=1e-9, atol=1e-15)
    assert not torch.allclose(local[0], exact[0])
    feedback["hidden 1"] = torch.zeros_like(feedback["hidden 1"])
    _, (_, without), _ = both(net, feedback)
    assert not bool(without[0].any())
    assert torch.equal(without[1], local[1])


def test_an_unreleased_synapse_has_no_estimate():
    net = small(p=0.5)
    _, (_, local), masks = both(net, None)
    for found, mask in zip(local, masks, strict=True):
        assert not bool(found[~mask].any())
        assert bool(found[mask].any())


def test_random_feedback_is_a_function_of_the_seed_and_of_its_place():
    alone = [random_feedback(small(SIZES, seed=s)) for s in (3, 4)]
    together = random_feedback(small(SIZES, seed=3, replicas=2))
    for name in ("hidden 1", "hidden 2"):
        for r in range(2):
            assert torch.equal(alone[r][name], together[name][r])
        assert not torch.equal(alone[0][name], alone[1][name])
    assert not torch.equal(alone[0]["hidden 1"][:5], alone[0]["hidden 2"])
    wide = random_feedback(spiking_mlp([8, 400, 25], dtype=torch.float64), scale=2.0)["hidden 1"]
    # Uniform on ±2/√400: 10,000 values with standard deviation 0.1/√3, known to 0.6 % (one standard error 0.45 %).
    assert float(wide.abs().max()) <= 0.1
    assert float(wide.std()) == pytest.approx(0.1 / math.sqrt(3), rel=0.02)
    assert abs(float(wide.mean())) < 4 * 0.1 / math.sqrt(3 * 10000)


def test_feedback_that_does_not_fit_is_refused():
    net, (x, y) = small(replicas=2), batch()
    with pytest.raises(ValueError, match="must name the hidden populations hidden 1, got readout"):
        local_gradients(net, x, y, {"readout": torch.zeros(2, 6, 3)})
    with pytest.raises(ValueError, match=r"must be \[2, 6, 3\], got \[6, 3\]"):
        local_gradients(net, x, y, {"hidden 1": torch.zeros(6, 3)})
    with pytest.raises(ValueError, match="scale must be positive"):
        random_feedback(net, 0.0)


def test_without_a_gradient_it_is_the_network_itself():
    net = small(p=0.5, replicas=2)
    local, (x, y) = LocalMLP(net), batch()
    with torch.no_grad(), synsim.frozen(net, draw=5):
        assert torch.equal(local(x), net(x))
    assert dict(local.named_parameters()).keys() == dict(net.named_parameters()).keys()
    assert local.layers[0] is net.layers[0]
    options = {"samples": 2, "block": 4}
    assert torch.equal(synsim.meters.accuracy(local, x, y, **options), synsim.meters.accuracy(net, x, y, **options))


@pytest.mark.parametrize("replicas", [None, 2])
def test_an_importance_made_of_gradients_sees_the_local_ones(replicas):
    net, (x, _) = LocalMLP(small(SIZES, p=0.5, replicas=replicas)), batch(4)
    found = synsim.importance.make("fisher", labels="exact").estimate(net, x)
    expected = {name: torch.zeros_like(value) for name, value in net.named_parameters()}
    with synsim.expected(net):
        for one in x:
            log_p = net(one[None]).log_softmax(-1).reshape(-1, 3)
            for c in range(3):
                net.zero_grad()
                log_p[:, c].sum().backward(retain_graph=True)
                for name, value in net.named_parameters():
                    p_c = log_p[:, c].exp().detach().reshape(-1, 1, 1) if replicas else log_p[0, c].exp().detach()
                    expected[name] += p_c * value.grad.square() / len(x)
    for name, value in expected.items():
        assert float(value.sum()) > 0
        torch.testing.assert_close(found[name], value, rtol=1e-8, atol=1e-13)


def test_it_learns_the_digits_and_its_estimates_align_with_the_gradients():
    tasks = synsim.tasks.single(synsim.data.load("digits"), pixels="unit")
    net = spiking_mlp([64, 60, 10], replicas=2, window=20.0, threshold=0.3, gain=3.0, surrogate=FastSigmoid(10.0))
    local = LocalMLP(net, random_feedback(net, 3.0))
    x, y = tasks[0].train[0:300], tasks[0].train.y[:300]

    def alignment():
        with synsim.expected(net):
            exact = gradients(net, lambda: _backward(net, x, y))[1][0]
            found = gradients(net, lambda: local_gradients(local, x, y))[1][0]
        return [cosine(a, b) for a, b in zip(exact, found, strict=True)]

    before = alignment()
    rule = synsim.PresynapticSGD(local, lr=0.03, p_up=0.07, p_down=0.07, g_lim=1e-3)
    history = fit(local, rule, tasks, seeds=[0, 1], epochs=6, batch=20, samples=2, test_every_epoch=False)
    assert not history.failures
    # By chance 0 before; afterwards the readout has learned to look like the feedback, though not to equal it.
    assert max(map(abs, before)) < 0.3
    assert all(0.35 < value < 0.9 for value in alignment())
    assert bool((history.accuracy > 0.5).all())
    assert bool((net.layers[0].p > 0.25).any())
