"""The random search behind the metaplasticity constants, and what its best constants are worth elsewhere.

With `--objective lifelong` (Permuted MNIST, accuracy over all tasks at the end) p_up and p_down are drawn from
U(0.01, 0.1) and p_freeze from U(0.9, 0.96); with `--objective energy` (MNIST, bits per energy) p_up = p_down from
U(0.01, 0.1) and the weight decay from four values, as in the published code. All trials, and the published constants
beside them, are replicas of one program that share one seed; it is not reported. The best trial then runs on other
seeds, on the task of the search and on those of other data sets (`--transfer`), split and permuted, beside the
published constants. Like the authors, who name no
validation images, the search looks at the test images. How many trials they made is not stated.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
import xarray
from common import PresetConfig, Presets, finish, load, run

import synsim
from synsim import statistics, streams, tables, tasks
from synsim.meters import energy, mutual_information
from synsim.networks import initialised
from synsim.papers import schug2021
from synsim.papers.schug2021 import DECAY, P_INITIAL, SEARCH_DECAYS, SEARCH_FREEZE, SEARCH_STEPS, TABLE_4_1
from synsim.training import History, Session, fit
from synsim.training.command import option, parse
from synsim.training.session import PhaseStore

Constants = dict[str, list[float]]
"""Name -> one value per trial."""

# To which the paper carries the constants found on Permuted MNIST.
BOTH = ("mnist", "fashion-mnist")
# The published code's constants; for energy with its default decay.
PUBLISHED: dict[str, Constants] = {
    "lifelong": {name: [schug2021.CONSTANTS[name]] for name in ("p_up", "p_down", "p_freeze")},
    "energy": {**{name: [schug2021.ENERGY_CONSTANTS[name]] for name in ("p_up", "p_down")}, "weight_decay": [DECAY]},
}
FIXED = {name: schug2021.CONSTANTS[name] for name in ("g_lim", "p_min")}
RATES = {**schug2021.RATES, "single": schug2021.ENERGY_RATES["plastic"]}
METRICS = {"lifelong": "accuracy over all tasks at the end, %", "energy": "10⁻³ bits per energy"}
TRIALS = {"quick": 8, "paper": 64}
EPOCHS = {("quick", "lifelong"): 1, ("quick", "energy"): 2, ("paper", "lifelong"): 10, ("paper", "energy"): 50}
BEST, KNOWN = "best found", "published constants"


@dataclass(frozen=True, kw_only=True)
class Config(PresetConfig):
    """Options of this experiment."""

    PRESETS: ClassVar[Presets] = {"quick": {"tasks": 3}, "paper": {"tasks": 10}}
    out: str = option("runs/search", "folder of the run")
    objective: str = option("lifelong", "what is searched for", tuple(PUBLISHED), neutral=True)
    trials: int | None = option(None, "constants drawn (default: from the preset; the authors' number is not stated)")
    search_seed: int = option(0, "seed of the constants drawn")
    trial_seed: int = option(1, "seed of every trial; it is not reported")
    transfer: tuple[str, ...] = option(
        (), "data sets to which the best constants are carried (default: that of --data; preset paper: both MNISTs)"
    )
    tasks: int | None = option(None, "number of permuted tasks (default: from the preset)")
    hidden: tuple[int, ...] = option((200, 200), "widths of the hidden layers")
    batch: int = option(100, "examples per step")

    def __post_init__(self) -> None:
        """Fill in what depends on preset and objective, and check the seeds."""
        if self.preset in self.PRESETS:
            for name, value in (("trials", TRIALS[self.preset]), ("epochs", EPOCHS[self.preset, self.objective])):
                if getattr(self, name) is None:
                    object.__setattr__(self, name, value)
            # The digits are for trying things out, where there may be no other data.
            if self.preset == "paper" and not self.transfer and self.data in BOTH:
                object.__setattr__(self, "transfer", BOTH)
        super().__post_init__()
        if self.trials is not None and self.trials < 1:
            raise ValueError(f"trials must be at least 1, got {self.trials}.")
        if self.trial_seed in self.seeds:
            raise ValueError(
                f"--trial-seed {self.trial_seed} is one of --seeds; constants must be chosen on other seeds."
            )

    def protocol(self) -> dict[str, Any]:
        """The published protocol; how many trials the authors made is not stated."""
        found = {**super().protocol(), "epochs": EPOCHS["paper", self.objective]}
        left = {"trials", "search_seed", "trial_seed", "transfer"} | (
            {"tasks"} if self.objective == "energy" else set()
        )
        return {name: value for name, value in found.items() if name not in left}


def drawn(objective: str, trials: int, seed: int) -> Constants:
    """The constants of all trials, a pure function of the seed; more trials go on where fewer end."""

    def uniform(name: str) -> list[float]:
        keys = streams.keys("order", [seed], f"search/{objective}/{name}")
        return [float(value) for value in streams.uniform(keys, trials)[0]]

    def between(name: str, ends: tuple[float, float]) -> list[float]:
        return [ends[0] + (ends[1] - ends[0]) * value for value in uniform(name)]

    if objective == "energy":
        both = between("step", SEARCH_STEPS)
        decays = [SEARCH_DECAYS[int(len(SEARCH_DECAYS) * v)] for v in uniform("weight_decay")]
        return {"p_up": both, "p_down": both, "weight_decay": decays}
    ranges = {"p_up": SEARCH_STEPS, "p_down": SEARCH_STEPS, "p_freeze": SEARCH_FREEZE}
    return {name: between(name, ends) for name, ends in ranges.items()}


def sequence_of(config: Config, scenario: str, data: str, seeds: Sequence[int]) -> list[tasks.Task]:
    """The tasks of a scenario; every seed has pixel orders of its own."""
    loaded = load(replace(config, data=data))
    if scenario == "split":
        return tasks.split(loaded, device=config.device)
    if scenario == "single":
        return tasks.single(loaded, device=config.device)
    shared = seeds[0] if len(set(seeds)) == 1 else seeds
    return tasks.permuted(loaded, tasks=config.tasks, seeds=shared, device=config.device)


def score(config: Config, found: xarray.Dataset) -> np.ndarray:
    """What is searched for, one value per replica; NaN where one failed."""
    if config.objective == "energy":
        end = found.isel(epoch=-1, task=0).where(~found.failed)
        return (1000 * end.information / end.energy).values
    return 100 * found.accuracy.isel(after_task=-1).where(~found.failed).mean("test_task", skipna=False).values


def train(
    config: Config,
    name: str,
    target: tuple[str, str],
    constants: Mapping[str, Sequence[float]],
    seeds: Sequence[int],
    session: Session,
) -> np.ndarray:
    """Scores of all constants on all seeds, [constants, seed]: replicas of one program."""
    count = len(next(iter(constants.values())))
    replicas = tuple(seeds) * count
    sequence = sequence_of(config, *target, replicas)
    sizes = [sequence[0].train[0:1].shape[-1], *config.hidden, sequence[0].classes]
    net = synsim.mlp(sizes, p=P_INITIAL, replicas=len(replicas), device=config.device)
    initialised(net, replicas, sweep=True)
    each = {k: torch.tensor(v, dtype=torch.float64).repeat_interleave(len(seeds)) for k, v in constants.items()}
    lifelong = config.objective == "lifelong"
    rule = synsim.PresynapticSGD(net, RATES[target[0]], modulate_lr=lifelong, train_bias=False, **FIXED, **each)
    probes = {
        "energy": lambda net, task: energy(net),
        "information": lambda net, task: mutual_information(net, task.test, task.test.y),
    }

    def go(store: PhaseStore) -> History:
        return fit(
            net,
            rule,
            sequence,
            seeds=replicas,
            epochs=config.epochs,
            batch=config.batch,
            test_every_epoch=False,
            test_ahead=False,
            probes={} if lifelong else probes,
            store=store,
            progress=None if config.quiet else name,
        )

    phase = session.phase(name, net, go, keep=False, sweep=name == "search")
    return score(config, phase.dataset).reshape(count, len(seeds))


def targets(config: Config) -> list[tuple[str, str]]:
    """Where the best constants are tried: the task of the search, and those to which they are carried."""
    carried = config.transfer or (config.data,)
    if config.objective == "energy":
        return [("single", data) for data in dict.fromkeys((config.data, *carried))]
    permuted = dict.fromkeys((config.data, *carried))
    return [*(("permuted", data) for data in permuted), *(("split", data) for data in dict.fromkeys(carried))]


def shown(constants: Constants, index: int) -> str:
    """Constants for the table."""
    return ", ".join(f"{name} {values[index]:.4g}" for name, values in constants.items())


def table(
    config: Config, constants: Constants, found: np.ndarray, best: int, carried: dict[tuple[str, str], np.ndarray]
) -> list[tables.Row]:
    """Rows: the trials, and the best beside the published constants on the reported seeds."""
    metric, seed = METRICS[config.objective], f"seed {config.trial_seed}"
    rows = [
        tables.row("all trials", f"{metric}; {seed}, errors over trials", found[:-1]),
        tables.row(BEST, f"{metric}; {seed}; {shown(constants, best)}", found[best : best + 1]),
        tables.row(KNOWN, f"{metric}; {seed}; {shown(constants, -1)}", found[-1:]),
    ]
    pairs = {target: statistics.compare(*values) for target, values in carried.items() if _testable(values)}
    corrected = dict(zip(pairs, statistics.holm([test.p for test in pairs.values()]), strict=True))
    for (scenario, data), values in carried.items():
        where = f"{metric}; {scenario}, {data}"
        known = TABLE_4_1.get((scenario, data), {}) if config.objective == "lifelong" else {}
        rows.append(tables.row(BEST, where, values[0]))
        rows.append(tables.row(KNOWN, where, values[1], known.get("presynaptic")))
        if (scenario, data) in pairs:
            test, p = pairs[scenario, data], corrected[scenario, data]
            text = f"{where}: t = {test.t:.2f}, p = {test.p:.2g}, Holm {p:.2g}, g = {test.hedges_g:.1f}"
            rows.append(tables.row(f"{BEST} − {KNOWN}", text, values[0] - values[1]))
    return rows


def _testable(values: np.ndarray) -> bool:
    return bool((np.isfinite(values).sum(1) > 1).all())


def record(
    config: Config, constants: Constants, found: np.ndarray, best: int, carried: dict[tuple[str, str], np.ndarray]
) -> xarray.Dataset:
    """Everything measured, with labelled axes; the last trial has the published constants."""
    return xarray.Dataset(
        {
            "score": ("trial", found),
            "published": ("trial", np.arange(len(found)) == len(found) - 1),
            "carried": (("target", "constants", "seed"), np.stack(list(carried.values()))),
            **{name: ("trial", np.array(values)) for name, values in constants.items()},
        },
        coords={
            "trial": np.arange(len(found)),
            "target": [f"{scenario} {data}" for scenario, data in carried],
            "constants": [BEST, KNOWN],
            "seed": list(config.seeds),
        },
        attrs={"objective": config.objective, "metric": METRICS[config.objective], "best": best},
    )


def experiment(config: Config, session: Session) -> None:
    """Search, carry the best constants over, print and keep the results."""
    assert config.trials is not None
    published = PUBLISHED[config.objective]
    random = drawn(config.objective, config.trials, config.search_seed)
    constants = {name: values + published[name] for name, values in random.items()}
    first = ("single" if config.objective == "energy" else "permuted", config.data)
    found = train(config, "search", first, constants, [config.trial_seed], session)[:, 0]
    if not np.isfinite(found[:-1]).any():
        raise ValueError("every trial diverged; nothing can be chosen. Look at the data and the learning rate.")
    best = int(np.nanargmax(found[:-1]))
    pair = {name: [values[best], values[-1]] for name, values in constants.items()}
    carried = {
        target: train(config, f"{BEST}, {' '.join(target)}", target, pair, config.seeds, session)
        for target in targets(config)
    }
    rows = table(config, constants, found, best, carried)
    finish(session, record(config, constants, found, best, carried), rows)
    print(
        f"{config.trials} trials on seed {config.trial_seed}, which is not reported (the authors' number: not stated)."
    )
    if config.reduced():
        print(f"reduced: {config.reduced()}")


if __name__ == "__main__":
    run(parse(Config, __doc__ or ""), experiment)  # type: ignore[arg-type]
