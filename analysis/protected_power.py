"""Figure of a run of protected_power: what is kept of all tasks, and how accuracy falls as tasks follow each other."""

from pathlib import Path
from typing import Any

import numpy as np
import xarray
from matplotlib.axes import Axes

from synsim import figures, outcomes, plots

COLOURS = {"none": 6, "ewc on θ": 0, "ewc on φ": 5, "si on θ": 1, "si on φ": 4}
"""What is protected in which space -> number of its colour."""


def parted(label: str) -> tuple[str, str]:
    """Power and protection of a cell, without a strength that was tried."""
    power, _, held = label.partition(", ")
    return power, next((name for name in COLOURS if held.startswith(name)), held)


def final(ax: Axes, dataset: xarray.Dataset) -> dict[str, Any]:
    """Accuracy over all tasks at the end of every cell; returns it, [replica] each."""
    labels = [str(name) for name in dataset.model.values][::-1]
    values = {label: outcomes.final(dataset).sel(model=label).values for label in labels}
    plots.dots(ax, labels, list(values.values()), [COLOURS.get(parted(label)[1], 2) for label in labels])
    ax.set(xlabel="accuracy over all tasks at the end (%)")
    return {label: each.tolist() for label, each in values.items()}


def falling(ax: Axes, dataset: xarray.Dataset, power: str) -> dict[str, Any]:
    """Mean accuracy over the tasks learned so far, of one power; returns it, [replica, task] each."""
    found, steps = {}, [str(name) for name in dataset.test_task.values]
    accuracy = outcomes.accuracies(dataset).sel(after_task=steps).transpose("model", "replica", "after_task", ...)
    for label in [str(name) for name in dataset.model.values if parted(str(name))[0] == power]:
        one = accuracy.sel(model=label).values
        each = np.stack([one[:, k, : k + 1].mean(-1) for k in range(len(steps))], 1)
        held = parted(label)[1]
        plots.curve(ax, range(1, len(steps) + 1), each, label.partition(", ")[2], COLOURS.get(held, 2))
        found[label] = each.tolist()
    ax.set(xlabel="tasks learned", ylabel="accuracy over them (%)", title=power, xticks=range(1, len(steps) + 1))
    return found


def draw(dataset: xarray.Dataset, folder: Path) -> list[Path]:
    """The figure of a run."""
    powers = list(dict.fromkeys(parted(str(name))[0] for name in dataset.model.values))
    shown = powers[:1] + powers[1:][-1:]
    with plots.style():
        made, axes = plots.panels(1, 1 + len(shown), width=7.0, height=2.9, ratios=(1.3, *[1] * len(shown)))
        data: dict[str, Any] = {"final": final(axes[0, 0], dataset), "so_far": {}}
        for ax, power in zip(axes[0, 1:], shown, strict=True):
            data["so_far"] |= falling(ax, dataset, power)
        low, high = (pick(ax.get_ylim()[k] for ax in axes[0, 1:]) for k, pick in ((0, min), (1, max)))
        for ax in axes[0, 1:]:
            ax.set_ylim(low, high)
        axes[0, -1].legend(loc="lower left")
        for letter, ax in zip("abc", axes[0], strict=False):
            plots.letter(ax, letter)
        return plots.save(made, folder / "protected_power", data)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    figures.command(__doc__, "protected_power", lambda record, folder: draw(record.dataset, folder), arguments)


if __name__ == "__main__":
    main()
