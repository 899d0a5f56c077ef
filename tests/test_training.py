"""The loop: what it measures, that a replica is itself among others, and what happens to one that fails."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from memory import Memory

import synsim
from synsim import records, tasks
from synsim.meters import accuracy
from synsim.training import Session, TrainingFailedError, fit, train_step
from synsim.training.step import finite_replicas

RULE = {"p_up": 0.07, "p_down": 0.05, "g_lim": 0.001}


@pytest.fixture(scope="module")
def digits():
    return tasks.split(synsim.data.load("digits"))[:2]


def network(seeds, dtype=None, p=0.25):
    return synsim.mlp([64, 30, 2], p=p, replicas=len(seeds), seed=seeds, dtype=dtype)


def train(net, part, seeds, epochs=2, **options):
    rule = synsim.PresynapticSGD(net, 0.05, **RULE)
    return fit(net, rule, part, seeds=seeds, epochs=epochs, batch=20, samples=2, **options)


def test_a_replica_is_the_same_alone_and_among_others(digits, one_thread):
    together, alone = network((5, 6, 7)), network((6,))
    many, one = train(together, digits, (5, 6, 7)), train(alone, digits, (6,))
    assert torch.equal(together[0].weight[1], alone[0].weight[0])
    assert torch.equal(together[2].p[1], alone[2].p[0])
    assert torch.equal(many.accuracy[1], one.accuracy[0])


def test_without_a_replica_axis_it_is_the_same_too(digits, one_thread):
    alone, bare = network((6,)), synsim.mlp([64, 30, 2], seed=6)
    one, none = train(alone, digits, (6,)), train(bare, digits, (6,))
    assert torch.equal(alone[0].weight[0], bare[0].weight)
    assert torch.equal(one.accuracy, none.accuracy)


def test_the_accuracy_matrix_is_replica_after_task_task(digits):
    net = network((1, 2))
    history = train(net, digits, (1, 2))
    last = accuracy(net, digits[1].test, digits[1].test.y, samples=2)
    assert history.accuracy.shape == (2, 2, 2)
    assert torch.equal(history.accuracy[:, 1, 1], last)
    assert torch.equal(history.per_epoch["test_accuracy"][:, 1, -1], last)
    assert history.dataset().accuracy.dims == ("replica", "after_task", "test_task")
    assert float(history.accuracy[:, 0, 0].mean()) > 0.9, "it did not learn"


def test_probes_are_taken_each_epoch(digits):
    history = train(network((1, 2)), digits, (1, 2), probes={"energy": lambda net, task: synsim.meters.energy(net)})
    assert history.per_epoch["energy"].shape == (2, 2, 2)
    assert not history.per_epoch["energy"].isnan().any()


def test_training_leaves_the_global_generators_alone(digits):
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    train(network((1, 2)), digits, (1, 2), epochs=1)
    assert torch.equal(before, torch.get_rng_state())
    assert (numpy_before == np.random.get_state()[1]).all()  # noqa: NPY002


def broken(part, row, step):
    """Tasks whose training batch turns NaN for one replica at one step."""
    count = SimpleNamespace(calls=0)

    class Broken(tasks.Task):
        def batch(self, index):
            x, y = part.batch(index)
            if count.calls >= step:
                x[row] = torch.nan
            count.calls += 1
            return x, y

    return Broken(part.name, part.train, part.test, part.classes, part.head)


def test_a_replica_that_fails_is_held_and_the_others_finish(digits, one_thread):
    seeds = (1, 2, 3)
    net, reference, short = network(seeds), network(seeds), network(seeds)
    history = train(net, [broken(digits[0], 1, step=10)], seeds)
    train(reference, digits[:1], seeds)
    rule = synsim.PresynapticSGD(short, 0.05, **RULE)
    order = tasks.epoch_order(seeds, 0, 0, len(digits[0].train))
    for _, rows in zip(range(10), tasks.batches(order, 20), strict=False):
        train_step(short, rule, *digits[0].batch(rows))
    for layer in (0, 2):
        assert torch.equal(net[layer].weight[0], reference[layer].weight[0])
        assert torch.equal(net[layer].weight[2], reference[layer].weight[2])
        assert torch.equal(net[layer].weight[1], short[layer].weight[1])
        assert torch.equal(net[layer].p[1], short[layer].p[1])
    (failure,) = history.failures
    assert (failure.replica, failure.seed, failure.task, failure.epoch, failure.step) == (1, 2, "0 1", 0, 10)
    assert bool(history.dataset().failed[1])
    assert history.per_epoch["loss"][1].isnan().all()


def test_a_failure_says_what_was_not_finite(digits):
    class Spoilt(torch.autograd.Function):
        @staticmethod
        def forward(ctx, w):
            return w.clone()

        @staticmethod
        def backward(ctx, g):
            g = g.clone()
            g[1] = torch.nan
            return g

    net = network((1, 2, 3))
    layer = net[2]
    layer.register_forward_hook(
        lambda module, given, out: out + 0 * Spoilt.apply(module.weight).sum((1, 2))[:, None, None]
    )
    history = train(net, digits[:1], (1, 2, 3))
    (failure,) = history.failures
    assert str(failure).startswith(
        "replica 1 (seed 2) failed in task '0 1', epoch 0, step 0: its gradient of '2.weight'"
    )
    net = network((1, 2))
    (failure,) = train(net, [broken(digits[0], 1, step=2)], (1, 2)).failures
    assert failure.what == "loss"


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("where", ["loss", "0.weight", "2.weight"])
def test_which_replicas_are_finite(value, where):
    net = synsim.mlp([3, 4, 2], replicas=3)
    losses = torch.ones(3)
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    assert finite_replicas(net, losses).tolist() == [True, True, True]
    broken = losses if where == "loss" else net.get_parameter(where).grad
    broken[1].view(-1)[-1:] = value
    assert finite_replicas(net, losses).tolist() == [True, False, True]
    broken[2].view(-1)[:1] = -value  # what cancels is not finite either
    assert finite_replicas(net, losses).tolist() == [True, False, False]


def test_when_all_fail_the_error_names_them(digits):
    seeds = (4, 5)
    with pytest.raises(TrainingFailedError, match=r"seed 5.*'0 1', epoch 0, step 3"):
        train(network(seeds), [broken(digits[0], slice(None), step=3)], seeds)


def test_a_session_writes_what_is_known_before_it_complains(digits, tmp_path):
    seeds = (1, 2)
    session = Session(records.create(tmp_path / "run", {"seeds": [1, 2]}))
    net = network(seeds)
    phase = session.phase("only", net, lambda store: train(net, [broken(digits[0], 0, 5)], seeds, store=store))
    with pytest.raises(TrainingFailedError, match="replica 0"):
        session.finish(phase.dataset, [])
    record = records.open(tmp_path / "run")
    assert record.run["status"] == "failed"
    assert list(record.dataset.failed.values) == [True, False]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": (1,)}, "expected 2 seeds"),
        ({"epochs": 0}, "epochs must be a whole number"),
        ({"batch": 10_000}, "Choose a smaller batch"),
    ],
)
def test_bad_arguments(digits, options, message):
    net = network((1, 2))
    rule = synsim.PresynapticSGD(net, 0.05, **RULE)
    with pytest.raises(ValueError, match=message):
        fit(net, rule, digits, **{"seeds": (1, 2), "epochs": 1, "batch": 20, **options})


def test_no_tasks():
    net = network((1, 2))
    with pytest.raises(ValueError, match="at least one task"):
        fit(net, synsim.PresynapticSGD(net, 0.05, **RULE), [], seeds=(1, 2), epochs=1)


def test_adam_goes_on_after_a_checkpoint(digits, one_thread):
    def run(store):
        net = network((1, 2), p=1.0)
        fit(net, torch.optim.Adam(net.parameters(), lr=1e-3), digits, seeds=(1, 2), epochs=2, batch=20, store=store)
        return net

    kept = Memory()
    whole = run(kept)
    assert len(kept.all) > 20
    for moment in (3, 17, -2):
        assert torch.equal(run(Memory(kept.all[moment]))[0].weight, whole[0].weight)


def test_tasks_ahead_may_stay_untested(one_thread):
    sequence = tasks.split(synsim.data.load("digits"))[:3]

    def accuracies(ahead):
        net = synsim.networks.initialised(synsim.mlp([64, 10, 2], p=0.5), [1])
        rule = synsim.PresynapticSGD(net, 0.01, p_up=0.05, p_down=0.05, g_lim=1e-3)
        return fit(net, rule, sequence, seeds=[1], epochs=1, batch=20, samples=1, test_ahead=ahead).accuracy[0]

    every, past = accuracies(True), accuracies(False)
    below = torch.ones(3, 3).tril().bool()
    assert torch.equal(past.isnan(), ~below)
    assert torch.equal(past[below], every[below])
