"""What a worker checks before it takes its first cell, also one that comes later. Needs `distributed`."""

from pathlib import Path
from typing import Any

from distributed import WorkerPlugin

from synsim.sweeps.cell import check_shared
from synsim.sweeps.versions import strangeness, versions


class Guard(WorkerPlugin):
    """Refuses workers of another version, and those that do not see the folder of the sweep.

    Args:
        out: the folder.
        token: what its file of that name holds.
    """

    def __init__(self, out: str, token: str) -> None:
        self._out, self._token, self._versions = out, token, versions()

    def setup(self, worker: Any) -> None:
        """Check.

        Args:
            worker: of dask.distributed.

        Raises:
            ValueError: if it is refused.
        """
        strange = strangeness(self._versions, "the client, for " + str(worker.address))
        if strange:
            raise ValueError(strange)
        check_shared(Path(self._out), self._token)
