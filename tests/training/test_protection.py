"""Learning under protection: what importances see, that watching is no influence, failures, and resuming."""

import copy
import functools
import json
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from torch import nn

import synsim
from synsim import BGD, consolidation, importance, records, tasks
from synsim.dropout import StreamDropout
from synsim.losses import replica_cross_entropy
from synsim.networks import MultiHead, initialised, redraw
from synsim.synapses import BernoulliLinear, evaluation, expected, synapses
from synsim.training import Session, TrainingFailedError, fit
from synsim.training.protection import Protection

pytestmark = pytest.mark.usefixtures("one_thread")

SEEDS = (1, 2)
BATCH = 70  # four steps per epoch
RULE = {"p_up": 0.07, "p_down": 0.05, "g_lim": 0.005}
OPTIONS = {name: {"images": 12} for name in ("fisher", "sqrt-fisher", "absolute-fisher", "mas", "mas-max")}
OPTIONS |= {"fisher-batched": {"images": 24, "batch": 8}, "sliced-cramer": {"images": 12, "slices": 4}}
OPTIONS |= {"path-integral": {"every": 3}, "sos": {"alpha": "unbiased", "batch": BATCH}}


@functools.cache
def digits(heads="shared"):
    return tuple(tasks.split(synsim.data.load("digits"), heads=heads)[:3])


def measure(name):
    return importance.make(name, **OPTIONS.get(name, {}))


def every():
    return {name: measure(name) for name in importance.available()}


def network(p=0.4, seeds=SEEDS, **options):
    return synsim.mlp([64, 6, 2], p=p, replicas=len(seeds), seed=seeds, **options)


def heads(p=1.0):
    trunk = nn.Sequential(BernoulliLinear(64, 6, p=p, bias=True, replicas=2), nn.ReLU())
    last = [BernoulliLinear(6, 2, p=p, bias=True, replicas=2) for _ in range(3)]
    return initialised(MultiHead(trunk, last), SEEDS)


def dropping():
    layers = [BernoulliLinear(64, 6, p=0.5, replicas=2), nn.ReLU(), StreamDropout(0.5, replicas=2)]
    return initialised(nn.Sequential(*layers, BernoulliLinear(6, 2, p=0.5, replicas=2)), SEEDS)


def sgd(net):
    return torch.optim.SGD(net.parameters(), lr=0.1)


def adam(net):
    return torch.optim.Adam(net.parameters(), lr=0.01)


def presynaptic(net):
    return synsim.PresynapticSGD(net, 0.1, **RULE)


def bgd(net):
    return BGD(net, sigma=0.05, samples=2, scale=BATCH)


def train(net, optimiser, protection=None, part=None, **options):
    options = {"seeds": SEEDS, "batch": BATCH, "samples": 1, **options}
    if "steps" not in options:
        options.setdefault("epochs", 1)
    return fit(net, optimiser, digits()[:2] if part is None else part, protection=protection, **options)


def state_of(net, optimiser=None, history=None, protection=None):
    """Everything that a run leaves, wall time apart."""
    found = {f"net/{name}": value.clone() for name, value in net.state_dict().items()}
    for index, entry in (optimiser.state_dict()["state"] if optimiser is not None else {}).items():
        found |= {f"optimiser/{index}/{name}": torch.as_tensor(value).clone() for name, value in entry.items()}
    if history is not None:
        found |= {name: value for name, value in history.tensors().items() if name != "epoch/seconds"}
        found["failures"] = torch.tensor([[f.replica, f.epoch, f.step] for f in history.failures])
    if protection is not None:
        found |= {name: value.clone() for name, value in protection.tensors().items()}
    return found


def masks_of(net):
    return {f"mask/{name}": layer.mask for name, layer in synapses(net).items() if layer.mask is not None}


def assert_same(one, other):
    assert one.keys() == other.keys()
    different = [name for name, value in one.items()
                 if not torch.equal(torch.nan_to_num(value, -1.0), torch.nan_to_num(other[name], -1.0))]  # fmt: skip
    assert not different


# What an importance sees


class Spy(importance.Importance):
    """Keeps all that it is shown, and the state of the network before every step."""

    name, accumulated, needs = "spy", True, frozenset({"independent", "full"})

    def __init__(self):
        self.tasks = []

    def start(self, net):
        self.tasks.append([])
        self.now = copy.deepcopy(net.state_dict())

    def observe(self, net, step):
        self.tasks[-1].append((self.now, copy.deepcopy(step)))
        self.now = copy.deepcopy(net.state_dict())

    def value(self):
        return {}


def gradient_of(net, x, y, head, objective):
    net.zero_grad()
    output = net(x) if head is None else net(x, head=head)
    losses = replica_cross_entropy(output, y) if objective is None else objective(output, x, y)
    losses.sum().backward()
    return {name: p.grad for name, p in net.named_parameters() if p.grad is not None}


def assert_equal(found, wanted):
    assert found.keys() == wanted.keys()
    assert all(torch.equal(value, wanted[name]) for name, value in found.items())


