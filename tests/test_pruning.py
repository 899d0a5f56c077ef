"""Pruning curves, masks of what stays, and the view in which only that is there."""

import math

import numpy as np
import pytest
import torch

import synsim
from synsim import lesions, sparse
from synsim.lesions import kept, lesion_masks, lesion_ranks, lesion_scores


def network(replicas=None, p=1.0, **options):
    return synsim.mlp([64, 12, 8, 10], p=p, seed=5, replicas=replicas, **options)


@pytest.fixture(scope="module")
def images():
    data = synsim.data.load("digits")
    (task,) = synsim.tasks.single(data)
    return task.test[:200], task.test.y[:200]


def by_hand(weights, keep, x, y, output):
    """Magnitude pruning in NumPy, layer by layer."""
    value = x.double().numpy()
    for index, weight in enumerate(weights):
        share = min(1.0, keep * (output if index == len(weights) - 1 else 1.0))
        stays = math.floor(share * weight.size)
        threshold = np.sort(np.abs(weight).ravel())[::-1][stays - 1] if stays else np.inf
        value = value @ np.where(np.abs(weight) >= threshold, weight, 0.0).T
        value = np.maximum(value, 0) if index < len(weights) - 1 else value
    return float((value.argmax(1) == y.numpy()).mean())


@pytest.mark.parametrize("output", [1.0, 2.0])
def test_a_layerwise_curve_is_that_made_by_hand(images, output):
    x, y = images
    net = network(dtype=torch.float64)
    keep = [0.02, 0.1, 0.3, 0.6, 1.0]
    shares, curve = synsim.pruning_curve(net, x.double(), y, keep, output=output)
    weights = [layer.weight.detach().numpy() for layer in synsim.synapses(net).values()]
    assert shares.tolist() == keep
    assert curve.tolist() == [by_hand(weights, share, x, y, output) for share in keep]


