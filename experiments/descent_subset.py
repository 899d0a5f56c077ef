"""Descent on a thousand images with exact gradients and curvature (Benzing 2022, Fig. 5.1D, 5.2A and 5.2C).

Full batches, so that nothing is sampled but the labels of "natural" and "kfac-subsampled": the Fisher of "natural-full"
is exact, and no average over steps is taken. With one layer (logistic regression) a block-diagonal Fisher is the whole
one. Rates and dampings are the published ones, but for KFAC's with hidden layers (see docs/searches.md); `--search`
tries a grid anew, as replicas of one program, on seeds and images that are not reported.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import xarray
from common import Pair, StepsConfig, choice, nested, paired, some_of, swept
from descent_common import Method, layers, published, standardised
from torch import optim

import synsim
from synsim import Sweep, streams, tables, tasks
from synsim.experiment import Experiment, Session, by_preset, option
from synsim.papers import benzing2022 as paper

AT = (20, 50, 75, 99)


@dataclass(frozen=True)
class Searched(Method):
    """A method, and the rates and dampings that a search tries; NaN: it has none."""

    rates: tuple[float, ...] = ()
    dampings: tuple[float, ...] = (math.nan,)


def natural(search: tuple[tuple[float, ...], ...], **options: object) -> Searched:
    """Natural gradients whose Fisher is that of the images themselves."""
    return Searched(synsim.NaturalGradient, {"batch": "same", **options}, False, *search)


ALONE = {"average": 0.0, "period": 1, "warmup": 1, "scale": "mean"}
SGD, TENTHS = (0.01, 0.03, 0.1), (1e-2, 0.1, 1.0)
DRAWN, FULL = ((*SGD, 0.3), TENTHS), ((0.03, 0.1, 0.3), TENTHS)
METHODS = {
    "sgd": Searched(optim.SGD, rates=SGD),
    "sgd-momentum": Searched(optim.SGD, {"momentum": paper.MOMENTUM}, rates=SGD),
    "natural": natural(DRAWN),
    "natural-full": natural(FULL, labels="exact"),
    "natural-blocks": natural(DRAWN, blocks=True),
    "natural-blocks-full": natural(FULL, labels="exact", blocks=True),
    "kfac-subsampled": Searched(synsim.KFAC, ALONE, False, (3e-4, 1e-3, 3e-3, *SGD), (1e-7, 1e-5, 1e-3)),
    "foof-subsampled": Searched(synsim.FOOF, ALONE, False, (0.1, 0.3, 1.0, 3.0), TENTHS),
}
QUICK = tuple(name for name in METHODS if name != "natural-blocks-full")
PAIRS = (("kfac-subsampled", "natural-full"), ("natural-full", "sgd-momentum"), ("natural", "sgd-momentum"))


class Config(StepsConfig):
    data: str = option("fashion-mnist", "data set: fashion-mnist, or mnist for the twins; or another", neutral=True)
    seeds: tuple[int, ...] = by_preset("one replica per seed", quick=(0,), paper=(0, 1, 2))
    networks: tuple[str, ...] = some_of(("layers", "logistic"), "networks")
    methods: tuple[str, ...] = some_of(METHODS, "methods", quick=QUICK)
    hidden: tuple[int, ...] = by_preset(
        "widths of the hidden layers", quick=(300, 300, 300), paper=paper.DESCENT_HIDDEN
    )
    images: int = option(paper.SUBSET, "training images")
    steps: int = option(paper.SUBSET_STEPS, "steps, each on all images")
    batch: int | None = option(None, "all images are one batch", unused=True)
    memory: float = option(4096.0, "MiB for Gram matrices of sampled Fishers", neutral=True)
    tolerance: float = option(1e-6, "residual, relative, at which conjugate gradients solve for an exact Fisher")
    search: bool = option(False, "choose rate and damping anew", neutral=True)
    selection: tuple[int, ...] = option((101,), "seeds that choose", chooses=True)
    selection_images: int = option(200, "images of the search, other ones than those that are reported")


def task_of(config: Config, choosing: bool) -> tasks.Task:
    """Some training images, drawn once for all seeds; those that choose come after those that are reported."""
    task = standardised(config)
    order = streams.permutation(streams.keys("order", (0,), "subset"), len(task.train))[0]
    shown = slice(config.images, config.images + config.selection_images) if choosing else slice(config.images)
    rows = order[shown].to(task.train.images.device)
    few = replace(task.train, images=task.train.images[rows], labels=task.train.labels[rows])
    return tasks.Task(task.name, few, task.test, task.classes)


def constants(network: str, name: str) -> paper.Descent | None:
    """Rate and damping of a method for curvature that is a mean over images; None: it isn't for this network."""
    ours = {
        ("layers", "kfac-subsampled"): paper.Descent(0.01, 3e-3),
        ("layers", "foof-subsampled"): paper.Descent(0.5, 0.5),
        ("logistic", "foof-subsampled"): paper.Descent(0.5, 0.5),
    }
    found = ours.get((network, name)) or paper.descent(network).get(name)
    summed = name in ("natural-full", "natural-blocks-full", "kfac-subsampled") and (network, name) not in ours
    if found is None or found.damping is None or not summed:
        return found
    # What is published of these belongs to sums over all images, and not to means (docs/searches.md).
    return paper.Descent(found.lr / paper.SUBSET, found.damping / paper.SUBSET)


