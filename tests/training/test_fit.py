"""What a call of fit keeps, refuses and can be asked: schedules, other optimisers, frozen layers, stopping."""

import json

import numpy as np
import pytest
import torch
from memory import Memory
from torch import nn
from torch.optim import lr_scheduler as schedules

import synsim
from synsim import consolidation, importance, tasks
from synsim.training import Protection, TrainingStoppedError, fit
from synsim.training.engine import remember
from synsim.training.trees import decode, encode

pytestmark = pytest.mark.usefixtures("one_thread")

RULE = {"p_up": 0.07, "p_down": 0.05, "g_lim": 0.005}


@pytest.fixture(scope="module")
def digits():
    return tuple(tasks.split(synsim.data.load("digits"))[:2])


def plain():
    net = nn.Sequential(nn.Linear(64, 6), nn.ReLU(), nn.Linear(6, 2))
    drawn = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=drawn) * 0.2)
    return net


def state(net):
    return torch.cat([t.detach().double().flatten() for t in (*net.parameters(), *net.buffers())])


SCHEDULES = {
    "MultiStepLR": lambda o: schedules.MultiStepLR(o, [1, 2]),
    "LambdaLR": lambda o: schedules.LambdaLR(o, lambda e: 0.5**e),
    "CosineAnnealingLR": lambda o: schedules.CosineAnnealingLR(o, 3),
    "OneCycleLR": lambda o: schedules.OneCycleLR(o, 0.1, total_steps=50, cycle_momentum=False),
    "CyclicLR": lambda o: schedules.CyclicLR(o, 0.01, 0.1, cycle_momentum=False),
    "SequentialLR": lambda o: schedules.SequentialLR(
        o, [schedules.ConstantLR(o, 0.1, 2), schedules.MultiStepLR(o, [1, 3])], [2]
    ),
    "ReduceLROnPlateau": lambda o: schedules.ReduceLROnPlateau(o, patience=0, threshold=10.0),
}


# The SequentialLR of some versions of torch (such as 2.8) warns of its own steps.
@pytest.mark.filterwarnings("ignore:The epoch parameter in `scheduler.step:UserWarning")
@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("every", ["epoch", "step"])
def test_a_scheduled_run_goes_on_to_the_same_bits(digits, name, every):
    if (name, every) == ("ReduceLROnPlateau", "step"):
        net = plain()
        optimiser = torch.optim.SGD(net.parameters(), 0.1)
        options = {"scheduler": SCHEDULES[name], "schedule_every": every}
        with pytest.raises(ValueError, match="ReduceLROnPlateau is stepped by the mean training loss"):
            fit(net, optimiser, digits, seeds=[0], epochs=1, batch=70, **options)
        return

    def run(store):
        net = plain()
        optimiser = torch.optim.SGD(net.parameters(), 0.1)
        options = {"scheduler": SCHEDULES[name](optimiser), "schedule_every": every, "store": store}
        fit(net, optimiser, digits, seeds=[0], epochs=2, batch=70, samples=1, **options)
        return state(net), optimiser.param_groups[0]["lr"]

    whole = Memory()
    expected = run(whole)
    assert expected[1] != 0.1
    for moment in (2, 6, len(whole.all) - 3):
        found = run(Memory(whole.all[moment]))
        assert torch.equal(found[0], expected[0])
        assert found[1] == expected[1]


def test_a_schedule_per_replica_goes_on_and_moves_the_rates_by_epoch(digits):
    seen = []

    def run(store):
        net = synsim.mlp([64, 6, 2], p=0.5, replicas=2, seed=1)
        rule = synsim.PresynapticSGD(net, torch.tensor([0.08, 0.04]), **RULE)
        probes = {"rate": lambda net, task: rule.param_groups[0]["lr"].clone()}
        history = fit(net, rule, digits, seeds=np.array([1, 2]), epochs=2, batch=70, samples=1, probes=probes,
                      scheduler=lambda o: schedules.ExponentialLR(o, 0.5), store=store)  # fmt: skip
        seen.append(history.per_epoch["rate"])
        return state(net)

    whole = Memory()
    expected = run(whole)
    assert torch.equal(run(Memory(whole.all[5])), expected)
    factors = torch.tensor([1, 0.5, 0.25, 0.125], dtype=torch.float64).reshape(2, 2)
    torch.testing.assert_close(seen[0][0], 0.08 * factors, rtol=1e-6, atol=0)
    torch.testing.assert_close(seen[1][1], 0.04 * factors, rtol=1e-6, atol=0)


