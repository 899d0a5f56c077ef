"""Figure of a run of autoencoder: squared error per pixel over steps, and at the end."""

from pathlib import Path
from typing import Any

import numpy as np
import xarray
from matplotlib.axes import Axes

from synsim import figures, plots

NAMES = {
    "sgd-momentum": "SGD, momentum",
    "adam": "Adam",
    "foof": "FOOF",
    "kfac": "KFAC",
    "kfac-empirical": "KFAC, empirical",
    "kfac-standard": "KFAC, standard damping",
    "natural": "natural",
}
ORDER = tuple(NAMES)


def curves(ax: Axes, dataset: xarray.Dataset) -> dict[str, Any]:
    """Training error over steps; returns the numbers [seed, step] per rule."""
    found = {}
    for rule in map(str, dataset.rule.values):
        values = dataset.loss.sel(rule=rule).transpose("seed", "step").values
        plots.curve(ax, dataset.step.values, values, NAMES[rule], ORDER.index(rule))
        found[rule] = values
    ax.set(yscale="log", xlabel="step", ylabel="squared error per pixel, training")
    # A rule that diverged would leave no room for the others.
    ax.set_ylim(0.8 * min(float(np.nanmin(one)) for one in found.values()), start(dataset))
    return found


def start(dataset: xarray.Dataset) -> float:
    """Above what nothing need be seen: twice the error of the first steps."""
    return 2 * float(dataset.loss.isel(step=0).median())


def tested(ax: Axes, dataset: xarray.Dataset) -> dict[str, Any]:
    """Test error at the end; returns the numbers [seed] per rule."""
    rules = [str(rule) for rule in dataset.rule.values]
    found = {rule: dataset.test_error.sel(rule=rule).values for rule in rules}
    plots.bars(ax, [NAMES[rule] for rule in rules], list(found.values()), [ORDER.index(rule) for rule in rules])
    ax.set_ylabel("squared error per pixel, test")
    seen = [float(np.nanmax(one)) for one in found.values() if np.nanmax(one) < start(dataset)]
    ax.set_ylim(0, 1.1 * max(seen, default=1.0))
    ax.set_xticks(range(len(rules)), [NAMES[rule] for rule in rules], rotation=40, ha="right")
    return found


def draw(dataset: xarray.Dataset, folder: Path) -> list[Path]:
    """The figure of a run."""
    with plots.style():
        made, axes = plots.panels(1, 2, width=7.0, height=3.0, ratios=(3, 2))
        data: dict[str, Any] = {"step": np.asarray(dataset.step.values)}
        data["training"], data["test"] = curves(axes[0, 0], dataset), tested(axes[0, 1], dataset)
        axes[0, 0].legend(loc="upper right", handlelength=1.4)
        for letter, ax in zip("ab", axes.flat, strict=True):
            plots.letter(ax, letter)
        return plots.save(made, folder / "autoencoder", data)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    figures.command(__doc__, "autoencoder", lambda record, folder: draw(record.dataset, folder), arguments)


if __name__ == "__main__":
    main()
