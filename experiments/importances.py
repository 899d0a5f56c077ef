"""Every importance under one quadratic penalty on Permuted MNIST, batch 256 and 2,048 (Tables 3.1 and C.1).

Protocol: ten permutations, [0, 1] pixels, 784-2000-2000-10 with Glorot weights and biases 0.1, Adam 0.001 (its state
reset per task; 0.008 with batch 2,048), 20 epochs, L + c Σ λ (w − w*)² with summed importances around the latest task.
Strengths c and re-initialisation per method are those of the published searches, made for the full protocol; only the
c of magnitude, uniform and onaf-2048 are ours, since none are published. In the quick preset they do not fit: it never
re-initialises, and chooses every method's c among powers of ten times it, on seeds that are not reported.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
import xarray
from common import PresetConfig, Presets, combine, finish, load, run
from torch import nn

import synsim
from synsim import importance, statistics, tables, tasks
from synsim.networks import initialised, redraw
from synsim.papers import benzing2022
from synsim.papers.benzing2022 import ACCURACY, BATCHES, BIAS, Setting
from synsim.training import History, Phase, Protection, Session, fit
from synsim.training.command import option, parse
from synsim.training.session import PhaseStore


@dataclass(frozen=True)
class Method:
    """An importance with its settings.

    Attributes:
        name: of the importance.
        options: of the importance.
        large: whether the batch is 2,048.
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    large: bool = False


METHODS = {
    "si": Method("si"),
    "si-unbiased": Method("si-unbiased"),
    "si-bias": Method("si-bias"),
    "sos": Method("sos", {"alpha": 0.0}),
    "onaf": Method("online-absolute-fisher"),
    "mas": Method("mas", {"images": 1000}),
    "mas-max": Method("mas-max", {"images": 1000}),
    "mas-logits": Method("mas", {"images": 1000, "of": "logits"}),
    "af": Method("absolute-fisher", {"images": 1000}),
    "sqrt-fisher": Method("sqrt-fisher", {"images": 1000}),
    "ewc": Method("fisher", {"images": 1000}),
    "empirical": Method("fisher", {"images": 2000, "labels": "empirical"}),
    "batch-ef": Method("fisher-batched", {"images": 2000, "batch": 100, "convention": "scaled"}),
    "magnitude": Method("magnitude"),
    "uniform": Method("uniform"),
    "none": Method("uniform"),
    "si-2048": Method("si", large=True),
    "sos-2048": Method("sos", {"alpha": 1.0}, large=True),
    "onaf-2048": Method("online-absolute-fisher", {}, large=True),
}
# Ours: none are published for these.
CHOSEN = {
    "magnitude": Setting(0.01, False),
    "uniform": Setting(0.01, False),
    "none": Setting(0.0, False),
    "onaf-2048": Setting(5e-4, True),
}
SETTINGS = {**benzing2022.SETTINGS, **CHOSEN}
# Differences that the chapter rests on: (minuend, subtrahend), or a fall with the batch size against another one.
DIFFERENCES = (("si-unbiased", "si"), ("si-bias", "si"), ("sos", "si"))
FALLS = (("si", "sos"), ("si", "onaf"))


@dataclass(frozen=True, kw_only=True)
class Config(PresetConfig):
    """Options of this experiment."""

    CHOICES: ClassVar[tuple[str, ...]] = ("methods",)
    PRESETS: ClassVar[Presets] = {
        "quick": {
            "hidden": (100, 100),
            "tasks": 5,
            "epochs": 5,
            "selection": (1, 2),
            "exponents": (-2, -1, 0, 1, 2),
            "reinitialise": "never",
        },
        "paper": {
            "hidden": (2000, 2000),
            "tasks": 10,
            "epochs": 20,
            "selection": (),
            "exponents": (0,),
            "reinitialise": "published",
        },
    }
    out: str = option("runs/importances", "folder of the run")
    methods: tuple[str, ...] = option(tuple(METHODS), "methods to compare", tuple(METHODS), neutral=True)
    hidden: tuple[int, ...] = option((), "widths of the hidden layers (default: from the preset)")
    tasks: int | None = option(None, "number of permuted tasks (default: from the preset)")
    batch: int | None = option(None, "examples per step, also for the methods with large batches")
    selection: tuple[int, ...] = option((), "seeds on which c is chosen; they are not reported")
    exponents: tuple[int, ...] = option((), "c is chosen among 10^k times that of the method")
    reinitialise: str | None = option(None, "never, or as published (SI and its relatives)", ("never", "published"))

    def __post_init__(self) -> None:
        """Check what this experiment asks besides."""
        super().__post_init__()
        both = sorted(set(self.selection) & set(self.seeds))
        if both:
            raise ValueError(f"seeds {both} are in --selection and in --seeds; c must be chosen on other seeds.")
        if len(self.exponents) > 1 and not self.selection:
            raise ValueError("several --exponents need --selection, seeds on which c is chosen.")


