"""An experiment for every setting of a grid, on all cores of this machine or on many machines (see docs/scaling.md).

    python experiments/sweep.py lifelong --methods ewc --grid strengths=1,10 --grid ewc-rate=0.001,0.01 --jobs 2

What this script does not know are options of the experiment, for every cell. Every cell is a run folder in --out. Run
again, a sweep goes on: what is done is not run again. `analysis/sweep.py` draws it.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from synsim import sweeps
from synsim._console import steady
from synsim.sweeps.source import find, load
from synsim.sweeps.values import grid_of
from synsim.training.command import fail, options


def parser() -> argparse.ArgumentParser:
    """The options of this script."""
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    made.add_argument("experiment", help="name of a script beside this one, path of a script, or module:NAME")
    made.add_argument("--grid", action="append", default=[], metavar="NAME=VALUE,...", help="an axis of the grid")
    made.add_argument("--seeds", nargs="+", help="seeds of every setting: 1 2 3, or 1:20 (default: the experiment's)")
    made.add_argument("--out", default="runs/sweep", help="folder of the sweep (default: runs/sweep)")
    made.add_argument("--jobs", type=int, help="cells at the same time (default: one for each core)")
    made.add_argument(
        "--seeds-per-cell", default="auto",
        help="how many seeds are replicas of one program (default: auto, which measures what ends first)",
    )  # fmt: skip
    made.add_argument("--scheduler", metavar="ADDRESS", help="of dask.distributed, such as tcp://host:8786")
    made.add_argument("--cluster", choices=("slurm", "local"), help="start workers of dask.distributed: --jobs of them")
    made.add_argument("--memory", help="of each job of --cluster slurm, such as 4GB")
    made.add_argument(
        "--patience", type=float,
        help="seconds without a sign of life after which the cells of a worker are run elsewhere (default: 60 with "
        "--cluster; the scheduler's own with --scheduler)",
    )  # fmt: skip
    made.add_argument("--quiet", action="store_true", help="no progress")
    return made


def executor(given: argparse.Namespace) -> object:
    """What runs the cells."""
    if given.scheduler is None and given.cluster is None:
        return sweeps.Local(given.jobs)
    return sweeps.Cluster(
        given.scheduler, start=given.cluster, jobs=given.jobs, memory=given.memory, patience=given.patience
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the sweep; exit with status 1 if a cell has no results."""
    given, rest = parser().parse_known_args(arguments)
    with steady():
        try:
            source = find(given.experiment, [Path(__file__).resolve().parent])
            words = given.seeds_per_cell
            swept = sweeps.run(
                source,
                grid_of(given.grid),
                executor(given),
                seeds=given.seeds,
                out=given.out,
                options=options(load(source).config, f"Options of {source.title}.", rest),
                seeds_per_cell=int(words) if words.isdigit() else words,
                quiet=given.quiet,
            )
        except (ValueError, OSError, sweeps.SweepError) as error:
            fail(error)
        print(swept)
        if swept.complete:
            print(f"draw it: python analysis/sweep.py {swept.folder}")
        elif not swept.errors:
            print("stopped; run the same command again to go on", file=sys.stderr)
        sys.exit(not swept.complete)


if __name__ == "__main__":
    main()
