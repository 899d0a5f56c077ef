"""What enters a kernel is looked at: wrong sizes, types and values are refused; no cache outlives its tensor."""

import copy
import io
import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import synsim
from synsim import kernels, streams
from synsim.kernels import Constants, events, normal
from synsim.spiking import neurons

RULE = {"lr": 0.05, "p_up": 0.07, "p_down": 0.07, "g_lim": 1e-3}


def layer_of(kind, scope="batch", p=0.5):
    if kind == "conv":
        return synsim.BernoulliConv2d(3, 4, 3, p=p, scope=scope), torch.ones(2, 3, 5, 5)
    return synsim.BernoulliLinear(6, 4, p=p, scope=scope), torch.ones(2, 6)


LAYERS = [("linear", scope) for scope in ("batch", "sample", "event")] + [("conv", "batch"), ("conv", "sample")]


@pytest.mark.parametrize(("kind", "scope"), LAYERS)
@pytest.mark.parametrize("size", ["number", "short", "long", "turned", "double"])
def test_a_p_of_another_size_or_type_is_refused(kind, scope, size):
    layer, x = layer_of(kind, scope)
    layer(x)
    p = layer.p
    layer.p = {
        "number": torch.tensor(0.5),
        "short": p[:3],
        "long": torch.cat([p, p]),
        "turned": p.transpose(0, 1),
        "double": p.double(),
    }[size]
    with pytest.raises(ValueError, match=r"one release probability per synapse|like the weight"):
        layer(x)


@pytest.mark.parametrize(("kind", "scope"), LAYERS)
def test_a_layer_cut_down_in_place_is_the_smaller_layer(kind, scope):
    layer, x = layer_of(kind, scope)
    with torch.no_grad():
        layer(x)
        layer.weight = nn.Parameter(layer.weight.detach()[:3])
        layer.p = layer.p[:3]
        with synsim.frozen(layer, 1):
            out = layer(x)
            mask = torch.stack([layer.draw_mask(k) for k in range(2)])
    strength = layer.weight * mask / 0.5
    one = F.linear if kind == "linear" else F.conv2d
    expected = torch.cat([one(x[k : k + 1], strength[k]) for k in range(2)])
    assert torch.allclose(out, expected, rtol=1e-5, atol=1e-6)
    assert out.shape[1] == 3


