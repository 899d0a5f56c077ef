"""A grid of settings over the processes of this machine, or over many machines.

In use::

    from synsim import sweeps

    swept = sweeps.run("experiments/lifelong.py", {"strengths": [0.1, 1, 10], "lr": [0.001, 0.01]}, seeds=["1:20"],
                       options={"data": "digits", "methods": ["ewc"]}, executor=sweeps.Local(jobs=2), out="runs/sweep")
    swept.table()

Every cell of the grid is a run of its own, in a run folder as the script itself would make it, bit for bit. Stopped,
killed or interrupted, a sweep goes on when it is run again.
"""

from synsim.sweeps.cluster import Cluster
from synsim.sweeps.errors import SweepError
from synsim.sweeps.local import Local
from synsim.sweeps.results import folders, settings, table
from synsim.sweeps.running import Swept, run

__all__ = ["Cluster", "Local", "SweepError", "Swept", "folders", "run", "settings", "table"]
