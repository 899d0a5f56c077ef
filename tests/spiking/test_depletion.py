"""Short-term plasticity of each synapse by itself, against loops over single synapses in float64."""

import math

import pytest
import torch

import synsim
from synsim.kernels.events import event_bits
from synsim.spiking import ShortTerm, events, spiking_mlp
from synsim.synapses import depletion, evaluation
from synsim.synapses.depletion import PerSynapse

STEPS, BATCH = 9, 3
OWN = ShortTerm("p", 8.0, 15.0)
DECAYS = PerSynapse(*OWN.decays(1.0))


def layer(scope, replicas=None, sites=1, bias=False):
    made = synsim.BernoulliLinear(5, 4, scope=scope, replicas=replicas, sites=sites, bias=bias, dtype=torch.float64)
    synsim.seed(made, 3)
    made.reset_parameters()
    generator = torch.Generator().manual_seed(1)
    made.p.copy_(0.1 + 0.9 * torch.rand(made.p.shape, generator=generator, dtype=torch.float64))
    return made


def spikes(lead=(), rate=0.4):
    drawn = torch.rand(*lead, STEPS, BATCH, 5, generator=torch.Generator().manual_seed(0))
    return (drawn < rate).double()


def one_synapse(train, p, short_term, dt=1.0):
    """u⁺ x / p at each step, by the equations of Tsodyks and Markram with U = p."""
    u, x, found = 0.0, 1.0, []
    for fired in train:
        up = u + p * (1 - u)
        found.append(up * x / p)
        if fired:
            u, x = up, x * (1 - up)
        u = u * math.exp(-dt / short_term.tau_facilitation) if short_term.tau_facilitation else 0.0
        x = 1 - (1 - x) * math.exp(-dt / short_term.tau_depression) if short_term.tau_depression else 1.0
    return found


@pytest.mark.parametrize("taus", [(8.0, 15.0), (0.0, 15.0), (8.0, 0.0), (0.0, 0.0)])
def test_factors_are_those_of_single_synapses(taus):
    short_term, p, x = ShortTerm("p", *taus), layer("event").p, spikes()
    found = short_term.factors(x, 1.0, p)
    assert found.shape == (STEPS, BATCH, 4, 5)
    for b in range(BATCH):
        for o in range(4):
            for i in range(5):
                expected = one_synapse(x[:, b, i].tolist(), float(p[o, i]), short_term)
                assert found[:, b, o, i].tolist() == pytest.approx(expected, rel=1e-12)
    both = short_term.factors(spikes((2,)), 1.0, torch.stack([p, p]))
    assert torch.equal(both[0], short_term.factors(spikes((2,))[0], 1.0, p))
    # A regular train settles where the closed form says.
    train = (torch.arange(600) % 5 == 0).double().reshape(-1, 1, 1)
    u, depleted = short_term.steady(5.0, 0.3)
    last = short_term.factors(train, 1.0, torch.full((1, 1), 0.3, dtype=torch.float64))[-5, 0, 0, 0]
    assert float(last) == pytest.approx(u * depleted / 0.3, rel=1e-9)


def naive(one, x, along):
    """Outputs and gradients by loops over examples and steps; x [R, T, B, I]."""
    many = one.replicas is not None
    out, to_x = torch.zeros(len(x), STEPS, BATCH, 4).double(), torch.zeros_like(x)
    to_weight = torch.zeros(len(x), 4, 5).double()
    for r in range(len(x)):
        pick = (lambda value: value[r]) if many else (lambda value: value)  # noqa: B023
        p, w, key = pick(one.p), pick(one.weight).detach(), one._key()[0][r]
        factors = OWN.factors(x[r], 1.0, p)
        for t in range(STEPS):
            for b in range(BATCH):
                if one.address.mean:
                    scale = factors[t, b]
                    back = scale
                elif one.scope == "event":
                    source = torch.arange(5)
                    at = {"step": torch.full_like(source, t), "example": torch.full_like(source, b)}
                    limit = p * factors[t, b] * 65536
                    drawn = [
                        event_bits(key, 4, source=source, site=s, draw=one.latest_draw, **at).t() < limit
                        for s in range(one.sites)
                    ]
                    scale, back = sum(one.double() for one in drawn) / (p * one.sites), factors[t, b]
                else:
                    scale = back = pick(one.draw_mask(b)).double() / (p * one.sites) * factors[t, b]
                out[r, t, b] = (scale * w) @ x[r, t, b]
                to_weight[r] += scale * along[r, t, b].unsqueeze(1) * x[r, t, b]
                to_x[r, t, b] = along[r, t, b] @ (back * w)
    return out, to_weight, to_x


