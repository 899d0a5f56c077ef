"""Learning tasks in sequence with and without presynaptic consolidation (Table 4.1, Fig. 4.4 and 4.8 of the paper).

Two cores need about one minute for each method on Split MNIST with three seeds, and a quarter of an hour on
Permuted MNIST. Any importance is a method too: it consolidates as --consolidation says, with strength --strengths.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import xarray
from common import MEASURED, ScenarioConfig, by_setting, consolidated, importance_of, load, models, scenario
from lines import FINAL, FIRST, rows_of
from torch import Tensor, nn, optim

import synsim
from synsim import consolidation, forgetting, importance, outcomes, statistics, tables, tasks
from synsim.experiment import Experiment, Protection, Session, option
from synsim.papers import Published
from synsim.papers.schug2021 import CODE_4_1, CONSTANTS, JOINT_RATE, P_INITIAL, RATES, TABLE_4_1, UNPROTECTED

DEFAULT = ("presynaptic", "none", "joint")
OTHERS = tuple(name for name in importance.available() if name != "release-probability")
METHODS = (*DEFAULT, "ewc", "bgd", *OTHERS)
GUARDED, NAMED, BAYESIAN = ("methods", ("ewc", *OTHERS)), ("methods", OTHERS), ("methods", ("bgd",))
OPTIMISERS = {"adam": optim.Adam, "sgd": optim.SGD}

# The paper is silent about EWC and BGD; docs/searches.md says what was tried, and on which seeds.
EWC_IMAGES = 1000
EWC = {  # λ, optimiser, learning rate
    ("split", "mnist"): (1e4, "adam", 1e-5),
    ("split", "fashion-mnist"): (1e4, "adam", 1e-5),
    ("permuted", "mnist"): (10.0, "adam", 1e-3),
    ("permuted", "fashion-mnist"): (30.0, "adam", 3e-4),
}
BGD = {  # initial σ, η, draws
    ("split", "mnist"): (0.005, 0.05, 2),
    ("split", "fashion-mnist"): (0.005, 0.08, 4),
    ("permuted", "mnist"): (0.07, 0.1, 4),
}
# These take shares of the parameters, and one of 1 would leave nothing to learn with after the first task.
SHARES = ("freeze", "mask")


class Config(ScenarioConfig):
    preset: str = option(
        "paper", "paper: the whole protocol; quick: permuted tasks with fewer epochs", ("quick", "paper")
    )
    methods: tuple[str, ...] = option(DEFAULT, "methods to compare", METHODS, neutral=True, phases=True)
    lr: float | None = option(None, "learning rate of presynaptic networks; of unprotected ones if none is published")
    strengths: tuple[float, ...] = option((), "strengths (of freeze, mask: shares); several are a search", of=GUARDED)
    ewc_rate: float | None = option(None, "learning rate of EWC and of other importances", of=GUARDED)
    ewc_optimiser: str | None = option(None, "optimiser of EWC and others", tuple(OPTIMISERS), of=GUARDED)
    consolidation: str = option(
        "penalty", "what importances but EWC feed", consolidation.available(owns=False), of=NAMED
    )
    draws: int | None = option(None, "draws of BGD per step, in pairs if even", least=1, of=BAYESIAN)
    sigmas: tuple[float, ...] = option((), "initial σ of BGD; several are a search", of=BAYESIAN)
    etas: tuple[float, ...] = option((), "learning rates η of BGD's means, one or one for each σ", of=BAYESIAN)
    standardised_by: str = option(
        "own", "whose mean and s.d. scale the pixels: the data set's own, or MNIST's", ("own", "mnist"), neutral=True
    )

    def __post_init__(self) -> None:
        """Check what this experiment asks besides."""
        super().__post_init__()
        if len(self.etas) not in (0, 1, len(self.sigmas)):
            raise ValueError(f"--etas must be one, or one for each of --sigmas, got {list(self.etas)}.")
        for name in self.methods:
            sweep_of(self, name)


def chosen(config: Config, table: Mapping[tuple[str, str], Any]) -> Any:
    """What was chosen for scenario and data; that for MNIST where nothing was searched."""
    return table.get((config.scenario, config.data), table[config.scenario, "mnist"])


def settings(config: Config, name: str) -> dict[str, dict[str, float]]:
    """Settings of a method that are tried side by side, by what they are called in the table."""
    if name in DEFAULT:
        return {name: {}}
    if name == "bgd":
        sigma, eta, _ = chosen(config, BGD)
        sigmas, etas = config.sigmas or (sigma,), config.etas or (eta,)
        tried = [{"sigma": one, "eta": etas[number % len(etas)]} for number, one in enumerate(sigmas)]
        form = "bgd σ={sigma:g} η={eta:g}"
    else:
        strength = chosen(config, EWC)[0] if name == "ewc" else 0.5 if config.consolidation in SHARES else 1.0
        tried = [{"strength": one} for one in config.strengths or (strength,)]
        form = name + " {strength:g}"
    found = {form.format(**one) if len(tried) > 1 else name: one for one in tried}
    if len(found) < len(tried):
        raise ValueError(f"settings of {name} must differ, got {tried}.")
    return found


def sweep_of(config: Config, name: str) -> synsim.Sweep:
    """All settings of a method with all seeds, as replicas of one program."""
    return synsim.Sweep(list(settings(config, name).values()), config.seeds)


def method(
    config: Config, name: str, sequence: list[tasks.Task]
) -> tuple[nn.Module, optim.Optimizer, Protection | None]:
    """Network, optimiser and protection of a method: one replica per setting and seed."""
    sweep, p = sweep_of(config, name), P_INITIAL if name == "presynaptic" else 1.0
    sizes = [sequence[0].inputs, *config.hidden, sequence[0].classes]
    net = synsim.mlp(sizes, p=p, bias=config.bias, replicas=sweep, device=config.device)
    published = RATES[config.scenario] if config.lr is None else config.lr
    if name == "presynaptic":
        return net, synsim.PresynapticSGD(net, published, modulate_lr=True, train_bias=False, **CONSTANTS), None
    if name == "joint":
        return net, optim.Adam(net.parameters(), lr=JOINT_RATE), None
    if name == "none":
        # Where nothing is published, the rate of the presynaptic network.
        kind, rate = UNPROTECTED.get((config.scenario, config.data), ("sgd", published))
        return net, OPTIMISERS[kind](net.parameters(), lr=rate), None
    if name == "bgd":
        draws = config.draws or chosen(config, BGD)[2]
        sigma, eta = sweep.column("sigma"), sweep.column("eta")
        rule = synsim.BGD(net, sigma=sigma, eta=eta, samples=draws, scale=config.batch, antithetic=draws % 2 == 0)
        return net, rule, None
    _, kind, rate = chosen(config, EWC)
    rate = rate if config.ewc_rate is None else config.ewc_rate
    optimiser = OPTIMISERS[config.ewc_optimiser or kind](net.parameters(), lr=rate)
    return net, optimiser, protected(config, name, sweep.column("strength"), sequence)


def protected(config: Config, name: str, strength: Tensor, sequence: list[tasks.Task]) -> Protection:
    """EWC, or another importance under the consolidation asked for."""
    if name == "ewc":
        measured = importance_of("fisher", sequence, images=EWC_IMAGES)
        how = consolidation.make("penalty", strength=strength, factor=0.5)
    else:
        measured = importance_of(name, sequence, **({"images": EWC_IMAGES} if name in MEASURED else {}))
        argument = "share" if config.consolidation in SHARES else "strength"
        how = consolidation.make(config.consolidation, **{argument: strength})
    return Protection(measured, how, reset_optimiser=True)


def train(config: Config, name: str, session: Session) -> dict[str, xarray.Dataset]:
    """Train one method on all tasks; what each of its settings measured."""
    data, sweep = load(config), sweep_of(config, name)
    if config.standardised_by == "mnist":
        data = replace(data, mean=(0.1307,), sd=(0.3081,))
    sequence = scenario(config, data, sweep.seeds)
    net, optimiser, protection = method(config, name, sequence)
    phase = session.fit(
        name,
        net,
        optimiser,
        tasks.joint(sequence) if name == "joint" else sequence,
        test=sequence,
        seeds=sweep.seeds,
        epochs=config.epochs,
        batch=config.batch,
        test_every_epoch=False,
        test_ahead=False,
        probes=consolidated(CONSTANTS["p_freeze"]),
        protection=protection,
        tolerant=len(sweep) > 1,
    )
    return by_setting(phase.dataset, sweep, settings(config, name))


def measure(config: Config, session: Session) -> xarray.Dataset:
    """Train all methods; their measurements."""
    found: dict[str, xarray.Dataset] = {}
    for name in config.methods:
        found |= train(config, name, session)
    return models(found)


def rows(config: Config, dataset: xarray.Dataset) -> list[tables.Row]:
    """What every method keeps, learns and forgets, and presynaptic consolidation against all others."""
    published = TABLE_4_1.get((config.scenario, config.data), {})
    code = CODE_4_1.get((config.scenario, config.data), {})
    tried = {label: (name, one) for name in config.methods for label, one in settings(config, name).items()}
    made = []
    for label, (name, setting) in tried.items():
        known = published.get(name)
        if known is not None and name in code:
            known = replace(known, text=f"{known} (its code: {code[name]})")
        made += rows_of(label, kept(dataset, label), setting=setting, published={FINAL: known})
    for (measured, *_), (*_, label), gap, test in outcomes.differences("lifelong", dataset):
        if measured == "frozen_share":
            made.append(tables.row(label, "synapses frozen after task 10 − after task 1, points", gap, test=test))
            continue
        name, setting = tried[label]
        metric = {"final": "points", "first": "on the first task, points"}[measured]
        known = published.get(name) if measured == "final" else None
        printed = None if known is None else rebuilt(published["presynaptic"], known)
        made.append(tables.row(f"presynaptic − {label}", metric, gap, printed, setting=setting, test=test))
    return made


def kept(dataset: xarray.Dataset, label: str) -> dict[str, np.ndarray]:
    """What a method keeps, learns and forgets, by what it is called in the table, [replica]."""
    final, first = (of(dataset).sel(model=label).values for of in (outcomes.final, outcomes.first))
    found, steps = {FINAL: final, FIRST: first}, dataset.test_task.values
    if label == "joint" or len(steps) < 2:
        return found
    accuracy = outcomes.accuracies(dataset).sel(model=label, after_task=steps).values
    found["backward transfer, points"] = forgetting.backward_transfer(accuracy)
    found["forgetting, points"] = forgetting.forgetting(accuracy)
    if "joint" in dataset.model.values:
        joint = outcomes.last(dataset).sel(model="joint").values
        found["intransigence against joint training, points"] = forgetting.intransigence(accuracy, joint)
    return found


def rebuilt(one: Published, other: Published) -> Published:
    """The difference of two published means with the test that follows from their standard errors."""
    (a, a_error, n), (b, b_error, m) = ((each.mean, each.sem or 0.0, each.n or 0) for each in (one, other))
    test = statistics.from_summary(a, a_error, n, b, b_error, m)
    text = f"{test.difference:.2f}; t = {test.t:.2f}, p = {test.p:.2g}"
    return Published(test.difference, math.hypot(a_error, b_error), n, one.source, text)


EXPERIMENT = Experiment(Config, measure, rows, __doc__)

if __name__ == "__main__":
    EXPERIMENT.main()
