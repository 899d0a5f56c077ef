"""Time around the step: `fit`, replicas, tests, convolutions and EWC, each against the least that it could cost.

Every row is a pair of runs that take turns in one process, so that a machine whose speed drifts slows both alike; the
median of the ratios is reported. A busy machine gets no verdict: there, wall time runs ahead of the time that the
processor spent. Avalanche's rows are measured where it is installed (pip install avalanche-lib).

What glibc gives back to the system is mapped anew at every step, which costs the convolutions, whose tensors are the
largest, as much as a third of their time. MALLOC_MMAP_THRESHOLD_=1000000000 and MALLOC_TRIM_THRESHOLD_=4000000000 in
the environment keep it.
"""

import argparse
import itertools
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from bench_importance import clocked
from bench_step import BUSY, RULE, written
from torch import Tensor, nn

import synsim
from synsim.training import Protection, fit

SIZES, PIXELS, BATCH, RATE = (784, 200, 200, 10), (28, 28), 100, 0.05
IMAGES, REPLICAS, PASSES, BLOCK = 60_000, 8, 10, 100
EWC_IMAGES, STRENGTH = 12_000, 100.0
Run = Callable[[], object]


@dataclass(frozen=True)
class Row:
    """Two runs to compare.

    Attributes:
        name: what is measured.
        against: what it is measured against.
        bound: what the ratio is promised to be: at most, or where `faster` at least.
        ours: runs it, for so many replicas.
        other: runs what it is measured against.
        threads: of torch, for each of the two.
        replicas: that `ours` trains for one of `other`.
        faster: whether the ratio is that of `other` to `ours`.
        seconds: whether `other` returns how long it took, rather than being timed.
    """

    name: str
    against: str
    bound: float
    ours: Run
    other: Run
    threads: tuple[int, int] = (1, 1)
    replicas: int = 1
    faster: bool = False
    seconds: bool = False


