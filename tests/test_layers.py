"""Stochastic layers: exact special cases, naive doubles, views, replicas, state."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import synsim
from synsim.kernels import reference

CONVOLUTIONS = [{}, {"stride": 2, "padding": 1}, {"padding": "same"}, {"groups": 2, "padding": 1}, {"dilation": 2}]


def twins(layer, plain):
    plain.load_state_dict({k: v for k, v in layer.state_dict().items() if k in ("weight", "bias")})
    return layer, plain


def assert_same_bits(layer, plain, x):
    results = []
    for module in (layer, plain):
        inputs = x.clone().requires_grad_()
        out = module(inputs)
        (out * torch.linspace(-1, 1, out.numel()).reshape(out.shape)).sum().backward()
        bias = [] if module.bias is None else [module.bias.grad]
        results.append([out, inputs.grad, module.weight.grad, *bias])
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(784, 200), (200, 10), (7, 3)])
def test_with_p_of_one_it_is_linear_bit_for_bit(bias, shape):
    layer = synsim.BernoulliLinear(*shape, p=1.0, bias=bias)
    assert_same_bits(*twins(layer, nn.Linear(*shape, bias=bias)), torch.randn(100, shape[0]))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("options", CONVOLUTIONS)
def test_with_p_of_one_it_is_conv2d_bit_for_bit(bias, options):
    layer = synsim.BernoulliConv2d(4, 6, 3, p=1.0, bias=bias, **options)
    assert_same_bits(*twins(layer, nn.Conv2d(4, 6, 3, bias=bias, **options)), torch.randn(5, 4, 9, 8))


@pytest.mark.parametrize("sites", [1, 4])
@pytest.mark.parametrize("replicas", [None, 3])
def test_outputs_and_gradients_are_those_of_the_mask(sites, replicas):
    layer = synsim.BernoulliLinear(8, 5, p=0.3, sites=sites, replicas=replicas, bias=True, dtype=torch.float64)
    synsim.seed(layer, 5)
    layer.reset_parameters()
    x = torch.randn(6, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(6)).requires_grad_()
    out = layer(x)
    out.square().sum().backward()
    mask = layer.mask.double().numpy()
    strengths = layer.weight.detach().numpy() * mask / (0.3 * sites)
    bias = layer.bias.detach().numpy()
    expected = np.einsum("bi,...oi->...bo", x.detach().numpy(), strengths) + bias[..., None, :]
    np.testing.assert_allclose(out.detach().numpy(), expected, rtol=1e-12, atol=1e-13)
    raw = np.einsum("...bo,bi->...oi", 2 * expected, x.detach().numpy())
    np.testing.assert_allclose(layer.weight.grad.numpy(), raw * mask / (0.3 * sites), rtol=1e-12, atol=1e-13)
    assert (layer.weight.grad.numpy()[mask == 0] == 0).all()
    back = np.einsum("...bo,...oi->...bi", 2 * expected, strengths)
    np.testing.assert_allclose(x.grad.numpy(), back if replicas is None else back.sum(0), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(
        layer.strength.detach().numpy(), layer.weight.detach().numpy() / 0.3, rtol=1e-12, atol=1e-13
    )


def sampled(layer, x, function):
    """Naive double of sample scope: every example through a network of its own."""
    weight = layer.weight.detach().clone().requires_grad_()
    inputs = x.detach().clone().requires_grad_()
    outs = []
    replicas = layer.replicas or 1
    for r in range(replicas):
        part, own = (weight[r], layer.p[r]) if layer.replicas else (weight, layer.p)
        rows = inputs[r] if inputs.ndim == layer.example_ndim + 2 else inputs
        masks = [layer.draw_mask(b) for b in range(rows.shape[0])]
        masks = [mask[r] if layer.replicas else mask for mask in masks]
        outs.append(
            torch.cat([function(rows[b : b + 1], part * m.double() / (own * layer.sites)) for b, m in enumerate(masks)])
        )
    out = torch.stack(outs) if layer.replicas else outs[0]
    return out, weight, inputs


@pytest.mark.parametrize("kind", ["linear", "conv"])
@pytest.mark.parametrize("sites", [1, 3])
@pytest.mark.parametrize("replicas", [None, 2])
def test_sample_scope_is_one_mask_per_example(kind, sites, replicas):
    options = {"p": 0.4, "sites": sites, "scope": "sample", "replicas": replicas, "dtype": torch.float64}
    if kind == "linear":
        layer, shape, function = synsim.BernoulliLinear(150, 7, **options), (40, 150), F.linear
    else:
        layer, shape, function = synsim.BernoulliConv2d(3, 5, 3, **options), (4, 3, 6, 6), F.conv2d
    x = torch.randn(*(() if replicas is None else (replicas,)), *shape, dtype=torch.float64, requires_grad=True)
    out = layer(x)
    expected, weight, inputs = sampled(layer, x, function)
    assert torch.allclose(out, expected, rtol=1e-10, atol=1e-12)
    layer.p.fill_(0.9)
    out.square().sum().backward()
    expected.square().sum().backward()
    assert torch.allclose(layer.weight.grad, weight.grad, rtol=1e-9, atol=1e-12)
    assert torch.allclose(x.grad, inputs.grad, rtol=1e-9, atol=1e-12)
    assert layer.mask is None


def test_sample_scope_keeps_no_tensor_of_masks():
    layer = synsim.BernoulliLinear(100, 50, scope="sample")
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.numel()) or t, lambda t: t):
        layer(torch.randn(64, 100, requires_grad=True))
    assert max(saved) <= 64 * 100


def test_masks_of_one_chunk_are_those_of_many():
    layer = synsim.BernoulliLinear(30, 5, scope="sample")
    keys, _ = layer._key("train")
    together = reference.count_releases(layer.p.reshape(1, -1), keys, 1, torch.arange(6), 0)
    for example in range(6):
        assert torch.equal(together[example, 0].reshape(5, 30).bool(), layer.draw_mask(example))


@pytest.mark.parametrize("scope", ["batch", "sample"])
@pytest.mark.parametrize("bias", [False, True])
def test_a_replica_is_the_layer_of_its_seed(scope, bias):
    options = {"scope": scope, "bias": bias, "dtype": torch.float64}
    batched = synsim.mlp([20, 15, 4], replicas=3, seed=5, **options)
    x = torch.randn(3, 6, 20, dtype=torch.float64)
    out, shared = batched(x), batched(x[0])
    for r in range(3):
        alone = synsim.mlp([20, 15, 4], seed=5 + r, **options)
        assert torch.equal(alone[0].weight, batched[0].weight[r])
        assert torch.allclose(alone(x[r]), out[r], rtol=1e-12)
        assert torch.allclose(alone(x[0]), shared[r], rtol=1e-12)


def test_a_convolution_with_replicas_is_one_per_seed():
    layer = synsim.BernoulliConv2d(4, 6, 3, groups=2, bias=True, replicas=2, dtype=torch.float64)
    x = torch.randn(2, 3, 4, 8, 8, dtype=torch.float64)
    out = layer(x)
    for r in range(2):
        strength = layer.weight[r] * layer.mask[r] / layer.p[r]
        assert torch.allclose(out[r], F.conv2d(x[r], strength, layer.bias[r], groups=2), rtol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_two_hundred_steps_alone_and_among_seven_others(dtype, one_thread):
    batched, alone = (synsim.mlp([40, 30, 5], dtype=dtype, **kw) for kw in ({"replicas": 8, "seed": 0}, {"seed": 3}))
    rules = [
        synsim.PresynapticSGD(net, 0.05, p_up=0.07, p_down=0.07, g_lim=1e-3, weight_decay=0.01)
        for net in (batched, alone)
    ]
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        x = torch.randn(8, 20, 40, generator=generator, dtype=dtype)
        y = torch.randint(5, (8, 20), generator=generator)
        for net, rule, images, labels in ((batched, rules[0], x, y), (alone, rules[1], x[3], y[3])):
            rule.zero_grad()
            synsim.cross_entropy(net(images), labels).backward()
            rule.step()
        assert torch.equal(batched[0].mask[3], alone[0].mask)
    for layer in (0, 2):
        assert torch.equal(batched[layer].weight[3], alone[layer].weight)
        assert torch.equal(batched[layer].p[3], alone[layer].p)
    assert float(alone[0].p.max()) > 0.25


def test_expected_is_the_mean_field_and_draws_nothing():
    net = synsim.mlp([10, 8, 3], seed=1)
    x = torch.randn(5, 10)
    with synsim.expected(net):
        out = net(x)
        assert net[0].mask.all()
    assert torch.equal(out, F.relu(x @ net[0].weight.T) @ net[2].weight.T)
    assert net[0].draws == 0


def test_views_nest_and_are_undone_in_any_case():
    net = synsim.mlp([10, 8, 3], seed=1)
    x = torch.randn(5, 10)
    with synsim.frozen(net, 7):
        held = net(x)
        with synsim.expected(net):
            assert not torch.equal(net(x), held)
        assert torch.equal(net(x), held)
    with pytest.raises(RuntimeError, match="mine"), synsim.expected(net):
        raise RuntimeError("mine")
    assert net[0].draws == 0
    found = [net(x) for _ in range(9)]
    assert torch.equal(found[7], held)
    with synsim.frozen(net):
        assert torch.equal(net(x), found[8])


def test_streams_go_on_after_state_dict_and_deepcopy():
    net, x = synsim.mlp([10, 8, 3], seed=1, replicas=2), torch.randn(5, 10)
    net(x)
    other = synsim.mlp([10, 8, 3], seed=9, replicas=2)
    other.load_state_dict(net.state_dict())
    twin = copy.deepcopy(net)
    moved = copy.deepcopy(net).to("cpu").double().float()
    out = net(x)
    for same in (other, twin, moved):
        assert torch.equal(same(x), out)
    synsim.seed(net, 1)
    fresh = synsim.mlp([10, 8, 3], seed=1, replicas=2)
    assert torch.equal(net(x), fresh(x))


def test_functional_call_and_per_example_gradients():
    net = synsim.mlp([10, 8, 3], seed=1, dtype=torch.float64)
    x, y = torch.randn(6, 10, dtype=torch.float64), torch.tensor([0, 1, 2, 0, 1, 2])
    net(x)
    parameters = dict(net.named_parameters())

    def loss(values, image, label):
        out = torch.func.functional_call(net, values, (image.unsqueeze(0),))
        return F.cross_entropy(out, label.unsqueeze(0))

    found = torch.func.vmap(torch.func.grad(loss), (None, 0, 0))(parameters, x, y)
    draws = net[0].draws
    for k in range(6):
        net.zero_grad()
        with synsim.frozen(net):
            F.cross_entropy(net(x[k : k + 1]), y[k : k + 1]).backward()
        for name, parameter in net.named_parameters():
            assert torch.allclose(found[name][k], parameter.grad, rtol=1e-10)
    assert net[0].draws == draws
    out = torch.func.functional_call(net, {k: 0 * v for k, v in parameters.items()}, (x,))
    assert not out.any()


def test_a_pass_between_step_and_backward_is_noticed():
    net = synsim.mlp([10, 8, 3], seed=1)
    rule = synsim.PresynapticSGD(net, 0.1, p_up=0.1, p_down=0.1, g_lim=0.0)
    early = net(torch.randn(5, 10)).sum()
    net(torch.randn(5, 10)).sum().backward()
    rule.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        early.backward()


def test_cross_entropy_is_a_mean_over_examples_and_a_sum_over_replicas():
    logits, y = torch.randn(3, 7, 4, dtype=torch.float64), torch.randint(4, (3, 7))
    each = [F.cross_entropy(logits[r], y[r]) for r in range(3)]
    assert torch.allclose(synsim.cross_entropy(logits, y), torch.stack(each).sum())
    assert torch.allclose(synsim.cross_entropy(logits[0], y[0]), each[0])
    shared = sum(F.cross_entropy(logits[r], y[0]) for r in range(3))
    assert torch.allclose(synsim.cross_entropy(logits, y[0]), shared)


def test_seeds():
    net = synsim.mlp([10, 8, 3], seed=[7, 3], replicas=2)
    assert net[0].seeds == (7, 3)
    synsim.seed(net, 4)
    assert net[0].seeds == (4, 5)
    one, other = (synsim.BernoulliLinear(50, 50) for _ in range(2))
    assert one.seeds != other.seeds
    before = torch.get_rng_state()
    synsim.mlp([10, 8, 3])(torch.ones(2, 10))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: synsim.BernoulliLinear(3, 2, p=0.0), r"p must lie in \(0, 1\]"),
        (lambda: synsim.BernoulliLinear(3, 2, p=1.5), r"p must lie in \(0, 1\]"),
        (lambda: synsim.BernoulliLinear(3, 2, p=torch.full((3, 2), 0.5)), r"shaped like the weight \[2, 3\]"),
        (lambda: synsim.BernoulliLinear(3, 2, p=torch.ones(3), replicas=2), r"one entry per replica \(2\), got 3"),
        (lambda: synsim.BernoulliLinear(3, 2, sites=0), "sites must be a whole number of at least 1, got 0"),
        (lambda: synsim.BernoulliLinear(3, 2, scope="image"), "scope must be one of batch, sample"),
        (lambda: synsim.BernoulliLinear(3, 2, replicas=0), "replicas must be a whole number"),
        (lambda: synsim.BernoulliLinear(3, 2, device="cuda:99"), "is not there"),
        (lambda: synsim.BernoulliConv2d(3, 4, 3, groups=2), "groups must divide"),
        (lambda: synsim.mlp([10]), "at least an input and an output"),
        (lambda: synsim.mlp([10, 2], replicas=2, seed=[3, 3]), "a seed must be given once"),
        (lambda: synsim.mlp([10, 2], seed=-1), "seed must be a whole number"),
        (lambda: synsim.BernoulliLinear(3, 2)(torch.ones(4, 5)), r"expects inputs of shape \[B, 3\], got \[4, 5\]"),
        (lambda: synsim.BernoulliLinear(9, 2)(torch.ones(4, 3, 3)), "Flatten the images first"),
        (lambda: synsim.BernoulliLinear(3, 2)(torch.ones(4, 3).long()), "expects torch.float32, got torch.int64"),
        (lambda: synsim.cross_entropy(torch.ones(3), torch.ones(3)), r"logits must be \[B, C\] or \[R, B, C\]"),
        (lambda: synsim.cross_entropy(torch.ones(3, 2), torch.ones(4).long()), r"y must be \[3\]"),
        (lambda: synsim.cross_entropy(torch.ones(3, 2), torch.tensor([0, 1, 2])), "labels from 0 to 1"),
        (lambda: synsim.cross_entropy(torch.ones(0, 2), torch.ones(0).long()), "empty batch"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_an_array_is_refused_with_what_to_do():
    with pytest.raises(ValueError, match=r"expects torch.float32, got float64. Make a tensor of them first"):
        synsim.BernoulliLinear(3, 2)(np.zeros((4, 3)))
