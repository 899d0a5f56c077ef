"""Five ways to compute the Fisher in EWC, each over a grid of strengths, on Split MNIST with separate heads.

Protocol: Split MNIST, classes assigned to tasks at random per seed, 784-400-400-10 with two outputs per task, Adam
0.001 (not reset), batch 128, 2,000 iterations per task, penalty λ/2 · Σ F (θ − θ̂)² around the latest task with summed
Fishers. All strengths of a variant are replicas of one program.
"""

import time
from functools import partial
from typing import Any

import torch
import xarray
from common import choice, importance_of, load, nested, some_of
from importance_common import placed, total
from lines import OVER_ALL
from torch import Tensor, nn

import synsim
from synsim import Sweep, consolidation, outcomes, streams, tables, tasks
from synsim.experiment import Experiment, PresetConfig, Protection, Session, by_preset, option
from synsim.importance import Importance
from synsim.papers.vandeven2025 import ACCURACY, BATCH, ITERATIONS, RATE, VARIANTS

EXPONENTS = tuple(float(exponent) for exponent in range(14))


class Config(PresetConfig):
    epochs: int | None = option(None, "see --iterations", unused=True)
    variants: tuple[str, ...] = some_of((*VARIANTS, "none"), "variants to compare")
    exponents: tuple[float, ...] = by_preset("strengths λ as powers of ten", quick=EXPONENTS[:11], paper=EXPONENTS)
    iterations: int = by_preset("steps per task", least=1, quick=500, paper=ITERATIONS)
    hidden: tuple[int, ...] = option((400, 400), "widths of the hidden layers")
    batch: int = option(BATCH, "examples per step")


def sequence_of(config: Config, seed: int) -> list[tasks.Task]:
    """Five tasks of two classes each, in an order of the seed."""
    data = load(config)
    order = streams.permutation(streams.keys("order", [seed], "classes"), data.classes)[0].tolist()
    pairs = [order[k : k + 2] for k in range(0, data.classes - 1, 2)]
    return tasks.split(data, pairs=pairs, heads="separate", pixels="unit", device=config.device)


def network(config: Config, sequence: list[tasks.Task], sweep: Sweep) -> nn.Module:
    """Two hidden layers, and two outputs per task; all strengths start alike."""
    kind: dict[str, Any] = {"p": 1.0, "bias": True, "replicas": sweep.replicas, "device": config.device}
    trunk = synsim.mlp([sequence[0].inputs, *config.hidden], **kind).append(nn.ReLU())
    heads = [synsim.BernoulliLinear(config.hidden[-1], task.classes, **kind) for task in sequence]
    return synsim.networks.initialised(synsim.MultiHead(trunk, heads), sweep.seeds, sweep=True)


class Timed(Importance):
    """An importance that keeps the time its latest estimate took."""

    def __init__(self, inner: Importance) -> None:
        self.inner, self.seconds = inner, 0.0

    def estimate(self, net: nn.Module, x: Any, y: Any = None, *, head: int | None = None) -> dict[str, Tensor]:
        """Measure, and time it."""
        start = time.perf_counter()
        importance = self.inner.estimate(net, x, y, head=head)
        self.seconds = time.perf_counter() - start
        return importance


def protection(name: str, sequence: list[tasks.Task], strength: Tensor, seed: int) -> Protection:
    """The penalty with one way to compute the Fisher; its sum over all parameters, and its time, are measured."""
    kind, options = VARIANTS[name]
    timed = Timed(importance_of(kind, sequence, **options, seed=seed))
    return Protection(
        timed,
        consolidation.make("penalty", strength=strength, factor=0.5),
        after_task={
            "importance_sum": lambda net, task, found: total(found["importance"]),
            "importance_seconds": lambda net, task, found: torch.full_like(strength, timed.seconds),
        },
    )


def trained(config: Config, session: Session, model: str, seed: int) -> xarray.Dataset:
    """One variant and seed over all strengths; what it measured, and its seconds per strength."""
    sequence = sequence_of(config, seed)
    strengths = [0.0] if model == "none" else [10.0**exponent for exponent in config.exponents]
    sweep = Sweep({"strength": strengths}, (seed,))
    net = network(config, sequence, sweep)
    phase = session.fit(
        f"{model}/{seed}",
        net,
        torch.optim.Adam(net.parameters(), lr=RATE),
        sequence,
        sweep=sweep,
        keep=False,
        tolerant=True,
        steps=config.iterations,
        batch=config.batch,
        samples=1,
        protection=None if model == "none" else protection(model, sequence, sweep.column("strength"), seed),
        test_every_epoch=False,
    )
    measured = placed(phase.dataset.isel(seed=0, drop=True))
    kept = measured[["accuracy", "failed"]].assign(training_seconds=measured.seconds.sum() / len(sweep))
    if model == "none":
        return kept.assign(importance_seconds=0.0)
    sums = measured.importance_sum.rename(task="after_task")
    return kept.assign(importance_sum=sums, importance_seconds=measured.importance_seconds[0].sum() / len(sweep))


def measure(config: Config, session: Session) -> xarray.Dataset:
    """Train all variants; every seed has tasks of its own, and so is a program of its own."""
    return nested(partial(trained, config, session), model=config.variants, seed=config.seeds)


def rows(config: Config, dataset: xarray.Dataset) -> list[tables.Row]:
    """The best strength of every variant, its accuracy and time, and how the variants scale."""
    made = []
    for name in config.variants:
        curves = outcomes.final(dataset).sel(model=name).dropna("strength", how="all")
        accuracy = curves.isel(strength=choice(curves, most=True, over="strength"))
        metric = OVER_ALL if name == "none" else "accuracy at the best λ, %"
        setting = {"λ": float(accuracy.strength)}
        made.append(tables.row(name, metric, accuracy.values, ACCURACY[name], setting=setting))
    for name in config.variants:
        each = dataset.sel(model=name)
        made.append(tables.row(name, "training of one run, s", each.training_seconds.values))
        if name != "none":
            made.append(tables.row(name, "importances of one run, s", each.importance_seconds.values))
    for over, under in (("exact", "empirical"), ("empirical", "batched")):
        if {over, under} <= set(config.variants):
            sums = dataset.importance_sum.isel(after_task=0).mean("strength")
            ratio = (sums.sel(model=over) / sums.sel(model=under)).values
            made.append(tables.row(f"{over} / {under}", "ratio of summed importances after task 1", ratio))
    return made


EXPERIMENT = Experiment(Config, measure, rows, __doc__)

if __name__ == "__main__":
    EXPERIMENT.main()
