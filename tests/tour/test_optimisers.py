"""The tour of torch, rules: what users do with an optimiser, done with PresynapticSGD and BGD."""

import copy
import inspect
import io
import pickle
import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune
from torch.optim import lr_scheduler as schedules

import synsim

RULE = {"p_up": 0.07, "p_down": 0.05, "g_lim": 0.01}
DOUBLE = torch.float64
X = torch.linspace(-1.3, 1.7, 20 * 6, dtype=DOUBLE).reshape(20, 6).cos()
Y = torch.arange(20) % 4


def network(replicas=None, **options):
    return synsim.mlp([6, 12, 4], p=0.5, replicas=replicas, seed=3, dtype=DOUBLE, **options)


def presynaptic(net, lr=0.05, **options):
    return synsim.PresynapticSGD(net, lr, **{**RULE, **options})


def bgd(net, **options):
    return synsim.BGD(net, sigma=0.05, samples=2, scale=20, **options)


def loss_of(net):
    return synsim.cross_entropy(net(X), Y)


def step(rule, net):
    def closure():
        rule.zero_grad()
        loss = loss_of(net)
        loss.backward()
        return loss

    return rule.step(closure)


def state(net):
    return [t.detach().clone() for t in (*net.parameters(), *net.buffers())]


def same(one, other):
    return len(one) == len(other) and all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def saved(thing):
    file = io.BytesIO()
    torch.save(thing, file)
    return torch.load(io.BytesIO(file.getvalue()), weights_only=False)


COPIES = {"deepcopy": copy.deepcopy, "pickle": lambda thing: pickle.loads(pickle.dumps(thing)), "torch.save": saved}


# ---- copies


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("build", [presynaptic, bgd])
@pytest.mark.parametrize("replicas", [None, 2])
def test_a_copy_of_network_and_rule_goes_on_as_the_original(how, build, replicas):
    net = network(replicas, bias=True)
    rates = {"lr": torch.tensor([0.05, 0.1])} if build is presynaptic and replicas else {}
    rule = build(net, **rates)
    step(rule, net)
    before = state(net)
    twin, other = COPIES[how]((net, rule))
    for _ in range(2):
        step(other, twin)
    assert same(before, state(net)), "the copy moved the original"
    for _ in range(2):
        step(rule, net)
    assert same(state(net), state(twin))
    assert not same(before, state(net))


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("build", [presynaptic, bgd])
def test_a_copy_of_the_rule_alone_holds_parameters_of_its_own(how, build):
    net = network()
    rule = build(net)
    before = state(net)
    other = COPIES[how](rule)
    parameters = other.param_groups[0]["params"]
    assert [p.shape for p in parameters] == [p.shape for p in net.parameters()]
    assert not any(p is q for p, q in zip(parameters, net.parameters(), strict=True))
    old = [p.detach().clone() for p in parameters]

    def closure():
        for p in parameters:
            p.grad = torch.ones_like(p)
        return 0.0

    other.step(closure)
    assert not any(torch.equal(p, q) for p, q in zip(parameters, old, strict=True))
    assert same(before, state(net))


def test_a_network_that_holds_its_rule_can_be_copied():
    net = network()
    net.rule = presynaptic(net)
    twin = copy.deepcopy(net)
    before = state(net)
    step(twin.rule, twin)
    assert same(before, state(net))
    assert not same(before, state(twin))


# ---- groups


@pytest.mark.parametrize("given", ["module", "parameters", "pairs", "generator"])
def test_a_new_stochastic_head_moves_by_constants_of_its_own(given):
    net = network()
    rule = presynaptic(net)
    head = synsim.networks.initialised(nn.Sequential(synsim.BernoulliLinear(4, 3, p=0.5, bias=True, dtype=DOUBLE)), 7)
    alone = copy.deepcopy(head)
    forms = {
        "module": head,
        "parameters": list(head.parameters()),
        "pairs": list(head.named_parameters("head")),
        "generator": head.parameters(),
    }
    rule.add_param_group({"params": forms[given], "lr": 0.5, "p_up": 0.2})
    expected = synsim.PresynapticSGD(alone, 0.5, **{**RULE, "p_up": 0.2})
    hidden = net(X)
    nn.functional.cross_entropy(head(hidden), Y % 3).backward()
    nn.functional.cross_entropy(alone(hidden.detach()), Y % 3).backward()
    trunk = net[0].weight.detach() - 0.05 * net[0].weight.grad
    rule.step()
    expected.step()
    assert same(state(head), state(alone))
    assert torch.allclose(net[0].weight, trunk, rtol=1e-13)
    assert not torch.equal(alone[0].p, torch.full_like(alone[0].p, 0.5))
    assert rule.param_groups[0]["lr"] == 0.05


