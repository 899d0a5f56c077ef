"""A worker process on this machine: cells come in as lines of JSON, and outcomes go out.

`python -m synsim.sweeps.worker`. It ends when its input does, which is when whoever started it has ended, however that
came about: the cell that it is at is saved first.
"""

import dataclasses
import json
import os
import queue
import signal
import sys
import threading
import warnings
from typing import Any

import torch

from synsim.sweeps.cell import run_cell
from synsim.sweeps.mixing import probe
from synsim.sweeps.plan import cell_of
from synsim.training.options import UnreadOptionWarning


def main() -> None:
    """Run cells until the input ends, or says stop."""
    # What experiments print is not for the reader of the outcomes.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    # Ctrl-C reaches every process of a terminal; the one that started this says what is to happen.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    # Who asked for the sweep has read it already.
    warnings.simplefilter("ignore", UnreadOptionWarning)
    waiting: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
    stopped = threading.Event()
    threading.Thread(target=_listen, args=(waiting, stopped), daemon=True).start()
    while (asked := waiting.get()) is not None:
        cell = cell_of(asked["cell"])
        if "probe" in asked:
            answer = dataclasses.asdict(probe(cell, asked["probe"], stopped.is_set))
        else:
            answer = dataclasses.asdict(run_cell(cell, stopped.is_set))
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _listen(waiting: "queue.SimpleQueue[dict[str, Any] | None]", stopped: threading.Event) -> None:
    for line in sys.stdin:
        asked = json.loads(line)
        if asked == "stop":
            break
        waiting.put(asked)
    stopped.set()
    waiting.put(None)


if __name__ == "__main__":
    main()
