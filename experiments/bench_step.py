"""Time of one training step: plain PyTorch, plastic synapses, eight replicas, one mask per example.

All variants run in turn in one process, so that a machine whose speed drifts slows them alike; medians are reported.
A busy machine gets no verdict: there, wall time runs ahead of the time that the processor spent.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

import synsim
from synsim.kernels import path
from synsim.papers.schug2021 import DECAY, ENERGY_CONSTANTS, ENERGY_RATES

SIZES = (784, 200, 200, 10)
BATCH = 100
RULE = {"lr": ENERGY_RATES["plastic"], "weight_decay": DECAY, **ENERGY_CONSTANTS}
# Bounds that the package promises, as ratios to the variant named.
BOUNDS = {
    "plastic": ("plain", 1.4),
    "8 replicas, per replica": ("plastic", 0.8),
    "sample scope": ("plain", 25.0),
}
BUSY = 1.3


def plain(device: torch.device) -> Callable[[], None]:
    """(a) The same network without release, and torch's own SGD."""
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(SIZES):
        layers += [nn.Linear(inputs, outputs, bias=False), nn.ReLU()]
    net = nn.Sequential(*layers[:-1]).to(device)
    optimiser = torch.optim.SGD(net.parameters(), lr=RULE["lr"])
    x, y = torch.randn(BATCH, SIZES[0], device=device), torch.randint(SIZES[-1], (BATCH,), device=device)

    def step() -> None:
        optimiser.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimiser.step()

    return step


def plastic(device: torch.device, replicas: int | None = None, scope: str = "batch") -> Callable[[], None]:
    """(b), (c) Plastic Bernoulli synapses."""
    net = synsim.mlp(SIZES, replicas=replicas, scope=scope, device=device)
    rule = synsim.PresynapticSGD(net, **RULE)
    lead = () if replicas is None else (replicas,)
    x = torch.randn(*lead, BATCH, SIZES[0], device=device)
    y = torch.randint(SIZES[-1], (*lead, BATCH), device=device)

    def step() -> None:
        rule.zero_grad()
        synsim.cross_entropy(net(x), y).backward()
        rule.step()

    return step


def variants(device: torch.device) -> dict[str, tuple[Callable[[], None], int, int]]:
    """Name -> step, replicas in it, steps per turn."""
    found = {
        "plain": (plain(device), 1, 20),
        "plastic": (plastic(device), 1, 20),
        "8 replicas, per replica": (plastic(device, 8), 8, 5),
        "sample scope": (plastic(device, scope="sample"), 1, 2),
    }
    if device.type == "cuda":
        found["64 replicas, all together"] = (plastic(device, 64), 1, 20)
    return found


def timed(step: Callable[[], None], count: int, device: torch.device) -> tuple[float, float]:
    """Seconds per step, and wall time over the time this process had on its processors."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(count):
        step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return wall / count, wall / max(cpu, 1e-9)


def measure(device: torch.device, turns: int) -> tuple[dict[str, float], float]:
    """Median seconds per step of every variant, and how far wall time ran ahead."""
    steps = variants(device)
    for step, _, count in steps.values():
        timed(step, max(3, count), device)
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    waits = []
    for _ in range(turns):
        for name, (step, replicas, count) in steps.items():
            one, wait = timed(step, count, device)
            seconds[name].append(one / replicas)
            waits.append(wait)
    return {name: statistics.median(values) for name, values in seconds.items()}, statistics.median(waits)


def peak_memory(scope: str) -> float:
    """Largest resident memory of a process while it trains 16 replicas, beyond what it held before, in MiB (Linux).

    The kernel's high-water mark is reset after a first step, so that importing and compiling do not count; 16 replicas,
    so that what the allocator happens to have at hand does not count either.
    """
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import torch, bench_step as b;"
        "mark = lambda: int(next(l for l in open('/proc/self/status') if l.startswith('VmHWM')).split()[1]) / 1024;"
        "reset = lambda: open('/proc/self/clear_refs', 'w').write('5');"
        "b.plastic(torch.device('cpu'))(); b.plastic(torch.device('cpu'), scope='sample')();"
        "reset(); before = mark(); step = b.plastic(torch.device('cpu'), 16, sys.argv[2]);"
        "[step() for _ in range(5)]; print(before, mark())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(Path(__file__).parent), scope], capture_output=True, text=True, check=True
    )
    before, peak = (float(value) for value in done.stdout.split())
    return peak - before


def report(device: torch.device, turns: int) -> dict[str, object]:
    """Measure on a device, print the table, return the numbers."""
    seconds, wait = measure(device, turns)
    policy = os.environ.get("OMP_WAIT_POLICY", "default")
    load = os.getloadavg()[0]
    kernels = path(torch.empty(1, 1, device=device))
    print(f"{device}: {torch.get_num_threads()} threads, wait policy {policy}, load {load:.2f}, kernels {kernels}, "
          f"torch {torch.__version__}")  # fmt: skip
    print(f"one step of {'-'.join(map(str, SIZES))}, batch {BATCH}; medians of {turns} turns")
    ratios = {}
    for name, value in seconds.items():
        base, bound = BOUNDS.get(name, ("plain", None)) if device.type == "cpu" else ("plain", None)
        ratios[name] = value / seconds[base]
        promised = "" if bound is None or name == "plain" else f"  (at most {bound:g})"
        print(f"  {name:<28}{1000 * value:8.3f} ms   {ratios[name]:6.2f} × {base}{promised}")
    busy = device.type == "cpu" and wait > BUSY
    if device.type == "cuda":
        many = seconds["64 replicas, all together"] / seconds["plastic"]
        print(f"  64 replicas cost {many:.2f} × one (at most 2)")
        ratios["64 replicas / plastic"] = many
    if busy:
        print(f"no verdict: wall time is {wait:.1f} × processor time, so something else is running here.")
    judged = device.type == "cpu" and not busy
    verdict = all(ratios[name] <= bound for name, (_, bound) in BOUNDS.items()) if judged else None
    return {
        "device": str(device),
        "threads": torch.get_num_threads(),
        "wait_policy": policy,
        "load": load,
        "kernels": kernels,
        "torch": torch.__version__,
        "seconds": seconds,
        "ratios": ratios,
        "wall_over_cpu": wait,
        "verdict": verdict,
    }  # fmt: skip


def written(found: object, out: Path | None) -> None:
    """Keep the numbers of a benchmark, if there is a file for them."""
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        print(f"written to {out}")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=40, help="turns of every variant")
    parser.add_argument("--threads", type=int, default=None, help="threads of torch (default: all cores)")
    parser.add_argument("--out", type=Path, default=None, help="JSON file for the numbers")
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    found = [report(torch.device("cpu"), given.turns)]
    memory = {scope: peak_memory(scope) for scope in ("batch", "sample")}
    print("peak memory of steps of 16 replicas: "
          f"batch scope {memory['batch']:.0f} MiB, sample scope {memory['sample']:.0f} MiB")  # fmt: skip
    found[0]["peak_memory_mib"] = memory
    if torch.cuda.is_available():
        found.append(report(torch.device("cuda"), given.turns))
    else:
        print("no CUDA device here: the CUDA rows were not measured.")
    written(found, given.out)


if __name__ == "__main__":
    main()
