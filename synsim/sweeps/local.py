"""Worker processes on this machine, one thread each, that take one cell after the other."""

import json
import os
import queue
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import synsim
from synsim._checks import whole
from synsim._doors import typed
from synsim.sweeps.cell import Outcome
from synsim.sweeps.mixing import Probe
from synsim.sweeps.plan import Cell

TRIES = 3
"""Times that a cell may fail."""
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


class Local:
    """Processes on this machine.

    Args:
        jobs: how many, each with one thread; None: one for each core that this process may use.
    """

    @typed
    def __init__(self, jobs: int | None = None) -> None:
        self.jobs = len(_cores()) if jobs is None else whole(jobs, "jobs", most=1024)
        self._workers: list[_Worker] = []

    def __repr__(self) -> str:
        """How many processes.

        Returns:
            One line.
        """
        return f"Local(jobs={self.jobs})"

    def execute(self, cells: Sequence[Cell], done: Callable[[Outcome], None], stop: Callable[[], bool]) -> None:
        """Run cells; a process that is killed is replaced, and its cell goes on.

        Args:
            cells: what is to be run.
            done: is told of every cell that has ended, in this thread.
            stop: whether to stop; every cell then saves and ends.

        Raises:
            KeyboardInterrupt: at once, if one comes.
        """
        waiting, ended = deque((cell, 0) for cell in cells), queue.SimpleQueue[Outcome | None]()
        workers = self._started(min(self.jobs, len(cells)))
        threads = [threading.Thread(target=_serve, args=(each, waiting, ended), daemon=True) for each in workers]
        for thread in threads:
            thread.start()
        try:
            going = len(threads)
            while going:
                with suppress(queue.Empty):
                    outcome = ended.get(timeout=0.1)
                    if outcome is None:
                        going -= 1
                    else:
                        done(outcome)
                if stop():
                    waiting.clear()
                    for worker in workers:
                        worker.stop()
        except BaseException:
            waiting.clear()
            for worker in workers:
                worker.kill()
            raise
        finally:
            self.close()

    def probe(self, cell: Cell, seconds: float) -> Probe:
        """Run a cell for a moment in every process at once.

        Args:
            cell: the cell.
            seconds: how long.

        Returns:
            The slowest of what they saw; without a process that answered, one of infinite times.
        """
        workers = self._started(self.jobs)
        for worker in workers:
            worker.send({"cell": cell.message(), "probe": seconds})
        seen = [Probe(**answer) for answer in (worker.receive() for worker in workers) if answer is not None]
        return max(seen, key=lambda each: (each.step, each.whole), default=Probe(len(cell.seeds)))

    def close(self) -> None:
        """End the processes, each after the cell that it is at."""
        for worker in self._workers:
            worker.close()
        self._workers = []

    def _started(self, count: int) -> "list[_Worker]":
        while len(self._workers) < count:
            self._workers.append(_Worker())
        return self._workers[:count]


class _Worker:
    """A process, started when there is something to do, and again when it has died."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._writing = threading.Lock()
        self.stopped = False

    def send(self, message: Any) -> None:
        """Start the process, if there is none, and tell it something."""
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "synsim.sweeps.worker"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8",
                env=_environment(),
            )  # fmt: skip
        assert self._process.stdin is not None
        with self._writing, suppress(OSError):  # that it has died is seen when it does not answer
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()

    def receive(self) -> dict[str, Any] | None:
        """Wait for its answer.

        Returns:
            The answer; None if the process has died.
        """
        assert self._process is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        return json.loads(line) if line.endswith("\n") else None

    def died(self) -> str:
        """How it ended.

        Returns:
            In words.
        """
        assert self._process is not None
        code = self._process.wait()
        return f"its process was ended by signal {-code}" if code < 0 else f"its process ended with status {code}"

    def stop(self) -> None:
        """Have it save, and end."""
        if not self.stopped and self._process is not None and self._process.poll() is None:
            self.stopped = True
            self.send("stop")

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()

    def close(self) -> None:
        """End it when it has nothing to do."""
        if self._process is not None:
            with suppress(OSError):
                self._process.stdin.close()  # type: ignore[union-attr]
            self._process.wait()
            self._process.stdout.close()  # type: ignore[union-attr]
            self._process = None


def _serve(worker: _Worker, waiting: "deque[tuple[Cell, int]]", ended: "queue.SimpleQueue[Outcome | None]") -> None:
    # The thread of one process. What a cell needs to go on is in its folder, so any process can take it.
    try:
        while True:
            try:
                cell, failures = waiting.popleft()
            except IndexError:
                break
            worker.send({"cell": cell.message()})
            answer = worker.receive()
            outcome = Outcome(**answer) if answer else Outcome(cell.name, "error", worker.died())
            if answer is None and worker.stopped:
                outcome = Outcome(cell.name, "stopped")
            if outcome.status == "error" and failures + 1 < TRIES:
                waiting.append((cell, failures + 1))
                continue
            ended.put(outcome)
    finally:
        ended.put(None)


def _environment() -> dict[str, str]:
    # The same package as here, wherever it is imported from.
    home = Path(synsim.__file__).resolve().parent.parent
    paths = [] if home.name.endswith("-packages") else [str(home)]
    paths += [path for path in [os.environ.get("PYTHONPATH")] if path]
    # Large pages, where the system has them: whole passes over the weights of many replicas take a third of the time.
    large = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
    return {**large, **os.environ, **dict.fromkeys(_THREADS, "1"), "PYTHONPATH": os.pathsep.join(paths)}


def _cores() -> Sequence[int]:
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
