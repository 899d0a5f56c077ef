"""The frame of an experiment: config, measure, rows; what it prints and keeps, and how it ends."""

import json
import math
from dataclasses import FrozenInstanceError, dataclass, replace

import numpy as np
import pytest
import torch
import xarray
from scipy import stats

import synsim
from synsim import records, statistics, tables, tasks
from synsim.experiment import Experiment, PresetConfig, RunConfig, by_preset, option
from synsim.papers import Published
from synsim.training import TrainingFailedError


@dataclass(frozen=True, kw_only=True)
class Config(PresetConfig):
    epochs: int = by_preset("passes over the data", quick=1, paper=3)
    data: str = option("digits", "data set")
    decays: tuple[float, ...] = option((0.0, 0.01), "weight decays")
    watched: bool = option(False, "changes nothing", neutral=True)
    seeds: tuple[int, ...] = option((1, 2, 3), "seeds")


def measure(config, session):
    (task,) = tasks.single(synsim.data.load(config.data), device=config.device)
    sweep = synsim.Sweep({"decay": config.decays}, config.seeds)
    net = synsim.mlp([task.inputs, 12, task.classes], replicas=sweep)
    rule = synsim.PresynapticSGD(net, 0.05, p_up=0.07, p_down=0.07, g_lim=0.001, weight_decay=sweep.column("decay"))
    phase = session.fit("all", net, rule, [task], sweep=sweep, epochs=config.epochs, batch=50, samples=1)
    return phase.dataset.isel(after_task=0, test_task=0)


def rows(config, dataset):
    accuracy = 100 * dataset.accuracy
    first = accuracy.isel(decay=0).values
    pairs = {decay: (accuracy.sel(decay=decay).values, first) for decay in config.decays[1:]}
    tests = statistics.family("accuracy against no decay", pairs, paired=True)
    return [
        tables.row(
            "net", "accuracy, %", accuracy.sel(decay=decay).values, Published(90.5, 0.2, 3, "Table 1"),
            setting={"decay": decay}, test=tests.get(decay),
        )
        for decay in config.decays
    ]  # fmt: skip


EXPERIMENT = Experiment(Config, measure, rows, "An experiment.", lambda config, dataset: ["said below"])


def summary(out):
    return json.loads((out / "summary.json").read_text())["rows"]


def test_the_command_line_prints_the_table_and_what_is_said_below_it(tmp_path, capsys):
    EXPERIMENT.main(["--out", str(tmp_path / "run"), "--quiet", "--watched"])
    printed = capsys.readouterr().out
    assert "90.5 ± 0.2" in printed
    assert "Hedges g" in printed
    assert "said below" in printed
    assert "reduced: epochs 1 (published: 3)" in printed
    assert "watched" not in printed
    made = summary(tmp_path / "run")
    assert [row["setting"] for row in made] == [{"decay": 0.0}, {"decay": 0.01}]
    assert made[0]["reference"] == {"mean": 90.5, "sem": 0.2, "n": 3, "source": "Table 1"}
    assert "test" not in made[0]
    pair = [row["values"] for row in made]
    t = stats.ttest_rel(pair[1], pair[0])
    test = made[1]["test"]
    assert test["t"] == pytest.approx(t.statistic)
    assert test["df"] == 2
    assert test["p"] == test["p_holm"] == pytest.approx(t.pvalue)
    assert test["family"] == "accuracy against no decay"
    assert made[1]["mean"] == pytest.approx(np.mean(pair[1]))


def test_a_run_in_python_is_that_of_the_command_line_without_a_word(tmp_path, capsys):
    EXPERIMENT.main(["--out", str(tmp_path / "one"), "--quiet"])
    capsys.readouterr()
    record = EXPERIMENT.run(Config(out=str(tmp_path / "two"), quiet=True))
    assert capsys.readouterr().out == ""
    assert record.summary == summary(tmp_path / "one")
    assert record.dataset.drop_vars("seconds").equals(records.open(tmp_path / "one").dataset.drop_vars("seconds"))
    assert record.run["reduced"] == "epochs 1 (published: 3)"


