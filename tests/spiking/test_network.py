"""Spiking networks under everything made for rate networks: training, importances, meters, lesions, resume."""

import copy
import math

import pytest
import torch
from doubles import naive_fisher

import synsim
from synsim.meters.passes import stochastic
from synsim.spiking import (
    LIF,
    FastSigmoid,
    Leaky,
    RegularRates,
    ShortTerm,
    SpikingMLP,
    events,
    spikes_per_neuron,
    spiking_mlp,
)
from synsim.synapses import evaluation
from synsim.training import Protection, fit

SETTINGS = {"window": 30.0, "threshold": 0.3, "gain": 3.0, "surrogate": FastSigmoid(10.0)}
FACILITATION = ShortTerm(0.1, 300.0, 0.0)
RULE = {"lr": 0.03, "p_up": 0.07, "p_down": 0.07, "g_lim": 1e-3}


@pytest.fixture(scope="module")
def digits():
    return synsim.tasks.single(synsim.data.load("digits"), pixels="unit")


def small(**options):
    chosen = {"window": 10.0, "threshold": 0.3, "gain": 3.0, "surrogate": "arctan", "dtype": torch.float64}
    return spiking_mlp([16, 12, 4], **{**chosen, **options})


def images(count, seed=0, lead=()):
    return torch.rand(*lead, count, 16, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("scope", ["batch", "event"])
def test_the_rule_trains_it_on_the_digits(digits, scope):
    net = spiking_mlp([64, 100, 10], scope=scope, replicas=2, **SETTINGS)
    history = fit(net, synsim.PresynapticSGD(net, **RULE), digits, seeds=[0, 1], epochs=10, batch=20)
    assert not history.failures
    # Each of three seeds tried reached 0.84 at least.
    assert bool((history.accuracy > 0.8).all())
    assert bool((net.layers[0].p > 0.25).any())


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"readout": "max", "reset": "subtract", "refractory": 2.0},
        {"readout": "count", "tau_readout": 4.0},
        {"readout": "first"},
        {"bias": True, "sites": 3, "scope": "event"},
        {"scope": "sample", "short_term": ShortTerm(0.5, 0.0, 20.0)},
        {"scope": "event", "short_term": ShortTerm(0.5, 10.0, 20.0)},
    ],
    ids=str,
)
def test_a_run_is_the_loop_over_steps(options):
    net = small(p=0.5, **options)
    with torch.no_grad():
        record = net.run(net.encode(images(3)))
    steps, lif = 10, net.neurons
    for b in range(3):
        v = [torch.zeros(12).double(), torch.zeros(4).double()]
        last, seen = [torch.full_like(one, -99) for one in v], []
        u, x = [[torch.zeros(n).double() for n in (16, 12)], [torch.ones(n).double() for n in (16, 12)]]
        for t in range(steps):
            now = record.spikes["input"][t, b]
            for k, layer in enumerate(net.layers):
                free = t - last[k] >= lif.hold(1.0)
                fires = k == 0 or net.output is None
                tau = lif.tau if fires else net.output.tau
                v[k] = torch.where(free | (not fires), v[k] * math.exp(-1 / tau), v[k])
                fired = (v[k] > lif.threshold) & free & fires
                factor = torch.ones_like(now)
                if net.short_term is not None:
                    st = net.short_term
                    up = u[k] + st.U * (1 - u[k])
                    factor = up * x[k] / st.U
                    f = math.exp(-1 / st.tau_facilitation) if st.tau_facilitation else 0.0
                    x[k] = 1 - (1 - torch.where(now > 0, x[k] * (1 - up), x[k])) * math.exp(-1 / st.tau_depression)
                    u[k] = torch.where(now > 0, up, u[k]) * f
                if layer.scope != "event" or net.short_term is None:
                    mask = layer.draw_mask(b, t) if layer.scope == "event" else layer.draw_mask(b)
                    current = (mask / (layer.p * layer.sites) * layer.weight) @ (now * factor)
                else:
                    bits = _bits(layer, b, t)
                    current = ((bits < layer.p * factor * 65536) / layer.p * layer.weight) @ now
                v[k] = v[k] + current + (0 if layer.bias is None else layer.bias)
                off = v[k] - lif.threshold if lif.reset == "subtract" else torch.zeros_like(v[k])
                v[k] = torch.where(fired, off, v[k]).detach()
                last[k] = torch.where(fired, t, last[k])
                name = net.populations()[k + 1]
                assert torch.allclose(record.membranes[name][t, b], v[k], rtol=1e-9, atol=1e-12)
                if fires:
                    assert torch.equal(record.spikes[name][t, b], fired.double())
                now = fired.double()
            seen.append(v[1] if net.output is not None else now)
        series = torch.stack(seen)
        left = (steps - torch.arange(steps).double().unsqueeze(1)) / steps
        expected = {
            "mean": series.mean(0), "max": series.amax(0), "count": series.sum(0), "first": (series * left).amax(0),
        }[net.readout]  # fmt: skip
        assert torch.allclose(record.logits[b], 3.0 * expected, rtol=1e-9, atol=1e-12)
    assert float(record.spikes["hidden 1"].sum()) > 0


