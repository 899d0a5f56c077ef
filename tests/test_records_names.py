"""Names of measurements that would overwrite others, or that no record can hold, are refused before training."""

import pytest
import torch

import synsim
from synsim import records
from synsim.training import History, Protection, Session, fit
from synsim.training.history import TAKEN, check_names

UNFIT = ["", " ", "a/b", "/", ".", "a\0b", "line\nbreak", "\ud800", 3, None]


def run(tmp_path, probes=None, after_task=None):
    """One short run; how often the probe was asked, and the record."""
    asked = []

    def measure(*_):
        asked.append(1)
        return torch.tensor(42.0)

    net = synsim.mlp([64, 10], p=0.5)
    rule = synsim.PresynapticSGD(net, lr=0.1, p_up=0.1, p_down=0.1, g_lim=1e-3)
    guard = Protection(after_task=dict.fromkeys(after_task, measure)) if after_task else None
    session = Session(records.create(tmp_path / "run", {"seeds": [0]}))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    tasks = synsim.tasks.single(synsim.data.load("digits"))

    def go(store):
        return fit(net, rule, tasks, seeds=[0], steps=2, probes=dict.fromkeys(probes or (), measure),
                   protection=guard, store=store, samples=1)  # fmt: skip

    try:
        session.finish(session.phase("one", net, go).dataset, [])
    finally:
        changed = [name for name, value in net.state_dict().items() if not torch.equal(value, before[name])]
    return asked, changed, records.open(tmp_path / "run").dataset


@pytest.mark.parametrize("name", sorted(TAKEN))
def test_taken_names(name):
    with pytest.raises(ValueError, match=rf"probe '{name}' has the name of another"):
        check_names([name])
    with pytest.raises(ValueError, match=rf"after_task '{name}' has the name of another"):
        check_names([], [name])


@pytest.mark.parametrize(("kind", "name"), [("probes", "accuracy"), ("after_task", "loss")])
def test_a_taken_name_is_refused_before_training(kind, name, tmp_path):
    with pytest.raises(ValueError, match=rf"{'probe' if kind == 'probes' else kind} '{name}' has the name of another"):
        run(tmp_path, **{kind: [name]})
    assert not (tmp_path / "run" / "checkpoint.safetensors").exists()


@pytest.mark.parametrize("kind", ["probes", "after_task"])
def test_a_name_with_a_slash_is_refused_before_training(kind, tmp_path):
    with pytest.raises(ValueError, match="'energy/atp' can't be kept in a record"):
        run(tmp_path, **{kind: ["energy/atp"]})


@pytest.mark.parametrize("name", UNFIT)
def test_names_that_no_record_can_hold(name):
    with pytest.raises(ValueError, match="can't be kept in a record"):
        check_names([name])
    with pytest.raises(ValueError, match="can't be kept in a record"):
        check_names(["good"], [name])


def test_two_measurements_of_one_name_are_refused():
    with pytest.raises(ValueError, match="probe 'mean' has the name of another"):
        check_names(["mean"], ["mean"])
    with pytest.raises(ValueError, match="'importance_0' has the name of another"):
        check_names(["importance_0"], ["importance"])


def test_every_variable_and_axis_of_a_history_is_taken():
    dataset = History.empty([0], ["a"], ["a"], 1, []).dataset()
    assert {*map(str, dataset.variables), *map(str, dataset.dims)} == TAKEN


def test_other_names_are_kept_as_they_are(tmp_path):
    names = ["1st", "mean p", "Ω_ñ", "importance", "loss_0"]
    asked, changed, dataset = run(tmp_path, probes=names[:3], after_task=names[3:])
    assert len(asked) == 5
    assert changed
    for name in names:
        assert dataset[name].values.ravel().tolist() == [42.0]
