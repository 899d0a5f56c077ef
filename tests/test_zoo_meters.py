"""Every meter and lesion of every animal of the zoo against a loop over single examples, or refused in words."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from zoo import KIND, MIXED, TRAITS, ZOO

import synsim
from synsim import meters
from synsim.lesions import lesion_curve

DOUBLE = torch.float64
STOCHASTIC = [name for name in ZOO if KIND[name] != "plain"]


def looped(name: str) -> tuple[Tensor, Tensor]:
    """Probabilities [R, M, C] and labels [R, M] of the mean field, one example at a time; every token is one of M."""
    net, x, y, options = ZOO[name]()
    net.eval()
    replicas = synsim.networks.replicas_of(net)
    own = replicas is not None and "of their own" in name
    rows = []
    with torch.no_grad(), synsim.expected(net):
        for i in range(x.shape[1] if own else len(x)):
            out = net(x[:, i : i + 1] if own else x[i : i + 1], **options)
            out = out["logits"] if isinstance(out, dict) else out
            rows.append(out if replicas is not None else out.reshape(1, -1, out.shape[-1]))
    logits = torch.cat(rows, 1)
    if logits.shape[-1] == 1:
        soft = torch.cat([1 - torch.sigmoid(logits), torch.sigmoid(logits)], -1)
    else:
        soft = logits.exp() / logits.exp().sum(-1, keepdim=True)
    return soft, (y if own else y.reshape(1, -1)).expand(soft.shape[:-1])


def bits(soft: Tensor, y: Tensor) -> float:
    """I(Y; Z) from its definition, cell by cell."""
    total, count = 0.0, len(y)
    for c in range(soft.shape[-1]):
        for z in range(soft.shape[-1]):
            joint = float(soft[y == c, z].sum()) / count
            if joint > 0:
                total += joint * math.log2(joint / (float((y == c).sum()) / count) / (float(soft[:, z].sum()) / count))
    return total


@pytest.mark.parametrize("name", ZOO)
@pytest.mark.filterwarnings("ignore:None of the inputs:UserWarning")
def test_probabilities_accuracy_and_information(name):
    net, x, y, options = ZOO[name]()
    soft, labels = looped(name)
    with synsim.expected(net):
        probabilities = meters.class_probabilities(net, x, **options)
        accuracy = meters.accuracy(net, x, y, **options)
        information = meters.mutual_information(net, x, y, **options)
        interval = meters.information_interval(net, x, y, resamples=3, **options)
    assert torch.allclose(probabilities.reshape(soft.shape), soft, rtol=1e-10)
    assert torch.allclose(accuracy.reshape(-1), (soft.argmax(-1) == labels).double().mean(-1))
    expected = torch.tensor([bits(one, own) for one, own in zip(soft, labels, strict=True)], dtype=DOUBLE)
    assert torch.allclose(information.reshape(-1), expected, rtol=1e-9, atol=1e-12)
    assert torch.allclose(interval.bits.reshape(-1), expected, rtol=1e-9, atol=1e-12)


BARE = {"weight norm", "spectral norm", "weight norm by hooks", "pruned"}


@pytest.mark.parametrize("name", ZOO)
def test_synaptic_energy(name):
    net, x, _, _ = ZOO[name]()
    if name in BARE:
        net(x)  # so that weights computed by hooks are those of the parameters
        weights = [net[0].weight, net[2].weight]
        found = meters.energy(net)
        assert torch.allclose(found, sum(w.detach().abs().sum() for w in weights), rtol=1e-12)
        return
    layers = {id(layer.weight): layer for layer in synsim.synapses(net).values()}
    total = torch.zeros(synsim.networks.replicas_of(net) or 1, dtype=DOUBLE)
    for parameter in net.parameters():
        if id(parameter) in layers:
            layer = layers[id(parameter)]
            p = layer.p
            divisor = {"ghost": getattr(layer, "ghost", None), "nothing": torch.ones_like(p)}
            w = parameter.detach() * p / divisor.get(getattr(layer, "divide", "p"), p)
            total += w.abs().reshape(len(total), -1).sum(1)
        elif parameter.ndim > 1 and not any(layer.bias is parameter for layer in layers.values()):
            total += parameter.detach().abs().sum()
    assert torch.allclose(meters.energy(net).reshape(-1), total, rtol=1e-12)


def test_pruned_weights_are_those_of_the_parameters_of_now():
    net = ZOO["pruned"]().net
    before = meters.energy(net)
    with torch.no_grad():
        net[0].weight_orig.mul_(2)
    first = (net[0].weight_orig * net[0].weight_mask).abs().sum()
    assert torch.allclose(meters.energy(net), first + net[2].weight.abs().sum())
    assert float(meters.energy(net)) > float(before)


LEFT_OUT = "uses weights in other ways, so that the numbers are too small"


def rectified(net: nn.Module) -> nn.Module:
    """The net with rates as inputs of all plain layers."""

    def positive(module: nn.Module, inputs: tuple[Tensor, ...], options: dict[str, Tensor]) -> object:
        return tuple(one.abs() for one in inputs), {key: one.abs() for key, one in options.items()}

    for module in net.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.register_forward_pre_hook(positive, with_kwargs=True)
    return net


@pytest.mark.parametrize("name", ZOO)
@pytest.mark.filterwarnings("ignore:what is transmitted:UserWarning")
@pytest.mark.filterwarnings("ignore:None of the inputs:UserWarning")
def test_transmission_is_the_mean_over_single_images(name):
    net, x, _, options = ZOO[name]()
    x, own = x if "tokens" in TRAITS[name] else x.abs(), "of their own" in name
    rectified(net)
    with synsim.expected(net):
        found = meters.transmission(net, x, **options)
        singles = [
            meters.transmission(net, x[:, i : i + 1] if own else x[i : i + 1], **options)
            for i in range(x.shape[1] if own else len(x))
        ]
    for value, each in zip(found, zip(*singles, strict=True), strict=True):
        assert torch.allclose(value, torch.stack(each).mean(0), rtol=1e-10)
        assert bool((value > 0).all())


@pytest.mark.parametrize(
    "name", ["gru", "embedding", "functional", "forward called", "cosine classifier", "synapses, wired by hand"]
)
def test_transmission_names_what_it_does_not_count(name):
    net, x, _, _ = ZOO[name]()
    left = {"gru": "r.weight_ih_l0", "embedding": "e.weight", "functional": "a.weight", "forward called": "a.weight",
            "cosine classifier": "o.weight", "synapses, wired by hand": "b.weight"}[name]  # fmt: skip
    with pytest.warns(UserWarning, match=rf"{LEFT_OUT}.*{left}"):
        meters.transmission(rectified(net), x if "tokens" in TRAITS[name] else x.abs())


@pytest.mark.parametrize("name", ["pruned", "weight norm", "weight norm by hooks", "spectral norm", "keyword call"])
def test_transmission_says_nothing_where_all_is_counted(name):
    net, x, _, _ = ZOO[name]()
    found = meters.transmission(rectified(net), x.abs())
    first = float((x.abs() @ net[0].weight.detach().abs().t()).sum()) / len(x) if name != "keyword call" else 0.0
    assert float(found.strength) > first


class Sequence(nn.Module):
    """Rates at every step, then a mean over time."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.o = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.o(F.relu(self.a(x)).mean(1))


