"""Workers of dask.distributed, on one machine or on many that share a folder.

Whatever ends, be it a worker, a machine or the scheduler, the cells that it had are run elsewhere: what a cell needs to
go on is in the shared folder, and what is done is there too. The scheduler is told of nothing but cells.
"""

import queue
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from synsim._checks import choice, number, require, warn, whole
from synsim._doors import typed
from synsim.sweeps.cell import STOP, TOKEN, Outcome
from synsim.sweeps.errors import SweepError
from synsim.sweeps.local import TRIES
from synsim.sweeps.mixing import Probe
from synsim.sweeps.plan import WORK, Cell
from synsim.sweeps.remote import call
from synsim.sweeps.versions import versions

PATIENCE = 60.0
"""Seconds without a sign of life after which a worker counts as lost. A step may hold the interpreter for seconds."""
SERVING = "synsim.sweeps.serving"
"""What workers had better import at their start: `dask worker --preload synsim.sweeps.serving`."""
LOSSES = 5
"""Times that a connection may break without a cell that has ended in between."""
HANDED, TURNS = 1000, 20
"""Cells that a scheduler is handed at a time, at least, and per worker: what each costs grows with their number."""
MOST = 1000
"""Outcomes that are fetched at a time."""


class Cluster:
    """Workers of a scheduler.

    Args:
        scheduler: its address, such as `tcp://host:8786`; None starts one.
        start: which workers are started with it: "local" processes, or jobs of "slurm" (by dask-jobqueue).
        jobs: how many workers are started.
        memory: of each job, such as "4GB".
        patience: seconds without a sign of life after which the cells of a worker are run elsewhere; None: 60 for
            workers that are started here, and what the scheduler has for others.

    Raises:
        ValueError: if both an address and what to start are given, or neither.
        ModuleNotFoundError: if `dask.distributed` is not installed.
    """

    @typed
    def __init__(
        self,
        scheduler: str | None = None,
        *,
        start: str | None = None,
        jobs: int | None = None,
        memory: str | None = None,
        patience: float | None = None,
    ) -> None:
        require((scheduler is None) != (start is None), "give the address of a scheduler, or what to start: slurm.")
        if start is not None:
            choice(start, "start", ("slurm", "local"))
        require(
            scheduler is None or re.fullmatch(r"(\w+://)?[^\s/]+:\d+", scheduler) is not None,
            f"scheduler must be an address such as tcp://host:8786, got {scheduler!r}.",
        )
        _distributed()
        self._address, self._start = scheduler, start
        self._jobs = None if jobs is None else whole(jobs, "jobs")
        self._memory = memory
        self._patience = None if patience is None else number(patience, "patience", above=True)
        self._cluster: Any = None
        self._client: Any = None

    def __repr__(self) -> str:
        """Where the workers are.

        Returns:
            One line.
        """
        return f"Cluster({self._address or self._start!r})"

    @property
    def jobs(self) -> int:
        """Workers that are there now; those asked for, while none is."""
        return sum(self._connected().nthreads().values()) or self._jobs or 1

    def execute(self, cells: Sequence[Cell], done: Callable[[Outcome], None], stop: Callable[[], bool]) -> None:
        """Run cells.

        Args:
            cells: what is to be run.
            done: is told of every cell that has ended, in this thread.
            stop: whether to stop; every cell then saves and ends.

        Raises:
            SweepError: if there is no scheduler, or a worker is of another version or does not see the folder.
        """
        pending = {cell.name: cell for cell in cells}
        failures: Counter[str] = Counter()

        def note(outcome: Outcome, final: bool = False) -> None:
            failures[outcome.name] += outcome.status == "error"
            if final or outcome.status != "error" or failures[outcome.name] >= TRIES:
                pending.pop(outcome.name, None)
                done(outcome)

        out = cells[0].folder.parent
        token = (out / WORK / TOKEN).read_text(encoding="ascii")
        losses = 0
        while pending and not stop():
            before = len(pending)
            try:
                client = self._connected()
                company = _Company(self._patience or PATIENCE)
                while not client.nthreads() and not stop():
                    company.look(client, len(pending))
                    time.sleep(0.2)
                self._admit(client, out, token)
                handed = max(HANDED, TURNS * len(client.nthreads()))
                _round(client, list(pending.values())[:handed], token, note, stop, company)
            except (OSError, TimeoutError) as error:
                # The connection broke in between. What was handed over is looked for among what is done.
                losses = losses + 1 if len(pending) == before else 0
                self._leave()
                if losses > LOSSES:
                    raise SweepError(f"the scheduler is lost again and again: {error}") from error
            except BaseException:
                # Ended at once here, the cells elsewhere still save what they have.
                (out / WORK / STOP).touch()
                raise

    def probe(self, cell: Cell, seconds: float) -> Probe:
        """Run a cell for a moment on every worker at once.

        Args:
            cell: the cell.
            seconds: how long.

        Returns:
            The slowest of what they saw.
        """
        client = self._connected()
        client.wait_for_workers(1)
        addresses = list(client.nthreads())
        asked = [
            client.submit(call, "measure", cell.message(), seconds, workers=[address], pure=False)
            for address in addresses
        ]
        seen = [Probe(**answer) for answer in client.gather(asked, errors="skip")]
        return max(seen, key=lambda each: (each.step, each.whole), default=Probe(len(cell.seeds)))

    def close(self) -> None:
        """Leave the scheduler; end what was started here."""
        self._leave()
        if self._cluster is not None:
            self._cluster.close()
            self._cluster = None

    def _leave(self) -> None:
        if self._client is not None:
            with suppress(OSError, TimeoutError):
                self._client.close()
            self._client = None

    def _connected(self) -> Any:
        distributed = _distributed()
        while self._client is not None and self._client.status == "connecting":
            time.sleep(0.1)  # it tries to find the scheduler again
        if self._client is not None and self._client.status == "running":
            return self._client
        if self._start is not None and self._cluster is None:
            self._cluster = _started(self._start, self._jobs, self._memory, self._patience or PATIENCE)
        where = self._address or self._cluster
        deadline = time.monotonic() + max(PATIENCE, self._patience or 0)
        while True:
            try:
                self._client = distributed.Client(where, timeout=10, set_as_default=False)
                break
            except (OSError, TimeoutError) as error:
                if time.monotonic() > deadline:
                    raise SweepError(f"no scheduler answers at {where}: {error}") from error
                time.sleep(1)
        if self._address is not None and self._patience is not None:
            self._client.run_on_scheduler(_be_patient, patience=self._patience)
        return self._client

    def _admit(self, client: Any, out: Path, token: str) -> None:
        # Asked in a thread of every worker: there an import does not keep it from giving signs of life.
        addresses = list(client.nthreads())
        asked = {
            address: client.submit(call, "check", str(out), token, versions(), workers=[address], pure=False)
            for address in addresses
        }
        while waiting := [address for address, future in asked.items() if not future.done()]:
            time.sleep(0.1)
            there = client.nthreads()
            for address in waiting:
                if address not in there:
                    del asked[address]  # lost; nobody else answers for it
        strange = [future.result() for future in asked.values() if future.status == "finished"]
        if any(strange):
            raise SweepError("\n".join(filter(None, strange)))


