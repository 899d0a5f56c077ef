"""Penalties in a loss, importances as people hold them, networks that change, and protection that holds nothing."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import synsim
from synsim import consolidation, importance

KINDS = {
    "penalty": {"strength": 2.0},
    "penalty around each": {"strength": 2.0, "anchors": "separate"},
    "modulation": {"scale": "max"},
    "freeze": {"share": 0.3},
    "mask": {"share": 0.3},
}


def make(kind):
    return consolidation.make(kind.split()[0], **KINDS[kind])


def network(last=2, dtype=torch.float64):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, last)).to(dtype)


def drawn(net, seed):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.rand(w.shape, generator=generator).to(w.dtype) for name, w in net.named_parameters()}


def moved(net, by=0.5):
    with torch.no_grad():
        for w in net.parameters():
            w.add_(by)


def asked(kept, net):
    return kept.gradient(net) or kept.rate(net)


@pytest.mark.parametrize("replicas", [None, 3])
@pytest.mark.parametrize("anchors", ["last", "separate"])
@pytest.mark.parametrize("factor", [1, 0.5])
def test_the_value_in_a_loss_protects(anchors, factor, replicas):
    net = synsim.mlp([4, 3, 2], p=0.5, bias=True, replicas=replicas, seed=1, dtype=torch.float64)
    kept = consolidation.make("penalty", strength=[1.0, 5.0, 0.0] if replicas else 5.0, factor=factor, anchors=anchors)
    for seed in (1, 2):
        kept.remember(net, drawn(net, seed))
        moved(net)
    x, y = torch.rand(6, 4, dtype=torch.float64), torch.arange(6) % 2
    with synsim.expected(net):
        alone = torch.autograd.grad(synsim.cross_entropy(net(x), y), list(net.parameters()))
        loss = synsim.cross_entropy(net(x), y) + kept.value(net).sum()
        both = torch.autograd.grad(loss, list(net.parameters()))
    pull = kept.gradient(net)
    assert pull["0.weight"].abs().max() > 1
    for (name, _), first, second in zip(net.named_parameters(), alone, both, strict=True):
        torch.testing.assert_close(second - first, pull[name], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [1.0, 1000.0])
@pytest.mark.parametrize("anchors", ["last", "separate"])
def test_at_the_anchor_there_is_no_pull_at_all_in_single_precision(anchors, size):
    net = nn.Linear(50, 50)
    with torch.no_grad():
        net.weight.normal_(generator=torch.Generator().manual_seed(1)).mul_(size)
    kept = consolidation.make("penalty", strength=1e4, anchors=anchors)
    kept.remember(net, {"weight": torch.rand(50, 50)})
    assert float(kept.gradient(net)["weight"].abs().max()) == 0
    assert kept.value(net).item() == 0


def test_anchors_of_each_task_are_exact_in_single_precision_too():
    net, weights = nn.Linear(50, 50, bias=False), []
    kept = consolidation.make("penalty", strength=1.0, anchors="separate")
    for task in range(4):
        generator = torch.Generator().manual_seed(task)
        with torch.no_grad():
            net.weight.normal_(generator=generator).add_(1000.0)
        found = torch.rand(50, 50, generator=generator)
        weights.append((found.double(), net.weight.detach().double()))
        kept.remember(net, {"weight": found})
    moved(net, 0.25)
    now = net.weight.detach().double()
    expected = sum(2 * one * (now - at) for one, at in weights)
    assert float((kept.gradient(net)["weight"].double() - expected).abs().max()) < 1e-3
    assert kept.value(net).item() == pytest.approx(float(sum((one * (now - at) ** 2).sum() for one, at in weights)))


TYPES = {
    "numpy": lambda value: value.numpy(),
    "numpy, single": lambda value: value.numpy().astype(np.float32),
    "numpy, backwards": lambda value: value.flip(0).numpy()[::-1],
    "lists": lambda value: value.tolist(),
    "half": lambda value: value.half(),
    "requires grad": lambda value: value.clone().requires_grad_(),
}


@pytest.mark.parametrize("given", TYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_importances_of_any_type(kind, given):
    net = network()
    # Sixteenths: exact in every type.
    found = {name: (value * 16).round() / 16 for name, value in drawn(net, 3).items()}
    first, second = make(kind), make(kind)
    first.remember(net, found)
    second.remember(net, {name: TYPES[given](value) for name, value in found.items()})
    moved(net)
    for name, value in asked(first, net).items():
        assert torch.equal(value, asked(second, net)[name])
        assert not asked(second, net)[name].requires_grad


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.uint8])
def test_importances_of_zeros_and_ones(dtype):
    net = network()
    kept = consolidation.make("penalty")
    kept.remember(net, {"0.weight": torch.eye(4, 3).to(dtype)})
    moved(net)
    assert torch.allclose(kept.gradient(net)["0.weight"], torch.eye(4, 3, dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_half_precision_network_keeps_small_importances(dtype):
    net = network(dtype=dtype)
    found = {name: torch.full(w.shape, 1e-9) for name, w in net.named_parameters()}
    kept = consolidation.make("penalty", strength=1e9)
    kept.remember(net, found)
    moved(net)
    pull = kept.gradient(net)["0.weight"]
    assert pull.dtype == dtype
    assert torch.allclose(pull.float(), torch.ones(4, 3), rtol=0.02)
    count = sum(w.numel() for w in net.parameters())
    assert kept.value(net).item() == pytest.approx(count / 4, rel=0.02)
    slower = consolidation.make("modulation", scale="max")
    found["0.weight"] = found["0.weight"] / 4
    slower.remember(net, found)
    assert slower.rate(net)["0.weight"].unique().tolist() == [0.75]
    assert slower.rate(net)["2.weight"].unique().tolist() == [0.0]


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (lambda w: {"0.weight": w.double() * 1e-60 + 1e-60}, "between 1e-45 and 3e38.* 12 too small. Scale all"),
        (lambda w: {"0.weight": w.double() * 0 + 1e60}, "between 1e-45 and 3e38"),
        (lambda w: {"0.weight": w * 0 + 2e38}, "strength times the importance of '0.weight' is more than"),
        (lambda w: {"0.weight": w.to(torch.complex64)}, "must be real, got torch.complex64"),
        (lambda w: {"0.weight": "much"}, "the importance of '0.weight' must be a tensor, a NumPy array or a list"),
        (lambda w: {"0.weight": None}, "the importance of '0.weight' must be a tensor"),
        (lambda w: [w], "must be a dict from parameter names to tensors, got list"),
    ],
)
def test_importances_that_are_no_numbers_of_single_precision(found, message):
    net, kept = network(dtype=torch.float32), consolidation.make("penalty")
    with pytest.raises(ValueError, match=message):
        kept.remember(net, found(net[0].weight.detach().abs()))
    assert kept.state_dict() == {}


def test_importances_that_add_up_to_more_than_their_type_holds():
    net = network(dtype=torch.float32)
    kept = consolidation.make("freeze", threshold=1.0)
    kept.remember(net, {"0.weight": torch.full((4, 3), 3e38)})
    before = kept.rate(net)["0.weight"].clone()
    with pytest.raises(ValueError, match=r"add up to more than torch\.float32 holds"):
        kept.remember(net, {"0.weight": torch.full((4, 3), 3e38)})
    assert torch.equal(kept.importance["0.weight"], torch.full((4, 3), 3e38))
    assert torch.equal(kept.rate(net)["0.weight"], before)


@pytest.mark.parametrize("kind", KINDS)
def test_a_grown_layer_is_refused_and_then_grown(kind):
    net, kept = network(), make(kind)
    kept.remember(net, drawn(net, 1))
    moved(net)
    old = {name: value.clone() for name, value in asked(kept, net).items()}
    small = net[2]
    net[2] = nn.Linear(4, 5).double()
    with torch.no_grad():
        net[2].weight[:2], net[2].bias[:2] = small.weight, small.bias
    with pytest.raises(ValueError, match=r"'2\.(bias|weight)' has shape .* now, .*call grow\(net\)"):
        asked(kept, net)
    with pytest.raises(ValueError, match=r"call grow\(net\)"):
        kept.remember(net, drawn(net, 2))
    kept.grow(net)
    new, free = asked(kept, net), 0.0 if kind.startswith("penalty") else 1.0
    for name, value in old.items():
        assert torch.equal(new[name][:2] if name.startswith("2") else new[name], value)
    assert (new["2.weight"][2:] == free).all()
    assert (new["2.bias"][2:] == free).all()
    kept.remember(net, drawn(net, 2))
    assert kept.importance["2.weight"].shape == (5, 4)
    smaller = network(last=1)
    with pytest.raises(ValueError, match=r"must have at least shape \[5.*\] to have grown, got \[1"):
        kept.grow(smaller)


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_that_vanish_are_said_once_and_other_networks_refused(kind, recwarn):
    net, kept = network(), make(kind)
    kept.remember(net, drawn(net, 1))
    moved(net)
    with_bias = {name: value.clone() for name, value in asked(kept, net).items()}
    net[2].register_parameter("bias", None)
    for _ in range(3):
        found = asked(kept, net)
    assert [str(one.message) for one in recwarn] == [
        "the protected parameters ['2.bias'] are no longer in the network: they are not held."
    ]
    assert all(torch.equal(found[name], with_bias[name]) for name in ("0.weight", "0.bias", "2.weight"))
    kept.remember(net, drawn(net, 2))
    assert "2.bias" not in kept.importance
    wrapped = nn.ModuleDict({"module": net})
    with pytest.raises(ValueError, match=r"none of the protected parameters .* is in this network"):
        asked(kept, wrapped)


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_that_rests_and_one_that_appears(kind):
    """A layer frozen after the first task has no importance in the second; a layer may come later."""
    net, kept = network(), make(kind)
    first, second = drawn(net, 1), drawn(net, 2)
    kept.remember(net, first)
    net[0].requires_grad_(False)
    kept.remember(net, {name: value for name, value in second.items() if name.startswith("2")})
    if kind != "mask":
        assert torch.equal(kept.importance["0.weight"], first["0.weight"])
    assert kept.value(net).isfinite().all()
    moved(net)
    assert set(asked(kept, net)) == set(first)
    net.append(nn.Linear(2, 2).double())
    assert set(asked(kept, net)) == set(first)
    kept.remember(net, drawn(net, 3))
    assert set(asked(kept, net)) == set(dict(net.named_parameters()))


def test_p_that_nothing_has_learned_is_below_every_threshold():
    net = synsim.mlp([4, 3, 2], p=0.25, seed=1)
    kept = consolidation.make("freeze", threshold=0.9353)
    found = importance.make("release-probability").estimate(net)
    message = r"freeze holds no parameter: the largest importance is 0.25, below threshold=0.9353. Lower the threshold"
    with pytest.warns(UserWarning, match=message):
        kept.remember(net, found)
    for _ in range(2):
        kept.remember(net, found)
    assert (kept.rate(net)["0.weight"] == 1).all()


@pytest.mark.parametrize("kind", [*KINDS, "freeze from a threshold"])
def test_importances_of_zero_hold_nothing_and_that_is_said_once(kind):
    net = network()
    kept = consolidation.make("freeze", threshold=0.5) if kind not in KINDS else make(kind)
    nothing = {name: torch.zeros_like(w) for name, w in net.named_parameters()}
    with pytest.warns(UserWarning, match=r"parameter.*: all importances are 0") as said:
        kept.remember(net, nothing)
    assert len(said) == 1
    for _ in range(2):
        kept.remember(net, nothing)
    moved(net)
    assert all((value == (0 if "penalty" in kind else 1)).all() for value in asked(kept, net).values())


def test_a_rank_among_equals_slows_nothing_down_and_that_is_said():
    net, kept = network(), consolidation.make("modulation")
    with pytest.warns(UserWarning, match="slows no parameter down: all importances are alike.*scale='max'"):
        kept.remember(net, {name: torch.ones_like(w) for name, w in net.named_parameters()})


def test_a_strength_of_zero_needs_no_warning(recwarn):
    net = network()
    nothing = {name: torch.zeros_like(w) for name, w in net.named_parameters()}
    for name, options in (("penalty", {"strength": 0}), ("modulation", {"strength": 0}), ("freeze", {"share": 0})):
        consolidation.make(name, **options).remember(net, nothing)
    assert not recwarn


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_of_another_kind_is_refused(kind):
    net, kept = network(), make(kind)
    kept.remember(net, drawn(net, 1))
    other = make("freeze" if kind.startswith("penalty") else "penalty")
    with pytest.raises(ValueError, match=r"the state of a .* holds .*, got .*Was it saved by another consolidation"):
        other.load_state_dict(kept.state_dict())


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_taken_before_is_not_changed_by_the_next_task(kind):
    net, kept = network(), make(kind)
    kept.remember(net, drawn(net, 1))
    state = kept.state_dict()
    before = copy.deepcopy(state)
    moved(net)
    kept.remember(net, drawn(net, 2))
    assert all(torch.equal(value, state[name]) for name, value in before.items())