def test_other_schedules_and_other_constants_on_resuming(digits):
    def run(store, scheduler=None, lr=0.1):
        net = plain()
        fit(net, torch.optim.SGD(net.parameters(), lr), digits, seeds=[0], epochs=1, batch=70, samples=1,
            scheduler=scheduler, store=store)  # fmt: skip
        return state(net)

    bare, scheduled = Memory(), Memory()
    run(bare)
    run(scheduled, SCHEDULES["LambdaLR"])
    with pytest.raises(ValueError, match="has the scheduler: none; this call of fit has: LambdaLR per epoch"):
        run(Memory(bare.all[1]), SCHEDULES["LambdaLR"])
    with pytest.raises(ValueError, match="has the scheduler: LambdaLR per epoch; this call of fit has: none"):
        run(Memory(scheduled.all[1]))
    with pytest.warns(UserWarning, match=r"begun with other constants: lr of group 0 \(was 0.1, is 0.5\)"):
        changed = run(Memory(bare.all[1]), lr=0.5)
    assert not torch.equal(changed, run(Memory(bare.all[1])))


def test_an_edit_of_a_constant_survives_an_interruption(digits):
    def run(store):
        net = synsim.mlp([64, 6, 2], p=0.5, seed=1)
        rule = synsim.PresynapticSGD(net, 0.05, **RULE)

        def edit(net, task):
            rule.param_groups[0]["p_up"] *= 0.5
            net[0].requires_grad_(False)
            return torch.tensor(0.0)

        fit(net, rule, digits, seeds=[1], epochs=2, batch=70, samples=1, probes={"edit": edit}, store=store)
        return state(net)

    whole = Memory()
    expected = run(whole)
    for moment in (5, 8):
        assert torch.equal(run(Memory(whole.all[moment])), expected)


def test_a_scheduler_that_fit_was_not_given_is_named(digits):
    net = plain()
    optimiser = torch.optim.SGD(net.parameters(), 0.1)
    schedules.ExponentialLR(optimiser, 0.5)
    with pytest.warns(UserWarning, match=r"give it as fit\(scheduler=...\)"):
        fit(net, optimiser, digits[:1], seeds=[0], epochs=1, batch=70, samples=1, store=Memory())


def test_lbfgs_learns_and_goes_on_to_the_same_bits(digits):
    def run(store=None, **options):
        net = plain()
        optimiser = torch.optim.LBFGS(net.parameters(), 0.5, max_iter=5)
        history = fit(net, optimiser, digits, seeds=[0], epochs=1, batch=70, samples=1, store=store, **options)
        return state(net), history

    whole = Memory()
    expected, history = run(whole)
    assert float(history.accuracy[0, 0, 0]) > 0.8
    for moment in (1, 5):
        assert torch.equal(run(Memory(whole.all[moment]))[0], expected)
    guard = Protection(importance.make("uniform"), consolidation.make("penalty"))
    with pytest.raises(ValueError, match="LBFGS looks at the loss at several weights"):
        run(protection=guard)
    many = synsim.mlp([64, 6, 2], replicas=2)
    with pytest.raises(ValueError, match="LBFGS looks at one loss and would couple the replicas"):
        fit(many, torch.optim.LBFGS(many.parameters()), digits, seeds=[0, 1], epochs=1, batch=70)


@pytest.mark.parametrize("kind", consolidation.available(owns=False))
@pytest.mark.parametrize("name", ["si", "fisher", "magnitude"])
@pytest.mark.parametrize("when", [1, 2])
def test_a_layer_frozen_in_a_run_rests_and_the_others_learn(digits, kind, name, when):
    net, calls, kept = plain(), [], {}

    def freeze(net, task):
        calls.append(task)
        if len(calls) == when:
            net[0].requires_grad_(False)
            kept["first"], kept["last"] = net[0].weight.detach().clone(), net[2].weight.detach().clone()
        return 0.0

    options = {"share": 0.3} if kind == "freeze" else {}
    guard = Protection(importance.make(name), consolidation.make(kind, **options))
    fit(net, torch.optim.SGD(net.parameters(), 0.1), digits, seeds=[0], epochs=2, batch=70, samples=1,
        protection=guard, probes={"freeze": freeze})  # fmt: skip
    assert torch.equal(net[0].weight, kept["first"])
    if kind != "mask":
        assert not torch.equal(net[2].weight, kept["last"])


