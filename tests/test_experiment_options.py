"""What experiments can be asked for: other parts on resuming, tests with correction, importances of any kind."""

import ast
import dataclasses
import importlib
import itertools
import json
import math
import shlex
import sys
import typing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray
from scipy import stats
from small_runs import common, launch, run

from synsim import importance, records
from synsim.experiment import RunConfig, UnreadOptionWarning
from synsim.report.runs import Run

pytestmark = pytest.mark.usefixtures("scripts")


def test_a_run_can_be_resumed_with_other_methods(tmp_path, monkeypatch):
    short = ["--hidden", "20", "--epochs", "1", "--scenario", "permuted", "--tasks", "2", "--seeds", "1", "2"]
    whole = ["--variants", "full", "neither", "ghost (code)"]
    run("ablation", tmp_path / "once", *short, *whole)
    run("ablation", tmp_path / "twice", *short, "--variants", "no freezing", "full")
    trained = records.open(tmp_path / "twice").run["wall_seconds"]
    monkeypatch.setattr(sys, "argv", ["ablation.py", *whole, "--resume"])
    run("ablation", tmp_path / "twice", *short, *whole, "--resume")
    once, twice = (records.open(tmp_path / name) for name in ("once", "twice"))
    assert once.dataset.accuracy.identical(twice.dataset.accuracy)
    assert once.summary == twice.summary
    assert twice.config["variants"] == whole[1:]
    assert twice.run["wall_seconds"] > trained
    assert shlex.split(Run("twice", "ablation", twice).command()) == ["python", "experiments/ablation.py", *whole]


@pytest.mark.filterwarnings("ignore::synsim.experiment.UnreadOptionWarning")
def test_a_run_of_energy_can_be_resumed_with_more_parts(tmp_path):
    run("energy", tmp_path / "once", "--parts", "main", "start")
    run("energy", tmp_path / "twice", "--parts", "main", "--methods", "plastic")
    run("energy", tmp_path / "twice", "--parts", "main", "start", "--resume")
    once, twice = (records.open(tmp_path / name) for name in ("once", "twice"))
    clocks = ["seconds", "start_seconds"]
    assert once.dataset.drop_vars(clocks).equals(twice.dataset.drop_vars(clocks))
    assert once.summary == twice.summary


def test_the_cells_that_the_combinations_leave_out():
    script = importlib.import_module("combinations")
    cells = itertools.product(script.Config.kinds, importance.available(), script.GRIDS)
    found = {(kind, name, how): script.left_out(kind, name, how) for kind, name, how in cells}
    left = [cell for cell, why in found.items() if why is not None]
    assert sorted(name for _, name, _ in left) == ["release-probability"] * 4 + ["uniform"] * 6
    assert all(kind == "plain" for kind, name, _ in left if name == "release-probability")
    assert all(how != "penalty" for _, name, how in left if name == "uniform")


def check_tests(rows: dict[tuple[str, str], str], pairs: dict[tuple[str, str], list[np.ndarray]]) -> None:
    """Paired tests of a table against SciPy's, Holm's correction step by step and Hedges' g by its definition."""
    p = {key: stats.ttest_rel(*pair).pvalue for key, pair in pairs.items()}
    floor = 0.0
    for rank, key in enumerate(sorted(p, key=lambda key: p[key])):
        floor = max(floor, min(1.0, p[key] * (len(p) - rank)))
        gap = np.subtract(*pairs[key])
        df = len(gap) - 1
        g = math.gamma(df / 2) / (math.sqrt(df / 2) * math.gamma((df - 1) / 2)) * gap.mean() / gap.std(ddof=1)
        assert f"p = {p[key]:.2g} (Holm {floor:.2g}), g = {g:.2g}" in rows[key], key


def metrics(out: Path) -> dict[tuple[str, str], str]:
    """(method, the metric up to a semicolon) -> the whole metric, with the test of the row as text."""
    rows = json.loads((out / "summary.json").read_text())["rows"]
    return {(row["method"], row["metric"].split(";")[0]): row["metric"] + suffix(row) for row in rows}


def suffix(row: dict[str, Any]) -> str:
    test = row.get("test")
    return "" if test is None else "; p = {p:.2g} (Holm {p_holm:.2g}), g = {g:.2g}".format(**test)


def test_networks_with_more_sites_are_tested_with_correction_and_effect_size(tmp_path):
    run("sites", tmp_path, "--seeds", "1", "2", "3")
    data = records.open(tmp_path).dataset
    bits = 1000 * data.information / data.energy
    pairs = {}
    for model in ("fixed", "plastic"):
        first = bits.sel(model=model, scope="batch", sites=1).values
        for scope, sites in (("batch", 2), ("sample", 1), ("sample", 2)):
            key = (f"{model}, mask per {scope}, N = {sites}", "10⁻³ bits per energy")
            pairs[key] = [bits.sel(model=model, scope=scope, sites=sites).values, first]
    check_tests(metrics(tmp_path), pairs)


