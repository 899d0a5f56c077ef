"""Every stochastic layer, of the package, of examples/extending and written here, against naive doubles in float64.

A layer is known by four things: what it transmits on average (w̄), when released (m), with which probability (p), and
how many sites it has. The doubles below say these from what the layer stores, without asking it; rooms must agree.
"""

import copy
import runpy
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import synsim
from synsim import controls, meters
from synsim.lesions import clamp_p, lesion_curve, lesion_masks, lesion_scores, shuffle_p
from synsim.lesions.copies import Copies
from synsim.synapses import StochasticLayer

DOUBLE = torch.float64
ORDERS = ("p", "weight", "p*weight")


class Signed(synsim.BernoulliLinear):
    """Stores φ, and transmits θ = φ |φ| on average."""

    @property
    def expected_strength(self) -> Tensor:
        return self.weight * self.weight.abs()


class Cubed(StochasticLayer):
    """Stores the cube root of what a released synapse transmits; draws and multiplies by itself."""

    example_ndim = 1
    scopes = ("batch",)

    def __init__(self, inputs: int, outputs: int, p: float) -> None:
        super().__init__(
            (outputs, inputs), p=p, bias=True, sites=1, scope="batch", replicas=None, device=None, dtype=DOUBLE
        )

    @property
    def strength(self) -> Tensor:
        return self.weight**3

    @property
    def expected_strength(self) -> Tensor:
        return self.weight**3 * self.p

    def transmitted(self) -> Tensor:
        if self.address.mean:
            return self.expected_strength
        _, count = self.draw()
        return self.strength if count is None else self.strength * count

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.transmitted(), self.bias)


class Double(NamedTuple):
    """What a layer is, from what it stores; [R, *shape] each, R = 1 without replicas."""

    expected: Tensor
    strength: Tensor
    p: Tensor


EXAMPLES = sorted((Path(synsim.__file__).resolve().parent.parent / "examples" / "extending").glob("layer*.py"))
THEIRS = {
    name: kind
    for path in EXAMPLES
    for name, kind in runpy.run_path(str(path)).items()
    if isinstance(kind, type) and issubclass(kind, synsim.BernoulliLinear)
}
"""Layers of the examples by the name of their class; the package has never seen them."""
VARIANTS = {
    "": {},
    ", sample": {"scope": "sample", "sites": 2},
    ", event": {"scope": "event"},
    ", replicas": {"replicas": 2, "sites": 2},
}
BUILT = {name + variant: (kind, options) for name, kind in THEIRS.items() for variant, options in VARIANTS.items()}
EXPECTED = {"Signed": lambda w: w * w.abs(), "PowerLinear": lambda w: w * w.abs()}
"""What a layer that stores something else transmits on average, by the name of its class."""


def double(layer: StochasticLayer) -> Double:
    w, p = layer.weight.detach(), layer.p
    if type(layer).__name__ in {*THEIRS, "Signed"}:
        w = EXPECTED[type(layer).__name__](w)
    m = w / p
    if isinstance(layer, Cubed):
        m = w**3
    elif isinstance(layer, controls.ControlLinear):
        m = w / {"p": p, "ghost": layer.ghost, "nothing": torch.ones_like(p)}[layer.divide]
    lead = (layer.replicas or 1, *layer.weight.shape[-2 if layer.example_ndim == 1 else -4 :])
    return Double((m * p).reshape(lead), m.reshape(lead), p.reshape(lead))


def linear(**options):
    return lambda i, o: synsim.BernoulliLinear(i, o, dtype=DOUBLE, **{"bias": True, **options})


def control(name, **options):
    kind = controls.CONTROLS[name]
    return lambda i, o: controls.ControlLinear(
        i, o, p=kind.p, ghost=kind.ghost, divide=kind.divide, bias=True, dtype=DOUBLE, **options
    )


LAYERS = {
    "batch": linear(),
    "sample": linear(scope="sample"),
    "event": linear(scope="event"),
    "event-gaussian": linear(scope="event-gaussian"),
    "three sites": linear(sites=3),
    "three sites, sample": linear(sites=3, scope="sample"),
    "replicas": linear(replicas=2),
    "replicas, sample": linear(replicas=2, scope="sample"),
    "always released": linear(p=1.0),
    **{name: control(name) for name in controls.CONTROLS},
    **{f"{name}, replicas": control(name, replicas=2) for name in controls.CONTROLS},
    "signed": lambda i, o: Signed(i, o, bias=True, dtype=DOUBLE),
    "signed, sample": lambda i, o: Signed(i, o, bias=True, scope="sample", dtype=DOUBLE),
    "signed, event": lambda i, o: Signed(i, o, bias=True, scope="event", dtype=DOUBLE),
    "signed, replicas": lambda i, o: Signed(i, o, sites=2, replicas=2, dtype=DOUBLE),
    "cubed": lambda i, o: Cubed(i, o, 0.5),
}
CONVOLUTIONS = {
    "convolution": {},
    "convolution, sample": {"scope": "sample", "sites": 2},
    "convolution, replicas": {"replicas": 2},
}
EVERY = [*LAYERS, *BUILT, *CONVOLUTIONS]


