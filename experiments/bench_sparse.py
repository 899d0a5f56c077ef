"""What sparse networks cost: a powerpropagated step against the plain one, and a pruning curve against its passes.

Pairs of runs take turns in one process; the median of the ratios is reported. A busy machine gets no verdict.
"""

import argparse
import itertools
import os
import warnings
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from bench_fit import Row, Run, measured
from bench_step import BUSY, written
from torch import nn

import synsim

SIZES, BATCH, RATE, STEPS = (784, 300, 100, 10), 60, 0.1, 50
POWERS = (1.5, 2.0, 3.0, 4.0)
IMAGES, BOUND = 10_000, 1.2


def steps(alpha: float | None) -> Run:
    """Steps of SGD on LeNet-300-100 on fixed images, powerpropagated or not."""
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(SIZES):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    net = nn.Sequential(*layers[:-1])
    rule: torch.optim.Optimizer = torch.optim.SGD(net.parameters(), lr=RATE)
    if alpha is not None:
        rule = synsim.Powerpropagation(rule, alpha, net=net)
    x, y = torch.rand(BATCH, SIZES[0]), torch.randint(SIZES[-1], (BATCH,))

    def run() -> None:
        for _ in range(STEPS):
            rule.zero_grad()
            F.cross_entropy(net(x), y).backward()
            rule.step()

    return run


def curves() -> tuple[Run, Run]:
    """A pruning curve of twenty shares, and twenty passes of the network over the same images."""
    net = synsim.mlp(SIZES, p=1.0)
    x, y = torch.rand(IMAGES, SIZES[0]), torch.randint(SIZES[-1], (IMAGES,))

    def passes() -> None:
        for _ in synsim.lesions.KEEP:
            synsim.meters.accuracy(net, x, y)

    return lambda: synsim.pruning_curve(net, x, y), passes


def rows() -> dict[str, Row]:
    """Name -> what is measured."""
    powers = {f"α = {alpha:g}": Row(f"step, α = {alpha:g}", "a step of SGD", BOUND, steps(alpha), steps(None))
              for alpha in POWERS}  # fmt: skip
    return {**powers, "pruning": Row("pruning curve of 20 shares", "20 passes", BOUND, *curves())}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=20, help="turns of every pair")
    parser.add_argument("--out", type=Path, default=None, help="JSON file for the numbers")
    given = parser.parse_args()
    warnings.filterwarnings("ignore", "alpha = 4")
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.2f}, one thread, torch {torch.__version__}")
    found: dict[str, Any] = {}
    for name, row in rows().items():
        numbers = found[name] = measured(row, given.turns)
        busy = (numbers["wall_over_cpu"] or 0.0) > BUSY
        print(
            f"  {row.name:<30}{1000 * numbers['seconds']:9.1f} ms{numbers['ratio']:7.2f} × {row.against} "
            f"(at most {row.bound:g}){'; no verdict: something else is running here' if busy else ''}"
        )
        numbers["verdict"] = None if busy else numbers["ratio"] <= row.bound
    written(found, given.out)


if __name__ == "__main__":
    main()