def test_a_sequence_costs_at_every_step():
    torch.manual_seed(0)
    net, x = Sequence().double(), torch.rand(4, 5, 3, dtype=DOUBLE)
    spikes = vesicles = strength = hidden = 0.0
    with torch.no_grad():
        for image in x:
            mean = torch.zeros(4, dtype=DOUBLE)
            for step in image:
                spikes, vesicles = spikes + float(step.sum()), vesicles + 4 * float(step.sum())
                strength += float((net.a.weight.abs() @ step).sum())
                h = torch.relu(net.a.weight @ step + net.a.bias)
                hidden, mean = hidden + float(h.sum()), mean + h / 5
            spikes, vesicles = spikes + float(mean.sum()), vesicles + 2 * float(mean.sum())
            strength += float((net.o.weight.abs() @ mean).sum())
    found = meters.transmission(net, x)
    assert [float(one) for one in found] == pytest.approx([spikes / 4, vesicles / 4, strength / 4], rel=1e-12)
    assert float(meters.energy(net, "activity", x=x)) == pytest.approx(hidden / 4, rel=1e-12)


def test_images_flattened_inside_count_once():
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).double(), torch.rand(5, 3, 4, dtype=DOUBLE)
    found = meters.transmission(net, x)
    pixels = float(x.sum()) / 5
    strength = float((x.flatten(1) @ net[1].weight.detach().abs().T).sum()) / 5
    assert [float(one) for one in found] == pytest.approx([pixels, 3 * pixels, strength], rel=1e-12)
    assert float(meters.energy(net, "atp", x=x)) == pytest.approx(
        1.2e8 * pixels + 23_800 * 3 * pixels + 1.4e5 * strength, rel=1e-12
    )


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv1d(2, 3, 3, stride=2, padding=1), (2, 7)),
        (nn.Conv3d(1, 2, 2), (1, 3, 3, 4)),
        (nn.ConvTranspose1d(2, 3, 3, stride=2, padding=1), (2, 5)),
        (nn.ConvTranspose2d(2, 4, 3, stride=2, output_padding=1, groups=2), (2, 3, 4)),
    ],
)
def test_convolutions_of_other_kinds(layer, shape):
    layer = layer.double()
    x = torch.rand(3, *shape, dtype=DOUBLE)
    found = meters.transmission(nn.Sequential(layer, nn.Flatten()), x)
    # The derivative of the summed output to a weight is the input that passes through it.
    out = layer(x)
    (passed,) = torch.autograd.grad(out.sum(), layer.weight)
    strength = float((passed * layer.weight.detach().abs()).sum()) / 3
    assert [float(one) for one in found] == pytest.approx([float(x.sum()) / 3, float(passed.sum()) / 3, strength])


