"""What the experiments on descent on neurons share: networks, rules by their names, curves of the training loss."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import xarray
from common import choice, load, nested, swept
from torch import Tensor, nn
from torch.optim import Optimizer

import synsim
from synsim import Sweep, streams, tasks
from synsim.data.load import SCALES
from synsim.experiment import PresetConfig, Session
from synsim.papers import Published
from synsim.papers.benzing2022 import DESCENT_SCALE, Curve, Descent

WINDOW = 10
"""Steps from one point of a curve of the training loss to the next."""
SMOOTHED = 100
# Replicas of one program, in MiB: weights, gradients, factors and their inverses of one.
MEMORY, EACH = 4000.0, 120.0
Settings = Sequence[Mapping[str, float]]


@dataclass(frozen=True)
class Windows:
    """Whole epochs of examples, cut into windows of `count`: one is an epoch of `fit`, which keeps its mean loss."""

    count: int
    examples: int

    @staticmethod
    def of(task: tasks.Task, batch: int, most: int = WINDOW) -> "Windows":
        """Windows of ten batches, or as many as are asked for, or fewer where an epoch is shorter."""
        steps = len(task.train) // batch
        return Windows(min(most, steps) * batch, len(task.train))

    @property
    def per_epoch(self) -> int:
        """Windows in a whole epoch; what is left over is not shown."""
        return self.examples // self.count

    def __call__(self, seeds: Sequence[int], epoch: int, *, independent: bool = False) -> Tensor:
        """Indices of the examples of a window, int64 [R, count]."""
        whole, place = divmod(epoch, self.per_epoch)
        shown = _order(tuple(seeds), whole, self.examples, independent)
        return shown[:, place * self.count : (place + 1) * self.count]


@lru_cache(maxsize=2)
def _order(seeds: tuple[int, ...], epoch: int, examples: int, independent: bool) -> Tensor:
    draw = tasks.independent_order if independent else tasks.epoch_order
    return draw(seeds, 0, epoch, examples)


def standardised(config: PresetConfig) -> tasks.Task:
    """The data as one task; pixels standardised by MNIST's mean and deviation, as published, but for other data."""
    data = load(config)
    if data.name in ("mnist", "fashion-mnist"):
        mean, sd = SCALES[DESCENT_SCALE]
        data = replace(data, mean=mean, sd=sd)
    return tasks.single(data, device=config.device)[0]


def kaiming(net: nn.Module, seeds: Sequence[int], gain: float = math.sqrt(2)) -> nn.Module:
    """Normal weights of variance gain² / inputs in every layer, a function of seed and name of the layer."""
    for name, layer in synsim.synapses(net).items():
        drawn = streams.uniform(streams.keys("init", seeds, f"{name}.normal"), layer.weight[0].numel())
        normal = torch.special.ndtri(drawn.double().clamp_min(2.0**-33)).reshape(layer.weight.shape)
        with torch.no_grad():
            layer.weight.copy_(normal * gain / math.sqrt(layer.weight.shape[-1]))
    return net


def layers(task: tasks.Task, hidden: Sequence[int], sweep: Sweep) -> nn.Module:
    """Layers without biases for a task, with their first weights."""
    sizes = [task.inputs, *hidden, task.classes]
    return kaiming(synsim.mlp(sizes, p=1.0, replicas=sweep, device=task.train.images.device), sweep.seeds)


@dataclass(frozen=True)
class Method:
    """A rule with its options beside rate and damping; if often, it inverts as often as `--period` says."""

    kind: Callable[..., Optimizer]
    options: Mapping[str, Any] = field(default_factory=dict)
    often: bool = False

    @property
    def separate(self) -> tuple[str, ...]:
        """Constants of which it takes one for all replicas."""
        return ("lr",) if self.kind in (torch.optim.SGD, torch.optim.Adam) else ()

    def rule(self, net: nn.Module, sweep: Sweep, **more: Any) -> Optimizer:
        """The rule for a network, with the settings of a sweep."""
        if self.separate:
            return self.kind(net.parameters(), lr=sweep.settings[0]["lr"], **self.options)
        return self.kind(net, sweep.column("lr"), sweep.column("damping"), **self.options, **more)


def multiples(base: Descent, rates: Sequence[float], dampings: Sequence[float]) -> list[dict[str, float]]:
    """Settings around one: multiples of rate and damping, and what they make of them.

    The rate is a multiple of the damping's, so that large dampings do not stand still.
    """
    return [
        {"rate": rate, "damped": much, "lr": base.lr * rate * much, "damping": (base.damping or math.nan) * much}
        for much in (dampings if base.damping is not None else (1.0,))
        for rate in rates
    ]


