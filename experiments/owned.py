"""Tasks that own synapses on Permuted MNIST: PackNet, EfficientPackNet with powerpropagated weights (S004, Fig. 4).

A task claims a part of one network and is tested under its own mask, so that old tasks do not change by one bit, and a
test must know its task. Beside them: one network after the other (naive), a network of its own for every task (single,
the upper bound), and any importance under any other consolidation. Settings × seeds are replicas of one program; one
core needs about a minute for a replica of the quick preset. The paper's 300 tasks are 1.3 million steps of a network of
two million weights: one core needs about a day for a replica, half of it for the tests of all old tasks after each new
one, and the bar says what is left of the steps.
"""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import xarray
from common import MEASURED, NetworkConfig, by_setting, importance_of, load, models, some_of
from lines import FINAL, rows_of
from torch import nn, optim
from torch.optim.lr_scheduler import LambdaLR

import synsim
from synsim import Sweep, consolidation, importance, statistics, tables, tasks
from synsim.experiment import Experiment, Protection, Session, by_preset, option
from synsim.papers import schwarz2021 as paper

OWNED = consolidation.available(owns=True)
ALIVE = 0.8
METHODS = ("single", "naive", *OWNED, *importance.available())
GAMMAS = (paper.EFFICIENT_GAMMA, 0.99)
EFFICIENT, MEASURES = ("methods", ("efficient-packnet",)), ("methods", importance.available())
KNOWN, USED = "accuracy over all tasks at the end, task known, %", "synapses used at the end, %"


class Config(NetworkConfig):
    epochs: int = by_preset("passes over each task", quick=1, paper=paper.FAR_EPOCHS)
    methods: tuple[str, ...] = some_of(METHODS, "methods to compare", ("single", "naive", *OWNED))
    tasks: int = by_preset("number of permuted tasks", quick=10, paper=paper.FAR_TASKS)
    hidden: tuple[int, ...] = by_preset("widths of the hidden layers", quick=(200, 200), paper=paper.FAR_HIDDEN)
    batch: int = option(paper.FAR_BATCH, "examples per step")
    alphas: tuple[float, ...] = option((1.0, 2.0, 3.0), "powers α; 1 is the plain network", of=EFFICIENT)
    gammas: tuple[float, ...] = by_preset(
        "shares γ of the dense accuracy to keep", phases=True, of=EFFICIENT, quick=GAMMAS, paper=GAMMAS[:1]
    )
    retrain: tuple[int, ...] = by_preset("epochs of retraining, each a setting", phases=True, quick=(0, 1), paper=(0,))
    reserve: float = option(0.0, "share of what is free that a task of efficient-packnet may not claim", of=EFFICIENT)
    rate: float = by_preset("Adam's learning rate for α = 1", quick=1e-3, paper=paper.FAR_RATE)
    factor: float = option(10.0, "factor of that for larger powers, whose weights start with small steps")
    retrain_factor: float = option(1.0, "factor of the rate while a task retrains")
    pad: int = by_preset("pixels around an image", least=0, quick=0, paper=paper.FAR_PAD)
    consolidation: str = option("penalty", "what importances feed", consolidation.available(owns=False), of=MEASURES)
    strength: float = option(1.0, "strength of that (freeze, mask: the share)", of=MEASURES)


def settings(config: Config) -> list[dict[str, Any]]:
    """All settings of all methods. Of several γ only the first is retrained with."""
    found = []
    for method in config.methods:
        powers = config.alphas if method == "efficient-packnet" else (1.0,)
        for retrain in config.retrain if method in OWNED else (0,):
            gammas = config.gammas[: 1 if retrain else None] if method == "efficient-packnet" else (1.0,)
            for gamma, alpha in itertools.product(gammas, powers):
                rate = config.rate if alpha == 1 else config.factor * config.rate
                found.append(
                    {"method": method, "alpha": alpha, "gamma": gamma, "retrain": retrain, "rate": rate}
                )  # fmt: skip
    return found


def label(setting: Mapping[str, Any]) -> str:
    """What a setting is called in the table."""
    efficient = " α = {alpha:g}, γ = {gamma:g}".format(**setting) if setting["method"] == "efficient-packnet" else ""
    again = {0: "", 1: ", retrained"}.get(setting["retrain"], ", {retrain} epochs retrained".format(**setting))
    return f"{setting['method']}{efficient}{again}"


