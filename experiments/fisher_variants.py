"""Five ways to compute the Fisher in EWC, each over a grid of strengths, on Split MNIST with separate heads.

Protocol: Split MNIST, classes assigned to tasks at random per seed, 784-400-400-10 with two outputs per task, Adam
0.001 (not reset), batch 128, 2,000 iterations per task, penalty λ/2 · Σ F (θ − θ̂)² around the latest task with summed
Fishers. All strengths of a variant are replicas of one program.
"""

import itertools
import time
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import xarray
from common import PresetConfig, Presets, finish, load, run
from torch import Tensor, nn

import synsim
from synsim import streams, tables, tasks
from synsim.importance import Importance
from synsim.networks import initialised
from synsim.papers.vandeven2025 import ACCURACY, BATCH, ITERATIONS, RATE
from synsim.training import History, Protection, Session, fit
from synsim.training.command import option, parse
from synsim.training.session import PhaseStore

VARIANTS = {
    "exact": ("fisher", {"labels": "exact"}),
    "exact-500": ("fisher", {"labels": "exact", "images": 500}),
    "sample": ("fisher", {"labels": "sampled"}),
    "empirical": ("fisher", {"labels": "empirical"}),
    "batched": ("fisher-batched", {"batch": BATCH, "convention": "mean"}),
}


@dataclass(frozen=True, kw_only=True)
class Config(PresetConfig):
    """Options of this experiment."""

    CHOICES: ClassVar[tuple[str, ...]] = ("variants",)
    PRESETS: ClassVar[Presets] = {
        "quick": {"iterations": 500, "exponents": tuple(np.arange(0, 10.5, 1.0).tolist())},
        "paper": {"iterations": ITERATIONS, "exponents": tuple(np.arange(0, 13.5, 1.0).tolist())},
    }
    out: str = option("runs/fisher_variants", "folder of the run")
    variants: tuple[str, ...] = option((*VARIANTS, "none"), "variants to compare", (*VARIANTS, "none"), neutral=True)
    exponents: tuple[float, ...] = option((), "strengths λ as powers of ten (default: from the preset)")
    iterations: int | None = option(None, "steps per task (default: from the preset)")
    hidden: tuple[int, ...] = option((400, 400), "widths of the hidden layers")
    batch: int = option(BATCH, "examples per step")


class Timed(Importance):
    """An importance that keeps the time its latest estimate took."""

    def __init__(self, inner: Importance) -> None:
        self.inner, self.seconds = inner, 0.0

    def estimate(
        self, net: nn.Module, x: object, y: Tensor | None = None, *, head: int | None = None
    ) -> dict[str, Tensor]:
        """Measure, and time it."""
        start = time.perf_counter()
        found = self.inner.estimate(net, x, y, head=head)
        self.seconds = time.perf_counter() - start
        return found


def network(config: Config, seed: int, replicas: int, heads: int, inputs: int) -> nn.Module:
    """Trunk and one head per task, without stochastic release, alike in all replicas."""
    layers: list[nn.Module] = []
    sizes = [inputs, *config.hidden]
    kind = {"p": 1.0, "bias": True, "replicas": replicas, "device": config.device}
    for before, after in itertools.pairwise(sizes):
        layers += [synsim.BernoulliLinear(before, after, **kind), nn.ReLU()]
    net = synsim.MultiHead(nn.Sequential(*layers), [synsim.BernoulliLinear(sizes[-1], 2, **kind) for _ in range(heads)])
    return initialised(net, (seed,) * replicas, sweep=True)


def sequence(config: Config, seed: int) -> list[tasks.Task]:
    """Five tasks of two classes each, in an order of the seed."""
    data = load(config)
    order = streams.permutation(streams.keys("order", [seed], "classes"), data.classes)[0].tolist()
    pairs = [order[k : k + 2] for k in range(0, data.classes - 1, 2)]
    return tasks.split(data, pairs=pairs, heads="separate", pixels="unit", device=config.device)


