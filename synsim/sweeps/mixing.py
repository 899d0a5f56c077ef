"""How many seeds one process takes as replicas: measured, since it hangs on caches and memory that nobody knows.

Seeds as replicas of one program share the cost of every Python line; as programs of their own they share the cores. A
few candidates are run for a moment each, in every worker process at the same time, as the sweep will run them.
"""

import dataclasses
import math
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from synsim.sweeps.cell import measured
from synsim.sweeps.plan import Cell
from synsim.sweeps.source import load
from synsim.training.stopping import StoppedError

SECONDS = 0.25
"""How long a candidate is tried."""
WARM = 3
"""Steps that are not counted: the first ones compile, and fill caches."""


@dataclass(frozen=True)
class Probe:
    """What a moment of a cell has shown.

    Attributes:
        seeds: replicas of the program.
        step: seconds of one step (median); infinite if none was seen.
        whole: seconds of the whole cell, where it ended in that time; else infinite.
        message: what went wrong.
    """

    seeds: int
    step: float = math.inf
    whole: float = math.inf
    message: str = ""


def probe(cell: Cell, seconds: float, stop: Callable[[], bool]) -> Probe:
    """Run a cell for a moment, in a folder that is thrown away.

    Args:
        cell: the cell.
        seconds: from the first step that counts.
        stop: whether to stop at once.

    Returns:
        How long its steps take; whatever goes wrong is in there.
    """
    times: list[float] = []
    begin = time.monotonic()

    def stops() -> bool:
        times.append(time.monotonic())
        return stop() or (len(times) > WARM and times[-1] - times[WARM] > seconds)

    folder = Path(tempfile.mkdtemp(prefix="synsim-probe-"))
    try:
        measured(load(cell.source), cell.config(), folder / "run", stops)
        whole = time.monotonic() - begin
    except StoppedError:
        whole = math.inf
    except (Exception, SystemExit) as error:
        return Probe(len(cell.seeds), message=f"{type(error).__name__}: {error}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    counted = times[WARM:]
    # In so few steps the mean is often that of one hiccup: of the first use of something, or of another process.
    step = statistics.median(later - sooner for sooner, later in pairwise(counted)) if len(counted) > 1 else math.inf
    return Probe(len(cell.seeds), step, whole)


def candidates(seeds: int) -> list[int]:
    """Numbers of seeds per cell that are tried.

    Args:
        seeds: of a setting.

    Returns:
        All, half of them, and so on to one.
    """
    found = [seeds]
    while found[-1] > 1:
        found.append(math.ceil(found[-1] / 2))
    return found


def fastest(probes: Mapping[int, Probe], settings: int, seeds: int, jobs: int) -> int:
    """The number of seeds per cell that ends first.

    Args:
        probes: number of seeds -> what was seen, the slower of those that ran at the same time.
        settings: of the sweep.
        seeds: of every setting.
        jobs: cells at the same time.

    Returns:
        Of candidates that are equally fast (within 5 %, what such a moment can't tell) the one with most replicas.
    """

    def wall(each: Probe) -> float:
        waves = math.ceil(settings * math.ceil(seeds / each.seeds) / jobs)
        return waves * each.whole if ends else waves * each.step

    # Whole cells are told by their time, start and end included; of longer ones the steps are nearly all.
    ends = all(math.isfinite(each.whole) for each in probes.values())
    walls = {count: wall(each) for count, each in probes.items()}
    best = min(walls.values())
    if not math.isfinite(best):
        return seeds
    return max(count for count, taken in walls.items() if taken <= 1.05 * best)


def with_seeds(cell: Cell, count: int) -> Cell:
    """A cell with the first of the seeds.

    Args:
        cell: the cell.
        count: how many.

    Returns:
        It, with so many seeds.
    """
    return dataclasses.replace(cell, options={**cell.options, "seeds": cell.seeds[:count]})
