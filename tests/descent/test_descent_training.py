"""FOOF and KFAC in loops: replicas, fit and attach, resuming, penalties, layers of other kinds."""

import copy
import itertools
import pickle

import pytest
import torch
import torch.nn.functional as F
from memory import Memory
from torch import nn

import synsim
from synsim import consolidation, importance, records, tasks
from synsim.training import Protection, Session, fit
from synsim.training.stopping import StoppedError

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:(freeze|mask|modulation) (holds|slows) no parameter:UserWarning"),
]
KINDS = {
    "foof": lambda net, **o: synsim.FOOF(net, **{"lr": 0.5, "damping": 20.0, **o}),
    "kfac": lambda net, **o: synsim.KFAC(net, **{"lr": 0.02, "damping": 1.0, **o}),
    "standard": lambda net, **o: synsim.KFAC(net, **{"lr": 0.02, "damping": 1.0, **o}, damp="standard"),
}


@pytest.fixture(scope="module")
def digits():
    return tuple(tasks.split(synsim.data.load("digits"), heads="shared")[:2])


def watched(net, rule, x, y, head=None, **options):
    rule.zero_grad()
    with rule.watch():
        logits = net(x) if head is None else net(x, head=head)
    losses = synsim.losses.replica_cross_entropy(logits, y)
    rule.backward(losses, logits, **options)
    return losses


def state(net):
    return torch.cat([value.detach().double().flatten() for value in net.state_dict().values()])


