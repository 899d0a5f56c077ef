"""Bits per energy with several release sites per synapse, and with one mask per batch or per image (a study of ours).

With N sites a synapse transmits the share k / N of its strength, k ~ Binomial(N, p): the same mean, and 1 / N of the
variance. "fixed" keeps p, so that the mean release is equal by construction; "plastic" lets it be learned.
"""

import itertools
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import xarray
from common import PresetConfig, Presets, finish, load, mean_p, run

import synsim
from synsim import statistics, tables, tasks
from synsim.meters import energy, mutual_information
from synsim.networks import initialised
from synsim.training import History, Session, fit
from synsim.training.command import option, parse
from synsim.training.session import PhaseStore

RATE = 0.05
INITIAL = {"fixed": 0.4, "plastic": 0.25}
CONSTANTS = {"p_up": 0.07, "p_down": 0.07, "g_lim": 0.001, "p_min": 0.25}
SCOPES = ("batch", "sample")


@dataclass(frozen=True, kw_only=True)
class Config(PresetConfig):
    """Options of this experiment."""

    PRESETS: ClassVar[Presets] = {
        "quick": {"epochs": 2, "hidden": (100, 100)},
        "paper": {"epochs": 50, "hidden": (200, 200)},
    }
    out: str = option("runs/sites", "folder of the run")
    sites: tuple[int, ...] = option((1, 2, 5, 10), "release sites N per synapse")
    scopes: tuple[str, ...] = option(SCOPES, "one mask per batch, or per image", SCOPES)
    models: tuple[str, ...] = option(tuple(INITIAL), "release probabilities fixed, or plastic", tuple(INITIAL))
    decay: float = option(0.01, "weight decay")
    hidden: tuple[int, ...] = option((), "widths of the hidden layers (default: from the preset)")
    batch: int = option(100, "examples per step")


def train(config: Config, model: str, scope: str, sites: int, session: Session) -> xarray.Dataset:
    """One network with all seeds."""
    (task,) = tasks.single(load(config), device=config.device)
    sizes = [task.train[0:1].shape[-1], *config.hidden, task.classes]
    net = synsim.mlp(
        sizes, p=INITIAL[model], sites=sites, scope=scope, replicas=len(config.seeds), device=config.device
    )
    initialised(net, config.seeds)
    name = f"{model}, {scope}, N = {sites}"

    def go(store: PhaseStore) -> History:
        rule = synsim.PresynapticSGD(net, RATE, plastic=model == "plastic", weight_decay=config.decay, **CONSTANTS)
        return fit(
            net,
            rule,
            [task],
            seeds=config.seeds,
            epochs=config.epochs,
            batch=config.batch,
            samples=1,
            probe_every=config.epochs,
            test_every_epoch=False,
            probes={
                "energy": lambda net, task: energy(net),
                "information": lambda net, task: mutual_information(net, task.test, task.test.y),
                "mean_p": mean_p,
            },
            store=store,
            progress=None if config.quiet else name,
        )

    return session.phase(name, net, go).dataset.isel(task=0, epoch=-1, after_task=0, test_task=0, drop=True)


def measure(config: Config, session: Session) -> xarray.Dataset:
    """All networks, over model, scope and sites."""
    nested = [
        [[train(config, model, scope, sites, session) for sites in config.sites] for scope in config.scopes]
        for model in config.models
    ]
    found = xarray.combine_nested(
        nested, ["model", "scope", "sites"], combine_attrs="drop_conflicts", coords="minimal", compat="equals",
        data_vars="all", join="outer",
    )  # fmt: skip
    return found.assign_coords(model=list(config.models), scope=list(config.scopes), sites=list(config.sites))


def tests(config: Config, bits: xarray.DataArray) -> dict[tuple[str, str, int], tuple[statistics.Comparison, float]]:
    """Every network against the first one of its model, paired, and its p value corrected for all of them (Holm)."""
    made = {}
    for model in config.models:
        first = bits.sel(model=model, scope=config.scopes[0], sites=config.sites[0]).values
        for scope, sites in list(itertools.product(config.scopes, config.sites))[1:]:
            values = bits.sel(model=model, scope=scope, sites=sites).values
            if np.isfinite(values - first).sum() > 1:
                made[model, scope, sites] = statistics.compare(values, first, paired=True)
    corrected = statistics.holm([test.p for test in made.values()])
    return {key: (test, float(p)) for (key, test), p in zip(made.items(), corrected, strict=True)}


def table(config: Config, dataset: xarray.Dataset) -> list[tables.Row]:
    """Bits per energy of every network, and tests of more sites and of masks per image against one site per batch."""
    good = dataset.where(~dataset.failed)
    bits = 1000 * good.information / good.energy
    rows, found = [], tests(config, bits)
    for model in config.models:
        for scope in config.scopes:
            for sites in config.sites:
                name, at = f"{model}, mask per {scope}, N = {sites}", {"model": model, "scope": scope, "sites": sites}
                values = bits.sel(at).values
                text = "10⁻³ bits per energy"
                if (model, scope, sites) in found:
                    test, p = found[model, scope, sites]
                    text += f"; against the first, paired, p = {test.p:.2g} (Holm {p:.2g}), g = {test.hedges_g:.2g}"
                rows.append(tables.row(name, text, values))
                rows.append(tables.row(name, "accuracy, one pass, %", 100 * good.accuracy.sel(at).values))
                rows.append(tables.row(name, "mean release probability", good.mean_p.sel(at).values))
    return rows


def experiment(config: Config, session: Session) -> None:
    """Run all networks, print and keep the results."""
    dataset = measure(config, session)
    finish(session, dataset, table(config, dataset))
    if config.reduced():
        print(f"reduced from the protocol of the energy experiment: {config.reduced()}")


if __name__ == "__main__":
    run(parse(Config, __doc__ or ""), experiment)  # type: ignore[arg-type]
