"""Bits per unit of energy of plastic, deterministic and fixed release (Fig. 4.1, 4.2a and 4.6 of the paper).

Weight decays and seeds are replicas of one program per model: the 54 runs of Fig. 4.1 are three programs. The parts
"fixed" (Fig. 4.6c), "start" (4.6d) and "robust" (steps of the release probability changed by a quarter) are one
program each.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
import xarray
from common import BINS, PresetConfig, Presets, combine, finish, flat_p, histogram, load, mean_p, run, share_above
from torch import nn

import synsim
from synsim import streams, tables, tasks
from synsim.meters import energy, mutual_information
from synsim.networks import initialised
from synsim.papers.schug2021 import DECAY, DECAYS, ENERGY_CONSTANTS, ENERGY_INITIAL, ENERGY_RATES, IMPORTANT
from synsim.training import History, Session, fit
from synsim.training.command import option, parse
from synsim.training.session import PhaseStore

METHODS = ("plastic", "deterministic", "fixed")
PARTS = ("main", "fixed", "start", "robust")
STEP, G_LIM, P_MIN = (ENERGY_CONSTANTS[name] for name in ("p_up", "g_lim", "p_min"))


@dataclass(frozen=True)
class Setting:
    """One setting of a program; every seed runs it.

    Attributes:
        decay: weight decay ρ.
        rate: learning rate.
        p: initial release probability, or None for U(0.25, 1).
        up: p_up.
        down: p_down.
    """

    decay: float
    rate: float
    p: float | None
    up: float = STEP
    down: float = STEP


@dataclass(frozen=True, kw_only=True)
class Config(PresetConfig):
    """Options of this experiment."""

    CHOICES: ClassVar[tuple[str, ...]] = ("parts", "methods")
    PRESETS: ClassVar[Presets] = {
        "quick": {"epochs": 10, "decays": (0.005, 0.01, 0.05, 0.1), "parts": ("main",), "probe_every": 1, "passes": 1},
        "paper": {
            "epochs": 50,
            "decays": DECAYS,
            "parts": PARTS,
            "probe_every": 10,
            "passes": 10,
        },
    }
    out: str = option("runs/energy", "folder of the run")
    parts: tuple[str, ...] = option(
        (), "main: Fig. 4.1; fixed: 4.6c; start: 4.6d; robust: p_up, p_down ± 25 %", PARTS, neutral=True
    )
    methods: tuple[str, ...] = option(METHODS, "models of the main part", METHODS, neutral=True)
    decays: tuple[float, ...] = option((), "weight decays (default: from the preset)")
    decay: float = option(DECAY, "weight decay of the parts fixed, start and robust", neutral=True)
    probabilities: tuple[float, ...] = option((P_MIN, 0.4, 0.6, 0.8, 1.0), "release probabilities of the part fixed")
    rates: tuple[float, ...] = option((0.02, 0.05, 0.08), "learning rates of the part fixed")
    hidden: tuple[int, ...] = option((200, 200), "widths of the hidden layers")
    batch: int = option(100, "examples per step")
    probe_every: int | None = option(None, "epochs between measurements (default: from the preset)", neutral=True)
    passes: int | None = option(None, "stochastic passes of the activity energy (default: from the preset)")


def network(config: Config, settings: list[Setting], task: tasks.Task) -> nn.Module:
    """One replica per setting and seed."""
    sizes = [task.train[0:1].shape[-1], *config.hidden, task.classes]
    seeds = config.seeds * len(settings)
    p = torch.tensor([0.5 if one.p is None else one.p for one in settings]).repeat_interleave(len(config.seeds))
    net = initialised(synsim.mlp(sizes, p=p, replicas=len(seeds), device=config.device), seeds, sweep=True)
    each = [one for one in settings for _ in config.seeds]
    spread = [replica for replica, one in enumerate(each) if one.p is None]
    for name, layer in synsim.synapses(net).items() if spread else ():
        drawn = streams.uniform(streams.keys("init", seeds, f"{name}.p"), layer.p[0].numel())
        layer.p[spread] = (P_MIN + (1 - P_MIN) * drawn).reshape(layer.p.shape)[spread].to(layer.p)
    return net


def train(config: Config, name: str, settings: list[Setting], session: Session, *, plastic: bool) -> xarray.Dataset:
    """Train one program; its measurements over setting and seed."""
    (task,) = tasks.single(load(config), device=config.device)
    net = network(config, settings, task)
    before = histogram(flat_p(net))

    def constants(of: Callable[[Setting], float]) -> torch.Tensor:
        return torch.tensor([of(one) for one in settings], dtype=torch.float64).repeat_interleave(len(config.seeds))

    rule = synsim.PresynapticSGD(
        net,
        constants(lambda one: one.rate),
        p_up=constants(lambda one: one.up),
        p_down=constants(lambda one: one.down),
        g_lim=G_LIM,
        p_min=P_MIN,
        plastic=plastic,
        weight_decay=constants(lambda one: one.decay),
    )

    def go(store: PhaseStore) -> History:
        return fit(
            net,
            rule,
            [task],
            seeds=config.seeds * len(settings),
            epochs=config.epochs,
            batch=config.batch,
            test_every_epoch=False,
            probe_every=config.probe_every or 1,
            probes={
                "energy": lambda net, task: energy(net),
                "activity": lambda net, task: energy(net, "activity", x=task.test, samples=config.passes or 1),
                "information": lambda net, task: mutual_information(net, task.test, task.test.y),
                "mean_p": mean_p,
                "important_share": share_above(IMPORTANT),
            },
            store=store,
            progress=None if config.quiet else name,
        )

    # Of the rates of the part "fixed" some may be too fast: that such a replica diverges is its result.
    phase = session.phase(name, net, go, sweep=name == "fixed release")
    found = phase.dataset
    found["p_histogram"] = (
        ("when", "replica", "bin"),
        np.stack([before.numpy(), histogram(flat_p(net)).numpy()]),
    )
    index = np.arange(len(settings)).repeat(len(config.seeds))
    bare = found.drop_vars(["replica", "seed"])
    laid = bare.assign_coords(setting=("replica", index), run=("replica", np.tile(config.seeds, len(settings))))
    shaped = laid.set_index(replica=["setting", "run"]).unstack("replica").rename(run="seed")
    centres = ((BINS[1:] + BINS[:-1]) / 2).double().numpy()
    return shaped.assign_coords(bin=centres, when=["before", "after"])


def main_part(config: Config, session: Session) -> tuple[xarray.Dataset, list[tables.Row]]:
    """Three models over the decays (Fig. 4.1, 4.6a, b)."""
    phases = []
    for name in config.methods:
        settings = [Setting(decay, ENERGY_RATES[name], ENERGY_INITIAL[name]) for decay in config.decays]
        found = train(config, name, settings, session, plastic=name == "plastic")
        phases.append(found.rename(setting="decay").assign_coords(decay=list(config.decays)))
    dataset = combine([Named(name, phase) for name, phase in zip(config.methods, phases, strict=True)])
    return dataset, table(config, dataset)


@dataclass(frozen=True)
class Named:
    """What `combine` asks of a phase."""

    name: str
    dataset: xarray.Dataset


def ratio(dataset: xarray.Dataset) -> xarray.DataArray:
    """Bits per unit of energy at the end, times 1,000."""
    last = dataset.isel(epoch=-1, task=0)
    return 1000 * (last.information / last.energy).where(~dataset.failed)


def table(config: Config, dataset: xarray.Dataset) -> list[tables.Row]:
    """Bits per energy of every model and decay, and the accuracy at each model's best decay."""
    rows, best, found = [], {}, ratio(dataset)
    for name in config.methods:
        best[name] = float(found.sel(model=name).mean("seed").idxmax("decay"))
        for decay in config.decays:
            marked = " (best)" if decay == best[name] else ""
            values = found.sel(model=name, decay=decay).values
            rows.append(tables.row(name, f"10⁻³ bits per energy, decay {decay:g}{marked}", values))
    for name in config.methods:
        last = dataset.isel(epoch=-1, task=0).sel(model=name, decay=best[name])
        rows.append(tables.row(name, f"10⁻³ bits per activity, decay {best[name]:g}",
                               (1000 * last.information / last.activity).where(~last.failed).values))  # fmt: skip
        accuracy = dataset.accuracy.isel(after_task=0, test_task=0).sel(model=name, decay=best[name])
        rows.append(tables.row(name, f"accuracy at decay {best[name]:g}, %", 100 * accuracy.values))
    return rows