@pytest.mark.parametrize("kind", KINDS)
def test_replicas_with_constants_of_their_own_are_single_runs(kind):
    of = {"lr": [0.3, 0.1, 0.02], "damping": [1.0, 5.0, 0.3], "average": [0.9, 0.5, 0.0]}
    of |= {"momentum": [0.0, 0.5, 0.9], "weight_decay": [0.1, 0.0, 0.2]}
    drawn = torch.Generator().manual_seed(1)
    data = [
        (torch.randn(3, 8, 6, generator=drawn, dtype=torch.float64), torch.randint(3, (3, 8), generator=drawn))
        for _ in range(9)
    ]
    options = {"p": 0.6, "bias": True, "dtype": torch.float64}
    together = synsim.mlp([6, 5, 3], replicas=3, seed=4, **options)
    each = {name: torch.tensor(v, dtype=torch.float64) for name, v in of.items()}
    rule = KINDS[kind](together, period=3, collect=2, warmup=2, **each)
    rule.warm_up(data)
    for x, y in data:
        watched(together, rule, x, y)
        rule.step()
    for r in range(3):
        alone = synsim.mlp([6, 5, 3], seed=4 + r, **options)
        own = KINDS[kind](alone, period=3, collect=2, warmup=2, **{name: v[r] for name, v in of.items()})
        own.warm_up([(x[r], y[r]) for x, y in data])
        for x, y in data:
            watched(alone, own, x[r], y[r])
            own.step()
        for name, value in alone.state_dict().items():
            if value.is_floating_point():
                torch.testing.assert_close(together.state_dict()[name][r], value, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", ["foof", "kfac"])
def test_fit_makes_the_steps_that_one_makes_by_hand(digits, kind):
    nets = [synsim.mlp([64, 8, 2], p=0.5, seed=2) for _ in range(2)]
    rules = [KINDS[kind](net, period=4, warmup=3) for net in nets]
    fit(nets[0], rules[0], digits[:1], steps=6, batch=25, samples=1)
    order = digits[0].order((2,), 0, 0)
    pairs = [digits[0].batch(rows[0]) for rows in tasks.batches(order, 25)]
    rules[1].warm_up(pairs)
    assert not any(layer.draws for layer in synsim.synapses(nets[1]).values()), "a warm-up takes no draw of training"
    for x, y in pairs[:6]:
        watched(nets[1], rules[1], x, y)
        rules[1].step()
    assert torch.equal(state(nets[0]), state(nets[1]))
    assert rules[0].steps == rules[1].steps == 6


@pytest.mark.parametrize("kind", KINDS)
def test_killed_and_resumed_to_the_bit(digits, kind):
    def run(store):
        net = synsim.mlp([64, 8, 2], p=0.5, replicas=2, bias=True, seed=2)
        rule = KINDS[kind](net, period=5, collect=3, warmup=3, momentum=0.5, damping=torch.tensor([20.0, 5.0]))
        fit(net, rule, digits, steps=12, batch=25, samples=1, store=store)
        return state(net)

    whole = Memory()
    expected = run(whole)
    for moment in (0, 7, 13, len(whole.all) - 3):
        assert torch.equal(run(Memory(whole.all[moment])), expected), moment


def test_the_state_of_another_rule_is_refused(digits):
    net = synsim.mlp([64, 8, 2], p=0.5, seed=2)
    store = Memory()
    same = {"lr": 0.1, "damping": 1.0, "warmup": 1}
    fit(net, KINDS["foof"](net, **same), digits, steps=3, batch=25, samples=1, store=store)
    with pytest.raises(ValueError, match=r"was begun with FOOF.*this is KFAC"):
        fit(net, KINDS["kfac"](net, **same), digits, steps=3, batch=25, samples=1, store=Memory(store.all[1]))


def test_a_penalty_is_preconditioned_with_the_gradient():
    net = synsim.mlp([6, 5, 3], p=1.0, bias=True, dtype=torch.float64, seed=1)
    rule = synsim.KFAC(net, 0.1, 0.5, warmup=0, labels="empirical")
    x, y = torch.randn(8, 6, dtype=torch.float64), torch.arange(8) % 3
    watched(net, rule, x, y)
    task = rule.moves()
    penalty = {name: torch.randn_like(value) for name, value in net.named_parameters()}
    both = rule.moves(penalty)
    for name, parameter in net.named_parameters():
        parameter.grad = penalty[name].clone()
    alone = rule.moves()
    for name in task:
        torch.testing.assert_close(both[name], task[name] + alone[name], rtol=1e-10, atol=1e-12)
        assert not torch.allclose(alone[name], penalty[name])


@pytest.mark.parametrize("protected", ["penalty", "modulation", "freeze"])
@pytest.mark.parametrize("measure", ["si", "fisher"])
def test_attach_protects_as_fit_does_to_the_bit(digits, protected, measure):
    options = {"penalty": {"strength": 0.5}, "modulation": {"strength": 0.5, "scale": "max"}, "freeze": {"share": 0.5}}

    def parts():
        net = synsim.mlp([64, 6, 2], p=1.0, seed=3)
        held = consolidation.make(protected, **options[protected])
        few = {"images": 12} if measure == "fisher" else {}
        return net, KINDS["foof"](net, period=4, warmup=2), importance.make(measure, **few), held

    net, rule, one, held = parts()
    fit(net, rule, digits, steps=6, batch=24, samples=1, protection=Protection(one, held))
    by_hand, again, one, other = parts()
    guard = synsim.attach(by_hand, again, one, other)
    for index, task in enumerate(digits):
        order = task.order((3,), index, 0)
        pairs = [task.batch(rows[0]) for rows in tasks.batches(order, 24)]
        if index == 0:
            again.warm_up(pairs)
        before = torch.cat([parameter.detach().flatten() for parameter in by_hand.parameters()])
        with guard.task(task.train):
            for x, y in pairs[:6]:
                watched(by_hand, again, x, y)
                again.step()
    assert torch.equal(state(net), state(by_hand))
    if protected == "freeze":
        after = torch.cat([parameter.detach().flatten() for parameter in by_hand.parameters()])
        assert 0.45 < float((after == before).double().mean()) < 0.9, "half of the parameters are held"


def test_a_replica_that_diverges_leaves_the_others_alone(digits):
    def run(rates):
        net = synsim.mlp([64, 8, 2], p=0.5, replicas=2, seed=2)
        rule = KINDS["kfac"](net, lr=torch.tensor(rates), period=2, warmup=2)
        history = fit(net, rule, digits[:1], steps=12, batch=25, samples=1)
        return net, history

    (good, none), (bad, failed) = run([0.02, 0.02]), run([0.02, 1e30])
    assert not none.failures
    assert [one.replica for one in failed.failures] == [1]
    for name, value in good.named_parameters():
        torch.testing.assert_close(dict(bad.named_parameters())[name][0], value[0], rtol=1e-5, atol=1e-7)


def test_a_session_sweeps_over_rates_stops_and_goes_on(digits, tmp_path):
    sweep = synsim.Sweep({"lr": (0.02, 0.05, 1e30)}, (1, 2))

    def run(folder, stop=lambda: False, **options):
        session = Session(records.create(folder, {"seeds": [1, 2]}, **options), every=0.0, stop=stop)
        net = synsim.mlp([64, 8, 2], p=0.5, replicas=sweep)
        rule = KINDS["kfac"](net, lr=sweep.column("lr"), period=3, warmup=2)
        return session.fit("sweep", net, rule, digits[:1], sweep=sweep, steps=10, batch=25, samples=1)

    whole = run(tmp_path / "whole")
    assert whole.dataset.failed.sel(lr=1e30).values.all()
    assert not whole.dataset.failed.sel(lr=[0.02, 0.05]).values.any()
    asked = itertools.count()
    with pytest.raises(StoppedError):
        run(tmp_path / "cut", lambda: next(asked) > 12)
    resumed = run(tmp_path / "cut", resume=True)
    assert resumed.state.keys() == whole.state.keys()
    assert all(torch.equal(value, whole.state[name]) for name, value in resumed.state.items())


def test_passes_for_importances_are_not_those_of_the_rule(digits):
    def run(measured):
        net = synsim.mlp([64, 6, 2], p=0.5, seed=3)
        guard = Protection(watch={"sos": importance.make("sos", alpha=1.0)}) if measured else None
        fit(net, KINDS["kfac"](net, period=2, warmup=2), digits, steps=5, batch=24, samples=1, protection=guard)
        return state(net)

    assert torch.equal(run(True), run(False))


class Images(nn.Module):
    """Two convolutions, the second in groups, and a linear layer on what they found."""

    def __init__(self, replicas):
        super().__init__()
        self.replicas, kind = replicas, {"p": 0.7, "bias": True, "replicas": replicas, "dtype": torch.float64}
        self.one = synsim.BernoulliConv2d(2, 4, 3, padding=1, stride=2, **kind)
        self.two = synsim.BernoulliConv2d(4, 6, 2, groups=2, dilation=2, **kind)
        self.out = synsim.BernoulliLinear(24, 3, **kind)

    def forward(self, x):
        h = self.two(self.one(x).relu()).relu()
        return self.out(h.flatten(1 if self.replicas is None else 2))


@pytest.mark.parametrize("replicas", [None, 2])
@pytest.mark.parametrize("view", ["masks", "mean field"])
def test_convolutions_are_products_over_patches(replicas, view):
    net = Images(replicas)
    synsim.seed(net, 5)
    drawn = torch.Generator().manual_seed(2)
    x = torch.randn(5, 2, 7, 7, generator=drawn, dtype=torch.float64)
    y = torch.randint(3, (5,), generator=drawn)
    rule = synsim.FOOF(net, 0.1, 2.0, warmup=0)
    if view == "masks":
        losses = watched(net, rule, x, y)
        with synsim.frozen(net):
            again = synsim.cross_entropy(net(x), y)
    else:
        with synsim.expected(net):
            losses = watched(net, rule, x, y)
            again = synsim.cross_entropy(net(x), y)
    assert torch.allclose(losses.sum(), again)
    wanted = torch.autograd.grad(again, list(net.parameters()))
    for parameter, gradient in zip(net.parameters(), wanted, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-10, atol=1e-14)
    moves = rule.moves()

    given = x.expand(replicas or 1, *x.shape)
    patches = torch.stack([F.unfold(one, 3, padding=1, stride=2) for one in given])  # [R, B, K, L]
    rows = patches.transpose(-1, -2).flatten(1, 2)
    rows = torch.cat([rows, torch.ones_like(rows[..., :1])], -1)
    damped = rows.mT @ rows + 2.0 * torch.eye(rows.shape[-1], dtype=torch.float64)
    gradient = torch.cat([net.one.weight.grad.flatten(-3), net.one.bias.grad.unsqueeze(-1)], -1)
    found = torch.linalg.solve(damped, gradient.reshape(replicas or 1, 4, -1), left=False)
    torch.testing.assert_close(moves["one.weight"].flatten(-3).reshape(found[..., :-1].shape), found[..., :-1])
    torch.testing.assert_close(moves["one.bias"].reshape(found[..., -1].shape), found[..., -1])
    assert [list(factor.shape) for (factor,) in rule.averages().values()] == [
        [*([] if replicas is None else [2]), *lead, k, k] for lead, k in (((), 19), ((2,), 9), ((), 25))
    ]


def test_release_adds_a_damping_to_the_average():
    chances = torch.tensor([[0.5, 0.8], [0.25, 1.0]], dtype=torch.float64)
    net = synsim.BernoulliLinear(2, 2, p=chances, dtype=torch.float64)
    rule = synsim.FOOF(net, 0.1, 1.0, warmup=0, release="mean")
    x = torch.tensor([[1.0, -2.0], [0.5, 3.0]], dtype=torch.float64)
    watched(net, rule, x, torch.tensor([0, 1]))
    rule.step()
    wanted = torch.zeros(2, 2, dtype=torch.float64)
    for output, masks in itertools.product(range(2), itertools.product((0, 1), repeat=2)):
        released, own = torch.tensor(masks, dtype=torch.float64), chances[output]
        likely = (released * own + (1 - released) * (1 - own)).prod()
        arrived = x * released / own
        wanted += likely * (arrived.T @ arrived) / 2  # mean over two outputs
    torch.testing.assert_close(rule.averages()[""][0], wanted)


def test_other_parameters_move_by_gradient_descent():
    net = nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5), nn.Linear(5, 3)).double()
    rule = synsim.FOOF(net, 0.1, 1.0, warmup=0, lr_rest=0.25)
    x, y = torch.randn(6, 4, dtype=torch.float64), torch.arange(6) % 3
    before = net[1].weight.detach().clone()
    wanted = torch.autograd.grad(F.cross_entropy(net(x), y), [net[1].weight])[0]
    watched(net, rule, x, y)
    torch.testing.assert_close(net[1].weight.grad, wanted)
    rule.step(penalty={"1.weight": torch.ones(5, dtype=torch.float64)})
    torch.testing.assert_close(net[1].weight.detach(), before - 0.25 * (wanted + 1))