def test_a_phase_of_a_sweep_has_an_axis_for_each_setting(tmp_path):
    record = EXPERIMENT.run(Config(out=str(tmp_path / "run"), quiet=True))
    assert record.dataset.accuracy.dims == ("decay", "seed")
    alone = EXPERIMENT.run(Config(out=str(tmp_path / "alone"), quiet=True, decays=(0.01,), seeds=(2,)))
    np.testing.assert_allclose(
        alone.dataset.loss.isel(task=0).values.ravel(),
        record.dataset.loss.sel(decay=0.01, seed=2).values.ravel(),
        rtol=1e-4,
    )


def test_a_finished_run_is_only_read(tmp_path):
    config = Config(out=str(tmp_path / "run"), quiet=True)
    before = EXPERIMENT.run(config)
    again = EXPERIMENT.run(Config(out=config.out, quiet=True, resume=True))
    assert again.dataset.equals(before.dataset)  # its seconds too


def test_the_results_are_printed_though_a_replica_failed(tmp_path, capsys):
    def failing(config, session):
        session.failures.append("all: replica 0: loss is nan")
        return xarray.Dataset({"a": ("replica", [1.0, np.nan])})

    made = Experiment(Config, failing, lambda config, dataset: [tables.row("m", "a", dataset.a.values)])
    with pytest.raises(SystemExit):
        made.main(["--out", str(tmp_path / "run"), "--quiet"])
    assert "m       a" in capsys.readouterr().out
    with pytest.raises(TrainingFailedError):
        made.run(Config(out=str(tmp_path / "two"), quiet=True))
    assert records.open(tmp_path / "two").run["status"] == "failed"


def test_what_can_be_mended_is_said_and_what_can_not_is_raised(tmp_path, capsys):
    def wrong(config, session):
        raise ValueError("expected this, got that.")

    made = Experiment(Config, wrong, rows)
    with pytest.raises(SystemExit):
        made.main(["--out", str(tmp_path / "run"), "--quiet"])
    assert "expected this, got that." in capsys.readouterr().err
    with pytest.raises(ValueError, match="got that"):
        made.run(Config(out=str(tmp_path / "run"), quiet=True))
    with pytest.raises(TypeError, match="expected a Config of this experiment, got RunConfig"):
        made.run(RunConfig(out=str(tmp_path / "run")))
    with pytest.raises(TypeError, match="measure"):
        Experiment(Config, 3, rows)


def test_options_of_fit_go_through_and_others_are_refused(tmp_path):
    def misspelt(config, session):
        (task,) = tasks.single(synsim.data.load("digits"))
        net = synsim.mlp([64, 10], p=1.0, replicas=1)
        return session.fit("one", net, torch.optim.SGD(net.parameters(), lr=0.1), [task], epoch=1).dataset

    with pytest.raises(TypeError, match="epoch"):
        Experiment(Config, misspelt, rows).run(Config(out=str(tmp_path / "run"), quiet=True))

    def stored(config, session):
        return session.fit("one", None, None, [], store=None)

    with pytest.raises((TypeError, ValueError)):
        Experiment(Config, stored, rows).run(Config(out=str(tmp_path / "run"), quiet=True))


def test_a_family_is_corrected_together_and_leaves_out_what_can_not_be_tested():
    generator = np.random.default_rng(3)
    base = generator.normal(size=5)
    pairs = {name: (base + shift + generator.normal(size=5), base) for name, shift in (("a", 0), ("b", 2), ("c", 5))}
    made = statistics.family("f", {**pairs, "lost": ([1.0, np.nan], [1.0, 2.0])})
    assert list(made) == ["a", "b", "c"]
    p = {name: stats.ttest_ind(*pair).pvalue for name, pair in pairs.items()}
    floor = 0.0
    for rank, name in enumerate(sorted(p, key=lambda name: p[name])):
        floor = max(floor, min(1.0, p[name] * (3 - rank)))
        assert made[name].p == pytest.approx(p[name])
        assert made[name].p_holm == pytest.approx(floor)
        assert made[name].family == "f"
    paired = statistics.family("f", {"x": (base, base + np.array([1, 2, 3, 4, np.nan]))}, paired=True)
    assert paired["x"].df == 3
    with pytest.raises(ValueError, match="as many replicas"):
        statistics.family("f", {"x": ([1.0, 2.0], [1.0, 2.0, 3.0])}, paired=True)


