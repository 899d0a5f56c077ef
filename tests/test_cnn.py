"""The convolutional network of the CIFAR experiments, and dropout from the package's streams."""

import copy
import math

import pytest
import torch
from torch import nn

import synsim
from synsim.dropout import StreamDropout
from synsim.networks import MaxPool, cnn, initialised

DOUBLE = torch.float64


def images(*shape, dtype=torch.float32):
    return torch.randn(*shape, 3, 32, 32, generator=torch.Generator().manual_seed(0), dtype=DOUBLE).to(dtype)


def drop_of(net):
    return [module for module in net.modules() if isinstance(module, StreamDropout)]


@pytest.mark.parametrize("dropout", [False, True])
@pytest.mark.parametrize("scope", ["batch", "sample"])
def test_shapes(dropout, scope):
    options = {"p": 0.5, "dropout": dropout, "scope": scope}
    assert cnn(7, **options)(images(2)).shape == (2, 7)
    many = cnn(7, replicas=3, **options)
    assert many(images(2)).shape == (3, 2, 7)
    assert many(images(3, 2)).shape == (3, 2, 7)
    assert len(drop_of(many)) == 3 * dropout


def test_heads():
    net = cnn(5, heads=3, replicas=2)
    out = net(images(4), head=1)
    assert out.shape == (2, 4, 5)
    out.sum().backward()
    assert net.heads[0].weight.grad is None
    assert net.heads[1].weight.grad is not None
    assert list(synsim.synapses(net))[-4:] == ["trunk.hidden", "heads.0", "heads.1", "heads.2"]
    assert not torch.equal(net.heads[0].weight, net.heads[1].weight)
    assert synsim.networks.example_ndim(net) == 3


@pytest.mark.parametrize("options", [{"classes": 0}, {"heads": 0}, {"p": 0.0}, {"seed": -1}])
def test_wrong_arguments_are_refused(options):
    with pytest.raises(ValueError, match="must"):
        cnn(**options)
    with pytest.raises(ValueError, match="scheme must be one of"):
        initialised(synsim.mlp([3, 2]), 0, scheme="zeros")


def keras(dtype):
    """The same network of torch's own layers."""
    layers = []
    for inputs, outputs in ((3, 32), (32, 64)):
        layers += [nn.Conv2d(inputs, outputs, 3, padding="same"), nn.ReLU()]
        layers += [nn.Conv2d(outputs, outputs, 3, padding="same"), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25)]
    layers += [nn.Flatten(), nn.Linear(4096, 512), nn.ReLU(), nn.Dropout(0.5), nn.Linear(512, 10)]
    return nn.Sequential(*layers).to(dtype)


@pytest.mark.parametrize("replicas", [None, 2])
def test_with_p_of_one_it_is_the_plain_network(replicas):
    net, plain = cnn(p=1.0, replicas=replicas, dtype=DOUBLE).eval(), keras(DOUBLE).eval()
    x = images(3, dtype=DOUBLE)
    for r in range(replicas or 1):
        with torch.no_grad():
            for ours, theirs in zip(net.parameters(), plain.parameters(), strict=True):
                theirs.copy_(ours if replicas is None else ours[r])
        out = net(x) if replicas is None else net(x)[r]
        assert torch.allclose(out, plain(x), rtol=1e-10, atol=1e-12)
        assert not torch.allclose(out, torch.zeros_like(out), atol=1e-3)


def test_replicas_alone_and_together(one_thread):
    together, alone = cnn(replicas=3, seed=4, dtype=DOUBLE), cnn(seed=5, dtype=DOUBLE)
    for a, b in zip(together.parameters(), alone.parameters(), strict=True):
        assert torch.equal(a[1], b)
        assert a.std() == 0 or not torch.equal(a[0], a[1])
    x = images(3, 2, dtype=DOUBLE)
    for _ in range(2):
        # Torch convolves several replicas in another order of addition, hence no equality here.
        assert torch.allclose(together(x)[1], alone(x[1]), rtol=1e-9, atol=1e-12)
        for name, layer in synsim.synapses(alone).items():
            assert torch.equal(synsim.synapses(together)[name].mask[1], layer.mask)


def test_glorot_bounds():
    net = cnn(10, replicas=2, seed=1)
    fans = {"conv1": 9 * 35, "conv2": 9 * 64, "conv3": 9 * 96, "conv4": 9 * 128, "hidden": 4608, "head": 522}
    for name, layer in synsim.synapses(net).items():
        bound = math.sqrt(6 / fans.pop(name))
        weight = layer.weight.detach().double()
        assert 0.98 * bound < float(weight.abs().max()) <= bound * (1 + 1e-6)
        # A uniform number on ±b has variance b² / 3 and that of its square is 4 b⁴ / 45: four standard errors.
        n = weight.numel()
        assert abs(float(weight.mean())) < 4 * bound / math.sqrt(3 * n)
        assert abs(float(weight.square().mean()) - bound**2 / 3) < 4 * bound**2 * math.sqrt(4 / 45 / n)
        assert (layer.bias == 0).all()
    assert not fans


