"""Penalty, slower learning, freezing and masks against their formulas in NumPy, one replica and one task at a time."""

import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from torch import nn

import synsim
from synsim import consolidation, importance

DOUBLE = torch.float64
REPLICAS = 3
RULES = {"sum": None, "decayed": 0.6, "average": 0.3, "last": None}
KINDS = {
    "penalty": {"strength": 0.7, "anchors": "separate", "accumulate": "decayed", "decay": 0.5},
    "penalty at the last": {"strength": [0.0, 0.7, 2.0], "accumulate": "average", "decay": 0.5},
    "modulation": {"strength": [0.5, 1.0, 2.0]},
    "freeze": {"share": [0.2, 0.4, 0.6]},
    "freeze from a threshold": {"threshold": 0.8},
    "mask": {"share": [0.2, 0.3, 0.5]},
}


def make(kind, **more):
    return consolidation.make(kind.split()[0], **{**KINDS[kind], **more})


def network(replicas=REPLICAS, dtype=DOUBLE):
    return synsim.mlp([4, 3, 2], p=0.5, bias=True, replicas=replicas, seed=1, dtype=dtype)


def drawn(net, seed, low=0.0):
    """Random importances; with low < 0 many of them are 0."""
    generator = torch.Generator().manual_seed(seed)
    one = lambda w: torch.rand(w.shape, generator=generator, dtype=DOUBLE) * (1 - low) + low  # noqa: E731
    return {name: one(w).clamp(min=0).to(w.dtype) for name, w in net.named_parameters()}


