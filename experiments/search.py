"""The random search behind the metaplasticity constants, and what its best constants are worth elsewhere.

With `--objective lifelong` (Permuted MNIST, accuracy over all tasks at the end) p_up and p_down are drawn from
U(0.01, 0.1) and p_freeze from U(0.9, 0.96); with `--objective energy` (MNIST, bits per energy) p_up = p_down from
U(0.01, 0.1) and the weight decay from four values, as in the published code. All trials, and the published constants
beside them, are replicas of one program that share one seed; it is not reported. The best trial then runs on other
seeds, on the task of the search and on those of other data sets (`--transfer`), split and permuted, beside the
published constants. Like the authors, who name no
validation images, the search looks at the test images. How many trials they made is not stated.
"""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import xarray
from common import PermutedConfig, load, nested, probes
from lines import BITS, FINAL
from torch import Tensor

import synsim
from synsim import outcomes, streams, tables, tasks
from synsim.experiment import Experiment, Session, by_preset, option
from synsim.papers import schug2021 as paper

FIXED = {name: paper.CONSTANTS[name] for name in ("g_lim", "p_min")}
EPOCHS = {("quick", "lifelong"): 1, ("quick", "energy"): 2, ("paper", "lifelong"): 10, ("paper", "energy"): 50}
# To which the paper carries the constants found on Permuted MNIST.
BOTH = ("mnist", "fashion-mnist")
BEST, KNOWN = "best found", "published constants"


class Config(PermutedConfig):
    tasks: int = by_preset("number of permuted tasks", quick=3, paper=10)
    objective: str = option("lifelong", "what is searched for", tuple(paper.SEARCHED), neutral=True)
    trials: int = by_preset(
        "constants drawn (the authors' number is not stated)", neutral=True, least=1, quick=8, paper=64
    )
    epochs: int = option(None, "passes over each task (default: by preset and objective)")
    search_seed: int = option(0, "seed of the constants drawn", neutral=True)
    trial_seed: int = option(1, "seed of every trial", neutral=True, chooses=True)
    transfer: tuple[str, ...] = option(
        (), "data sets to which the best are carried (default: that of --data; preset paper: both MNISTs)", neutral=True
    )

    def __post_init__(self) -> None:
        """Fill in what depends on preset and objective, and check the seeds."""
        if vars(self)["epochs"] is None:
            object.__setattr__(self, "epochs", EPOCHS.get((self.preset, self.objective)))
        # The digits are for trying things out, where there may be no other data.
        if self.preset == "paper" and not self.transfer and self.data in BOTH:
            object.__setattr__(self, "transfer", BOTH)
        super().__post_init__()

    def protocol(self) -> dict[str, Any]:
        """The published protocol; the number of permutations says nothing about energy."""
        found = {**super().protocol(), "epochs": EPOCHS["paper", self.objective]}
        return found if self.objective == "lifelong" else {k: v for k, v in found.items() if k != "tasks"}


def uniform(ends: tuple[float, float], trials: int, keys: Tensor) -> list[float]:
    """Draws between two ends; more of them go on where fewer end."""
    return [ends[0] + (ends[1] - ends[0]) * float(value) for value in streams.uniform(keys, trials)[0]]


def drawn(objective: str, trials: int, seed: int) -> dict[str, list[float]]:
    """The constants of all trials by their name, a pure function of the seed."""

    def draws(ends: tuple[float, float], name: str) -> list[float]:
        return uniform(ends, trials, streams.keys("order", [seed], f"search/{objective}/{name}"))

    if objective == "energy":
        both, places = draws(paper.SEARCH_RANGES["p_up"], "step"), draws((0, len(paper.SEARCH_DECAYS)), "weight_decay")
        return {"p_up": both, "p_down": both, "weight_decay": [paper.SEARCH_DECAYS[int(place)] for place in places]}
    return {name: draws(ends, name) for name, ends in paper.SEARCH_RANGES.items()}


def settings(constants: dict[str, list[float]]) -> list[dict[str, float]]:
    """The constants of each trial."""
    return [dict(zip(constants, values, strict=True)) for values in zip(*constants.values(), strict=True)]


def sequence_of(config: Config, scenario: str, name: str, seeds: Sequence[int]) -> list[tasks.Task]:
    """The tasks of a scenario on a data set; every seed has pixel orders of its own."""
    data = load(replace(config, data=name))
    if scenario == "split":
        return tasks.split(data, device=config.device)
    if scenario == "single":
        return tasks.single(data, device=config.device)
    shared = seeds[0] if len(set(seeds)) == 1 else seeds
    return tasks.permuted(data, tasks=config.tasks, seeds=shared, device=config.device)


def score(objective: str, dataset: xarray.Dataset) -> xarray.DataArray:
    """What is searched for, [setting, seed]; NaN where a replica failed."""
    if objective == "energy":
        return outcomes.bits_per(dataset).drop_vars(["task", "epoch"]).transpose("setting", "seed")
    # outcomes.final rounds otherwise, and another one of equally good trials would be the best.
    end = dataset.accuracy.where(~dataset.failed).isel(after_task=-1, drop=True)
    found: xarray.DataArray = 100 * end.mean("test_task", skipna=False)
    return found.transpose("setting", "seed")