def _bits(layer, example, step):
    from synsim.kernels.events import event_bits

    source = torch.arange(layer.in_features)
    at = {"step": torch.full_like(source, step), "example": torch.full_like(source, example)}
    keys, _ = layer._key("train")
    return event_bits(keys[0], layer.out_features, source=source, site=0, draw=0, **at).t().double()


@pytest.mark.parametrize("scope", ["batch", "sample", "event"])
def test_a_replica_is_the_same_alone(scope):
    x = images(5)
    together = small(p=[0.3, 0.6, 0.9], replicas=3, seed=4, scope=scope)
    alone = small(p=0.6, seed=5, scope=scope)
    for _ in range(2):
        outputs = together(x), alone(x)
        assert outputs[0].shape == (3, 5, 4)
        assert torch.allclose(outputs[0][1], outputs[1], rtol=1e-10)
        for net, out in zip((together, alone), outputs, strict=True):
            net.zero_grad()
            out.square().sum().backward()
    assert torch.allclose(together.layers[0].weight.grad[1], alone.layers[0].weight.grad, rtol=1e-8, atol=1e-12)
    own = images(5, lead=(3,))
    assert together(own).shape == (3, 5, 4)


@pytest.mark.parametrize("scope", ["batch", "sample", "event"])
@pytest.mark.parametrize("replicas", [None, 2])
def test_long_batches_go_in_parts_unnoticed(scope, replicas, monkeypatch):
    from synsim.spiking import network

    x, found = images(11), []
    for room in (1 << 26, 1 << 13):
        monkeypatch.setattr(network, "BYTES", room)
        net = small(p=0.5, scope=scope, replicas=replicas)
        with torch.no_grad():
            found.append(torch.stack([net(x), net(x)]))
        assert [module.draws for module in (net.encoder, *net.layers)] == [2, 2, 2]
    assert torch.allclose(*found, rtol=1e-10, atol=1e-12)
    assert not torch.allclose(found[0][0], found[0][1])


def test_random_spikes_count_as_stochastic_where_no_synapse_fails():
    net, x = small(p=1.0), images(7)
    assert stochastic(net)
    found = synsim.meters.class_probabilities(net, x, samples=3)
    with torch.no_grad(), evaluation(net.eval()) as passes:
        each = []
        for number in range(3):
            passes.at(number, 0, 0)
            each.append(net(x).softmax(-1))
    assert not torch.equal(each[0], each[1])
    assert torch.allclose(found, torch.stack(each).mean(0), rtol=1e-12)
    with synsim.expected(net):
        assert not stochastic(net)
    assert not stochastic(small(p=1.0, encoder=RegularRates(100.0, window=10.0, dt=1.0)))


@pytest.mark.parametrize("scope", ["batch", "event"])
def test_an_evaluation_is_repeatable_and_leaves_training_alone(scope):
    net, x, y = small(p=0.5, scope=scope), images(23), torch.arange(23) % 4
    twin = copy.deepcopy(net)
    first = synsim.meters.class_probabilities(net, x, samples=2, block=5)
    assert torch.equal(first, synsim.meters.class_probabilities(net, x, samples=2, block=5))
    for measure in (
        lambda: synsim.meters.accuracy(net, x, y),
        lambda: synsim.meters.mutual_information(net, x, y),
        lambda: synsim.meters.transmission(net, x, samples=2),
        lambda: synsim.lesion_curve(net, x, y, samples=1),
        lambda: events(net, x),
        lambda: spikes_per_neuron(net, x),
    ):
        measure()
    assert torch.equal(net(x), twin(x))


@pytest.mark.parametrize("replicas", [None, 2])
@pytest.mark.parametrize("scope", ["batch", "event"])
def test_the_exact_fisher_is_that_of_a_loop(replicas, scope):
    net, x = small(replicas=replicas, scope=scope), images(5)
    found = synsim.importance.make("fisher", labels="exact").estimate(net, x)
    with synsim.expected(net):
        expected = naive_fisher(net, x, lambda i: None, 4)
    for name, value in expected.items():
        assert torch.allclose(found[name], value, rtol=1e-8, atol=1e-13)
        assert float(value.sum()) > 0


