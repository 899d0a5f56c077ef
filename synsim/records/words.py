"""What a record says about itself: the units and long names of its variables, its title, and the page for people."""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xarray

from synsim._doors import typed
from synsim.records.description import FREE
from synsim.records.files import CHECKPOINT, RECORD, RUN, SUMMARY, canonical

WORDS = {
    "accuracy": ("1", "share of the test examples that are classified correctly"),
    "activity": ("1", "energy of the synapses by their presynaptic activity"),
    "after_task": ("1", "last task that was trained on"),
    "atp_release": ("1", "molecules of ATP per image that vesicles cost"),
    "atp_reversal": ("1", "molecules of ATP per image that postsynaptic currents cost"),
    "atp_spikes": ("1", "molecules of ATP per image that spikes cost"),
    "bin": ("1", "middle of a bin"),
    "decay": ("1", "weight decay"),
    "energy": ("1", "energy of the synapses, sum of abs(expected strength)"),
    "epoch": ("1", "passes over the task so far"),
    "failed": ("1", "whether the replica failed"),
    "hidden_spikes": ("1", "spikes of hidden neurons per image"),
    "important_share": ("1", "share of synapses with a high release probability"),
    "information": ("bit", "mutual information between class and decision"),
    "loss": ("1", "cross-entropy in nats, mean over the batches"),
    "macs": ("1", "multiply-accumulates per image where nothing is skipped"),
    "mean_p": ("1", "mean release probability"),
    "model": ("1", "model"),
    "p_histogram": ("1", "share of synapses per bin of release probability"),
    "picojoules": ("pJ", "cost of the effective operations at synapses per image, by a table"),
    "released": ("1", "strength released per image"),
    "replica": ("1", "replica"),
    "seconds": ("s", "wall time"),
    "seed": ("1", "seed of a replica"),
    "spikes": ("1", "spikes per image"),
    "synops": ("1", "effective operations at synapses per image"),
    "task": ("1", "task trained on"),
    "test_accuracy": ("1", "share of the test examples that are classified correctly"),
    "test_task": ("1", "task tested"),
    "time": ("ms", "time"),
    "train_accuracy": ("1", "share of the training examples that are classified correctly"),
    "vesicles": ("1", "vesicles per image"),
    "when": ("1", "before or after the training"),
}
"""Name of a variable, or what it ends with -> units (1: a number without a unit) and long name."""


@typed
def described(dataset: xarray.Dataset, run: Mapping[str, Any]) -> xarray.Dataset:
    """The dataset with words: `units` and `long_name` of every variable, and where it comes from.

    Quantities of the models have no units; whoever saves others says so in the attributes, which are kept.

    Args:
        dataset: the results of a run.
        run: what its `run.json` holds.

    Returns:
        The same values. New attributes: `title`, `experiment`, `config` and `versions` (JSON).
    """
    config = {key: value for key, value in run["config"].items() if key not in FREE}
    found = dataset.assign_attrs(
        {
            "title": title(run),
            "experiment": experiment(run),
            "config": canonical(config),
            "versions": canonical(run["versions"]),
            **dataset.attrs,
        }
    ).copy()
    for name in found.variables:
        units, long_name = _words(str(name))
        found[name].attrs = {"units": units, "long_name": long_name, **found[name].attrs}
    return found


def _words(name: str) -> tuple[str, str]:
    if name in WORDS:
        return WORDS[name]
    # Parts of an experiment prefix what they measure: fixed_energy, start_mean_p.
    ends = [key for key in WORDS if name.endswith(f"_{key}")]
    if not ends:
        return "1", name.replace("_", " ")
    longest = max(ends, key=len)
    units, long_name = WORDS[longest]
    return units, f"{long_name} ({name[: -len(longest) - 1].replace('_', ' ')})"


def experiment(run: Mapping[str, Any]) -> str:
    """Name of the experiment that made a run.

    Args:
        run: what its `run.json` holds.

    Returns:
        The name of the script; "unknown" without one.
    """
    command = run["command"]
    return Path(str(command[0])).stem or "unknown" if command else "unknown"


def title(run: Mapping[str, Any]) -> str:
    """One line about a run.

    Args:
        run: what its `run.json` holds.

    Returns:
        Experiment, data and seeds.
    """
    config, seeds = run["config"], run.get("seeds")
    data = f" on {Path(str(config['data'])).name}" if "data" in config else ""
    many = len(seeds) if isinstance(seeds, list) else 0
    return f"{experiment(run)}{data}" + (f", {many} seed{'s' * (many != 1)}" if many else "")


def page(run: Mapping[str, Any], folder: Path) -> str:
    """What a person finds in the folder of a run: what it is, and which command draws its figures.

    Args:
        run: what `run.json` holds.
        folder: of the run.

    Returns:
        The text of README.txt.
    """
    command = [str(part) for part in run["command"]]
    script = Path(command[0]) if command else Path()
    drawing = script.parent.parent / "analysis" / script.name
    figures = f"Its figures:      python {shlex.quote(str(drawing))} {shlex.quote(str(folder))}\n"
    return (
        f"A run of synsim: {title(run)}; started {run['started']}.\n\n"
        f"Made by:          python {shlex.join(command)}\n"
        f"{figures if script.suffix == '.py' and drawing.is_file() else ''}"
        f"Read in Python:   synsim.records.open({json.dumps(str(folder))}).dataset, .table(), .summary, .config\n\n"
        f"{RUN}: config, seeds, versions, commit, device, status, times\n"
        f"{RECORD}: the results, an xarray dataset (NetCDF 4) whose variables have units and long names\n"
        f"{SUMMARY}: the rows of the result table\n"
        f"{CHECKPOINT}: what it takes to go on (--resume)\n"
    )
