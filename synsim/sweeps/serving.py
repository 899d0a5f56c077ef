"""What a worker of a cluster does. Everything it is told and answers is of JSON's types."""

import dataclasses
import math
import time
from pathlib import Path
from typing import Any

from synsim.sweeps.cell import STOP, Outcome, check_shared, run_cell
from synsim.sweeps.mixing import probe
from synsim.sweeps.plan import WORK, cell_of
from synsim.sweeps.versions import strangeness, versions

LOOK = 1.0
"""Seconds between looks of a cell at the file that says stop."""


def check(out: str, token: str, expected: dict[str, str]) -> str:
    """What is wrong with this worker.

    Args:
        out: folder of the sweep.
        token: what its file of that name holds.
        expected: package -> version of whoever asks.

    Returns:
        A sentence; empty if nothing is.
    """
    strange = strangeness(versions(), expected)
    if strange:
        return strange
    try:
        check_shared(Path(out), token)
    except ValueError as error:
        return str(error)
    return ""


def work(message: dict[str, Any], token: str, expected: dict[str, str]) -> dict[str, Any]:
    """What a worker does for a cell.

    Args:
        message: the cell.
        token: of the folder of the sweep.
        expected: package -> version of whoever asks.

    Returns:
        Its outcome.
    """
    cell = cell_of(message)
    out = cell.folder.parent
    stop = Stopped(out / WORK / STOP)
    refused = check(str(out), token, expected)
    if refused:
        return dataclasses.asdict(Outcome(cell.name, "refused", refused))
    return dataclasses.asdict(Outcome(cell.name, "stopped") if stop() else run_cell(cell, stop))


def measure(message: dict[str, Any], seconds: float) -> dict[str, Any]:
    """What a worker does to measure how fast it is.

    Args:
        message: a cell.
        seconds: how long.

    Returns:
        What it has seen.
    """
    return dataclasses.asdict(probe(cell_of(message), seconds, lambda: False))


class Stopped:
    """Whether a file says that the sweep is to stop.

    Args:
        path: the file; it is looked for once in a while, since its disk may be far away.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._last, self._there = path, -math.inf, False

    def __call__(self) -> bool:
        """Look, if it is time to.

        Returns:
            Whether the file was there at the last look.
        """
        now = time.monotonic()
        if now - self._last >= LOOK:
            self._last, self._there = now, self._path.exists()
        return self._there
