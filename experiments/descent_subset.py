"""Descent on a thousand images with exact gradients and curvature (Benzing 2022, Fig. 5.1D, 5.2A and 5.2C).

Full batches, so that nothing is sampled but the labels of "natural" and "kfac-subsampled": the Fisher of "natural-full"
is exact, and no average over steps is taken. With one layer (logistic regression) a block-diagonal Fisher is the whole
one. Rates and dampings are the published ones, but for KFAC's with hidden layers (see docs/searches.md); `--search`
tries a grid anew, as replicas of one program, on seeds and images that are not reported.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import xarray
from common import load, nested
from descent_common import kaiming, standardised
from torch import nn, optim
from torch.optim import Optimizer

import synsim
from synsim import Sweep, statistics, streams, tables, tasks
from synsim.experiment import Experiment, PresetConfig, Session, by_preset, option
from synsim.papers import Published
from synsim.papers.benzing2022 import CURVES, DESCENT, DESCENT_HIDDEN, MOMENTUM, SUBSET, SUBSET_STEPS

FIGURES = {
    ("fashion-mnist", "layers"): ("5.1D", "5.2C"), ("fashion-mnist", "logistic"): ("5.2A",),
    ("mnist", "layers"): ("5.6D",),
}  # fmt: skip
ALONE = {"average": 0.0, "period": 1, "warmup": 1, "scale": "mean"}
NETWORKS = ("layers", "logistic")
AT = (20, 50, 75, 99)


@dataclass(frozen=True)
class Method:
    """A rule, its settings for each network, and what a search tries.

    Attributes:
        kind: the rule.
        options: what it is told beside rate and damping.
        settings: network -> rate, damping.
        rates: that are tried.
        dampings: that are tried; NaN: it has none.
    """

    kind: Callable[..., Optimizer]
    options: Mapping[str, Any]
    settings: Mapping[str, tuple[float, float]]
    rates: tuple[float, ...]
    dampings: tuple[float, ...] = (math.nan,)


def published_settings(name: str, figures: Mapping[str, str], summed: bool = False) -> dict[str, tuple[float, float]]:
    """The published rate and damping of a method in each network, for curvature that is a mean over images.

    `summed`: the published ones belong to sums over all of them, which makes both as many times larger (see
    docs/searches.md).
    """
    of, number = {network: DESCENT[figure][name] for network, figure in figures.items()}, SUBSET if summed else 1
    return {
        network: (each.lr / number, math.nan if each.damping is None else each.damping / number)
        for network, each in of.items()
    }


SAMPLED, FULL = {"batch": "same"}, {"batch": "same", "labels": "exact"}
NATURAL, FISHER = synsim.NaturalGradient, ((0.03, 0.1, 0.3), (1e-2, 0.1, 1.0))
DRAWN, FACTORS = ((0.01, 0.03, 0.1, 0.3), (1e-2, 0.1, 1.0)), ((3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1), (1e-7, 1e-5, 1e-3))
SGD = (0.01, 0.03, 0.1)
LOGISTIC, BOTH, BLOCKS = {"logistic": "5.2A"}, {"layers": "5.1D", "logistic": "5.2A"}, {"layers": "5.2C"}
METHODS = {
    "sgd": Method(optim.SGD, {}, published_settings("sgd", LOGISTIC), SGD),
    "sgd-momentum": Method(optim.SGD, {"momentum": MOMENTUM}, published_settings("sgd-momentum", BOTH), SGD),
    "natural": Method(NATURAL, SAMPLED, published_settings("natural", BOTH), *DRAWN),
    "natural-full": Method(NATURAL, FULL, published_settings("natural-full", BOTH, True), *FISHER),
    "natural-blocks": Method(
        NATURAL, {**SAMPLED, "blocks": True}, published_settings("natural-blocks", BLOCKS), *DRAWN
    ),
    "natural-blocks-full": Method(
        NATURAL, {**FULL, "blocks": True}, published_settings("natural-blocks-full", BLOCKS, True), *FISHER
    ),
    "kfac-subsampled": Method(
        synsim.KFAC,
        ALONE,
        {"layers": (0.01, 3e-3), **published_settings("kfac-subsampled", LOGISTIC, True)},
        *FACTORS,
    ),
    "foof-subsampled": Method(
        synsim.FOOF, ALONE, {"layers": (0.5, 0.5), "logistic": (0.5, 0.5)}, (0.1, 0.3, 1.0, 3.0), (0.01, 0.1, 1.0)
    ),
}
QUICK = ("sgd", "sgd-momentum", "natural", "natural-full", "natural-blocks", "kfac-subsampled", "foof-subsampled")
PAIRS = (("kfac-subsampled", "natural-full"), ("natural-full", "sgd-momentum"), ("natural", "sgd-momentum"))


@dataclass(frozen=True, kw_only=True)
class Config(PresetConfig):
    data: str = option("fashion-mnist", "data set: fashion-mnist, or mnist for the twins; or another", neutral=True)
    seeds: tuple[int, ...] = by_preset("one replica per seed", quick=(0,), paper=(0, 1, 2))
    networks: tuple[str, ...] = option(NETWORKS, "networks", NETWORKS, neutral=True, phases=True)
    methods: tuple[str, ...] = by_preset(
        "methods", tuple(METHODS), neutral=True, phases=True, quick=QUICK, paper=tuple(METHODS)
    )
    hidden: tuple[int, ...] = by_preset("widths of the hidden layers", quick=(300, 300, 300), paper=DESCENT_HIDDEN)
    images: int = option(SUBSET, "training images")
    steps: int = option(SUBSET_STEPS, "steps, each on all images")
    epochs: int | None = option(None, "not used: see --steps", neutral=True)
    batch: int | None = option(None, "not used: all images are one batch", neutral=True)
    memory: float = option(4096.0, "MiB for Gram matrices of sampled Fishers", neutral=True)
    tolerance: float = option(1e-6, "residual, relative, at which conjugate gradients solve for an exact Fisher")
    search: bool = option(False, "choose rate and damping anew", neutral=True)
    selection: tuple[int, ...] = option((101,), "seeds that choose", chooses=True)
    selection_images: int = option(200, "images of the search, other ones than those that are reported")


def task_of(config: Config, choosing: bool) -> tasks.Task:
    """Some training images, drawn once for all seeds; those that choose come after those that are reported."""
    (task,) = tasks.single(standardised(load(config)), device=config.device)
    order = streams.permutation(streams.keys("order", (0,), "subset"), len(task.train))[0]
    shown = slice(config.images, config.images + config.selection_images) if choosing else slice(config.images)
    rows = order[shown].to(task.train.images.device)
    few = replace(task.train, images=task.train.images[rows], labels=task.train.labels[rows])
    return tasks.Task(task.name, few, task.test, task.classes)


def rule(config: Config, name: str, net: nn.Module, sweep: Sweep) -> Optimizer:
    """The rule of a method, its constants one per replica where it can have them so."""
    method = METHODS[name]
    if method.kind is optim.SGD:
        return method.kind(net.parameters(), lr=sweep.settings[0]["lr"], **method.options)
    more = {"memory": config.memory} if method.kind is NATURAL else {}
    # Nine columns per image, of a thousand images too many for Cholesky.
    more |= {"tolerance": config.tolerance} if method.options.get("labels") == "exact" else {}
    return method.kind(net, sweep.column("lr"), sweep.column("damping"), **method.options, **more)


def trained(
    config: Config, session: Session, network: str, name: str, settings: Sequence[Mapping[str, float]], choosing: bool
) -> xarray.DataArray:
    """Training loss before every step, [setting, seed, step]; NaN for a replica that diverged."""
    task, seeds = task_of(config, choosing), config.selection if choosing else config.seeds
    hidden = config.hidden if network == "layers" else ()
    parts, numbers = list[xarray.DataArray](), list[int]()
    separate = ("lr",) if METHODS[name].kind is optim.SGD else ()
    for place, program in enumerate(Sweep(settings, seeds).programs(*separate)):
        sweep = program.sweep
        plain = synsim.mlp([task.inputs, *hidden, task.classes], p=1.0, replicas=sweep, device=config.device)
        net = kaiming(plain, sweep.seeds)
        phase = session.fit(
            f"{network}, {name}{', search' if choosing else ''}{f', {place}' if place else ''}", net,
            rule(config, name, net, sweep), [task], sweep=sweep, keep=False, tolerant=True, epochs=config.steps,
            batch=len(task.train), test_every_epoch=False, test_ahead=False, test=[],
        )  # fmt: skip
        loss = phase.dataset.loss.isel(task=0, drop=True).where(~phase.dataset.failed)
        parts.append(loss)
        numbers += program.numbers
    found: xarray.DataArray = xarray.concat(parts, "setting").isel(setting=np.argsort(numbers)).rename(epoch="step")
    return found.assign_coords(step=np.arange(config.steps))


def chosen(config: Config, session: Session, network: str, rule: str) -> xarray.Dataset:
    """A method on the reported seeds, with its own settings or those that a search chooses."""
    method = METHODS[rule]
    if network not in method.settings:
        return xarray.Dataset(
            {
                "loss": (("seed", "step"), np.full((len(config.seeds), config.steps), np.nan)),
                "lr": np.nan,
                "damping": np.nan,
            },
            {"seed": list(config.seeds), "step": np.arange(config.steps)},
        )
    settings = [dict(zip(("lr", "damping"), method.settings[network], strict=True))]
    if config.search:
        settings = [{"lr": lr, "damping": damping} for damping in method.dampings for lr in method.rates]
        # The second half and not the end: a run that jumps up on its way may end at exactly 0.
        late = trained(config, session, network, rule, settings, True).isel(step=slice(config.steps // 2, None))
        best = int(late.mean(("seed", "step"), skipna=False).fillna(np.inf).argmin("setting"))
        settings = settings[best : best + 1]
    loss = trained(config, session, network, rule, settings, False).isel(setting=0, drop=True)
    return xarray.Dataset({"loss": loss.drop_vars(["lr", "damping"], errors="ignore"), **settings[0]})


def measure(config: Config, session: Session) -> xarray.Dataset:
    """Curves of the training loss, [network, rule, seed, step]."""
    return nested(partial(chosen, config, session), network=config.networks, rule=config.methods)


def published(data: str, network: str, method: str, step: int) -> Published | None:
    """The published training loss at a step."""
    for figure in FIGURES.get((data, network), ()):
        curve = CURVES[figure].get(method)
        if curve is not None and step in curve.steps:
            return curve.at(step)
    return None


def rows(config: Config, dataset: xarray.Dataset) -> list[tables.Row]:
    """Training losses beside the published curves, and the order of the methods at the end."""
    steps, made = [step for step in AT if step < config.steps] or [config.steps - 1], []
    for network in config.networks:
        for name in config.methods:
            one = dataset.sel(network=network, rule=name)
            setting = {key: float(one[key]) for key in ("lr", "damping") if np.isfinite(one[key])}
            for step in steps if network in METHODS[name].settings else ():
                theirs, values = published(config.data, network, name, step), one.loss.sel(step=step).values
                made.append(
                    tables.row(f"{name}, {network}", f"training loss at step {step}", values, theirs, setting=setting)
                )
    logs = {
        (network, name): np.log10(dataset.loss.sel(network=network, rule=name).isel(step=-1).values)
        for network in config.networks for name in config.methods
    }  # fmt: skip
    pairs = {
        (network, a, b): (logs[network, a], logs[network, b])
        for network in config.networks for a, b in PAIRS if (network, a) in logs and (network, b) in logs
    }  # fmt: skip
    tests = statistics.family("log of the training loss at the end, against the next in order", pairs, paired=True)
    for (network, a, b), (first, second) in pairs.items():
        metric = "log10 of the training loss at the end, difference"
        made.append(tables.row(f"{a} − {b}, {network}", metric, first - second, test=tests.get((network, a, b))))
    return made


def remarks(config: Config, dataset: xarray.Dataset) -> list[str]:
    """The order that is published, and that of this run."""
    made = []
    for network in config.networks:
        ends = {
            name: float(dataset.loss.sel(network=network, rule=name).isel(step=-1).mean("seed"))
            for name in config.methods
        }
        named = sorted((loss, name) for name, loss in ends.items() if math.isfinite(loss))
        made.append(f"{network}: " + " < ".join(f"{name} {loss:.2g}" for loss, name in named))
    return made


EXPERIMENT = Experiment(Config, measure, rows, __doc__, remarks)

if __name__ == "__main__":
    EXPERIMENT.main()
