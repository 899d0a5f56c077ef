"""What the examples in examples/extending/ add is taken by the rest of the package, and agrees with a naive double."""

import runpy
from pathlib import Path

import pytest
import torch

import synsim
from synsim import spiking
from synsim.synapses import evaluation, scopes

FOLDER = Path(synsim.__file__).resolve().parent.parent / "examples" / "extending"


def run(name):
    return runpy.run_path(str(FOLDER / name), run_name="__main__")


def run_without_training(name):
    return runpy.run_path(str(FOLDER / name))


@pytest.fixture
def axon(monkeypatch, capsys):
    """The scope of the example, for one test."""
    monkeypatch.setattr(synsim.BernoulliLinear, "scopes", synsim.BernoulliLinear.scopes)
    try:
        run("scope.py")
        yield capsys.readouterr().out
    finally:
        scopes.SCOPES.pop("axon", None)


def built(**options):
    net = synsim.mlp([6, 5, 3], scope="axon", seed=4, dtype=torch.float64, **options)
    generator = torch.Generator().manual_seed(1)
    for layer in (net[0], net[2]):
        layer.p.uniform_(0.3, 0.9, generator=generator)
    return net, torch.rand(7, 6, generator=generator, dtype=torch.float64)


def naive(net, x, replica=None):
    """Every example by itself, with the masks that the layers recompute."""
    out = []
    for example, row in enumerate(x):
        for layer in (net[0], net[2]):
            pick = (lambda value: value) if replica is None else (lambda value: value[replica])
            mask, p, weight = pick(layer.draw_mask(example).double()), pick(layer.p), pick(layer.weight)
            row = (mask / (layer.sites * p) * weight) @ row
            row = row.relu() if layer is net[0] else row
        out.append(row)
    return torch.stack(out)


def test_a_scope_of_its_own(axon):
    assert "all synapses of an axon together: True" in axon
    net, x = built(sites=2)
    torch.testing.assert_close(net(x), naive(net, x), rtol=1e-12, atol=1e-13)
    gradient, expected = (torch.autograd.grad(out.square().sum(), net[0].weight)[0] for out in (net(x), naive(net, x)))
    with synsim.frozen(net):
        again = torch.autograd.grad(net(x).square().sum(), net[0].weight)[0]
    torch.testing.assert_close(again, gradient)
    torch.testing.assert_close(gradient, expected, rtol=1e-11, atol=1e-13)
    # One number for an input: of two synapses with it, the one with the larger p releases wherever the other one does.
    masks = torch.stack([net[0].draw_mask(example) for example in range(7)]).long()
    order = net[0].p.argsort(0)
    assert bool((masks.gather(1, order.expand(7, 5, 6)).diff(dim=1) >= 0).all())
    assert not torch.equal(masks[0], masks[1])


def test_a_scope_of_its_own_has_replicas(axon):
    net, x = built(replicas=2)
    out = net(x)
    for r in range(2):
        torch.testing.assert_close(out[r], naive(net, x, r), rtol=1e-12, atol=1e-13)


def test_rooms_take_a_scope_of_its_own(axon):
    net, x = built()
    y = torch.arange(7) % 3
    options = {"view": "sampled", "samples": 2, "block": 3}
    found = synsim.importance.make("fisher", **options).estimate(net, x)
    total = {name: torch.zeros_like(p) for name, p in net.named_parameters()}
    with evaluation(net, 0) as passes:
        for sample in range(2):
            for example in range(7):
                passes.at(sample, example // 3, example)
                out = net(x[example : example + 1]).log_softmax(-1)[0]
                for c in range(3):
                    parts = torch.autograd.grad(out[c], list(net.parameters()), retain_graph=True)
                    for name, part in zip(total, parts, strict=True):
                        total[name] += out[c].exp().detach() * part.square() / 14
    for name, value in total.items():
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-12)
    chunks = [synsim.meters.class_probabilities(net, x, samples=3, block=block) for block in (2, 100)]
    torch.testing.assert_close(*chunks)
    _, curve = synsim.lesion_curve(net, x, y, samples=2)
    assert float(curve[0]) == float(synsim.meters.accuracy(net, x, y, samples=2))
    spread = torch.stack([net[0](x) for _ in range(400)])
    with synsim.expected(net):
        assert bool(((spread.mean(0) - net[0](x)).abs() < 6 * spread.std(0) / 20 + 1e-12).all())