def test_a_head_that_became_part_of_the_network_is_pulled_by_its_penalty():
    net = nn.ModuleDict({"trunk": network()})
    rule = presynaptic(net, plastic=False)
    net["head"] = nn.Linear(4, 3, dtype=DOUBLE)
    rule.add_param_group({"params": net["head"]})
    late = nn.Linear(4, 2, dtype=DOUBLE)
    rule.add_param_group({"params": late})
    net["late"] = late
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    rule.step(penalty={name: torch.ones_like(p) for name, p in net.named_parameters()})
    for name, parameter in net.named_parameters():
        assert torch.allclose(parameter, before[name] - 0.05, rtol=1e-13), name


def test_a_plain_head_and_a_head_of_bgd_move():
    net = network()
    rule, head = presynaptic(net), nn.Linear(4, 3, dtype=DOUBLE)
    rule.add_param_group({"params": list(head.parameters()), "lr": 0.5})
    nn.functional.cross_entropy(head(net(X)), Y % 3).backward()
    expected = [p.detach() - 0.5 * p.grad for p in head.parameters()]
    rule.step()
    assert all(torch.allclose(p, q, rtol=1e-13) for p, q in zip(head.parameters(), expected, strict=True))


def test_a_head_added_to_bgd_draws_and_moves_as_one_that_was_there_from_the_start():
    trunk, heads = nn.Linear(6, 5, dtype=DOUBLE), nn.Linear(5, 3, dtype=DOUBLE)
    net = nn.ModuleDict({"trunk": trunk})
    grown = synsim.BGD(net, sigma=0.05, samples=2, scale=20)
    net["head"] = heads
    whole = copy.deepcopy(net)
    reference = synsim.BGD(whole, sigma=0.05, samples=2, scale=20)
    grown.add_param_group({"params": heads})
    for rule, module in ((grown, net), (reference, whole)):
        for _ in range(2):

            def closure(rule=rule, module=module):
                rule.zero_grad()
                loss = nn.functional.cross_entropy(module["head"](module["trunk"](X).tanh()), Y % 3)
                loss.backward()
                return loss

            rule.step(closure)
    assert same(state(net), state(whole))
    spreads = [[r.state[p]["sigma"] for p in m.parameters()] for r, m in ((grown, net), (reference, whole))]
    assert same(*spreads)
    grown.add_param_group({"params": nn.Linear(2, 2, dtype=DOUBLE), "sigma": 0.3, "eta": 0.5})
    assert grown.state[grown.param_groups[-1]["params"][0]]["sigma"].unique().tolist() == [0.3]


def test_what_leaves_a_group_stays_and_what_is_regrouped_moves_by_its_group():
    net = network()
    rule = presynaptic(net)
    first, second = net[0].weight, net[2].weight
    assert rule.param_groups[0]["params"].pop() is second
    before = state(net)
    step(rule, net)
    assert torch.equal(before[1], second)
    assert torch.equal(before[3], net[2].p)
    assert not torch.equal(before[0], first)
    rule.add_param_group({"params": [second], "lr": 0.7, "plastic": False})
    old, p = second.detach().clone(), net[2].p.clone()
    loss_of(net).backward()
    gradient = second.grad.clone()
    rule.step()
    assert torch.allclose(second, old - 0.7 * gradient, rtol=1e-13)
    assert torch.equal(p, net[2].p)