@pytest.mark.parametrize("view", ["sampled", "expected"])
@pytest.mark.parametrize("scope", ["batch", "sample", "event"])
@pytest.mark.parametrize("replicas", [None, 2])
@pytest.mark.parametrize("way", ["at once", "in chunks", "step by step"])
def test_a_pass_is_the_loop_over_single_synapses(scope, replicas, view, way, monkeypatch):
    one, lead = layer(scope, replicas, sites=2), 1 if replicas is None else 2
    if way == "in chunks":
        monkeypatch.setattr(depletion, "BYTES", 2 * one.p.numel() * 8)
    x = spikes((lead,))
    given = x.clone().requires_grad_()
    series = given[0] if replicas is None else given
    along = torch.randn(lead, STEPS, BATCH, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    with synsim.expected(one) if view == "expected" else synsim.held(one):
        if way == "step by step":
            trail = DECAYS.trail(one, BATCH)
            out = torch.stack([one(now, factor=trail) for now in series.unbind(-3)], -3)
        else:
            out = one(series.flatten(-3, -2), steps=STEPS, factor=DECAYS).unflatten(-2, (STEPS, BATCH))
        out.backward(along[0] if replicas is None else along)
        expected, to_weight, to_x = naive(one, x, along)
    found = out.detach() if replicas is not None else out.detach().unsqueeze(0)
    assert torch.allclose(found, expected, rtol=1e-10, atol=1e-13)
    assert torch.allclose(one.weight.grad.reshape(to_weight.shape), to_weight, rtol=1e-9, atol=1e-12)
    assert torch.allclose(given.grad, to_x, rtol=1e-9, atol=1e-12)
    assert one.draws == (0 if view == "expected" else 1)
    if scope == "batch" and view == "sampled":
        assert torch.equal(one.mask, one.draw_mask())


def small(**options):
    chosen = {"window": 12.0, "threshold": 0.2, "gain": 3.0, "surrogate": "arctan", "rate": 500.0, "p": 0.5}
    return spiking_mlp([7, 6, 3], **{**chosen, "short_term": OWN, "dtype": torch.float64, **options})


def images(count=4):
    return torch.rand(count, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("scope", ["batch", "sample", "event"])
@pytest.mark.parametrize("recurrent", [False, True])
def test_with_equal_probabilities_it_is_that_of_neurons_with_this_fraction(scope, recurrent):
    # p = U for all synapses: traces of synapses are those of their neurons.
    found = []
    for short_term in (OWN, ShortTerm(0.5, 8.0, 15.0)):
        net = small(scope=scope, recurrent=recurrent, short_term=short_term, replicas=2)
        for _ in range(2):
            net.zero_grad()
            out = net(images())
            out.square().sum().backward()
        with torch.no_grad():
            quiet = net(images())
        counted = torch.stack(list(events(net, images())))
        found.append([out, quiet, counted, *(value.grad for value in net.parameters())])
        assert {one.draws for one in synsim.synapses(net).values()} == {3}
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one, other, rtol=1e-9, atol=1e-12)
    assert float(found[0][0].detach().abs().max()) > 0.01


@pytest.mark.parametrize("scope", ["batch", "event"])
def test_reliable_synapses_depress_and_unreliable_ones_facilitate(scope):
    low, high = (ShortTerm("p", 100.0, 100.0).steady(10.0, p) for p in (0.05, 0.9))
    assert low[0] * low[1] / 0.05 > 1 > high[0] * high[1] / 0.9
    net, x = small(scope=scope, recurrent=True), images()
    heard = []
    net.recurrent[0].register_forward_hook(lambda module, given, out: heard.append(out))
    twin = small(scope=scope, recurrent=True)
    with torch.no_grad():
        assert torch.allclose(net(x), twin(x), rtol=1e-12)
    assert len(heard) == 12


def test_training_and_measuring_take_it():
    net, x, y = small(scope="event", recurrent=True), images(12), torch.arange(12) % 3
    rule = synsim.PresynapticSGD(net, lr=0.05, p_up=0.07, p_down=0.07, g_lim=1e-3)
    synsim.cross_entropy(net(x), y).backward()
    rule.step()
    assert float(net.layers[0].p.std()) > 0
    first = synsim.meters.class_probabilities(net, x, samples=2, block=5)
    assert torch.equal(first, synsim.meters.class_probabilities(net, x, samples=2, block=5))
    with evaluation(net) as passes:
        passes.at(1, 0, 0)
        assert torch.equal(net(x), net(x))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ShortTerm("q"), 'U must lie in .*, or be "p", got .q.'),
        (lambda: ShortTerm(1.5), "U must lie in"),
        (lambda: OWN.factors(spikes(), 1.0), r"p must be the release probabilities of 5 inputs, \[O, I\]"),
        (lambda: OWN.factors(spikes(), 1.0, torch.ones(4, 6).double()), "release probabilities of 5 inputs"),
        (lambda: ShortTerm().factors(spikes(), 1.0, torch.ones(4, 5)), "p is for short-term plasticity per synapse"),
        (lambda: OWN.steady(5.0), 'p goes with U="p"'),
        (lambda: ShortTerm().steady(5.0, 0.5), 'p goes with U="p"'),
        (lambda: small(scope="event-gaussian"), "event-gaussian"),
        (
            lambda: layer("event-gaussian")(spikes().flatten(0, 1), steps=STEPS, factor=DECAYS),
            "knows short-term plasticity of whole neurons alone",
        ),
        (lambda: layer("batch")(spikes()[0] * 0.5, factor=DECAYS), "needs spikes, 0 or 1"),
        (lambda: layer("batch")(spikes()[0], factor=DECAYS.trail(layer("batch"), 2)), "those of another batch than 3"),
        (lambda: synsim.meters.transmission(small(), images()), "Count with synsim.spiking.events"),
    ],
)
def test_bad_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