def images(count: int) -> Any:
    """A data set of the shape of MNIST: times don't depend on what is in it."""
    generator = torch.Generator().manual_seed(0)
    parts: dict[str, Tensor] = {}
    for part, size in (("train", count), ("test", count // 6)):
        parts[f"x_{part}"] = torch.randint(256, (size, *PIXELS), dtype=torch.uint8, generator=generator)
        parts[f"y_{part}"] = torch.randint(SIZES[-1], (size,), generator=generator)
    return SimpleNamespace(name="noise", classes=SIZES[-1], levels=255, mean=(0.5,), sd=(0.29,), **parts)


def plain() -> nn.Sequential:
    """The network of the paper without release."""
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(SIZES):
        layers += [nn.Linear(inputs, outputs, bias=False), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def descent(net: nn.Module) -> torch.optim.Optimizer:
    """Torch's own SGD."""
    return torch.optim.SGD(net.parameters(), lr=RATE)


def bare(count: int) -> Run:
    """What one writes by hand: floats prepared once, an index per batch, a test at the end."""
    data = images(count)
    task = synsim.tasks.permuted(data, tasks=1)[0]
    x, y, x_test, y_test = task.train[:], task.train.y, task.test[:], task.test.y

    def run() -> float:
        net = plain()
        optimiser = descent(net)
        for rows in torch.randperm(len(x)).split(BATCH):
            optimiser.zero_grad()
            F.cross_entropy(net(x[rows]), y[rows]).backward()
            optimiser.step()
        with torch.no_grad():
            return float((net(x_test).argmax(1) == y_test).double().mean())

    return run


def ours(count: int, replicas: int | None) -> Run:
    """The same by `fit`."""
    tasks = synsim.tasks.permuted(images(count), tasks=1)

    def run() -> object:
        net = plain() if replicas is None else synsim.mlp(SIZES, p=1.0, replicas=replicas)
        return fit(net, descent(net), tasks, seeds=range(replicas or 1), epochs=1, batch=BATCH)

    return run


def testing(count: int) -> tuple[Run, Run]:
    """Stochastic passes of plastic replicas over permuted images, and their matrix products alone."""
    test = synsim.tasks.permuted(images(6 * count), tasks=1, seeds=range(REPLICAS))[0].test
    net = synsim.mlp(SIZES, replicas=REPLICAS)
    blocks = torch.randn(REPLICAS, BLOCK, SIZES[0])
    weights = [layer.weight.detach().transpose(1, 2) for layer in synsim.synapses(net).values()]

    def products() -> None:
        for _ in range(PASSES * count // BLOCK):
            x = blocks
            for weight in weights:
                x = torch.bmm(x, weight)

    return lambda: synsim.meters.accuracy(net, test, test.y, samples=PASSES, block=BLOCK), products


def convolutions(replicas: int, steps: int = 8) -> tuple[Run, Run]:
    """Training steps of plastic convolutions with replicas, each on its own images, and of one plain network."""
    x, y = torch.randn(replicas, 64, 3, 32, 32), torch.randint(10, (replicas, 64))

    def built(first: nn.Module, second: nn.Module, last: nn.Module) -> nn.Sequential:
        pool = synsim.networks.MaxPool
        return nn.Sequential(first, nn.ReLU(), pool(2), second, nn.ReLU(), pool(2), nn.Flatten(-3), last)

    conv = synsim.BernoulliConv2d
    kind: dict[str, Any] = {"replicas": replicas}
    plastic = built(
        conv(3, 32, 3, padding=1, **kind),
        conv(32, 64, 3, padding=1, **kind),
        synsim.BernoulliLinear(64 * 8 * 8, 10, **kind),
    )
    reference = built(nn.Conv2d(3, 32, 3, padding=1), nn.Conv2d(32, 64, 3, padding=1), nn.Linear(64 * 8 * 8, 10))
    rule, optimiser = synsim.PresynapticSGD(plastic, **RULE), descent(reference)

    def step(net: nn.Module, optimiser: torch.optim.Optimizer, x: Tensor, y: Tensor) -> None:
        for _ in range(steps):
            optimiser.zero_grad()
            synsim.cross_entropy(net(x), y).backward()
            optimiser.step()

    return lambda: step(plastic, rule, x, y), lambda: step(reference, optimiser, x[0], y[0])


def ewc(count: int, replicas: int | None) -> Run:
    """EWC on two permuted tasks by `fit`."""
    tasks = synsim.tasks.permuted(images(count), tasks=2)

    def run() -> object:
        net = plain() if replicas is None else synsim.mlp(SIZES, p=1.0, replicas=replicas)
        protection = Protection(
            synsim.importance.make("fisher"), synsim.consolidation.make("penalty", strength=STRENGTH)
        )
        return fit(net, descent(net), tasks, seeds=range(replicas or 1), epochs=1, batch=BATCH, protection=protection)

    return run


def avalanche(count: int) -> Run:
    """The same by Avalanche."""
    from avalanche.benchmarks import tensors_benchmark
    from avalanche.training.plugins import EvaluationPlugin
    from avalanche.training.supervised import EWC

    tasks = synsim.tasks.permuted(images(count), tasks=2)
    parts = [[(getattr(task, part)[:], getattr(task, part).y) for task in tasks] for part in ("train", "test")]
    benchmark = tensors_benchmark(*parts, task_labels=[0, 0], complete_test_set_only=False)

    def run() -> None:
        net = plain()
        strategy = EWC(
            net, descent(net), nn.CrossEntropyLoss(), ewc_lambda=STRENGTH, train_mb_size=BATCH, train_epochs=1,
            eval_mb_size=1000, evaluator=EvaluationPlugin(),
        )  # fmt: skip
        for experience in benchmark.train_stream:
            strategy.train(experience)
            strategy.eval(benchmark.test_stream)

    return run


def _process(count: int, seeds: int, start: Any, taken: Any) -> None:
    torch.set_num_threads(1)
    run = avalanche(count)
    start.wait()
    began = time.perf_counter()
    for _ in range(seeds):
        run()
    taken.put(time.perf_counter() - began)


def processes(count: int, seeds: int, workers: int = 2) -> float:
    """Seconds that Avalanche takes for all seeds, with one process of one thread per core; its imports do not count."""
    context = multiprocessing.get_context("spawn")
    start, taken = context.Barrier(workers), context.Queue()
    running = [context.Process(target=_process, args=(count, seeds // workers, start, taken)) for _ in range(workers)]
    for process in running:
        process.start()
    seconds: list[float] = [taken.get() for _ in running]
    for process in running:
        process.join()
    return max(seconds)


def rows(count: int, ewc_count: int) -> dict[str, Callable[[], Row]]:
    """Name on the command line -> the row, built when it is measured."""
    loop = "a bare loop, one thread"
    return {
        "fit": lambda: Row("fit of a plain net, one thread", loop, 1.2, ours(count, None), bare(count)),
        "replicas": lambda: Row(
            f"fit of {REPLICAS} plain replicas, two threads, each", loop, 0.62,
            ours(count, REPLICAS), bare(count), (2, 1), REPLICAS,
        ),
        "testing": lambda: Row(
            f"test of {REPLICAS} plastic replicas, {PASSES} passes", "the products alone", 1.5,
            *testing(count // 6), (2, 2),
        ),
        "convolutions": lambda: Row(
            "convolutions of 4 replicas, each", "a plain step", 1.2, *convolutions(4), (2, 2), 4,
        ),
        "ewc": lambda: Row(
            "EWC, one seed, one thread", "Avalanche", 2.0, ewc(ewc_count, None), avalanche(ewc_count), faster=True,
        ),
        "ewc-seeds": lambda: Row(
            f"EWC, {REPLICAS} seeds, two threads", "Avalanche, two processes", 2.0,
            ewc(ewc_count, REPLICAS), lambda: processes(ewc_count, REPLICAS), (2, 2), faster=True, seconds=True,
        ),
    }  # fmt: skip


def measured(row: Row, turns: int) -> dict[str, Any]:
    """Median seconds of both, the median of their ratios, and how far wall time ran ahead."""
    pairs: list[tuple[float, float]] = []
    waits: list[float] = []
    for _ in range(turns + 1):  # the first turn compiles, and is not counted
        torch.set_num_threads(row.threads[0])
        own, wait = clocked(row.ours)
        torch.set_num_threads(row.threads[1])
        if row.seconds:
            took: Any = row.other()
        else:
            # What it is measured against keeps its threads busy where nothing else runs; ours may have serial parts.
            took, wait = clocked(row.other)
            waits.append(wait * row.threads[1])
        pairs.append((own / row.replicas, took))
    ratios = [other / own if row.faster else own / other for own, other in pairs[1:]]
    own, other = (statistics.median(values) for values in zip(*pairs[1:], strict=True))
    return {
        "seconds": own,
        "against": other,
        "ratio": statistics.median(ratios),
        "bound": row.bound,
        "wall_over_cpu": statistics.median(waits) if waits else None,
    }


def report(names: Sequence[str], turns: int, count: int, ewc_count: int) -> dict[str, Any]:
    """Measure, print the table, return the numbers."""
    policy = os.environ.get("OMP_WAIT_POLICY", "default")
    mapped = os.environ.get("MALLOC_MMAP_THRESHOLD_", "default")
    print(f"{os.cpu_count()} cores, wait policy {policy}, malloc's threshold {mapped}, ", end="")
    print(f"load {os.getloadavg()[0]:.2f}, torch {torch.__version__}")
    print(f"{'-'.join(map(str, SIZES))}, batch {BATCH}, {count} images (EWC {ewc_count}); medians of {turns} turns")
    found = {}
    for name in names:
        if name.startswith("ewc") and find_spec("avalanche") is None:
            print(f"  {name}: Avalanche is not installed here, so that this row was not measured.")
            continue
        row = rows(count, ewc_count)[name]()
        numbers = found[name] = measured(row, turns)
        relation, word = ("faster than", "at least") if row.faster else ("×", "at most")
        print(
            f"  {row.name:<44}{numbers['seconds']:8.3f} s{numbers['ratio']:7.2f} {relation} {row.against} "
            f"({numbers['against']:.3f} s; {word} {row.bound:g})"
        )
        if (numbers["wall_over_cpu"] or 0.0) > BUSY:
            print(f"    no verdict: wall time is {numbers['wall_over_cpu']:.1f} × processor time here.")
        else:
            kept = numbers["ratio"] >= row.bound if row.faster else numbers["ratio"] <= row.bound
            numbers["verdict"] = kept
    return {
        "cores": os.cpu_count(),
        "wait_policy": policy,
        "mmap_threshold": mapped,
        "torch": torch.__version__,
        "rows": found,
    }


def main() -> None:
    """Command line."""
    known = list(rows(IMAGES, EWC_IMAGES))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=5, help="turns of every pair")
    parser.add_argument("--images", type=int, default=IMAGES, help="training images; a sixth as many are tested")
    parser.add_argument("--ewc-images", type=int, default=EWC_IMAGES, help="the same for EWC")
    parser.add_argument("--rows", nargs="+", choices=known, default=known, help="which rows to measure")
    parser.add_argument("--out", type=Path, default=None, help="JSON file for the numbers")
    given = parser.parse_args()
    found = report(given.rows, given.turns, given.images, given.ewc_images)
    written(found, given.out)


if __name__ == "__main__":
    main()