def test_a_layer_of_its_own(capsys):
    made = run("layer.py")["PowerLinear"]
    accuracy = float(capsys.readouterr().out.split()[1].strip(","))
    assert accuracy > 0.9
    net, plain = (
        synsim.mlp([6, 5, 3], p=0.6, replicas=2, seed=3, layer=kind) for kind in (made, synsim.BernoulliLinear)
    )
    x = torch.rand(4, 6, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(net(x), plain(x))
    assert torch.equal(net[0].mask, plain[0].mask)
    assert torch.equal(net[0].weight.sign(), plain[0].weight.sign())
    assert not torch.allclose(net[0].weight, plain[0].weight)


def test_networks_take_any_layer_and_refuse_what_is_none():
    power = run_without_training("layer.py")["PowerLinear"]
    image = synsim.networks.cnn(layer=power, dropout=False, heads=2)
    kinds = {name: type(layer) for name, layer in synsim.synapses(image).items()}
    assert {name for name, kind in kinds.items() if kind is power} == {"trunk.hidden", "heads.0", "heads.1"}
    assert all(kind is synsim.BernoulliConv2d for name, kind in kinds.items() if "conv" in name)
    asked = []
    synsim.networks.cnn(
        convolution=lambda *sizes, **options: asked.append(sizes) or synsim.BernoulliConv2d(*sizes, **options)
    )
    assert asked == [(3, 32, 3), (32, 32, 3), (32, 64, 3), (64, 64, 3)]
    for build, name in (
        (lambda f: synsim.mlp([4, 2], layer=f), "layer"),
        (lambda f: synsim.networks.cnn(layer=f), "layer"),
        (lambda f: synsim.networks.cnn(convolution=f), "convolution"),
    ):
        with pytest.raises(ValueError, match=rf"{name} must make stochastic layers .*, got "):
            build(lambda i, o, *rest, **options: torch.nn.Linear(i, o))


def test_events_are_counted_in_a_layer_of_its_own():
    power = run_without_training("layer.py")["PowerLinear"]
    x = torch.rand(3, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for scope in ("batch", "sample", "event"):
        options = {
            "p": 0.6,
            "scope": scope,
            "seed": 3,
            "window": 20.0,
            "rate": 400.0,
            "bias": True,
            "dtype": torch.float64,
        }
        own, plain = (
            synsim.spiking.spiking_mlp([6, 5, 3], layer=kind, **options) for kind in (power, synsim.BernoulliLinear)
        )
        for layer, twin in zip(own.layers, plain.layers, strict=True):
            layer.set_expected(8 * layer.expected_strength.detach())
            twin.set_expected(layer.expected_strength.detach())
        found, expected = (synsim.spiking.events(net, x, samples=2) for net in (own, plain))
        assert found.spikes > 15
        for value, wanted in zip(found, expected, strict=True):
            torch.testing.assert_close(value, wanted, rtol=1e-12, atol=0)


def test_a_scope_of_its_own_holds_over_time(axon):
    layer = synsim.BernoulliLinear(6, 5, scope="axon", p=0.5, bias=True, dtype=torch.float64)
    spikes = torch.ones(3, 4, 6, dtype=torch.float64)  # T, B, I
    out = layer(spikes.flatten(0, 1), steps=3).reshape(3, 4, 5)
    for example in range(4):
        kept = layer.weight / layer.p * layer.draw_mask(example)
        torch.testing.assert_close(out[:, example], (kept.sum(1) + layer.bias).expand(3, 5), rtol=1e-12, atol=1e-13)
    with synsim.frozen(layer):
        tokens = layer(spikes.transpose(0, 1))
    torch.testing.assert_close(tokens, out.transpose(0, 1), rtol=1e-12, atol=1e-13)
    net, images = spiking.spiking_mlp([6, 5, 3], scope="axon", window=6.0, threshold=0.1, seed=2), torch.rand(4, 6)
    counted = spiking.events(net, images)
    with evaluation(net, 0) as passes:
        passes.at(0, 0, 0)
        record = net.run(net.encode(images))
        rows = [record.spikes[name] for name in ("input", "hidden 1")]
        masks = [[layer.draw_mask(example) for example in range(4)] for layer in net.layers]
    vesicles = sum(
        (mask.sum(0) * spikes[:, example].sum(0)).sum()
        for spikes, each in zip(rows, masks, strict=True)
        for example, mask in enumerate(each)
    )
    torch.testing.assert_close(float(counted.vesicles), float(vesicles.detach()) / 4, rtol=1e-5, atol=0)


def test_scopes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="scope must be one of batch, sample, event, event-gaussian, got 'axon'"):
        synsim.BernoulliLinear(3, 2, scope="axon")
    with pytest.raises(ValueError, match=r"takes classes of stochastic layers, got 'mine'"):
        scopes.register("mine")
    for name in ("", "batch"):
        kind = type("Mine", (scopes.PerPass,), {"name": name})
        with pytest.raises(ValueError, match="a scope needs a name of its own"):
            scopes.register()(kind)
    layer = synsim.BernoulliLinear(3, 2)
    layer.scope = "bach"
    with pytest.raises(ValueError, match="no scope is called 'bach': known are sample, batch"):
        layer(torch.rand(2, 3))


def test_a_scope_in_which_examples_share_a_mask(monkeypatch):
    kind = type("Halves", (scopes.PerPass,), {"name": "halves", "counts": lambda self, p, *_: (p > 0.5).byte()[None]})
    for layer in (synsim.BernoulliLinear, synsim.BernoulliConv2d):
        monkeypatch.setattr(layer, "scopes", layer.scopes)
    try:
        scopes.register(synsim.BernoulliLinear, synsim.BernoulliConv2d)(kind)
        layer, x = synsim.BernoulliLinear(3, 2, scope="halves", p=torch.tensor([[0.4, 0.6, 0.8]] * 2)), torch.rand(4, 3)
        out = layer(x)
        kept = layer.weight / layer.p * (layer.p > 0.5)
        torch.testing.assert_close(out, x @ kept.T)
        assert torch.equal(layer.mask, layer.p > 0.5)
        assert torch.equal(layer.draw_mask(3), layer.mask)
        gradient = torch.autograd.grad(out.sum(), layer.weight)[0]
        torch.testing.assert_close(gradient, x.sum(0) / layer.p * (layer.p > 0.5))
        image = torch.rand(2, 1, 3, 3)
        conv = synsim.BernoulliConv2d(1, 1, 2, scope="halves", p=0.6)
        torch.testing.assert_close(conv(image), torch.nn.functional.conv2d(image, conv.weight / 0.6))
    finally:
        scopes.SCOPES.pop("halves", None)
