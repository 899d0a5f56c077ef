"""The runs of a report: found, recognised, ranked and described."""

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import xarray

from synsim import records
from synsim._checks import require
from synsim._doors import check_fields, typed

RUN = "run.json"
# Options with a path of somebody's machine, and what stands for it.
PATHS = {"--data-dir": "DIR", "--data_dir": "DIR"}
FOLDERS = ("--out", "--source")
# Presets with the published protocol; runs of old say no more than that.
PAPER = ("paper", "full")
SILENT = ("--quiet", "--overwrite", "--resume")


class Skipped(NamedTuple):
    """A folder that is left out.

    Attributes:
        name: of the folder.
        reason: why.
    """

    name: str
    reason: str


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run.

    Attributes:
        name: of its folder.
        experiment: name of its script, without suffix.
        record: what it left.
    """

    name: str
    experiment: str
    record: records.Record

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def config(self) -> dict[str, Any]:
        """Its resolved config."""
        return self.record.config

    @property
    def reduced(self) -> str | None:
        """What differs from the published protocol; None if the run does not say."""
        said = self.record.run.get("reduced")
        return None if said is None else str(said)

    @property
    def shortened(self) -> bool:
        """Whether it is shorter or smaller than the published one, as far as it says."""
        if self.reduced is None:
            return self.config.get("preset", PAPER[0]) not in PAPER
        return bool(self.reduced)

    def command(self) -> str:
        """The command line, without what belongs to one machine; the latest that chose what is run.

        Returns:
            One line for a shell.
        """
        run = self.record.run
        chose = [again["command"] for again in run.get("resumes", []) if {*again["changed"]} - {*records.FREE}]
        given = [str(part) for part in [run["command"], *chose][-1]]
        parts, words = ["python", f"experiments/{self.experiment}.py"], iter(given[1:])
        for word in words:
            name, equals, value = word.partition("=")
            if name in SILENT:
                continue
            if name not in (*PATHS, *FOLDERS):
                parts.append(word)
                continue
            value = value if equals else next(words, "")
            shown = PATHS.get(name) or f"runs/{Path(value).name}"
            parts += [f"{name}={shown}"] if equals else [name, shown]
        return shlex.join(parts)

    def facts(self) -> str:
        """Commit, device, threads, time, seeds, what was reduced and what failed.

        Returns:
            One line.
        """
        run = self.record.run
        threads = self.config.get("threads")
        parts = [
            _commit(run.get("commit")),
            f"device {run.get('device') or 'unknown'}",
            "all threads" if threads is None else f"{threads} thread{'s' if threads != 1 else ''}",
            _duration(float(run["wall_seconds"])),
            _seeds(run.get("seeds") or []),
        ]
        if run.get("resumes"):
            parts.append(f"resumed {len(run['resumes'])} ×")
        if self.config.get("preset"):
            parts.append(f"preset {self.config['preset']}")
        said = {None: "what it reduced is not recorded", "": "nothing reduced"}
        parts.append(said.get(self.reduced) or f"reduced: {self.reduced}")
        if run.get("left_out"):
            parts.append(f"left out: {run['left_out']}")
        if run.get("failures"):
            parts.append(f"replicas that failed: {', '.join(map(str, run['failures']))}")
        return "; ".join(parts)


def _commit(commit: Mapping[str, Any] | None) -> str:
    if not commit:
        return "commit unknown"
    return f"commit {commit['sha'][:12]}{' with uncommitted changes' if commit['dirty'] else ''}"


def _duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.0f} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _seeds(seeds: Sequence[int]) -> str:
    if len(seeds) > 5 and list(seeds) == list(range(seeds[0], seeds[0] + len(seeds))):
        return f"seeds {seeds[0]} to {seeds[-1]}"
    return f"seed{'s' if len(seeds) != 1 else ''} {', '.join(map(str, seeds))}"


@typed
def collect(folders: Sequence[str | Path]) -> tuple[list[Run], list[Skipped]]:
    """All finished runs in the folders given; a folder of runs is searched.

    Args:
        folders: run folders, or folders with run folders in them.

    Returns:
        The runs, best first: nothing reduced, most seeds, latest; and what is left out.
    """
    found, skipped, seen = [], [], set()
    for given in map(Path, folders):
        try:
            inside = [given] if os.path.lexists(given / RUN) else sorted(path.parent for path in given.rglob(RUN))
            if not inside:
                skipped.append(Skipped(given.name, f"no {RUN} in it" if given.is_dir() else "no such folder"))
        except (OSError, ValueError) as error:  # a name that is too long, a loop of links
            skipped.append(Skipped(_line(given.name), _line(str(error))))
            continue
        for path in inside:
            if os.path.realpath(path) in seen:
                continue
            seen.add(os.path.realpath(path))
            one = _opened(path)
            if isinstance(one, Run):
                found.append(one)
            else:
                skipped.append(one)
    return sorted(found, key=_rank), sorted(skipped)


def _opened(path: Path) -> Run | Skipped:
    name = _line(Path(os.path.realpath(path)).name)
    try:
        record = records.open(path)
        if record.run["status"] not in ("finished", "failed"):
            return Skipped(name, f"its status is {_line(repr(record.run['status']))}, not finished")
        run = Run(name, Path(str(record.run["command"][0])).stem, record)
        # What the page says of every run, so that a forged one fails here, and costs one line.
        run.command(), run.facts(), _rank(run)
        return run
    except Exception as error:  # a stranger's folder may fail in any way
        # The messages name files by their whole path, which is nobody's business.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        return Skipped(name, _line(reason.replace(str(path), name)))


def _line(text: str, most: int = 500) -> str:
    # Text of somebody else for a line of a page or a terminal.
    kept = "".join(sign if sign.isprintable() else "?" for sign in text)
    return kept if len(kept) <= most else f"{kept[:most]}..."


def _rank(run: Run) -> tuple[bool, bool, int, list[int], str]:
    # Of two that are alike the one that ended later comes first.
    latest = [-ord(letter) for letter in str(run.record.run.get("ended") or "")]
    seeds = run.record.run.get("seeds") or []
    return run.shortened, run.reduced is None, -len(seeds), latest, run.name


@typed
def merged(runs: Mapping[str, Run]) -> xarray.Dataset:
    """One dataset with each model from its run, such as methods that were run one by one.

    Args:
        runs: model -> the run it is taken from, in the order wanted.

    Returns:
        The dataset, over `model`. Replicas are numbered; their seeds are left out if they differ.

    Raises:
        ValueError: if there is no model, or a run does not have the one that it is given for.
    """
    require(len(runs) > 0, "runs must hold one model at least, got none.")
    for name, run in runs.items():
        data = run.record.dataset
        there = [str(one) for one in data.model.values] if "model" in data.coords else []
        require(name in there, f"{run.name} has no model {str(name)!r}, it has {', '.join(there) or 'none'}.")
    each = {id(run): run.record.dataset for run in runs.values()}
    if len(each) == 1:
        (only,) = each.values()
        return only.sel(model=list(runs))
    seeds = {tuple(data.seed.values.tolist()) for data in each.values()}
    parts = [run.record.dataset.sel(model=[name]) for name, run in runs.items()]
    if len(seeds) > 1:
        parts = [part.drop_vars("seed") for part in parts]
    found = xarray.concat(
        parts, dim="model", join="outer", data_vars="all", coords="minimal", compat="equals",
        combine_attrs="drop_conflicts",
    )  # fmt: skip
    failed = found.failed
    if failed.dtype != bool:  # a run with fewer seeds has no value for the others
        found["failed"] = failed.fillna(1).astype(bool)
    return _as_learned(found, parts)


def _as_learned(found: xarray.Dataset, parts: Sequence[xarray.Dataset]) -> xarray.Dataset:
    # An outer join sorts; tasks are shown in the order in which they are learned.
    order = [str(name) for part in parts for name in part.after_task.values]
    tasks = [str(name) for name in parts[0].test_task.values]
    wanted = [*tasks, *sorted(set(order) - set(tasks))]
    picked = {dim: [name for name in wanted if name in found[dim].values] for dim in ("task", "after_task")}
    return found.sel(picked | {"test_task": tasks})
