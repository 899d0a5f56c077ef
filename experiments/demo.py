"""Both stories of the package in a minute, on the bundled digits: energy, and learning without forgetting.

The digits are few and small, so epochs, batches, rates and decays differ from the paper's; no number here is a
published one. Those of the lifelong part are the best of eight settings on other seeds, where consolidation
gained between −2 and +1.5 points: a small effect, and a selected one.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import energy
import lifelong
import xarray
from common import finish, run

from synsim.training import Session
from synsim.training.command import RunConfig, option, parse

# The figures are those of the analysis scripts, which lie beside this folder.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from analysis import energy as energy_figures
from analysis import lifelong as lifelong_figures


@dataclass(frozen=True, kw_only=True)
class Config(RunConfig):
    """Options of this experiment."""

    data: str = option("digits", "data set", ("digits",))
    epochs: int = option(60, "passes over the digits in the energy part; a split task takes a third more")
    out: str = option("runs/demo", "folder of the run")


def parts(config: Config) -> tuple[energy.Config, lifelong.Config]:
    """The configs of the two parts."""
    shared = {
        name: getattr(config, name)
        for name in ("data", "data_dir", "seeds", "device", "threads", "out", "checkpoint_every", "quiet")
    }
    first = energy.Config(**shared, epochs=config.epochs, batch=20, decays=(0.02, 0.05))
    split = max(1, config.epochs * 4 // 3)
    second = lifelong.Config(**shared, epochs=split, batch=20, lr=0.002, methods=("presynaptic", "none"))
    return first, second


def prefixed(dataset: xarray.Dataset, lead: str) -> xarray.Dataset:
    """The dataset with its variables and axes renamed, so that two can lie in one record."""
    return dataset.rename({str(name): f"{lead}_{name}" for name in [*dataset.variables, *dataset.dims]})


def experiment(config: Config, session: Session) -> None:
    """Run both parts, print the table, draw the figures."""
    first, second = parts(config)
    costs, cost_rows = energy.measure(first, session)
    kept = lifelong.measure(second, session)
    kept_rows = lifelong.rows(second, kept)
    rows = [
        *[{**row, "method": f"energy: {row['method']}"} for row in cost_rows],
        *[{**row, "method": f"split digits: {row['method']}"} for row in kept_rows],
    ]
    figures = Path(config.out) / "figures"
    finish(session, xarray.merge([prefixed(costs, "energy"), prefixed(kept, "lifelong")]), rows)
    files = [*energy_figures.draw(costs, figures), *lifelong_figures.draw(kept, figures)]
    print("figures:", *[str(file) for file in files if file.suffix == ".png"])


if __name__ == "__main__":
    run(parse(Config, __doc__ or ""), experiment)  # type: ignore[arg-type]
