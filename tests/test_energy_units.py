"""Released strength and ATP against naive loops over synapses, counted releases and arithmetic by hand."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

import synsim
from synsim import meters, tasks
from synsim.meters import RODENT_CORTEX, AtpConstants, atp_budget, atp_of_events, transmission
from synsim.meters.passes import passes
from synsim.networks import MultiHead, cnn


def network(**options):
    return synsim.mlp([6, 5, 4, 3], **{"seed": 3, "dtype": torch.float64, **options})


def images(count=7, lead=()):
    generator = torch.Generator().manual_seed(2)
    return torch.rand(*lead, count, 6, generator=generator, dtype=torch.float64)


def naive_linear(weight, p, sites, inputs):
    """Spikes, vesicles and strength per image, synapse by synapse: weight and p [O, I], inputs [N, I]."""
    spikes = vesicles = strength = 0.0
    for image in inputs.tolist():
        for i, a in enumerate(image):
            spikes += a
            for o in range(len(weight)):
                vesicles += sites * float(p[o][i]) * a
                strength += abs(float(weight[o][i])) * a
    return [term / len(inputs) for term in (spikes, vesicles, strength)]


@pytest.mark.parametrize("options", [{}, {"bias": True, "sites": 3}, {"p": 1.0}, {"scope": "sample"}])
def test_linear_layers_against_loops(options):
    net, x = network(**options), images()
    net[2].p.copy_(torch.linspace(0.2, 1, 20, dtype=torch.float64).reshape(4, 5))
    expected, inputs = np.zeros(3), x
    with synsim.expected(net):
        found = transmission(net, x)
        for at in (0, 2, 4):
            weight, p = net[at].weight.detach(), net[at].p
            expected += naive_linear(weight, p, options.get("sites", 1), inputs)
            inputs = torch.relu(net[at](inputs)).detach()
        assert [float(term) for term in found] == pytest.approx(expected.tolist(), rel=1e-12)
        assert float(meters.energy(net, "release", x=x)) == pytest.approx(expected[2], rel=1e-12)


@pytest.mark.parametrize("lead", [(), (2,)])
def test_replicas_with_images_shared_or_their_own(lead):
    net, x = network(replicas=2), images(lead=lead)
    with synsim.expected(net):
        found = transmission(net, x)
        inputs, expected = x.expand(2, 7, 6), np.zeros((2, 3))
        for at in (0, 2, 4):
            for r in range(2):
                expected[r] += naive_linear(net[at].weight[r].detach(), net[at].p[r], 1, inputs[r])
            inputs = torch.relu(net[at](inputs)).detach()
    np.testing.assert_allclose(torch.stack(found, 1).numpy(), expected, rtol=1e-12)


def naive_conv(layer, p, inputs, stride, padding, dilation, groups):
    """The same for a convolution, position by position; zeros are padded. weight [O, C / groups, kH, kW]."""
    weight, terms = layer.weight.detach(), np.zeros(3)
    outputs, part, high, wide = weight.shape
    for image in inputs:
        terms[0] += float(image.sum())
        rows = (image.shape[1] + 2 * padding - dilation * (high - 1) - 1) // stride + 1
        columns = (image.shape[2] + 2 * padding - dilation * (wide - 1) - 1) // stride + 1
        for o, c, u, v in itertools.product(range(outputs), range(part), range(high), range(wide)):
            channel = o // (outputs // groups) * part + c
            for row, column in itertools.product(range(rows), range(columns)):
                i, j = row * stride + u * dilation - padding, column * stride + v * dilation - padding
                if 0 <= i < image.shape[1] and 0 <= j < image.shape[2]:
                    a = float(image[channel, i, j])
                    terms += [0, float(p[o, c, u, v]) * a, abs(float(weight[o, c, u, v])) * a]
    return terms / len(inputs)


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize(("stride", "padding", "dilation", "groups"), [(1, 1, 1, 1), (2, 0, 1, 2), (1, 2, 2, 2)])
def test_convolutions_against_loops(plain, stride, padding, dilation, groups):
    kind = nn.Conv2d if plain else synsim.BernoulliConv2d
    layer = kind(4, 6, (3, 2), stride, padding, dilation, groups, bias=True, dtype=torch.float64)
    p = torch.ones_like(layer.weight) if plain else layer.p.uniform_(0.1, 1, generator=torch.Generator())
    x = torch.rand(3, 4, 6, 5, dtype=torch.float64)
    found = transmission(nn.Sequential(layer, nn.Flatten()), x)
    expected = naive_conv(layer, p, x, stride, padding, dilation, groups)
    assert [float(term) for term in found] == pytest.approx(expected.tolist(), rel=1e-12)


def test_a_convolutional_network_with_replicas_is_its_replicas():
    x = torch.rand(3, 3, 32, 32)
    together, alone = cnn(4, replicas=2, seed=5), cnn(4, seed=6)
    for a, b in zip(transmission(together, x, samples=2), transmission(alone, x, samples=2), strict=True):
        assert float(a[1]) == pytest.approx(float(b), rel=1e-5)


def test_padding_of_other_kinds_repeats_spikes():
    layer = nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular", bias=False)
    x = torch.rand(2, 1, 4, 4)
    expected = float(layer.weight.detach().abs().double().sum()) * float(x.double().sum()) / 2  # each pixel meets all
    assert float(meters.energy(nn.Sequential(layer, nn.Flatten()), "release", x=x)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("sites", [1, 3])
def test_expected_releases_are_the_mean_of_counted_ones(sites):
    layer = synsim.mlp([6, 4], sites=sites, seed=0, dtype=torch.float64)[0]
    layer.p.copy_(torch.linspace(0.1, 1, 24, dtype=torch.float64).reshape(4, 6))
    a = torch.rand(1, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    counted = []
    for _ in range(2000):
        layer(a)
        released = layer.mask.double() * a  # vesicles
        counted.append([float(released.sum()), float((released * layer.strength.detach().abs() / sites).sum())])
    found = transmission(nn.Sequential(layer), a)
    for values, mean in zip(np.array(counted).T, (found.vesicles, found.strength), strict=True):
        assert stats.ttest_1samp(values, float(mean)).pvalue > 1e-3
        assert stats.ttest_1samp(values, 1.06 * float(mean)).pvalue < 1e-6, "the test must be able to fail"


def test_hidden_activity_is_that_of_stochastic_passes(monkeypatch):
    net, x = network(), images(230)
    found = transmission(net, x, samples=3, seed=4)
    hidden = meters.energy(net, "activity", x=x, samples=3, seed=4)
    assert float(found.spikes) == pytest.approx(float(hidden + x.sum(1).mean()), rel=1e-12)
    seen = {at: [] for at in (0, 2, 4)}
    handles = [net[at].register_forward_pre_hook(lambda m, i, at=at: seen[at].append(i[0])) for at in seen]
    for _ in passes(net, x, samples=3, block=100, seed=4):
        pass
    for handle in handles:
        handle.remove()
    pairs = [(torch.cat(seen[at]), net[at].weight.detach().abs()) for at in seen]
    strength = sum(float(torch.einsum("bi,oi->", a, w)) / 690 for a, w in pairs)
    assert float(found.strength) == pytest.approx(strength, rel=1e-12)
    monkeypatch.setattr("synsim.meters.passes.CHUNK", 37)
    assert float(transmission(net, x, samples=3, seed=4).strength) == pytest.approx(strength, rel=1e-12)
    assert float(transmission(net, x, samples=3, seed=5).strength) != pytest.approx(strength, rel=1e-6)


def test_a_replica_costs_what_it_costs_alone():
    together, alone, x = network(replicas=3), network(seed=4), images()
    for kind in ("release", "atp"):
        found = meters.energy(together, kind, x=x)
        assert found.shape == (3,)
        assert float(found[1]) == pytest.approx(float(meters.energy(alone, kind, x=x)), rel=1e-12)


def test_plain_layers_are_synapses_that_never_fail():
    net, x = network(p=1.0, bias=True), images()
    layers = [nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)]
    plain = nn.Sequential(*layers).double()
    for at in (0, 2, 4):
        plain[at].load_state_dict({"weight": net[at].weight, "bias": net[at].bias})
    for a, b in zip(transmission(net, x), transmission(plain, x), strict=True):
        assert float(a) == pytest.approx(float(b), rel=1e-12)
    mixed = nn.Sequential(nn.Linear(6, 6).double(), nn.ReLU(), *network(replicas=2))
    before = naive_linear(mixed[0].weight.detach(), torch.ones(6, 6), 1, x)
    hidden = torch.relu(mixed[0](x)).detach()
    with synsim.expected(mixed):
        total, rest = transmission(mixed, x), transmission(mixed[2:], hidden)
    for a, b, first in zip(total, rest, before, strict=True):
        assert torch.allclose(a, b + first, rtol=1e-12)


def test_a_strength_of_zero_is_no_synapse():
    net, x = network(), images()
    with torch.no_grad():
        net[0].weight[:, :3] = 0
    layer = nn.Sequential(net[0])
    assert float(transmission(layer, x).vesicles) == pytest.approx(float(5 * 0.25 * x[:, 3:].sum(1).mean()), rel=1e-12)
    assert float(transmission(layer, x).spikes) == pytest.approx(float(x.sum(1).mean()), rel=1e-12)


def test_only_the_head_in_use_costs():
    trunk, heads = nn.Sequential(nn.Linear(6, 5), nn.ReLU()), [nn.Linear(5, 3), nn.Linear(5, 2)]
    net, x = MultiHead(trunk, heads).double(), images()
    found = meters.energy(net, "release", x=x, head=1)
    expected = meters.energy(nn.Sequential(*trunk, heads[1]), "release", x=x)
    assert float(found) == pytest.approx(float(expected), rel=1e-12)
    assert float(meters.energy(net, "activity", x=x, head=0)) > 0
    assert float(meters.information_per_energy(net, x, torch.arange(7) % 2, kind="atp", head=1)) > 0


def test_atp_by_hand():
    # Two spikes, three vesicles, of together 1.5 quantal strengths.
    terms = atp_of_events(*(torch.tensor(value, dtype=torch.float64) for value in (2, 3, 1.5)))
    assert {name: float(value) for name, value in terms.items()} == {
        "spikes": 2.4e8,
        "release": 3 * (12_000 + 11_000 + 800),
        "reversal": 210_000.0,
    }
    # One synapse of strength 0.5 with p = 0.25 (m = 2), a pixel of 1: a quarter of a vesicle, and half a quantum.
    net = nn.Sequential(synsim.BernoulliLinear(1, 2, dtype=torch.float64))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[0.5], [0.0]]))
    budget = atp_budget(net, torch.ones(1, 1, dtype=torch.float64))
    assert {name: float(value) for name, value in budget.items()} == {
        "spikes": 1.2e8,
        "release": 5950.0,
        "reversal": 70_000.0,
    }


def test_the_published_sums():
    one = RODENT_CORTEX
    vesicle = one.calcium + one.recycling + one.cycling + one.reversal
    assert vesicle == pytest.approx(1.64e5, rel=0.005), "ATP per vesicle, Attwell & Laughlin 2001"
    # 2,000 vesicles per spike: then 50 % to 21 % for receptors and spikes, as in Howarth et al. 2012.
    assert 2000 * one.reversal / one.spike == pytest.approx(50 / 21, rel=0.05)


def test_the_budget_adds_up_and_scales():
    net, x = network(replicas=2), images()
    budget = atp_budget(net, x)
    assert torch.allclose(meters.energy(net, "atp", x=x), sum(budget.values()), rtol=1e-12)
    own = AtpConstants(spikes_per_rate=3.0, quanta_per_strength=0.1, spike=1.0)
    scaled = atp_budget(net, x, own)
    for name, factor in (("spikes", 3 / 1.2e8), ("release", 3), ("reversal", 0.3)):
        assert torch.allclose(scaled[name], factor * budget[name], rtol=1e-12)
    assert torch.allclose(meters.energy(net, "atp", x=x, constants=own), sum(scaled.values()), rtol=1e-12)
    bits = meters.mutual_information(net, x, torch.arange(7) % 3)
    ratio = meters.information_per_energy(net, x, torch.arange(7) % 3, kind="atp")
    assert torch.allclose(ratio, bits / sum(budget.values()), rtol=1e-12)


def test_measuring_leaves_the_network_as_it_was():
    net, x = network().train(), images()
    net(x).sum().backward()
    draws, mask, gradient = net[0].draws, net[0].mask.clone(), net[0].weight.grad.clone()
    meters.energy(net, "atp", x=x)
    with pytest.raises(ValueError, match="spike rates"):
        meters.energy(net, "atp", x=-x)
    assert net.training
    assert not any(module._forward_pre_hooks for module in net.modules())
    assert net[0].draws == draws
    assert torch.equal(net[0].mask, mask)
    assert torch.equal(net[0].weight.grad, gradient)


def test_a_failed_replica_fails_alone():
    net, x = network(replicas=2), images()
    with torch.no_grad():
        net[2].weight[0] = math.nan
    found = meters.energy(net, "release", x=x)
    assert found[0].isnan()
    assert found[1].isfinite()


def test_pixels_must_be_rates():
    digits = synsim.data.load("digits")
    unit, standard = (tasks.single(digits, pixels=pixels)[0].test for pixels in ("unit", "standard"))
    net = synsim.mlp([64, 10, 10])
    assert float(meters.energy(net, "release", x=unit)) > 0
    with pytest.raises(ValueError, match=r"layer '0' .* at least 0, got -.*pixels=\"unit\""):
        meters.energy(net, "release", x=standard)


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        (lambda x: meters.energy(network(), "atp"), "energy of kind 'atp' needs images"),
        (lambda x: meters.energy(network(), "release"), "energy of kind 'release' needs images"),
        (lambda x: meters.energy(nn.Sequential(nn.ReLU()), "atp", x=x), "a network with synapses, got none"),
        (lambda x: meters.energy(nn.Sequential(*network()[:1], *network()[2:]), "atp", x=x), "layer '1' .* nn.ReLU"),
        (lambda x: AtpConstants(spike=-1.0), "spike must be finite and at least 0"),
        (lambda x: replace(RODENT_CORTEX, reversal=math.nan), "reversal must be finite"),
    ],
)
def test_bad_input(measure, message):
    with pytest.raises(ValueError, match=message):
        measure(images())