def move(net, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for w in net.parameters():
            w.copy_(torch.randn(w.shape, generator=generator, dtype=DOUBLE))


def numbers(values):
    """All parameters of a replica in a row: [R, n]."""
    lead = REPLICAS
    return np.concatenate([np.array(value.detach().tolist()).reshape(lead, -1) for value in values.values()], axis=1)


def learn(kept, net, tasks=3, low=0.0):
    """A network that goes through tasks; importances and weights of each, [R, n]."""
    path = []
    for task in range(tasks):
        move(net, 10 + task)
        found = drawn(net, 20 + task, low)
        kept.remember(net, found)
        path.append((numbers(found), numbers(dict(net.named_parameters()))))
    return path


def accumulated(rule, values):
    """The recursion, written out for three terms."""
    a, b, c = values
    g = RULES[rule]
    return {
        "sum": lambda: a + b + c,
        "decayed": lambda: g * (g * a + b) + c,
        "average": lambda: g * c + (1 - g) * (g * b + (1 - g) * a),
        "last": lambda: c,
    }[rule]()


@pytest.mark.parametrize("strength", [0.7, [0.0, 0.7, 30.0]])
@pytest.mark.parametrize("factor", [1, 0.5])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("anchors", ["last", "separate"])
def test_the_penalty_is_its_formula(anchors, rule, factor, strength):
    net = network()
    kept = consolidation.make(
        "penalty", strength=strength, factor=factor, anchors=anchors, accumulate=rule, decay=RULES[rule]
    )
    path = learn(kept, net)
    move(net, 5)
    w = numbers(dict(net.named_parameters()))
    scale = factor * np.broadcast_to(np.array(strength), REPLICAS).reshape(-1, 1)
    if anchors == "separate":
        value = accumulated(rule, [k * (w - at) ** 2 for k, at in path])
        gradient = accumulated(rule, [2 * k * (w - at) for k, at in path])
    else:
        total = accumulated(rule, [k for k, _ in path])
        value, gradient = total * (w - path[-1][1]) ** 2, 2 * total * (w - path[-1][1])
    np.testing.assert_allclose(kept.value(net).detach().numpy(), (scale * value).sum(1), rtol=1e-12)
    found = kept.gradient(net)
    assert list(found) == [name for name, _ in net.named_parameters()]
    np.testing.assert_allclose(numbers(found), scale * gradient, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(numbers(kept.importance), accumulated(rule, [k for k, _ in path]), rtol=1e-12)


@pytest.mark.parametrize("anchors", ["last", "separate"])
def test_the_gradient_is_the_derivative_of_the_value(anchors):
    net = network()
    kept = consolidation.make("penalty", strength=[0.5, 1.0, 7.0], factor=0.5, anchors=anchors)
    path = learn(kept, net)
    move(net, 5)
    total = torch.zeros(REPLICAS, dtype=DOUBLE)
    leaves, start = {name: w.detach().clone().requires_grad_() for name, w in net.named_parameters()}, 0
    for value in leaves.values():
        flat = value.reshape(REPLICAS, -1)
        span = slice(start, start + flat.shape[1])
        start = span.stop
        if anchors == "separate":
            terms = [torch.tensor(k[:, span]) * (flat - torch.tensor(at[:, span])) ** 2 for k, at in path]
        else:
            terms = [torch.tensor(k[:, span]) * (flat - torch.tensor(path[-1][1][:, span])) ** 2 for k, _ in path]
        total = total + 0.5 * torch.tensor([0.5, 1.0, 7.0], dtype=DOUBLE) * sum(terms).sum(1)
    assert torch.allclose(total.detach(), kept.value(net), rtol=1e-12)
    expected = torch.autograd.grad(total.sum(), list(leaves.values()))
    found = kept.gradient(net)
    for name, value in zip(leaves, expected, strict=True):
        assert torch.allclose(found[name], value, rtol=1e-10, atol=1e-12)
    # A quadratic: the central difference has no error but rounding.
    along = {name: torch.randn(w.shape, generator=torch.Generator().manual_seed(3), dtype=DOUBLE)
             for name, w in leaves.items()}  # fmt: skip
    ends = []
    for step in (0.5, -0.5):
        with torch.no_grad():
            for name, w in net.named_parameters():
                w.copy_(leaves[name] + step * along[name])
        ends.append(float(kept.value(net).detach().sum()))
    slope = sum(float((found[name] * along[name]).sum()) for name in found)
    assert ends[0] - ends[1] == pytest.approx(slope, rel=1e-9)


def test_one_task_pulls_to_where_it_ended_and_not_to_the_start():
    net = network(None)
    for anchors in ("last", "separate"):
        kept = consolidation.make("penalty", anchors=anchors)
        assert kept.gradient(net) == {}
        assert kept.value(net).item() == 0
        move(net, 10)
        kept.remember(net, drawn(net, 20))
        assert kept.value(net).item() == pytest.approx(0, abs=1e-12)
        assert max(float(value.abs().max()) for value in kept.gradient(net).values()) < 1e-12
        move(net, 5)
        assert kept.value(net).shape == ()
        assert kept.value(net).item() > 1


def test_a_strength_of_zero_is_no_gradient_at_all():
    net = network()
    kept = consolidation.make("penalty", strength=0)
    learn(kept, net)
    assert kept.gradient(net) == {}
    assert kept.value(net).tolist() == [0, 0, 0]
    for anchors in ("last", "separate"):
        kept = consolidation.make("penalty", strength=[0, 1, 0], anchors=anchors)
        learn(kept, net)
        move(net, 5)
        assert [bool((value != 0).any()) for value in torch.tensor(numbers(kept.gradient(net)))] == [False, True, False]


def test_parameters_that_are_not_named_are_free():
    net = network()
    kept = consolidation.make("penalty")
    kept.remember(net, {"0.weight": torch.ones_like(net[0].weight)})
    move(net, 5)
    assert set(kept.gradient(net)) == {"0.weight"}
    kept.remember(net, {"2.bias": torch.ones_like(net[2].bias)})
    move(net, 6)
    gradient = kept.gradient(net)
    assert set(gradient) == {"0.weight", "2.bias"}
    assert float(gradient["0.weight"].abs().min()) > 0, "the sum keeps what an earlier task asked for"


def scaled(how, values, quantile):
    """One replica."""
    if how == "none":
        return values
    if how == "max":
        return values / values.max()
    if how == "quantile":
        return np.minimum(values / np.sort(values)[int(np.rint(quantile * (len(values) - 1)))], 1)
    return np.array([(values < one).sum() / len(values) for one in values])


@pytest.mark.parametrize("strength", [0, 1, [0.0, 0.5, 3.0]])
@pytest.mark.parametrize(("scale", "quantile"), [("none", 0.5), ("max", 0.5), ("quantile", 0.6), ("quantile", 1.0),
                                                 ("rank", 0.5)])  # fmt: skip
@pytest.mark.parametrize("ties", [False, True])
def test_modulation_is_one_minus_the_scaled_importance(scale, quantile, strength, ties):
    net = network()
    found = drawn(net, 3)
    if ties:
        found = {name: (value * 4).round() / 4 for name, value in found.items()}
    found = {name: value * torch.tensor([1.0, 0.5, 0.1], dtype=DOUBLE).reshape(-1, *[1] * (value.ndim - 1))
             for name, value in found.items()}  # fmt: skip
    kept = consolidation.make("modulation", strength=strength, scale=scale, quantile=quantile)
    assert kept.rate(net) == {}
    kept.remember(net, found)
    powers = np.broadcast_to(np.array(strength, dtype=float), REPLICAS)
    expected = [(1 - scaled(scale, own, quantile)) ** n for own, n in zip(numbers(found), powers, strict=True)]
    np.testing.assert_allclose(numbers(kept.rate(net)), np.stack(expected), rtol=1e-12, atol=1e-14)
    assert kept.gradient(net) == {}
    if scale == "max":
        np.testing.assert_array_equal(numbers(kept.rate(net)).min(1), np.where(powers > 0, 0, 1))


def test_a_strength_of_zero_is_a_rate_of_exactly_one():
    net = network(dtype=torch.float32)
    for scale in ("max", "quantile", "rank"):
        kept = consolidation.make("modulation", strength=0, scale=scale)
        kept.remember(net, drawn(net, 3))
        assert all((value == 1).all() for value in kept.rate(net).values())


def test_release_probabilities_give_the_factor_of_the_paper():
    net = network(dtype=torch.float32)
    with torch.no_grad():
        for layer in (net[0], net[2]):
            layer.p.copy_(torch.rand(layer.p.shape, generator=torch.Generator().manual_seed(1)).clamp(min=0.01))
    kept = consolidation.make("modulation", strength=1, scale="none", accumulate="last")
    for _ in range(2):
        kept.remember(net, importance.make("release-probability").estimate(net))
        assert torch.equal(kept.rate(net)["0.weight"], 1 - net[0].p)
        assert torch.equal(kept.rate(net)["2.weight"], 1 - net[2].p)
        assert (kept.rate(net)["0.bias"] == 1).all()
    summed = consolidation.make("modulation", scale="none")
    summed.remember(net, importance.make("release-probability").estimate(net))
    with pytest.raises(ValueError, match="accumulate='last'"):
        summed.remember(net, importance.make("release-probability").estimate(net))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kind", ["modulation", "freeze"])
def test_rates_follow_the_accumulated_importances(kind, rule):
    options = {"scale": "max"} if kind == "modulation" else {"threshold": 0.5}
    net = network()
    kept = consolidation.make(kind, accumulate=rule, decay=RULES[rule], **options)
    total = accumulated(rule, [k for k, _ in learn(kept, net)])
    expected = 1 - total / total.max(1, keepdims=True) if kind == "modulation" else (total < 0.5).astype(float)
    np.testing.assert_allclose(numbers(kept.rate(net)), expected, rtol=1e-10, atol=1e-12)
    assert 0 < expected.mean() < 1


@pytest.mark.parametrize("share", [0, 0.25, 1, [0.0, 0.5, 1.0]])
@pytest.mark.parametrize("zeros", [False, True])
def test_freezing_a_share(share, zeros):
    net = network()
    found = drawn(net, 3, low=-2.0 if zeros else 0.0)
    kept = consolidation.make("freeze", share=share)
    kept.remember(net, found)
    rates, values = numbers(kept.rate(net)), numbers(found)
    assert set(np.unique(rates)) <= {0.0, 1.0}
    for rate, own, part in zip(rates, values, np.broadcast_to(np.array(share), REPLICAS), strict=True):
        n = len(own)
        assert n == 23
        # Place k of n from below is frozen if k / n ≥ 1 − share.
        count = n - int(np.ceil(n * (1 - part) - 1e-9))
        top = np.argsort(own)[n - count :]
        expected = np.ones(n)
        expected[top] = 0
        expected[own == 0] = 1
        np.testing.assert_array_equal(rate, expected)
        assert not zeros or (own == 0).mean() > 0.4


def test_a_share_counts_the_same_as_a_number_and_per_replica():
    """Ten parameters, so that the share of two, say, is met exactly."""
    net = synsim.mlp([5, 2], replicas=2, seed=1)
    found = {"0.weight": torch.arange(1.0, 11).reshape(1, 2, 5).repeat(2, 1, 1)}
    for kind in ("freeze", "mask"):
        for tenths in range(11):
            counts = []
            for share in (tenths / 10, [tenths / 10] * 2):
                kept = consolidation.make(kind, share=share)
                kept.remember(net, found)
                counts.append(int((kept.rate(net)["0.weight"][0] == 0).sum()))
            assert counts == [tenths, tenths], f"{kind}: {tenths} of 10"


def test_ties_at_the_edge_of_a_share_are_spared():
    net = synsim.mlp([5, 2], replicas=1, seed=1, dtype=DOUBLE)
    found = {"0.weight": torch.tensor([[[1.0, 2, 2, 2, 3], [4, 5, 6, 7, 8]]], dtype=DOUBLE)}
    kept = consolidation.make("freeze", share=0.75)
    kept.remember(net, found)
    # Seven and a half of ten: the three alike have place 1 of 10.
    assert kept.rate(net)["0.weight"].tolist() == [[[1, 1, 1, 1, 0], [0, 0, 0, 0, 0]]]


@pytest.mark.parametrize("kind", ["freeze", "mask"])
def test_a_share_that_holds_nothing_for_ties_is_said(kind, recwarn):
    net = synsim.mlp([5, 2], replicas=3, seed=1, dtype=DOUBLE)
    found = {"0.weight": torch.ones(3, 2, 5, dtype=DOUBLE)}
    found["0.weight"][1, 0, 0] = 2
    kept = consolidation.make(kind, share=[0.5, 0.5, 1.0])
    with pytest.warns(UserWarning, match=rf"{kind} holds no parameter in replicas \[0\]: more of them tie at the"):
        kept.remember(net, found)
    assert (kept.rate(net)["0.weight"] == 0).sum((1, 2)).tolist() == [0, 1, 10]
    alone = consolidation.make(kind, share=0.5)
    with pytest.warns(UserWarning, match=f"{kind} holds no parameter: more of them"):
        alone.remember(synsim.mlp([5, 2], seed=1, dtype=DOUBLE), {"0.weight": found["0.weight"][0]})
    # Nothing to hold, or less than one parameter due, is said too; a share of 0 is no surprise.
    for share, value, why in ((0.0, 1.0, None), (0.05, 1.0, "less than one"), (0.5, 0.0, "importances are 0")):
        recwarn.clear()
        kept = consolidation.make(kind, share=share)
        for _ in range(2):
            kept.remember(net, {"0.weight": torch.full_like(found["0.weight"], value)})
        assert (kept.rate(net)["0.weight"] == 1).all()
        assert [why in str(one.message) for one in recwarn] == ([] if why is None else [True]), "once"


@pytest.mark.parametrize("threshold", [0.5, [0.2, 0.5, 0.9]])
def test_freezing_from_a_threshold(threshold):
    net = network()
    found = drawn(net, 3, low=-0.5)
    kept = consolidation.make("freeze", threshold=threshold)
    kept.remember(net, found)
    limit = np.broadcast_to(np.array(threshold), REPLICAS).reshape(-1, 1)
    values = numbers(found)
    np.testing.assert_array_equal(numbers(kept.rate(net)), (values < limit).astype(float))
    largest = found["0.weight"].argmax()
    kept = consolidation.make("freeze", threshold=float(found["0.weight"].flatten()[largest]))
    kept.remember(net, found)
    assert kept.rate(net)["0.weight"].flatten()[largest] == 0, "the threshold itself is frozen"


@pytest.mark.parametrize("options", [{"share": 1}, {"threshold": 1e-9}, {"threshold": 0}])
def test_what_does_not_matter_is_never_frozen(options):
    net = network()
    found = drawn(net, 3, low=-1.0)
    kept = consolidation.make("freeze", **options)
    kept.remember(net, found)
    np.testing.assert_array_equal(numbers(kept.rate(net)), (numbers(found) == 0).astype(float))


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0, [0.0, 0.3, 0.8]])
def test_claims_are_for_good_and_among_what_is_free(share, recwarn):
    net = network()
    kept = consolidation.make("mask", share=share)
    free = np.ones((REPLICAS, 23), dtype=bool)
    parts = np.broadcast_to(np.array(share), REPLICAS)
    idle = False
    for task in range(4):
        found = drawn(net, 30 + task, low=-0.3)
        kept.remember(net, found)
        rates = numbers(kept.rate(net))
        for r, own in enumerate(numbers(found)):
            n = int(free[r].sum())
            count = n - int(np.ceil(n * (1 - parts[r]) - 1e-9))
            order = [i for i in np.argsort(own) if free[r, i]]
            claimed = [i for i in order[n - count :] if own[i] > 0]
            idle |= parts[r] > 0 and not claimed and (n == 0 or any(own[order] > 0))
            free[r, claimed] = False
        np.testing.assert_array_equal(rates, free.astype(float))
    assert (free.sum(1) < 23).tolist() == (parts > 0).tolist()
    assert bool(recwarn) == idle, "a task of which nothing could be claimed is said"


