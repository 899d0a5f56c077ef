"""Every experiment in a form so small that a test can run it, in this process."""

import dataclasses
import importlib
import json
import math
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from matplotlib.figure import Figure

from synsim import outcomes, records

ROOT = Path(__file__).resolve().parent.parent
COMMON = ["--quiet", "--threads", "1"]
WHERE_USED = {"data": "digits", "batch": "20"}
ARGUMENTS = {
    "descent_subset": ["--hidden", "10", "--images", "40", "--steps", "6", "--seeds", "1", "2", "--search",
                       "--selection-images", "30"],
    "neurons_descent": ["--hidden", "10", "--epochs", "1", "--every", "20", "--seeds", "1", "2"],
    "fisher_variants": ["--iterations", "5", "--hidden", "20", "--exponents", "0", "2", "--seeds", "1", "2"],
    "importances": ["--hidden", "20", "--tasks", "2", "--epochs", "1", "--seeds", "3", "4", "--exponents", "0", "1",
                    "--methods", "si", "si-unbiased", "si-bias", "sos", "onaf", "si-2048", "sos-2048", "onaf-2048",
                    "--batch", "50"],
    "importance_relations": ["--hidden", "20", "--tasks", "2", "--epochs", "1", "--images", "50", "--seeds", "1", "2"],
    "path_integral": ["--hidden", "20", "--epochs", "1", "--every", "10", "--seeds", "1", "2"],
    "sliced_cramer": ["--hidden", "20", "--encoder", "20", "5", "--tasks", "2", "--epochs", "1", "--digits", "2",
                      "--digit-epochs", "1", "--exponents", "0", "2", "--batch", "50", "--seeds", "1", "2"],
    "combinations": ["--hidden", "20", "--steps", "5", "--images", "50", "--seeds", "3", "4", "--selection", "1",
                     "--importances", "fisher", "si", "release-probability"],
    "energy": ["--preset", "paper", "--hidden", "20", "--epochs", "1", "--seeds", "1", "2", "--decays", "0", "0.01",
               "--probabilities", "0.4", "1", "--rates", "0.05"],
    "sparsity": ["--hidden", "20", "--steps", "30", "--alphas", "1", "2", "--keep", "0.05", "0.5", "1",
                 "--seeds", "1", "2"],
    "descent": ["--hidden", "20", "--epochs", "1", "--methods", "adam", "foof-100", "kfac", "natural",
                "--rates", "0.3", "1", "--seeds", "1", "2"],
    "owned": ["--hidden", "20", "--tasks", "2", "--epochs", "1", "--alphas", "1", "2", "--gammas", "0.8",
              "--batch", "50", "--methods", "single", "naive", "packnet", "efficient-packnet", "fisher",
              "--seeds", "1", "2"],
    "autoencoder": ["--hidden", "10", "4", "10", "--epochs", "1", "--methods", "adam", "foof", "kfac", "--rates", "0.3",
                    "1", "--seeds", "1", "2"],
    "lifelong_descent": ["--hidden", "10", "--steps", "4", "--images", "50", "--rules", "sgd", "foof",
                         "--consolidations", "mask", "--selection", "3", "--seeds", "1", "2"],
    "sites": ["--hidden", "20", "--epochs", "1", "--sites", "1", "2", "--seeds", "1", "2"],
    "bounds": ["--hidden", "20", "--epochs", "1", "--energy-epochs", "1", "--trials", "2", "--batch", "50",
               "--seeds", "2", "3"],
    "continuous": ["--hidden", "20", "--epochs", "1", "--tasks", "2", "--seeds", "1", "2"],
    "ablation": ["--hidden", "20", "--epochs", "1", "--scenario", "permuted", "--tasks", "2", "--batch", "50",
                 "--seeds", "1", "2"],
    "search": ["--hidden", "20", "--epochs", "1", "--tasks", "2", "--trials", "3", "--seeds", "2", "3"],
    "importance_of_release": ["--hidden", "20", "--epochs", "2", "--images", "50", "--along", "--seeds", "1", "2"],
    "neurons": ["--hidden", "20", "20", "--epochs", "2", "--shuffles", "3", "--seeds", "1", "2"],
    "lifelong": ["--hidden", "20", "--epochs", "1", "--methods", "presynaptic", "none", "ewc", "bgd", "--strengths",
                 "1", "10", "--scenario", "permuted", "--tasks", "10", "--draws", "2", "--batch", "50", "--seeds", "1",
                 "2"],
    "power_synapses": ["--hidden", "20", "--epochs", "1", "--l2", "0", "0.02", "--l1", "0.003", "--phi", "0.003",
                       "--keep", "0.02", "0.5", "--passes", "1", "--seeds", "1", "2"],
    "protected_power": ["--hidden", "20", "--epochs", "1", "--tasks", "2", "--alphas", "1", "2", "--batch", "50",
                        "--seeds", "1", "2"],
    "perceptron": ["--inputs", "80", "--patterns", "40", "--tasks", "4", "--epochs", "2", "--seeds", "1", "2"],
    "spiking_energy": ["--hidden", "20", "--epochs", "1", "--window", "10", "--rules", "backprop", "local", "--decays",
                       "0", "0.01", "--images", "400", "--tested", "100", "--seeds", "1", "2"],
    "spiking_lifelong": ["--hidden", "20", "--epochs", "1", "--window", "10", "--rates", "0.01", "0.03", "--strengths",
                         "1", "--ewc-rates", "0.01", "--batch", "50", "--seeds", "3", "4"],
    "brian2_check": ["--hidden", "20", "--epochs", "1", "--window", "10", "--images", "10", "--repeats", "6",
                     "--target", "numpy", "--seeds", "1", "2"],
    "lesions": ["--hidden", "20", "--epochs", "1", "--images", "60", "--samples", "2", "--fractions", "0", "0.5", "0.9",
                "--orders", "p", "random", "fisher", "sqrt-fisher", "mas", "sliced-cramer", "release-probability",
                "--seeds", "1", "2"],
}  # fmt: skip
SPIKING = ("spiking_energy", "spiking_lifelong", "brian2_check")
SAVE = Figure.savefig


