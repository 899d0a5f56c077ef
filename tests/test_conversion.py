"""`convert`: any model with p = 1 computes what it did, bit for bit; what is left as it is, is said."""

import copy
import warnings
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

import synsim
from synsim.meters import accuracy


class Block(nn.Module):
    """A residual block as in ResNet-18."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        short = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        self.downsample = nn.Identity() if stride == 1 and inputs == outputs else short

    def forward(self, x: Tensor) -> Tensor:
        out = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(out)) + self.downsample(x))


def resnet() -> nn.Module:
    blocks = [Block(8, 8, 1), Block(8, 16, 2)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5)]
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), *blocks, *head)


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 8)
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(self.embedding(x)).mean(1))


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.middle, self.out = nn.Embedding(11, 8), nn.Linear(8, 8), nn.Linear(8, 11, bias=False)
        self.out.weight = self.embedding.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.middle(self.embedding(x)))


def mixer() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 7), nn.Tanh(), nn.Unflatten(0, (2, -1)), nn.Linear(7, 5, bias=False))


IMAGES = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
TOKENS = torch.randint(11, (4, 6), generator=torch.Generator().manual_seed(0))
ROWS = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
MODELS = {"resnet": (resnet, IMAGES), "transformer": (Transformer, TOKENS), "mixer": (mixer, ROWS)}


def made(name: str) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    build, x = MODELS[name]
    return build(), x


def converted(model: nn.Module, **options: object) -> nn.Module:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "convert left")
        return synsim.convert(model, **options)


@pytest.mark.parametrize("scope", ["batch", "sample"])
@pytest.mark.parametrize("mode", ["train", "eval", "eval without gradients"])
@pytest.mark.parametrize("name", MODELS)
def test_p_of_one_is_the_model_itself_bit_for_bit(name, mode, scope) -> None:
    plain, x = made(name)
    net = converted(plain, p=1.0, scope=scope)
    plain.train(mode == "train")
    net.train(mode == "train")
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad() if mode == "eval without gradients" else nullcontext():
            got, expected = net(x), plain(x)
            assert torch.equal(got, expected) if scope == "batch" else torch.allclose(got, expected, atol=1e-5)
    finally:
        torch.backends.mha.set_fastpath_enabled(True)


@pytest.mark.parametrize("name", MODELS)
def test_names_weights_and_the_original_stay(name) -> None:
    plain, _ = made(name)
    before = copy.deepcopy(plain.state_dict())
    net = converted(plain)
    names = {key: value.shape for key, value in net.named_parameters()}
    assert names == {key: value.shape for key, value in plain.named_parameters()}
    assert set(before) <= set(net.state_dict())
    assert all(torch.equal(value, net.state_dict()[key]) for key, value in before.items())
    assert not synsim.synapses(plain)
    assert not set(net.load_state_dict(before, strict=False).unexpected_keys)


@pytest.mark.parametrize("name", MODELS)
def test_passes_fail_at_random_and_average_to_the_mean_field_of_a_linear_model(name) -> None:
    plain, x = made(name)
    net = converted(plain, p=0.5, seed=3).eval()
    with torch.no_grad():
        one, other = net(x), net(x)
        assert not torch.equal(one, other)
        synsim.seed(net, 3)
        assert torch.equal(net(x), one)
    assert all(bool(layer.draws) for layer in synsim.synapses(net).values())


def test_the_model_itself_keeps_its_parameters_for_an_optimiser() -> None:
    plain, x = made("resnet")
    optimiser = torch.optim.SGD(plain.parameters(), 0.1)
    held = [id(p) for p in plain.parameters()]
    net = synsim.convert(plain, inplace=True)
    assert net is plain
    assert [id(p) for p in net.parameters()] == held
    before = [p.detach().clone() for p in net.parameters()]
    synsim.cross_entropy(net(x), torch.arange(4)).backward()
    optimiser.step()
    assert not any(torch.equal(p, q) for p, q in zip(net.parameters(), before, strict=True))


def test_the_rule_meters_and_importances_take_it() -> None:
    net = converted(made("transformer")[0], p=0.5)
    y = torch.arange(4)
    rule = synsim.PresynapticSGD(net, 0.1, p_up=0.1, p_down=0.1, g_lim=1e-3)
    synsim.cross_entropy(net(TOKENS), y).backward()
    rule.step()
    assert any(bool((layer.p != 0.5).any()) for layer in synsim.synapses(net).values())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert 0 <= float(accuracy(net, TOKENS, y)) <= 1
    with synsim.expected(net):
        found = synsim.importance.make("fisher").estimate(net, TOKENS, y)
    assert bool((found["encoder.layers.0.linear1.weight"] > 0).any())


def test_what_is_left_is_said_unless_it_was_chosen() -> None:
    with pytest.warns(
        UserWarning, match=r"left as they are: 'embedding' \(Embedding\), .*self_attn.*never fail"
    ) as said:
        synsim.convert(made("transformer")[0])
    assert said[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net = synsim.convert(made("transformer")[0], only=["encoder.layers.1", "head"])
        assert set(synsim.synapses(net)) == {"encoder.layers.1.linear1", "encoder.layers.1.linear2", "head"}
        small = synsim.convert(made("resnet")[0], only=lambda name, module: isinstance(module, nn.Linear))
        assert set(synsim.synapses(small)) == {"7"}


def test_a_module_with_two_names_is_one_synapse_with_two_names() -> None:
    shared = nn.Linear(6, 6)
    net = synsim.convert(nn.Sequential(shared, nn.ReLU(), shared), p=0.5)
    assert net[0] is net[2]
    net(ROWS)
    assert net[0].draws == 2


def test_hooks_and_modes_stay() -> None:
    plain = nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 2)).eval()
    plain[0].register_forward_hook(lambda module, inputs, output: output * 0)
    plain[1].weight.requires_grad_(False)
    net = synsim.convert(plain, p=1.0)
    assert torch.equal(net(ROWS), plain(ROWS))
    assert not net[0].training
    assert not net[1].weight.requires_grad


def pruned() -> nn.Module:
    net = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    prune.l1_unstructured(net[1], "weight", 0.5)
    return net


@pytest.mark.parametrize(
    ("build", "options", "message"),
    [
        (lambda: nn.Sequential(nn.ReLU()), {}, "found no nn.Linear or nn.Conv2d"),
        (lambda: synsim.mlp([3, 2]), {}, "stochastic already"),
        (Tied, {}, r"the weight of 'out' is that of 'embedding' as well"),
        (pruned, {"only": ["1"]}, r"can't convert '1' \(its weight is re-parametrised"),
        (lambda: parametrizations.weight_norm(nn.Linear(3, 2)), {}, "re-parametrised"),
        (lambda: nn.Conv2d(1, 1, 3, padding_mode="circular"), {}, "padding_mode='circular'"),
        (resnet, {"only": ["3.conv_1"]}, r"no module '3.conv_1'. Did you mean '3.conv1'"),
        (resnet, {"only": "7"}, "only must be names"),
        (resnet, {"p": 0.0}, r"p must lie in \(0, 1\]"),
        (resnet, {"p": torch.full((8, 3, 3, 3), 0.5)}, "p must be a number"),
        (resnet, {"p": "0.5"}, "p must be"),
        (resnet, {"scope": "spike"}, "scope must be one of"),
        (resnet, {"seed": -1}, "seed must be"),
        (lambda: nn.DataParallel(nn.Linear(3, 2)), {}, "before it is wrapped"),
    ],
)
def test_what_can_not_be_converted_is_refused_and_left_whole(build, options, message) -> None:
    net = build()
    kinds = [type(module) for module in net.modules()]
    with pytest.raises((ValueError, TypeError), match=message):
        synsim.convert(net, **options, inplace=True)
    assert [type(module) for module in net.modules()] == kinds


def test_a_tied_model_is_converted_where_nothing_is_tied() -> None:
    net = synsim.convert(Tied(), only=["middle"])
    assert set(synsim.synapses(net)) == {"middle"}
    assert net.out.weight is net.embedding.weight