def test_a_pooled_curve_is_the_lesion_curve_read_from_the_other_side(images):
    x, y = images
    net = network(replicas=3, p=0.5)
    total = sum(layer.p[0].numel() for layer in synsim.synapses(net).values())
    stays = [total // 8, total // 2, total]
    keep = [count / total for count in stays]
    fractions = [1 - count / total for count in stays]
    _, pruned = synsim.pruning_curve(net, x, y, keep, scope="network", samples=2)
    _, lesioned = synsim.lesion_curve(net, x, y, "weight", fractions, samples=2)
    assert pruned.shape == (3, 3)
    assert pruned.equal(lesioned)


@pytest.mark.parametrize("output", [1.0, 3.0])
def test_layerwise_lesions_keep_their_share_in_every_layer(output):
    net = network(replicas=2)
    for fraction in (0.0, 0.3, 0.75, 1.0):
        masks = lesion_masks(lesion_scores(net, "weight"), fraction, 2, "layer", output)
        for index, (name, mask) in enumerate(masks.items()):
            count = mask[0].numel()
            share = min(1.0, (1 - fraction) * (output if index == 2 else 1.0))
            assert mask.flatten(1).sum(1).tolist() == pytest.approx([share * count] * 2, abs=0.51)
            size = synsim.synapses(net)[name].weight.detach().abs()
            for row in range(2):
                if 0 < share < 1:
                    assert size[row][mask[row]].min() >= size[row][~mask[row]].max()


def test_a_layerwise_lesion_curve_is_that_of_its_masks(images):
    x, y = images
    net = network()
    _, curve = synsim.lesion_curve(net, x, y, "weight", [0.5, 0.9], scope="layer", output=2.0)
    for fraction, accuracy in zip((0.5, 0.9), curve.tolist(), strict=True):
        masks = lesion_masks(lesion_scores(net, "weight"), fraction, None, "layer", 2.0)
        with synsim.masked(net, masks):
            assert float(synsim.meters.accuracy(net, x, y)) == accuracy


@pytest.mark.parametrize("scope", ["network", "layer"])
def test_exactly_the_floor_of_the_share_stays(scope):
    net = network()
    layers = synsim.synapses(net)
    for keep in (0.013, 0.5, 0.999, 1.0):
        masks = sparse.masks(net, keep, scope=scope)
        if scope == "network":
            total = sum(mask.numel() for mask in masks.values())
            assert sum(int(mask.sum()) for mask in masks.values()) == math.floor(keep * total)
        else:
            assert all(int(mask.sum()) == math.floor(keep * mask.numel()) for mask in masks.values())
        assert masks.keys() == layers.keys()
    ranks = lesion_ranks(lesion_scores(net, "weight"), None, scope)
    again = kept(ranks, 0.5, None, scope)
    assert all(again[name].equal(mask) for name, mask in sparse.masks(net, 0.5, scope=scope).items())


def test_in_the_view_only_what_stays_is_there_and_all_comes_back():
    net = network(replicas=2, p=0.5)
    before = {name: value.clone() for name, value in net.state_dict().items() if isinstance(value, torch.Tensor)}
    half, tenth = sparse.masks(net, 0.5), sparse.masks(net, 0.1, scope="layer")
    whole = synsim.meters.energy(net)
    with synsim.masked(net, half):
        first = synsim.meters.energy(net)
        assert bool((first < whole).all())
        with synsim.masked(net, tenth):
            inner = synsim.meters.energy(net)
            expected = sum(
                (before[f"{name}.weight"].abs() * (tenth[name] & half[name])).double().flatten(1).sum(1)
                for name in synsim.synapses(net)
            )
            torch.testing.assert_close(inner.double(), expected, rtol=1e-5, atol=0)
        assert synsim.meters.energy(net).equal(first)
    with pytest.raises(KeyError), synsim.masked(net, half):
        raise KeyError
    for name, value in before.items():
        assert net.state_dict()[name].equal(value)


def test_training_in_the_view_moves_what_stays_and_nothing_else(images):
    x, y = images
    net = network()
    masks = sparse.masks(net, 0.3)
    before = {name: layer.weight.detach().clone() for name, layer in synsim.synapses(net).items()}
    rule = torch.optim.SGD(net.parameters(), lr=0.5)
    with synsim.masked(net, masks):
        for _ in range(3):
            rule.zero_grad()
            synsim.cross_entropy(net(x), y).backward()
            rule.step()
            for name, layer in synsim.synapses(net).items():
                assert not layer.weight[~masks[name]].any()
    for name, layer in synsim.synapses(net).items():
        assert layer.weight[~masks[name]].equal(before[name][~masks[name]])
        assert not layer.weight[masks[name]].equal(before[name][masks[name]])
    rule.zero_grad()
    synsim.cross_entropy(net(x), y).backward()
    assert all(layer.weight.grad[~masks[name]].any() for name, layer in synsim.synapses(net).items())


@pytest.mark.parametrize("shape", [(3,), (8,), (5, 7), (2, 9, 4)])
def test_masks_go_through_bits(shape):
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(1)) < 0.4
    bits = sparse.packed(mask)
    assert bits.numel() == -(-mask.numel() // 8)
    assert sparse.unpacked(bits, shape).equal(mask)
    with pytest.raises(ValueError, match="for a mask of shape"):
        sparse.unpacked(bits, (100,))
    with pytest.raises(ValueError, match="expected a bool mask"):
        sparse.packed(mask.float())


def test_three_hundred_masks_of_two_million_weights_take_little():
    mask = torch.zeros(2_000_000, dtype=torch.bool)
    assert 300 * sparse.packed(mask).numel() <= 80e6


def test_what_makes_no_sense_is_refused(images):
    x, y = images
    net, other = network(), synsim.mlp([64, 10], p=1.0)
    masks = sparse.masks(net, 0.5)
    with pytest.raises(ValueError, match=r"name '2'.* of another network"), synsim.masked(other, {"2": masks["2"]}):
        pass
    with pytest.raises(ValueError, match="must be bool"), synsim.masked(other, masks):
        pass
    with pytest.raises(ValueError, match="must be bool"), synsim.masked(net, {"0": masks["0"].float()}):
        pass
    with (
        pytest.warns(UserWarning, match="no synapse of '2' stays"),
        synsim.masked(net, {"2": ~torch.ones(8, 12).bool()}),
    ):
        pass
    for keep in ([], [0.0], [1.5], [float("nan")]):
        with pytest.raises(ValueError, match="keep"):
            synsim.pruning_curve(net, x, y, keep)
    with pytest.raises(ValueError, match="scope must be one of"):
        synsim.pruning_curve(net, x, y, [0.5], scope="neuron")
    with pytest.raises(ValueError, match="output"):
        synsim.lesion_curve(net, x, y, "weight", [0.5], output=2.0)
    with pytest.raises(ValueError, match="stochastic layers"):
        synsim.pruning_curve(torch.nn.Linear(64, 10), x, y, [0.5])
    plain = torch.nn.Linear(64, 10)
    for call in (
        lambda: synsim.pruning_curve(plain, x, y, [0.5]),
        lambda: synsim.lesion_curve(plain, x, y),
        lambda: sparse.masks(plain, 0.5),
        lambda: synsim.masked(plain, {}).__enter__(),
        lambda: lesions.clamp_p(plain, low=0.5),
    ):
        with pytest.raises(ValueError, match="deterministic network is one with p = 1"):
            call()
    several = network(replicas=2)
    cut = sparse.masks(several, 0.5)
    cut["2"][1] = False
    with pytest.warns(UserWarning, match=r"no synapse of '2' stays in replicas \[1\]"), synsim.masked(several, cut):
        pass
    assert len(lesions.KEEP) == 20
    assert lesions.KEEP[0] == pytest.approx(0.01)
    assert lesions.KEEP[-1] == 1.0