def sequence_of(config: Config, seeds: tuple[int, ...]) -> list[tasks.Task]:
    """Permuted images with some held out; pixels around them are permuted, too."""
    data, pad = load(config), 4 * (config.pad,)
    data = replace(data, x_train=nn.functional.pad(data.x_train, pad), x_test=nn.functional.pad(data.x_test, pad))
    held_out = min(paper.HELD_OUT, len(data.x_train) // 10)
    return tasks.permuted(data, tasks=config.tasks, seeds=seeds, validation=held_out, device=config.device)


def protected(config: Config, program: synsim.sweep.Program, sequence: list[tasks.Task]) -> Protection:
    """What a method does about old tasks; Adam starts anew with each of them."""
    name, retrain = program.common["method"], program.common["retrain"]
    measured = how = None
    if name == "packnet":
        how = consolidation.make(name, tasks=len(sequence), retrain=retrain)
    elif name == "efficient-packnet":
        gamma = program.sweep.column("gamma")
        how = consolidation.make(name, gamma=gamma, retrain=retrain, reserve=config.reserve)
    elif name not in ("single", "naive"):
        argument = "share" if config.consolidation in ("freeze", "mask") else "strength"
        measured = importance_of(name, sequence, **({"images": 1000} if name in MEASURED else {}))
        how = consolidation.make(config.consolidation, **{argument: config.strength})
    return Protection(
        measured,
        how,
        reinitialise=_renewed if name == "single" else None,
        after_task={"energy": lambda net, task, found: synsim.meters.energy(net)},
        reset_optimiser=True,
    )


def _renewed(net: nn.Module, index: int) -> None:
    synsim.networks.redraw(net, draw=index)


def paced(config: Config, retrain: int) -> Callable[[optim.Optimizer], LambdaLR] | None:
    """The rate over the epochs of a task: another one while it retrains."""
    learning, factor = config.epochs, config.retrain_factor
    if not retrain or factor == 1:
        return None
    return lambda rule: LambdaLR(rule, lambda epoch: 1.0 if epoch % (learning + retrain) < learning else factor)


def learner(config: Config, program: synsim.sweep.Program, task: tasks.Task) -> tuple[nn.Module, optim.Optimizer]:
    """A network without biases, and Adam, whose steps are those of φ."""
    sizes = [task.inputs, *config.hidden, task.classes]
    net = synsim.mlp(sizes, p=1.0, replicas=program.sweep, device=config.device)
    adam = optim.Adam(net.parameters(), lr=program.common["rate"])
    return net, synsim.Powerpropagation(adam, program.sweep.column("alpha"), net=net)


def measure(config: Config, session: Session) -> xarray.Dataset:
    """Learn all tasks with all methods; settings that can be replicas of one program are."""
    every = Sweep(settings(config), config.seeds)
    found: dict[str, xarray.Dataset] = {}
    for program in every.programs("method", "gamma", "retrain", "rate"):
        sequence = sequence_of(config, program.sweep.seeds)
        net, rule = learner(config, program, sequence[0])
        phase = session.fit(
            "{method}, {gamma:g}, {retrain}, {rate:g}".format(**program.common),
            net,
            rule,
            sequence,
            seeds=program.sweep.seeds,
            epochs=config.epochs,
            batch=config.batch,
            scheduler=paced(config, program.common["retrain"]),
            test_every_epoch=False,
            test_ahead=False,
            protection=protected(config, program, sequence),
            tolerant=True,
            keep=False,
        )
        found |= by_setting(phase.dataset, program.sweep, map(label, program.sweep.settings))
    names = ("method", "alpha", "gamma", "retrain")
    named = {name: ("model", [one[name] for one in every.settings]) for name in names}
    return curves(models({name: found[name] for name in map(label, every.settings)})).assign_coords(named)


def curves(dataset: xarray.Dataset) -> xarray.Dataset:
    """With the mean accuracy over the tasks so far, after each task, and by how much the worst task has moved."""
    after = dataset.accuracy.transpose("model", "replica", "after_task", "test_task").values
    count = after.shape[-1]
    learned = np.diagonal(after, axis1=-2, axis2=-1)
    # A network of its own for every task is only asked about that one.
    single = (dataset.model == "single").values[:, None, None]
    so_far = np.stack([after[..., k, : k + 1].mean(-1) for k in range(count)], -1)
    alone = np.cumsum(learned, -1) / np.arange(1, count + 1)
    axes = ("model", "replica", "task")
    return dataset.assign(
        average=(axes, np.where(single, alone, so_far)),
        last=(axes, np.where(single, learned, after[..., -1, :])),
        moved=(("model", "replica"), np.where(single[..., 0], 0.0, np.abs(after[..., -1, :] - learned).max(-1))),
    )


def rows(config: Config, dataset: xarray.Dataset) -> list[tables.Row]:
    """Accuracy, what it takes of the network, and how far old tasks move; powers against α = 1."""
    good, made = dataset.where(~dataset.failed), []
    tests = compared(config, good)
    for setting in settings(config):
        name, method, one = label(setting), setting["method"], good.sel(model=label(setting))
        # Where a test must know the task, the table says so.
        overall = KNOWN if method in ("single", *OWNED) else FINAL
        alive = (one["last"] > ALIVE).where(~dataset.failed.sel(model=name)).sum("task", skipna=False)
        found = {overall: 100 * one.average.isel(task=-1), f"tasks above {ALIVE:.0%} at the end": alive}
        if method != "single":
            found["largest change of an old task, points"] = 100 * one.moved
        found["synaptic energy Σ|w̄| at the end"] = one.energy.isel(task=-1)
        if method in OWNED:
            found[USED] = 100 * one.used.isel(task=-1)
            for (place, which), what in itertools.product(((0, "first"), (-1, "last")), ("density", "claimed")):
                found[f"{what} of the {which} task, % of all synapses"] = 100 * one[what].isel(task=place)
            if bool((one.full == 1).any()):
                found["first task that found no synapse free (counted from 1)"] = first_full(one)
        published = {}
        if method != "efficient-packnet":
            setting = {key: value for key, value in setting.items() if key not in ("alpha", "gamma")}
        elif config.tasks == paper.FAR_TASKS:
            published[KNOWN] = paper.AFTER_ALL
        own = {metric: tests.get((metric, name)) for metric in (KNOWN, USED)}
        made += rows_of(name, found, setting=setting, published=published, tests=own)
    return made


def first_full(one: xarray.Dataset) -> xarray.DataArray:
    """The first task that found nothing free, [replica]; NaN where none did."""
    full = one.full == 1
    found: xarray.DataArray = (1.0 + full.argmax("task")).where(full.any("task"))
    return found


def drowned(name: str, one: xarray.Dataset) -> list[str]:
    """Says where the large weights of old tasks leave a new one little to learn with, though synapses are free."""
    free = one.where(one.full == 0)
    dense, cost = free.dense_accuracy.mean("replica"), free.energy.mean("replica")
    lost = dense < 0.5 * dense.isel(task=0)
    if not bool(lost.any()):
        return []
    at = int(lost.argmax("task"))
    return [
        f"{name}: synapses are free, but beside those that are owned task {at + 1} is learned to "
        f"{100 * float(dense[at]):.0f} % only (the first: {100 * float(dense[0]):.0f} %). Σ|w̄| has grown from "
        f"{float(cost[0]):.4g} to {float(cost[at]):.4g}: steps of Adam move weights of a high power the further the "
        "larger they are. Use a smaller rate (--factor, --retrain-factor)."
    ]


def compared(config: Config, good: xarray.Dataset) -> dict[tuple[str, str], statistics.Test]:
    """Accuracy and used share of every power against α = 1, all else equal."""
    pairs = {}
    for one in settings(config):
        plain = label({**one, "alpha": 1.0})
        if one["alpha"] != 1 and 1 in config.alphas:
            for metric, values in ((KNOWN, good.average), (USED, good.used)):
                last = 100 * values.isel(task=-1)
                pairs[metric, label(one)] = last.sel(model=label(one)).values, last.sel(model=plain).values
    return statistics.family("accuracy and used synapses, against α = 1", pairs, paired=True)


def remarks(config: Config, dataset: xarray.Dataset) -> list[str]:
    """Who must know the task, whether larger powers use fewer synapses, and which networks were full, and when."""
    found = [f"Tests of {', '.join(OWNED)} must know their task: each is under the mask of its own."]
    good, wrong, count = dataset.where(~dataset.failed), [], 0
    for one, other in itertools.pairwise(settings(config)):
        if {**one, "alpha": 0, "rate": 0} == {**other, "alpha": 0, "rate": 0}:
            less, more = (float(100 * good.used.sel(model=label(k)).isel(task=-1).mean()) for k in (other, one))
            count += 1
            if not less < more:
                wrong.append(f"{label(other)} uses {less:.1f} %, α = {one['alpha']:g} {more:.1f} %")
    if count:
        what = "at equal γ the used share falls with α"
        found.append(f"{what}, but for: {'; '.join(wrong)}." if wrong else f"{what}.")
    for one in settings(config):
        if one["alpha"] > 1:
            found += drowned(label(one), good.sel(model=label(one)))
        at = first_full(good.sel(model=label(one))).values if one["method"] in OWNED else np.array([np.nan])
        if np.isfinite(at).any():
            seeds = ", ".join("never" if np.isnan(task) else f"{task:.0f}" for task in at)
            found.append(
                f"{label(one)}: no synapse was free any more from task {seeds} on (by seed); from there on tasks are "
                "not learned."
            )
    return found


EXPERIMENT = Experiment(Config, measure, rows, __doc__, remarks)

if __name__ == "__main__":
    EXPERIMENT.main()