def train(
    config: Config, name: str, strengths: Sequence[float], seeds: tuple[int, ...], session: Session
) -> tuple[Phase, xarray.DataArray]:
    """One method with some strengths and seeds; its final accuracy in per cent, [strength, seed]."""
    method = METHODS[name]
    replicas = seeds * len(strengths)
    sequence = sequence_of(config, replicas)
    sizes = [sequence[0].train[0:1].shape[-1], *config.hidden, sequence[0].classes]
    net = synsim.mlp(sizes, p=1.0, bias=True, replicas=len(replicas), device=config.device)
    draw = partial(redraw, scheme="glorot", bias=BIAS)
    draw(initialised(net, replicas, sweep=True))
    batch, rate = BATCHES[method.large]
    options = dict(method.options)
    if "images" in options:
        options["images"] = min(options["images"], *(len(task.train) for task in sequence))

    def fresh(net: nn.Module, task: int) -> None:
        draw(net, draw=task)

    each = torch.tensor(strengths, dtype=torch.float64).repeat_interleave(len(seeds))
    protection = Protection(
        importance.make(method.name, **options),
        synsim.consolidation.make("penalty", strength=each),
        reset_optimiser=True,
        reinitialise=fresh if SETTINGS[name].fresh and config.reinitialise == "published" else None,
    )
    sweep = len(strengths) > 1

    def go(store: PhaseStore) -> History:
        return fit(
            net,
            torch.optim.Adam(net.parameters(), lr=rate),
            sequence,
            seeds=replicas,
            epochs=config.epochs,
            batch=config.batch or batch,
            samples=1,
            protection=protection,
            store=store,
            test_every_epoch=False,
            progress=None if config.quiet else f"{name}, search" if sweep else name,
        )

    phase = session.phase(f"{name}, search" if sweep else name, net, go, keep=False, sweep=sweep)
    matrix = 100 * phase.dataset.accuracy.isel(after_task=-1).where(~phase.dataset.failed)
    final = matrix.mean("test_task", skipna=False).values.reshape(len(strengths), len(seeds))
    return phase, xarray.DataArray(final, {"strength": list(strengths), "seed": list(seeds)}, ["strength", "seed"])


def chosen(config: Config, name: str, session: Session) -> tuple[float, bool, xarray.DataArray | None]:
    """The strength c of a method, whether it is at the end of its grid, and the search."""
    published = SETTINGS[name].strength
    if len(config.exponents) == 1 or published == 0:
        return published * 10.0 ** config.exponents[0], False, None
    grid = [published * 10.0**k for k in sorted(config.exponents)]
    found = train(config, name, grid, config.selection, session)[1]
    best = int(found.mean("seed", skipna=False).fillna(-1.0).argmax("strength"))
    return grid[best], best in (0, len(grid) - 1), found


def sequence_of(config: Config, seeds: Sequence[int]) -> list[tasks.Task]:
    """Permuted tasks; every seed has pixel orders of its own."""
    data = load(config)
    return tasks.permuted(data, tasks=config.tasks, seeds=seeds, pixels="unit", device=config.device)


def difference(values: dict[str, np.ndarray], plus: list[str], minus: list[str], label: str) -> tables.Row:
    """A difference of differences with its standard error over seeds, and whether it is resolved."""
    each = sum(values[name] for name in plus) - sum(values[name] for name in minus)
    row = tables.row(" + ".join(plus) + " − " + " − ".join(minus), label, each)
    p = statistics.compare(each, np.zeros_like(each), paired=True).p if len(each) > 1 else np.nan
    verdict = "not resolved" if not p < 0.05 else "resolved"
    return {**row, "metric": f"{label}; paired t-test p = {p:.2g}, {verdict}"}


def experiment(config: Config, session: Session) -> None:
    """Run all methods, print and keep the results."""
    phases, rows, values, searches = [], [], {}, {}
    for name in config.methods:
        strength, edge, search = chosen(config, name, session)
        if search is not None:
            searches[name] = search
        phase, final = train(config, name, [strength], config.seeds, session)
        phases.append(phase)
        values[name] = final.values[0]
        published = ACCURACY.get(name)
        label = f"accuracy over all tasks, %, c = {strength:g}{'*' if edge else ''}"
        again = ", re-initialised" if SETTINGS[name].fresh and config.reinitialise == "published" else ""
        rows.append(tables.row(name, label + again, values[name], published))
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
    dataset = combine(phases)
    if searches:
        dataset = dataset.merge(search_record(config, searches), combine_attrs="override")
    finish(session, dataset, rows)
    if config.reduced():
        print(f"reduced: {config.reduced()}")
    if searches:
        print(f"c chosen on seeds {list(config.selection)}, not reported; * marks a choice at the end of its grid.")


def search_record(config: Config, searches: dict[str, xarray.DataArray]) -> xarray.Dataset:
    """The searches of all methods, by the exponent of the factor on the published c."""
    names = list(searches)
    axes = ("searched", "exponent", "selection")
    found = np.stack([searches[name].values for name in names])
    coords = {"searched": names, "exponent": sorted(config.exponents), "selection": list(config.selection)}
    return xarray.Dataset({"search_percent": (axes, found)}, coords)


if __name__ == "__main__":
    run(parse(Config, __doc__ or ""), experiment)  # type: ignore[arg-type]