class PlainFirst(nn.Module):
    """A plain layer over tokens before synapses with replicas."""

    def __init__(self, replicas: int | None) -> None:
        super().__init__()
        self.a = nn.Linear(3, 4).double()
        self.s = synsim.BernoulliLinear(4, 3, replicas=replicas, dtype=DOUBLE)

    def forward(self, x: Tensor) -> Tensor:
        return self.s(torch.relu(self.a(x)).mean(1))


@pytest.mark.parametrize("count", [2, 5])
def test_an_axis_of_tokens_is_none_of_replicas(count):
    torch.manual_seed(0)
    net, alone = PlainFirst(2), PlainFirst(None)
    alone.a.load_state_dict(net.a.state_dict())
    x = torch.rand(count, 2, 3, dtype=DOUBLE)
    for r in range(2):
        with torch.no_grad():
            alone.s.weight.copy_(net.s.weight[r])
            alone.s.p.copy_(net.s.p[r])
        with synsim.expected(net), synsim.expected(alone):
            for together, single in zip(meters.transmission(net, x), meters.transmission(alone, x), strict=True):
                assert torch.allclose(together[r], single, rtol=1e-12)
            activity = meters.energy(net, "activity", x=x)
            assert torch.allclose(activity[r], meters.energy(alone, "activity", x=x), rtol=1e-12)


def test_activity_hears_functions_and_names_other_units():
    class Mixed(Sequence):
        def forward(self, x: Tensor) -> Tensor:
            return self.o(torch.tanh(x[:, 0].relu() @ self.a.weight.t()))

    net, x = Mixed().double(), torch.randn(4, 2, 3, dtype=DOUBLE, generator=torch.Generator().manual_seed(1))
    with pytest.warns(UserWarning, match="also has units with tanh"):
        found = meters.energy(net, "activity", x=x)
    assert float(found) == pytest.approx(float(x[:, 0].clamp_min(0).sum()) / 4, rel=1e-12)


def test_energy_names_what_it_does_not_count():
    net = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm((4, 4)))
    assert float(meters.energy(net)) == pytest.approx(float(net[0].weight.detach().abs().sum()))
    net.free = nn.Parameter(torch.ones(2, 2))
    with pytest.warns(UserWarning, match=r"Left out: free\."):
        meters.energy(net)


@pytest.mark.parametrize("name", STOCHASTIC)
@pytest.mark.filterwarnings("ignore:lesions silence:UserWarning")
def test_lesions(name):
    net, x, y, options = ZOO[name]()
    options = {**options, "samples": 2, "block": 2}
    _, curve = lesion_curve(net, x, y, "weight", (0.0, 1.0), **options)
    silent = copy.deepcopy(net)
    with torch.no_grad():
        for layer in synsim.synapses(silent).values():
            layer.weight.zero_()
    assert torch.equal(curve[..., 0], meters.accuracy(net, x, y, **options))
    assert torch.equal(curve[..., 1], meters.accuracy(silent, x, y, **options))


def test_lesions_name_what_they_leave_alone():
    net, x, y, _ = ZOO["synapses between plain layers"]()
    with pytest.warns(UserWarning, match=r"all else stays.*Left out: 0\.weight, 5\.weight"):
        lesion_curve(net, x, y, fractions=(0.5,))


@pytest.mark.parametrize("name", MIXED)
def test_networks_in_which_examples_meet_are_measured_in_batches(name):
    net, x, y, _ = MIXED[name]()
    out = copy.deepcopy(net).eval()(x)
    assert torch.equal(meters.accuracy(net, x, y, block=None), (out.argmax(-1) == y).double().mean())