@pytest.mark.parametrize(("when", "late"), [(1, True), (2, False)])
def test_a_layer_released_within_a_task_is_refused_where_it_adds_up_from_the_start(digits, when, late):
    net, calls = plain(), []
    net[0].requires_grad_(False)

    def release(net, task):
        calls.append(task)
        if len(calls) == when:
            net[0].requires_grad_(True)
        return 0.0

    guard = Protection(importance.make("si"), consolidation.make("penalty"))
    arguments = (net, torch.optim.SGD(net.parameters(), 0.1), digits)
    options = {"seeds": [0], "epochs": 2, "batch": 70, "samples": 1, "protection": guard, "probes": {"r": release}}
    if late:
        with pytest.raises(ValueError, match=r"0.bias, 0.weight began to be trained within task '0 1', but si adds up"):
            fit(*arguments, **options)
    else:
        fit(*arguments, **options)


def test_protection_leaves_the_rule_of_a_consolidation_as_it_was():
    kept = consolidation.make("penalty")
    assert kept.accumulation.rule == "sum"
    net = synsim.mlp([3, 2], p=0.5)
    one = {"0.weight": torch.ones(2, 3)}
    for _ in range(2):
        remember(kept, net, one, "last")
    assert kept.importance["0.weight"].unique().tolist() == [1.0]
    kept.remember(net, one)
    assert kept.importance["0.weight"].unique().tolist() == [2.0]


@pytest.mark.parametrize("moment", [1, 3, 4, 9])
def test_a_run_that_is_asked_to_stop_keeps_what_it_reached(digits, moment):
    def run(store, stop=None):
        net = plain()
        fit(net, torch.optim.SGD(net.parameters(), 0.1), digits, seeds=[0], epochs=2, batch=70, samples=1,
            store=store, stop=stop)  # fmt: skip
        return state(net)

    asked = []

    def stop():
        asked.append(1)
        return len(asked) == moment

    expected, store = run(Memory()), Memory(due=False)
    with pytest.raises(TrainingStoppedError, match=r"stopped in task .* resume to go on") as stopped:
        run(store, stop)
    assert stopped.value.history.trained == ("0 1", "2 3")
    assert torch.equal(run(Memory(store.all[-1])), expected)


def test_bad_arguments_are_named(digits):
    net = plain()
    sgd = torch.optim.SGD(net.parameters(), 0.1)
    options = {"seeds": [0], "epochs": 1, "batch": 70}
    with pytest.raises((TypeError, ValueError), match="optimiser must be"):
        fit(net, None, [], seeds=[0])
    with pytest.raises(ValueError, match="at least one task"):
        fit(net, sgd, (task for task in ()), **options)
    with pytest.raises(ValueError, match="tasks must be tasks"):
        fit(net, sgd, [net], **options)
    with pytest.raises(ValueError, match="holds none of the parameters"):
        fit(net, torch.optim.SGD(plain().parameters(), 0.1), digits, **options)
    with pytest.warns(UserWarning, match=r"does not hold 0.weight, 0.bias: they stay as they are"):
        fit(net, torch.optim.SGD(net[2].parameters(), 0.1), digits[:1], **options)
    other = schedules.ExponentialLR(torch.optim.SGD(plain().parameters(), 0.1), 0.5)
    with pytest.raises(ValueError, match="moves the constants of another optimiser"):
        fit(net, sgd, digits, scheduler=other, **options)
    with pytest.raises(ValueError, match="probe 'odd' must be a number or one per replica"):
        fit(net, sgd, digits, probes={"odd": lambda net, task: torch.ones(3)}, **options)
    net.requires_grad_(False)
    with pytest.raises(ValueError, match="nothing to train"):
        fit(net, sgd, digits, **options)


def test_tasks_may_come_from_a_generator_and_numbers_from_numpy(digits):
    accuracies = []
    for part, seeds, batch in ((digits, [3], 70), ((task for task in digits), np.array([3]), np.int64(70))):
        net = plain()
        history = fit(net, torch.optim.SGD(net.parameters(), 0.1), part, seeds=seeds, epochs=np.int64(1), batch=batch)
        accuracies.append(history.accuracy)
    assert torch.equal(*accuracies)


def test_nested_state_becomes_json_and_comes_back():
    value = {"a": [1, (2.5, None, float("inf"))], "t": torch.ones(2), 3: np.float64(0.5), "s": "x", "b": True}
    tensors = {}
    tree = json.loads(json.dumps(encode(value, "v", tensors), allow_nan=False))
    found = decode(tree, tensors, value)
    assert torch.equal(found.pop("t"), value.pop("t"))
    assert found == value
    assert isinstance(found["a"][1], tuple)
    with pytest.raises(TypeError, match="v/f is a function, which a checkpoint can't keep"):
        encode({"f": lambda: 1}, "v", {})


