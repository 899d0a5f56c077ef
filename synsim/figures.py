"""The command line that all analysis scripts share: a run folder in, its table and its figures out."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from synsim import records, tables
from synsim._doors import typed


@typed
def command(
    description: str | None,
    experiment: str,
    draw: Callable[[records.Record, Path], Sequence[Path]],
    arguments: Sequence[str] | None = None,
) -> None:
    """Print the table of a run, draw its figures and say where they are.

    Args:
        description: of the script.
        experiment: name of the experiment whose runs it reads.
        draw: (record, folder for the figures) -> files written.
        arguments: instead of `sys.argv[1:]`.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("run", type=Path, help=f"folder of a run of experiments/{experiment}.py")
    parser.add_argument("--out", type=Path, help="folder for the figures (default: figures/ in the run)")
    given = parser.parse_args(arguments)
    record = records.open(given.run)
    print(tables.text(record.summary))
    for file in draw(record, given.out or given.run / "figures"):
        print(file)