def network(name: str) -> nn.Sequential:
    """Two layers of a kind, or a convolution and a linear layer, with probabilities that differ between synapses."""
    generator = torch.Generator().manual_seed(5)
    if name in LAYERS:
        net = nn.Sequential(LAYERS[name](6, 5), nn.ReLU(), LAYERS[name](5, 4))
        if "event" in name:
            net = nn.Sequential(LAYERS[name](6, 4))
    elif name in BUILT:
        kind, options = BUILT[name]
        sizes = [6, 4] if "event" in name else [6, 5, 4]
        net = synsim.mlp(sizes, bias=True, layer=kind, dtype=DOUBLE, **options)
    else:
        options = {"dtype": DOUBLE, **CONVOLUTIONS[name]}
        conv = synsim.BernoulliConv2d(2, 3, 2, stride=2, padding=1, bias=True, **options)
        net = nn.Sequential(conv, nn.ReLU(), nn.Flatten(-3), synsim.BernoulliLinear(18, 4, **options))
    synsim.networks.initialised(net, 3)
    for layer in synsim.synapses(net).values():
        if name != "always released":
            layer.p.uniform_(0.3, 0.9, generator=generator)
        if getattr(layer, "ghost", None) is not None:
            layer.ghost.uniform_(0.3, 0.9, generator=generator)
        with torch.no_grad():
            layer.weight.mul_(2)
            layer.bias is None or layer.bias.uniform_(-0.5, 0.5, generator=generator)
    return net


def images(name: str, count: int = 12) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    x = torch.rand(count, *((2, 3, 4) if name in CONVOLUTIONS else (6,)), generator=generator, dtype=DOUBLE)
    return x.round() if "event" in name else x, torch.randint(4, (count,), generator=generator)


def through(layer: StochasticLayer, x: Tensor, values: Tensor) -> Tensor:
    """What a layer makes of x if its synapses transmit the values [R, *shape]: [R, B, ...] for x [R or 1, B, ...]."""
    x = x.expand(values.shape[0], *x.shape[1:])
    if layer.example_ndim == 1:
        return torch.einsum("rbi,roi->rbo", x, values)
    return torch.stack([F.conv2d(one, w, None, layer.stride, layer.padding) for one, w in zip(x, values, strict=True)])


def biased(layer: StochasticLayer, out: Tensor) -> Tensor:
    if layer.bias is None:
        return out
    bias = layer.bias.detach().reshape(layer.replicas or 1, 1, -1)
    return out + (bias if layer.example_ndim == 1 else bias[..., None, None])


def naive(net: nn.Sequential, x: Tensor, transmitted: list[Tensor]) -> Tensor:
    """Logits [R, B, C] if every layer transmits given strengths."""
    rest = iter(transmitted)
    out = x.unsqueeze(0)
    for module in net:
        out = biased(module, through(module, out, next(rest))) if isinstance(module, StochasticLayer) else module(out)
    return out


def alike(net: nn.Module, out: Tensor) -> Tensor:
    """[R, ...] for any network."""
    return out if synsim.networks.replicas_of(net) is not None else out.unsqueeze(0)


def test_every_kind_of_layer_is_here():
    kinds, found = [StochasticLayer], set()
    while kinds:
        kind = kinds.pop()
        kinds += kind.__subclasses__()
        found |= {kind} if kind.__module__.startswith("synsim.") and kind is not StochasticLayer else set()
    assert found <= {type(layer) for name in EVERY for layer in synsim.synapses(network(name)).values()}
    for kind in (synsim.BernoulliLinear, synsim.BernoulliConv2d):
        scopes = {la.scope for name in EVERY for la in synsim.synapses(network(name)).values() if type(la) is kind}
        assert scopes == set(kind.scopes)


@pytest.mark.parametrize("name", EVERY)
def test_strengths_and_energy(name):
    net = network(name)
    total = 0
    for layer in synsim.synapses(net).values():
        twin = double(layer)
        assert torch.allclose(layer.expected_strength.reshape(twin.p.shape), twin.expected, rtol=1e-12)
        assert torch.allclose(layer.strength.reshape(twin.p.shape), twin.strength, rtol=1e-12)
        total = total + twin.expected.abs().flatten(1).sum(1)
    assert torch.allclose(meters.energy(net).reshape(-1), total, rtol=1e-12)


