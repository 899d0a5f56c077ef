"""Control networks against plain rewrites, and their promises: expected strengths, replicas, resume."""

import copy
import importlib
from pathlib import Path

import numpy as np
import pytest
import torch
from small_runs import launch

import synsim
from synsim import controls, meters, records, streams
from synsim.data import DataNotFoundError
from synsim.dropout import StreamDropout
from synsim.kernels import reference
from synsim.training.state import pack, unpack

SIZES = [9, 7, 4]
CONSTANTS = {"p_up": 0.09, "p_down": 0.08, "g_lim": 0.02, "p_freeze": 0.55}
NAMES = tuple(controls.CONTROLS)


def batch(seed=3, count=11):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 9, generator=generator, dtype=torch.float64)
    return x, torch.randint(4, (count,), generator=generator)


def spread(net, seed=5):
    """Different probabilities for every synapse, so that no two divisors agree by accident."""
    generator = torch.Generator().manual_seed(seed)
    for layer in synsim.synapses(net).values():
        moving = layer.p if getattr(layer, "ghost", None) is None else layer.ghost
        moving.uniform_(0.3, 0.9, generator=generator)
    return net


def step(net, rule, x, y):
    rule.zero_grad()
    synsim.cross_entropy(net(x), y).backward()
    rule.step()


def state(net):
    return {name: value.detach().clone() for name, value in net.state_dict().items()}


def same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


class Naive:
    """One network of one control in float64, synapse by synapse as the equations say, with masks given from outside."""

    def __init__(self, control, weights, learned, lr):
        self.control, self.lr = control, lr
        self.w, self.p = weights, learned

    def step(self, masks, x, y):
        k, w, learned = CONSTANTS, self.w, self.p
        divisors = {
            "ghost-expected": [np.full_like(p, 0.5) for p in learned],
            "ghost-code": learned,
            "unnormalised": [np.ones_like(p) for p in learned],
        }[self.control]
        factors = [mask / d for mask, d in zip(masks, divisors, strict=True)]
        used = [one * factor for one, factor in zip(w, factors, strict=True)]
        inside = x @ used[0].T
        hidden = np.maximum(inside, 0)
        logits = hidden @ used[1].T
        soft = np.exp(logits - logits.max(1, keepdims=True))
        soft /= soft.sum(1, keepdims=True)
        delta = (soft - np.eye(soft.shape[1])[y]) / len(y)
        back = (delta @ used[1]) * (inside > 0)
        gradients = [back.T @ x * factors[0], delta.T @ hidden * factors[1]]
        for i, g in enumerate(gradients):
            room = 1 - self.p[i]
            self.w[i] = self.w[i] - self.lr * g * room
            move = np.where(abs(g) >= k["g_lim"], k["p_up"], -k["p_down"]) * room
            move[self.p[i] >= k["p_freeze"]] = 0
            self.p[i] = np.clip(self.p[i] + move, 0.25, 1)
        return gradients


@pytest.mark.parametrize("control", NAMES)
def test_a_step_is_the_naive_one(control):
    net = spread(controls.mlp(SIZES, control, seed=2, dtype=torch.float64))
    layers = [net[0], net[2]]
    moving = [layer.p if layer.ghost is None else layer.ghost for layer in layers]
    naive = Naive(
        control, [layer.weight.detach().numpy().copy() for layer in layers], [p.numpy().copy() for p in moving], 0.1
    )
    rule = synsim.PresynapticSGD(net, 0.1, modulate_lr=True, **CONSTANTS)
    for number in range(5):
        x, y = batch(number)
        step(net, rule, x, y)
        gradients = naive.step([layer.mask.double().numpy() for layer in layers], x.numpy(), y.numpy())
        for layer, p, g, weight, chance in zip(layers, moving, gradients, naive.w, naive.p, strict=True):
            np.testing.assert_allclose(layer.weight.grad.numpy(), g, rtol=1e-11, atol=1e-15)
            np.testing.assert_allclose(layer.weight.detach().numpy(), weight, rtol=1e-11, atol=1e-15)
            np.testing.assert_allclose(p.numpy(), chance, rtol=1e-12)
    if control != "unnormalised":
        assert all(bool((layer.p == 0.5).all()) for layer in layers)
    assert all(0 < float((p >= CONSTANTS["p_freeze"]).double().mean()) < 1 for p in moving)


