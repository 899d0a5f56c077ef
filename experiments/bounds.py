"""The printed rule of the release probability (hard bounds) against that of the published code (soft; a study of ours).

Hard: p ± step, clamped. Soft: the step is scaled by (1 − p). Each rule learns with the published constants, which were
tuned for the soft one, and with its own: the best of as many random draws for either, on seeds that are not reported.
Objectives: accuracy over all tasks of a split data set, and bits per energy.
"""

from functools import partial
from itertools import product
from typing import Any

import search as random_search
import xarray
from common import NetworkConfig, load, mean_p, nested, prefixed, probes, share_above, single
from lines import BITS, OVER_ALL, rows_of

import synsim
from synsim import outcomes, streams, tables, tasks
from synsim.experiment import Experiment, Session, by_preset, option
from synsim.papers.schug2021 import DECAY, ENERGY_RATES, IMPORTANT, P_INITIAL, RATES, SEARCH_RANGES, SEARCHED

RULES = ("soft", "hard")
UNITS = {"lifelong": OVER_ALL, "energy": BITS}
CONSTANTS = ("published", "own")


class Config(NetworkConfig):
    epochs: int = by_preset("passes over each task of the lifelong part", quick=3, paper=10)
    energy_epochs: int = by_preset("passes of the energy part", quick=3, paper=50)
    parts: tuple[str, ...] = option(tuple(UNITS), "objectives", tuple(UNITS), neutral=True)
    trials: int = by_preset("draws of the constants per rule", least=1, quick=12, paper=32)
    selection: int = option(1, "seed of the search", chooses=True)
    decay: float = option(DECAY, "weight decay of the energy part", neutral=True)


def published(part: str) -> dict[str, float]:
    """The published constants that are searched for."""
    return {name: value for name, value in SEARCHED[part].items() if name in SEARCH_RANGES}


def drawn(config: Config, part: str) -> list[dict[str, float]]:
    """Constants of all trials; the same for both rules."""
    found = {}
    for name in published(part):
        keys = streams.keys("init", [config.selection], f"bounds/{name}")
        found[name] = random_search.uniform(SEARCH_RANGES[name], config.trials, keys)
    if part == "energy":
        found["p_down"] = found["p_up"]
    return random_search.settings(found)


def train(config: Config, part: str, rule: str, sweep: synsim.Sweep, name: str, session: Session) -> xarray.Dataset:
    """Train replicas with their own constants; objective and release probabilities at the end, [setting, seed]."""
    lifelong = part == "lifelong"
    sequence = tasks.split(load(config), device=config.device) if lifelong else [single(config)]
    sizes = [sequence[0].inputs, *config.hidden, sequence[0].classes]
    net = synsim.mlp(sizes, p=P_INITIAL, replicas=sweep, device=config.device)
    constants: dict[str, Any] = random_search.FIXED | {key: sweep.column(key) for key in sweep.names}
    optimiser = synsim.PresynapticSGD(
        net,
        RATES["split"] if lifelong else ENERGY_RATES["plastic"],
        modulate_lr=lifelong,
        weight_decay=0.0 if lifelong else config.decay,
        bounds=rule,
        **constants,
    )
    epochs = config.epochs if lifelong else config.energy_epochs
    fate = {"mean_p": mean_p, "sure_share": share_above(IMPORTANT)}
    found = session.fit(
        name,
        net,
        optimiser,
        sequence,
        sweep=sweep,
        epochs=epochs,
        batch=config.batch,
        test_every_epoch=False,
        probes=fate if lifelong else fate | probes("energy", "information"),
        probe_every=epochs,
    ).dataset
    end = found.isel(task=-1, epoch=-1, drop=True).where(~found.failed)
    return end[["mean_p", "sure_share"]].assign(score=random_search.score(part, found))


def compared(config: Config, part: str, rule: str, session: Session) -> xarray.Dataset:
    """A rule with the published constants, and with its own: the best of those drawn."""
    trials = synsim.Sweep(drawn(config, part), [config.selection])
    search = train(config, part, rule, trials, f"{part}, {rule}, search", session).score.values[:, 0]
    own = trials.settings[trials.best(search)]

    def reported(constants: str) -> xarray.Dataset:
        sweep = synsim.Sweep([published(part) if constants == "published" else own], config.seeds)
        return train(config, part, rule, sweep, f"{part}, {rule}, {constants}", session).isel(setting=0, drop=True)

    found = nested(reported, constants=CONSTANTS).rename(seed="replica")
    return found.assign(search=("trial", search), chosen=("constant", list(own.values())))


def measure(config: Config, session: Session) -> xarray.Dataset:
    """Both rules in all parts; what is of one part is called so."""
    parts = []
    for part in config.parts:
        found = nested(partial(compared, config, part, session=session), rule=RULES)
        constants = {name: [trial[name] for trial in drawn(config, part)] for name in published(part)}
        found = found.assign(drawn=(("constant", "trial"), list(constants.values())))
        found = found.assign_coords(constant=list(constants), seed=("replica", list(config.seeds))).drop_vars("replica")
        parts.append(prefixed(found, part, but=("rule", "constants", "replica", "seed", "trial")))
    return xarray.merge(parts, compat="no_conflicts", join="outer")


def rows(config: Config, dataset: xarray.Dataset) -> list[tables.Row]:
    """Both rules with both sets of constants, and soft minus hard bounds with paired tests."""
    made = []
    for part, rule, constants in product(config.parts, RULES, CONSTANTS):
        found = dataset.sel(rule=rule, constants=constants)
        own = zip(found[f"{part}_constant"].values.tolist(), found[f"{part}_chosen"].values.tolist(), strict=True)
        values = published(part) if constants == "published" else dict(own)
        metrics = {UNITS[part]: found[f"{part}_score"], f"{part}: mean p at the end": found[f"{part}_mean_p"]}
        setting = {"rule": rule, "constants": constants, **values}
        made += rows_of(f"{rule} bounds, {constants} constants", metrics, setting=setting)
    for (part, constants, one), (*_, other), gap, test in outcomes.differences("bounds", dataset):
        name = f"{one} − {other}, {constants} constants"
        made.append(tables.row(name, f"{UNITS[part]}, difference", gap, test=test))
    return made


EXPERIMENT = Experiment(Config, measure, rows, __doc__)

if __name__ == "__main__":
    EXPERIMENT.main()