def test_clipped_and_cleared_gradients_are_taken_as_they_are():
    net = nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 3)).double()
    rule = synsim.FOOF(net, 0.1, 1.0, warmup=0)
    x, y = torch.randn(6, 4, dtype=torch.float64), torch.arange(6) % 3
    watched(net, rule, x, y)
    plain = rule.moves()
    for parameter in net[0].parameters():
        parameter.grad.mul_(0.5)
    net[1].weight.grad = net[1].bias.grad = None
    found = rule.moves()
    assert found.keys() == {"0.weight", "0.bias"}
    for name, value in found.items():
        torch.testing.assert_close(value, plain[name] / 2)
    before = net[1].weight.detach().clone()
    rule.step()
    assert torch.equal(net[1].weight, before)


def test_gradients_of_several_passes_add_up():
    net = nn.Linear(4, 3).double()
    rule = synsim.FOOF(net, 0.1, 1.0, average=0.0, warmup=0)
    x, y = torch.randn(12, 4, dtype=torch.float64), torch.arange(12) % 3
    rule.warm_up([x])
    found = []
    for part in (slice(0, 6), slice(6, 12)):
        watched(net, rule, x[part], y[part])
        found.append(rule.moves()["weight"])
    rule.zero_grad()
    for part in (slice(0, 6), slice(6, 12)):
        with rule.watch():
            logits = net(x[part])
        rule.backward(F.cross_entropy(logits, y[part]), logits)
    torch.testing.assert_close(rule.moves()["weight"], found[0] + found[1])


