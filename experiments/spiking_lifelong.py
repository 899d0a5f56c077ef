"""Learning tasks in sequence with a spiking network: presynaptic consolidation, EWC, and no protection.

Pairs of classes one after another, with the parity as the label, as in the published experiment with rate networks
(`lifelong.py`). Every method has the best learning rate of the same grid, EWC also the best strength: chosen by the
accuracy over all tasks at the end on selection seeds, which are not reported. All settings and seeds of a method are
replicas of one program. None of this is published.
"""

from itertools import product
from typing import Any

import numpy as np
import xarray
from common import importance_of, models, probes, share_above, shortened, some_of
from lines import FINAL, FIRST, Line, differences, rows_of
from spiking_common import NETWORK, SpikingConfig, entrance, images_or_spikes

import synsim
from synsim import consolidation, forgetting, outcomes, tables, tasks
from synsim.experiment import Experiment, Protection, Session, by_preset, option
from synsim.papers.schug2021 import P_INITIAL

# Those of the published rate networks do not fit gradients that pass through spikes: see docs/searches.md.
CONSTANTS: dict[str, Any] = {"p_up": 0.02, "p_down": 0.003, "g_lim": 0.0004, "p_min": 0.25, "p_freeze": 0.91}
EWC = ("methods", ("ewc",))


class Config(SpikingConfig):
    epochs: int = by_preset("passes over each task", quick=1, full=2)
    images: int | None = by_preset("training images (per task), the first ones", quick=4000, full=12000)
    tested: int | None = by_preset("test images (per task), the first ones", quick=500, full=2000)
    samples: int = by_preset("stochastic passes per test", quick=2, full=10)
    hidden: tuple[int, ...] = by_preset("widths of the hidden layers", quick=(100,), full=(200,))
    methods: tuple[str, ...] = some_of(("presynaptic", "none", "ewc"), "methods to compare")
    selection: tuple[int, ...] = option((1, 2), "seeds on which rates and strengths are chosen", chooses=True)
    rates: tuple[float, ...] = option((0.0007, 0.0014, 0.0028, 0.0056, 0.011, 0.022), "learning rates of every method")
    strengths: tuple[float, ...] = option((1.0, 10.0, 100.0, 1000.0), "strengths of EWC", of=EWC)
    ewc_rates: tuple[float, ...] = option((0.0007, 0.0014, 0.0028), "learning rates of EWC, part of the grid", of=EWC)
    window: float = option(20.0, "how long an image is shown, ms (spike trains have their own)")
    rate: float = option(200.0, "Poisson rate of a pixel of 1, Hz")
    batch: int = option(50, "examples per step")


def grid(config: Config, method: str) -> list[dict[str, float]]:
    """The settings that are tried: learning rates, and strengths of EWC's penalty."""
    if method == "ewc":
        return [{"rate": rate, "strength": strength} for rate, strength in product(config.ewc_rates, config.strengths)]
    return [{"rate": rate} for rate in config.rates]


def train(config: Config, phase: str, method: str, sweep: synsim.Sweep, session: Session) -> xarray.Dataset:
    """Train a method on all tasks, with one replica per setting and seed."""
    data = images_or_spikes(config)
    learned = [
        shortened(task, config.images, config.tested) for task in tasks.split(data, pixels="unit", device=config.device)
    ]
    inputs, shown = entrance(data, config.window, 1.0, config.rate, sweep.replicas)
    presynaptic = method == "presynaptic"
    net = synsim.spiking.spiking_mlp(
        [inputs, *config.hidden, learned[0].classes],
        p=P_INITIAL if presynaptic else 1.0,
        replicas=sweep,
        device=config.device,
        **shown,
        **NETWORK,
    )
    rule = synsim.PresynapticSGD(net, sweep.column("rate"), modulate_lr=presynaptic, plastic=presynaptic, **CONSTANTS)
    return session.fit(
        phase,
        net,
        rule,
        learned,
        seeds=sweep.seeds,
        tolerant=len(sweep) > 1,
        keep=False,
        epochs=config.epochs,
        batch=config.batch,
        samples=config.samples,
        test_every_epoch=False,
        test_ahead=False,
        probes=probes("mean_p", "energy", frozen_share=share_above(CONSTANTS["p_freeze"])),
        protection=ewc(learned, sweep) if method == "ewc" else None,
    ).dataset


def ewc(learned: list[tasks.Task], sweep: synsim.Sweep) -> Protection:
    """Elastic weight consolidation, with the Fisher information of each task."""
    fisher = importance_of("fisher", learned, images=500)
    penalty = consolidation.make("penalty", strength=sweep.column("strength"), factor=0.5)
    return Protection(fisher, penalty)


def chosen(config: Config, method: str, scores: np.ndarray) -> dict[str, float]:
    """The best setting by the scores of all, for each of them those of the selection seeds."""
    sweep = synsim.Sweep(grid(config, method), config.selection)
    try:
        return sweep.settings[sweep.best(scores.ravel())]
    except ValueError as error:
        raise ValueError(f"{method}: {error} Try smaller --rates or --strengths.") from error


def measure(config: Config, session: Session) -> xarray.Dataset:
    """Choose the setting of every method on the selection seeds, then train it; both searches and results."""
    trained: dict[str, xarray.Dataset] = {}
    searches: dict[str, Any] = {}
    for method in config.methods:
        settings = grid(config, method)
        search = train(config, f"selection {method}", method, synsim.Sweep(settings, config.selection), session)
        scores = outcomes.final(search).values.reshape(len(settings), len(config.selection))
        best = chosen(config, method, scores)
        trained[method] = train(config, method, method, synsim.Sweep([best], config.seeds), session)
        axis = f"setting_{method}"
        searches[f"selection_{method}"] = (axis, "selection_seed"), scores
        for name in ("rate", "strength"):
            searches[f"selected_{name}_{method}"] = axis, [setting.get(name, 0.0) for setting in settings]
    return models(trained).assign(searches).assign_coords(selection_seed=list(config.selection))


def rows(config: Config, dataset: xarray.Dataset) -> list[tables.Row]:
    """What every method keeps, learns and forgets, and the tests of presynaptic consolidation against the others."""
    made = []
    for method in config.methods:
        found = dataset.sel(model=method)
        setting = chosen(config, method, dataset[f"selection_{method}"].values)
        shown = ", ".join(f"{name} {value:g}" for name, value in setting.items())
        metrics: dict[str, Any] = {
            f"{FINAL}; {shown}": outcomes.final(found),
            FIRST: outcomes.first(found),
            "accuracy on each task when learned, %": outcomes.learned(found).mean("test_task", skipna=False),
        }
        if dataset.sizes["after_task"] > 1:
            metrics["forgetting, points"] = forgetting.forgetting(outcomes.accuracies(found).values)
        made += rows_of(method, metrics, setting=setting)
    line = Line(("one", "other"), "{one} − {other}", "points")
    return made + differences("spiking_lifelong", dataset, {"final": line})


def remarks(config: Config, dataset: xarray.Dataset) -> list[str]:
    """On which seeds the settings were chosen."""
    return [f"settings chosen on seeds {', '.join(map(str, config.selection))}, which are not reported"]


EXPERIMENT = Experiment(Config, measure, rows, __doc__, remarks)

if __name__ == "__main__":
    EXPERIMENT.main()
