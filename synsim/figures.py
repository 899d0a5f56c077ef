"""The command line that all analysis scripts share: a run folder in, its table and its figures out."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from synsim import records, tables
from synsim._console import fail, steady
from synsim._doors import typed

__all__ = ["command", "fail", "file_name", "steady"]


@typed
def file_name(text: str, most: int = 100) -> str:
    """A name for a file from a text that somebody else wrote, such as the config of a run.

    Args:
        text: any text.
        most: characters after which it is cut.

    Returns:
        ASCII letters, digits, hyphens, underscores and dots, the first of them no dot: never a path.
    """
    kept = "".join(sign if sign.isascii() and (sign.isalnum() or sign in "-_.") else "_" for sign in text)
    return kept.lstrip(".")[:most] or "unnamed"


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
    with steady():
        try:
            record = records.open(given.run)
            print(tables.text(record.summary))
            files = _drawn(record, experiment, draw, given.out or given.run / "figures")
        except (OSError, ValueError, MemoryError) as error:
            fail(error)
        for file in files:
            print(file)


def _drawn(
    record: records.Record,
    experiment: str,
    draw: Callable[[records.Record, Path], Sequence[Path]],
    folder: Path,
) -> Sequence[Path]:
    command = [str(part) for part in record.run["command"]]
    made_by = Path(command[0]).stem if command else "unknown"
    try:
        files = draw(record, folder)
    except OSError:
        raise
    except Exception as error:  # whatever xarray, NumPy and matplotlib say to variables and axes that are not there
        said = (str(error).splitlines() or [""])[0]
        raise ValueError(
            f"{record.path} is not what this script expects ({type(error).__name__}: {said}). It was made by "
            f"{made_by}.py; give the folder of a run of experiments/{experiment}.py."
        ) from error
    if command and command[0].endswith(".py") and made_by != experiment:
        print(f"note: this run was made by {made_by}.py, not by experiments/{experiment}.py", file=sys.stderr)
    return files