def test_a_claim_outlives_a_task_that_does_not_name_the_parameter():
    net = network()
    kept = consolidation.make("mask", share=1.0)
    kept.remember(net, {"0.weight": torch.ones_like(net[0].weight)})
    assert (kept.rate(net)["0.weight"] == 0).all()
    kept.remember(net, {"2.weight": torch.ones_like(net[2].weight)})
    rates = kept.rate(net)
    assert (rates["2.weight"] == 0).all()
    assert (rates["0.weight"] == 0).all()


@pytest.mark.parametrize("bare", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_replica_is_the_same_alone_and_among_others(kind, bare):
    together, kept = network(), make(kind)
    learn(kept, together, low=-0.5)
    move(together, 5)
    for r in range(REPLICAS):
        own = {key: value if not isinstance(value, list) else (value[r] if bare else [value[r]])
               for key, value in KINDS[kind].items()}  # fmt: skip
        net, alone = network(None if bare else 1), make(kind, **own)
        other = network()
        pick = (lambda value, r=r: value[r]) if bare else (lambda value, r=r: value[r : r + 1])

        def follow(net=net, other=other, pick=pick):
            with torch.no_grad():
                for w, source in zip(net.parameters(), other.parameters(), strict=True):
                    w.copy_(pick(source))

        for task in range(3):
            move(other, 10 + task)
            follow()
            alone.remember(net, {name: pick(value) for name, value in drawn(other, 20 + task, -0.5).items()})
        move(other, 5)
        follow()
        for found, expected in ((alone.gradient(net), kept.gradient(together)), (alone.rate(net), kept.rate(together))):
            assert found.keys() == expected.keys() or own.get("strength") == 0
            for name, value in found.items():
                # Powers of a number and of a tensor may be rounded otherwise.
                same = torch.allclose if kind == "modulation" else torch.equal
                assert same(value, pick(expected[name]))
        assert torch.allclose(alone.value(net).reshape(-1), kept.value(together).reshape(-1)[r if
                              kind.startswith("penalty") else 0 :][:1], rtol=1e-12)  # fmt: skip


@pytest.mark.parametrize("tasks", [0, 1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_state_goes_on_to_the_same_bits(kind, tasks):
    net = network(dtype=torch.float32)
    first, second = make(kind), make(kind)
    learn(first, net, tasks)
    state = first.state_dict()
    assert all(isinstance(value, torch.Tensor) for value in state.values())
    second.load_state_dict(load(save({name: value.contiguous() for name, value in state.items()})))
    for at in range(2):
        move(net, 5 + at)
        for one, other in ((first.gradient(net), second.gradient(net)), (first.rate(net), second.rate(net))):
            assert one.keys() == other.keys()
            assert all(torch.equal(value, other[name]) for name, value in one.items())
        assert torch.equal(first.value(net), second.value(net))
        for kept in (first, second):
            kept.remember(net, drawn(net, 40 + at))
    assert bool(first.gradient(net)) or bool(first.rate(net))


@pytest.mark.parametrize("kind", KINDS)
def test_loading_replaces_what_was_known(kind):
    net = network()
    first, second = make(kind), make(kind)
    learn(second, net, 2)
    move(net, 3)
    first.remember(net, drawn(net, 50))
    second.load_state_dict(first.state_dict())
    move(net, 5)
    for one, other in ((first.gradient(net), second.gradient(net)), (first.rate(net), second.rate(net))):
        assert one.keys() == other.keys()
        assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_loading_does_not_share_memory_with_the_state():
    net = network()
    for kind in KINDS:
        first, second = make(kind), make(kind)
        learn(first, net, 1)
        state = {name: value.clone() for name, value in first.state_dict().items()}
        second.load_state_dict(state)
        for value in state.values():
            value.fill_(torch.nan)
        move(net, 5)
        for value in (*second.gradient(net).values(), *second.rate(net).values()):
            assert value.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_importances_are_taken_in_and_not_kept_by_reference(kind):
    net, kept = network(), make(kind)
    move(net, 1)
    given = drawn(net, 3)
    kept.remember(net, given)
    move(net, 2)
    before = {**kept.gradient(net), **kept.rate(net)}
    before = {name: value.clone() for name, value in before.items()}
    for value in given.values():
        value.fill_(5)
    after = {**kept.gradient(net), **kept.rate(net)}
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def weight(change=lambda value: value, name="0.weight"):
    value = torch.ones(REPLICAS, 3, 4)
    return {name: change(value)}


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (weight(name="7.weight"), r"names parameter '7.weight', which this network has not; expected names among .*"
                                  r"'0.weight'.*Measure the importance on the network that is protected"),
        (weight(lambda value: value[:2]), r"'0.weight' must have shape \[3, 3, 4\], got \[2, 3, 4\]"),
        (weight(lambda value: -value), r"'0.weight' must be finite and at least 0, got values from -1 to -1"),
        (weight(lambda value: value * torch.nan), "'0.weight' must be finite and at least 0"),
        (weight(lambda value: value * torch.inf), "'0.weight' must be finite and at least 0"),
        ({}, "expected the importance of at least one parameter, got none"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", KINDS)
def test_importances_that_do_not_fit(kind, found, message):
    net, kept = network(), make(kind)
    with pytest.raises(ValueError, match=message):
        kept.remember(net, found)
    assert kept.state_dict() == {}


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("ewc", {}, "consolidation must be one of penalty, modulation, freeze, mask, packnet, effi.*, got 'ewc'"),
        ("penalty", {"scale": "max"}, "'penalty': an option must be one of .*got 'scale'"),
        ("mask", {"threshold": 1}, "'mask': an option must be one of .*got 'threshold'"),
        ("penalty", {"anchors": "first"}, "anchors must be one of last, separate, got 'first'"),
        ("penalty", {"factor": 0}, "factor must be positive, got 0"),
        ("penalty", {"accumulate": "max"}, "accumulate must be one of sum, decayed, average, last, got 'max'"),
        ("penalty", {"accumulate": "decayed"}, "decay belongs to 'decayed' and 'average', got None with 'decayed'"),
        ("freeze", {"share": 0.5, "decay": 0.5}, "decay belongs to 'decayed' and 'average', got 0.5 with 'sum'"),
        ("modulation", {"accumulate": "average", "decay": 1.5}, r"decay must lie in \[0, 1\], got 1.5"),
        ("modulation", {"scale": "log"}, "scale must be one of none, max, quantile, rank, got 'log'"),
        ("modulation", {"quantile": 0}, r"quantile must lie in \(0, 1\], got 0"),
        ("freeze", {}, "give either share or threshold"),
        ("freeze", {"share": 0.5, "threshold": 0.5}, "give either share or threshold"),
        ("penalty", {"strength": -1}, "strength must be finite and at least 0, got -1"),
        ("penalty", {"strength": float("nan")}, "strength must be finite and at least 0, got nan"),
        ("penalty", {"strength": "strong"}, "strength must be a number or one number per replica, got 'strong'"),
        ("penalty", {"strength": [[1.0]]}, "strength must be .*, got shape .1, 1."),
        ("modulation", {"strength": [1, -1, 1]}, "strength must be finite and at least 0"),
        ("modulation", {"strength": torch.inf}, "strength must be finite and at least 0"),
        ("modulation", {"strength": torch.tensor(-1.0)}, "strength must be finite and at least 0, got -1"),
        ("freeze", {"share": 1.5}, "share must be finite and between 0 and 1, got 1.5"),
        ("freeze", {"share": [0.5, 0.5, -0.1]}, "share must be finite and between 0 and 1"),
        ("freeze", {"threshold": -0.1}, "threshold must be finite and at least 0"),
        ("mask", {"share": 1.01}, "share must be finite and between 0 and 1, got 1.01"),
    ],
)
def test_options_that_do_not_fit(name, options, message):
    with pytest.raises(ValueError, match=message):
        consolidation.make(name, **options)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("penalty", {"strength": [1.0, 2.0]}, r"strength must be a number or a tensor of shape \[3\]"),
        ("mask", {"share": np.array([0.5, 0.5])}, r"share must be a number or a tensor of shape \[3\]"),
        ("modulation", {"scale": "none"}, r"scale='none' takes importances in \[0, 1\], got 3"),
    ],
)
def test_constants_that_do_not_fit_the_network(name, options, message):
    net = network()
    kept = consolidation.make(name, **options)
    with pytest.raises(ValueError, match=message):
        kept.remember(net, {"0.weight": torch.full_like(net[0].weight, 3.0)})


def test_a_plain_network_of_torch():
    net = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))
    for kind in ("penalty", "modulation", "freeze from a threshold", "mask"):
        kept = make(kind, **({"share": 0.5} if kind == "mask" else {"strength": 2.0} if kind == "modulation" else {}))
        move(net, 1)
        kept.remember(net, drawn(net, 2))
        move(net, 2)
        found = {**kept.gradient(net), **kept.rate(net)}
        assert found.keys() == dict(net.named_parameters()).keys()
        assert all(value.shape == w.shape for value, w in zip(found.values(), net.parameters(), strict=True))