def test_a_weight_put_into_a_group_by_hand_takes_its_release_probability_along():
    net, other = network(), network()
    rule, reference = presynaptic(net), presynaptic(other)
    moved = rule.param_groups[0]["params"].pop()
    rule.param_groups[0]["params"].append(moved)
    stranger = synsim.BernoulliLinear(6, 2, p=0.5, dtype=DOUBLE)
    rule.param_groups[0]["params"].append(stranger.weight)
    before, p = stranger.weight.detach().clone(), stranger.p.clone()
    (stranger(X).sum() + loss_of(net)).backward()
    rule.step()
    loss_of(other).backward()
    reference.step()
    assert same(state(net), state(other))
    assert torch.allclose(stranger.weight, before - 0.05 * stranger.weight.grad, rtol=1e-13)
    assert torch.allclose(stranger.p, synsim.probability_step(p, stranger.weight.grad, **RULE), rtol=1e-13)


@pytest.mark.parametrize(
    ("group", "error", "message"),
    [
        ({"params": [], "momentum": 0.9}, ValueError, "a group of PresynapticSGD has the constants bounds, g_lim"),
        ({"params": [], "maximize": True}, ValueError, "got maximize"),
        ({"params": [], "lr": -1.0}, ValueError, "lr must be finite and at least 0"),
        ({"params": [], "p_min": 0.9, "p_max": 0.5}, ValueError, "p_min must not exceed p_max"),
        ({"params": {torch.ones(1)}}, TypeError, "ordered collection"),
        ({"params": 3}, TypeError, "ordered collection of tensors, got a int"),
        ({"lr": 3}, TypeError, 'expected a dict with "params"'),
        ([torch.ones(2)], TypeError, 'expected a dict with "params"'),
        ({"params": synsim.BernoulliLinear(3, 2, p=0.5, replicas=2)}, ValueError, "replicas=2, the network of this"),
    ],
)
def test_groups_that_can_not_be(group, error, message):
    with pytest.raises(error, match=message):
        presynaptic(network()).add_param_group(group)


def test_groups_of_bgd_that_can_not_be():
    with pytest.raises(ValueError, match="all groups share their draws"):
        bgd(network()).add_param_group({"params": nn.Linear(2, 2), "samples": 4})
    with pytest.raises(ValueError, match="leading axis of 2 replicas"):
        bgd(network(2)).add_param_group({"params": nn.Linear(3, 3)})
    net = network()
    rule = bgd(net)
    with pytest.raises(ValueError, match="appear in more than one"):
        rule.add_param_group({"params": net})


# ---- constants that change


SCHEDULES = {
    "StepLR": lambda r: schedules.StepLR(r, 1, 0.1),
    "MultiStepLR": lambda r: schedules.MultiStepLR(r, [1, 2]),
    "ExponentialLR": lambda r: schedules.ExponentialLR(r, 0.5),
    "LambdaLR": lambda r: schedules.LambdaLR(r, lambda e: 0.5**e),
    "MultiplicativeLR": lambda r: schedules.MultiplicativeLR(r, lambda e: 0.9),
    "ConstantLR": lambda r: schedules.ConstantLR(r, 0.1, 2),
    "LinearLR": lambda r: schedules.LinearLR(r, 0.1, total_iters=4),
    "PolynomialLR": lambda r: schedules.PolynomialLR(r, 4),
    "CosineAnnealingLR": lambda r: schedules.CosineAnnealingLR(r, 5),
    "WarmRestarts": lambda r: schedules.CosineAnnealingWarmRestarts(r, 3),
    "OneCycleLR": lambda r: schedules.OneCycleLR(r, 0.1, total_steps=9, cycle_momentum=False),
    "CyclicLR": lambda r: schedules.CyclicLR(r, 0.01, 0.1, cycle_momentum=False),
    "SequentialLR": lambda r: schedules.SequentialLR(
        r, [schedules.ConstantLR(r, 0.1, 2), schedules.ExponentialLR(r, 0.9)], [2]
    ),
    "ChainedScheduler": lambda r: schedules.ChainedScheduler(
        [schedules.ConstantLR(r, 0.1, 2), schedules.ExponentialLR(r, 0.9)]
    ),
    "ReduceLROnPlateau": lambda r: schedules.ReduceLROnPlateau(r, patience=0),
}