def distance(found, wanted):
    size = max(float(value.abs().max()) for value in wanted.values())
    return max(float((found[name] - value).abs().max()) for name, value in wanted.items()) / size


def square(output, x, y):
    return (output - x).square().mean((-1, -2))


def encoder(p=0.6):
    return synsim.mlp([64, 6, 64], p=p, bias=True, replicas=2, seed=SEEDS)


def single():
    return tuple(tasks.by_class(synsim.data.load("digits"), order=(3, 5)))


SEEN = {
    "plain": (lambda: network(1.0), sgd, digits, None),
    "stochastic": (network, presynaptic, digits, None),
    "adam": (network, adam, digits, None),
    "heads": (lambda: heads(0.5), presynaptic, lambda: digits("separate"), None),
    "auto-encoder": (encoder, sgd, single, square),
}


@pytest.mark.parametrize("kind", SEEN)
def test_an_importance_sees_the_gradients_of_the_task_at_w_t(kind):
    make, optimiser, sequence, objective = SEEN[kind]
    part, net, twin, spy = sequence()[:2], make(), make(), Spy()
    guard = Protection(importance.make("uniform"), consolidation.make("penalty", strength=0.5), watch={"spy": spy})
    train(net, optimiser(net), guard, part, epochs=2, objective=objective, tested_by=lambda net, task: torch.zeros(2))
    for index, task in enumerate(part):
        per_epoch = len(task.train) // BATCH
        assert [step.index for _, step in spy.tasks[index]] == list(range(2 * per_epoch))
        orders = [[order(SEEDS, index, epoch, len(task.train)) for epoch in range(2)]
                  for order in (tasks.epoch_order, tasks.independent_order)]  # fmt: skip
        for before, step in spy.tasks[index]:
            twin.load_state_dict(before)
            assert_equal(step.before, {name: p.detach() for name, p in twin.named_parameters()})
            epoch, at = divmod(step.index, per_epoch)
            own, other = ([*tasks.batches(order[epoch], BATCH)][at] for order in orders)
            with evaluation(twin, seed=1 + index) as passes:
                passes.at(step.index, 0, 0)
                independent = gradient_of(twin, *task.batch(other), task.head, objective)
            assert_equal(step.extra["independent"], independent)
            with expected(twin):
                rows = torch.arange(len(task.train))
                full = gradient_of(twin, *task.batch(rows.expand(2, -1)), task.head, objective)
            assert distance({name: step.extra["full"][name] for name in full}, full) < 1e-5
            assert all((value == 0).all() for name, value in step.extra["full"].items() if name not in full)
            assert_equal(step.gradient, gradient_of(twin, *task.batch(own), task.head, objective))
            assert distance(step.extra["independent"], step.gradient) > 0.05
            assert distance({name: step.extra["full"][name] for name in full}, step.gradient) > 0.01