@dataclass(frozen=True)
class Study:
    """Training losses of one network under several rules.

    Attributes:
        network: sweep -> network.
        constants: rate and damping of each, which those of the config are multiples of.
        options: further ones of `fit`.
    """

    config: Any
    session: Session
    task: tasks.Task
    network: Callable[[Sweep], nn.Module]
    methods: Mapping[str, Method]
    constants: Mapping[str, Descent]
    options: Mapping[str, Any]

    def rule(self, name: str, net: nn.Module, sweep: Sweep) -> Optimizer:
        """The rule of a method, its averages filled."""
        method = self.methods[name]
        made = method.rule(net, sweep, **({"period": self.config.period} if method.often else {}))
        if isinstance(made, synsim.FOOF | synsim.KFAC) and made.warmup:
            # Here and not by `fit`, to which a window is an epoch, and too few batches.
            order = tasks.epoch_order(sweep.seeds, 0, 0, len(self.task.train))
            made.warm_up(self.task.batch(rows) for rows in tasks.batches(order, self.config.batch))
        return made

    def trained(self, name: str, settings: Settings, seeds: Sequence[int]) -> xarray.Dataset:
        """Settings of a method on some seeds; loss [setting, seed, step]."""
        config, windows = self.config, Windows.of(self.task, self.config.batch)
        cut = replace(self.task, stream=windows)

        def run(sweep: Sweep, phase: str) -> xarray.Dataset:
            net = self.network(sweep)
            made = self.session.fit(
                phase, net, self.rule(name, net, sweep), [cut], sweep=sweep, keep=False, batch=config.batch,
                epochs=config.epochs * windows.per_epoch, test_every_epoch=False, test_ahead=False,
                # That a large rate diverges is its result.
                tolerant=True, **self.options,
            )  # fmt: skip
            found = made.dataset.isel(task=0, after_task=0, test_task=0, drop=True)
            each = 1000 * float(found.seconds.sum()) / sweep.replicas
            return found[["loss", "accuracy", "failed"]].assign(milliseconds=("setting", [each] * len(sweep)))

        separate, phase = self.methods[name].separate, f"{name}, chosen among" if seeds == config.selection else name
        found = swept(run, settings, seeds, *separate, phase=phase, memory=MEMORY, each=EACH).rename(epoch="step")
        found["loss"] = found.loss.where(~found.failed)
        steps = windows.count // config.batch * np.arange(1, found.sizes["step"] + 1)
        return found.assign(milliseconds=found.milliseconds / steps[-1]).assign_coords(step=steps)

    def chosen(self, rule: str) -> xarray.Dataset:
        """A rule's best setting on the reported seeds, and the loss at the end of all on those that choose."""
        config, best, made = self.config, 0, xarray.Dataset()
        settings = multiples(self.constants[rule], config.rates, config.dampings)
        if len(settings) > 1:
            tried = self.trained(rule, settings, config.selection)
            ends = smooth(tried.loss, int(tried.step[-1]))
            best = choice(ends)
            grid = ends.drop_vars(["lr", "damping"]).set_index(setting=["damped", "rate"]).unstack("setting")
            made["tried"] = grid.rename(seed="selection")
        own = self.trained(rule, settings[best : best + 1], config.seeds).isel(setting=0)
        own = own.drop_vars(["setting", *settings[0]], errors="ignore")
        made = made.assign(loss=own.loss, accuracy=own.accuracy.where(~own.failed), milliseconds=own.milliseconds)
        return made.assign({f"chosen_{key}": settings[best][key] for key in ("lr", "damping")})

    def curves(self) -> xarray.Dataset:
        """All methods of the config, [rule, seed, step]."""
        return nested(self.chosen, rule=self.config.methods)


def smooth(loss: xarray.DataArray, step: int) -> xarray.DataArray:
    """Mean loss of the steps before one: the last hundred, or as many as there are, or the window that ends there."""
    width = max(SMOOTHED, float(loss.step[0]))
    return loss.where((loss.step > step - width) & (loss.step <= step), drop=True).mean("step", skipna=False)


def losses_at(dataset: xarray.Dataset, step: int) -> dict[str, "np.ndarray[Any, Any]"]:
    """Training loss of every rule at a step, smoothed: rule -> [seed]."""
    return {str(rule): smooth(dataset.loss.sel(rule=rule), step).values for rule in dataset.rule.values}


def published(curves: Iterable[Mapping[str, Curve]], method: str, step: int) -> Published | None:
    """A method at a step in the first figure that shows it there."""
    shown = (figure[method] for figure in curves if method in figure)
    return next((curve.at(step) for curve in shown if step in curve.steps), None)


def chosen_setting(one: xarray.Dataset) -> dict[str, float]:
    """Rate and damping of a rule, for its rows."""
    values = {key: float(one[f"chosen_{key}"]) for key in ("lr", "damping")}
    return {key: value for key, value in values.items() if math.isfinite(value)}


def chosen_words(dataset: xarray.Dataset) -> dict[str, str]:
    """What was chosen for each rule, for the remarks."""
    each = {str(rule): chosen_setting(dataset.sel(rule=rule)) for rule in dataset.rule.values}
    return {rule: ", ".join(f"{key} {value:g}" for key, value in setting.items()) for rule, setting in each.items()}


def costs(dataset: xarray.Dataset) -> str:
    """What a step of each rule took, for the remarks."""
    each = (f"{rule} {float(dataset.milliseconds.sel(rule=rule)):.0f}" for rule in dataset.rule.values)
    return f"Milliseconds per step and replica: {', '.join(each)}."