def train(config: Config, variant: str, seed: int, session: Session) -> xarray.Dataset:
    """One variant and seed over all strengths."""
    tests = sequence(config, seed)
    strengths = torch.tensor([0.0] if variant == "none" else [10.0**e for e in config.exponents], dtype=torch.float64)
    net = network(config, seed, len(strengths), len(tests), tests[0].train[0:1].shape[-1])
    optimiser = torch.optim.Adam(net.parameters(), lr=RATE)
    protection, importance = None, None
    if variant != "none":
        name, options = VARIANTS[variant]
        importance = Timed(synsim.importance.make(name, **fitting(options, tests), seed=seed))
        protection = Protection(
            importance,
            synsim.consolidation.make("penalty", strength=strengths, factor=0.5),
            after_task={
                "importance_sum": lambda net, task, found: total(found["importance"]),
                "importance_seconds": lambda net, task, found: torch.full_like(strengths, importance.seconds),
            },
        )

    def go(store: PhaseStore) -> History:
        return fit(
            net,
            optimiser,
            tests,
            seeds=(seed,) * len(strengths),
            steps=config.iterations,
            batch=config.batch,
            samples=1,
            protection=protection,
            store=store,
            test_every_epoch=False,
            progress=None if config.quiet else f"{variant}, seed {seed}",
        )

    phase = session.phase(f"{variant}/{seed}", net, go, keep=False, sweep=True)
    found = phase.dataset[["accuracy", "failed"]].drop_vars(["seed", "replica"])
    seconds = np.nansum(phase.dataset.seconds.values) / len(strengths)
    sums = phase.dataset.get("importance_sum")
    spent = 0.0 if sums is None else float(phase.dataset.importance_seconds[0].sum()) / len(strengths)
    # Names of tasks differ between seeds; their places do not.
    places = range(len(tests))
    found = found.assign_coords(after_task=places, test_task=places).rename(replica="strength")
    values = np.full((len(strengths), len(tests)), np.nan) if sums is None else sums.values
    return found.assign(
        importance_sum=(("strength", "after_task"), values),
        training_seconds=seconds,
        importance_seconds=spent,
    ).assign_coords(strength=strengths.numpy())


def fitting(options: dict[str, object], sequence: list[tasks.Task]) -> dict[str, object]:
    """Options for tasks that may have fewer images than the protocol uses."""
    images = options.get("images")
    return options if images is None else {**options, "images": min(images, *(len(task.train) for task in sequence))}


def total(importance: dict[str, Tensor]) -> Tensor:
    """Sum over all parameters, [R]."""
    return sum(value.double().flatten(1).sum(1) for value in importance.values())


def rows_of(config: Config, dataset: xarray.Dataset) -> list[tables.Row]:
    """The best strength of every variant, its accuracy and time, and how the variants scale."""
    final = 100 * dataset.accuracy.where(~dataset.failed).isel(after_task=-1).mean("test_task", skipna=False)
    rows = []
    for name in config.variants:
        curve = final.sel(model=name).dropna("strength", how="all")
        best = float(curve.mean("seed", skipna=False).idxmax("strength"))
        label = "accuracy over all tasks, %" if name == "none" else f"accuracy at the best λ = {best:.3g}, %"
        rows.append(tables.row(name, label, curve.sel(strength=best).values, ACCURACY[name]))
    for name in config.variants:
        rows.append(tables.row(name, "training of one run, s", dataset.training_seconds.sel(model=name).values))
        if name != "none":
            rows.append(
                tables.row(name, "importances of one run, s", dataset.importance_seconds.sel(model=name).values)
            )
    sums = dataset.importance_sum.isel(after_task=0).mean("strength")
    for over, under in (("exact", "empirical"), ("empirical", "batched")):
        if {over, under} <= set(config.variants):
            ratio = (sums.sel(model=over) / sums.sel(model=under)).values
            rows.append(tables.row(f"{over} / {under}", "ratio of summed importances after task 1", ratio))
    return rows


def experiment(config: Config, session: Session) -> None:
    """Run all variants, print and keep the results."""
    models = []
    for variant in config.variants:
        each = [train(config, variant, seed, session) for seed in config.seeds]
        models.append(xarray.concat(each, dim=xarray.Variable("seed", list(config.seeds)), data_vars="all"))
    dataset = xarray.concat(
        models, dim=xarray.Variable("model", list(config.variants)), join="outer", data_vars="all",
        fill_value={"failed": True},
    )  # fmt: skip
    finish(session, dataset, rows_of(config, dataset))
    if config.reduced():
        print(f"reduced: {config.reduced()}; published: 10 seeds")


if __name__ == "__main__":
    run(parse(Config, __doc__ or ""), experiment)  # type: ignore[arg-type]