@pytest.mark.parametrize("name", EVERY)
def test_spikes_vesicles_and_released_strength(name):
    net, (x, _) = network(name), images(name)
    layer = next(iter(synsim.synapses(net).values()))
    twin = double(layer)
    found = meters.transmission(nn.Sequential(layer, nn.Flatten(-3)) if name in CONVOLUTIONS else layer, x)
    lead = (layer.replicas or 1, -1)
    assert torch.allclose(found.spikes.reshape(-1), x.sum() / len(x), rtol=1e-12)
    for value, each in ((found.vesicles, layer.sites * twin.p), (found.strength, twin.expected.abs())):
        expected = through(layer, x.unsqueeze(0), each).reshape(lead).sum(1) / len(x)
        assert torch.allclose(value.reshape(-1), expected, rtol=1e-12)
    terms = meters.atp_budget(net, x, samples=1)
    whole = meters.transmission(net, x, samples=1)
    assert torch.allclose(terms["release"], (1.2e4 + 1.1e4 + 800) * whole.vesicles, rtol=1e-12)


@pytest.mark.parametrize("name", EVERY)
def test_the_expected_view_transmits_the_expected_strength(name):
    net, (x, _) = network(name), images(name)
    layers = synsim.synapses(net).values()
    with synsim.expected(net):
        found = net(x)
    assert torch.allclose(alike(net, found), naive(net, x, [double(layer).expected for layer in layers]), rtol=1e-11)
    assert all(layer.draws == 0 for layer in layers)


@pytest.mark.parametrize(
    "name", [name for name in EVERY if not {"sample", "event", "event-gaussian"} & {*name.split(", ")}]
)
def test_a_pass_transmits_the_strength_of_what_is_released(name):
    net, (x, _) = network(name), images(name)
    layers = synsim.synapses(net).values()
    found = [net(x) for _ in range(2)]
    with synsim.frozen(net):
        assert torch.equal(net(x), found[1])
    released = [double(la).strength * la.draw_mask().double().reshape(double(la).p.shape) / la.sites for la in layers]
    assert torch.allclose(alike(net, found[1]), naive(net, x, released), rtol=1e-11)
    assert name == "always released" or not torch.equal(*found)


@pytest.mark.parametrize("name", EVERY)
def test_passes_have_the_mean_of_the_expected_view(name):
    net, (x, _) = network(name), images(name, 2)
    first = next(iter(synsim.synapses(net).values()))
    twin, passes = double(first), 400
    outs = torch.stack([first(x).detach() for _ in range(passes)])
    mean = biased(first, through(first, x.unsqueeze(0), twin.expected)).reshape(outs.shape[1:])
    # Six standard errors of the mean, and no less than rounding.
    assert bool(((outs.mean(0) - mean).abs() <= 6 * outs.std(0) / passes**0.5 + 1e-12).all())


@pytest.mark.parametrize("name", EVERY)
def test_orders_of_lesions(name):
    net = network(name)
    for order in ORDERS:
        scores = lesion_scores(net, order)
        for at, layer in synsim.synapses(net).items():
            twin = double(layer)
            size = twin.expected.abs()
            expected = {"p": twin.p, "weight": size, "p*weight": twin.p * size}[order]
            assert torch.allclose(scores[at].reshape(expected.shape), expected, rtol=1e-12), order


def silenced(net: nn.Module, stays: dict[str, Tensor]) -> nn.Module:
    lesioned = copy.deepcopy(net)
    for at, layer in synsim.synapses(lesioned).items():
        layer.weight.data *= stays[at]
    return lesioned


@pytest.mark.parametrize("name", EVERY)
def test_lesions(name):
    net, (x, y) = network(name), images(name)
    replicas = synsim.networks.replicas_of(net)
    options = {"samples": 3, "block": 5}
    shares, curve = lesion_curve(net, x, y, "weight", (0.0, 0.4, 1.0), **options)
    assert torch.equal(curve[..., 0], meters.accuracy(net, x, y, **options))
    scores = lesion_scores(net, "weight")
    for share, value in zip(shares.tolist(), curve.unbind(-1), strict=True):
        stays = lesion_masks(scores, share, replicas)
        expected = meters.class_probabilities(silenced(net, stays), x, **options)
        copies = Copies(copy.deepcopy(net), {at: mask.unsqueeze(0) for at, mask in stays.items()})
        assert torch.allclose(meters.class_probabilities(copies, x, **options), expected, rtol=1e-11)
        assert torch.equal(value, (expected.argmax(-1) == y).double().mean(-1))