def test_the_other_scheme_stays_the_default():
    one, other = synsim.mlp([9, 7, 4], bias=True, seed=3), synsim.mlp([9, 7, 4], bias=True, seed=8)
    assert initialised(other, 3) is other
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
    assert one[0].bias.detach().abs().max() > 0


@pytest.mark.parametrize("shape", [(2, 3, 8, 6), (4, 2, 3, 8, 6)])
def test_pooling_with_and_without_replicas(shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    expected = nn.MaxPool2d(2)(x.reshape(-1, 3, 8, 6)).reshape(*shape[:-2], 4, 3)
    assert torch.equal(MaxPool(2)(x), expected)


def dropped(p=0.25, replicas=None, seeds=(3,)):
    module = StreamDropout(p, replicas=replicas)
    module.seed(seeds, "drop1")
    return module


@pytest.mark.parametrize("p", [0.25, 0.5, 0.9])
def test_the_statistics_of_dropout(p):
    n = 200_000
    masks = torch.stack([dropout(torch.ones(4, n // 4)).flatten() for dropout in [dropped(p)] * 2]).double()
    assert torch.allclose(masks.unique(), torch.tensor([0.0, 1 / (1 - p)]).double(), rtol=1e-4)
    kept = masks != 0
    # Four standard errors either way.
    for one in kept.double():
        assert abs(float(one.mean()) - (1 - p)) < 4 * math.sqrt(p * (1 - p) / n)
    both = (kept[0] & kept[1]).double().mean()
    assert abs(float(both) - (1 - p) ** 2) < 4 * math.sqrt((1 - p) ** 2 * (1 - (1 - p) ** 2) / n)


def test_dropout_carries_the_gradient_of_its_mask():
    x = torch.full((5, 40), 2.0, requires_grad=True)
    out = dropped()(x)
    (out + x).sum().backward()
    assert torch.equal(x.grad, out.detach() / 2 + 1)


def test_dropout_in_eval_mode_does_nothing():
    module, x = dropped().eval(), torch.randn(3, 4)
    assert module(x) is x
    assert module.draws == 0
    assert dropped(0.0)(x) is x


def test_dropout_alone_and_among_replicas():
    x = torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    together, alone = dropped(replicas=3, seeds=(2, 3, 4)), dropped(seeds=(3,))
    for _ in range(3):
        out = together(x)
        assert torch.equal(out[1], alone(x[1]))
        assert not torch.equal(out[0] == 0, out[1] == 0)


def test_dropout_of_other_names_and_calls_differs():
    x, module, other = torch.ones(4, 50), dropped(), dropped()
    other.seed([3], "drop2")
    first = module(x)
    assert not torch.equal(first, other(x))
    assert not torch.equal(first, module(x))
    module.seed([3], "drop1")
    assert torch.equal(first, module(x))


def test_dropout_goes_on_after_a_resume():
    x, module = torch.ones(4, 50), dropped()
    module(x)
    state, twin = copy.deepcopy(module.state_dict()), copy.deepcopy(module)
    expected = [module(x) for _ in range(2)]
    resumed = StreamDropout(0.25)
    resumed.load_state_dict(state)
    assert resumed.draws == 1
    assert resumed.seeds == (3,)
    for one in expected:
        assert torch.equal(resumed(x), one)
        assert torch.equal(twin(x), one)
    with pytest.raises(ValueError, match="expected a state of 2 replicas, got one of 1"):
        StreamDropout(0.25, replicas=2).load_state_dict(state)


def test_a_network_goes_on_after_a_resume():
    net, x = cnn(seed=2), images(2)
    net(x)
    other = cnn(seed=9)
    other.load_state_dict(copy.deepcopy(net.state_dict()))
    assert torch.equal(net(x), other(x))
    assert all(module.draws == 2 for module in drop_of(other))


def test_dropout_leaves_the_generators_of_torch_alone():
    before = torch.get_rng_state()
    dropped()(torch.ones(4, 50))
    assert torch.equal(torch.get_rng_state(), before)


def test_dropout_inside_a_transform_repeats_the_latest_mask():
    module, x = dropped(), torch.ones(4, 50)
    out = module(x)
    gradient = torch.func.grad(lambda z: module(z).sum())(x)
    assert torch.equal(gradient, out)
    assert torch.equal(torch.func.vmap(module)(torch.ones(2, 4, 50)), torch.stack([out, out]))
    assert module.draws == 1


@pytest.mark.parametrize("p", [-0.1, 1.0, float("nan")])
def test_wrong_dropout_is_refused(p):
    with pytest.raises(ValueError, match=r"p must lie in \[0, 1\)"):
        StreamDropout(p)
    with pytest.raises(ValueError, match=r"expects inputs of shape \[2, B, ...\], got \[3, 4\]"):
        StreamDropout(0.5, replicas=2)(torch.ones(3, 4))