@pytest.mark.parametrize(("kind", "scope"), LAYERS)
@pytest.mark.parametrize("value", [0.0, 2.0**-13, 1.5, -0.5, float("nan")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_p_out_of_bounds_is_refused_however_it_came(kind, scope, value, dtype):
    layer, x = layer_of(kind, scope)
    layer, x = layer.to(dtype), x.to(dtype)
    layer(x)
    layer.p.data.view(-1)[-1] = value
    with pytest.raises(ValueError, match="p must lie between 2⁻¹²"):
        layer(x)


@pytest.mark.parametrize("p", [2.0**-13, 1e-6, float("nan")])
def test_a_layer_takes_no_p_that_sixteen_bits_cannot_tell(p):
    with pytest.raises(ValueError, match="Sixteen bits"):
        synsim.BernoulliLinear(3, 2, p=p)
    assert synsim.BernoulliLinear(3, 2, p=kernels.LEAST_PROBABILITY).p.min() == 2.0**-12


def test_the_mean_at_the_least_probability_is_within_a_sixteenth():
    p = torch.linspace(2.0**-12, 2.0**-10, 4001, dtype=torch.float64)
    released = (p * 65536).ceil() / 65536
    assert float((released / p - 1).abs().max()) <= 1 / 16


def constants(replicas=1):
    return Constants(torch.full((9, replicas), 0.1, dtype=torch.float64), True, False)


W, ONES = torch.ones(4, 6), torch.ones(2, 6)
KEYS = streams.keys("train", [1])
WORDS = KEYS.numpy().astype(np.uint32)
SPIKES = events.spikes_of(ONES)
PLACE = events.Place(KEYS[0], WORDS[0], 1, 0, 2, 0)
WRONG = {
    "release: p": lambda: kernels.release(W, W[:3], KEYS, WORDS, 1, 0, 0),
    "release: number": lambda: kernels.release(W, torch.tensor(1.0), KEYS, WORDS, 1, 0, 0),
    "release: type": lambda: kernels.release(W, W.double(), KEYS, WORDS, 1, 0, 0),
    "release: replicas": lambda: kernels.release(W, W, KEYS.expand(3, 2), WORDS.repeat(3, 0), 1, 0, 0),
    "release: draw": lambda: kernels.release(W, W, KEYS, WORDS, 1, 0, 2**32),
    "release: example": lambda: kernels.release(W, W, KEYS, WORDS, 1, -1, 0),
    "mask_gradient: p": lambda: kernels.mask_gradient(W.clone(), W[:3], W.byte(), 1),
    "mask_gradient: count": lambda: kernels.mask_gradient(W.clone(), W, W[:, :2].byte(), 1),
    "learn: p": lambda: kernels.learn(W.clone(), W[:3].clone(), W, None, constants()),
    "learn: gradient": lambda: kernels.learn(W.clone(), W.clone(), W[:3], None, constants()),
    "learn: gradient type": lambda: kernels.learn(W.clone(), W.clone(), W.double(), None, constants()),
    "learn: penalty": lambda: kernels.learn(W.clone(), W.clone(), W, torch.tensor(1.0), constants()),
    "learn: constants": lambda: kernels.learn(W.clone(), W.clone(), W, None, constants(3)),
    "transmit: inputs": lambda: kernels.transmit(ONES[:, :5], W, W, WORDS[0], 1, 0, 0),
    "transmit: p": lambda: kernels.transmit(ONES, W, W[:3], WORDS[0], 1, 0, 0),
    "transmit: type": lambda: kernels.transmit(ONES.double(), W, W, WORDS[0], 1, 0, 0),
    "backpropagate: gradient": lambda: kernels.backpropagate(ONES, W, W, WORDS[0], 1, 0, 0, torch.ones(2, 3), True),
    "backpropagate: inputs": lambda: kernels.backpropagate(
        ONES[:, :5], W, W, WORDS[0], 1, 0, 0, torch.ones(2, 4), True
    ),
    "events: sources": lambda: events.transmit(SPIKES, W[:, :5], W[:, :5], None, PLACE, True),
    "events: p": lambda: events.transmit(SPIKES, W, W[:3], None, PLACE, True),
    "events: factor": lambda: events.transmit(SPIKES, W, W, ONES[:1], PLACE, True),
    "events: rows": lambda: events.transmit(events.Spikes(SPIKES.first + 1, SPIKES.sources), W, W, None, PLACE, True),
    "events: gradient": lambda: events.weight_gradient(SPIKES, torch.ones(1, 4), W, None, PLACE, True),
    "events: gradient's p": lambda: events.weight_gradient(SPIKES, torch.ones(2, 4), W[:, :5], None, PLACE, True),
    "normals": lambda: normal.normals(KEYS, WORDS[:, :1], 5, 0, torch.float32),
    "neurons: start": lambda: neurons.leaky(torch.ones(3, 2, 5), neurons.Leaky(tau=10.0), 1.0, start=torch.ones(1)),
}


@pytest.mark.parametrize("name", WRONG)
def test_every_way_into_a_kernel_refuses_wrong_sizes(name):
    with pytest.raises(ValueError, match=r"must|expected"):
        WRONG[name]()


@pytest.mark.parametrize("size", ["number", "short", "long"])
def test_the_rule_refuses_probabilities_of_another_size(size):
    net = synsim.mlp([6, 12, 4], p=0.5, seed=1)
    rule = synsim.PresynapticSGD(net, **RULE)
    net(torch.ones(2, 6)).sum().backward()
    p = net[0].p
    net[0].p = {"number": torch.tensor(0.5), "short": p[:3], "long": torch.cat([p, p])}[size]
    with pytest.raises(ValueError, match="must have the shape"):
        rule.step()


@pytest.mark.parametrize("order", ["channels_last", "transposed"])
def test_layers_whose_memory_lies_otherwise_learn_the_same(order):
    def make():
        net = nn.Sequential(synsim.BernoulliConv2d(3, 4, 3, p=0.5), nn.Flatten(), synsim.BernoulliLinear(36, 5, p=0.5))
        synsim.seed(net, 1)
        for layer in synsim.synapses(net).values():
            layer.reset_parameters()
        return net.double()

    plain, other = make(), make()
    if order == "channels_last":
        other.to(memory_format=torch.channels_last)
        other[0].p = other[0].p.contiguous(memory_format=torch.channels_last)
        assert not other[0].weight.is_contiguous()
    else:
        other[2].weight = nn.Parameter(other[2].weight.detach().t().contiguous().t())
    x, y = torch.rand(6, 3, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 5
    for net in (plain, other):
        rule = synsim.PresynapticSGD(net, **RULE)
        for _ in range(3):
            rule.zero_grad()
            synsim.cross_entropy(net(x), y).backward()
            rule.step()
    for index in (0, 2):
        assert torch.allclose(plain[index].weight, other[index].weight, rtol=1e-12, atol=1e-14)
        assert torch.allclose(plain[index].p, other[index].p, rtol=1e-12)
        assert torch.equal(plain[index].mask, other[index].mask)


def train(net, steps=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    rule = synsim.PresynapticSGD(net, **RULE)
    for _ in range(steps):
        x = torch.randn(20, net[0].in_features, generator=generator)
        y = torch.randint(net[-1].out_features, (20,), generator=generator)
        rule.zero_grad()
        synsim.cross_entropy(net(x), y).backward()
        rule.step()


def saved(net):
    memory = io.BytesIO()
    torch.save(net, memory)
    memory.seek(0)
    return torch.load(memory, weights_only=False)


COPIES = {"deepcopy": copy.deepcopy, "pickle": lambda net: pickle.loads(pickle.dumps(net)), "torch.save": saved}


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("sizes", [[6, 12, 4], [784, 100, 10]])
def test_copies_learn_as_the_original_goes_on(how, sizes):
    net = synsim.mlp(sizes, p=0.25, seed=3)
    train(net)
    twin = COPIES[how](net)
    mask = net[0].mask
    assert torch.equal(twin[0].mask, mask)
    # A copy that kept the addresses of the original would move these tensors, or none, in place of its own.
    assert twin[0].stream.arrays.of(twin[0].weight, twin[0].p, 1)[0].ctypes.data == twin[0].weight.data_ptr()
    kept = {k: v.clone() for k, v in net.state_dict().items()}
    train(twin, seed=1)
    assert all(torch.equal(v, kept[k]) for k, v in net.state_dict().items())
    train(net, seed=1)
    for name, value in net.state_dict().items():
        assert torch.equal(value, twin.state_dict()[name])
    assert not torch.equal(net[0].weight, kept["0.weight"])


def test_a_pickle_holds_no_views_of_memory():
    net = synsim.mlp([100, 100], p=0.25)
    net(torch.ones(1, 100))
    floats = 4 * 2 * 100 * 100
    assert len(pickle.dumps(net)) < floats + 100 * 100 + 5000


@pytest.mark.parametrize("way", ["data", "numpy", "set_", "view", "assigned"])
def test_p_written_past_autograd_is_seen_at_once(way):
    layer = synsim.BernoulliLinear(100, 100, p=1.0)
    synsim.seed(layer, 0)
    x = torch.ones(1, 100)
    with torch.no_grad():
        for _ in range(3):
            layer(x)
            assert layer.mask.all()
        if way == "data":
            layer.p.data.fill_(0.25)
        elif way == "numpy":
            layer.p.numpy()[:] = 0.25
        elif way == "set_":
            layer.p.set_(torch.full((100, 100), 0.25))
        elif way == "view":
            layer.p.detach()[:].fill_(0.25)
        else:
            layer.p = torch.full((100, 100), 0.25)
        layer(x)
    assert abs(float(layer.mask.double().mean()) - 0.25) < 0.02
    assert torch.equal(layer.mask, layer.draw_mask())


def test_a_network_built_in_inference_mode_transmits():
    with torch.inference_mode():
        net = synsim.mlp([6, 12, 4], p=0.5, seed=1)
        sure = synsim.mlp([6, 4], p=1.0, seed=1)
        inside = net(torch.ones(2, 6))
    synsim.seed(net, 1)
    with torch.no_grad():
        assert torch.equal(net(torch.ones(2, 6)), inside)
        assert torch.equal(sure(torch.ones(2, 6)), F.linear(torch.ones(2, 6), sure[0].weight))
    plain = synsim.mlp([6, 12, 4], p=0.5, seed=1)
    assert torch.equal(plain(torch.ones(2, 6)), inside)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", ["linear", "conv"])
def test_half_precision_draws_the_masks_of_its_p(dtype, kind):
    half, x = layer_of(kind, p=0.9353)
    half = half.to(dtype)
    full = copy.deepcopy(half).float()
    with torch.no_grad():
        half(x.to(dtype)), full(x)
        assert torch.equal(half.mask, full.mask)
        half.p.fill_(1), full.p.fill_(1)
        for _ in range(20):
            half(x.to(dtype))
            assert half.mask.all()