def run(name: str, out: Path, *more: str) -> None:
    sys.modules.pop(name, None)
    script = importlib.import_module(name)
    launch(script, [*common(script), *ARGUMENTS[name], "--out", str(out), *more])


def common(script: ModuleType) -> list[str]:
    """What every small run is given: the digits in batches of 20, where the script has data and batches."""
    says = script.Config.says()
    given = {name: value for name, value in WHERE_USED.items() if not says.get(name, {"unused": True}).get("unused")}
    return [*COMMON, *(word for name, value in given.items() for word in (f"--{name}", value))]


def launch(script: ModuleType, arguments: list[str]) -> None:
    """Run a script in this process, as its command line does."""
    script.EXPERIMENT.main(arguments)


def pdf_alone(made: Figure, path: Path, **options: object) -> None:
    if path.suffix == ".pdf":
        SAVE(made, path, **options)


def again(script: ModuleType, out: Path) -> list[dict[str, object]]:
    """The rows of a run, made once more from its record and its config alone."""
    record, names = records.open(out), {field.name for field in dataclasses.fields(script.Config)}
    config = script.Config(**{name: value for name, value in record.config.items() if name in names})
    made = json.dumps(list(script.EXPERIMENT.rows(config, record.dataset)))
    return json.loads(made, parse_constant=lambda name: None)  # no NaN in a summary


def every_family_is_tested(name: str, out: Path, rows: list[dict[str, Any]]) -> None:
    """What is declared to be tested occurs in the small run too, and stands in the rows that it makes."""
    families = outcomes.FAMILIES.get(name, ())
    samples = outcomes.of(name, records.open(out).dataset) if families else {}
    told = {row["test"]["family"] for row in rows if row.get("test")}
    for family in families:
        assert family.pairs(samples), f"no pair of {family.name!r}: have the small run hold one"
        assert family.name in told, f"no row tells the tests of {family.name!r}"


def runs_resumes_and_is_drawn(name: str, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Run an experiment, go on with it when it is finished, and draw it (other tests look at the pictures)."""
    run(name, out)
    printed = capsys.readouterr().out
    rows = json.loads((out / "summary.json").read_text())["rows"]
    assert rows
    assert all(row["method"] in printed for row in rows)
    assert any(math.isfinite(row["mean"]) for row in rows if row["mean"] is not None)
    assert records.open(out).config["data"] == ("patterns" if name == "perceptron" else "digits")
    if hasattr(sys.modules[name], "EXPERIMENT"):
        assert again(sys.modules[name], out) == rows
    every_family_is_tested(name, out, rows)
    before = (out / "summary.json").read_text()
    run(name, out, "--resume")
    seconds = ("s", "training of one run, s", "importances of one run, s")
    kept = [row for row in json.loads(before)["rows"] if row["metric"] not in seconds]
    assert [
        row for row in json.loads((out / "summary.json").read_text())["rows"] if row["metric"] not in seconds
    ] == kept
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", pdf_alone)
        importlib.import_module(f"analysis.{name}").main([str(out)])
    assert list((out / "figures").glob("*.pdf"))