@pytest.mark.parametrize("keep", ["expected", "strength"])
@pytest.mark.parametrize("name", EVERY)
def test_other_probabilities(name, keep):
    net = network(name)
    for changed in (
        clamp_p(net, 0.5, 0.6, keep=keep),
        clamp_p(net, 0.25, 0.25, keep=keep),
        shuffle_p(net, 1, keep=keep),
    ):
        assert name == "always released" or any(
            not torch.equal(a.p, b.p)
            for a, b in zip(synsim.synapses(net).values(), synsim.synapses(changed).values(), strict=True)
        )
        for at, layer in synsim.synapses(net).items():
            before, after = double(layer), double(synsim.synapses(changed)[at])
            if keep == "strength":
                assert torch.allclose(after.strength, before.strength, rtol=1e-12)
                assert torch.allclose(after.expected, before.strength * after.p, rtol=1e-12)
            else:
                assert torch.allclose(after.expected, before.expected, rtol=1e-12)
    clamped = next(iter(synsim.synapses(clamp_p(net, 0.5, 0.6, keep=keep)).values())).p
    assert torch.equal(clamped, next(iter(synsim.synapses(net).values())).p.clamp(0.5, 0.6))


@pytest.mark.parametrize("name", EVERY)
def test_expected_strengths_can_be_set(name):
    layer = next(iter(synsim.synapses(network(name)).values()))
    wanted = 0.7 * double(layer).expected
    layer.set_expected(wanted.reshape(layer.weight.shape))
    assert torch.allclose(double(layer).expected, wanted, rtol=1e-12)


def fisher(net: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Exact Fisher diagonal in the expected view, one example and one class at a time."""
    parameters = dict(net.named_parameters())
    total = {at: torch.zeros_like(p) for at, p in parameters.items()}
    replicas = synsim.networks.replicas_of(net)
    with synsim.expected(net):
        for i in range(len(x)):
            out = alike(net, net(x[i : i + 1])).log_softmax(-1)
            for r in range(replicas or 1):
                for c in range(4):
                    score = out[r, 0, c]
                    found = torch.autograd.grad(score, list(parameters.values()), retain_graph=True)
                    for at, gradient in zip(parameters, found, strict=True):
                        total[at] += score.exp().detach() * gradient.square()
    return {at: value / len(x) for at, value in total.items()}


@pytest.mark.parametrize("name", EVERY)
def test_fisher(name):
    net, (x, _) = network(name), images(name, 4)
    found, expected = synsim.importance.make("fisher").estimate(net, x), fisher(net, x)
    assert found.keys() == expected.keys()
    for at, value in expected.items():
        assert torch.allclose(found[at], value, rtol=1e-10), at
        assert value.abs().max() > 0


class Mute(synsim.BernoulliLinear):
    """Multiplies by itself, and asks nobody for its strengths."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * 2)


def test_a_layer_that_takes_no_other_strengths_is_refused():
    net, x = nn.Sequential(Mute(6, 4, dtype=DOUBLE)), torch.rand(3, 6, dtype=DOUBLE)
    with pytest.raises(ValueError, match=r"layer '0' \(Mute\) does not ask `transmitted\(\)`"):
        lesion_curve(net, x, torch.tensor([0, 1, 2]))


class Bounded(synsim.BernoulliLinear):
    """Transmits at most 1."""

    @property
    def expected_strength(self) -> Tensor:
        return self.weight.tanh() * 0.3


def test_strengths_that_no_weight_gives_are_refused():
    layer = synsim.networks.initialised(nn.Sequential(Bounded(6, 4, p=0.2, dtype=DOUBLE)), 1)
    before = layer[0].weight.detach().clone()
    with pytest.raises(ValueError, match="found no weight with which layer '0'"):
        clamp_p(layer, 1.0, 1.0, keep="strength")
    with pytest.raises(ValueError, match="found no weight"):
        layer[0].set_expected(torch.full((4, 6), 2.0, dtype=DOUBLE))
    assert torch.equal(layer[0].weight, before)


def test_layers_that_share_a_weight_cannot_keep_strengths_apart():
    net = nn.Sequential(linear(p=0.5)(4, 4), linear(p=0.25)(4, 4))
    net[1].weight = net[0].weight
    with pytest.raises(ValueError, match="shared with another layer"):
        clamp_p(net, 0.4, 0.4, keep="strength")
    with pytest.warns(UserWarning, match=r"'0', '1' share one weight.*the energy counts it once"):
        energy = meters.energy(net)
    assert torch.allclose(energy, net[0].weight.detach().abs().sum())