def test_a_frozen_bias_stays_and_an_inactive_head_too():
    trunk = synsim.mlp([6, 5], p=1.0, bias=True)
    net = synsim.MultiHead(trunk, [synsim.BernoulliLinear(5, 2, p=1.0, bias=True) for _ in range(2)])
    trunk[0].bias.requires_grad_(False)
    rule = synsim.KFAC(net, 0.1, 1.0, warmup=0, period=2)
    x, y = torch.randn(8, 6), torch.arange(8) % 2
    before = {name: value.detach().clone() for name, value in net.named_parameters()}
    for _ in range(4):
        watched(net, rule, x, y, head=0)
        rule.step()
    moved = {name for name, value in net.named_parameters() if not torch.equal(value, before[name])}
    assert moved == {name for name in before if not name.startswith("heads.1")} - {"trunk.0.bias"}
    watched(net, rule, x, y, head=1)
    rule.step()
    assert not torch.equal(net.heads[1].weight, before["heads.1.weight"])


def test_no_hook_outlives_a_watch_and_memory_does_not_grow():
    net = synsim.mlp([6, 5, 3], p=0.5)
    rule = synsim.KFAC(net, 0.01, 1.0, warmup=0, period=3, momentum=0.5)
    x, y = torch.randn(8, 6), torch.arange(8) % 3
    sizes = []
    for _ in range(12):
        watched(net, rule, x, y)
        rule.step()
        entries = [value for each in rule.state.values() for value in each.values() if isinstance(value, torch.Tensor)]
        sizes.append(sum(value.numel() for value in entries))
    assert sizes[2:] == sizes[2:3] * 10
    assert not any(module._forward_hooks for module in net.modules())
    with pytest.raises(RuntimeError, match="on purpose"), rule.watch():
        raise RuntimeError("on purpose")
    assert not any(module._forward_hooks for module in net.modules())
    assert all(parameter.requires_grad for parameter in net.parameters())