def test_a_network_of_a_sweep_is_that_of_its_seeds():
    sweep = synsim.Sweep({"lr": (0.1, 0.2)}, (4, 7))
    for build in (synsim.mlp, synsim.spiking.spiking_mlp):
        net, by_hand = build([6, 4, 3], replicas=sweep), build([6, 4, 3], replicas=4)
        synsim.networks.initialised(by_hand, (4, 7, 4, 7), sweep=True)
        for a, b in zip(net.state_dict().values(), by_hand.state_dict().values(), strict=True):
            assert a.equal(b) if isinstance(a, torch.Tensor) else a == b
    assert next(iter(synsim.synapses(synsim.networks.cnn(replicas=sweep)).values())).replicas == 4
    with pytest.raises(ValueError, match="leave out seed=3"):
        synsim.mlp([6, 3], replicas=sweep, seed=3)


def test_a_published_value_looks_like_that_of_its_table():
    assert str(Published(82.9, 0.01)) == "82.90 ± 0.01"
    assert str(Published(0.8862, 0.0046)) == "0.8862 ± 0.0046"
    assert str(Published(0.5)) == "0.5"
    assert str(Published(12.3, text="12.3 (one run)")) == "12.3 (one run)"
    for wrong in ({"mean": np.nan}, {"mean": 1.0, "sem": -1.0}, {"mean": 1.0, "n": 0}, {"mean": 1.0, "text": "a\nb"}):
        with pytest.raises(ValueError, match="must"):
            Published(**wrong)


@pytest.mark.parametrize(
    "more",
    [{"values": "1"}, {"values": ["x"]}, {"setting": [1]}, {"setting": {"a": [1]}}, {"test": {"t": 1.0}},
     {"reference": {"mean": 1.0, "sem": 1.0, "n": 3, "source": 4}}, {"note": "x"}],
)  # fmt: skip
def test_rows_with_something_else_are_refused(more, tmp_path):
    row = tables.row("m", "a", [1.0, 2.0])
    run = records.create(tmp_path / "run", {"experiment": "x"})
    run.save_summary([row])
    with pytest.raises(ValueError, match=r"rows\[0\]"):
        run.save_summary([{**row, **more}])


def test_rows_without_finite_numbers_are_kept_and_shown(tmp_path):
    tests = statistics.family("f", {"x": ([1.0, 1.0], [1.0, 1.0])})
    row = tables.row("m", "a", [1.0, np.nan], test=tests["x"])
    assert "none possible" in tables.text([row])
    run = records.create(tmp_path / "run", {"experiment": "x"})
    run.save_record(xarray.Dataset({"a": ("replica", [1.0, 2.0])}))
    run.save_summary([row])
    run.finish("finished")
    (read,) = records.open(tmp_path / "run").summary
    assert read["values"] == [1.0, None]
    assert read["test"]["t"] is None
    assert "none possible" in tables.text([read])


def test_a_table_shows_the_settings_that_no_name_tells():
    settings = {"strength": 2.0, "decay": 0.01, "edge": True, "fresh": False, "share": None, "network": "plain"}
    rows = [tables.row("plain-2048, decay 0.01", "a", [1.0], setting=settings), tables.row("none", "a", [1.0])]
    head, _, first, second = tables.text(rows).splitlines()
    assert head.split()[:3] == ["method", "metric", "setting"]
    assert "a       strength 2, edge  " in first
    assert second.split() == ["none", "a", "1", "1", "–"]
    assert "setting" not in tables.text([{**rows[0], "method": "plain 2 0.01", "setting": {"strength": 2}}])
    with pytest.raises(ValueError, match=r"a mapping, if anything, for setting and test, got setting"):
        tables.text([{**rows[0], "setting": ["edge"]}])


@dataclass(frozen=True, kw_only=True)
class Choosing(Config):
    selection: tuple[int, ...] = option((8, 9), "seeds on which decays are chosen", chooses=True)
    parts: tuple[str, ...] = by_preset("parts", ("a", "b"), neutral=True, phases=True, quick=("a",), paper=("a", "b"))
    seeds: tuple[int, ...] = by_preset("seeds", quick=(1,), paper=tuple(range(100, 200)))