def rates_of_torch(name, lr):
    """What torch's own SGD would use in four steps."""
    plain = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr)
    schedule, seen = SCHEDULES[name](plain), []
    for _ in range(4):
        seen.append(plain.param_groups[0]["lr"])
        plain.step()
        schedule.step(*([1.0] if name == "ReduceLROnPlateau" else []))
    return seen


def rates_used(net, rule, schedule, *measured):
    """Rates by which the weights of each replica really moved, [steps, R]."""
    seen = []
    for _ in range(4):
        before = net[0].weight.detach().clone()
        rule.zero_grad()
        loss_of(net).backward()
        rule.step()
        schedule.step(*measured)
        moved, gradient = before - net[0].weight.detach(), net[0].weight.grad
        lead = net[0].replicas or 1
        seen.append((moved.reshape(lead, -1).norm(dim=1) / gradient.reshape(lead, -1).norm(dim=1)).tolist())
    return torch.tensor(seen, dtype=DOUBLE)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize(
    ("lr", "replicas"),
    [(0.08, None), (0.08, 2), (torch.tensor(0.08, dtype=DOUBLE), None), (torch.tensor([0.08, 0.04], dtype=DOUBLE), 2)],
    ids=["number", "number, replicas", "0-d tensor", "[R]"],
)
def test_every_schedule_of_torch_sets_the_rate_of_every_replica(name, lr, replicas):
    if name == "SequentialLR" and "step(0)" in inspect.getsource(schedules.SequentialLR.step):
        pytest.skip("SequentialLR of this torch (such as 2.8) warns of its own steps, and takes no rate per replica")
    net = network(replicas)
    rule = presynaptic(net, lr, plastic=False)
    several = isinstance(lr, torch.Tensor) and lr.ndim == 1
    measured = [1.0] if name == "ReduceLROnPlateau" else []
    schedule = SCHEDULES[name](rule)
    if several and measured:
        net[0].weight.grad = torch.ones_like(net[0].weight)
        schedule.step(1.0)
        with pytest.raises(TypeError, match="ReduceLROnPlateau and the like need one rate for all"):
            schedule.step(1.0)
        return
    used = rates_used(net, rule, schedule, *measured)
    each = lr.tolist() if several else [float(lr)] * (replicas or 1)
    expected = torch.tensor([rates_of_torch(name, one) for one in each], dtype=DOUBLE).T
    torch.testing.assert_close(used, expected, rtol=1e-9, atol=0)
    if several:
        assert lr.tolist() == [0.08, 0.04], "the schedule wrote into the caller's tensor"


def test_a_schedule_of_one_group_leaves_the_other_groups_alone():
    net, head = network(2), synsim.BernoulliLinear(4, 3, p=0.5, replicas=2, dtype=DOUBLE)
    rule = presynaptic(net, torch.tensor([0.08, 0.04]))
    rule.add_param_group({"params": head})
    schedules.LambdaLR(rule, [lambda e: 0.5, lambda e: 1.0])
    torch.testing.assert_close(rule.param_groups[0]["lr"].tolist(), [0.04, 0.02])
    torch.testing.assert_close(rule.param_groups[1]["lr"].tolist(), [0.08, 0.04])
    torch.testing.assert_close(rule.defaults["lr"].tolist(), [0.08, 0.04])


@pytest.mark.parametrize("replicas", [None, 2])
def test_every_constant_may_be_edited_at_any_time(replicas):
    net = network(replicas)
    rule = presynaptic(net)
    edits = [
        {"p_up": 0.3},
        {"p_down": 0.2, "g_lim": 0.02},
        {"p_min": 0.4, "p_max": 0.8, "bounds": "hard"},
        {"p_freeze": 0.5, "weight_decay": 0.1},
        {"plastic": False},
    ]
    if replicas:
        edits[0] = {"p_up": [0.3, 0.1]}
    for edit in edits:
        rule.param_groups[0].update(edit)
        rule.zero_grad()
        loss_of(net).backward()
        k = {n: v for n, v in rule.param_groups[0].items() if n in (*RULE, "p_min", "p_max", "p_freeze", "bounds")}
        k = {n: v if v is None or n == "bounds" else torch.as_tensor(v, dtype=DOUBLE) for n, v in k.items()}
        k = {n: v.reshape(-1, 1, 1) if isinstance(v, torch.Tensor) and v.ndim else v for n, v in k.items()}
        w, g, p = net[0].weight.detach().clone(), net[0].weight.grad.clone(), net[0].p.clone()
        rule.step()
        decay = rule.param_groups[0]["weight_decay"]
        assert torch.allclose(net[0].weight, w - 0.05 * (g + decay * w), rtol=1e-12)
        expected = synsim.probability_step(p, g, **k) if rule.param_groups[0]["plastic"] else p
        assert torch.allclose(net[0].p, expected, rtol=1e-12), edit


