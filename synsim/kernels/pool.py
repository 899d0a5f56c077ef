"""A small thread pool for the CPU kernels, beside torch's own."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch

GRAIN = 1 << 19
"""Elements below which a second thread costs more than it brings."""

_pools: dict[int, ThreadPoolExecutor] = {}


def _forget() -> None:
    _pools.clear()


# Threads do not survive a fork; a child starts its own.
os.register_at_fork(after_in_child=_forget)


def split(task: Callable[[int, int], object], count: int, work: int) -> None:
    """Run a task over the range 0 … count, on `torch.get_num_threads()` threads if the work is worth it.

    Args:
        task: called as task(start, stop) on disjoint ranges that cover 0 … count.
        count: length of the range.
        work: elements touched in all, which decides whether to split.
    """
    workers = min(torch.get_num_threads(), count, -(-work // GRAIN))
    if workers <= 1:
        task(0, count)
        return
    pool = _pools.get(workers)
    if pool is None:
        pool = _pools[workers] = ThreadPoolExecutor(workers - 1, thread_name_prefix="synsim")
    edges = [count * k // workers for k in range(workers + 1)]
    waiting = [pool.submit(task, edges[k], edges[k + 1]) for k in range(1, workers)]
    task(0, edges[1])
    for future in waiting:
        future.result()