def fixed_part(config: Config, session: Session) -> tuple[xarray.Dataset, list[tables.Row]]:
    """Fixed release over probabilities and learning rates; at each probability the best rate counts (Fig. 4.6c)."""
    pairs = [(p, rate) for p in config.probabilities for rate in config.rates]
    settings = [Setting(config.decay, rate, p) for p, rate in pairs]
    found = train(config, "fixed release", settings, session, plastic=False)
    index = {"setting": ("setting", np.arange(len(pairs)))}
    laid = found.assign_coords(index).assign_coords(
        probability=("setting", [p for p, _ in pairs]), rate=("setting", [rate for _, rate in pairs])
    )
    shaped = laid.set_index(setting=["probability", "rate"]).unstack("setting")
    rows, bits = [], ratio(shaped)
    for p in config.probabilities:
        best = float(bits.sel(probability=p).mean("seed").idxmax("rate"))
        values = bits.sel(probability=p, rate=best).values
        rows.append(tables.row(f"fixed release {p:g}", f"10⁻³ bits per energy, best rate {best:g}", values))
    return shaped, rows


def start_part(config: Config, session: Session) -> tuple[xarray.Dataset, list[tables.Row]]:
    """Plastic release from p = 0.25 and from U(0.25, 1) (Fig. 4.6d)."""
    starts = {"p = 0.25": ENERGY_INITIAL["plastic"], "U(0.25, 1)": None}
    settings = [Setting(config.decay, ENERGY_RATES["plastic"], p) for p in starts.values()]
    found = train(config, "starts", settings, session, plastic=True).rename(setting="start")
    found = found.assign_coords(start=list(starts))
    rows, last = [], found.isel(epoch=-1, task=0).where(~found.failed)
    for name in starts:
        one = last.sel(start=name)
        rows.append(tables.row(f"plastic, start {name}", "mean release probability at the end", one.mean_p.values))
        share = 100 * one.important_share.values
        rows.append(tables.row(f"plastic, start {name}", "synapses with p ≥ 0.9 at the end, %", share))
        rows.append(tables.row(f"plastic, start {name}", "10⁻³ bits per energy", ratio(found).sel(start=name).values))
    return found, rows


