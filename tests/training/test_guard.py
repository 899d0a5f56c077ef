"""`attach`: in anybody's loop it does what `fit` does with a `Protection`, to the bit."""

import copy
import functools
import warnings

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import synsim
from synsim import consolidation, importance, tasks
from synsim._checks import NotFiniteError
from synsim.training import Protection, fit

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings(
        "ignore:(freeze|mask|modulation) (holds|slows) no parameter:UserWarning",
        "ignore:every task has classes:UserWarning",
    ),
]
FEW = {name: {"images": 12} for name in ("fisher", "sqrt-fisher", "absolute-fisher", "mas", "mas-max")}
FEW |= {"fisher-batched": {"images": 24, "batch": 8}, "sliced-cramer": {"images": 12, "slices": 4}}
FEW |= {"path-integral": {"every": 3}, "sos": {"alpha": "unbiased", "batch": 24}}
HOW = {
    "penalty": {"strength": 0.5},
    "modulation": {"strength": 0.5, "scale": "max"},
    "freeze": {"share": 0.5},
    "mask": {"share": 0.5},
}
STEPS, BATCH, SEED = 6, 24, 3


@functools.cache
def digits():
    return tasks.split(synsim.data.load("digits"), heads="shared")[:3]


def network(kind):
    return synsim.mlp([64, 6, 2], p=1.0 if kind == "plain" else 0.4, seed=SEED)


def optimiser_of(kind, net):
    if kind == "plain":
        return torch.optim.AdamW(net.parameters(), lr=1e-2)
    return synsim.PresynapticSGD(net, 0.05, p_up=0.1, p_down=0.05, g_lim=0.01)


def rows_of(task, index, independent=False):
    order = task.order((SEED,), index, 0, independent=independent)
    return list(tasks.batches(order, BATCH, 0))[:STEPS]


def learn(net, optimiser, guard, task, index):
    guard.start(data=(task.train, task.train.y))
    for rows, others in zip(rows_of(task, index), rows_of(task, index, independent=True), strict=True):
        x, y = task.batch(rows[0])
        optimiser.zero_grad()
        synsim.cross_entropy(net(x), y).backward()
        if guard.importance is not None and "independent" in guard.importance.needs:
            guard.second(*task.batch(others[0]))
        optimiser.step()
    return guard.finish(task.train)


