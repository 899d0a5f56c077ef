"""What a step of descent on neurons costs, against a step of torch's SGD (Fig. 5.4A of Benzing 2022).

The network of chapter 5 on fixed images. All rules take turns, step by step, in one process, so that a machine whose
speed drifts slows all alike; on a CPU the time of the processor is counted, on a GPU that until it is done. What an
inversion costs is the difference between a step with and without one. A busy machine gets no verdict.
"""

import argparse
import itertools
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from bench_step import BUSY, written
from torch import nn

import synsim

SIZES, BATCH, RATE, DAMPING = (784, 1000, 1000, 1000, 10), 100, 1e-4, 1.0
PERIODS, NEVER = (1, 10, 100), 10**6
BOUNDS = {"FOOF": 2.0, "KFAC": 3.2, "natural": 2.7}
"""Promised at the longest period, against SGD."""
PUBLISHED = {
    ("FOOF", 1): 9.1, ("FOOF", 10): 2.0, ("FOOF", 100): 1.32,
    ("KFAC", 1): 16.3, ("KFAC", 10): 3.2, ("KFAC", 100): 1.92,
}  # fmt: skip
"""Fig. 5.4A, on a GPU: read off the figure."""
Step = Callable[[], None]


def network(device: torch.device) -> nn.Sequential:
    """The network of chapter 5."""
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(SIZES):
        layers += [nn.Linear(inputs, outputs, bias=False), nn.ReLU()]
    return nn.Sequential(*layers[:-1]).to(device)


def images(device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch that is like images in size alone."""
    drawn = torch.Generator().manual_seed(0)
    x, y = torch.randn(BATCH, SIZES[0], generator=drawn), torch.randint(SIZES[-1], (BATCH,), generator=drawn)
    return x.to(device), y.to(device)


def plain(device: torch.device) -> Step:
    """A step of torch's SGD."""
    net, (x, y) = network(device), images(device)
    rule = torch.optim.SGD(net.parameters(), lr=RATE)

    def step() -> None:
        rule.zero_grad()
        F.cross_entropy(net(x), y).backward()
        rule.step()

    return step


def watching(name: str, device: torch.device, gradients: bool = True, **options: Any) -> Step:
    """A step of a rule that sees the pass; without `gradients` no `.grad` is filled."""
    net, (x, y) = network(device), images(device)
    kind = {"FOOF": synsim.FOOF, "KFAC": synsim.KFAC, "natural": synsim.NaturalGradient}[name]
    made: Any = kind(net, RATE, DAMPING, **options)

    def step() -> None:
        made.zero_grad()
        if getattr(made, "estimates", False):
            made.estimate(x)
        with made.watch():
            logits = net(x)
        made.backward(F.cross_entropy(logits, y), logits, gradients=gradients)
        made.step()

    return step


def clock(device: torch.device) -> float:
    """Seconds of the processor, or of a GPU that has finished."""
    if device.type == "cpu":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()


def turns(steps: dict[str, Step], each: int, count: int, device: torch.device) -> tuple[dict[str, list[float]], float]:
    """Seconds per step of every rule in every turn, and by how much wall time ran ahead."""
    found: dict[str, list[float]] = {name: [] for name in steps}
    wall, spent = time.perf_counter(), 0.0
    for _ in range(count):
        sums = dict.fromkeys(steps, 0.0)
        for _, (name, step) in itertools.product(range(each), steps.items()):
            start = clock(device)
            step()
            sums[name] += clock(device) - start
        for name, seconds in sums.items():
            found[name].append(seconds / each)
        spent += sum(sums.values())
    return found, (time.perf_counter() - wall) / spent


def ratios(seconds: dict[str, list[float]]) -> dict[str, float]:
    """The median over turns of the ratio to SGD."""
    against = seconds["SGD"]
    return {
        name: statistics.median(own / other for own, other in zip(values, against, strict=True))
        for name, values in seconds.items()
    }


def rules(device: torch.device, period: int) -> dict[str, Step]:
    """The rules that are compared at one period."""
    found = {"SGD": plain(device)}
    for name, gradients in itertools.product(("FOOF", "KFAC"), (False, True)):
        more = f"{name}, with .grad" if gradients else name
        found[more] = watching(name, device, gradients, period=period, warmup=0)
    if period == PERIODS[-1]:
        for batch, blocks in (("same", False), ("independent", False), ("same", True)):
            name = f"natural, {batch} batch{', blocks' if blocks else ''}"
            found[name] = watching("natural", device, False, batch=batch, blocks=blocks)
    return found


def inversions(device: torch.device, each: int, count: int) -> tuple[dict[str, float], float]:
    """What an inversion costs, in steps of SGD."""
    kinds: dict[str, dict[str, Any]] = {"FOOF": {}, "KFAC": {}, "KFAC, standard damping": {"damp": "standard"}}
    steps = {"SGD": plain(device)}
    for name, options in kinds.items():
        for period in (1, NEVER):
            steps[f"{name}/{period}"] = watching(name[:4], device, False, period=period, warmup=0, **options)
    for step in steps.values():
        step()
    seconds, ahead = turns(steps, each, count, device)
    found = ratios(seconds)
    return {name: found[f"{name}/1"] - found[f"{name}/{NEVER}"] for name in kinds}, ahead


def report(device: torch.device, count: int) -> dict[str, Any]:
    """Measure, print the table, return the numbers."""
    found: dict[str, Any] = {"device": str(device)}
    print(f"{'-'.join(map(str, SIZES))}, batch {BATCH}; steps of torch's SGD; medians of {count} turns on {device}")
    for period in PERIODS:
        steps = rules(device, period)
        for step in steps.values():  # what comes first allocates, and inverts once
            step()
        seconds, ahead = turns(steps, max(4, period), count, device)
        busy = device.type == "cpu" and ahead > BUSY
        numbers: dict[str, Any] = {"seconds": statistics.median(seconds["SGD"]), "wall_over_cpu": ahead}
        found[f"period {period}"] = numbers
        print(f"one inversion in {period} steps; a step of SGD takes {1000 * numbers['seconds']:.2f} ms")
        for name, ratio in ratios(seconds).items():
            if name == "SGD":
                continue
            bound = BOUNDS[name.split(",")[0]] if period == PERIODS[-1] and ".grad" not in name else None
            bound = None if "independent" in name or "blocks" in name else bound
            published = PUBLISHED.get((name.split(",")[0], period))
            numbers[name] = {"ratio": ratio, "bound": bound, "published_on_gpu": published}
            numbers[name]["verdict"] = None if busy or bound is None else ratio <= bound
            print(
                f"  {name:<34}{ratio:7.2f} ×"
                + ("" if bound is None else f" (at most {bound:g}{', no verdict: busy' if busy else ''})")
                + ("" if published is None else f"  published on a GPU: {published:g}")
            )
    found["inversion"], ahead = inversions(device, 2, count)
    for name, cost in found["inversion"].items():
        print(f"  one inversion of {name:<28}{cost:7.2f} steps of SGD")
    return found


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=3, help="turns of all rules at each period")
    parser.add_argument("--device", default="cpu", help="where they run, such as cuda")
    parser.add_argument("--out", type=Path, default=None, help="JSON file for the numbers")
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.2f}, one thread, torch {torch.__version__}")
    places = [given.device]
    if given.device == "cpu" and torch.cuda.is_available():
        places.append("cuda")
    found = {place: report(torch.device(place), given.turns) for place in places}
    written(found, given.out)


if __name__ == "__main__":
    main()