def test_each_epoch_is_told_as_a_row(digits):
    net, rows = synsim.mlp([64, 6, 2], p=0.5, replicas=2, seed=[3, 7]), []
    guard = Protection(watch={"si": importance.make("si")}, after_task={"sum": lambda net, task, found: torch.ones(2)})
    rule, options = synsim.PresynapticSGD(net, 0.05, **RULE), {"epochs": 2, "batch": 70, "samples": 1, "probe_every": 2}
    probes = {"p": lambda net, task: net[0].p.mean((-1, -2))}
    history = fit(net, rule, digits, **options, probes=probes, protection=guard, on_epoch=rows.append)
    assert history.seeds == (3, 7)
    assert [(row["task"], row["epoch"], row["step"]) for row in rows] == [
        ("0 1", 0, 4), ("0 1", 1, 8), ("2 3", 0, 4), ("2 3", 1, 8),
    ]  # fmt: skip
    for row in rows:
        index = history.trained.index(row["task"])
        for name, values in history.per_epoch.items():
            found = torch.tensor(row[name], dtype=torch.float64)
            assert torch.equal(found.nan_to_num(-1.0), values[..., index, row["epoch"]].nan_to_num(-1.0)), name
        assert (row["p"][0] != row["p"][0]) == (row["epoch"] == 0)
        if row["epoch"]:
            assert row["accuracy"] == history.accuracy[:, index].tolist()
        assert ("sum" in row, "accuracy" in row) == (row["epoch"] == 1, row["epoch"] == 1)
    assert json.loads(json.dumps(rows[1])) == rows[1]
    with pytest.raises(ValueError, match="probe 'step' has the name of an entry"):
        fit(net, rule, digits, **options, probes={"step": probes["p"]}, on_epoch=rows.append)


def test_without_seeds_those_of_the_network_order_the_examples(digits):
    def run(net, optimiser, **options):
        return fit(net, optimiser, digits[:1], epochs=1, batch=70, samples=1, **options)

    states = []
    for seeds in (None, (0,)):
        net = plain()
        assert run(net, torch.optim.SGD(net.parameters(), 0.1), seeds=seeds).seeds == (0,)
        states.append(state(net))
    assert torch.equal(*states)

    # A network that nobody seeded draws its seeds; a run that goes on does so with those that it began with.
    def drawn(store):
        net = nn.Sequential(synsim.BernoulliLinear(64, 2, p=0.5))
        history = run(net, synsim.PresynapticSGD(net, 0.05, **RULE), store=store)
        return net, history

    whole = Memory()
    expected, history = drawn(whole)
    found, later = drawn(Memory(whole.all[1]))
    assert history.seeds == expected[0].seeds == later.seeds
    assert torch.equal(state(found), state(expected))


@pytest.mark.parametrize("epoch", [0, 1, 3])
def test_a_callback_that_raises_loses_nothing_and_is_called_again(digits, epoch):
    def run(store, fails=None):
        net, told = plain(), []
        optimiser = torch.optim.SGD(net.parameters(), 0.1)

        def on_epoch(row):
            told.append(row)
            if len(told) - 1 == fails:
                raise OSError("no space left")
            optimiser.param_groups[0]["lr"] *= 0.5

        scheduler = schedules.ExponentialLR(optimiser, 0.9)
        options = {"scheduler": scheduler, "on_epoch": on_epoch, "store": store}
        try:
            fit(net, optimiser, digits, seeds=[0], epochs=2, batch=70, samples=1, **options)
        except OSError:
            assert fails is not None
        return state(net), [{**row, "seconds": 0.0} for row in told], optimiser.param_groups[0]["lr"]

    whole, store = run(Memory(due=False)), Memory(due=False)
    _, first, _ = run(store, epoch)
    found, rest, lr = run(Memory(store.all[-1], due=False))
    assert torch.equal(found, whole[0])
    assert lr == whole[2]
    assert [first[:-1], first[-1:], rest[1:]] == [whole[1][:epoch], rest[:1], whole[1][epoch + 1 :]]
    # A run that is killed repeats what was not saved, and tells of it again.
    every = Memory()
    run(every)
    assert run(Memory(every.all[2]))[1] == whole[1]