@pytest.mark.parametrize("replicas", [None, 2])
def test_the_sampled_fisher_sees_the_spikes_and_masks_of_its_passes(replicas):
    net, x = small(replicas=replicas), images(5)
    kind = {"labels": "exact", "view": "sampled", "samples": 1, "block": 3}
    found = synsim.importance.make("fisher", **kind).estimate(net, x)
    with evaluation(net) as passes:
        expected = naive_fisher(net, x, lambda i: passes.at(0, i // 3, i), 4)
    for name, value in expected.items():
        assert torch.allclose(found[name], value, rtol=1e-8, atol=1e-13)
        assert float(value.sum()) > 0


def test_every_mask_per_event_is_refused_in_the_sampled_view():
    kind = synsim.importance.make("fisher", view="sampled")
    with pytest.raises(ValueError, match="expected view"):
        kind.estimate(small(scope="event"), images(4))


@pytest.mark.parametrize("scope", ["batch", "event"])
def test_lesions_start_from_the_intact_network(scope):
    net, x, y = small(p=0.6, scope=scope, replicas=2), images(40), torch.arange(40) % 4
    shares, curve = synsim.lesion_curve(net, x, y, fractions=(0.0, 0.5, 1.0), samples=2, block=20)
    assert torch.equal(curve[:, 0], synsim.meters.accuracy(net, x, y, samples=2, block=20))
    lesioned = copy.deepcopy(net)
    masks = synsim.lesions.lesion_masks(synsim.lesions.lesion_scores(net, "p"), 0.5, 2)
    for name, layer in lesioned.named_modules():
        if name in masks:
            layer.weight.data *= masks[name]
    assert torch.equal(curve[:, 1], synsim.meters.accuracy(lesioned, x, y, samples=2, block=20))
    assert len(shares) == 3


@pytest.mark.parametrize("name", ["fisher", "mas", "si", "release-probability"])
def test_importances_protect_it(name):
    tasks = synsim.tasks.split(synsim.data.load("digits"), pixels="unit")[:2]
    options = {"fisher": {"images": 20}, "mas": {"images": 20}}.get(name, {})
    net = spiking_mlp([64, 20, 2], **{**SETTINGS, "window": 10.0})
    guard = Protection(
        synsim.importance.make(name, **options), synsim.consolidation.make("penalty", strength=1.0, factor=0.5)
    )
    history = fit(
        net, torch.optim.Adam(net.parameters(), lr=1e-3), tasks, seeds=[0], steps=5, batch=20, protection=guard
    )
    assert not history.failures
    assert not bool(history.accuracy[0, -1].isnan().any())


def test_it_goes_on_after_a_resume():
    net, x = small(p=0.5), images(5)
    net(x)
    other = small(p=0.9, seed=77)
    other.load_state_dict(net.state_dict())
    assert torch.equal(net(x), other(x))
    synsim.seed(net, 3)
    first = net(x)
    synsim.seed(net, 3)
    assert torch.equal(net(x), first)


@pytest.mark.parametrize("scope", ["batch", "sample", "event"])
@pytest.mark.parametrize("replicas", [None, 2])
def test_events_are_counted_in_the_masks_that_were_drawn(scope, replicas):
    net, x = small(p=0.4, sites=2, scope=scope, replicas=replicas), images(4)
    found = events(net, x, block=4)
    vesicles, strength, spikes = (torch.zeros(replicas or 1).double() for _ in range(3))
    with torch.no_grad(), evaluation(net) as passes:
        passes.at(0, 0, 0)
        record = net.run(net.encode(x))
        for layer, fired in zip(net.layers, record.spikes.values(), strict=False):
            fired = fired.reshape(replicas or 1, 10, 4, -1)
            spikes += fired.sum((1, 2, 3))
            for t in range(10):
                for b in range(4):
                    mask = layer.draw_mask(b, t) if scope == "event" else layer.draw_mask(b)
                    through = mask.reshape(replicas or 1, *mask.shape[-2:]) * fired[:, t, b].unsqueeze(1)
                    vesicles += through.sum((1, 2))
                    size = layer.strength.abs().reshape(through.shape) / 2
                    strength += (through * size).sum((1, 2))
    for mine, theirs in zip(found, (spikes, vesicles, strength), strict=True):
        assert mine.shape == (() if replicas is None else (replicas,))
        assert torch.allclose(mine, (theirs / 4).reshape(mine.shape))
    atp = synsim.meters.atp_of_events(*found)
    assert set(atp) == {"spikes", "release", "reversal"}
    neurons = spikes_per_neuron(net, x, block=4)
    assert torch.allclose(neurons["input"].sum(-1) + neurons["hidden 1"].sum(-1), found.spikes)


@pytest.mark.parametrize("short_term", [None, ShortTerm(0.5, 0.0, 30.0), ShortTerm(0.4, 20.0, 0.0)])
def test_counted_events_are_the_expected_ones_on_average(short_term):
    regular = RegularRates(300.0, window=10.0, dt=1.0)
    net, x = small(p=0.3, scope="event", encoder=regular, short_term=short_term), images(30)
    counted = torch.stack(list(events(net, x, samples=40)))
    expected = torch.stack(list(synsim.meters.transmission(net, x, samples=40)))
    # Spikes of both are those of the same passes; vesicles are binomial given them.
    assert float(counted[0]) == pytest.approx(float(expected[0]), rel=1e-9)
    # q (1 − q) is at most q: a bound that is a little wide.
    sd = math.sqrt(float(expected[1]) / (30 * 40))
    assert abs(float(counted[1] - expected[1])) < 4 * sd
    strongest = max(float(layer.strength.detach().abs().max()) for layer in net.layers)
    assert abs(float(counted[2] - expected[2])) < 4 * sd * strongest


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: spiking_mlp([4]), "at least an input and an output"),
        (lambda: small(dt=20.0, window=40.0, rate=10.0), "dt must not be longer than tau = 10 ms"),
        (lambda: small(tau_readout=0.5), "dt must not be longer than tau_readout = 0.5 ms"),
        (lambda: small(refractory=0.4), "refractory must be 0 or at least dt = 1 ms, got 0.4 ms"),
        (lambda: small(short_term=ShortTerm(0.5, 0.0, 0.5)), "dt must not be longer than tau_depression = 0.5 ms"),
        (lambda: small(short_term=ShortTerm(0.5, 0.5, 0.0)), "dt must not be longer than tau_facilitation = 0.5 ms"),
        (
            lambda: small(scope="event-gaussian", short_term=ShortTerm(0.5, 20.0, 20.0)),
            "does not know how a facilitated release probability saturates",
        ),
        (
            lambda: synsim.meters.transmission(
                small(p=0.9, scope="event", rate=800.0, short_term=FACILITATION), images(9)
            ),
            "release probability of layer 'layers.0' saturates at 1.*Count with synsim.spiking.events",
        ),
        (lambda: small()(images(0)), r"expected at least one image, got a tensor of shape \[0, 16\]"),
        (
            lambda: small().run(torch.zeros(3, 10, 16).double()),
            r"\[3, 10, 16\] looks like examples before the 10 steps",
        ),
        (lambda: small(tau=-1.0), "tau must be a positive"),
        (lambda: small(window=-5.0), "window must be a positive"),
        (lambda: small(rate=2000.0), "rate must lie between 0 and 1 / dt"),
        (lambda: small(readout="median"), "readout must be one of"),
        (lambda: small(encoder=RegularRates(window=10.0, dt=0.5)), "the encoder must have the network's dt"),
        (lambda: small(replicas=2, encoder=RegularRates(window=10.0, dt=1.0)), "the encoder must have replicas=2"),
        (lambda: small()(images(3) * 2), "pixels must lie in"),
        (lambda: small()(images(3)[0]), "expects images of shape"),
        (lambda: small()(images(3).float()), "expects torch.float64, got torch.float32"),
        (lambda: small().run(images(3)), r"spikes must be \[T, B, 16\], with time before the examples"),
        (lambda: small().run(torch.zeros(3, 16, 10).double()), "with time before the examples"),
        (lambda: small(replicas=2).run(torch.zeros(3, 5, 2, 16).double()), r"or \[2, T, B, 16\]"),
        (lambda: small().run(torch.full((5, 2, 16), 0.5).double()), "spikes must be 0 or 1"),
        (lambda: events(small(scope="event-gaussian"), images(3)), "no releases to count"),
    ],
)
def test_bad_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def rebuilt(net, layers):
    return SpikingMLP(None, list(layers), LIF(), Leaky(), readout="mean", surrogate=FastSigmoid(), dt=1.0, gain=1.0,
                      short_term=None)  # fmt: skip


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda net: net.encode(torch.rand(3, 7)), "images must have 12 pixels, as many as .* inputs, got .3, 7."),
        (lambda net: net.run(torch.ones(5, 3, 12) * (1 + 0j)), "spikes must be 0 or 1, got torch.complex64"),
        (lambda net: net.run(torch.empty(5, 3, 12, device="meta")), "spikes must be a dense tensor"),
        (lambda net: net(torch.empty(3, 12, device="meta")), "x must be a dense tensor"),
        (lambda net: rebuilt(net, []), "layers must hold one layer at least, got none"),
        (lambda net: rebuilt(net, net.layers[::-1]), "as many inputs as the one before has outputs, got 12 after 4"),
        (lambda net: events(net, torch.rand(2, 12), samples=2**31), "samples must be a whole number from 1 to 1000000"),
    ],
)
def test_what_is_no_image_and_no_spikes_of_the_network_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make(spiking_mlp([12, 5, 4], p=0.5, window=5.0))
