"""A sweep from its grid to its table."""

import math
import secrets
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from synsim._checks import require, whole
from synsim._doors import typed
from synsim.records.files import plain
from synsim.records.lock import hold, release
from synsim.sweeps.cell import STOP, TOKEN, Outcome, clean
from synsim.sweeps.errors import SweepError
from synsim.sweeps.local import Local
from synsim.sweeps.mixing import SECONDS, Probe, candidates, fastest, with_seeds
from synsim.sweeps.plan import WORK, Cell, cells, is_done, note, noted
from synsim.sweeps.progress import Progress
from synsim.sweeps.results import table
from synsim.sweeps.source import Source, find, load
from synsim.sweeps.values import MADE, seeds_of
from synsim.training.stopping import Stop

if TYPE_CHECKING:
    import pandas as pd


class Executor(Protocol):
    """What runs cells: `Local` or `Cluster`.

    Attributes:
        jobs: cells at the same time.
    """

    jobs: int

    def execute(self, cells: Sequence[Cell], done: Callable[[Outcome], None], stop: Callable[[], bool]) -> None:
        """Run cells."""

    def probe(self, cell: Cell, seconds: float) -> Probe:
        """Run a cell for a moment in every process at once."""

    def close(self) -> None:
        """End what was started."""


@dataclass(frozen=True)
class Swept:
    """A sweep that has been run.

    Attributes:
        folder: of the sweep; every cell is a run folder in it.
        outcomes: how the cells ended, those too that were done before; fewer than cells if it was stopped.
        cells: names of all.
    """

    folder: Path
    outcomes: tuple[Outcome, ...]
    cells: tuple[str, ...]

    @property
    def errors(self) -> tuple[Outcome, ...]:
        """Cells without results: they failed three times, and are tried again when the sweep is run again."""
        return tuple(each for each in self.outcomes if each.status == "error")

    @property
    def complete(self) -> bool:
        """Whether every cell has results."""
        return sum(each.status in ("finished", "failed") for each in self.outcomes) == len(self.cells)

    def table(self) -> "pd.DataFrame":
        """The results of all cells.

        Returns:
            See `synsim.sweeps.table`.
        """
        return table(self.folder)

    def __repr__(self) -> str:
        """One line.

        Returns:
            Folder and numbers of cells.
        """
        counts = {status: sum(each.status == status for each in self.outcomes) for status in _WORDS}
        parts = [f"{count} {_WORDS[status]}" for status, count in counts.items() if count]
        return f"Swept({str(self.folder)!r}: {len(self.cells)} cells, {', '.join(parts) or 'none run'})"


_WORDS = {
    "finished": "finished",
    "failed": "with replicas that failed",
    "error": "without results",
    "stopped": "stopped and saved",
}


@typed
def run(
    experiment: object,
    grid: Mapping[str, Any],
    executor: object = None,
    *,
    seeds: Sequence[int | str] | None = None,
    out: str | Path = "runs/sweep",
    options: Mapping[str, Any] | None = None,
    seeds_per_cell: int | str = "auto",
    quiet: bool = False,
) -> Swept:
    """Run an experiment for every setting of a grid, each in a run folder of its own; what is done is not run again.

    Args:
        experiment: an `Experiment` that stands in a module or script, the path of a script, or "module:NAME".
        grid: option of the experiment -> values; {} is a single setting.
        executor: `Local(jobs)`, `Cluster(...)`; None: a process for each core of this machine.
        seeds: of every setting, such as (1, 2) or ("1:20",); None: the experiment's.
        out: folder of the sweep.
        options: of the experiment, for all cells.
        seeds_per_cell: how many seeds of a setting are replicas of one program. "auto" measures what ends first (on a
            GPU: all); a sweep that goes on keeps what it has.
        quiet: no progress.

    Returns:
        How the cells ended. A Ctrl-C stops the sweep with every cell saved; run again, it goes on.

    Raises:
        ValueError: if the grid or a setting does not fit the experiment, or the folder holds another sweep.
        SweepError: if no cell could be run like this. A cell that is there with another config is refused with
            RunMismatchError, a folder that another sweep works in with RunBusyError.
    """
    # Other processes may stand in another folder.
    source, folder = find(experiment), Path(out).absolute()
    given = {name: value for name, value in (options or {}).items() if name not in MADE}
    spread = seeds_of(load(source).config.seeds if seeds is None else seeds)
    runner: Any = Local() if executor is None else executor
    require(
        all(hasattr(runner, name) for name in ("execute", "probe", "jobs", "close")),
        f"executor must be Local(...) or Cluster(...), got {executor!r}.",
    )
    folder.mkdir(parents=True, exist_ok=True)
    work = folder / WORK
    work.mkdir(exist_ok=True)
    hold(work)
    try:
        count = _seeds_per_cell(seeds_per_cell, source, grid, spread, folder, given, runner)
        todo = _todo(source, grid, spread, folder, given, count)
        (work / STOP).unlink(missing_ok=True)
        (work / TOKEN).write_text(secrets.token_hex(8), encoding="ascii")
        return _execute(todo, runner, folder, quiet)
    finally:
        runner.close()
        release(work)