def trained(
    config: Config, session: Session, network: str, name: str, settings: Sequence[Mapping[str, float]], choosing: bool
) -> xarray.DataArray:
    """Training loss before every step, [setting, seed, step]; NaN for a replica that diverged."""
    task, method = task_of(config, choosing), METHODS[name]
    more = {"memory": config.memory} if method.kind is synsim.NaturalGradient else {}
    # Nine columns per image, of a thousand images too many for Cholesky.
    more |= {"tolerance": config.tolerance} if method.options.get("labels") == "exact" else {}

    def run(sweep: Sweep, phase: str) -> xarray.Dataset:
        net = layers(task, config.hidden if network == "layers" else (), sweep)
        made = session.fit(
            phase, net, method.rule(net, sweep, **more), [task], sweep=sweep, keep=False, tolerant=True,
            epochs=config.steps, batch=len(task.train), test_every_epoch=False, test_ahead=False, test=[],
        )  # fmt: skip
        return made.dataset[["loss", "failed"]].isel(task=0, drop=True)

    seeds, phase = (config.selection, ", search") if choosing else (config.seeds, "")
    found = swept(run, settings, seeds, *method.separate, phase=f"{network}, {name}{phase}")
    found = found.rename(epoch="step").assign_coords(step=np.arange(config.steps))
    return found["loss"].where(~found.failed)


def chosen(config: Config, session: Session, network: str, rule: str) -> xarray.Dataset:
    """A method on the reported seeds, with its own settings or those that a search chooses."""
    method, own = METHODS[rule], constants(network, rule)
    if own is None:
        axes = {"seed": list(config.seeds), "step": np.arange(config.steps)}
        return xarray.Dataset({"loss": xarray.DataArray(np.nan, axes, list(axes)), "lr": np.nan, "damping": np.nan})
    settings = [{"lr": own.lr, "damping": math.nan if own.damping is None else own.damping}]
    if config.search:
        settings = [{"lr": lr, "damping": damping} for damping in method.dampings for lr in method.rates]
        # The second half and not the end: a run that jumps up on its way may end at exactly 0.
        best = choice(trained(config, session, network, rule, settings, True).isel(step=slice(config.steps // 2, None)))
        settings = settings[best : best + 1]
    loss = trained(config, session, network, rule, settings, False).isel(setting=0, drop=True)
    return xarray.Dataset({"loss": loss.drop_vars(["lr", "damping"], errors="ignore"), **settings[0]})


def measure(config: Config, session: Session) -> xarray.Dataset:
    """Curves of the training loss, [network, rule, seed, step]."""
    return nested(partial(chosen, config, session), network=config.networks, rule=config.methods)


def rows(config: Config, dataset: xarray.Dataset) -> list[tables.Row]:
    """Training losses beside the published curves, and the order of the methods at the end."""
    steps, pairs = [step for step in AT if step < config.steps] or [config.steps - 1], dict[str, Pair]()
    made = []
    for network in config.networks:
        curves = [paper.CURVES[figure] for figure in paper.FIGURES.get((config.data, network), ())]
        for name in config.methods:
            one = dataset.sel(network=network, rule=name)
            setting = {key: float(one[key]) for key in ("lr", "damping") if np.isfinite(one[key])}
            for step in steps if constants(network, name) else ():
                values, theirs = one.loss.sel(step=step).values, published(curves, name, step)
                metric = f"training loss at step {step}"
                made.append(tables.row(f"{name}, {network}", metric, values, theirs, setting=setting))
        logs = {name: np.log10(dataset.loss.sel(network=network, rule=name).values[:, -1]) for name in config.methods}
        pairs |= {f"{a} − {b}, {network}": (logs[a], logs[b]) for a, b in PAIRS if {a, b} <= logs.keys()}
    family = "log of the training loss at the end, against the next in order"
    return made + paired(family, "log10 of the training loss at the end, difference", pairs)


def remarks(config: Config, dataset: xarray.Dataset) -> list[str]:
    """The order that is published, and that of this run."""
    made, ends = [], dataset.loss.isel(step=-1).mean("seed")
    for network in config.networks:
        each = [(float(ends.sel(network=network, rule=name)), name) for name in config.methods]
        named = sorted((loss, name) for loss, name in each if math.isfinite(loss))
        made.append(f"{network}: " + " < ".join(f"{name} {loss:.2g}" for loss, name in named))
    return made


EXPERIMENT = Experiment(Config, measure, rows, __doc__, remarks)

if __name__ == "__main__":
    EXPERIMENT.main()
