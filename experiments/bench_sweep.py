"""What a sweep saves: a grid against its runs one by one, and seeds against plain PyTorch in as many processes.

Whole commands are timed, with their start. Of the runs one by one a few are timed, and the time of all of them is
that many times longer. A machine that is busy at the start gets no verdict.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from bench_step import written
from torch import nn

import synsim

FOLDER = Path(__file__).resolve().parent
METHODS = ("presynaptic", "ewc")
STRENGTHS = ("1", "3", "10", "30", "100", "300", "1000", "3000")
RATES = ("0.0003", "0.0005", "0.001", "0.002", "0.003", "0.005", "0.01", "0.02")
GRID_SEEDS, SEEDS = ("1", "2", "3"), tuple(map(str, range(1, 9)))
ALONE, PROCESSES, BUSY = 8, 2, 0.5


def timed(commands: Sequence[Sequence[str]], threads: int | None = None) -> float:
    """Seconds until all of some commands of Python, which run at the same time, have ended."""
    limits = {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
    begin = time.perf_counter()
    started = [
        subprocess.Popen([sys.executable, *command], stdout=subprocess.DEVNULL, env={**os.environ, **limits})
        for command in commands
    ]
    codes = [process.wait() for process in started]
    seconds = time.perf_counter() - begin
    if any(codes):
        raise SystemExit(f"a command that was timed ended with status {max(codes)}: {' '.join(commands[0])}")
    return seconds


def swept(out: str, *given: str) -> float:
    """Seconds of a sweep of lifelong.py."""
    sweep = [str(FOLDER / "sweep.py"), "lifelong", "--jobs", str(PROCESSES), "--quiet", "--out", out]
    return timed([[*sweep, *given]])


def one_by_one(out: str) -> float:
    """Seconds of all runs of the grid, each a command; a few of them are timed."""
    each = []
    for number in range(ALONE):
        setting = ["--strengths", STRENGTHS[number], "--lr", RATES[-1 - number], "--seeds", GRID_SEEDS[number % 3]]
        common = ["--data", "digits", "--methods", *METHODS, "--quiet", "--out", f"{out}/{number}"]
        each.append(timed([[str(FOLDER / "lifelong.py"), *common, *setting]]))
    return statistics.mean(each) * len(STRENGTHS) * len(RATES) * len(GRID_SEEDS)


def grid(out: str, joined: str) -> float:
    """Seconds of the same as a sweep; strengths joined by a blank are replicas of one cell."""
    axes = ["--grid", f"strengths={joined.join(STRENGTHS)}", "--grid", f"lr={','.join(RATES)}"]
    return swept(out, "--data", "digits", "--methods", *METHODS, *axes, "--seeds", *GRID_SEEDS)


def plain(data: str, seeds: Sequence[int]) -> None:
    """The unprotected network of lifelong.py on five split tasks, as a loop of plain PyTorch, seed after seed."""
    torch.set_num_threads(1)
    sequence = synsim.tasks.split(synsim.data.load(data))
    parts = [[(part[: len(part)], part.labels) for part in (task.train, task.test)] for task in sequence]
    for seed in seeds:
        torch.manual_seed(seed)
        net = nn.Sequential(
            nn.Linear(sequence[0].inputs, 200), nn.ReLU(), nn.Linear(200, 200), nn.ReLU(), nn.Linear(200, 2)
        )
        rule = torch.optim.Adam(net.parameters(), lr=1e-6)
        for (x, y), _ in parts:
            for _ in range(10):
                for rows in torch.randperm(len(x))[: len(x) // 100 * 100].reshape(-1, 100):
                    rule.zero_grad()
                    nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
                    rule.step()
            with torch.no_grad():
                for _, (images, labels) in parts:
                    (net(images).argmax(1) == labels).double().mean()


def loops(data: str) -> float:
    """Seconds of plain PyTorch: every process has its share of the seeds, one after the other."""
    return timed(
        [[__file__, "--plain", *SEEDS[k::PROCESSES], "--data", data] for k in range(PROCESSES)], threads=1
    )  # fmt: skip


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="mnist", help="data set of the split tasks")
    parser.add_argument("--plain", nargs="+", type=int, metavar="SEED", help="only the loop of plain PyTorch")
    parser.add_argument("--out", type=Path, default=None, help="JSON file for the numbers")
    given = parser.parse_args()
    if given.plain:
        plain(given.data, given.plain)
        return
    load = os.getloadavg()[0]
    print(f"{os.cpu_count()} cores, load {load:.2f}, {PROCESSES} processes, torch {torch.__version__}")
    found = {}
    with tempfile.TemporaryDirectory() as out:
        alone, other = one_by_one(f"{out}/alone"), loops(given.data)
        rows: dict[str, tuple[str, float, Callable[[], float]]] = {
            "64 settings × 3 seeds as 64 cells": ("runs one by one", alone, lambda: grid(f"{out}/cells", ",")),
            "the same as 8 cells of 8 strengths": ("runs one by one", alone, lambda: grid(f"{out}/joined", " ")),
            "8 seeds of split tasks": (
                "plain PyTorch", other,
                lambda: swept(f"{out}/seeds", "--data", given.data, "--methods", "none", "--seeds", *SEEDS),
            ),
        }  # fmt: skip
        for name, (against, theirs, run) in rows.items():
            seconds = run()
            found[name] = {"seconds": seconds, "against": against, "theirs": theirs, "busy": load > BUSY}
            print(
                f"  {name:<38}{seconds:8.1f} s, {against} {theirs:8.1f} s: {theirs / seconds:6.2f} × faster"
                f"{'; no verdict: something else is running here' if load > BUSY else ''}"
            )
    written(found, given.out)


if __name__ == "__main__":
    main()
