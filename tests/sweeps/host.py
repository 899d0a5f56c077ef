"""A LocalCluster in a process of its own, whose end is that of its scheduler: python host.py PORT WORKERS TTL [alone].

With "alone" the workers are processes that nobody starts again, as on machines of their own.
"""

import json
import subprocess
import sys

import dask
from distributed import LocalCluster

PRELOAD = "synsim.sweeps.serving"


def main() -> None:
    port, workers, ttl = map(int, sys.argv[1:4])
    alone = sys.argv[4:] == ["alone"]
    dask.config.set({"distributed.scheduler.worker-ttl": f"{ttl} s", "distributed.worker.preload": [PRELOAD]})
    with LocalCluster(
        n_workers=0 if alone else workers, threads_per_worker=1, processes=True, scheduler_port=port,
        dashboard_address=None,
    ) as cluster:  # fmt: skip
        if alone:
            command = [sys.executable, "-m", "distributed.cli.dask_worker", cluster.scheduler_address, "--no-nanny",
                       "--nthreads", "1", "--no-dashboard", "--preload", PRELOAD]  # fmt: skip
            pids = [subprocess.Popen(command, stdin=subprocess.DEVNULL).pid for _ in range(workers)]
        else:
            pids = [nanny.pid for nanny in cluster.workers.values()]
        print(json.dumps(pids), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
