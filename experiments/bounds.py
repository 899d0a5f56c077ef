"""The printed rule of the release probability (hard bounds) against that of the published code (soft; a study of ours).

Hard: p ± step, clamped. Soft: the step is scaled by (1 − p). Each rule learns with the published constants, which were
tuned for the soft one, and with its own: the best of as many random draws for either, on seeds that are not reported.
Objectives: accuracy over all tasks of a split data set, and bits per energy.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
import xarray
from common import PresetConfig, Presets, finish, flat_p, load, mean_p, run

import synsim
from synsim import statistics, streams, tables, tasks
from synsim.meters import energy, mutual_information
from synsim.networks import initialised
from synsim.papers.schug2021 import (
    CONSTANTS,
    DECAY,
    ENERGY_CONSTANTS,
    ENERGY_RATES,
    IMPORTANT,
    P_INITIAL,
    RATES,
    SEARCH_FREEZE,
    SEARCH_STEPS,
)
from synsim.training import History, Session, fit
from synsim.training.command import option, parse
from synsim.training.session import PhaseStore

RULES = ("soft", "hard")
PARTS = ("lifelong", "energy")
Constants = dict[str, Any]


def chosen(constants: Mapping[str, Any], *names: str) -> Constants:
    """Some of the constants."""
    return {name: constants[name] for name in names}


FIXED: dict[str, Constants] = {
    "lifelong": {"lr": RATES["split"], "modulate_lr": True, "train_bias": False, **chosen(CONSTANTS, "g_lim", "p_min")},
    "energy": {"lr": ENERGY_RATES["plastic"], **chosen(ENERGY_CONSTANTS, "g_lim", "p_min")},
}
PUBLISHED: dict[str, dict[str, float]] = {
    "lifelong": chosen(CONSTANTS, "p_up", "p_down", "p_freeze"),
    "energy": chosen(ENERGY_CONSTANTS, "p_up", "p_down"),
}
RANGES = {"p_up": SEARCH_STEPS, "p_down": SEARCH_STEPS, "p_freeze": SEARCH_FREEZE}
UNITS = {"lifelong": "accuracy over all tasks, %", "energy": "10⁻³ bits per energy"}


@dataclass(frozen=True, kw_only=True)
class Config(PresetConfig):
    """Options of this experiment."""

    PRESETS: ClassVar[Presets] = {
        "quick": {"epochs": 3, "energy_epochs": 3, "trials": 12},
        "paper": {"epochs": 10, "energy_epochs": 50, "trials": 32},
    }
    out: str = option("runs/bounds", "folder of the run")
    epochs: int | None = option(None, "passes over each task of the lifelong part (default: from the preset)")
    energy_epochs: int | None = option(None, "passes of the energy part (default: from the preset)")
    parts: tuple[str, ...] = option(PARTS, "objectives", PARTS, neutral=True)
    trials: int | None = option(None, "draws of the constants per rule (default: from the preset)")
    selection: int = option(1, "seed of the search; not reported")
    decay: float = option(DECAY, "weight decay of the energy part", neutral=True)
    hidden: tuple[int, ...] = option((200, 200), "widths of the hidden layers")
    batch: int = option(100, "examples per step")

    def __post_init__(self) -> None:
        """Check what this experiment asks besides."""
        super().__post_init__()
        if self.selection in self.seeds:
            raise ValueError(f"seed {self.selection} is in --selection and in --seeds; search on another seed.")


def drawn(config: Config, part: str) -> dict[str, np.ndarray]:
    """Constants of all trials; the same for both rules."""
    found = {}
    for name in PUBLISHED[part]:
        u = streams.uniform(streams.keys("init", [config.selection], f"bounds/{name}"), config.trials or 1)[0].numpy()
        low, high = RANGES[name]
        found[name] = low + (high - low) * u
    if part == "energy":
        found["p_down"] = found["p_up"]
    return found


def train(
    config: Config, part: str, rule: str, constants: dict[str, np.ndarray], seeds: tuple[int, ...], name: str,
    session: Session,
) -> xarray.Dataset:  # fmt: skip
    """One replica per seed, each with its own constants; the objective and the mean release probability at the end."""
    data = load(config)
    lifelong = part == "lifelong"
    sequence = (tasks.split if lifelong else tasks.single)(data, device=config.device)
    sizes = [sequence[0].train[0:1].shape[-1], *config.hidden, sequence[0].classes]
    net = synsim.mlp(sizes, p=P_INITIAL, replicas=len(seeds), device=config.device)
    initialised(net, seeds, sweep=True)
    more = {key: torch.as_tensor(value) for key, value in constants.items()}
    decay = 0.0 if lifelong else config.decay
    probes = {"mean_p": mean_p, "sure_share": lambda net, task: (flat_p(net) >= IMPORTANT).double().mean(1)}
    if not lifelong:
        probes["energy"] = lambda net, task: energy(net)
        probes["information"] = lambda net, task: mutual_information(net, task.test, task.test.y)
    epochs = config.epochs if lifelong else config.energy_epochs

    def go(store: PhaseStore) -> History:
        return fit(
            net,
            synsim.PresynapticSGD(net, bounds=rule, weight_decay=decay, **FIXED[part], **more),
            sequence,
            seeds=seeds,
            epochs=epochs,
            batch=config.batch,
            test_every_epoch=False,
            probe_every=epochs or 1,
            probes=probes,
            store=store,
            progress=None if config.quiet else name,
        )

    found = session.phase(name, net, go, sweep="search" in name).dataset
    end = found.isel(task=-1, epoch=-1).where(~found.failed)
    if lifelong:
        score = 100 * found.accuracy.where(~found.failed).isel(after_task=-1).mean("test_task", skipna=False)
    else:
        score = 1000 * end.information / end.energy
    parts = {"score": score.values, "mean_p": end.mean_p.values, "sure_share": end.sure_share.values}
    return xarray.Dataset({key: ("replica", value) for key, value in parts.items()})


def compare(config: Config, part: str, session: Session) -> tuple[xarray.Dataset, list[tables.Row]]:
    """Both rules with the published constants and with their own."""
    count, trials = len(config.seeds), config.trials or 1
    draws, rows, results, searches, own = drawn(config, part), [], [], [], []
    for rule in RULES:
        same = {key: np.full(count, value) for key, value in PUBLISHED[part].items()}
        published = train(config, part, rule, same, config.seeds, f"{part}, {rule}, published", session)
        searched = train(config, part, rule, draws, (config.selection,) * trials, f"{part}, {rule}, search", session)
        best = int(np.nanargmax(searched.score.values))
        best_draw = {key: float(value[best]) for key, value in draws.items()}
        tuned = train(
            config, part, rule, {key: np.full(count, value) for key, value in best_draw.items()}, config.seeds,
            f"{part}, {rule}, own", session,
        )  # fmt: skip
        shown = ", ".join(f"{key} {value:.3g}" for key, value in best_draw.items())
        for label, found in (("published constants", published), (f"own constants ({shown})", tuned)):
            rows.append(tables.row(f"{rule} bounds, {label}", UNITS[part], found.score.values))
            rows.append(tables.row(f"{rule} bounds, {label}", f"{part}: mean p at the end", found.mean_p.values))
        results.append(xarray.concat([published, tuned], xarray.Variable("constants", ["published", "own"])))
        searches.append(searched.score.values)
        own.append(list(best_draw.values()))
    dataset = xarray.concat(results, xarray.Variable("rule", list(RULES)))
    dataset["search"] = (("rule", "trial"), np.stack(searches))
    dataset["drawn"] = (("constant", "trial"), np.stack(list(draws.values())))
    dataset["chosen"] = (("rule", "constant"), np.array(own))
    dataset = dataset.assign_coords(constant=list(draws), seed=("replica", list(config.seeds)))
    names = [*dataset.variables, *dataset.dims]
    shared = ("rule", "constants", "replica", "seed", "trial")
    return dataset.rename({str(v): f"{part}_{v}" for v in names if v not in shared}), rows


def differences(config: Config, dataset: xarray.Dataset) -> list[tables.Row]:
    """Soft minus hard bounds in every part, with paired tests whose p values are corrected for one another (Holm)."""
    pairs = {
        (part, label): [dataset[f"{part}_score"].sel(rule=rule, constants=label).values for rule in RULES]
        for part in config.parts
        for label in ("published", "own")
    }
    pairs = {key: pair for key, pair in pairs.items() if np.isfinite(pair[0] - pair[1]).sum() > 1}
    tests = {key: statistics.compare(*pair, paired=True) for key, pair in pairs.items()}
    rows = []
    for (key, test), p in zip(tests.items(), statistics.holm([test.p for test in tests.values()]), strict=True):
        part, label = key
        text = f"{UNITS[part]}, difference; paired t-test p = {test.p:.2g} (Holm {p:.2g}), g = {test.hedges_g:.2g}"
        rows.append(tables.row(f"soft − hard, {label} constants", text, pairs[key][0] - pairs[key][1]))
    return rows


def experiment(config: Config, session: Session) -> None:
    """Run both parts, print and keep the results."""
    found = [compare(config, part, session) for part in config.parts]
    dataset = xarray.merge([one for one, _ in found], compat="no_conflicts", join="outer")
    finish(session, dataset, [row for _, rows in found for row in rows] + differences(config, dataset))
    if config.reduced():
        print(f"reduced: {config.reduced()}")


if __name__ == "__main__":
    run(parse(Config, __doc__ or ""), experiment)  # type: ignore[arg-type]
