"""Every importance under one quadratic penalty on Permuted MNIST, batch 256 and 2,048 (Tables 3.1 and C.1).

Protocol: ten permutations, [0, 1] pixels, 784-2000-2000-10 with Glorot weights and biases 0.1, Adam 0.001 (its state
reset per task; 0.008 with batch 2,048), 20 epochs, L + c Σ λ (w − w*)² with summed importances around the latest task.
Strengths c and re-initialisation per method are those of the published searches, made for the full protocol; only the
c of magnitude, uniform and onaf-2048 are ours, since none are published. In the quick preset they do not fit: it never
re-initialises, and chooses every method's c among powers of ten times it, on seeds that are not reported.
"""

from collections.abc import Sequence

import torch
import xarray
from common import NetworkConfig, importance_of, models, some_of
from importance_common import begin, permuted
from lines import OVER_ALL

from synsim import Sweep, consolidation, outcomes, tables
from synsim.experiment import Experiment, Protection, Session, by_preset, option
from synsim.papers.benzing2022 import ACCURACY, BATCHES, SETTINGS, Setting

# None are published for these.
OURS = {
    "magnitude": Setting(0.01, False, "magnitude"),
    "uniform": Setting(0.01, False, "uniform"),
    "none": Setting(0.0, False, "uniform"),
    "onaf-2048": Setting(5e-4, True, "online-absolute-fisher", large=True),
}
METHODS = {**SETTINGS, **OURS}
# What is compared, of each pair of importances.
POINTS = {"difference": "points", "fall": "points, fall with the batch"}


class Config(NetworkConfig):
    hidden: tuple[int, ...] = by_preset("widths of the hidden layers", quick=(100, 100), paper=(2000, 2000))
    epochs: int = by_preset("passes over each task", quick=5, paper=20)
    selection: tuple[int, ...] = by_preset("seeds on which strengths are chosen", chooses=True, quick=(1, 2), paper=())
    methods: tuple[str, ...] = some_of(METHODS, "methods to compare")
    tasks: int = by_preset("number of permuted tasks", quick=5, paper=10)
    batch: int | None = option(  # type: ignore[assignment]
        None, "examples per step, also for the methods with large batches", least=1
    )
    exponents: tuple[int, ...] = by_preset(
        "c is chosen among 10^k times that of the method", quick=(-2, -1, 0, 1, 2), paper=(0,)
    )
    reinitialise: str | None = by_preset(
        "never, or as published (SI and its relatives)", ("never", "published"), quick="never", paper="published"
    )

    def __post_init__(self) -> None:
        """Check what this experiment asks besides."""
        super().__post_init__()
        if len(self.exponents) > 1 and not self.selection:
            raise ValueError("several --exponents need --selection, seeds on which c is chosen.")


def setting_of(config: Config, name: str) -> Setting:
    """How a method is run; whether its network starts anew with each task, the config says too."""
    setting = METHODS[name]
    return setting._replace(fresh=setting.fresh and config.reinitialise == "published")


def learned(
    config: Config, session: Session, phase: str, name: str, exponents: Sequence[int], seeds: tuple[int, ...]
) -> xarray.Dataset:
    """A method trained with 10^k times its c; every seed has pixel orders of its own."""
    setting = setting_of(config, name)
    sweep = Sweep({"exponent": exponents}, seeds)
    sequence, net = permuted(config, config.tasks, sweep)
    batch, rate = BATCHES[setting.large]
    protection = Protection(
        importance_of(setting.importance, sequence, **setting.options),
        consolidation.make("penalty", strength=sweep.column(lambda one: setting.strength * 10.0 ** one["exponent"])),
        reset_optimiser=True,
        reinitialise=begin if setting.fresh else None,
    )
    return session.fit(
        phase,
        net,
        torch.optim.Adam(net.parameters(), lr=rate),
        sequence,
        sweep=sweep if len(sweep) > 1 else None,
        keep=False,
        epochs=config.epochs,
        batch=config.batch or batch,
        samples=1,
        protection=protection,
        test_every_epoch=False,
    ).dataset


def chosen(config: Config, name: str, searched: xarray.Dataset) -> tuple[int, bool]:
    """Which k is the best one for a method, and whether it is an end of the grid."""
    if name not in searched.get("searched", ()):
        return config.exponents[0], False
    means = searched.search_percent.sel(searched=name).mean("selection", skipna=False)
    best = int(means.fillna(-1.0).idxmax("exponent"))
    return best, best in (min(config.exponents), max(config.exponents))


def measure(config: Config, session: Session) -> xarray.Dataset:
    """Choose c of every method that has a choice, [searched, exponent, selection]; then train with it."""
    exponents, searched = sorted(config.exponents), xarray.Dataset()
    names = [name for name in config.methods if len(exponents) > 1 and setting_of(config, name).strength]
    if names:
        tried = [learned(config, session, f"{name}, search", name, exponents, config.selection) for name in names]
        found = xarray.concat([outcomes.final(one) for one in tried], xarray.Variable("searched", names))
        searched["search_percent"] = found.rename(seed="selection")
    own = {name: (chosen(config, name, searched)[0],) for name in config.methods}
    trained = {name: learned(config, session, name, name, exponent, config.seeds) for name, exponent in own.items()}
    return models(trained).merge(searched, combine_attrs="override")


def rows(config: Config, dataset: xarray.Dataset) -> list[tables.Row]:
    """Accuracies, the differences that matter with their tests, and times."""
    made, final = [], outcomes.final(dataset)
    for name in config.methods:
        method, (exponent, edge) = setting_of(config, name), chosen(config, name, dataset)
        setting = {"c": method.strength * 10.0**exponent, "edge": edge, "re-initialised": method.fresh}
        made.append(tables.row(name, OVER_ALL, final.sel(model=name).values, ACCURACY.get(name), setting=setting))
    for (kind, pair), _, points, test in outcomes.differences("importances", dataset):
        made.append(tables.row(pair, POINTS[kind], points, test=test))
    for name in config.methods:
        seconds = float(dataset.seconds.sel(model=name).sum()) / len(config.seeds)
        made.append(tables.row(name, "training of one run, s", [seconds]))
    return made


def remarks(config: Config, dataset: xarray.Dataset) -> list[str]:
    """How strengths were chosen."""
    how = f"c chosen on seeds {list(config.selection)}, not reported; edge: at the end of its grid"
    return [how] if "search_percent" in dataset else []


EXPERIMENT = Experiment(Config, measure, rows, __doc__, remarks)

if __name__ == "__main__":
    EXPERIMENT.main()