def test_rules_are_tested_with_correction_over_both_parts(tmp_path):
    run("bounds", tmp_path, "--seeds", "2", "3", "4")
    data = records.open(tmp_path).dataset
    units = {"lifelong": "accuracy over all tasks, %, difference", "energy": "10⁻³ bits per energy, difference"}
    pairs = {
        (f"soft − hard, {label} constants", text): [
            data[f"{part}_score"].sel(rule=rule, constants=label).values for rule in ("soft", "hard")
        ]
        for part, text in units.items()
        for label in ("published", "own")
    }
    check_tests(metrics(tmp_path), pairs)


@pytest.mark.parametrize("how", ["freeze", "mask"])
def test_a_network_that_freezes_or_masks_by_an_importance_can_learn_after_the_first_task(how, tmp_path):
    sys.modules.pop("lifelong", None)
    script = importlib.import_module("lifelong")
    given = ["--methods", "magnitude", "--consolidation", how, "--hidden", "20", "--epochs", "4", "--seeds", "1"]
    given += ["--ewc-rate", "0.01", "--ewc-optimiser", "adam"]
    launch(script, [*common(script), *given, "--out", str(tmp_path)])
    (row, *_) = json.loads((tmp_path / "summary.json").read_text())["rows"]
    assert row["method"] == "magnitude"  # one setting, the default: a share of one half
    data = records.open(tmp_path).dataset
    second = data.accuracy.isel(model=0, replica=0, after_task=1, test_task=1)
    assert float(second) > 0.75


def test_lesions_go_by_any_importance_that_is_measured(tmp_path):
    run("lesions", tmp_path, "--orders", "p", "weight", "release-probability", "magnitude", "mas", "fisher-batched")
    curves = records.open(tmp_path).dataset.lesion_accuracy
    assert not bool(curves.isnull().any())
    for order, twin in (("p", "release-probability"), ("weight", "magnitude")):
        np.testing.assert_array_equal(curves.sel(order=order).values, curves.sel(order=twin).values)
    assert not np.array_equal(curves.sel(order="mas").values, curves.sel(order="p").values)


FOLDER = Path(__file__).parents[1] / "experiments"
PARSED = {
    ".".join(path.relative_to(FOLDER).with_suffix("").parts).removesuffix(".__init__"): ast.parse(
        path.read_text("utf-8")
    )
    for path in FOLDER.rglob("*.py")
}
# Of these the frame itself takes care, or they choose what others are.
OF_ALL = {"preset", *(field.name for field in dataclasses.fields(RunConfig))} - {"data", "epochs", "seeds"}


def imported(tree: ast.AST) -> set[str]:
    """Names of the modules that a file imports."""
    found = {each.name for node in ast.walk(tree) if isinstance(node, ast.Import) for each in node.names}
    return found | {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}


def attributes(name: str, seen: frozenset[str] = frozenset()) -> set[str]:
    """Attributes that a script reads, or other scripts that it imports."""
    read = {node.attr for node in ast.walk(PARSED[name]) if isinstance(node, ast.Attribute)}
    others = imported(PARSED[name]) & set(PARSED) - seen - {name}
    return read.union(*(attributes(other, seen | {name}) for other in others))


@pytest.mark.parametrize("name", sorted(name for name, tree in PARSED.items() if "EXPERIMENT = " in ast.unparse(tree)))
def test_every_option_is_read_or_says_that_it_is_not_used(name):
    kind = importlib.import_module(name).Config
    used = {option for option, says in kind.says().items() if not says.get("unused")}
    assert used - attributes(name) - OF_ALL == set()


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("lifelong", {"strengths": (3.0,)}, "--strengths changes nothing: it is of --methods ewc, fisher, .* more, and "
         "--methods is presynaptic, none, joint"),
        ("lifelong", {"methods": ("ewc",), "consolidation": "freeze"}, "--consolidation changes nothing"),
        ("lifelong", {"methods": ("ewc",), "sigmas": (0.1,)}, "it is of --methods bgd, and --methods is ewc"),
        ("lifelong", {"tasks": 3}, "it is of --scenario permuted, and --scenario is split"),
        ("lifelong_descent", {"tasks": 3}, "it is of --scenario permuted, and --scenario is split"),
        ("spiking_lifelong", {"methods": ("none",), "ewc_rates": (0.1,)}, "--ewc-rates changes nothing"),
        ("energy", {"parts": ("start",), "decays": (0.1,)}, "it is of --parts main, and --parts is start"),
        ("energy", {"rates": (0.1,)}, "it is of --parts fixed, and --parts is main"),
        ("owned", {"methods": ("packnet",), "gammas": (0.5,)}, "it is of --methods efficient-packnet"),
    ],
)  # fmt: skip
def test_an_option_of_what_was_not_chosen_is_named(name, given, message):
    script = importlib.import_module(name)
    with pytest.warns(UnreadOptionWarning, match=message):
        script.Config(data="digits", **given)


