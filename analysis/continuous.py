"""Figures of a continuous run: every task along the stream, and the fate of release probabilities."""

from pathlib import Path
from typing import Any

import numpy as np
import xarray
from matplotlib.axes import Axes

from analysis import lifelong
from synsim import figures, outcomes, plots, statistics


def seen(ax: Axes, dataset: xarray.Dataset) -> dict[str, list[float]]:
    """Mean test accuracy on the tasks met so far, after each phase; returns the final one of every replica."""
    count = dataset.sizes["test_task"]
    accuracy, found = outcomes.accuracies(dataset), {}
    for number, name in enumerate(dataset.model.values):
        matrix = accuracy.sel(model=name).transpose("replica", "after_task", "test_task").values
        values = np.stack([matrix[:, k, : k + 1].mean(1) for k in range(count)], axis=1)
        plots.curve(
            ax, np.arange(1, count + 1), values, lifelong.LABELS.get(name, str(name)).replace("\n", " "), number
        )
        found[str(name)] = values[:, -1].tolist()
    ax.set(xlabel="tasks met", ylabel="accuracy on the tasks met (%)", xticks=range(1, count + 1))
    plots.legend_above(ax)
    return found


def each_task(ax: Axes, dataset: xarray.Dataset) -> Axes:
    """Test accuracy on every task at the end of the stream."""
    accuracy = outcomes.last(dataset)
    for number, name in enumerate(dataset.model.values):
        values = accuracy.sel(model=name).transpose("replica", "test_task").values
        label = lifelong.LABELS.get(name, str(name)).replace("\n", " ")
        plots.curve(ax, np.arange(1, values.shape[1] + 1), values, label, number)
    ax.set(xlabel="task", ylabel="accuracy at the end (%)", xticks=range(1, dataset.sizes["test_task"] + 1))
    plots.legend_above(ax)
    return ax


def draw(dataset: xarray.Dataset, folder: Path) -> list[Path]:
    """All figures of a run."""
    with plots.style():
        shown = 3 if "presynaptic" in dataset.model.values else 2
        made, axes = plots.figure(shown, width=7.0, height=2.4)
        final = seen(axes[0], dataset)
        each_task(axes[1], dataset)
        if shown == 3:
            lifelong.consolidation(axes[2], dataset)
        for letter, ax in zip("abc", axes, strict=False):
            plots.letter(ax, letter)
        data: dict[str, Any] = {"final_accuracy_percent": final}
        data["mean"] = {name: float(statistics.summary(values).mean) for name, values in final.items()}
        data["accuracy"], data["axes"] = dataset.accuracy.values, list(dataset.accuracy.dims)
        return plots.save(made, folder / "continuous", data)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    figures.command(__doc__, "continuous", lambda record, folder: draw(record.dataset, folder), arguments)


if __name__ == "__main__":
    main()
