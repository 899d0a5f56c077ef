"""Both stories of the package in a minute, on the bundled digits: energy, and learning without forgetting.

The digits are few and small, so epochs, batches, rates and decays differ from the paper's; no number here is a
published one. Those of the lifelong part are the best of eight settings on other seeds, where consolidation
gained between −2 and +1.5 points: a small effect, and a selected one.
"""

import sys
from pathlib import Path

import energy
import lifelong
import numpy as np
import xarray
from common import prefixed

from synsim import outcomes, tables
from synsim.experiment import Experiment, RunConfig, Session, option

# The figures are those of the analysis scripts, which lie beside this folder.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from analysis import energy as energy_figures
from analysis import lifelong as lifelong_figures


class Config(RunConfig):
    data: str = option("digits", "data set", ("digits",))
    epochs: int = option(60, "passes over the digits in the energy part; a split task takes a third more")


def parts(config: Config) -> tuple[energy.Config, lifelong.Config]:
    """The configs of both parts."""
    names = ("data", "data_dir", "seeds", "device", "threads", "out", "checkpoint_every", "quiet")
    shared = {name: getattr(config, name) for name in names}
    split = max(1, config.epochs * 4 // 3)
    return (
        energy.Config(**shared, epochs=config.epochs, batch=20, decays=(0.02, 0.05)),
        lifelong.Config(**shared, epochs=split, batch=20, lr=0.002, methods=("presynaptic", "none")),
    )


def measure(config: Config, session: Session) -> xarray.Dataset:
    """Run both parts; names of variables and axes begin with their part's."""
    costs, memories = parts(config)
    spent, kept = energy.measure(costs, session), lifelong.measure(memories, session)
    return xarray.merge([prefixed(spent, "energy"), prefixed(kept, "lifelong")])


def separate(dataset: xarray.Dataset) -> tuple[xarray.Dataset, xarray.Dataset]:
    """What each part measured, under its own names."""
    costs, memories = (outcomes.part(dataset, lead) or xarray.Dataset() for lead in ("energy", "lifelong"))
    return costs, memories


def rows(config: Config, dataset: xarray.Dataset) -> list[tables.Row]:
    """The rows of both parts; what is tested comes with the settings that make the difference what it is."""
    (first, second), (costs, memories) = parts(config), separate(dataset)
    energies: dict[str, object] = {
        "epochs": first.epochs,
        "batch": first.batch,
        "decays": " and ".join(map(str, first.decays)),
    }
    accuracies: dict[str, object] = {"epochs": second.epochs, "batch": second.batch, "rate": second.lr}
    told = [("energy", energies, row) for row in energy.rows(first, costs)]
    told += [("split digits", accuracies, row) for row in lifelong.rows(second, memories)]
    made = []
    for part, settings, row in told:
        setting = {**row.get("setting", {}), **(settings if "test" in row else {})}
        made.append({**row, "method": f"{part}: {row['method']}", "setting": setting})
    return made


def remarks(config: Config, dataset: xarray.Dataset) -> list[str]:
    """What makes the orders in the table, and how sure they are; draws the figures."""
    (first, _), (costs, memories) = parts(config), separate(dataset)
    folder = Path(config.out) / "figures"
    files = [*energy_figures.draw(costs, folder), *lifelong_figures.draw(memories, folder)]
    drawn = " ".join(str(file) for file in files if file.suffix == ".png")
    return [order(first, costs), gain(memories), f"figures: {drawn}"]


def order(config: energy.Config, costs: xarray.Dataset) -> str:
    """Which settings make the order of the models."""
    bits = (costs.information / costs.energy).isel(task=0, drop=True).mean("seed").max("decay").transpose("epoch", ...)
    ranks = [[str(one) for one in bits.model[np.argsort(-epoch.values)].values] for epoch in bits]
    other = [place for place, rank in enumerate(ranks, start=1) if rank != ranks[-1]]
    decays = " and ".join(map(str, config.decays))
    text = (
        f"energy: {' > '.join(ranks[-1])} in bits per energy is the order at these settings: {config.epochs} epochs, "
        f"batches of {config.batch}, weight decays {decays}."
    )
    return f"{text} After epoch {other[-1]} it was {' > '.join(ranks[other[-1] - 1])}." if other else text


def gain(memories: xarray.Dataset) -> str:
    """Whether consolidation is significantly better than none."""
    tests = outcomes.tests("lifelong", outcomes.of("lifelong", memories))
    test = tests.between("final", "presynaptic", "none")
    if test is None:
        return "split digits: too few seeds to tell presynaptic consolidation from none."
    found = "is significant" if test.p_holm < 0.05 else "is not significant"
    return (
        f"split digits: presynaptic − none, {test.difference:.1f} points, {found} here (p = {test.p_holm:.2g}); "
        "its settings are the best of eight on other seeds. Split MNIST (lifelong.py) shows the effect."
    )


EXPERIMENT = Experiment(Config, measure, rows, __doc__, remarks)

if __name__ == "__main__":
    EXPERIMENT.main()
