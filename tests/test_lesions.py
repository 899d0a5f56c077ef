"""Lesions in one batched pass against lesioned networks measured alone, and networks with other probabilities."""

import importlib
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import synsim
from synsim import meters, records, tasks
from synsim.dropout import StreamDropout
from synsim.lesions import clamp_p, lesion_curve, lesion_curves, lesion_masks, lesion_scores, shuffle_p
from synsim.lesions.copies import Copies, can_widen
from synsim.networks import MaxPool, MultiHead, initialised

ROOT = Path(__file__).resolve().parent.parent
FRACTIONS = (0.0, 0.35, 0.8, 1.0)


def network(**options):
    net = synsim.mlp([20, 30, 25, 4], **{"seed": 3, "dtype": torch.float64, **options})
    generator = torch.Generator().manual_seed(5)
    for layer in synsim.synapses(net).values():
        # Coarse, so that there are ties; not the same in two replicas.
        drawn = torch.rand(layer.p.shape, generator=generator, dtype=torch.float64)
        layer.p.copy_(((3 * drawn).round() + 1) / 4)
    return net


def images(count=230, lead=()):
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(*lead, count, 20, generator=generator, dtype=torch.float64)
    return x, torch.randint(4, (*lead, count), generator=generator)


def naive(net, x, y, order, **options):
    """One lesioned network after the other, each measured alone."""
    found, replicas = [], net[0].replicas
    for share in FRACTIONS:
        stays = lesion_masks(lesion_scores(net, order), share, replicas)
        lesioned = deepcopy(net)
        with torch.no_grad():
            for name, layer in synsim.synapses(lesioned).items():
                layer.weight[~stays[name]] = 0
        found.append(meters.accuracy(lesioned, x, y, **options))
    return torch.stack(found, -1)