@pytest.mark.parametrize("control", NAMES)
def test_masks_are_those_of_the_release_probability_not_of_the_ghost(control):
    net = spread(controls.mlp([60, 50, 40], control, seed=2, dtype=torch.float64))
    layer = net[0]
    x = torch.zeros(1, 60, dtype=torch.float64)
    rate = torch.zeros_like(layer.p)
    passes = 200
    for _ in range(passes):
        net(x)
        rate += layer.mask
    expected = layer.p if control == "unnormalised" else torch.full_like(layer.p, 0.5)
    z = (rate - passes * expected) / (passes * expected * (1 - expected)).sqrt()
    # 3,000 standard normal numbers: their mean square is 1 ± 0.026, and it is far larger under other probabilities.
    assert abs(float((z**2).mean()) - 1) < 0.13


@pytest.mark.parametrize("control", NAMES)
@pytest.mark.parametrize("replicas", [None, 2])
def test_the_expected_view_is_the_mean_of_the_passes(control, replicas):
    net = spread(controls.mlp([12, 5], control, replicas=replicas, seed=2, dtype=torch.float64))
    layer, x = net[0], torch.randn(3, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    factor = {
        "ghost-expected": torch.ones_like(layer.p),
        "ghost-code": None if layer.ghost is None else 0.5 / layer.ghost,
        "unnormalised": layer.p,
    }[control]
    mean = layer.weight.detach() * factor
    with synsim.expected(net), torch.no_grad():
        view = net(x)
    torch.testing.assert_close(view, x @ mean.mT, rtol=1e-12, atol=1e-13)
    with torch.no_grad():
        passes = torch.stack([net(x) for _ in range(1500)])
    z = (passes.mean(0) - view) / (passes.std(0) / 1500**0.5)
    assert float(z.abs().max()) < 4
    total = mean.abs().sum((-1, -2))
    assert torch.allclose(meters.energy(net), total, rtol=1e-12)


@pytest.mark.parametrize("control", NAMES)
def test_the_expected_view_is_differentiated(control):
    net = spread(controls.mlp([12, 5], control, seed=2, dtype=torch.float64))
    x = torch.randn(3, 12, dtype=torch.float64)
    with synsim.expected(net):
        net(x).sum().backward()
    factor = (net[0].p / net[0].divisor()).detach()
    torch.testing.assert_close(net[0].weight.grad, x.sum(0).expand(5, 12) * factor, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("control", "p", "trained"), [("ghost-expected", 0.5, 6), ("ghost-code", 0.5, 6), ("unnormalised", 1.0, 6)]
)
def test_where_the_control_changes_nothing_it_is_the_plain_network(control, p, trained):
    # Ghosts fixed at the mask probability, or synapses that never fail: bit for bit, in single precision.
    plain = synsim.mlp(SIZES, p=p, replicas=2, seed=2)
    net = controls.mlp(SIZES, control, replicas=2, seed=2)
    if control == "unnormalised":
        for one, other in zip(synsim.synapses(net).values(), synsim.synapses(plain).values(), strict=True):
            one.p.fill_(1.0)
            one.weight.data.copy_(other.weight)
    rules = [synsim.PresynapticSGD(one, 0.1, plastic=False, **CONSTANTS) for one in (plain, net)]
    for number in range(trained):
        x, y = batch(number)
        for one, rule in zip((plain, net), rules, strict=True):
            step(one, rule, x.float(), y)
    for one, other in zip(synsim.synapses(net).values(), synsim.synapses(plain).values(), strict=True):
        assert torch.equal(one.weight, other.weight)
        assert torch.equal(one.mask, other.mask)
    x = batch()[0].float()
    assert torch.equal(net(x), plain(x))


def test_a_ghost_that_moves_leaves_the_forward_pass_of_fixed_release():
    plain = synsim.mlp(SIZES, p=0.5, seed=2)
    net = controls.mlp(SIZES, "ghost-expected", seed=2)
    rules = [
        synsim.PresynapticSGD(plain, 0.1, plastic=False, **CONSTANTS),
        synsim.PresynapticSGD(net, 0.1, **CONSTANTS),
    ]
    for number in range(6):
        x, y = batch(number)
        for one, rule in zip((plain, net), rules, strict=True):
            step(one, rule, x.float(), y)
    # Without modulation ghosts have no say at all, and yet they move.
    assert torch.equal(plain[0].weight, net[0].weight)
    assert not bool((net[0].ghost == 0.5).any())


@pytest.mark.parametrize("control", NAMES)
def test_initial_strengths(control):
    net, plain = controls.mlp(SIZES, control, seed=7), synsim.mlp(SIZES, seed=7)
    assert torch.equal(net[0].weight, plain[0].weight * (4 if control == "unnormalised" else 1))
    assert torch.allclose(net[0].expected_strength, plain[0].weight, rtol=1e-6)
    assert torch.allclose(net[0].strength * net[0].p, net[0].expected_strength, rtol=1e-6)
    assert float(controls.learned(net).unique()) == (0.25 if control == "unnormalised" else 0.5)


@pytest.mark.parametrize("control", NAMES)
def test_it_goes_on_to_the_same_bits(control):
    def made(seed):
        net = controls.mlp(SIZES, control, replicas=2, seed=seed)
        return net, synsim.PresynapticSGD(net, 0.1, modulate_lr=True, **CONSTANTS)

    whole, rule = made(2)
    steps = [batch(number) for number in range(8)]
    for x, y in steps:
        step(whole, rule, x.float(), y)
    first, rule = made(2)
    for x, y in steps[:4]:
        step(first, rule, x.float(), y)
    copied = copy.deepcopy(first)
    tensors, numbers = pack(first, rule)
    tensors = {name: value.clone() for name, value in tensors.items()}
    again, rule = made(99)
    unpack(again, rule, tensors, numbers)
    for x, y in steps[4:]:
        step(again, rule, x.float(), y)
    same(state(whole), state(again))
    rule = synsim.PresynapticSGD(copied, 0.1, modulate_lr=True, **CONSTANTS)
    for x, y in steps[4:]:
        step(copied, rule, x.float(), y)
    same(state(whole), state(copied))


@pytest.mark.parametrize("control", NAMES)
def test_a_replica_alone_is_the_one_among_others(control):
    together = controls.mlp(SIZES, control, replicas=3, seed=[2, 9, 4], dtype=torch.float64)
    up = torch.tensor([0.09, 0.02, 0.05])
    constants = {**CONSTANTS, "p_up": up}
    rule = synsim.PresynapticSGD(together, 0.1, modulate_lr=True, **constants)
    singles = [controls.mlp(SIZES, control, seed=seed, dtype=torch.float64) for seed in (2, 9, 4)]
    rules = [
        synsim.PresynapticSGD(one, 0.1, modulate_lr=True, **{**CONSTANTS, "p_up": float(up[r].double())})
        for r, one in enumerate(singles)
    ]
    for number in range(6):
        x, y = batch(number)
        step(together, rule, x, y)
        for one, own in zip(singles, rules, strict=True):
            step(one, own, x, y)
    for r, one in enumerate(singles):
        for name in ("0", "2"):
            many, single = together.get_submodule(name), one.get_submodule(name)
            torch.testing.assert_close(many.weight[r], single.weight, rtol=1e-11, atol=1e-14)
            assert torch.equal(many.mask[r], single.mask)
        torch.testing.assert_close(controls.learned(together)[r], controls.learned(one)[0], rtol=1e-12, atol=0)
        torch.testing.assert_close(meters.energy(together)[r], meters.energy(one), rtol=1e-11, atol=0)


@pytest.mark.parametrize("control", NAMES)
def test_inside_torch_func_the_frozen_pass_is_the_same(control):
    net = spread(controls.mlp(SIZES, control, seed=2, dtype=torch.float64))
    x, y = batch()
    parameters = {name: p.detach() for name, p in net.named_parameters()}

    def loss(values):
        return torch.nn.functional.cross_entropy(torch.func.functional_call(net, values, (x,)), y)

    with synsim.frozen(net, draw=3):
        net.zero_grad()
        torch.nn.functional.cross_entropy(net(x), y).backward()
        found = torch.func.grad(loss)(parameters)
    for name, parameter in net.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize("control", ["ghost-code", "unnormalised"])
def test_without_the_compiled_kernels_the_step_is_the_same(control, monkeypatch):
    fast, slow = (controls.mlp(SIZES, control, seed=2, dtype=torch.float64) for _ in range(2))
    rules = [synsim.PresynapticSGD(net, 0.1, **CONSTANTS) for net in (fast, slow)]
    x, y = batch()
    step(fast, rules[0], x, y)
    monkeypatch.setattr("synsim.kernels.path", lambda *tensors: "torch")
    step(slow, rules[1], x, y)
    torch.testing.assert_close(fast[0].weight, slow[0].weight, rtol=1e-12, atol=0)
    torch.testing.assert_close(controls.learned(fast), controls.learned(slow), rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: controls.mlp([3, 2], "ghost"), "control must be one of ghost-expected, ghost-code, unnormalised"),
        (lambda: controls.mlp([3], "ghost-code"), "at least an input and an output width"),
        (lambda: controls.ControlLinear(3, 2, p=0.5, ghost=1.5), r"ghost must lie in \(0, 1\], got 1.5"),
        (lambda: controls.ControlLinear(3, 2, p=0.5, divide="ghost"), "divide='ghost' needs a ghost"),
        (lambda: controls.ControlLinear(3, 2, p=0.5, divide="m"), "divide must be one of p, ghost, nothing"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_on_split_mnist_ghosts_lose_to_the_model_and_no_modulation_to_ghosts(monkeypatch, tmp_path):
    try:
        synsim.data.load("mnist")
    except DataNotFoundError:
        pytest.skip("needs MNIST: set SYNSIM_DATA")
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parent.parent / "experiments"))
    script = importlib.import_module("ablation")
    names = ["full", "ghost (expected)", "ghost (code)", "no modulation"]
    arguments = ["--preset", "paper", "--seeds", "1", "--variants", *names, "--threads", "1", "--quiet"]
    launch(script, [*arguments, "--out", str(tmp_path / "run")])
    final = records.open(tmp_path / "run").dataset.accuracy.isel(after_task=-1, replica=0).mean("test_task")
    full, expected, code, unmodulated = (float(final.sel(model=name)) for name in names)
    assert full > max(expected, code)
    assert min(expected, code) > unmodulated


