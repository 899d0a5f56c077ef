"""Training loss of descent on neurons and its second-order relatives (Benzing 2022, Fig. 5.1A–C, 5.2B, 5.3A, 5.4B).

784-1000-1000-1000-10 without biases on Fashion-MNIST, or MNIST for the twins Fig. 5.6 to 5.9, batches of 100, constant
rates and dampings. Every method has its published constants, which were tuned for Fashion-MNIST; `--rates` and
`--dampings` try multiples of them as replicas of one program, and choose on `--selection`. The quick preset ends after
the three epochs that Fig. 5.3 shows, and leaves out the expensive methods unless `--methods` names them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
import xarray
from common import load, nested
from descent_common import Windows, kaiming, standardised
from torch import Tensor, nn
from torch.optim import Optimizer

import synsim
from synsim import Sweep, statistics, tables, tasks
from synsim.experiment import Experiment, PresetConfig, Presets, option
from synsim.papers import Published
from synsim.papers.benzing2022 import (
    AVERAGE,
    CURVES,
    DESCENT,
    DESCENT_BATCH,
    DESCENT_EPOCHS,
    DESCENT_HIDDEN,
    MOMENTUM,
    WARMUP,
    Descent,
)
from synsim.tasks import Task
from synsim.training import Session

FIGURES = {"fashion-mnist": ("5.1A", "5.1B", "5.1C", "5.2B", "5.3A", "5.4B"), "mnist": ("5.6A", "5.8A", "5.9B")}
CONSTANTS = {name: each for figure in FIGURES["fashion-mnist"] for name, each in DESCENT[figure].items()}
Settings = Sequence[Mapping[str, float]]
AVERAGED = {"average": AVERAGE, "warmup": WARMUP}


@dataclass(frozen=True)
class Method:
    """A rule with its options.

    Attributes:
        kind: which rule.
        options: what it is told beside rate and damping.
        like: the method whose constants it has; empty: its own.
        often: whether it inverts as often as `--period` says.
    """

    kind: Callable[..., Optimizer]
    options: Mapping[str, Any]
    like: str = ""
    often: bool = False

    @property
    def of_torch(self) -> bool:
        """Whether it takes one rate for all replicas, and no damping."""
        return self.kind in (torch.optim.SGD, torch.optim.Adam)


METHODS = {
    "sgd-momentum": Method(torch.optim.SGD, {"momentum": MOMENTUM}),
    "adam": Method(torch.optim.Adam, {}),
    "kfac": Method(synsim.KFAC, AVERAGED, often=True),
    "kfac-low": Method(synsim.KFAC, AVERAGED, often=True),
    "kfac-standard": Method(synsim.KFAC, {**AVERAGED, "damp": "standard", "period": 100}),
    "kfac-subsampled": Method(synsim.KFAC, {"average": 0.0, "period": 1, "warmup": 1}),
    "kfac-empirical": Method(synsim.KFAC, {**AVERAGED, "labels": "empirical"}, "kfac", often=True),
    "foof-1": Method(synsim.FOOF, {**AVERAGED, "period": 1}),
    "foof-100": Method(synsim.FOOF, {**AVERAGED, "period": 100}),
}
QUICK = ("sgd-momentum", "adam", "foof-100", "kfac", "kfac-standard")
NEURONS, WEIGHTS = ("foof-100", "kfac"), ("sgd-momentum", "adam")
RATIOS = (("natural", "kfac"), ("kfac-standard", "sgd-momentum"))
STEPS, SMOOTHED = (600, 1200, 1800, 3000, 6000), 100
# Replicas of one program, in MiB: weights, gradients, factors and their inverses of one.
MEMORY, EACH = 4000.0, 120.0


@dataclass(frozen=True, kw_only=True)
class Config(PresetConfig):
    """Options of this experiment."""

    CHOICES: ClassVar[tuple[str, ...]] = ("methods",)
    PRESETS: ClassVar[Presets] = {
        "quick": {"epochs": 3, "period": 50, "methods": QUICK},
        "paper": {"epochs": DESCENT_EPOCHS, "period": 1, "methods": tuple(METHODS)},
    }
    data: str = option("fashion-mnist", "data set: fashion-mnist, or mnist for the twins; or another", neutral=True)
    out: str = option("runs/descent", "folder of the run")
    methods: tuple[str, ...] = option((), "methods (default: from the preset)", tuple(METHODS), neutral=True)
    hidden: tuple[int, ...] = option(DESCENT_HIDDEN, "widths of the hidden layers")
    batch: int = option(DESCENT_BATCH, "examples per step")
    epochs: int = option(None, "passes over the data (default: from the preset)")
    period: int = option(None, "steps from one inversion of KFAC to the next (default: from the preset)")
    rates: tuple[float, ...] = option((1.0,), "learning rates, as multiples of what is published")
    dampings: tuple[float, ...] = option((1.0,), "dampings, as multiples of what is published; rates go along")
    selection: tuple[int, ...] = option((101, 102), "seeds that choose among several settings, and are not reported")

    def __post_init__(self) -> None:
        """Check that no seed chooses and is reported."""
        super().__post_init__()
        both = sorted(set(self.selection) & set(self.seeds))
        if both:
            raise ValueError(f"seeds {both} are in --selection and in --seeds; settings must be chosen on others.")


def constants(name: str) -> Descent:
    """What is published for a method, or for the one that it is like."""
    return CONSTANTS[METHODS[name].like or name]


def settings_of(config: Config, name: str) -> list[dict[str, float]]:
    """What is tried of a method: multiples of rate and damping, and what they make of its constants.

    The rate is a multiple of the damping's, so that large dampings do not stand still.
    """
    base = constants(name)
    damped = base.damping is not None
    return [
        {"rate": rate, "damped": much, "lr": base.lr * rate * much, "damping": (base.damping or np.nan) * much}
        for much in (config.dampings if damped else (1.0,))
        for rate in config.rates
    ]  # fmt: skip


def rule(config: Config, name: str, net: nn.Module, sweep: Sweep, task: Task) -> Optimizer:
    """The rule of a method, its constants one per replica where it can have them so, and its averages filled."""
    method = METHODS[name]
    if method.of_torch:
        return method.kind(net.parameters(), lr=sweep.settings[0]["lr"], **method.options)
    often = {"period": config.period} if method.often else {}
    made = method.kind(net, sweep.column("lr"), sweep.column("damping"), **method.options, **often)
    if isinstance(made, synsim.FOOF | synsim.KFAC):
        # Here and not by `fit`, to which a window is an epoch, and too few batches.
        order = tasks.epoch_order(sweep.seeds, 0, 0, len(task.train))
        made.warm_up(task.batch(rows) for rows in tasks.batches(order, config.batch))
    return made


def tested(net: nn.Module, task: Task) -> Tensor:
    """Test accuracy, [R]."""
    return synsim.meters.accuracy(net, task.test, task.test.y, samples=1)


def trained(config: Config, session: Session, name: str, settings: Settings, seeds: Sequence[int]) -> xarray.Dataset:
    """Settings of a method on some seeds; loss [setting, seed, step]."""
    (task,) = tasks.single(standardised(load(config)), device=config.device)
    windows = Windows.of(task, config.batch)
    cut = tasks.Task(task.name, task.train, task.test, task.classes, stream=windows)
    choosing = ", chosen among" if seeds == config.selection else ""
    parts: list[xarray.Dataset] = []
    numbers: list[int] = []
    separate = ("lr",) if METHODS[name].of_torch else ()
    for place, program in enumerate(Sweep(settings, seeds).programs(*separate, memory=MEMORY, each=EACH)):
        sweep = program.sweep
        sizes = [task.inputs, *config.hidden, task.classes]
        net = kaiming(synsim.mlp(sizes, p=1.0, replicas=sweep, device=config.device), sweep.seeds)
        phase = session.fit(
            f"{name}{choosing}{f', {place}' if place else ''}", net, rule(config, name, net, sweep, task), [cut],
            # That a large rate diverges is its result.
            sweep=sweep, keep=False, tolerant=True, epochs=config.epochs * windows.per_epoch, batch=config.batch,
            tested_by=tested, test_every_epoch=False, test_ahead=False,
        )  # fmt: skip
        found = phase.dataset.isel(task=0, after_task=0, test_task=0, drop=True)
        each = 1000 * float(found.seconds.sum()) / sweep.replicas
        parts.append(found[["loss", "accuracy", "failed"]].assign(milliseconds=("setting", [each] * len(sweep))))
        numbers += program.numbers
    found = xarray.concat(parts, "setting").isel(setting=np.argsort(numbers)).rename(epoch="step")
    found["loss"] = found.loss.where(~found.failed)
    steps = windows.count // config.batch * np.arange(1, found.sizes["step"] + 1)
    return found.assign(milliseconds=found.milliseconds / steps[-1]).assign_coords(step=steps)


def smooth(loss: xarray.DataArray, step: int) -> xarray.DataArray:
    """Mean loss of the steps before one: the last hundred, or as many as there are."""
    return loss.where((loss.step > step - SMOOTHED) & (loss.step <= step), drop=True).mean("step", skipna=False)


def chosen(config: Config, session: Session, rule: str) -> xarray.Dataset:
    """The best setting of a method on the reported seeds, and the loss at the end of all on those that choose."""
    settings, best, made = settings_of(config, rule), 0, xarray.Dataset()
    if len(settings) > 1:
        tried = trained(config, session, rule, settings, config.selection)
        ends = smooth(tried.loss, int(tried.step[-1]))
        best = int(ends.mean("seed", skipna=False).fillna(np.inf).argmin("setting"))
        grid = ends.drop_vars(["lr", "damping"]).set_index(setting=["damped", "rate"]).unstack("setting")
        made["tried"] = grid.rename(seed="selection")
    own = trained(config, session, rule, settings[best : best + 1], config.seeds).isel(setting=0)
    own = own.drop_vars(["setting", *settings[0]], errors="ignore")
    made = made.assign(loss=own.loss, accuracy=own.accuracy.where(~own.failed), milliseconds=own.milliseconds)
    return made.assign({f"chosen_{key}": settings[best][key] for key in ("lr", "damping")})


def measure(config: Config, session: Session) -> xarray.Dataset:
    """Curves of the training loss, [rule, seed, step]."""
    return nested(partial(chosen, config, session), rule=config.methods)


def published(data: str, method: str, step: int) -> Published | None:
    """The published training loss at a step."""
    for figure in FIGURES.get(data, ()):
        if method in CURVES[figure] and step in CURVES[figure][method].steps:
            return CURVES[figure][method].at(step)
    return None


def rows(config: Config, dataset: xarray.Dataset) -> list[tables.Row]:
    """Training losses beside the published curves, test accuracy, and descent on neurons against that on weights."""
    made, last = [], int(dataset.step[-1])
    steps = [step for step in STEPS if step <= last] or [last]
    for name in config.methods:
        one = dataset.sel(rule=name)
        setting = {key: float(one[f"chosen_{key}"]) for key in ("lr", "damping") if np.isfinite(one[f"chosen_{key}"])}
        for step in steps:
            theirs, values = published(config.data, name, step), smooth(one.loss, step).values
            made.append(tables.row(name, f"training loss at step {step}", values, theirs, setting=setting))
        made.append(tables.row(name, "test accuracy, %", 100 * one.accuracy.values, setting=setting))
    ends = {name: smooth(dataset.loss.sel(rule=name), last).values for name in config.methods}
    pairs = {(a, b): (ends[a], ends[b]) for a in NEURONS for b in WEIGHTS if a in ends and b in ends}
    tests = statistics.family("training loss at the end: descent on neurons and on weights", pairs, paired=True)
    for (a, b), (first, second) in pairs.items():
        metric = f"training loss at step {last}, difference"
        made.append(tables.row(f"{a} − {b}", metric, first - second, test=tests.get((a, b))))
    for a, b in RATIOS:
        for step in steps if a in ends and b in ends else ():
            first, second = (smooth(dataset.loss.sel(rule=name), step).values for name in (a, b))
            made.append(tables.row(f"{a} / {b}", f"training loss at step {step}, ratio", first / second))
    return made + (tried(config, dataset, last) if "tried" in dataset else [])


def tried(config: Config, dataset: xarray.Dataset, last: int) -> list[tables.Row]:
    """The loss at the end with every damping at its best rate, on the seeds that choose."""
    made = []
    for name in config.methods:
        of, base = dataset.tried.sel(rule=name), constants(name)
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
    made = []
    for name in config.methods:
        one = dataset.sel(rule=name)
        if "tried" in dataset:
            made.append(f"{name}: lr {float(one.chosen_lr):g}, damping {float(one.chosen_damping):g} were chosen.")
    each = ", ".join(f"{name} {float(dataset.milliseconds.sel(rule=name)):.0f}" for name in config.methods)
    return [*made, f"Milliseconds per step and replica: {each}."]


EXPERIMENT = Experiment(Config, measure, rows, __doc__, remarks)

if __name__ == "__main__":
    EXPERIMENT.main()