@pytest.mark.parametrize("memory", [1, 64])
@pytest.mark.parametrize(
    "options",
    [{}, {"replicas": 2}, {"replicas": 1}, {"replicas": 2, "bias": True, "sites": 3}, {"scope": "sample"},
     {"replicas": 2, "scope": "sample", "bias": True}],
)  # fmt: skip
def test_all_at_once_is_what_each_lesioned_network_measures_alone(options, memory, monkeypatch):
    if memory == 1:
        monkeypatch.setattr("synsim.lesions.curves.bytes_per_copy", lambda net: 2**20 // 3)  # three copies per pass
    net, (x, y) = network(**options), images()
    importance = {name: parameter.detach().square() for name, parameter in net.named_parameters()}
    orders = {"p": "p", "chance": "random", "mine": importance}
    shares, curves = lesion_curves(net, x, y, orders, FRACTIONS, 3, memory=memory)
    assert shares.tolist() == list(FRACTIONS)
    assert list(curves) == list(orders)
    for label, order in orders.items():
        assert torch.equal(curves[label], naive(net, x, y, order, samples=3)), label
    assert len({tuple(curve.flatten().tolist()) for curve in curves.values()}) == 3


def test_the_logits_of_the_copies_are_those_of_the_lesioned_networks():
    net, (x, _) = network(replicas=2), images()
    masks = [lesion_masks(lesion_scores(net, "p*weight"), share, 2) for share in FRACTIONS]
    copies = Copies(deepcopy(net), {name: torch.stack([mask[name] for mask in masks]) for name in masks[0]})
    found = meters.class_probabilities(copies, x, samples=2).reshape(4, 2, 230, 4)
    for part, mask in zip(found, masks, strict=True):
        alone = deepcopy(net)
        for name, layer in synsim.synapses(alone).items():
            layer.weight.data *= mask[name]
        assert torch.allclose(part, meters.class_probabilities(alone, x, samples=2), rtol=1e-12)


def test_a_replica_is_lesioned_as_it_is_alone():
    both, (x, y) = network(replicas=2), images()
    alone = synsim.mlp([20, 30, 25, 4], seed=4, dtype=torch.float64)
    for name, layer in synsim.synapses(alone).items():
        layer.p.copy_(synsim.synapses(both)[name].p[1])
    _, curves = lesion_curves(both, x, y, fractions=FRACTIONS, samples=2)
    _, single = lesion_curves(alone, x, y, fractions=FRACTIONS, samples=2)
    for order, curve in curves.items():
        assert curve.shape == (2, 4)
        assert torch.equal(curve[1], single[order])


def test_replicas_with_images_and_labels_of_their_own():
    net, (x, y) = network(replicas=2), images(lead=(2,))
    _, curve = lesion_curve(net, x, y, "p", FRACTIONS, 2)
    for r in range(2):
        assert torch.equal(curve[r], naive(net, x[r], y[r], "p", samples=2)[r])


def test_views_hold_while_lesioning():
    net, (x, y) = network(replicas=2), images()
    for view in (synsim.expected(net), synsim.frozen(net, 7)):
        with view:
            assert torch.equal(lesion_curve(net, x, y, "weight", FRACTIONS, 2)[1], naive(net, x, y, "weight"))


@pytest.mark.parametrize("scope", ["batch", "sample"])
@pytest.mark.parametrize("replicas", [None, 2])
def test_convolutions_and_heads(replicas, scope):
    kind = {"p": 0.6, "replicas": replicas, "scope": scope, "dtype": torch.float64}
    conv = synsim.BernoulliConv2d(2, 6, 3, bias=True, **kind)
    trunk = nn.Sequential(conv, nn.ReLU(), MaxPool(2), StreamDropout(0.5, replicas=replicas), nn.Flatten(-3))
    net = initialised(MultiHead(trunk, [synsim.BernoulliLinear(54, 3, **kind) for _ in range(2)]), 1)
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(12, 2, 8, 8, generator=generator, dtype=torch.float64), torch.arange(12) % 3
    assert can_widen(net)
    masks = [lesion_masks(lesion_scores(net, "random"), share, replicas) for share in (0.0, 0.4)]
    copies = Copies(deepcopy(net), {name: torch.stack([mask[name] for mask in masks]) for name in masks[0]})
    found = meters.class_probabilities(copies, x, samples=2, block=5, head=1)
    for part, mask in zip(found.chunk(2) if replicas else found, masks, strict=True):
        alone = deepcopy(net)
        for name, layer in synsim.synapses(alone).items():
            layer.weight.data *= mask[name]
        assert torch.allclose(part, meters.class_probabilities(alone, x, samples=2, block=5, head=1), rtol=1e-12)
    _, curve = lesion_curve(net, x, y, "random", (0.0, 1.0), 1, head=1)
    assert torch.equal(curve[..., 0], meters.accuracy(net, x, y, samples=1, head=1))


class Flat(nn.Module):
    """A network that cannot carry an axis of replicas."""

    def __init__(self):
        super().__init__()
        self.first, self.last = synsim.BernoulliLinear(20, 30).double(), synsim.BernoulliLinear(30, 4).double()

    def forward(self, x):
        return self.last(self.first(x).reshape(-1, 30).relu())


def test_a_network_that_cannot_be_widened_is_measured_copy_by_copy():
    torch.manual_seed(0)
    net, (x, y) = Flat(), images()
    assert not can_widen(net)
    _, curve = lesion_curve(net, x, y, "p", FRACTIONS, 2)
    plain = nn.Sequential(net.first, nn.ReLU(), net.last)
    assert can_widen(plain)
    same = {"first.weight": net.first.p, "last.weight": net.last.p}
    assert torch.equal(lesion_curve(net, x, y, same, FRACTIONS, 2)[1], curve)
    assert torch.equal(lesion_curve(plain, x, y, "p", FRACTIONS, 2)[1], curve)


def test_the_network_is_left_as_it_was():
    net, (x, y) = network(replicas=2).train(), images()
    net[2].eval()
    net(x).sum().backward()
    state = {key: value.clone() for key, value in net.state_dict().items()}
    masks, gradients = [net[k].mask.clone() for k in (0, 2)], [net[k].weight.grad.clone() for k in (0, 2)]
    generator = torch.get_rng_state()
    lesion_curves(net, x, y, fractions=(0.5,), samples=1)
    for keep in ("expected", "strength"):
        for made in (clamp_p(net, 0.5, 0.5, keep=keep), shuffle_p(net, keep=keep)):
            with torch.no_grad():
                made[0].weight.zero_()
            made(x)
    # The state holds weights, probabilities, seeds and numbers of draws.
    assert all(torch.equal(value, net.state_dict()[key]) for key, value in state.items())
    for k, mask, gradient in zip((0, 2), masks, gradients, strict=True):
        assert torch.equal(net[k].mask, mask)
        assert torch.equal(net[k].weight.grad, gradient)
        assert net[k].replicas == 2
    assert [module.training for module in net] == [True, True, False, True, True]
    assert torch.equal(generator, torch.get_rng_state())


def test_clamping_keeps_what_it_says():
    net = network(replicas=2)
    for keep in ("expected", "strength"):
        made = clamp_p(net, 0.4, 0.8, keep=keep)
        for old, new in ((net[k], made[k]) for k in (0, 2, 4)):
            np.testing.assert_array_equal(new.p.numpy(), np.clip(old.p.numpy(), 0.4, 0.8))
            inside = new.p == old.p
            assert inside.any()
            assert not inside.all()
            assert torch.equal(new.weight[inside], old.weight[inside])
            kept = "weight" if keep == "expected" else "strength"
            torch.testing.assert_close(getattr(new, kept), getattr(old, kept), rtol=1e-15, atol=0)
            assert (new.draws, new.seeds) == (old.draws, old.seeds)
    same = clamp_p(net, low=0.4)
    assert torch.equal(same[0].weight, net[0].weight)
    assert float(same[0].p.max()) == 1


def test_setting_p_removes_the_noise_or_the_differences():
    net, (x, _) = network(replicas=2), images()
    reliable = clamp_p(net, 1.0, 1.0)
    with synsim.expected(net):
        torch.testing.assert_close(reliable(x), net(x), rtol=1e-12, atol=0)
    assert torch.equal(meters.energy(reliable), meters.energy(net))
    set_to = clamp_p(net, [0.3, 0.7], [0.3, 0.7], keep="strength")
    for r, value in enumerate((0.3, 0.7)):
        assert (set_to[0].p[r] == value).all()
        torch.testing.assert_close(set_to[0].weight[r], net[0].weight[r] / net[0].p[r] * value, rtol=1e-15, atol=0)


def test_shuffling_keeps_the_histogram_of_each_layer_and_replica():
    net = network(replicas=2)
    for keep, kept in (("expected", "weight"), ("strength", "strength")):
        made = shuffle_p(net, 1, keep=keep)
        for old, new in ((net[k], made[k]) for k in (0, 2, 4)):
            assert torch.equal(new.p.flatten(1).sort(1).values, old.p.flatten(1).sort(1).values)
            assert 0.2 < float((new.p != old.p).double().mean()) < 0.9
            torch.testing.assert_close(getattr(new, kept), getattr(old, kept), rtol=1e-15, atol=0)
    assert torch.equal(shuffle_p(net, 1)[0].p, made[0].p)
    assert not torch.equal(shuffle_p(net, 2)[0].p, made[0].p)
    alone = synsim.mlp([20, 30, 25, 4], seed=4, dtype=torch.float64)
    for name, layer in synsim.synapses(alone).items():
        layer.p.copy_(synsim.synapses(net)[name].p[1])
    assert torch.equal(shuffle_p(alone, 1)[2].p, made[2].p[1])
    ranked = network(replicas=2)
    for layer in synsim.synapses(ranked).values():
        count = layer.p[0].numel()
        layer.p.copy_(((torch.arange(count, dtype=torch.float64) + 1) / count).reshape(layer.p.shape[1:]))
    moved = shuffle_p(ranked)
    ranks = [moved[0].p[r].flatten().numpy() for r in range(2)] + [np.linspace(0, 1, 600)]
    for a in range(3):
        for b in range(a):
            assert abs(np.corrcoef(ranks[a], ranks[b])[0, 1]) < 4 / np.sqrt(600)


def test_low_p_first_hurts_less_than_chance_after_learning():
    (task,) = tasks.single(synsim.data.load("digits"))
    net = synsim.mlp([64, 100, 100, 10], p=0.25, replicas=3, seed=11)
    rule = synsim.PresynapticSGD(net, 0.05, weight_decay=0.01, p_up=0.07, p_down=0.07, g_lim=0.001, p_min=0.25)
    for epoch in range(20):
        for index in tasks.batches(tasks.epoch_order((11, 12, 13), 0, epoch, len(task.train)), 50):
            rule.zero_grad()
            x, y = task.batch(index)
            synsim.cross_entropy(net(x), y).backward()
            rule.step()
    _, curves = lesion_curves(net, task.test, task.test.y, ("p", "random"), (0.0, 0.5))
    assert (curves["p"][:, 0] > 0.8).all()
    assert torch.equal(curves["p"][:, 0], curves["random"][:, 0])
    assert (curves["p"][:, 1] > curves["random"][:, 1]).all()
    lost = {order: curve[:, 0] - curve[:, 1] for order, curve in curves.items()}
    assert lost["p"].mean() < 0.5 * lost["random"].mean()


def test_an_interrupted_study_goes_on_where_it_was(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    script = importlib.import_module("lesions")
    common = ["--data", "digits", "--batch", "50", "--hidden", "20", "--epochs", "1", "--images", "60", "--quiet",
              "--samples", "2", "--seeds", "1", "2", "--threads", "1"]  # fmt: skip

    def go(folder, *more):
        script.EXPERIMENT.main([*common, "--out", str(tmp_path / folder), *more])

    calls, measure = [], script.lesioned

    def counted(config, net, task, order):
        calls.append(order)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return measure(config, net, task, order)

    monkeypatch.setattr(script, "lesioned", counted)
    with pytest.raises(SystemExit, match="130"):
        go("cut")
    assert "go on with --resume" in capsys.readouterr().err
    go("cut", "--resume")
    assert calls == ["p", "weight", "p*weight", "p*weight", "random", "fisher"]
    go("whole")
    cut, whole = (records.open(tmp_path / name) for name in ("cut", "whole"))
    for name in ("lesion_accuracy", "accuracy", "energy", "information"):
        np.testing.assert_array_equal(cut.dataset[name].values, whole.dataset[name].values)
    said = capsys.readouterr().out.split("reduced: ")[1]
    assert "epochs 1 (published: 50)" in said
    assert "images 60 (published: 10000)" in said


NOT_A_NUMBER = {f"{k}.weight": torch.full((o, i), torch.nan) for k, o, i in ((0, 30, 20), (2, 25, 30), (4, 4, 25))}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda net, x, y: lesion_curves(net, x, y, "p"), "sequence of names"),
        (lambda net, x, y: lesion_curves(net, x, y, [NOT_A_NUMBER]), "sequence of names"),
        (lambda net, x, y: lesion_curves(net, x, y, NOT_A_NUMBER), "give importances under a label"),
        (lambda net, x, y: lesion_curves(net, x, y, ()), "at least one order"),
        (lambda net, x, y: lesion_curves(net, x, y, ("p", "age")), "order must be one of p, weight"),
        (lambda net, x, y: lesion_curve(net, x, y, NOT_A_NUMBER), "'0.weight' holds NaN"),
        (lambda net, x, y: lesion_curve(net, x, y, {"0.weight": y}), r"shape \[30, 20\], got \[230\]"),
        (lambda net, x, y: lesion_curve(net, x, y, "p", ()), "at least one fraction"),
        (lambda net, x, y: lesion_curve(net, x, y, "p", (-0.1,)), "fractions must lie between 0 and 1"),
        (lambda net, x, y: lesion_curve(net, x, y.expand(3, -1), "p"), r"y must have shape \[N\]"),
        (lambda net, x, y: lesion_curve(net, x, y, memory=0), "memory must be a whole number"),
        (lambda net, x, y: lesion_curve(nn.ReLU(), x, y), "network with stochastic layers"),
        (lambda net, x, y: clamp_p(net), "give low, high or both"),
        (lambda net, x, y: clamp_p(net, 0.9, 0.5), "low must not exceed high"),
        (lambda net, x, y: clamp_p(net, 0.0), r"low must lie in \(0, 1\]"),
        (lambda net, x, y: clamp_p(net, 0.5, 1.5), "high must be finite and between 0 and 1"),
        (lambda net, x, y: clamp_p(net, [0.5, 0.6]), r"low must be a number \(replicas=None\)"),
        (lambda net, x, y: clamp_p(net, 0.5, keep="p"), "keep must be one of expected, strength"),
        (lambda net, x, y: clamp_p(nn.ReLU(), 0.5), "network with stochastic layers"),
        (lambda net, x, y: shuffle_p(net, keep="m"), "keep must be one of expected, strength"),
        (lambda net, x, y: shuffle_p(net, -1), "seed must be a whole number"),
        (lambda net, x, y: shuffle_p(nn.ReLU()), "network with stochastic layers"),
    ],
)
def test_bad_input_of_lesions(make, message):
    with pytest.raises(ValueError, match=message):
        make(network(), *images())
