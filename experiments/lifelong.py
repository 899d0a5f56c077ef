"""Learning tasks in sequence with and without presynaptic consolidation (Table 4.1, Fig. 4.4 and 4.8 of the paper).

Two cores need about one minute for each method on Split MNIST with three seeds, and a quarter of an hour on
Permuted MNIST. Any importance is a method too: it consolidates as --consolidation says, with strength --strengths.
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
import xarray
from common import MEASURED, PresetConfig, Presets, combine, finish, load, mean_p, run, share_above
from torch import nn
from torch.optim import Optimizer

import synsim
from synsim import consolidation, forgetting, importance, statistics, tables, tasks
from synsim.meters import energy
from synsim.networks import initialised
from synsim.papers.schug2021 import CODE_4_1, CONSTANTS, JOINT_RATE, P_INITIAL, RATES, TABLE_4_1, UNPROTECTED
from synsim.training import History, Phase, Protection, Session, fit
from synsim.training.command import option, parse
from synsim.training.session import PhaseStore

DEFAULT = ("presynaptic", "none", "joint")
METHODS = (*DEFAULT, "ewc", "bgd", *(name for name in importance.available() if name != "release-probability"))

OPTIMISERS = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}

# The paper is silent about EWC and BGD. EWC here: the exact Fisher on 1,000 images, penalty
# λ/2 · Σ F (w − w*)² around the last task, the optimiser's state reset with each task. Optimiser, rate and strength of
# EWC were chosen on seeds 1 and 2, those of BGD on seeds 1 to 3, by the same command (--strengths, --ewc-rate,
# --ewc-optimiser, --sigmas, --etas, --draws); these seeds are not reported.
EWC_IMAGES = 1000
EWC = {  # λ, optimiser, learning rate
    ("split", "mnist"): (1e4, "adam", 1e-5),
    ("split", "fashion-mnist"): (1e4, "adam", 1e-5),
    ("permuted", "mnist"): (10.0, "adam", 1e-3),
    # Seeds 1 and 2, at the end: rate 1e-3 with λ = 3, 10, 30 left 75.5, 75.7, 71.9 %, 3e-4 with 10, 30 left 78.1, 78.3.
    ("permuted", "fashion-mnist"): (30.0, "adam", 3e-4),
}
# BGD, (σ, η), on seed 1 unless said otherwise. Permuted MNIST, one pair of draws per step: σ = 0.06 with η = 0.05,
# 0.1, 0.2 left 89.1, 91.9, 91.4 % after seven of ten tasks; (0.07, 0.1) left 94.4 after four, where (0.06, 0.1)
# left 94.1 and (0.07, 0.07) 93.3; (0.05, 0.15), (0.04, 0.2), (0.03, 0.4), (0.04, 0.1) left 93.7, 93.5, 92.4, 92.4
# after five. Two pairs changed these numbers by 0.1, but keep the first steps from diverging: of seeds 1 to 3, at η
# = 0.1 and σ = 0.065, 0.07, 0.08, there diverged 1, 2, 3 with one pair and 0, 0, 1 with two. Split MNIST, one pair,
# at the end: (0.005, 0.05) left 79.4 %, (0.005, 0.16) 72.1, (0.005, 0.016) 69.3, (0.02, 0.03) 67.2; smaller η with
# σ ≥ 0.02 ended at chance. Split Fashion-MNIST, two pairs, seeds 1 and 2, at the end: (0.005, 0.05) left 88.2 %,
# (0.005, 0.08) 88.8, (0.004, 0.08) 88.4, (0.003, 0.1) 87.8; with one pair (0.005, 0.15) left 86.3, (0.003, 0.05)
# 87.2, σ = 0.01 less.
BGD = {  # initial σ, η, draws
    ("split", "mnist"): (0.005, 0.05, 2),
    ("split", "fashion-mnist"): (0.005, 0.08, 4),
    ("permuted", "mnist"): (0.07, 0.1, 4),
}

# Mean and standard deviation of the pixels of MNIST.
OF_MNIST = ((0.1307,), (0.3081,))


@dataclass(frozen=True, kw_only=True)
class Config(PresetConfig):
    """Options of this experiment."""

    CHOICES: ClassVar[tuple[str, ...]] = ("methods",)
    SHORT: ClassVar[tuple[str, ...]] = ("split",)
    PRESETS: ClassVar[Presets] = {"quick": {"epochs": 2, "tasks": 4}, "paper": {"epochs": 10, "tasks": 10}}
    preset: str = option(
        "paper", "paper: the whole protocol; quick: permuted tasks with fewer epochs", ("quick", "paper")
    )
    out: str = option("runs/lifelong", "folder of the run")
    scenario: str = option(
        "split", "split: pairs of classes, parity label; permuted: ten pixel orders", tuple(RATES), neutral=True
    )
    methods: tuple[str, ...] = option(DEFAULT, "methods to compare", METHODS, neutral=True)
    tasks: int | None = option(None, "number of permuted tasks (default: from the preset)")
    hidden: tuple[int, ...] = option((200, 200), "widths of the hidden layers")
    batch: int = option(100, "examples per step")
    lr: float | None = option(
        None, "learning rate of the presynaptic network, and of an unprotected one for which none is published"
    )
    strengths: tuple[float, ...] = option(
        (),
        "strengths of EWC and of other importances (freeze, mask: shares; default: 0.5); several are a search, as "
        "replicas of one program",
    )
    ewc_rate: float | None = option(None, "learning rate of EWC and of other importances")
    ewc_optimiser: str | None = option(None, "optimiser of EWC and of other importances", tuple(OPTIMISERS))
    consolidation: str = option("penalty", "what other importances feed", consolidation.available())
    draws: int | None = option(
        None, "draws of the weights per step of BGD, in pairs of opposite sign (its authors: 10 single ones)"
    )
    sigmas: tuple[float, ...] = option((), "initial σ of BGD; several are a search")
    etas: tuple[float, ...] = option((), "learning rate η of BGD's means: one, or one for each of --sigmas")
    bias: bool = option(False, "layers have biases, as in the published code (the paper has none)", neutral=True)
    standardised_by: str = option(
        "own",
        "whose mean and standard deviation scale the pixels: the data set's own, or MNIST's",
        ("own", "mnist"),
        neutral=True,
    )

    def __post_init__(self) -> None:
        """Check what this experiment asks besides."""
        super().__post_init__()
        if len(self.etas) not in (0, 1, len(self.sigmas)):
            raise ValueError(f"--etas must be one, or one for each of --sigmas, got {list(self.etas)}.")

    def protocol(self) -> dict[str, Any]:
        """The published protocol; the number of permutations says nothing about split tasks."""
        found = super().protocol()
        return found if self.scenario == "permuted" else {k: v for k, v in found.items() if k != "tasks"}


def learning_rate(config: Config) -> float:
    """The published rate of the scenario, unless another one is asked for."""
    return RATES[config.scenario] if config.lr is None else config.lr


def settings(config: Config, name: str) -> tuple[float | None, ...]:
    """Settings of a method that are tried side by side."""
    if name in DEFAULT:
        return (None,)
    if name == "bgd":
        return config.sigmas or (bgd(config)[0],)
    return config.strengths or (ewc(config)[0] if name == "ewc" else STRENGTHS[config.consolidation],)


def ewc(config: Config) -> tuple[float, str, float]:
    """Strength, optimiser and learning rate chosen for EWC; those of MNIST where nothing was searched."""
    return EWC.get((config.scenario, config.data), EWC[config.scenario, "mnist"])


def bgd(config: Config) -> tuple[float, float, int]:
    """Initial σ, η and draws chosen for BGD; those of MNIST where nothing was searched."""
    return BGD.get((config.scenario, config.data), BGD[config.scenario, "mnist"])


def label(config: Config, name: str, setting: int) -> str:
    """What one of several settings of a method is called."""
    values = settings(config, name)
    if len(values) == 1:
        return name
    if name != "bgd":
        return f"{name} {values[setting]:g}"
    etas = config.etas or (bgd(config)[1],)
    return f"bgd σ={values[setting]:g} η={etas[setting % len(etas)]:g}"


def method(config: Config, name: str, sequence: list[tasks.Task]) -> tuple[nn.Module, Optimizer, Protection | None]:
    """Network, optimiser and protection of a method: one replica per setting and seed."""
    inputs, classes = sequence[0].train[0:1].shape[-1], sequence[0].classes
    values = settings(config, name)
    sizes = [inputs, *config.hidden, classes]
    p = P_INITIAL if name == "presynaptic" else 1.0
    replicas = len(values) * len(config.seeds)
    net = synsim.mlp(sizes, p=p, bias=config.bias, replicas=replicas, device=config.device)
    initialised(net, config.seeds * len(values), sweep=True)
    if name == "presynaptic":
        rule = synsim.PresynapticSGD(net, learning_rate(config), modulate_lr=True, train_bias=False, **CONSTANTS)
        return net, rule, None
    if name == "joint":
        return net, torch.optim.Adam(net.parameters(), lr=JOINT_RATE), None
    if name == "none":
        # Where nothing is published, the rate of the presynaptic network.
        kind, rate = UNPROTECTED.get((config.scenario, config.data), ("sgd", learning_rate(config)))
        return net, OPTIMISERS[kind](net.parameters(), lr=rate), None
    each = torch.tensor(values, dtype=torch.float64).repeat_interleave(len(config.seeds))
    if name == "bgd":
        etas = config.etas or (bgd(config)[1],)
        eta = torch.tensor(etas, dtype=torch.float64).repeat_interleave(len(each) // len(etas))
        draws = config.draws or bgd(config)[2]
        rule = synsim.BGD(net, sigma=each, eta=eta, samples=draws, scale=config.batch, antithetic=draws % 2 == 0)
        return net, rule, None
    kind, rate = config.ewc_optimiser or ewc(config)[1], config.ewc_rate or ewc(config)[2]
    protection = protected(config, name, each, min(len(task.train) for task in sequence))
    return net, OPTIMISERS[kind](net.parameters(), lr=rate), protection


# What the strength of a consolidation is called.
ARGUMENTS = {"penalty": "strength", "modulation": "strength", "freeze": "share", "mask": "share"}
# What it is where none is given; a share of 1 would leave nothing to learn with after the first task.
STRENGTHS = {"penalty": 1.0, "modulation": 1.0, "freeze": 0.5, "mask": 0.5}


def protected(config: Config, name: str, strength: torch.Tensor, images: int) -> Protection:
    """EWC, or another importance under the consolidation asked for."""
    options = {"images": min(EWC_IMAGES, images)}
    if name == "ewc":
        measure = importance.make("fisher", **options)
        return Protection(measure, consolidation.make("penalty", strength=strength, factor=0.5), reset_optimiser=True)
    measure = importance.make(name, **(options if name in MEASURED else {}))
    how = consolidation.make(config.consolidation, **{ARGUMENTS[config.consolidation]: strength})
    return Protection(measure, how, reset_optimiser=True)


def train(config: Config, name: str, session: Session) -> list[Phase]:
    """Train one method on all tasks; one phase per setting."""
    values = settings(config, name)
    sequence = scenario(config, config.seeds * len(values))
    net, optimiser, protection = method(config, name, sequence)

    def go(store: PhaseStore) -> History:
        return fit(
            net,
            optimiser,
            tasks.joint(sequence) if name == "joint" else sequence,
            test=sequence,
            seeds=config.seeds * len(values),
            epochs=config.epochs,
            batch=config.batch,
            test_every_epoch=False,
            test_ahead=False,
            probes={
                "mean_p": mean_p,
                "frozen_share": share_above(CONSTANTS["p_freeze"]),
                "energy": lambda net, task: energy(net),
            },
            protection=protection,
            store=store,
            progress=None if config.quiet else name,
        )

    phase = session.phase(name, net, go, sweep=len(values) > 1)
    return [
        replace(phase, name=label(config, name, k), dataset=by_setting(phase, config, k)) for k in range(len(values))
    ]


def by_setting(phase: Phase, config: Config, index: int) -> xarray.Dataset:
    """The replicas of one setting."""
    count = len(config.seeds)
    found = phase.dataset.isel(replica=slice(index * count, (index + 1) * count))
    return found.assign_coords(replica=range(count))


def scenario(config: Config, seeds: tuple[int, ...]) -> list[tasks.Task]:
    """The tasks; every seed has pixel orders of its own."""
    data = load(config)
    if config.standardised_by == "mnist":
        data = replace(data, mean=OF_MNIST[0], sd=OF_MNIST[1])
    if config.scenario == "split":
        return tasks.split(data, device=config.device)
    return tasks.permuted(data, tasks=config.tasks, seeds=seeds, device=config.device)


def experiment(config: Config, session: Session) -> None:
    """Run all methods, print and keep the results."""
    finish(session, *measure(config, session))
    if config.reduced():
        print(f"reduced: {config.reduced()}")


def measure(config: Config, session: Session) -> tuple[xarray.Dataset, list[tables.Row]]:
    """Train all methods; their measurements and the rows of the table."""
    phases = [phase for name in config.methods for phase in train(config, name, session)]
    found = {phase.name: 100 * matrix(phase.dataset) for phase in phases}
    rows = [row for name in found for row in method_rows(config, name, found)]
    return combine(phases), rows + tests(config, {name: one[:, -1].mean(-1) for name, one in found.items()})


def matrix(dataset: xarray.Dataset) -> np.ndarray:
    """Accuracies [replica, after_task, test_task], NaN for replicas that failed."""
    return dataset.accuracy.where(~dataset.failed).transpose("replica", "after_task", "test_task").values


def method_rows(config: Config, name: str, found: dict[str, np.ndarray]) -> list[tables.Row]:
    """What a method keeps, learns and forgets."""
    key, mine = (config.scenario, config.data), found[name]
    published, code = TABLE_4_1.get(key, {}).get(name.split()[0]), CODE_4_1.get(key, {}).get(name)
    shown = f"{published} (its code: {code})" if code else published
    rows = [
        tables.row(name, "accuracy over all tasks at the end, %", mine[:, -1].mean(-1), shown),
        tables.row(name, "accuracy on the first task at the end, %", mine[:, -1, 0]),
    ]
    if name == "joint" or mine.shape[1] < 2:
        return rows
    rows.append(tables.row(name, "backward transfer, points", forgetting.backward_transfer(mine)))
    rows.append(tables.row(name, "forgetting, points", forgetting.forgetting(mine)))
    if "joint" in found:
        behind = forgetting.intransigence(mine, found["joint"][:, -1])
        rows.append(tables.row(name, "intransigence against joint training, points", behind))
    return rows


def tests(config: Config, final: dict[str, np.ndarray]) -> list[tables.Row]:
    """The paper's two-sample t-tests of presynaptic consolidation against every method, with effect sizes."""
    ours, others = final.get("presynaptic"), [name for name in final if name != "presynaptic"]
    if ours is None or any(np.isfinite(final[name]).sum() < 2 for name in final):
        return []
    found = [statistics.compare(ours, final[name]) for name in others]
    corrected = statistics.holm([one.p for one in found])
    rows = []
    for name, one, holm in zip(others, found, corrected, strict=True):
        text = f"points; t = {one.t:.2f}, p = {one.p:.2g} (Holm: {holm:.2g}), Hedges g = {one.hedges_g:.1f}"
        gap = tables.row(f"presynaptic − {name}", text, ours - final[name], rebuilt(config, name))
        rows.append(gap)
    return rows


def rebuilt(config: Config, name: str) -> str | None:
    """The same test from the published means and standard errors of three runs."""
    published = TABLE_4_1.get((config.scenario, config.data), {})
    if name not in published:
        return None
    ends = [(one.mean, one.sem, one.n) for one in (published["presynaptic"], published[name])]
    test = statistics.from_summary(*ends[0], *ends[1])
    return f"{test.difference:.2f}; t = {test.t:.2f}, p = {test.p:.2g}"


if __name__ == "__main__":
    run(parse(Config, __doc__ or ""), experiment)  # type: ignore[arg-type]