def normed(dropout=0.0):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.Sequential(nn.Linear(64, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(dropout), nn.Linear(6, 2))


DROPPING = {"synapses and streams": (dropping, SEEDS), "torch": (lambda: normed(0.5), SEEDS[:1])}


@pytest.mark.parametrize("kind", DROPPING)
def test_importances_see_gradients_without_dropout(kind):
    make, seeds = DROPPING[kind]
    net, twin, spy = make(), make(), Spy()
    train(net, sgd(net), Protection(watch={"spy": spy}), seeds=seeds)
    for module in twin.modules():
        module.training = not isinstance(module, nn.Dropout | StreamDropout)
    for index, task in enumerate(digits()[:2]):
        orders = [order(seeds, index, 0, len(task.train)) for order in (tasks.epoch_order, tasks.independent_order)]
        for before, step in spy.tasks[index]:
            own, other = ([*tasks.batches(order, BATCH)][step.index] for order in orders)
            own, other = (task.batch(rows if len(seeds) > 1 else rows[0]) for rows in (own, other))
            twin.load_state_dict(before)
            with evaluation(twin, seed=1 + index) as passes:
                passes.at(step.index, 0, 0)
                assert_equal(step.extra["independent"], gradient_of(twin, *other, task.head, None))
            twin.load_state_dict(before)
            assert_equal(step.gradient, gradient_of(twin, *own, task.head, None))
            update = {name: -10 * value for name, value in step.delta.items()}
            assert distance(update, step.gradient) > 0.1, "the update has dropout"


@pytest.mark.parametrize("kind", ["penalty", "modulation"])
def test_the_step_is_shown_with_its_protection(kind):
    net, spy = network(1.0), Spy()
    options = {"strength": 0.5} if kind == "penalty" else {"strength": 2, "scale": "max"}
    kept = consolidation.make(kind, **options)
    guard = Protection(importance.make("magnitude"), kept, watch={"spy": spy})
    train(net, sgd(net), guard)
    other = network(1.0)
    for index, steps in enumerate(spy.tasks):
        after = [before for before, _ in steps[1:]]
        anchor = spy.tasks[1][0][1].before
        for (before, step), later in zip(steps, after, strict=False):
            other.load_state_dict(before)
            for name, g in step.gradient.items():
                assert torch.equal(step.delta[name], later[name] - before[name])
                pull = kept.importance[name] * (before[name] - anchor[name]) if index and kind == "penalty" else 0.0
                rate = kept.rate(net)[name] if index and kind == "modulation" else 1.0
                assert torch.allclose(step.delta[name], -0.1 * rate * (g + pull), rtol=1e-3, atol=1e-6)
    last, step = spy.tasks[1][-1]
    pull = max(float((kept.importance[name] * (last[name] - anchor[name])).abs().max()) for name in anchor)
    assert pull > 1e-3, "there was a penalty to be seen"
    assert all(torch.equal(step.delta[name], dict(net.named_parameters())[name].detach() - last[name])
               for name in step.delta)  # fmt: skip


# Watching


WATCHED = {
    "stochastic": (network, presynaptic),
    "plain, Adam": (lambda: network(1.0), adam),
    "heads": (lambda: heads(0.5), presynaptic),
    "BGD": (lambda: network(0.7), bgd),
    "masks per example": (lambda: network(scope="sample"), sgd),
    "several sites": (lambda: network(sites=3), presynaptic),
    "no replicas": (lambda: synsim.mlp([64, 6, 2], p=0.4, seed=1), presynaptic),
    "dropout": (dropping, sgd),
    "batch norm": (lambda: normed(0.0), sgd),
}


@pytest.mark.parametrize("kind", WATCHED)
def test_watching_changes_nothing(kind):
    make, optimiser = WATCHED[kind]
    part = digits("separate" if kind == "heads" else "shared")[:2]
    seeds = SEEDS[:1] if kind in ("no replicas", "batch norm") else SEEDS
    watched = every()
    if kind == "batch norm":
        watched.pop("release-probability")
    found = []
    for watch in ({}, watched):
        net = make()
        rule = optimiser(net)
        seen = {"seen": lambda net, task, found: torch.stack([value.sum() for one in found.values()
                for value in one.values()]).sum().expand(len(seeds))} if watch else {}  # fmt: skip
        guard = Protection(watch=watch, after_task=seen if len(seeds) > 1 else {})
        history = train(net, rule, guard, part, seeds=seeds)
        history.after_task.clear()
        found.append(state_of(net, rule, history) | masks_of(net))
    assert_same(*found)


@pytest.mark.parametrize("name", ["si-unbiased", "fisher", "path-integral"])
def test_watching_changes_nothing_under_a_protection(name):
    found = []
    for watch in ({}, every()):
        net = network()
        guard = Protection(measure(name), consolidation.make("penalty", strength=3), watch=watch)
        history = train(net, presynaptic(net), guard)
        found.append(state_of(net, None, history) | masks_of(net) | guard.consolidation.state_dict())
    assert_same(*found)


def test_measurements_after_a_task_see_the_importances_of_that_task():
    seen = []

    def look(net, task, found):
        seen.append((task.name, sorted(found), {name: value.clone() for name, value in found["size"].items()}))
        assert torch.equal(found["size"]["0.weight"], net[0].weight.detach().abs())
        return torch.stack([value.flatten(1).sum(1) for value in found["importance"].values()], 1)

    net = network()
    guard = Protection(
        measure("si"), consolidation.make("mask"), watch={"size": measure("magnitude")}, after_task={"sum": look}
    )
    history = train(net, presynaptic(net), guard, digits())
    assert [name for name, _, _ in seen] == ["0 1", "2 3", "4 5"]
    assert all(names == ["importance", "size"] for _, names, _ in seen)
    assert history.after_task["sum"].shape == (2, 3, 2)
    assert history.dataset()["sum"].dims == ("replica", "task", "sum_0")
    assert (history.after_task["sum"].sum(-1) > 0).all()
    bare = synsim.mlp([64, 6, 2], seed=1)
    one = train(bare, sgd(bare), Protection(after_task={"one": lambda *_: torch.ones(3)}), seeds=(1,))
    assert one.after_task["one"].shape == (1, 2, 3)


# Slower learning and freezing


@pytest.mark.parametrize("optimiser", [adam, presynaptic])
@pytest.mark.parametrize("how", ["freeze", "mask"])
def test_what_is_frozen_does_not_move_by_a_bit(how, optimiser):
    net, weights, rates = network(), [], []

    def look(net, task):
        weights.append([layer.weight.detach().clone() for layer in (net[0], net[2])])
        # Asked at the end of a task: what held while it was learned.
        rates.append([value.clone() for value in kept.rate(net).values()])
        return torch.zeros(2)

    kept = consolidation.make(how, share=0.5)
    rule = optimiser(net)
    train(net, rule, Protection(measure("magnitude"), kept), digits(), test=[], tested_by=look)
    for task in (1, 2):
        before, after, rate = (
            torch.cat([value.flatten() for value in one]) for one in (weights[task - 1], weights[task], rates[task])
        )
        share = 0.5 if how == "freeze" or task == 1 else 0.75
        assert float((rate == 0).float().mean()) == pytest.approx(share, abs=0.01)
        assert torch.equal(before[rate == 0], after[rate == 0])
        # Pixels at the edge of the image never change, and are still free.
        assert float((before != after)[rate == 1].float().mean()) > 0.5


@pytest.mark.parametrize(
    ("options", "rule"), [({}, "last"), ({"accumulate": "sum"}, "sum"), ({"accumulate": "decayed", "decay": 1}, "sum")]
)
def test_release_probabilities_of_several_tasks_do_not_add_up(options, rule):
    net, guards = network(0.25), {}
    for how, more in (("freeze", {"threshold": 0.9353}), ("modulation", {"scale": "none"}), ("penalty", {})):
        guards[how] = Protection(measure("release-probability"), consolidation.make(how, **more, **options))
        # No rule has moved p, so that at first nothing reaches the threshold.
        idle = pytest.warns(UserWarning, match="freeze holds no parameter: the largest importance is 0.25, below")
        for task in range(4):
            with idle if how == "freeze" and task == 0 else nullcontext():
                guards[how].finish(net, digits()[0], False)
    total = 0.25 if rule == "last" else 1.0
    for guard in guards.values():
        assert all((value == total).all() for value in guard.consolidation.importance.values())
    assert all((rate == (rule == "last")).all() for rate in guards["freeze"].consolidation.rate(net).values())
    assert all((rate == 1 - total).all() for rate in guards["modulation"].consolidation.rate(net).values())


def test_all_other_importances_add_up_over_tasks():
    assert {name for name in importance.available() if measure(name).accumulate != "sum"} == {"release-probability"}
    net = network(0.25)
    for inner, options in (("magnitude", {}), ("release-probability", {"anchors": "separate"})):
        guard = Protection(measure(inner), penalty(**options))
        for _ in range(3):
            guard.finish(net, digits()[0], False)
        once = measure(inner).estimate(net)
        assert all(torch.allclose(value, 3 * once[name]) for name, value in guard.consolidation.importance.items())


def test_rates_scale_the_step_that_adam_makes():
    deltas = []
    for strength in (0, 2):
        net, spy = network(1.0), Spy()
        kept = consolidation.make("modulation", strength=strength, scale="max")
        train(net, adam(net), Protection(measure("magnitude"), kept, watch={"spy": spy}))
        deltas.append(spy.tasks[1][0][1])
    free, slow = deltas
    assert_equal(free.gradient, slow.gradient)
    assert [min(float(rate[r].min()) for rate in kept.rate(net).values()) for r in range(2)] == [0, 0]
    for name, rate in kept.rate(net).items():
        assert torch.allclose(slow.delta[name], rate * free.delta[name], atol=1e-7)
        assert (slow.delta[name][rate == 0] == 0).all()


# Replicas that diverge


@pytest.mark.parametrize("optimiser", [sgd, presynaptic])
@pytest.mark.parametrize("name", ["fisher", "si-unbiased", "path-integral", "uniform", "release-probability"])
def test_a_replica_that_diverges_does_not_touch_the_others(name, optimiser):
    found = []
    for seeds, strength in (((1, 2, 3), [0.5, 1e30, 0.5]), ((1, 3), [0.5, 0.5])):
        net = network(0.4, seeds)
        guard = Protection(
            measure(name),
            consolidation.make("penalty", strength=strength),
            after_task={"size": lambda net, task, found: found["importance"]["0.weight"].flatten(1).sum(1)},
        )
        history = train(net, optimiser(net), guard, digits(), seeds=seeds)
        found.append((net, history, guard))
    (net, history, guard), (pair, reference, other) = found
    (failure,) = history.failures
    assert (failure.replica, failure.seed, failure.task) == (1, 2, "2 3")
    assert history.dataset().failed.values.tolist() == [False, True, False]
    assert not reference.failures
    for layer in (0, 2):
        assert torch.equal(net[layer].weight[[0, 2]], pair[layer].weight)
        assert torch.equal(net[layer].p[[0, 2]], pair[layer].p)
    for key in ("loss", "train_accuracy", "test_accuracy"):
        assert torch.equal(history.per_epoch[key][[0, 2]], reference.per_epoch[key])
    assert torch.equal(history.accuracy[[0, 2]], reference.accuracy)
    assert torch.equal(history.after_task["size"][[0, 2]], reference.after_task["size"])
    assert history.after_task["size"][1, 1:].tolist() == [0, 0]
    assert history.per_epoch["loss"][1].isnan().squeeze(-1).tolist() == [False, True, True]
    for key, value in guard.consolidation.importance.items():
        assert torch.equal(value[[0, 2]], other.consolidation.importance[key])


@pytest.mark.parametrize("name", ["si", "fisher"])
def test_a_replica_whose_importance_is_not_finite_is_held(name):
    class Overflowing(type(measure(name))):
        def value(self):
            return self.spoilt(super().value())

        def estimate(self, *args, **options):
            return self.spoilt(super().estimate(*args, **options))

        def spoilt(self, found):
            found["2.weight"][1] = torch.inf
            return found

    found, weights = [], []
    for seeds, inner in (((1, 2, 3), Overflowing(**OPTIONS.get(name, {}))), ((1, 3), measure(name))):
        net = network(0.4, seeds)
        look = {"weight": lambda net, task, found: net[0].weight.detach().flatten(1)}
        guard = Protection(inner, penalty(), after_task=look)
        history = train(net, presynaptic(net), guard, digits(), seeds=seeds)
        found.append((state_of(net), history))
        weights.append(history.after_task["weight"])
    (failure,) = found[0][1].failures
    assert (failure.replica, failure.task, failure.epoch, failure.step) == (1, "0 1", 0, 4)
    assert "its importance was not finite" in str(failure)
    assert torch.equal(weights[0][[0, 2]], weights[1])
    assert torch.equal(weights[0][1, 0], weights[0][1, 2])
    assert not torch.equal(weights[0][0, 0], weights[0][0, 2])


# Resuming


class KilledError(RuntimeError):
    """The run was cut off."""


class Memory:
    """A store that is cut off after some saves; a checkpoint goes through JSON and a copy, as through a file."""

    def __init__(self, saves=None):
        self.left, self.state, self.count = saves, None, 0

    def load(self):
        return None if self.state is None else (copy.deepcopy(self.state[0]), json.loads(self.state[1]))

    def save(self, tensors, meta):
        self.state = {name: value.detach().clone() for name, value in tensors.items()}, json.dumps(meta)
        self.count += 1
        if self.count == self.left:
            raise KilledError

    def due(self):
        return True


def size_of(net, task, found):
    sums = [value.flatten(1).sum(1) for one in found.values() for value in one.values()]
    return torch.stack(sums, 1)


def penalty(**options):
    return consolidation.make("penalty", strength=3.0, **options)


class Relative(importance.Importance):
    """Measured after a task, and yet with a state: sizes relative to those after the first task."""

    def __init__(self):
        self.first = {}

    def estimate(self, net, x, y=None, *, head=None):
        sizes = {name: p.detach().abs() for name, p in net.named_parameters()}
        self.first = self.first or {name: 1 + value for name, value in sizes.items()}
        return {name: value / self.first[name] for name, value in sizes.items()}

    def state_dict(self):
        return dict(self.first)

    def load_state_dict(self, state):
        self.first = dict(state)


RESUMED = {
    "si-unbiased": (network, presynaptic, lambda: Protection(measure("si-unbiased"), penalty()), {}),
    "path-integral": (network, sgd, lambda: Protection(measure("path-integral"), penalty(anchors="separate")), {}),
    "sos": (
        network,
        presynaptic,
        lambda: Protection(measure("sos"), consolidation.make("modulation", strength=[0.5, 2.0])),
        {},
    ),
    "fisher": (
        network,
        presynaptic,
        lambda: Protection(measure("fisher"), penalty(accumulate="decayed", decay=0.5), after_task={"size": size_of}),
        {},
    ),
    "Adam": (
        lambda: network(1.0),
        adam,
        lambda: Protection(
            measure("si"),
            penalty(accumulate="average", decay=0.5),
            reset_optimiser=True,
            reinitialise=lambda net, task: redraw(net, draw=task),
        ),
        {},
    ),
    "freeze": (
        lambda: network(1.0),
        adam,
        lambda: Protection(measure("si"), consolidation.make("freeze", share=0.5, accumulate="average", decay=0.5)),
        {},
    ),
    "Adam, heads": (heads, adam, lambda: Protection(measure("online-absolute-fisher"), penalty()), {}),
    "watched": (
        network,
        presynaptic,
        lambda: Protection(measure("mas"), consolidation.make("mask"), watch=every(), after_task={"size": size_of}),
        {},
    ),
    "measured, with a state": (
        network,
        presynaptic,
        lambda: Protection(Relative(), penalty(), after_task={"size": size_of}),
        {},
    ),
    "steps": (network, presynaptic, lambda: Protection(measure("si-bias"), penalty()), {"steps": 6}),
    "BGD": (network, bgd, lambda: Protection(watch={"si": measure("si-unbiased")}), {}),
    "diverging": (
        network,
        sgd,
        lambda: Protection(
            measure("si-unbiased"),
            consolidation.make("penalty", strength=[1.0, 1e30]),
            watch={"fisher": measure("fisher")},
            after_task={"size": size_of},
        ),
        {},
    ),
}


def resumed(kind, store):
    make, optimiser, guard, options = RESUMED[kind]
    net, protection = make(), guard()
    rule = optimiser(net)
    part = digits("separate" if kind == "Adam, heads" else "shared")[:2]
    history = train(net, rule, protection, part, **({"epochs": 2} | options if "steps" not in options else options),
                    store=store, test_every_epoch=False)  # fmt: skip
    return state_of(net, rule, history, protection)


@functools.cache
def whole(kind):
    store = Memory()
    found = resumed(kind, store)
    return found, store.count


def assert_resumed(kind, saves):
    store = Memory(saves)
    with pytest.raises(KilledError):
        resumed(kind, store)
    assert_same(resumed(kind, store), whole(kind)[0])


# Per task: four steps, the end of an epoch, four steps, the end of the task. (With 6 steps it is one each.)
@pytest.mark.parametrize("saves", [2, 5, 7, 10, 12, 15, 17])
@pytest.mark.parametrize("kind", RESUMED)
def test_a_run_that_was_cut_off_ends_with_the_same_bits(kind, saves):
    if kind == "steps":
        saves -= saves > 6
    assert_resumed(kind, saves)


@pytest.mark.parametrize("saves", [4, 9, 14, 19])
def test_a_run_that_was_cut_off_between_the_last_step_and_the_test(saves):
    assert_resumed("si-unbiased", saves)


def test_every_run_that_is_cut_off_went_where_it_should():
    assert {kind: whole(kind)[1] for kind in RESUMED} == {kind: 16 if kind == "steps" else 20 for kind in RESUMED}
    assert whole("diverging")[0]["failures"][:, 0].tolist() == [1]
    assert any(name.startswith("optimiser/") and name.endswith("exp_avg") for name in whole("Adam")[0])


def test_a_finished_run_is_not_trained_again():
    store = Memory()
    first = resumed("fisher", store)
    count = store.count
    second = resumed("fisher", store)
    assert store.count == count
    assert_same(first, second)


# Fresh starts


def test_the_optimiser_and_the_parameters_start_anew():
    started = {}

    def fresh(net, task):
        redraw(net, draw=task)
        started[task] = [p.detach().clone() for p in net.parameters()]

    net, spy = network(1.0), Spy()
    rule = adam(net)
    guard = Protection(watch={"spy": spy}, reset_optimiser=True, reinitialise=fresh)
    train(net, rule, guard, digits())
    assert list(started) == [1, 2]
    for task in (1, 2):
        other = redraw(network(1.0), draw=task)
        assert all(torch.equal(a, b) for a, b in zip(started[task], other.parameters(), strict=True))
        first = spy.tasks[task][0][1]
        for value, start in zip(first.before.values(), started[task], strict=True):
            assert torch.equal(value, start)
        # Adam's first step is lr · sign(g) where g is not tiny; with old moments it would not be.
        for name, g in first.gradient.items():
            large = g.abs() > 1e-3
            assert large.any()
            assert torch.allclose(first.delta[name][large], -0.01 * g[large].sign(), rtol=1e-3)
    assert {int(entry["step"]) for entry in rule.state.values()} == {4}


FRESH = {
    "modulation": ({"strength": 1.0}, adam, "reinitialise goes with a penalty .* got 'modulation'"),
    "freeze": ({"share": 0.5}, adam, "reinitialise goes with a penalty .* got 'freeze'"),
    "mask": ({"share": 0.5}, presynaptic, "reinitialise goes with a penalty .* got 'mask'"),
    "BGD": (None, bgd, "and reinitialise, which would forget what it remembers"),
    "penalty": ({"strength": 1.0}, adam, None),
}


@pytest.mark.parametrize("kind", FRESH)
def test_fresh_parameters_need_something_that_pulls_them_back(kind):
    options, optimiser, message = FRESH[kind]
    kept = None if options is None else consolidation.make(kind, **options)
    guard = Protection(measure("magnitude"), kept, reinitialise=lambda net, task: redraw(net, draw=task))
    net = network()
    rule = optimiser(net)
    before = state_of(net)
    if message is None:
        train(net, rule, guard)
        return
    with pytest.raises(ValueError, match=message):
        train(net, rule, guard)
    assert_same(state_of(net), before)


def test_an_importance_for_batches_of_another_size():
    sos = importance.make("sos", alpha="unbiased", batch=256)
    for guard, name in ((Protection(sos, penalty()), "importance"), (Protection(watch={"seen": sos}), "seen")):
        with pytest.raises(ValueError, match=rf"{name} \('sos'\) was built for batch=256, got batches of 70"):
            train(network(), presynaptic(network()), guard)
    for options in ({"alpha": 1.0}, {"alpha": 0.0, "batch": 256}, {"alpha": "unbiased", "batch": BATCH}):
        net = network()
        train(net, presynaptic(net), Protection(watch={"seen": importance.make("sos", **options)}), digits()[:1])


# BGD


def test_bgd_refuses_a_penalty():
    for strength in (1, [0.0, 1.0]):
        net = network()
        guard = Protection(importance.make("uniform"), consolidation.make("penalty", strength=strength))
        with pytest.raises(ValueError, match="BGD protects by itself, with the spread of its weights"):
            train(net, bgd(net), guard)
    net = network()
    with pytest.raises(ValueError, match="BGD protects by itself"):
        train(net, bgd(net), penalty=dict)


def test_bgd_learns_through_the_loop():
    net = network(1.0)
    rule = BGD(net, sigma=0.05, samples=3, scale=BATCH)
    start = [rule.state[p]["sigma"].clone() for p in net.parameters()]
    history = train(net, rule, part=digits()[:1], epochs=4)
    assert float(history.accuracy.min()) > 0.95
    assert net[0].draws == 4 * 4 * (1 + 3), "one pass to look at, three to learn from"
    moved = [rule.state[p]["sigma"] < before for p, before in zip(net.parameters(), start, strict=True)]
    assert all(float(one.float().mean()) > 0.3 for one in moved)
    assert {rule.state[p]["step"] for p in net.parameters()} == {16}


# Steps in place of epochs


@pytest.mark.parametrize(("steps", "rounds"), [(3, 1), (4, 1), (6, 2), (9, 3)])
def test_steps_in_place_of_epochs(steps, rounds):
    net, spy = network(), Spy()
    history = train(net, presynaptic(net), Protection(watch={"spy": spy}), steps=steps)
    assert [[step.index for _, step in task] for task in spy.tasks] == [list(range(steps))] * 2
    assert net[0].draws == 2 * steps
    assert history.epochs == rounds
    assert history.per_epoch["loss"].shape == (2, 2, rounds)
    assert history.per_epoch["loss"].isfinite().all()


def test_whole_epochs_of_steps_are_epochs():
    found = []
    for options in ({"steps": 8}, {"epochs": 2}):
        net = network()
        found.append(state_of(net, None, train(net, presynaptic(net), **options)))
    assert_same(*found)


def test_the_loss_of_an_incomplete_round_is_the_mean_over_its_steps():
    losses = []

    def count(output, x, y):
        found = replica_cross_entropy(output, y)
        losses.append(found.detach().double())
        return found

    net = network()
    history = train(net, presynaptic(net), part=digits()[:1], steps=6, objective=count,
                    tested_by=lambda net, task: torch.zeros(2))  # fmt: skip
    assert len(losses) == 6
    for at, span in enumerate((slice(0, 4), slice(4, 6))):
        assert torch.allclose(history.per_epoch["loss"][:, 0, at], torch.stack(losses[span]).mean(0), rtol=1e-12)


@pytest.mark.parametrize("options", [{"epochs": 1, "steps": 1}, {"epochs": None, "steps": None}])
def test_either_epochs_or_steps(options):
    net = network()
    with pytest.raises(ValueError, match="give either epochs or steps"):
        train(net, sgd(net), **options)


# Another objective


@pytest.mark.parametrize("name", ["mas", "si-unbiased", "path-integral"])
def test_an_auto_encoder_learns_under_protection(name):
    def error(net, task):
        with torch.no_grad():
            x = task.test[0 : len(task.test)]
            return (net(x) - x).abs().mean((-1, -2))

    part = single()
    assert [task.name for task in part] == ["3", "5"]
    inner = importance.make("mas", of="logits", images=12) if name == "mas" else measure(name)
    results = []
    for strength in (0.0, 20.0):
        net = encoder(1.0)
        before = error(net, part[0])
        guard = Protection(inner, consolidation.make("penalty", strength=strength))
        history = train(net, adam(net), guard, part, epochs=15, objective=square, tested_by=error)
        assert torch.equal(history.accuracy[:, 1, 0], error(net, part[0]).double())
        assert torch.equal(history.accuracy[:, 1, 1], history.per_epoch["test_accuracy"][:, 1, -1])
        assert history.per_epoch["train_accuracy"].isnan().all()
        assert (history.per_epoch["loss"][:, 0, -1] < 0.6 * history.per_epoch["loss"][:, 0, 0]).all()
        assert (history.accuracy[:, 0, 0] < 0.7 * before).all()
        results.append(history.accuracy)
    assert torch.equal(results[0][:, 0], results[1][:, 0])
    assert not torch.equal(results[0][:, 1], results[1][:, 1])


# Streams in which a penalty cannot work


def incremental():
    return [
        replace(task, train=replace(task.train, labels=task.train.labels + 2 * k),
                test=replace(task.test, labels=task.test.labels + 2 * k), classes=6)
        for k, task in enumerate(digits())
    ]  # fmt: skip


def test_class_incremental_learning_is_warned_of():
    net = synsim.mlp([64, 6, 6], replicas=2, seed=SEEDS)
    with pytest.warns(UserWarning, match=r"class-incremental.*van de Ven, Tuytelaars & Tolias 2022.*heads='separate'"):
        train(net, presynaptic(net), Protection(importance.make("uniform"), penalty()), incremental())


@pytest.mark.parametrize("kind", ["shared", "separate", "one task", "no consolidation", "permuted"])
def test_other_streams_are_not_warned_of(kind):
    part = {
        "shared": digits,
        "separate": lambda: digits("separate"),
        "one task": lambda: incremental()[:1],
        "no consolidation": incremental,
        "permuted": lambda: tasks.permuted(synsim.data.load("digits"), tasks=2),
    }[kind]()
    uniform = importance.make("uniform")
    guard = Protection(watch={"one": uniform}) if kind == "no consolidation" else Protection(uniform, penalty())
    guard.check(part)  # warnings are errors here


# Heads


@pytest.mark.parametrize("optimiser", [adam, presynaptic, sgd])
@pytest.mark.parametrize(
    "name", [name for name in importance.available() if name not in ("release-probability", "magnitude", "uniform")]
)
def test_other_heads_do_not_move_and_do_not_matter(name, optimiser):
    net, seen, states = heads(0.7), [], []

    def look(net, task, found):
        seen.append({key: value.clone() for key, value in found["importance"].items()})
        states.append({key: value.clone() for key, value in net.state_dict().items()})
        return torch.zeros(2)

    start = {key: value.clone() for key, value in net.state_dict().items()}
    guard = Protection(measure(name), penalty(), after_task={"look": look})
    train(net, optimiser(net), guard, digits("separate")[:2])
    for task, (before, after) in enumerate(((start, states[0]), (states[0], states[1]))):
        assert seen[task].keys() == dict(net.named_parameters()).keys()
        for head in range(3):
            for key in ("weight", "bias", "p"):
                at = f"heads.{head}.{key}"
                assert torch.equal(before[at], after[at]) == (head != task or (key == "p" and optimiser != presynaptic))
                if key != "p":
                    assert bool((seen[task][at] > 0).any()) == (head == task)
        assert not torch.equal(before["trunk.0.weight"], after["trunk.0.weight"])
        assert (seen[task]["trunk.0.weight"] > 0).any()


# What does not fit together


def test_a_consolidation_needs_an_importance():
    with pytest.raises(ValueError, match=r"a consolidation needs an importance: give synsim.importance.make"):
        Protection(None, penalty())
    with pytest.raises(ValueError, match="'importance' is the name of the importance that protects"):
        Protection(watch={"importance": measure("si")})
    net = network()
    with pytest.raises(ValueError, match="give either a penalty or a protection, not both"):
        train(net, sgd(net), Protection(), penalty=dict)


# Phases of a session


def session_of(path, **options):
    return Session(records.create(path, {"name": "phases"}, **options))


def phase_of(session, net, calls, strength=1.0, **options):
    def go(store):
        calls.append(1)
        guard = Protection(importance.make("uniform"), consolidation.make("penalty", strength=strength))
        return train(net, sgd(net), guard, store=store)

    return session.phase("one", net, go, **options)


@pytest.mark.parametrize("keep", [True, False])
def test_a_finished_phase_is_taken_from_the_checkpoint(keep, tmp_path):
    calls, net = [], network()
    session = session_of(tmp_path / "run")
    first = phase_of(session, net, calls, keep=keep)
    assert bool(first.state) == keep
    kept = [name for name in session.folder.load_checkpoint()[0] if "net/" in name]
    assert bool(kept) == keep
    later, other = session_of(tmp_path / "run", resume=True), network()
    again = phase_of(later, other, calls, keep=keep)
    assert len(calls) == (2 if keep else 1)
    assert again.dataset.identical(first.dataset)
    assert torch.equal(other[0].weight, net[0].weight) == keep
    later.finish(again.dataset, [])
    assert records.open(tmp_path / "run").run["status"] == "finished"


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("sweep", [False, True])
def test_in_a_sweep_a_replica_that_diverges_is_a_result(sweep, resume, tmp_path):
    calls = []
    session = session_of(tmp_path / "run")
    phase = phase_of(session, network(), calls, [1.0, 1e30], keep=False, sweep=sweep)
    if resume:
        session = session_of(tmp_path / "run", resume=True)
        phase = phase_of(session, network(), calls, [1.0, 1e30], keep=False, sweep=sweep)
    assert len(calls) == 1
    assert phase.dataset.failed.values.tolist() == [False, True]
    assert "replica 1 (seed 2) failed in task '2 3'" in phase.dataset.attrs["failures"]
    if sweep:
        session.finish(phase.dataset, [])
    else:
        with pytest.raises(TrainingFailedError, match=r"one: replica 1 \(seed 2\) failed"):
            session.finish(phase.dataset, [])
    run = records.open(tmp_path / "run").run
    assert (run["status"], len(run["failures"])) == (("finished", 0) if sweep else ("failed", 1))


class Watching(importance.Importance):
    """An importance of one's own, which notes the labels that it is given."""

    name = "watching"

    def __init__(self):
        self.labels = []

    def estimate(self, net, x, y=None, *, head=None):
        self.labels.append(y)
        return {name: torch.ones_like(p) for name, p in net.named_parameters()}


def test_names_stand_for_what_they_make_and_labels_are_given():
    ours, others = network(), network()
    for net, guard in (
        (ours, Protection("si", "penalty", strength=0.3)),
        (others, Protection(importance.make("si"), consolidation.make("penalty", strength=0.3))),
    ):
        train(net, sgd(net), guard, steps=5)
    assert_same(state_of(ours), state_of(others))
    with pytest.raises(ValueError, match="importance must be one of"):
        Protection("nothing", "penalty")
    with pytest.raises(ValueError, match="give the object its strength"):
        Protection("si", consolidation.make("penalty"), strength=0.3)
    with pytest.raises(ValueError, match="needs an importance"):
        Protection(consolidation="penalty")
    own, net = Watching(), network()
    train(net, sgd(net), Protection(own, "penalty"), steps=2)
    assert torch.equal(own.labels[0], digits()[0].train.y)
