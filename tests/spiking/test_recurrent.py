"""Recurrent spiking networks against a loop over examples and steps in float64, forward and backward."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from doubles import naive_fisher
from torch.utils.checkpoint import checkpoint

import synsim
from synsim.kernels.events import event_bits
from synsim.spiking import LIF, Arctan, Leaky, ShortTerm, SpikingMLP, events, spikes_per_neuron, spiking_mlp
from synsim.spiking.local import LocalMLP
from synsim.synapses import evaluation
from synsim.training import Protection, fit

SCOPES = ("batch", "sample", "event")
STEPS = 8


def small(sizes=(7, 6, 5, 3), **options):
    chosen = {"window": float(STEPS), "threshold": 0.1, "gain": 3.0, "surrogate": "arctan", "rate": 700.0, "p": 0.5}
    return spiking_mlp(list(sizes), recurrent=True, **{**chosen, "dtype": torch.float64, **options})


def images(count=4, lead=(), width=7):
    return torch.rand(*lead, count, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class Naive:
    """The network of one replica, in plain operations: one example, one step, one layer after the other."""

    def __init__(self, net, r=None):
        self.net, self.r = net, r
        self.layers = [*net.layers, *net.recurrent]
        pick = (lambda value: value) if r is None else (lambda value: value[r])
        self.pick = pick
        self.weights = {layer: pick(layer.weight).detach().clone().requires_grad_() for layer in self.layers}
        self.biases = {
            layer: pick(layer.bias).detach().clone().requires_grad_() for layer in net.layers if layer.bias is not None
        }

    def transmit(self, layer, s, b, t, factor):
        w, p = self.weights[layer], self.pick(layer.p)
        if layer.scope != "event":
            return (self.pick(layer.draw_mask(b)).double() / (p * layer.sites) * w) @ (s * factor)
        source = torch.arange(layer.in_features)
        at = {"step": torch.full_like(source, t), "example": torch.full_like(source, b)}
        key, count = layer._key()[0][self.r or 0], 0
        for site in range(layer.sites):
            bits = event_bits(key, layer.out_features, source=source, site=site, draw=layer.latest_draw, **at)
            count = count + (bits.t() < p * factor * 65536).double()
        mean = w.detach() @ (s * factor)
        return (count / (p * layer.sites) * w) @ s.detach() + mean - mean.detach()

    def run(self, spikes):
        """Spikes [T, B, I] -> logits [B, C], spikes of the populations, membranes."""
        net, lif, (steps, batch) = self.net, self.net.neurons, spikes.shape[:2]
        logits, fired, membranes = [], {}, {}
        for b in range(batch):
            sizes = [layer.out_features for layer in net.layers]
            v, last = [torch.zeros(n).double() for n in sizes], [torch.full((n,), -99) for n in sizes]
            st = net.short_term or ShortTerm(1.0, 0.0, 0.0)
            traces = [(torch.zeros(n).double(), torch.ones(n).double()) for n in (spikes.shape[2], *sizes)]
            down = [0.0 if tau == 0 else math.exp(-net.dt / tau) for tau in (st.tau_facilitation, st.tau_depression)]
            series = []
            for t in range(steps):
                now = spikes[t, b]
                for k, layer in enumerate(net.layers):
                    fires = k < len(net.layers) - 1 or net.output is None
                    free = (t - last[k] >= lif.hold(net.dt)) | (not fires)
                    u = torch.where(free, v[k] * math.exp(-net.dt / (lif.tau if fires else net.output.tau)), v[k])
                    s = net.surrogate.spike(u - lif.threshold) * free * fires
                    factors = []
                    for n in (k, k + 1):
                        ux, x = traces[n]
                        factors.append((ux + st.U * (1 - ux)) * x / st.U)
                    current = self.transmit(layer, now, b, t, factors[0])
                    if layer in self.biases:
                        current = current + self.biases[layer]
                    if k < len(net.recurrent):
                        current = current + self.transmit(net.recurrent[k], s, b, t, factors[1])
                    ux, x = traces[k]
                    up, on = ux + st.U * (1 - ux), now.detach()
                    traces[k] = ((ux + (up - ux) * on) * down[0], 1 - (1 - x * (1 - up * on)) * down[1])
                    off = s.detach() if lif.detach_reset else s
                    v[k] = u + current - lif.threshold * off if lif.reset == "subtract" else (u + current) * (1 - off)
                    last[k] = torch.where(s.detach() > 0, t, last[k])
                    name = net.populations()[k + 1]
                    membranes[name, t, b] = v[k].detach()
                    fired[name, t, b] = s.detach()
                    now = s
                series.append(v[-1] if net.output is not None else now)
            stacked = torch.stack(series)
            logits.append(
                net.gain * {"mean": stacked.mean(0), "count": stacked.sum(0), "max": stacked.amax(0)}[net.readout]
            )
        return torch.stack(logits), fired, membranes


def compare(net, x):
    """One pass, against the naive one: spikes, membranes, logits, and all gradients."""
    record = net.run(net.encode(x))
    along = torch.randn(record.logits.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    net.zero_grad()
    record.logits.backward(along)
    many = net.layers[0].replicas is not None
    for r in range(net.layers[0].replicas or 1):
        one = Naive(net, r if many else None)
        given = record.spikes["input"]
        logits, fired, membranes = one.run(given[r] if given.ndim == 4 else given)
        mine = one.pick(record.logits)
        assert torch.allclose(mine, logits, rtol=1e-9, atol=1e-12)
        for (name, t, b), v in membranes.items():
            if name in record.spikes:
                assert torch.equal(one.pick(record.spikes[name])[t, b], fired[name, t, b])
            assert torch.allclose(one.pick(record.membranes[name])[t, b], v, rtol=1e-9, atol=1e-12)
        (logits * one.pick(along)).sum().backward()
        for layer, weight in one.weights.items():
            assert float(weight.grad.abs().sum()) > 0
            assert torch.allclose(one.pick(layer.weight.grad), weight.grad, rtol=1e-7, atol=1e-12)
        for layer, bias in one.biases.items():
            assert torch.allclose(one.pick(layer.bias.grad), bias.grad, rtol=1e-7, atol=1e-12)
    assert all(float(record.spikes[f"hidden {k}"].detach().mean()) > 0.02 for k in range(1, len(net.layers)))
    return record


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"replicas": 2, "sites": 2, "bias": True},
        {"reset": "subtract", "refractory": 2.0, "readout": "count"},
        {"short_term": ShortTerm(0.4, 10.0, 20.0), "readout": "max"},
    ],
    ids=str,
)
def test_it_is_the_loop_over_examples_and_steps(scope, options):
    compare(small(scope=scope, **options), images())


@pytest.mark.parametrize("reset", ["rest", "subtract"])
@pytest.mark.parametrize("refractory", [0.0, 3.0])
def test_the_reset_may_be_differentiated(reset, refractory):
    net = small(reset=reset, refractory=refractory)
    net.neurons = replace(net.neurons, detach_reset=False)
    compare(net, images())


@pytest.mark.parametrize("scope", [*SCOPES, "event-gaussian"])
@pytest.mark.parametrize("replicas", [None, 2])
@pytest.mark.parametrize("short_term", [None, ShortTerm(0.5, 0.0, 20.0)])
def test_the_way_through_calls_is_the_same(scope, replicas, short_term):
    nets = [small(scope=scope, replicas=replicas, short_term=short_term) for _ in range(2)]
    heard = []
    for layer in nets[1].recurrent:
        layer.register_forward_hook(lambda module, given, out: heard.append(out))
    for _ in range(2):
        found = []
        for net in nets:
            net.zero_grad()
            record = net.run(net.encode(images()))
            (record.logits.square().sum() + record.membranes["hidden 1"].square().sum()).backward()
            found.append([record.logits, *record.spikes.values(), *(value.grad for value in net.parameters())])
        for one, other in zip(*found, strict=True):
            assert torch.allclose(one, other, rtol=1e-8, atol=1e-12)
    assert len(heard) == 2 * 2 * STEPS
    for one, other in zip(synsim.synapses(nets[0]).values(), synsim.synapses(nets[1]).values(), strict=True):
        assert one.draws == other.draws == 2
        assert (one.mask is None) == (other.mask is None)
        assert one.mask is None or torch.equal(one.mask, other.mask)


def test_strengths_of_all_examples_or_of_a_step(monkeypatch):
    from synsim.synapses.scopes import per_example

    found = []
    for room in (1 << 26, 1):
        monkeypatch.setattr(per_example, "BYTES", room)
        net = small(scope="sample", replicas=2, sites=2)
        out = net(images())
        out.square().sum().backward()
        found.append([out, *(value.grad for value in net.parameters())])
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one, other, rtol=1e-9, atol=1e-13)


def test_without_recurrent_synapses_it_is_the_network_without_them():
    for scope in SCOPES:
        plain = spiking_mlp(
            [7, 6, 5, 3], p=0.5, scope=scope, window=8.0, threshold=0.1, rate=700.0, dtype=torch.float64
        )
        net = small(scope=scope, gain=1.0, surrogate="fast-sigmoid")
        for layer in net.recurrent:
            torch.nn.init.zeros_(layer.weight)
        assert torch.allclose(net(images()), plain(images()), rtol=1e-12)
        for one, other in zip(net.layers, plain.layers, strict=True):
            assert torch.equal(one.weight, other.weight)
    assert list(plain.state_dict()) == [name for name in net.state_dict() if "recurrent" not in name]


@pytest.mark.parametrize("scope", SCOPES)
def test_a_replica_is_the_same_alone(scope):
    together, alone = small(p=[0.3, 0.6, 0.9], replicas=3, seed=4, scope=scope), small(p=0.6, seed=5, scope=scope)
    for _ in range(2):
        outputs = together(images()), alone(images())
        assert torch.allclose(outputs[0][1], outputs[1], rtol=1e-10)
    assert together(images(lead=(3,))).shape == (3, 4, 3)


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("around", [False, True])
def test_long_batches_go_in_parts_unnoticed(scope, around, monkeypatch):
    from contextlib import nullcontext

    from synsim.spiking import network

    found = []
    for room in (1 << 26, 1 << 12):
        monkeypatch.setattr(network, "BYTES", room)
        net = small(scope=scope)
        with torch.no_grad(), synsim.held(net) if around else nullcontext():
            found.append(torch.stack([net(images(9)), net(images(9))]))
        assert {module.draws for module in net.modules() if hasattr(module, "draws")} == {1 if around else 2}
    assert torch.allclose(*found, rtol=1e-10, atol=1e-12)
    assert torch.allclose(*found[0]) is (around and scope != "event")


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("reentrant", [False, True])
def test_a_checkpoint_repeats_it(scope, reentrant):
    found = []
    for way in (lambda net, x: net(x), lambda net, x: checkpoint(net, x, use_reentrant=reentrant)):
        net, x = small(scope=scope), images().requires_grad_()
        for _ in range(2):
            net.zero_grad()
            way(net, x).square().sum().backward()
        found.append([value.grad for value in net.parameters()])
        assert [layer.draws for layer in synsim.synapses(net).values()] == [2] * 5
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one, other, rtol=1e-12)


def test_surrogates_of_ones_own_and_views():
    class Mine(Arctan):
        kind = 0

    nets = [small(surrogate=Mine()), small(surrogate=Arctan())]
    for out in [net(images()) for net in nets]:
        out.square().sum().backward()
    for one, other in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        assert torch.allclose(one.grad, other.grad, rtol=1e-9, atol=1e-13)
    net = nets[0]
    with synsim.frozen(net, 0):
        assert torch.equal(net(images()), net(images()))
    with synsim.expected(net):
        mean = net(images())
    assert [layer.draws for layer in synsim.synapses(net).values()] == [1] * 5
    certain = small(p=1.0, encoder=copy.deepcopy(net.encoder))
    with synsim.expected(certain):
        assert torch.allclose(certain(images()), mean, rtol=1e-12)


@pytest.mark.parametrize("scope", SCOPES)
def test_meters_lesions_and_events_take_it(scope):
    net, x, y = small(scope=scope, replicas=2, sites=2), images(12), torch.arange(12) % 3
    assert torch.allclose(
        synsim.meters.energy(net),
        sum(layer.weight.abs().sum((1, 2)).double() for layer in synsim.synapses(net).values()),
    )
    first = synsim.meters.class_probabilities(net, x, samples=2, block=5)
    assert torch.equal(first, synsim.meters.class_probabilities(net, x, samples=2, block=5))
    _, curve = synsim.lesion_curve(net, x, y, fractions=(0.0, 0.5), samples=2, block=12)
    lesioned = copy.deepcopy(net)
    masks = synsim.lesions.lesion_masks(synsim.lesions.lesion_scores(net, "p"), 0.5, 2)
    assert {"recurrent.0", "recurrent.1"} < set(masks)
    for name, layer in synsim.synapses(lesioned).items():
        layer.weight.data *= masks[name]
    assert torch.equal(curve[:, 1], synsim.meters.accuracy(lesioned, x, y, samples=2, block=12))
    found = events(net, x, block=12)
    totals = torch.zeros(3, 2, dtype=torch.float64)
    with torch.no_grad(), evaluation(net) as passes:
        passes.at(0, 0, 0)
        record = net.run(net.encode(x))
        pairs = [*zip(net.layers, record.spikes.values(), strict=False)]
        totals[0] = sum(spikes.sum((1, 2, 3)) for spikes in record.spikes.values())
        for layer, spikes in [*pairs, *zip(net.recurrent, [*record.spikes.values()][1:], strict=True)]:
            for t in range(STEPS):
                for b in range(12):
                    mask = layer.draw_mask(b, t) if scope == "event" else layer.draw_mask(b)
                    through = mask * spikes[:, t, b].unsqueeze(1)
                    totals[1] += through.sum((1, 2))
                    totals[2] += (through * layer.strength.abs() / 2).sum((1, 2))
    for mine, theirs in zip(found, totals / 12, strict=True):
        assert torch.allclose(mine, theirs)
    assert set(spikes_per_neuron(net, x)) == {"input", "hidden 1", "hidden 2"}
    sent = synsim.meters.transmission(net, x, samples=1, block=12)
    twice = sum(spikes.sum((1, 2, 3)) for name, spikes in record.spikes.items() if name != "input")
    assert torch.allclose(sent.spikes, (totals[0] + twice) / 12)
    assert [layer.draws for layer in synsim.synapses(net).values()] == [0] * 5


@pytest.mark.parametrize("replicas", [None, 2])
@pytest.mark.parametrize(("view", "scope"), [("expected", "event"), ("sampled", "batch"), ("sampled", "sample")])
def test_the_exact_fisher_is_that_of_a_loop(replicas, view, scope):
    net, x = small((7, 6, 3), replicas=replicas, scope=scope), images()
    kind = {"labels": "exact", "view": view, **({"samples": 1, "block": 3} if view == "sampled" else {})}
    found = synsim.importance.make("fisher", **kind).estimate(net, x)
    if view == "expected":
        with synsim.expected(net):
            expected = naive_fisher(net, x, lambda i: None, 3)
    else:
        with evaluation(net) as passes:
            expected = naive_fisher(net, x, lambda i: passes.at(0, i // 3, i), 3)
    for name, value in expected.items():
        assert float(value.sum()) > 0
        assert torch.allclose(found[name], value, rtol=1e-8, atol=1e-13)


@pytest.mark.parametrize("name", ["fisher", "mas", "si", "release-probability"])
def test_importances_protect_it(name):
    tasks = synsim.tasks.split(synsim.data.load("digits"), pixels="unit")[:2]
    options = {"fisher": {"images": 10}, "mas": {"images": 10}}.get(name, {})
    net = small((64, 8, 2), dtype=torch.float32)
    guard = Protection(
        synsim.importance.make(name, **options), synsim.consolidation.make("penalty", strength=1.0, factor=0.5)
    )
    rule = synsim.PresynapticSGD(net, lr=0.01, p_up=0.07, p_down=0.07, g_lim=1e-3)
    history = fit(net, rule, tasks, seeds=[0], steps=3, batch=20, protection=guard)
    assert not history.failures
    assert not bool(history.accuracy[0, -1].isnan().any())


def rebuilt(net, recurrent):
    parts = {"readout": "mean", "surrogate": Arctan(), "dt": 1.0, "gain": 1.0, "short_term": None}
    return SpikingMLP(None, list(net.layers), LIF(), Leaky(), **parts, recurrent=recurrent)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: small((7, 3)), r"a recurrent network needs a hidden population, got sizes=\[7, 3\]"),
        (
            lambda: rebuilt(small(), list(small().recurrent)[::-1]),
            r"of \[6, 5\] neurons to themselves, got .* \[\(5, 5\)",
        ),
        (
            lambda: rebuilt(small(), list(small().recurrent)[:1]),
            "recurrent must hold a layer for each hidden population",
        ),
        (
            lambda: small(scope="event-gaussian", short_term=ShortTerm(0.5, 20.0, 20.0)),
            "does not know how a facilitated release probability saturates",
        ),
        (lambda: LocalMLP(small()), "the three-factor rule knows networks without recurrence"),
        (
            lambda: synsim.importance.make("fisher").estimate(rebuilt(small(), list(small().recurrent)), images()),
            "this network has no encoder",
        ),
        (
            lambda: synsim.importance.make("fisher", view="sampled").estimate(small(scope="event"), images()),
            "expected view",
        ),
    ],
)
def test_bad_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
