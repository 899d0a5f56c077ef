"""A rule, a consolidation and an importance of one's own: each is one file, and does in `fit` what it says."""

import copy
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import synsim
from synsim.training import Protection, TrainingStoppedError, fit

EXAMPLES = Path(synsim.__file__).resolve().parent.parent / "examples" / "extending"


def example(name: str) -> SimpleNamespace:
    """What a script defines, after it ran."""
    return SimpleNamespace(**runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__"))


@pytest.fixture(autouse=True)
def _registries(monkeypatch):
    # What is registered here is not known to other tests.
    for room in (synsim.importance, synsim.consolidation):
        monkeypatch.setattr(room, "_KINDS", dict(room._KINDS))


class Memory:
    """Keeps one state, as a folder would."""

    kept = None

    def load(self):
        return self.kept

    def save(self, tensors, meta):
        self.kept = copy.deepcopy((tensors, meta))

    def due(self):
        return False


def assert_same_state(net, other):
    for (name, value), again in zip(net.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(value, again), name


def test_a_rule_of_one_s_own_resumes_to_the_same_bits(one_thread, capsys) -> None:
    own = example("rule")
    assert "tensor" in capsys.readouterr().out
    net, rule, accuracy = own.train()
    asked, store = iter(range(10**6)), Memory()
    with pytest.raises(TrainingStoppedError, match=r"task '2 3', epoch 1"):
        own.train(store, stop=lambda: next(asked) == 45)
    other, again, same = own.train(store)
    assert_same_state(net, other)
    assert torch.equal(accuracy, same)
    for name, sums in rule.sums.items():
        for value, kept in zip(sums, again.sums[name], strict=True):
            assert value.shape[0] == value.shape[1]
            assert torch.equal(value, kept)
    assert accuracy[0, 0] > 0.8, "it did not learn"
    # With a fresh state of the rule it would have ended elsewhere.
    store = Memory()
    asked = iter(range(10**6))
    with pytest.raises(TrainingStoppedError):
        own.train(store, stop=lambda: next(asked) == 45)
    for kept in store.kept[0].values():
        if kept.ndim == 2 and kept.shape[0] == kept.shape[1] and kept.shape[0] > 2:
            kept.copy_(torch.eye(len(kept)) * 1e-4)
    assert not torch.equal(own.train(store)[0][0].weight, net[0].weight)


@pytest.mark.parametrize(("name", "strength"), [("consolidation", 100.0), ("importance", 300.0)])
def test_a_protection_of_one_s_own_keeps_the_first_task(name, strength, capsys) -> None:
    own = example(name)
    assert f"strength {strength:g}" in capsys.readouterr().out
    (free, without), (held, protected) = own.train(0.0), own.train(strength)
    assert without[0, 0] == protected[0, 0]
    assert protected[1, 0] > without[1, 0]
    assert not torch.equal(free[0].weight, held[0].weight)


def sequence(name: str, **options):
    net = synsim.mlp([64, 8, 2], seed=1)
    rule = synsim.PresynapticSGD(net, 0.05, p_up=0.07, p_down=0.07, g_lim=1e-3)
    tasks = synsim.tasks.split(synsim.data.load("digits"), heads="shared")[:2]
    protection = Protection(synsim.importance.make(name), synsim.consolidation.make("penalty"))
    fit(net, rule, tasks, seeds=[1], steps=3, batch=20, samples=1, protection=protection, **options)
    return tasks


def test_an_importance_of_one_s_own_is_given_labels() -> None:
    seen = []

    @synsim.importance.register
    class Labelled(synsim.importance.Importance):
        name = "labelled"

        def estimate(self, net, x, y=None, *, head=None):
            seen.append((len(x), y))
            return {name: torch.ones_like(p) for name, p in net.named_parameters()}

    tasks = sequence("labelled")
    ((count, y),) = seen  # after the first task; none follows the second
    assert count == len(tasks[0].train)
    assert torch.equal(y, tasks[0].train.y)


@pytest.mark.parametrize(
    ("measured", "error", "message"),
    [
        (lambda p: {"0.weight": p.sum(1)}, ValueError, r"of '0.weight' must have the shape .* \[8, 64\], got \[8\]"),
        (lambda p: {"0": p}, ValueError, r"names '0', which is no parameter of this network; it has 0\.weight"),
        (lambda p: p, TypeError, "must be a dict from parameter names to tensors, got a"),
        (lambda p: {"0.weight": 1.0}, TypeError, "must be a dict from parameter names to tensors"),
    ],
)
def test_a_registered_importance_that_does_not_fit_is_refused(measured, error, message) -> None:
    @synsim.importance.register
    class Odd(synsim.importance.Importance):
        name = "odd"

        def estimate(self, net, x, y=None, *, head=None):
            return measured(net[0].weight.detach().abs())

    with pytest.raises(error, match="importance 'odd' .*" + message):
        sequence("odd")
    net = synsim.mlp([64, 8, 2], seed=1)
    guard = synsim.attach(net, torch.optim.SGD(net.parameters(), 0.1), importance="odd", consolidation="penalty")
    guard.start()
    with pytest.raises(error, match=message):
        guard.finish(torch.zeros(4, 64))
