"""Does descent on neurons forget more? SGD, Adam, FOOF and KFAC on split and permuted tasks, under every consolidation.

Every rule has the rate at which it learns best without protection (accuracy on each task right after it), chosen on
seeds that are not reported; at that rate every consolidation, fed by the Fisher information, has its strength chosen by
the accuracy over all tasks. What each rate learns and forgets without protection is kept too, since a rule that learns
less has less to forget. Nobody has published this.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
import xarray
from combinations import GRIDS, Scaled, tested
from common import StepsConfig, choice, importance_of, load, nested, paired, remembered, scenario, some_of, swept
from lines import OVER_ALL, rows_of
from torch import nn
from torch.optim import Optimizer

import synsim
from synsim import Sweep, consolidation, tables
from synsim.experiment import Experiment, Protection, Session, by_preset, option

# Around what each learns Split MNIST with; damping λ of the rules that have one, for a batch of 100.
RATES = {
    "sgd": (0.01, 0.03, 0.1, 0.3),
    "adam": (1e-4, 3e-4, 1e-3, 3e-3),
    "foof": (3.0, 10.0, 30.0, 100.0),
    "kfac": (0.03, 0.1, 0.3, 1.0),
}
TORCH: Mapping[str, Callable[..., Optimizer]] = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}
DAMPINGS = {"foof": 100.0, "kfac": 1.0}
NEURONS, WEIGHTS = ("foof", "kfac"), ("sgd", "adam")
NONE = "none"
MEASURES = {"final": OVER_ALL, "learned": "accuracy right after learning, %", "forgotten": "forgotten, points"}
FAMILIES = {
    "final": "accuracy over all tasks: descent on neurons against descent on weights",
    "forgotten": "forgotten without protection: descent on neurons against descent on weights",
}


class Config(StepsConfig):
    selection: tuple[int, ...] = option((101, 102), "seeds that choose among several settings", chooses=True)
    scenario: str = option(
        "split", "split: pairs of classes, parity label; permuted: pixel orders", ("split", "permuted"), neutral=True
    )
    rules: tuple[str, ...] = some_of(RATES, "rules")
    consolidations: tuple[str, ...] = some_of(GRIDS, "kinds of consolidation")
    tasks: int = by_preset("number of permuted tasks", of=("scenario", ("permuted",)), quick=5, full=10)
    steps: int = by_preset("steps per task", least=1, quick=80, full=600)
    hidden: tuple[int, ...] = by_preset("widths of the hidden layers", quick=(100, 100), full=(200, 200))
    batch: int = option(100, "examples per step")
    images: int = by_preset("images for the Fisher information after a task", quick=500, full=1000)


def rule(name: str, net: nn.Module, sweep: Sweep) -> Optimizer:
    """A rule with one rate per replica, or for those of torch with that of its program."""
    if name in TORCH:
        return TORCH[name](net.parameters(), lr=sweep.settings[0]["rate"])
    kind = synsim.FOOF if name == "foof" else synsim.KFAC
    return kind(net, sweep.column("rate"), DAMPINGS[name], period=20, warmup=20)


def trained(
    config: Config, session: Session, name: str, how: str, settings: Sequence[Mapping[str, float]], seeds: Sequence[int]
) -> xarray.Dataset:
    """Settings of a cell on some seeds: what is learned, kept and forgotten, [setting, seed]."""

    def run(sweep: Sweep, phase: str) -> xarray.Dataset:
        sequence, protection = scenario(config, load(config), sweep.seeds), None
        sizes = [sequence[0].inputs, *config.hidden, sequence[0].classes]
        net = synsim.mlp(sizes, p=1.0, replicas=sweep, device=config.device)
        if how != NONE:
            # Divided by its mean, so that a grid fits all rules.
            fisher = Scaled(importance_of("fisher", sequence, images=config.images))
            protection = Protection(fisher, consolidation.make(how, **{GRIDS[how][0]: sweep.column("strength")}))
        made = session.fit(
            phase, net, rule(name, net, sweep), sequence, sweep=sweep, keep=False, protection=protection,
            # That a large rate diverges is its result.
            tolerant=True, steps=config.steps, batch=config.batch, tested_by=tested, test_every_epoch=False,
        )  # fmt: skip
        return remembered(made.dataset)

    label = f"{name}, {how}, chosen among" if tuple(seeds) == config.selection else f"{name}, {how}"
    return swept(run, settings, seeds, *(("rate",) if name in TORCH else ()), phase=label)


def of_rule(config: Config, session: Session, rule: str) -> xarray.Dataset:
    """All cells of a rule, [consolidation, seed], and what each rate does without protection, [place, selection]."""
    settings = [{"rate": rate, "strength": 0.0} for rate in RATES[rule]]
    tried = trained(config, session, rule, NONE, settings, config.selection)
    chosen = choice(tried.learned, most=True)

    def cell(consolidation: str) -> xarray.Dataset:
        if consolidation == NONE:
            return trained(config, session, rule, NONE, [settings[chosen]], config.seeds).isel(setting=0)
        grid = [{**settings[chosen], "strength": strength} for strength in GRIDS[consolidation][1]]
        found = trained(config, session, rule, consolidation, grid, config.selection)
        place = choice(found.final, most=True)
        made = trained(config, session, rule, consolidation, [grid[place]], config.seeds).isel(setting=0)
        return made.assign(strength=grid[place]["strength"], edge=float(place in (0, len(grid) - 1)))

    made = nested(cell, consolidation=(NONE, *config.consolidations)).assign(rate=RATES[rule][chosen])
    along = tried.rename({"setting": "place", "seed": "selection", **{name: f"tried_{name}" for name in MEASURES}})
    return made.merge(along.assign(tried_rate=("place", list(RATES[rule]))))


def measure(config: Config, session: Session) -> xarray.Dataset:
    """Every rule under every consolidation."""
    return nested(partial(of_rule, config, session), rule=config.rules)


def rows(config: Config, dataset: xarray.Dataset) -> list[tables.Row]:
    """Accuracy, learning and forgetting of every cell; descent on neurons against descent on weights."""
    couples = [pair for pair in itertools.product(NEURONS, WEIGHTS) if set(pair) <= set(config.rules)]
    made, kinds = list[tables.Row](), (NONE, *config.consolidations)
    for how, name in itertools.product(kinds, config.rules):
        one = dataset.sel(rule=name, consolidation=how)
        setting = {"rule": name, "consolidation": how, "rate": float(one.rate)}
        if how != NONE:
            setting |= {GRIDS[how][0]: float(one.strength), "edge": bool(one.edge)}
        values = {metric: one[key].values for key, metric in MEASURES.items()}
        made += rows_of(f"{name}, {how}", values, setting=setting)
    for how in kinds:
        for key in ("final", "forgotten") if how == NONE else ("final",):
            of = dataset[key].sel(consolidation=how)
            pairs = {f"{a} − {b}, {how}": (of.sel(rule=a).values, of.sel(rule=b).values) for a, b in couples}
            made += paired(f"{FAMILIES[key]}, {how}", f"{MEASURES[key]}, difference", pairs)
    return made


def remarks(config: Config, dataset: xarray.Dataset) -> list[str]:
    """What was chosen, and the answer in a line."""
    rates = ", ".join(f"{name} {float(dataset.rate.sel(rule=name)):g}" for name in config.rules)
    forgotten = dataset.forgotten.sel(consolidation=NONE).mean("seed")
    told = ", ".join(f"{name} {float(forgotten.sel(rule=name)):.1f}" for name in config.rules)
    edges, strengths = int((dataset.edge == 1).sum()), int(dataset.strength.notnull().sum())
    return [
        f"Rates at which each learns best, on seeds {list(config.selection)}: {rates}.",
        f"Points forgotten without protection at these rates: {told}.",
        f"{edges} of {strengths} strengths are at an end of their grid.",
    ]


EXPERIMENT = Experiment(Config, measure, rows, __doc__, remarks)

if __name__ == "__main__":
    EXPERIMENT.main()
