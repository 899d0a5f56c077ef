"""Training loss of descent on neurons and its second-order relatives (Benzing 2022, Fig. 5.1A–C, 5.2B, 5.3A, 5.4B).

784-1000-1000-1000-10 without biases on Fashion-MNIST, or MNIST for the twins Fig. 5.6 to 5.9, batches of 100, constant
rates and dampings. Every method has its published constants, which were tuned for Fashion-MNIST; `--rates` and
`--dampings` try multiples of them as replicas of one program, and choose on `--selection`. The quick preset ends after
the three epochs that Fig. 5.3 shows, and leaves out the expensive methods unless `--methods` names them.
"""

import itertools
from functools import partial

import descent_common as study
import torch
import xarray
from common import paired, some_of
from descent_common import Method

import synsim
from synsim import tables
from synsim.experiment import Experiment, PresetConfig, Session, by_preset, option
from synsim.papers import benzing2022 as paper

CONSTANTS = paper.descent("batches")
CONSTANTS |= {"kfac-empirical": CONSTANTS["kfac"]}
CONSTANTS |= dict.fromkeys(("natural-previous", "natural-same"), CONSTANTS["natural"])
AVERAGED = {"average": paper.AVERAGE, "warmup": paper.WARMUP}
METHODS = {
    "sgd-momentum": Method(torch.optim.SGD, {"momentum": paper.MOMENTUM}),
    "adam": Method(torch.optim.Adam),
    "natural": Method(synsim.NaturalGradient),
    "natural-previous": Method(synsim.NaturalGradient, {"batch": "previous"}),
    "natural-same": Method(synsim.NaturalGradient, {"batch": "same"}),
    "natural-1000": Method(synsim.NaturalGradient, {"images": 1000}),
    "natural-4000": Method(synsim.NaturalGradient, {"images": 4000}),
    "natural-blocks": Method(synsim.NaturalGradient, {"blocks": True}),
    "kfac": Method(synsim.KFAC, AVERAGED, often=True),
    "kfac-low": Method(synsim.KFAC, AVERAGED, often=True),
    "kfac-standard": Method(synsim.KFAC, {**AVERAGED, "damp": "standard", "period": 100}),
    "kfac-subsampled": Method(synsim.KFAC, {"average": 0.0, "period": 1, "warmup": 1}),
    "kfac-empirical": Method(synsim.KFAC, {**AVERAGED, "labels": "empirical"}, often=True),
    "foof-1": Method(synsim.FOOF, {**AVERAGED, "period": 1}),
    "foof-100": Method(synsim.FOOF, {**AVERAGED, "period": 100}),
}
QUICK = ("sgd-momentum", "adam", "foof-100", "kfac", "natural", "kfac-standard")
NEURONS, WEIGHTS = ("foof-100", "kfac"), ("sgd-momentum", "adam")
RATIOS = (("natural", "kfac"), ("kfac-standard", "sgd-momentum"))
STEPS = (600, 1200, 1800, 3000, 6000)


class Config(PresetConfig):
    selection: tuple[int, ...] = option((101, 102), "seeds that choose among several settings", chooses=True)
    epochs: int = by_preset("passes over each task", quick=3, paper=paper.DESCENT_EPOCHS)
    data: str = option("fashion-mnist", "data set: fashion-mnist, or mnist for the twins; or another", neutral=True)
    methods: tuple[str, ...] = some_of(METHODS, "methods", quick=QUICK)
    hidden: tuple[int, ...] = option(paper.DESCENT_HIDDEN, "widths of the hidden layers")
    batch: int = option(paper.DESCENT_BATCH, "examples per step")
    period: int = by_preset("steps from one inversion of KFAC to the next", quick=50, paper=1)
    rates: tuple[float, ...] = option((1.0,), "learning rates, as multiples of what is published")
    dampings: tuple[float, ...] = option((1.0,), "dampings, as multiples of what is published; rates go along")


def measure(config: Config, session: Session) -> xarray.Dataset:
    """Curves of the training loss, [rule, seed, step]."""
    task = study.standardised(config)
    network = partial(study.layers, task, config.hidden)
    return study.Study(config, session, task, network, METHODS, CONSTANTS, {"samples": 1}).curves()


def rows(config: Config, dataset: xarray.Dataset) -> list[tables.Row]:
    """Training losses beside the published curves, test accuracy, and descent on neurons against that on weights."""
    made, last = [], int(dataset.step[-1])
    steps = [step for step in STEPS if step <= last] or [last]
    losses = {step: study.losses_at(dataset, step) for step in steps}
    curves = [paper.CURVES[figure] for figure in paper.FIGURES.get((config.data, "batches"), ())]
    for name in config.methods:
        setting = study.chosen_setting(dataset.sel(rule=name))
        for step in steps:
            metric, theirs = f"training loss at step {step}", study.published(curves, name, step)
            made.append(tables.row(name, metric, losses[step][name], theirs, setting=setting))
        made.append(tables.row(name, "test accuracy, %", 100 * dataset.accuracy.sel(rule=name).values, setting=setting))
    ends = study.losses_at(dataset, last)
    couples = [pair for pair in itertools.product(NEURONS, WEIGHTS) if set(pair) <= ends.keys()]
    family = "training loss at the end: descent on neurons and on weights"
    pairs = {f"{a} − {b}": (ends[a], ends[b]) for a, b in couples}
    made += paired(family, f"training loss at step {last}, difference", pairs)
    for (a, b), step in itertools.product(RATIOS, steps):
        if {a, b} <= ends.keys():
            metric = f"training loss at step {step}, ratio"
            made.append(tables.row(f"{a} / {b}", metric, losses[step][a] / losses[step][b]))
    return made + (tried(config, dataset, last) if "tried" in dataset else [])


def tried(config: Config, dataset: xarray.Dataset, last: int) -> list[tables.Row]:
    """The loss at the end with every damping at its best rate, on the seeds that choose."""
    made = []
    for name in config.methods:
        of, base = dataset.tried.sel(rule=name), CONSTANTS[name]
        for much in of.damped.values:
            each = of.sel(damped=much)
            mean = each.mean("selection", skipna=False)
            if base.damping is not None and mean.notnull().any():
                rate = float(mean.idxmin("rate"))
                setting = {"damping": base.damping * much, "lr": base.lr * much * rate}
                metric = f"training loss at step {last}, on the seeds that choose"
                values = each.sel(rate=rate).transpose("selection").values
                made.append(tables.row(f"{name}, damping {setting['damping']:g}", metric, values, setting=setting))
    return made


def remarks(config: Config, dataset: xarray.Dataset) -> list[str]:
    """What was chosen, and the time."""
    chosen = study.chosen_words(dataset).items() if "tried" in dataset else ()
    made = [f"{name}: {told} chosen on seeds {list(config.selection)}." for name, told in chosen]
    return [*made, study.costs(dataset)]


EXPERIMENT = Experiment(Config, measure, rows, __doc__, remarks)

if __name__ == "__main__":
    EXPERIMENT.main()