def test_a_tensor_of_constants_is_seen_when_it_changes_in_place():
    net = network(2)
    rule = presynaptic(net, torch.tensor([0.08, 0.04]), plastic=False)
    own = torch.tensor([0.5, 0.25], dtype=DOUBLE)
    for change in (lambda g: g["lr"].mul_(0.5), lambda g: g.update(lr=own), lambda g: own.zero_()):
        rule.zero_grad()
        loss_of(net).backward()
        rule.step()
        change(rule.param_groups[0])
        rates = rule.param_groups[0]["lr"].tolist()
        before = net[0].weight.detach().clone()
        rule.step()
        expected = before - torch.tensor(rates, dtype=DOUBLE)[:, None, None] * net[0].weight.grad
        assert torch.allclose(net[0].weight, expected, rtol=1e-12)
    schedules.ExponentialLR(rule, 0.5)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"lr": float("nan")}, "lr must be finite"),
        ({"p_up": 2.0}, "p_up must be finite and between 0 and 1"),
        ({"p_min": 0.9, "p_max": 0.5}, "p_min must not exceed p_max"),
        ({"bounds": "wide"}, "bounds must be one of soft, hard"),
        ({"lr": torch.ones(3)}, "lr must be a number"),
        ({"plastic": "no"}, "plastic must be True or False"),
    ],
)
def test_edits_that_can_not_be_are_refused_at_the_step(edit, message):
    net = network()
    rule = presynaptic(net)
    step(rule, net)
    before = state(net)
    rule.param_groups[0].update(edit)
    with pytest.raises(ValueError, match=message):
        step(rule, net)
    assert same(before, state(net))


# ---- state


def test_state_brings_constants_and_later_groups_back():
    def build(lr):
        net, head = network(2), synsim.networks.initialised(synsim.BernoulliLinear(4, 3, p=0.5, replicas=2), [1, 2])
        rule = presynaptic(net, lr)
        rule.add_param_group({"params": head, "lr": [0.3, 0.2]})
        return net, rule

    net, rule = build(torch.tensor([0.08, 0.04]))
    schedules.ExponentialLR(rule, 0.5)
    rule.param_groups[1]["p_up"] = 0.5
    file = io.BytesIO()
    torch.save(rule.state_dict(), file)
    kept = torch.load(io.BytesIO(file.getvalue()), weights_only=True)
    assert all(type(value) is torch.Tensor for group in kept["param_groups"] for value in (group["lr"],))
    twin, other = build(0.7)
    other.load_state_dict(kept)
    assert [group["p_up"] for group in other.param_groups] == [0.07, 0.5]
    schedules.ExponentialLR(other, 0.5)
    step(rule, net)
    step(other, twin)
    assert same(state(net), state(twin))
    with pytest.raises(ValueError, match="different number of parameter groups"):
        presynaptic(network(2)).load_state_dict(kept)


def test_state_of_bgd_brings_spreads_back_with_later_groups():
    def build():
        net = nn.ModuleDict({"net": network()})
        rule = bgd(net)
        net["head"] = nn.Linear(4, 3, dtype=DOUBLE)
        with torch.no_grad():
            net["head"].weight.copy_(torch.linspace(-1, 1, 12).reshape(3, 4))
            net["head"].bias.zero_()
        rule.add_param_group({"params": net["head"], "sigma": 0.2})
        return net, rule

    def closure(net, rule):
        rule.zero_grad()
        loss = nn.functional.cross_entropy(net["head"](net["net"](X)), Y % 3)
        loss.backward()
        return loss

    (net, rule), (twin, other) = build(), build()
    for _ in range(2):
        rule.step(lambda: closure(net, rule))
    twin.load_state_dict(net.state_dict())
    other.load_state_dict(copy.deepcopy(rule.state_dict()))
    rule.step(lambda: closure(net, rule))
    other.step(lambda: closure(twin, other))
    assert same(state(net), state(twin))