def test_seeds_that_choose_are_not_reported():
    assert Choosing().selection == (8, 9)
    with pytest.raises(ValueError, match=r"seeds \[9\] are in --selection and in --seeds"):
        Choosing(seeds=(7, 9))


def test_settings_are_chosen_on_one_seed_at_least():
    @dataclass(frozen=True, kw_only=True)
    class AtTimes(Choosing):
        selection: tuple[int, ...] = by_preset("seeds that choose", chooses=True, quick=(8, 9), paper=())

    with pytest.raises(ValueError, match="settings must be chosen on one seed at least: give --selection"):
        Choosing(selection=())
    # Where a preset chooses nothing, it needs none.
    assert AtTimes(preset="paper").selection == ()


class Bounded(PresetConfig):
    epochs: int | None = option(None, "see --steps", unused=True)
    steps: int = by_preset("steps", least=1, quick=2, paper=9)
    shares: tuple[float, ...] = option((0.5,), "shares", least=0)
    trials: int | None = option(None, "trials", least=3)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"shares": (0.1, -0.1)}, "shares must be at least 0, got -0.1"),
        ({"shares": (math.nan,)}, "shares must be at least 0, got nan"),
        ({"trials": 2}, "trials must be at least 3, got 2"),
        ({"epochs": 4}, "--epochs is not used: see --steps; got 4"),
    ],
)
def test_an_option_refuses_what_it_says_it_can_not_take(given, message):
    with pytest.raises(ValueError, match=message):
        Bounded(**given)
    assert Bounded(steps=1, shares=(0.0,), trials=3).epochs is None


def test_an_option_says_its_value_in_every_preset(capsys):
    assert Choosing().parts == ("a",)
    assert Choosing(preset="paper").parts == ("a", "b")
    assert Choosing(preset="paper", parts=("b",)).parts == ("b",)
    assert Choosing.presets()["paper"] == {"epochs": 3, "parts": ("a", "b"), "seeds": tuple(range(100, 200))}
    assert Choosing.phase_options() == ("parts",)
    with pytest.raises(SystemExit):
        Experiment(Choosing, measure, rows, "A choice.").parse(["--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "passes over the data (quick: 1; paper: 3)" in said
    assert "parts; any of a, b (quick: a; paper: all)" in said
    assert "seeds (quick: 1; paper: 100 101 … 199)" in said
    assert "seeds on which decays are chosen; not reported (default: 8 9)" in said


def test_a_folder_is_called_after_the_script():
    assert Config().out == "runs/test_experiment"
    assert RunConfig(data="digits").out == "runs/run"
    with pytest.raises(ValueError, match="got an empty one"):
        Config(out="")


@pytest.mark.parametrize("name", ["PRESETS", "CHOICES"])
def test_presets_and_phases_beside_the_options_are_refused(name):
    with pytest.raises(TypeError, match=f"Old has {name}, which is not read"):
        type("Old", (RunConfig,), {name: {}, "__annotations__": {name: dict}})


def test_a_config_is_a_frozen_dataclass_decorated_or_not():
    class Plain(Config):
        decay: float = option(0.1, "weight decay", neutral=True)

    @dataclass(frozen=True, kw_only=True)
    class Decorated(Plain):
        part: str = option("a", "part", ("a", "b"), phases=True)

    class Again(Decorated):
        part: str = option("b", "part", ("a", "b"))

    for kind, value in ((Plain, None), (Decorated, "a"), (Again, "b")):
        config = kind(decay=0.2)
        assert (config.decay, config.epochs, getattr(config, "part", None)) == (0.2, 1, value)
        assert replace(config, decay=0.3) != config == kind(decay=0.2)
        assert all(says["help"] for says in kind.says().values())
        assert kind.decay == 0.1
        for name in ("decay", "epochs", "another"):
            with pytest.raises(FrozenInstanceError):
                setattr(config, name, 1)
            with pytest.raises(FrozenInstanceError):
                delattr(config, name)
        with pytest.raises(TypeError, match="positional"):
            kind(0.2)
    assert "decay" not in Plain(decay=0.2).reduced()
    assert Decorated.phase_options() == ("part",)
    assert Again.phase_options() == ()