def dropping():
    layers = [synsim.BernoulliLinear(6, 5, p=1.0), StreamDropout(0.5)]
    net = synsim.networks.initialised(torch.nn.Sequential(*layers), 1)
    return net, torch.randn(4, 6, generator=torch.Generator().manual_seed(0))


def test_seeding_restarts_dropout():
    net, x = dropping()
    synsim.seed(net, 7)
    first = [net(x) for _ in range(3)]
    assert not torch.equal(first[0], first[1])
    synsim.seed(net, 7)
    assert net[1].draws == 0
    for one in first:
        assert torch.equal(net(x), one)
    synsim.seed(net, 8)
    assert not torch.equal(net(x) == 0, first[0] == 0)


def test_the_masks_of_dropout_are_those_of_its_address():
    net, x = dropping()
    keys = streams.keys("train", [1], "dropout/1")
    for draw in range(3):
        hidden = net[0](x).detach()
        factor, _ = reference.release(torch.ones(4, 5), torch.full((4, 5), 0.5), keys, 1, 0, draw)
        assert torch.equal(net[1](hidden), hidden * factor)


def test_views_hold_for_dropout():
    net, x = dropping()
    plain = net[0](x)
    last = net(x)
    with synsim.expected(net):
        assert torch.equal(net(x), plain)
    with synsim.frozen(net):
        assert torch.equal(net(x), last)
        assert torch.equal(net(x), last)
    assert net[1].draws == 1
    assert not torch.equal(net(x), last)


def test_dropout_reads_the_states_it_wrote_before():
    net, x = dropping()
    state = {name: value for name, value in net.state_dict().items() if name != "1._extra_state"}
    text = '{"seeds": [3], "name": "drop1", "draw": 2}'
    net.load_state_dict({**state, "1._extra_state": torch.tensor(list(text.encode()), dtype=torch.uint8)})
    assert (net[1].seeds, net[1].draws) == ((3,), 2)
    hidden = net[0](x).detach()
    factor, _ = reference.release(
        torch.ones(4, 5), torch.full((4, 5), 0.5), streams.keys("train", [3], "dropout/drop1"), 1, 0, 2
    )
    assert torch.equal(net[1](hidden), hidden * factor)