# ---- gradients


def test_a_scaler_unscales_and_skips():
    net, twin = network(), network()
    rule, plain = presynaptic(net), presynaptic(twin)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    scaler.scale(loss_of(net)).backward()
    scaler.step(rule)
    scaler.update()
    loss_of(twin).backward()
    plain.step()
    for one, other in zip(state(net), state(twin), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=0)
    before = state(net)
    rule.zero_grad()
    scaler.scale(loss_of(net)).backward()
    net[0].weight.grad[0, 0] = torch.inf
    scaler.step(rule)
    scaler.update()
    assert same(before, state(net)), "a skipped step moved strengths or probabilities"
    assert scaler.get_scale() == 512.0


def test_clipped_and_accumulated_gradients_are_what_the_rule_sees():
    net = network()
    rule = presynaptic(net)
    for _ in range(2):
        loss_of(net).backward()
    nn.utils.clip_grad_norm_(net.parameters(), 1e-2)
    total = sum(float(p.grad.square().sum()) for p in net.parameters()) ** 0.5
    assert total == pytest.approx(1e-2, rel=1e-3)
    weight, p, gradient = net[0].weight.detach().clone(), net[0].p.clone(), net[0].weight.grad.clone()
    rule.step()
    assert torch.allclose(net[0].weight, weight - 0.05 * gradient, rtol=1e-13)
    assert torch.allclose(net[0].p, synsim.probability_step(p, gradient, **RULE), rtol=1e-13)


def test_no_gradient_moves_nothing_and_a_gradient_of_zero_lets_probabilities_fall():
    net = network()
    rule = presynaptic(net)
    loss_of(net).backward()
    rule.zero_grad()
    before = state(net)
    rule.step()
    assert same(before, state(net))
    loss_of(net).backward()
    rule.zero_grad(set_to_none=False)
    rule.step()
    assert torch.equal(net[0].weight, before[0])
    assert torch.allclose(net[0].p, before[2] - 0.05 * (1 - before[2]), rtol=1e-13)


def test_hooks_see_every_step_and_a_closure_is_asked_with_gradients():
    net = network()
    rule, seen = presynaptic(net), []
    rule.register_step_pre_hook(lambda optimiser, given, named: seen.append(("before", optimiser is rule, named)))
    rule.register_step_post_hook(lambda optimiser, given, named: seen.append(("after", optimiser is rule, named)))
    with torch.no_grad():
        loss = step(rule, net)
    assert float(loss.detach()) > 0
    rule.step(penalty={})
    both = ("before", "after")
    assert seen == [*((when, True, {}) for when in both), *((when, True, {"penalty": {}}) for when in both)]


# ---- memory formats


def convolutional(layout):
    net = nn.Sequential(
        synsim.BernoulliConv2d(3, 4, 3, p=0.5), nn.ReLU(), nn.Flatten(), synsim.BernoulliLinear(4 * 16, 4, p=0.5)
    )
    synsim.networks.initialised(net, 3)
    if layout == "channels_last":
        net = net.to(memory_format=torch.channels_last)
        assert not net[0].weight.is_contiguous()
    if layout == "transposed":
        net[3].weight = nn.Parameter(net[3].weight.detach().t().contiguous().t())
        assert not net[3].weight.is_contiguous()
    if layout == "strided p":
        net[3].p = net[3].p.t().contiguous().t()
    return net


