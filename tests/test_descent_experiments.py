"""What the experiments on descent share: windows of epochs, first weights, settings; and the rows of their report."""

import importlib
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray

import synsim
from synsim import report, tasks
from synsim.papers.benzing2022 import CURVES, Curve, Descent

ROOT = Path(synsim.__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    monkeypatch.syspath_prepend(str(ROOT))


@pytest.fixture
def common():
    sys.modules.pop("descent_common", None)
    return importlib.import_module("descent_common")


@pytest.mark.parametrize("independent", [False, True])
def test_windows_show_whole_epochs_one_after_the_other(common, independent):
    windows = common.Windows(30, 100)
    assert (windows.count, windows.per_epoch) == (30, 3)
    draw = tasks.independent_order if independent else tasks.epoch_order
    for epoch in range(2):
        shown = [windows((3, 5), 3 * epoch + k, independent=independent) for k in range(3)]
        assert torch.equal(torch.cat(shown, 1), draw((3, 5), 0, epoch, 100)[:, :90])


def test_a_window_is_ten_batches_or_the_whole_of_a_short_epoch(common):
    (task,) = tasks.single(synsim.data.load("digits"))
    assert common.Windows.of(task, 20).count == 200
    assert common.Windows.of(task, 400).count == 400 * (len(task.train) // 400)


def test_first_weights_are_normal_and_a_function_of_the_seed(common):
    seeds = (4, 9)
    net = common.kaiming(synsim.mlp([300, 200, 10], p=1.0, replicas=2, seed=seeds), seeds)
    alone = common.kaiming(synsim.mlp([300, 200, 10], p=1.0, replicas=1, seed=(9,)), (9,))
    for (name, layer), own in zip(synsim.synapses(net).items(), synsim.synapses(alone).values(), strict=True):
        assert torch.equal(layer.weight[1], own.weight[0])
        scaled = layer.weight.detach().double() / math.sqrt(2 / layer.weight.shape[-1])
        n = scaled.numel()
        # Four standard errors of mean, variance and kurtosis of a standard normal.
        assert abs(float(scaled.mean())) < 4 / math.sqrt(n), name
        assert abs(float(scaled.var()) - 1) < 4 * math.sqrt(2 / n), name
        assert abs(float((scaled**4).mean()) - 3) < 4 * math.sqrt(96 / n), name


def test_rates_go_along_with_dampings(common):
    made = common.multiples(Descent(30.0, 100.0), (0.3, 1.0), (1.0, 10.0))
    assert [(one["lr"], one["damping"]) for one in made] == [
        (9.0, 100.0),
        (30.0, 100.0),
        (90.0, 1000.0),
        (300.0, 1000.0),
    ]
    plain = common.multiples(Descent(0.1), (1.0, 2.0), (1.0, 10.0))
    assert [one["lr"] for one in plain] == [0.1, 0.2]
    assert all(math.isnan(one["damping"]) for one in plain)


def test_the_loss_at_a_step_is_the_mean_of_the_hundred_before(common):
    loss = xarray.DataArray(np.arange(40.0)[None], dims=("seed", "step"), coords={"step": 10 * np.arange(1, 41)})
    assert common.smooth(loss, 300).values.tolist() == [np.arange(20, 30).mean()]
    assert common.smooth(loss, 50).values.tolist() == [2.0]
    assert np.isnan(common.smooth(loss.where(loss != 25), 300).values).all()


def test_settings_of_several_programs_come_back_in_their_order(common):
    settings = [{"lr": lr, "damping": damping} for damping in (1.0, 2.0) for lr in (0.1, 0.3)]
    phases = []

    def run(sweep, phase):
        phases.append(phase)
        axes = {"lr": ("setting", [one["lr"] for one in sweep.settings])}
        found = [[100 * one["lr"] + one["damping"]] * len(sweep.own) for one in sweep.settings]
        return xarray.Dataset({"loss": (("setting", "seed"), found)}, axes)

    together = common.swept(run, settings, (1, 2), phase="sgd")
    apart = common.swept(run, settings, (1, 2), "lr", phase="sgd")
    assert phases == ["sgd", "sgd", "sgd, 1"]
    assert apart.identical(together)
    assert apart.loss[:, 0].values.tolist() == [11.0, 31.0, 12.0, 32.0]


@pytest.mark.parametrize(
    ("values", "least", "most"),
    [([[3.0, 1.0], [1.0, 2.0]], 1, 0), ([[9.0, math.nan], [5.0, 5.0]], 1, 1), ([[math.nan] * 2] * 2, 0, 0)],
)
def test_a_setting_of_which_a_seed_failed_is_chosen_last(common, values, least, most):
    ends = xarray.DataArray(values, dims=("setting", "seed"))
    assert (common.choice(ends), common.choice(ends, most=True)) == (least, most)


def test_paired_rows_are_tested_as_one_family():
    script = importlib.import_module("common")
    pairs = {"a − b": (np.array([1.0, 2.0, 4.0]), np.array([0.5, 1.0, 1.0])), "a − c": (np.ones(3), np.arange(3.0))}
    made = {row["method"]: row for row in script.paired("losses", "loss, difference", pairs)}
    tests = synsim.statistics.family("losses", pairs, paired=True)
    assert made["a − b"]["values"] == [0.5, 1.0, 3.0]
    assert {name: row["test"]["p_holm"] for name, row in made.items()} == {k: t.p_holm for k, t in tests.items()}
    assert "test" not in script.paired("losses", "loss", {"a": (np.ones(1), np.ones(1))})[0]


def test_a_published_loss_is_of_the_first_figure_that_was_read_there(common):
    one, other = Curve("1", (10, 20), (0.5, 0.25)), Curve("2", (20, 30), (0.3, 0.2))
    figures = [{"kfac": one}, {"kfac": other, "adam": other}]
    found = [common.published(figures, name, step) for name, step in (("kfac", 20), ("kfac", 30), ("adam", 20))]
    assert [(each.mean, each.source) for each in found] == [(0.25, "Fig. 1"), (0.2, "Fig. 2"), (0.3, "Fig. 2")]
    assert common.published(figures, "adam", 10) is None
    assert common.published(figures, "foof", 20) is None


def test_what_is_kept_of_tasks_is_that_of_loops_and_nothing_where_a_replica_failed():
    script = importlib.import_module("common")
    accuracy = np.random.default_rng(0).random((2, 3, 4, 4))
    axes = ("setting", "seed", "after_task", "test_task")
    measured = xarray.Dataset({"accuracy": (axes, accuracy), "failed": (axes[:2], [[False, True, False], [False] * 3])})
    found = script.remembered(measured.assign_coords(seed=[1, 2, 3]))
    for setting, seed in np.ndindex(2, 3):
        each = accuracy[setting, seed]
        kept = [100 * sum(each[3]) / 4, 100 * sum(each[k][k] for k in range(4)) / 4]
        kept.append(-100 * sum(each[3][k] - each[k][k] for k in range(3)) / 3)
        got = [float(found[name][setting, seed]) for name in ("final", "learned", "forgotten")]
        failed = (setting, seed) == (0, 1)
        assert all(map(math.isnan, got)) if failed else got == pytest.approx(kept, rel=1e-12)


def test_no_seed_chooses_and_is_reported(common):
    script = importlib.import_module("descent")
    with pytest.raises(ValueError, match=r"seeds \[2\] are in --selection and in --seeds"):
        script.Config(seeds=(1, 2), selection=(2, 3))


def test_the_auto_encoder_has_a_linear_code_and_output(common):
    script = importlib.import_module("autoencoder")
    (task,) = tasks.single(synsim.data.load("digits"))
    config = script.Config(data="digits", hidden=(12, 5, 12), preset="quick")
    sweep = synsim.Sweep({"lr": (1.0,)}, (1, 2))
    net = script.network(config, task, sweep)
    assert [type(each).__name__ for each in net] == [
        "BernoulliLinear", "Tanh", "BernoulliLinear", "BernoulliLinear", "Tanh", "BernoulliLinear",
    ]  # fmt: skip
    x, whole = task.test[:7], task.test[:]
    with torch.no_grad():
        found, wanted = script.half_squared(net(x), x, torch.zeros(7)), ((net(x) - x) ** 2).sum((1, 2)) / 14
        error = ((net(whole) - whole) ** 2).mean((1, 2))
    assert found.tolist() == pytest.approx(wanted.tolist(), rel=1e-6)
    assert script.per_pixel(net, task).tolist() == pytest.approx(error.tolist(), rel=1e-5)


def test_rows_of_the_report_compare_with_the_curves_by_a_factor():
    from analysis.benzing2022 import descent

    (value,) = [one for one in descent.values("5.1A", "kfac") if one.label == "KFAC at step 1800"]
    assert (value.key, value.published.mean, value.factor) == (("training loss at step 1800", "kfac"), 0.126, 1.5)
    published = [claim for item in descent.ITEMS.values() for claim in item.claims]
    assert all(isinstance(one, report.Value | report.Order | report.Limit) for one in published)
    orders = descent.orders(((("5.4B", "foof-1"), ("5.1A", "kfac")),))
    # FOOF with T = 1 is above KFAC after three epochs, and below it at the end.
    assert [one.larger[1] for one in orders] == ["foof-1", "kfac"]
    assert descent.times("5.1A") == pytest.approx(CURVES["5.1A"]["natural"].at(6000).mean / 0.0072)
    assert round(descent.times("5.1A")) == 27


def test_keys_of_the_report_are_those_of_the_rows():
    from analysis.benzing2022 import descent

    script = importlib.import_module("descent")
    known = {f"training loss at step {step}" for step in script.STEPS}
    kinds = {"", ", ratio", ", on the seeds that choose"}
    for item in descent.ITEMS.values():
        for claim in item.claims:
            keys = (claim.larger, claim.smaller) if isinstance(claim, report.Order) else (claim.key,)
            for metric, method in keys:
                lead, comma, rest = metric.partition(",")
                assert lead in known
                assert comma + rest in kinds
                assert method.partition(",")[0] in script.METHODS or tuple(method.split(" / ")) in script.RATIOS
