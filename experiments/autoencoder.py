"""An auto-encoder of MNIST: the thesis' own exception, where KFAC is ahead of FOOF (Benzing 2022, Fig. 5.18, 5.20).

784-1000-500-250-30-250-500-1000-784, tanh but for the code of 30 and the output, batches of 1,000, standardised pixels,
inversions every 10 steps. The paper states neither its loss nor its constants: here it is half the squared error summed
over pixels, so that outputs are means of Gaussians of variance 1, and tables hold the squared error per pixel. Every
rule has a grid of rates around constants found by hand, and chooses on seeds that are not reported.
"""

import itertools
from functools import partial

import descent_common as study
import numpy as np
import torch
import xarray
from common import load, paired, some_of
from descent_common import Method
from torch import Tensor, nn

import synsim
from synsim import Sweep, tables, tasks
from synsim.experiment import Experiment, PresetConfig, Session, by_preset, option
from synsim.papers import benzing2022 as paper

GAUSSIAN = {"likelihood": "gaussian"}
AVERAGED = {"average": paper.AVERAGE, "warmup": 10}
METHODS = {
    "sgd-momentum": Method(torch.optim.SGD, {"momentum": paper.MOMENTUM}),
    "adam": Method(torch.optim.Adam),
    "foof": Method(synsim.FOOF, AVERAGED, often=True),
    "kfac": Method(synsim.KFAC, {**AVERAGED, **GAUSSIAN}, often=True),
    # Averages begin with the first batch, whose loss `fit` knows.
    "kfac-empirical": Method(synsim.KFAC, {"average": paper.AVERAGE, "warmup": 0, "labels": "empirical"}, often=True),
    "kfac-standard": Method(synsim.KFAC, {**AVERAGED, **GAUSSIAN, "damp": "standard"}, often=True),
    "natural": Method(synsim.NaturalGradient, GAUSSIAN),
}
# Found by hand (docs/searches.md).
RATES = {"sgd-momentum": 1e-3, "adam": 1e-3, "foof": 100.0, "kfac": 1.0, "kfac-empirical": 1.0, "kfac-standard": 0.3}
DAMPINGS = {"foof": 100.0, "kfac": 1.0, "kfac-empirical": 1.0, "kfac-standard": 1.0, "natural": 1.0}
CONSTANTS = {name: paper.Descent(rate, DAMPINGS.get(name)) for name, rate in {**RATES, "natural": 1e-3}.items()}
QUICK = ("sgd-momentum", "adam", "foof", "kfac", "kfac-empirical")
PAIRS = (("foof", "kfac"), ("kfac-empirical", "kfac"), ("adam", "foof"), ("sgd-momentum", "foof"))


class Config(PresetConfig):
    selection: tuple[int, ...] = option((101,), "seeds that choose among several settings", chooses=True)
    epochs: int = by_preset("passes over each task", quick=5, paper=paper.AUTOENCODER_EPOCHS)
    methods: tuple[str, ...] = some_of(METHODS, "methods", quick=QUICK)
    hidden: tuple[int, ...] = by_preset(
        "widths of the hidden layers, the code in the middle",
        quick=(200, 100, 30, 100, 200),
        paper=paper.AUTOENCODER_HIDDEN,
    )
    batch: int = option(paper.AUTOENCODER_BATCH, "examples per step")
    period: int = option(paper.AUTOENCODER_PERIOD, "steps from one inversion to the next")
    rates: tuple[float, ...] = option((0.3, 1.0, 3.0), "learning rates, as multiples of what was found by hand")
    dampings: tuple[float, ...] = option((1.0,), "dampings, as multiples of that; rates go along")


def network(config: Config, task: tasks.Task, sweep: Sweep) -> nn.Module:
    """Layers without biases; tanh after each but the code, which is the middle one, and the output."""
    sizes, layers = [task.inputs, *config.hidden, task.inputs], list[nn.Module]()
    for number, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        layers.append(synsim.BernoulliLinear(inputs, outputs, p=1.0, replicas=sweep.replicas, device=config.device))
        if number not in (len(config.hidden) // 2, len(config.hidden)):
            layers.append(nn.Tanh())
    net = synsim.networks.initialised(nn.Sequential(*layers), sweep.seeds, sweep=True)
    return study.kaiming(net, sweep.seeds, gain=1.0)


def half_squared(output: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Half the squared error of every replica, summed over pixels, mean over images."""
    return (output - x).square().sum(-1).mean(-1) / 2


def per_pixel(net: nn.Module, task: tasks.Task) -> Tensor:
    """Squared error per pixel of the test images, [R]."""
    total = torch.zeros(1, dtype=torch.float64, device=task.test.images.device)
    with torch.no_grad():
        for start in range(0, len(task.test), 1000):
            x = task.test[start : start + 1000]
            total = total + (net(x) - x).square().mean(-1).double().sum(-1)
    return total / len(task.test)


def measure(config: Config, session: Session) -> xarray.Dataset:
    """Curves of the squared error per pixel, [rule, seed, step]."""
    (task,) = tasks.single(load(config), device=config.device)
    options = {"objective": half_squared, "tested_by": per_pixel}
    plan = study.Study(config, session, task, partial(network, config, task), METHODS, CONSTANTS, options)
    found = plan.curves().rename(accuracy="test_error")
    return found.assign({name: 2 * found[name] / task.inputs for name in ("loss", "tried") if name in found})


def rows(config: Config, dataset: xarray.Dataset) -> list[tables.Row]:
    """Squared errors at the end of training and on test images, and pairs of rules."""
    made, ends = [], study.losses_at(dataset, int(dataset.step[-1]))
    for name in config.methods:
        one, theirs = dataset.sel(rule=name), paper.AUTOENCODER.get(name) if config.data == "mnist" else None
        setting = study.chosen_setting(one)
        made.append(tables.row(name, "squared error per pixel, training", ends[name], theirs, setting=setting))
        made.append(tables.row(name, "squared error per pixel, test", one.test_error.values, setting=setting))
    pairs = {f"{a} − {b}": (ends[a], ends[b]) for a, b in PAIRS if {a, b} <= ends.keys()}
    return made + paired("squared error at the end: pairs of rules", "squared error per pixel, difference", pairs)


def remarks(config: Config, dataset: xarray.Dataset) -> list[str]:
    """What was chosen, whether at an end of the grid of rates, and the time."""
    chosen = "; ".join(f"{name} {told}" for name, told in study.chosen_words(dataset).items())
    made = [f"Chosen on seeds {list(config.selection)}: {chosen}."]
    ends = [min(config.rates), max(config.rates)] if len(config.rates) > 1 else []
    rates = {name: float(dataset.chosen_lr.sel(rule=name)) / CONSTANTS[name].lr for name in config.methods}
    at = [name for name, rate in rates.items() if np.isclose(rate, ends, rtol=1e-6, atol=0).any()]
    made += [f"At an end of the grid of rates: {', '.join(at)}."] if at else []
    return [*made, study.costs(dataset)]


EXPERIMENT = Experiment(Config, measure, rows, __doc__, remarks)

if __name__ == "__main__":
    EXPERIMENT.main()