def state(net):
    return {name: value.clone() for name, value in net.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize("name", importance.available())
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("kind", ["plain", "stochastic"])
def test_parameters_are_those_of_fit_to_the_bit(kind, how, name):
    def parts():
        return importance.make(name, **FEW.get(name, {})), consolidation.make(how, **HOW[how])

    ours = network(kind)
    fit(ours, optimiser_of(kind, ours), digits()[:2], seeds=(SEED,), steps=STEPS, batch=BATCH, samples=1,
        test_every_epoch=False, protection=Protection(*parts()))  # fmt: skip
    net = network(kind)
    optimiser = optimiser_of(kind, net)
    guard = synsim.attach(net, optimiser, *parts())
    for index, task in enumerate(digits()[:2]):
        learn(net, optimiser, guard, task, index)
    assert same(state(net), state(ours))
    assert not same(state(net), state(network(kind)))


def protected(net, optimiser, **options):
    return synsim.attach(net, optimiser, "si", "penalty", strength=1.0, **options)


def run(net, optimiser, guard, index, count=4, seed=0):
    generator = torch.Generator().manual_seed(seed + index)
    for _ in range(count):
        x, y = torch.randn(8, 64, generator=generator), torch.randint(2, (8,), generator=generator)
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(net(x), y).backward()
        optimiser.step()
    return x, y


def closed_run(closed):
    net, calls = network("plain"), []
    optimiser = torch.optim.SGD(net.parameters(), 0.1)
    guard = protected(net, optimiser)

    def closure(x):
        calls.append(1)
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(net(x), torch.arange(8) % 2)
        loss.backward()
        return loss

    for index in range(2):
        guard.start()
        for step in range(3):
            x = torch.randn(8, 64, generator=torch.Generator().manual_seed(10 * index + step))
            if closed:
                assert float(optimiser.step(functools.partial(closure, x)).detach()) > 0
            else:
                closure(x)
                optimiser.step()
        guard.finish()
    return state(net), guard.found, len(calls)


def test_a_closure_is_run_once_ahead_of_the_step():
    one, other = closed_run(False), closed_run(True)
    assert one[2] == other[2] == 6
    assert same(one[0], other[0])
    assert same(one[1], other[1])


def test_a_skipped_step_is_no_step():
    net = network("plain")
    optimiser = torch.optim.SGD(net.parameters(), 0.1)
    guard = protected(net, optimiser)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    guard.start()
    x, y = torch.randn(8, 64), torch.arange(8) % 2
    for broken in (False, True, False):
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(net(x), y)
        scaler.scale(loss * float("inf") if broken else loss).backward()
        scaler.step(optimiser)
        scaler.update()
    found = guard.finish()
    assert all(bool(value.isfinite().all()) for value in found.values())
    other = network("plain")
    optimiser = torch.optim.SGD(other.parameters(), 0.1)
    guard = protected(other, optimiser)
    guard.start()
    for _ in range(2):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(other(x), y).backward()
        optimiser.step()
    expected = guard.finish()
    assert all(torch.allclose(value, expected[name], rtol=1e-4, atol=1e-7) for name, value in found.items())


def test_the_gradients_at_hand_stay_the_task_s():
    net = network("plain")
    optimiser = torch.optim.SGD(net.parameters(), 0.1)
    guard = synsim.attach(net, optimiser, "uniform", "penalty", strength=10.0)
    guard.start()
    run(net, optimiser, guard, 0)
    guard.finish(torch.randn(4, 64))
    guard.start()
    run(net, optimiser, guard, 1)
    x, y = torch.randn(8, 64), torch.arange(8) % 2
    optimiser.zero_grad()
    torch.nn.functional.cross_entropy(net(x), y).backward()
    before = [p.grad.clone() for p in net.parameters()]
    at = [p.detach().clone() for p in net.parameters()]
    pull = guard.consolidation.gradient(net)
    optimiser.step()
    assert all(torch.equal(p.grad, g) for p, g in zip(net.parameters(), before, strict=True))
    for (name, p), g, w in zip(net.named_parameters(), before, at, strict=True):
        assert torch.allclose(p, w - 0.1 * (g + pull[name]), atol=1e-7)
        assert bool((pull[name] != 0).any())


@pytest.mark.parametrize("within", [False, True], ids=["between tasks", "within a task"])
def test_it_goes_on_from_a_saved_state(within, tmp_path):
    def begin():
        net = network("stochastic")
        optimiser = optimiser_of("stochastic", net)
        return net, optimiser, protected(net, optimiser)

    net, optimiser, guard = begin()
    guard.start()
    run(net, optimiser, guard, 0)
    guard.finish()
    if within:
        guard.start()
        run(net, optimiser, guard, 1)
    torch.save([net.state_dict(), optimiser.state_dict(), guard.state_dict()], tmp_path / "state.pt")

    def rest(net, optimiser, guard):
        if not within:
            guard.start()
        run(net, optimiser, guard, 2)
        return guard.finish()

    expected = rest(net, optimiser, guard)
    other = begin()
    for part, saved in zip(other, torch.load(tmp_path / "state.pt"), strict=True):
        part.load_state_dict(saved)
    found = rest(*other)
    assert same(found, expected)
    assert same(state(other[0]), state(net))


def test_what_needs_data_takes_a_loader_and_says_what_is_missing():
    net = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    optimiser = torch.optim.AdamW(net.parameters())
    loader = DataLoader(TensorDataset(torch.randn(20, 6), torch.arange(20) % 3), batch_size=5, shuffle=True)
    guard = synsim.attach(net, optimiser, importance="fisher", consolidation="penalty", strength=100.0)
    with guard.task(loader):
        for x, y in loader:
            loss = nn.functional.cross_entropy(net(x), y)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    assert guard.tasks == 1
    assert set(guard.found) == {name for name, _ in net.named_parameters()}
    guard.start()
    with pytest.raises(ValueError, match=r"'fisher' is measured on examples of the task: guard.finish\(loader\)"):
        guard.finish()
    guard.finish(loader)
    assert guard.tasks == 2


def test_a_task_that_fails_is_dropped_and_protection_stays():
    net = network("plain")
    optimiser = torch.optim.SGD(net.parameters(), 0.1)
    guard = protected(net, optimiser)
    with guard.task():
        run(net, optimiser, guard, 0)
    kept = copy.deepcopy(guard.consolidation.importance)
    with pytest.raises(ZeroDivisionError), guard.task():
        run(net, optimiser, guard, 1, count=1 // 0)
    assert guard.tasks == 1
    assert same(guard.consolidation.importance, kept)
    with guard.task():
        run(net, optimiser, guard, 2)
    assert guard.tasks == 2


def test_no_step_of_a_broken_gradient_is_taken():
    net = network("plain")
    optimiser = torch.optim.SGD(net.parameters(), 0.1)
    guard = protected(net, optimiser)
    guard.start()
    run(net, optimiser, guard, 0)
    before = state(net)
    for p in net.parameters():
        p.grad = torch.full_like(p, float("nan"))
    with pytest.raises(NotFiniteError, match="gradients of parameter"):
        optimiser.step()
    assert same(state(net), before)
    run(net, optimiser, guard, 1)
    assert all(bool(value.isfinite().all()) for value in guard.finish().values())


def test_it_says_what_does_not_fit():
    net = network("plain")
    optimiser = torch.optim.SGD(net.parameters(), 0.1)
    with pytest.raises(ValueError, match="holds none of the parameters"):
        protected(network("plain"), optimiser)
    with pytest.raises(ValueError, match="needs an importance"):
        synsim.attach(net, optimiser, consolidation="penalty")
    with pytest.raises(ValueError, match="strength goes with a consolidation by name"):
        synsim.attach(net, optimiser, "si", consolidation.make("penalty"), strength=1.0)
    with pytest.raises(ValueError, match="LBFGS looks at the loss"):
        protected(net, torch.optim.LBFGS(net.parameters()))
    with pytest.raises(ValueError, match="BGD protects by itself"):
        protected(net, synsim.BGD(net, eta=1.0, sigma=0.01))
    guard = protected(net, optimiser)
    with pytest.raises(ValueError, match="has a guard already"):
        protected(net, optimiser)
    with pytest.raises(ValueError, match=r"call guard.start\(\) before it is learned"):
        guard.finish()
    with pytest.raises(ValueError, match=r"call guard.start\(\) before optimiser.step"):
        run(net, optimiser, guard, 0)
    guard.start()
    with pytest.raises(ValueError, match="has begun already"):
        guard.start()
    guard.detach()
    run(net, optimiser, guard, 0)
    protected(net, optimiser).detach()


def test_an_importance_that_needs_more_says_so():
    net = network("plain")
    optimiser = torch.optim.SGD(net.parameters(), 0.1)
    guard = synsim.attach(net, optimiser, "si-unbiased")
    guard.start()
    with pytest.raises(ValueError, match=r"guard.second\(x, y\) between"):
        run(net, optimiser, guard, 0)
    guard.detach()
    guard = synsim.attach(net, optimiser, "path-integral")
    with pytest.raises(ValueError, match=r"guard.start\(data=\(x, y\)\)"):
        guard.start()


def test_parameters_may_come_between_tasks_and_not_within():
    net = nn.ModuleDict({"trunk": nn.Linear(64, 4), "a": nn.Linear(4, 2)})
    optimiser = torch.optim.SGD(net.parameters(), 0.1)
    guard = protected(net, optimiser)

    def step(head):
        optimiser.zero_grad()
        net[head](net["trunk"](torch.randn(8, 64))).square().mean().backward()
        optimiser.step()

    guard.start()
    step("a")
    net["b"] = nn.Linear(4, 2)
    optimiser.add_param_group({"params": net["b"].parameters()})
    with pytest.raises(ValueError, match=r"b.bias, b.weight began to be trained within a task"):
        step("b")
    guard.finish()
    guard.start()
    step("b")
    assert "b.weight" in guard.finish()


def test_dropout_in_the_gradients_is_said():
    net = nn.Sequential(nn.Linear(64, 4), nn.Dropout(0.5), nn.Linear(4, 2))
    guard = protected(net, torch.optim.SGD(net.parameters(), 0.1))
    with pytest.warns(UserWarning, match="'si' sees the gradients of this loop as they are, with dropout"):
        guard.start()


def test_a_scheduler_and_a_clip_change_nothing_for_it():
    net = network("plain")
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-2)
    scheduler = torch.optim.lr_scheduler.StepLR(optimiser, 2)
    guard = protected(net, optimiser)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for index in range(2):
            with guard.task():
                for _ in range(3):
                    run(net, optimiser, guard, index, count=1)
                    torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
                    scheduler.step()
    assert guard.tasks == 2
