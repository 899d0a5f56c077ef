"""The command line: what it accepts, and what it says to mistakes."""

import importlib
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from synsim import records
from synsim.training.command import parse, resolved
from synsim.training.options import RunConfig, option

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def script(parent):
    return lambda name, *arguments: parent.run([str(ROOT / "experiments" / f"{name}.py"), *arguments], seconds=250)


def test_defaults_and_lists():
    config = parse(RunConfig, "", ["--seeds", "3", "5", "--epochs", "2"])
    assert config.seeds == (3, 5)
    assert resolved(config)["seeds"] == [3, 5]
    assert config.device == "cpu"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "3", "3"], "a seed must be given once"),
        (["--seeds", "-1"], "seed must be a whole number"),
        (["--epochs", "0"], "epochs must be a whole number"),
        (["--device", "cuda:99"], "is not there"),
        (["--nonsense", "1"], "nonsense"),
        (["--epochs", "many"], "epochs"),
        (["--threads", "0"], "threads must be a whole number"),
        (["--threads", "-2"], "threads must be a whole number"),
        (["--threads", "1000000"], "threads must be at most 1024"),
        (["--checkpoint-every", "-1"], "checkpoint_every must be at least 0"),
        (["--out", ""], "out must be the name of a folder"),
    ],
)
def test_mistakes(arguments, message, capsys):
    with pytest.raises(SystemExit):
        parse(RunConfig, "", arguments)
    assert message in capsys.readouterr().err


def test_an_unknown_key_in_a_config_file(tmp_path, capsys):
    (tmp_path / "config.yaml").write_text("epochs: 3\nepoch: 2\n")
    with pytest.raises(SystemExit):
        parse(RunConfig, "", ["--config", str(tmp_path / "config.yaml")])
    assert "epoch" in capsys.readouterr().err


def test_a_config_file(tmp_path):
    (tmp_path / "config.yaml").write_text("epochs: 3\nseeds: [4, 5]\n")
    config = parse(RunConfig, "", ["--config", str(tmp_path / "config.yaml"), "--epochs", "7"])
    assert (config.epochs, config.seeds) == (7, (4, 5))


@dataclass(frozen=True, kw_only=True)
class Config(RunConfig):
    decays: tuple[float, ...] = option((0.1, 0.2), "numbers")
    methods: tuple[str, ...] = option(("a", "b"), "names", ("a", "b", "c"))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("seeds: 5", {"seeds": (5,)}),
        ("seeds: '5'", {"seeds": (5,)}),
        ("seeds: [5, 6]", {"seeds": (5, 6)}),
        ("decays: 0.5", {"decays": (0.5,)}),
        ("decays: 1e-3\nseeds: [1]", {"decays": (0.001,), "seeds": (1,)}),
        ("methods: c\nepochs: 3", {"methods": ("c",), "epochs": 3}),
    ],
)
def test_one_value_in_a_config_file_is_a_list_of_one(text, wanted, tmp_path):
    (tmp_path / "config.yaml").write_text(text)
    config = parse(Config, "", ["--config", str(tmp_path / "config.yaml")])
    assert {name: getattr(config, name) for name in wanted} == wanted


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seeds: null", "seed must be a whole number"),
        ("seeds: {a: 1}", "seeds"),
        ("seeds: x", "seeds"),
        ("methods: d", "not among choices"),
        ("threads: 0", "threads must be a whole number"),
        ("threads: many", "threads"),
        ("seeds: [1", "config"),
        ("- 1", "config"),
        ("", "config"),
        ("lr: {", "config"),
        ("seeds: [1, 2]\nepochs: 2\nseeds: [3]", "seeds is given twice"),
        ("checkpoint-every: 1\ncheckpoint_every: 2", "checkpoint_every is given twice"),
        ("seeds: [1, 010]", "YAML reads 010 as 8"),
        ("epochs: 1:30", "YAML reads 1:30 as 90"),
    ],
)
def test_mistakes_in_a_config_file(text, message, tmp_path, capsys):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(SystemExit) as ended:
        parse(Config, "", ["--config", str(tmp_path / "config.yaml")])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_numbers_of_numpy_are_seeds_and_one_seed_is_a_list():
    config = Config(seeds=(np.int64(3), np.uint8(4)), threads=np.int32(1))
    assert config.seeds == (3, 4)
    assert all(type(seed) is int for seed in config.seeds)
    assert Config(seeds=7).seeds == (7,)
    assert Config(seeds=[7, 8]).seeds == (7, 8)
    assert json.loads(json.dumps(resolved(Config(seeds=np.int64(7)))))["seeds"] == [7]


@pytest.mark.parametrize("name", ["demo", "energy", "lifelong"])
def test_help_names_the_common_options(name, script):
    done = script(name, "--help")
    assert done.returncode == 0, done.stderr
    for name in ("data", "data-dir", "seeds", "device", "threads", "out", "resume", "epochs"):
        assert f"--{name}" in done.stdout
    assert re.findall(r"<|lambda|\bnull\b", done.stdout) == []