@pytest.mark.parametrize("layout", ["channels_last", "transposed", "strided p", "channels_last inputs"])
@pytest.mark.parametrize("build", [presynaptic, bgd])
def test_memory_formats_change_no_bit_of_a_step(layout, build):
    x = X.float().repeat(1, 18).reshape(20, 3, 6, 6)
    results = []
    for kind in ("contiguous", layout):
        net = convolutional(kind)
        given = x.contiguous(memory_format=torch.channels_last) if kind == "channels_last inputs" else x
        rule = build(net)
        weights = [p.detach().clone() for p in net.parameters()]
        for parameter, weight in zip(net.parameters(), weights, strict=True):
            parameter.grad = torch.empty_like(parameter).copy_(weight.cos())

        def closure(net=net, given=given):
            for p in net.parameters():
                p.grad = p.detach().cos()
            return net(given).sum().detach()

        rule.step(closure)
        results.append((net, [p.stride() for p in net.parameters()], state(net)))
    assert same(results[0][2], results[1][2])
    assert [p.stride() for p in results[1][0].parameters()] == results[1][1]


# ---- what is refused


@pytest.mark.parametrize("build", [presynaptic, bgd])
def test_parameters_in_place_of_the_network(build):
    net = network()
    for given in (net.parameters(), list(net.parameters()), net.named_parameters(), [{"params": net.parameters()}]):
        with pytest.raises(TypeError, match=r"expects the network itself, an nn.Module.*not .*net.parameters\(\)"):
            build(given)


def half_norm(module):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return nn.utils.weight_norm(module)


class Doubled(nn.Module):
    def forward(self, w):
        return 2 * w


REPARAMETRISED = {
    "prune": lambda layer: prune.random_unstructured(layer, "weight", amount=0.3),
    "weight_norm": half_norm,
    "parametrizations.weight_norm": parametrizations.weight_norm,
    "spectral_norm": nn.utils.spectral_norm,
    "parametrizations.spectral_norm": parametrizations.spectral_norm,
    "parametrize": lambda layer: nn.utils.parametrize.register_parametrization(layer, "weight", Doubled()),
}


@pytest.mark.parametrize("how", REPARAMETRISED)
def test_re_parametrised_weights_are_refused_at_once(how):
    net = network()
    REPARAMETRISED[how](net[2])
    with pytest.raises(ValueError, match=r"'2\..*re-parametrises the weight.*make it permanent first"):
        presynaptic(net)
    with pytest.raises(ValueError, match="re-parametrises the weight"):
        presynaptic(network()).add_param_group({"params": list(net[2].parameters())})


@pytest.mark.parametrize("how", [*REPARAMETRISED, "assigned anew"])
def test_a_weight_that_is_replaced_under_the_rule_is_refused_at_the_next_step(how):
    net = network()
    rule = presynaptic(net)
    loss_of(net).backward()
    old = net[2].weight
    if how == "assigned anew":
        net[2].weight = nn.Parameter(old.detach().clone())
    else:
        REPARAMETRISED[how](net[2])
    old.grad = torch.ones_like(old)
    for group in rule.param_groups:
        assert any(parameter is old for parameter in group["params"])
    with pytest.raises(ValueError, match=r"'2.weight' has another weight now .* Build a new rule"):
        rule.step()


def test_pruning_made_permanent_is_fine():
    net = network()
    prune.l1_unstructured(net[2], "weight", amount=0.3)
    prune.remove(net[2], "weight")
    before = state(net)
    step(presynaptic(net), net)
    assert not torch.equal(before[1], net[2].weight)


def test_a_weight_of_two_layers_with_probabilities_of_their_own():
    net = nn.Sequential(synsim.BernoulliLinear(6, 6, p=0.5), synsim.BernoulliLinear(6, 6, p=0.5))
    net[1].weight = net[0].weight
    with pytest.raises(ValueError, match=r"'0\.weight' is the weight of 2 layers, each with release probabilities"):
        presynaptic(net)
    presynaptic(net, plastic=False)
    net[1].p = net[0].p
    presynaptic(net)


def test_one_rate_per_replica_needs_a_replica_axis():
    net = nn.ModuleDict({"net": network(2), "scale": nn.ParameterList([nn.Parameter(torch.ones(3, dtype=DOUBLE))])})
    rule = presynaptic(net, [0.1, 0.2])
    net["scale"][0].grad = torch.ones(3, dtype=DOUBLE)
    with pytest.raises(ValueError, match=r"'scale\.0' of shape \[3\] has no replica axis"):
        rule.step()