def robust_part(config: Config, session: Session) -> tuple[xarray.Dataset, list[tables.Row]]:
    """Plastic release with p_up and p_down changed by a quarter, beside deterministic synapses at the same decay."""
    steps = [(up, down) for up in (0.75, 1.0, 1.25) for down in (0.75, 1.0, 1.25)]
    usual = Setting(config.decay, ENERGY_RATES["plastic"], ENERGY_INITIAL["plastic"])
    settings = [replace(usual, up=STEP * up, down=STEP * down) for up, down in steps]
    found = train(config, "robust", settings, session, plastic=True)
    labels = [f"p_up {100 * up - 100:+.0f} %, p_down {100 * down - 100:+.0f} %" for up, down in steps]
    found = found.rename(setting="steps").assign_coords(steps=labels)
    reliable = [Setting(config.decay, ENERGY_RATES["deterministic"], ENERGY_INITIAL["deterministic"])]
    beside = train(config, "robust, deterministic", reliable, session, plastic=False).rename(setting="steps")
    parts = [found, beside.assign_coords(steps=["deterministic"])]
    found = xarray.concat(parts, "steps", data_vars="all", coords="minimal", compat="equals")
    rows = [
        tables.row(name, "10⁻³ bits per energy", ratio(found).sel(steps=name).values) for name in found.steps.values
    ]
    return found, rows


WORK = {"main": main_part, "fixed": fixed_part, "start": start_part, "robust": robust_part}


def measure(config: Config, session: Session) -> tuple[xarray.Dataset, list[tables.Row]]:
    """Train all parts; their measurements and the rows of the table."""
    datasets, rows = [], []
    for part in config.parts:
        found, more = WORK[part](config, session)
        rows += more
        own = ("seed", "bin", "when")
        names = {str(name): f"{part}_{name}" for name in [*found.variables, *found.dims] if name not in own}
        datasets.append(found if part == "main" else found.rename(names))
    return xarray.merge(datasets, combine_attrs="drop_conflicts"), rows


def experiment(config: Config, session: Session) -> None:
    """Run all parts, print and keep the results."""
    finish(session, *measure(config, session))
    if config.reduced():
        print(f"reduced: {config.reduced()}")


if __name__ == "__main__":
    run(parse(Config, __doc__ or ""), experiment)  # type: ignore[arg-type]