def test_help_says_types_choices_and_defaults_in_plain_words(capsys):
    @dataclass(frozen=True, kw_only=True)
    class Asked(RunConfig):
        rates: tuple[float, ...] = option((0.5, 1.0), "learning rates")
        order: str = option("up", "which way", ("up", "down"))
        kinds: tuple[str, ...] = option((), "what is run (default: from the preset)", ("one", "two"))
        share: float | None = option(None, "50 % or so")

    with pytest.raises(SystemExit):
        parse(Asked, "", ["--help"])
    lines = re.sub(r"\s+", " ", capsys.readouterr().out)
    for words in (
        "--rates NUMBER [NUMBER ...] learning rates (default: 0.5 1.0) --",
        "--order {up,down} which way (default: up) --",
        "--kinds NAME [NAME ...] what is run (default: from the preset); any of one, two --",
        "--share NUMBER 50 % or so",
        "--seeds INT [INT ...] one replica per seed (default: 2019 2020 2021) --",
        "--resume go on with the run that the folder holds --",
    ):
        assert words in lines


def test_missing_data_says_where_and_how(script, tmp_path):
    done = script("lifelong", "--data", "mnist", "--data-dir", str(tmp_path), "--out", str(tmp_path / "run"))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    for part in (str(tmp_path), "train-images-idx3-ubyte", "synsim.data.fetch", "--data-dir"):
        assert part in done.stderr


def test_demo_in_short(script, tmp_path):
    out = tmp_path / "demo"
    done = script("demo", "--epochs", "2", "--seeds", "1", "2", "--quiet", "--out", str(out), "--threads", "1")
    assert done.returncode == 0, done.stderr
    rows = json.loads((out / "summary.json").read_text())["rows"]
    assert {"method", "metric", "mean", "sem", "n", "published"} <= rows[0].keys()
    assert all(row["n"] == 2 for row in rows)
    assert records.open(out).dataset.energy_information.size > 0
    (order,) = (line for line in done.stdout.splitlines() if line.startswith("energy: ") and "settings: " in line)
    bits = {row["method"]: row["mean"] for row in rows if row["metric"].endswith("(best)")}
    names = [name.removeprefix("energy: ") for name in sorted(bits, key=bits.get, reverse=True)]
    assert " > ".join(names) in order
    assert "2 epochs, batches of 20, weight decays 0.02 and 0.05" in order
    gap = next(row for row in rows if row["method"] == "split digits: presynaptic − none" and row["metric"] == "points")
    assert gap["setting"]["rate"] == 0.002
    sure = "is significant" if gap["test"]["p_holm"] < 0.05 else "is not significant"
    assert f"presynaptic − none, {gap['mean']:.1f} points, {sure} here (p = {gap['test']['p_holm']:.2g})" in done.stdout
    for name in ("energy", "lifelong"):
        for suffix in (".pdf", ".png", ".json"):
            assert (out / "figures" / f"{name}{suffix}").stat().st_size > 0


def departures(monkeypatch, name, **options):
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    monkeypatch.syspath_prepend(str(ROOT))
    sys.modules.pop(name, None)
    return importlib.import_module(name).Config(**options).reduced()


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("lifelong", {}, ""),
        ("lifelong", {"methods": ("ewc",), "scenario": "permuted", "standardised_by": "mnist", "threads": 1}, ""),
        ("lifelong", {"tasks": 3, "scenario": "permuted"}, "tasks 3 (published: 10)"),
        (
            "lifelong",
            {"hidden": (10,), "batch": 1000, "lr": 0.5, "seeds": (1,)},
            "seeds (1,) (published: (2019, 2020, 2021)); hidden (10,) (published: (200, 200)); batch 1000 "
            "(published: 100); lr 0.5 (published: default)",
        ),
        ("energy", {"preset": "paper", "parts": ("start",), "methods": ("plastic",)}, ""),
        ("energy", {"preset": "paper", "rates": (0.05,)}, "rates (0.05,) (published: (0.02, 0.05, 0.08))"),
        ("continuous", {"preset": "paper", "transition": 0.0}, "transition 0.0 (published: 0.25)"),
        ("lesions", {"preset": "paper", "samples": 1}, "samples 1 (published: 10)"),
        ("combinations", {"preset": "full"}, ""),
        ("combinations", {"preset": "full", "steps": 80}, "steps 80 (full: 1200)"),
        ("search", {"preset": "paper", "trials": 2}, ""),
        ("search", {"preset": "paper", "objective": "energy", "epochs": 2}, "epochs 2 (published: 50)"),
    ],
)
def test_a_run_says_in_what_it_departs_from_the_protocol(monkeypatch, name, options, said):
    assert departures(monkeypatch, name, **options) == said


def test_settings_of_a_search_are_told_apart(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    monkeypatch.syspath_prepend(str(ROOT))
    lifelong = importlib.import_module("lifelong")
    named = ("bgd", "ewc", "none")
    config = lifelong.Config(methods=named, sigmas=(0.01, 0.01), etas=(0.1, 0.2), strengths=(1.0, 3.0))
    labels = [label for name in named for label in lifelong.settings(config, name)]
    assert labels == ["bgd σ=0.01 η=0.1", "bgd σ=0.01 η=0.2", "ewc 1", "ewc 3", "none"]
    assert list(lifelong.settings(lifelong.Config(), "bgd")) == ["bgd"]
    with pytest.raises(ValueError, match="settings of ewc must differ"):
        lifelong.Config(methods=("ewc",), strengths=(1.0, 1.0))