def train(
    config: Config, name: str, target: tuple[str, str], sweep: synsim.Sweep, session: Session
) -> xarray.DataArray:
    """Scores of all settings of the constants on all seeds: replicas of one program."""
    sequence, lifelong = sequence_of(config, *target, sweep.seeds), config.objective == "lifelong"
    sizes = [sequence[0].inputs, *config.hidden, sequence[0].classes]
    net = synsim.mlp(sizes, p=paper.P_INITIAL, replicas=sweep, device=config.device)
    constants: dict[str, Any] = FIXED | {constant: sweep.column(constant) for constant in sweep.names}
    rate = paper.RATES.get(target[0], paper.ENERGY_RATES["plastic"])
    rule = synsim.PresynapticSGD(net, rate, modulate_lr=lifelong, train_bias=False, **constants)
    phase = session.fit(
        name,
        net,
        rule,
        sequence,
        sweep=sweep,
        keep=False,
        tolerant=name == "search",
        epochs=config.epochs,
        batch=config.batch,
        test_every_epoch=False,
        test_ahead=False,
        probes={} if lifelong else probes("energy", "information"),
    )
    return score(config.objective, phase.dataset)


def targets(config: Config) -> list[tuple[str, str]]:
    """Scenarios and data on which the best constants are tried: those of the search, and to which they are carried."""
    carried = config.transfer or (config.data,)
    if config.objective == "energy":
        return [("single", data) for data in dict.fromkeys((config.data, *carried))]
    permuted = dict.fromkeys((config.data, *carried))
    return [*(("permuted", data) for data in permuted), *(("split", data) for data in dict.fromkeys(carried))]


def measure(config: Config, session: Session) -> xarray.Dataset:
    """Search, and carry the best constants over; the last trial has the published constants."""
    known, places = paper.SEARCHED[config.objective], {" ".join(target): target for target in targets(config)}
    tried = [*settings(drawn(config.objective, config.trials, config.search_seed)), known]
    search, first = synsim.Sweep(tried, [config.trial_seed]), targets(config)[0]
    trials = train(config, "search", first, search, session).isel(seed=0, drop=True)
    if not bool(trials[:-1].notnull().any()):
        raise ValueError("every trial diverged; nothing can be chosen. Look at the data and the learning rate.")
    best = int(trials[:-1].argmax("setting"))
    both = synsim.Sweep([tried[best], known], config.seeds)

    def carried(target: str) -> xarray.Dataset:
        scores = train(config, f"{BEST}, {target}", places[target], both, session)
        return scores.drop_vars(both.names).to_dataset(name="carried")

    found = trials.rename(setting="trial").to_dataset(name="score").reset_coords()
    found["published"] = found.trial == config.trials
    elsewhere = nested(carried, target=list(places)).rename(setting="constants").assign_coords(constants=[BEST, KNOWN])
    metric = FINAL if config.objective == "lifelong" else BITS
    return found.merge(elsewhere).assign_attrs(objective=config.objective, metric=metric, best=best)


def rows(config: Config, dataset: xarray.Dataset) -> list[tables.Row]:
    """The trials, and the best beside the published constants on the reported seeds."""
    metric, trials = dataset.attrs["metric"], {BEST: int(dataset.attrs["best"]), KNOWN: config.trials}
    names = tuple(paper.SEARCHED[config.objective])
    constants = {name: {key: float(dataset[key][trial]) for key in names} for name, trial in trials.items()}
    searched, scores = f"{metric}; seed {config.trial_seed}", dataset.score.values
    made = [tables.row("all trials", f"{searched}, errors over trials", scores[: config.trials])]
    for name, trial in trials.items():
        made.append(tables.row(name, searched, scores[[trial]], setting=constants[name]))
    where = {" ".join(target): f"{metric}; {', '.join(target)}" for target in targets(config)}
    for target, name in itertools.product(targets(config), trials):
        values = dataset.carried.sel(target=" ".join(target), constants=name)
        table = paper.TABLE_4_1.get(target, {}) if (name, config.objective) == (KNOWN, "lifelong") else {}
        published = table.get("presynaptic")
        made.append(tables.row(name, where[" ".join(target)], values, published, setting=constants[name]))
    for (_, carried, one), (*_, other), gap, test in outcomes.differences("search", dataset):
        made.append(tables.row(f"{one} − {other}", f"{where[carried]}, difference", gap, test=test))
    return made


def remarks(config: Config, dataset: xarray.Dataset) -> list[str]:
    """How the constants were chosen."""
    trials = f"{config.trials} trials on seed {config.trial_seed}, which is not reported"
    return [f"{trials} (the authors' number: not stated)."]


EXPERIMENT = Experiment(Config, measure, rows, __doc__, remarks)

if __name__ == "__main__":
    EXPERIMENT.main()