def test_an_option_of_what_was_chosen_is_silent_and_so_is_the_value_of_a_preset():
    script = importlib.import_module("lifelong")
    script.Config(data="digits", methods=("presynaptic", "fisher"), strengths=(3.0,), consolidation="freeze")
    script.Config(data="digits", scenario="permuted", tasks=3)
    script.Config(data="digits", tasks=10, draws=None)
    importlib.import_module("energy").Config(data="digits", decays=(0.005, 0.01, 0.05, 0.1), parts=("start",))


@pytest.mark.parametrize("name", sorted(name for name, tree in PARSED.items() if "EXPERIMENT = " in ast.unparse(tree)))
def test_what_an_option_is_of_can_be_chosen(name):
    says = importlib.import_module(name).Config.says()
    for other, values in (each["of"] for each in says.values() if each.get("of")):
        assert {*values} <= {*says[other]["choices"]}


@pytest.mark.parametrize("name", sorted(PARSED))
def test_no_number_that_is_0_is_taken_for_one_that_was_not_given(name):
    kind = getattr(importlib.import_module(name), "Config", None)
    hints = typing.get_type_hints(kind) if kind is not None else {}
    numbers = {option for option, hint in hints.items() if {int, float} & {hint, *typing.get_args(hint)}}
    numbers -= {option for option, hint in hints.items() if typing.get_origin(hint) is tuple}
    sure = {option for option in numbers if (kind.says()[option].get("least") or 0) > 0}
    chosen = [each for each in ast.walk(PARSED[name]) if isinstance(each, ast.BoolOp) and isinstance(each.op, ast.Or)]
    first = {node.values[0].attr for node in chosen if isinstance(node.values[0], ast.Attribute)}
    assert first & numbers - sure == set(), "0 or None: write `if config.x is None`, or give the option a `least`"


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("sparsity", ["--epochs", "3"], "--epochs is not used: see --steps; got 3"),
        ("perceptron", ["--data", "mnist"], "--data is not used: the patterns are random; got 'mnist'"),
        ("energy", ["--passes", "0"], "passes must be at least 1, got 0"),
        ("lesions", ["--orders", "si"], "invalid choice"),
        ("lesions", ["--orders", "uniform"], "invalid choice"),
        ("fisher_variants", ["--preset", "full"], "preset must be one of quick, paper"),
        ("combinations", ["--selection", "3"], "settings must be chosen on other seeds"),
        ("importances", ["--methods", "ewc2"], "invalid choice"),
    ],
)
def test_what_does_not_fit_is_refused(name, arguments, message, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run(name, tmp_path / "run", *arguments)
    assert message in capsys.readouterr().err


def test_rows_of_settings_carry_values_settings_tests_and_references():
    script = importlib.import_module("lifelong")
    config = script.Config(methods=("joint", "presynaptic", "none", "ewc"), strengths=(1.0, 10.0))
    names, steps = ["joint", "presynaptic", "none", "ewc 1", "ewc 10"], ["0/1", "2/3", "joint"]
    accuracy = np.random.default_rng(5).uniform(0.5, 1, (5, 3, 3, 2))
    accuracy[0, :, :2], accuracy[1:, :, 2] = np.nan, np.nan
    record = xarray.Dataset(
        {
            "accuracy": (("model", "replica", "after_task", "test_task"), accuracy),
            "failed": (("model", "replica"), np.zeros((5, 3), dtype=bool)),
        },
        coords={"model": names, "after_task": steps, "test_task": steps[:2]},
    )
    rows = {(row["method"], row["metric"]): row for row in script.rows(config, record)}
    final = {name: 100 * accuracy[k, :, 2 if name == "joint" else 1].mean(-1) for k, name in enumerate(names)}
    for name in names:
        row = rows[name, "accuracy over all tasks at the end, %"]
        np.testing.assert_allclose(row["values"], final[name])
        assert row["setting"] == ({"strength": float(name.split()[1])} if " " in name else {})
        assert ((name, "forgetting, points") in rows) == (name != "joint")
    assert rows["none", "accuracy over all tasks at the end, %"]["published"] == "77.68 ± 0.31 (its code: 80.3)"
    assert rows["ewc 10", "accuracy over all tasks at the end, %"]["published"] == "70.41 ± 4.20"
    gaps = [rows[f"presynaptic − {name}", "points"] for name in names if name != "presynaptic"]
    for name, gap in zip((name for name in names if name != "presynaptic"), gaps, strict=True):
        assert gap["test"]["p"] == pytest.approx(stats.ttest_ind(final["presynaptic"], final[name]).pvalue)
    assert gaps[1]["reference"]["mean"] == pytest.approx(82.90 - 77.68)
    assert gaps[1]["reference"]["sem"] == pytest.approx(math.hypot(0.01, 0.31))
    assert gaps[3]["setting"] == {"strength": 10.0}