@pytest.mark.parametrize("travel", [copy.deepcopy, lambda both: pickle.loads(pickle.dumps(both))])
def test_copies_go_on_as_the_rule_does(travel):
    net = synsim.mlp([6, 5, 3], p=0.5, seed=1)
    rule = synsim.KFAC(net, 0.05, 1.0, warmup=0, period=3, collect=2)
    x, y = torch.randn(8, 6), torch.arange(8) % 3
    for _ in range(4):
        watched(net, rule, x, y)
        rule.step()
    other, again = travel((net, rule))
    third = synsim.mlp([6, 5, 3], p=0.5, seed=1)
    third.load_state_dict(net.state_dict())
    loaded = synsim.KFAC(third, 0.5, 2.0, warmup=0, period=3, collect=2)
    loaded.load_state_dict(copy.deepcopy(rule.state_dict()))
    for _ in range(4):
        for one, own in ((net, rule), (other, again), (third, loaded)):
            watched(one, own, x, y)
            own.step()
    assert torch.equal(state(net), state(other))
    assert torch.equal(state(net), state(third))


def test_release_probabilities_move_beside_it():
    constants = {"p_up": 0.1, "p_down": 0.05, "g_lim": 0.01}
    nets = [synsim.mlp([6, 5, 3], p=0.5, seed=1) for _ in range(2)]
    rule = synsim.FOOF(nets[0], 0.1, 1.0, warmup=0)
    synsim.rules.plastic(rule, nets[0], **constants)
    other = synsim.PresynapticSGD(nets[1], 0.1, **constants)
    x, y = torch.randn(8, 6), torch.arange(8) % 3
    watched(nets[0], rule, x, y)
    rule.step()
    synsim.cross_entropy(nets[1](x), y).backward()
    other.step()
    for one, two in zip(synsim.synapses(nets[0]).values(), synsim.synapses(nets[1]).values(), strict=True):
        torch.testing.assert_close(one.p, two.p)
        assert not torch.allclose(one.weight, two.weight)


def test_schedules_set_the_rate():
    net = nn.Linear(4, 3)
    rule = synsim.FOOF(net, 1.0, 1.0, warmup=0)
    schedule = torch.optim.lr_scheduler.ExponentialLR(rule, 0.5)
    x, y = torch.randn(6, 4), torch.arange(6) % 3
    for rate in (1.0, 0.5):
        watched(net, rule, x, y)
        move, before = rule.moves()["weight"], net.weight.detach().clone()
        rule.step()
        torch.testing.assert_close(before - net.weight.detach(), rate * move)
        schedule.step()


@pytest.mark.parametrize("kind", KINDS)
def test_a_replica_without_an_inverse_fails_alone_where_a_loop_asks_for_that(kind):
    def trained(spoil, tolerant):
        net = synsim.mlp([6, 5, 3], p=1.0, replicas=2, seed=(1, 2))
        rule = KINDS[kind](net, period=1, warmup=0)
        generator = torch.Generator().manual_seed(0)
        for step in range(3):
            x, y = torch.randn(20, 6, generator=generator), torch.randint(0, 3, (20,), generator=generator)
            watched(net, rule, x, y, tolerant=tolerant)
            rule.step()
            if spoil and step == 0:
                for layer in synsim.synapses(net).values():
                    rule.state[layer.weight]["inputs"][1] = torch.nan if kind == "standard" else -1e12
        return [layer.weight.detach() for layer in synsim.synapses(net).values()]

    with pytest.raises(ValueError, match="replicas"):
        trained(spoil=True, tolerant=False)
    alone, beside = trained(spoil=False, tolerant=True), trained(spoil=True, tolerant=True)
    for whole, part in zip(alone, beside, strict=True):
        assert torch.equal(whole[0], part[0])
        assert part[1].isnan().all()