def _seeds_per_cell(
    asked: int | str,
    source: Source,
    grid: Mapping[str, Any],
    seeds: tuple[int, ...],
    out: Path,
    options: Mapping[str, Any],
    runner: Any,
) -> int:
    if asked != "auto":
        require(not isinstance(asked, str), f"seeds_per_cell must be a number or 'auto', got {asked!r}.")
        return min(whole(asked, "seeds_per_cell"), len(seeds))
    there = noted(out)
    if there is not None and tuple(there["seeds"]) == seeds:
        return int(there["seeds_per_cell"])
    whole_cells = cells(source, grid, seeds, out, options=options, seeds_per_cell=len(seeds))
    if len(seeds) == 1 or not str(whole_cells[0].config().device).startswith("cpu"):
        return len(seeds)
    return _measured(whole_cells, seeds, runner)


def _measured(whole_cells: Sequence[Cell], seeds: tuple[int, ...], runner: Any) -> int:
    first, settings, jobs = whole_cells[0], len(whole_cells), runner.jobs
    seen = runner.probe(first, SECONDS)
    if seen.message:
        return len(seeds)
    if math.isfinite(seen.whole):  # what every process loads once is in the time of this cell, but not of its steps
        seen = runner.probe(first, SECONDS)
    # A cell that short is mostly its start: with enough of them for every process, nothing is won by more.
    if seen.whole < SECONDS and settings >= jobs:
        return len(seeds)
    fewer = candidates(len(seeds))[1:]
    probes = {len(seeds): seen} | {count: runner.probe(with_seeds(first, count), SECONDS) for count in fewer}
    return fastest(probes, settings, len(seeds), jobs)


def _todo(
    source: Source,
    grid: Mapping[str, Any],
    seeds: tuple[int, ...],
    out: Path,
    options: Mapping[str, Any],
    count: int,
) -> list[Cell]:
    listed = cells(source, grid, seeds, out, options=options, seeds_per_cell=count)
    defaults = {field.name: field.default for field in fields(load(source).config)}
    asked = {name: value for name, value in options.items() if value != defaults[name]}
    told = plain({"experiment": source.title, "seeds": seeds, "seeds_per_cell": count, "options": asked}, "options")
    there = noted(out)
    if there is not None:
        changed = [key for key in told if there.get(key) != told[key]]
        require(
            not changed,
            f"{out} holds another sweep: its {', '.join(changed)} is {there.get((changed or ['seeds'])[0])!r}. Give "
            "the same, or another --out. Values and axes of the grid may be added.",
        )
    settings = {one["name"]: dict(one["setting"]) for one in (there or {}).get("cells", ())}
    settings |= {cell.name: dict(cell.setting) for cell in listed}
    for cell in listed:
        is_done(cell)  # refuses a run with another config before anything is begun
    note(out, told, settings)
    return listed


def _execute(listed: Sequence[Cell], runner: Any, folder: Path, quiet: bool) -> Swept:
    found = {cell.name: Outcome(cell.name, "finished") for cell in listed if is_done(cell)}
    todo = [cell for cell in listed if cell.name not in found]
    refused: list[Outcome] = []
    with Stop() as stop, Progress(len(listed), len(found), quiet) as progress:
        stop.saves = lambda: True

        def done(outcome: Outcome) -> None:
            if outcome.status == "refused":
                refused.append(outcome)
                return
            found[outcome.name] = outcome
            if outcome.status != "stopped":
                progress.step(outcome.status == "error")

        def stops() -> bool:
            progress.look()
            return stop.asked or bool(refused)

        if todo:
            runner.execute(todo, done, stops)
    for cell in listed:
        if found.get(cell.name, Outcome("", "error")).status in ("finished", "failed"):
            with suppress(OSError):
                clean(cell)
    if refused:
        raise SweepError(f"{refused[0].name}: {refused[0].message}")
    swept = Swept(folder, tuple(found.values()), tuple(cell.name for cell in listed))
    for each in swept.errors if not quiet else ():
        print(f"{each.name}: {each.message}", file=sys.stderr)
    return swept
