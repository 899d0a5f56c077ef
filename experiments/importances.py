"""Every importance under one quadratic penalty on Permuted MNIST, batch 256 and 2,048 (Tables 3.1 and C.1).

Protocol: ten permutations, [0, 1] pixels, 784-2000-2000-10 with Glorot weights and biases 0.1, Adam 0.001 (its state
reset per task; 0.008 with batch 2,048), 20 epochs, L + c Σ λ (w − w*)² with summed importances around the latest task.
Strengths c and re-initialisation per method are those of the published searches, made for the full protocol; the
quick preset keeps them and is shorter.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from common import PresetConfig, Presets, combine, finish, run
from torch import nn

import synsim
from synsim import importance, statistics, tables, tasks
from synsim.networks import initialised, redraw
from synsim.training import History, Phase, Protection, Session, fit
from synsim.training.command import option, parse
from synsim.training.session import PhaseStore


@dataclass(frozen=True)
class Method:
    """An importance with its published settings.

    Attributes:
        name: of the importance.
        strength: c.
        fresh: whether the network is re-initialised for each task.
        published: mean ± standard error, per cent.
        options: of the importance.
        large: whether the batch is 2,048.
    """

    name: str
    strength: float
    fresh: bool
    published: str | None
    options: dict[str, Any]
    large: bool = False


METHODS = {
    "si": Method("si", 0.2, True, "97.2 ± 0.1", {}),
    "si-unbiased": Method("si-unbiased", 2.0, True, "96.3 ± 0.1", {}),
    "si-bias": Method("si-bias", 0.5, True, "97.2 ± 0.1", {}),
    "sos": Method("sos", 1.0, True, "97.3 ± 0.1", {"alpha": 0.0}),
    "onaf": Method("online-absolute-fisher", 5e-5, True, "97.3 ± 0.1", {}),
    "mas": Method("mas", 500.0, False, "97.3 ± 0.1", {"images": 1000}),
    "mas-max": Method("mas-max", 200.0, False, "97.4 ± 0.2", {"images": 1000}),
    "mas-logits": Method("mas", 0.001, True, "97.2 ± 0.1", {"images": 1000, "of": "logits"}),
    "af": Method("absolute-fisher", 200.0, False, "97.4 ± 0.1", {"images": 1000}),
    "sqrt-fisher": Method("sqrt-fisher", 2.0, False, "97.1 ± 0.2", {"images": 1000}),
    "ewc": Method("fisher", 1e3, False, "97.1 ± 0.2", {"images": 1000}),
    "empirical": Method("fisher", 1e6, False, "97.1 ± 0.1", {"images": 2000, "labels": "empirical"}),
    "batch-ef": Method(
        "fisher-batched", 5e5, False, "97.1 ± 0.1", {"images": 2000, "batch": 100, "convention": "scaled"}
    ),
    "magnitude": Method("magnitude", 0.01, False, "< 95", {}),
    "uniform": Method("uniform", 0.01, False, "88", {}),
    "none": Method("uniform", 0.0, False, None, {}),
    "si-2048": Method("si", 1.0, True, "96.2 ± 0.1", {}, large=True),
    "sos-2048": Method("sos", 10.0, True, "97.1 ± 0.1", {"alpha": 1.0}, large=True),
    "onaf-2048": Method("online-absolute-fisher", 5e-4, True, "97.0 ± 0.1", {}, large=True),
}
BATCHES = {False: (256, 1e-3), True: (2048, 8e-3)}
BIAS = 0.1
# Differences that the chapter rests on: (minuend, subtrahend), or a fall with the batch size against another one.
DIFFERENCES = (("si-unbiased", "si"), ("si-bias", "si"), ("sos", "si"))
FALLS = (("si", "sos"), ("si", "onaf"))


@dataclass(frozen=True, kw_only=True)
class Config(PresetConfig):
    """Options of this experiment."""

    PRESETS: ClassVar[Presets] = {
        "quick": {"hidden": (200, 200), "tasks": 5, "epochs": 3},
        "paper": {"hidden": (2000, 2000), "tasks": 10, "epochs": 20},
    }
    out: str = option("runs/importances", "folder of the run")
    methods: tuple[str, ...] = option(tuple(METHODS), "methods to compare", tuple(METHODS))
    hidden: tuple[int, ...] = option((), "widths of the hidden layers (default: from the preset)")
    tasks: int | None = option(None, "number of permuted tasks (default: from the preset)")
    batch: int | None = option(None, "examples per step, also for the methods with large batches")


def train(config: Config, name: str, sequence: list[tasks.Task], session: Session) -> Phase:
    """One method with all seeds."""
    method = METHODS[name]
    sizes = [sequence[0].train[0:1].shape[-1], *config.hidden, sequence[0].classes]
    net = synsim.mlp(sizes, p=1.0, bias=True, replicas=len(config.seeds), device=config.device)
    draw = partial(redraw, scheme="glorot", bias=BIAS)
    draw(initialised(net, config.seeds))
    batch, rate = BATCHES[method.large]
    options = dict(method.options)
    if "images" in options:
        options["images"] = min(options["images"], *(len(task.train) for task in sequence))

    def fresh(net: nn.Module, task: int) -> None:
        draw(net, draw=task)

    protection = Protection(
        importance.make(method.name, **options),
        synsim.consolidation.make("penalty", strength=method.strength),
        reset_optimiser=True,
        reinitialise=fresh if method.fresh else None,
    )

    def go(store: PhaseStore) -> History:
        return fit(
            net,
            torch.optim.Adam(net.parameters(), lr=rate),
            sequence,
            seeds=config.seeds,
            epochs=config.epochs,
            batch=config.batch or batch,
            samples=1,
            protection=protection,
            store=store,
            test_every_epoch=False,
            progress=None if config.quiet else name,
        )

    return session.phase(name, net, go, keep=False)


def difference(values: dict[str, np.ndarray], plus: list[str], minus: list[str], label: str) -> tables.Row:
    """A difference of differences with its standard error over seeds, and whether it is resolved."""
    each = sum(values[name] for name in plus) - sum(values[name] for name in minus)
    row = tables.row(" + ".join(plus) + " − " + " − ".join(minus), label, each)
    p = statistics.compare(each, np.zeros_like(each), paired=True).p if len(each) > 1 else np.nan
    verdict = "not resolved" if not p < 0.05 else "resolved"
    return {**row, "metric": f"{label}; paired t-test p = {p:.2g}, {verdict}"}


def experiment(config: Config, session: Session) -> None:
    """Run all methods, print and keep the results."""
    data = synsim.data.load(config.data, config.data_dir)
    sequence = tasks.permuted(data, tasks=config.tasks, seeds=config.seeds, pixels="unit", device=config.device)
    phases = [train(config, name, sequence, session) for name in config.methods]
    rows, values = [], {}
    for phase in phases:
        final = 100 * phase.dataset.accuracy.isel(after_task=-1).where(~phase.dataset.failed)
        values[phase.name] = final.mean("test_task", skipna=False).values
        shown = METHODS[phase.name]
        label = f"accuracy over all tasks, %, c = {shown.strength:g}" + (", re-initialised" if shown.fresh else "")
        rows.append(tables.row(phase.name, label, values[phase.name], shown.published))
    for one, other in DIFFERENCES:
        if {one, other} <= values.keys():
            rows.append(difference(values, [one], [other], "points"))
    for one, other in FALLS:
        if {one, other, f"{one}-2048", f"{other}-2048"} <= values.keys():
            rows.append(
                difference(values, [one, f"{other}-2048"], [f"{one}-2048", other], "points, fall with the batch")
            )
    for phase in phases:
        seconds = float(np.nansum(phase.dataset.seconds.values)) / len(config.seeds)
        rows.append(tables.row(phase.name, "training of one run, s", [seconds]))
    finish(session, combine(phases), rows)
    if config.reduced():
        print(f"reduced: {config.reduced()}")


if __name__ == "__main__":
    run(parse(Config, __doc__ or ""), experiment)  # type: ignore[arg-type]