class _Company:
    # Whether there are workers at all: a sweep that waits for the first one, or for others, says so. The scheduler is
    # asked only where nothing has ended for so long.
    def __init__(self, patience: float) -> None:
        self._patience, self._since = patience, time.monotonic()

    def seen(self) -> None:
        self._since = time.monotonic()

    def look(self, client: Any, waiting: int) -> None:
        if time.monotonic() - self._since <= self._patience:
            return
        self.seen()
        with suppress(OSError, TimeoutError):
            if not client.nthreads():
                where = client.scheduler.address
                warn(
                    f"no worker has been at {where} for a while, and {waiting} cells wait. Start some (dask worker "
                    f"{where} --preload {SERVING}): the sweep goes on as soon as one is there."
                )


def _round(
    client: Any,
    cells: Sequence[Cell],
    token: str,
    note: Callable[..., None],
    stop: Callable[[], bool],
    company: "_Company",
) -> None:
    # Hands all cells to the scheduler, and returns when each has ended, or the scheduler has.
    turn, stopping = time.monotonic_ns(), False
    keys = [f"{cell.name} {turn}" for cell in cells]
    told = [cell.message() for cell in cells]
    futures = client.map(partial(call, "work"), told, token=token, expected=versions(), key=keys, pure=False)
    names = {future.key: cell.name for future, cell in zip(futures, cells, strict=True)}
    ended: queue.SimpleQueue[Any] = queue.SimpleQueue()
    for future in futures:
        future.add_done_callback(ended.put)
    del futures, future
    while names:
        batch = _batch(ended)
        if batch:
            company.seen()
        else:
            company.look(client, len(names))
        good = [future for future in batch if future.status == "finished"]
        for answer in client.gather(good, errors="skip"):
            note(Outcome(**answer))
        for future in batch:
            name = names.pop(future.key)
            if future.status == "error":
                error = future.exception()
                # Workers that died with a cell have tried it often enough.
                note(Outcome(name, "error", f"{type(error).__name__}: {error}"), final=True)
        if any(future.status == "cancelled" for future in batch):
            return
        if not stopping and stop():
            stopping = True
            (cells[0].folder.parent / WORK / STOP).touch()


def _batch(ended: "queue.SimpleQueue[Any]") -> list[Any]:
    batch = []
    with suppress(queue.Empty):
        batch.append(ended.get(timeout=0.2))
        while len(batch) < MOST:
            batch.append(ended.get_nowait())
    return batch


def _started(kind: str, jobs: int | None, memory: str | None, patience: float) -> Any:
    import dask

    distributed = _distributed()
    # What takes seconds to import is imported before a worker has to give signs of life.
    dask.config.set({"distributed.scheduler.worker-ttl": f"{patience} s", "distributed.worker.preload": [SERVING]})
    if kind == "local":
        return distributed.LocalCluster(n_workers=jobs, threads_per_worker=1, dashboard_address=None)
    try:
        from dask_jobqueue import SLURMCluster
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("--cluster slurm needs dask-jobqueue: pip install dask-jobqueue.") from error
    cluster = SLURMCluster(cores=1, processes=1, memory=memory or "4GB")
    cluster.scale(jobs=jobs or 1)
    return cluster


def _be_patient(patience: float, dask_scheduler: Any = None) -> None:
    # Runs on the scheduler, which looks for silent workers only as often as it was told at its start.
    dask_scheduler.worker_ttl = patience
    look = dask_scheduler.periodic_callbacks.get("worker-ttl")
    if look is not None:
        look.callback_time = min(look.callback_time, patience * 1000)


def _distributed() -> Any:
    try:
        import distributed
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("a cluster needs dask.distributed: pip install 'synsim[cluster]'.") from error
    return distributed
