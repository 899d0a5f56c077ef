"""Time of the importances: the exact Fisher against one example at a time and against training, and the cost per step.

All variants of a comparison run in turn in one process; medians are reported. A busy machine gets no verdict.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from bench_step import BUSY, written
from torch import Tensor, nn

from synsim import importance
from synsim.importance import Importance, Step

SIZES = (784, 200, 200, 10)
IMAGES, BATCH, EPOCHS = 60_000, 100, 10
ONLINE = ("si", "sos", "online-absolute-fisher")
# Bounds that the package promises.
FASTER, SHARE, PER_STEP = 250.0, 0.25, 1.3


def network() -> nn.Sequential:
    """The plain network of the paper."""
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(SIZES):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def clocked(run: Callable[[], object]) -> tuple[float, float]:
    """Seconds, and wall time over the time this process had on its processors."""
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return wall, wall / max(cpu, 1e-9)


def one_at_a_time(net: nn.Module, x: Tensor) -> None:
    """The loop that libraries use: every example and class alone."""
    total = [torch.zeros_like(parameter) for parameter in net.parameters()]
    for image in x.split(1):
        logits = net(image)
        log_p = logits.log_softmax(-1)[0]
        for c, p in enumerate(log_p.detach().exp()):
            gradient = torch.autograd.grad(log_p[c], list(net.parameters()), retain_graph=c < len(log_p) - 1)
            for sum_, one in zip(total, gradient, strict=True):
                sum_.add_(p * one.square())


def fisher(turns: int, loop_images: int) -> dict[str, float]:
    """Exact Fisher on all images, the loop on some of them, and a training epoch, in turn."""
    net = network()
    x, y = torch.rand(IMAGES, SIZES[0]), torch.randint(SIZES[-1], (IMAGES,))
    exact = importance.make("fisher")
    exact.estimate(net, x[:2000])
    optimiser = torch.optim.SGD(net.parameters(), lr=0.0)

    def epoch() -> None:
        for rows in torch.randperm(IMAGES).split(BATCH):
            optimiser.zero_grad()
            F.cross_entropy(net(x[rows]), y[rows]).backward()
            optimiser.step()

    seconds: dict[str, list[float]] = {"exact": [], "loop": [], "epoch": []}
    waits = []
    for _ in range(turns):
        for name, run in (
            ("exact", lambda: exact.estimate(net, x)),
            ("loop", lambda: one_at_a_time(net, x[:loop_images])),
            ("epoch", epoch),
        ):
            one, wait = clocked(run)
            seconds[name].append(one)
            waits.append(wait)
    found = {name: statistics.median(values) for name, values in seconds.items()}
    loop = found["loop"] * IMAGES / loop_images
    return {
        "exact Fisher, s": found["exact"],
        "one example at a time, s": loop,
        "times faster": loop / found["exact"],
        "ten epochs of training, s": EPOCHS * found["epoch"],
        "share of ten epochs": found["exact"] / (EPOCHS * found["epoch"]),
        "wall over processor time": statistics.median(waits),
    }


def stepper(kind: Importance | None) -> Callable[[], None]:
    """A training step with Adam, observed by an importance as the loop does it."""
    net = network()
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-3)
    x, y = torch.randn(BATCH, SIZES[0]), torch.randint(SIZES[-1], (BATCH,))
    if kind is not None:
        kind.start(net)
    index = itertools.count()

    def step() -> None:
        optimiser.zero_grad()
        F.cross_entropy(net(x), y).backward()
        if kind is None:
            optimiser.step()
            return
        parameters = dict(net.named_parameters())
        gradient = {name: p.grad for name, p in parameters.items() if p.grad is not None}
        before = {name: p.detach().clone() for name, p in parameters.items()}
        optimiser.step()
        delta = {name: p.detach() - before[name] for name, p in parameters.items()}
        kind.observe(net, Step(next(index), gradient, delta, before, {}))

    return step


def often(step: Callable[[], object], count: int) -> None:
    """The same step so many times."""
    for _ in range(count):
        step()


def online(turns: int) -> dict[str, float]:
    """Cost of a step with each accumulated importance, as a ratio to the plain step."""
    steps = {"plain": stepper(None), **{name: stepper(importance.make(name)) for name in ONLINE}}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(turns + 1):
        for name, step in steps.items():
            one, _ = clocked(partial(often, step, 20))
            if turn:
                seconds[name].append(one / 20)
    plain = statistics.median(seconds["plain"])
    return {name: statistics.median(values) / plain for name, values in seconds.items() if name != "plain"}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=5, help="turns of every comparison")
    parser.add_argument("--loop-images", type=int, default=300, help="images for the loop, scaled to all")
    parser.add_argument("--threads", type=int, default=None, help="threads of torch (default: all cores)")
    parser.add_argument("--out", type=Path, default=None, help="JSON file for the numbers")
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    found = fisher(given.turns, given.loop_images)
    print(f"exact Fisher, {IMAGES} images, {'-'.join(map(str, SIZES))}, {torch.get_num_threads()} threads")
    print(f"  {'all images':<28}{found['exact Fisher, s']:8.2f} s")
    print(f"  {'one example at a time':<28}{found['one example at a time, s']:8.1f} s   "
          f"{found['times faster']:.0f} × slower  (at least {FASTER:g})")  # fmt: skip
    print(f"  {'ten epochs of training':<28}{found['ten epochs of training, s']:8.2f} s   the Fisher takes "
          f"{100 * found['share of ten epochs']:.0f} % of it  (at most {100 * SHARE:g})")  # fmt: skip
    ratios = online(8 * given.turns)
    print("one step with Adam, observed")
    for name, ratio in ratios.items():
        print(f"  {name:<28}{ratio:8.2f} × plain  (at most {PER_STEP:g})")
    busy = found["wall over processor time"] > BUSY
    if busy:
        print(
            f"no verdict: wall time is {found['wall over processor time']:.1f} × processor time; something else runs."
        )
    good = (
        found["times faster"] >= FASTER and found["share of ten epochs"] <= SHARE and max(ratios.values()) <= PER_STEP
    )
    result = {"fisher": found, "online": ratios, "threads": torch.get_num_threads(), "verdict": None if busy else good}
    written(result, given.out)


if __name__ == "__main__":
    main()
