"""Figure of a run of owned: mean accuracy over the tasks so far, and the share of synapses used, task after task."""

from pathlib import Path
from typing import Any

import numpy as np
import xarray
from matplotlib.axes import Axes

from synsim import figures, plots

OWNED = ("packnet", "efficient-packnet")
Group = tuple[float, int]


def groups(dataset: xarray.Dataset) -> list[Group]:
    """The pairs of γ and epochs of retraining that EfficientPackNet was run with; one pair without it."""
    efficient = dataset.method.values == "efficient-packnet"
    pairs = zip(dataset.gamma.values[efficient], dataset.retrain.values[efficient], strict=True)
    return list(dict.fromkeys((float(gamma), int(retrain)) for gamma, retrain in pairs)) or [(1.0, 0)]


def members(dataset: xarray.Dataset, group: Group) -> list[int]:
    """The models of a group, and what stands beside them: others that are not retrained, or as long."""
    gamma, retrain = group
    method, again = dataset.method.values, dataset.retrain.values
    efficient = method == "efficient-packnet"
    beside = np.where(method == "packnet", again == retrain, ~efficient)
    own = efficient & (dataset.gamma.values == gamma) & (again == retrain)
    return [int(place) for place in np.flatnonzero(np.where(efficient, own, beside))]


def called(one: xarray.Dataset) -> str:
    """What a model is called within its group."""
    return f"α = {float(one.alpha):g}" if str(one.method.values) == "efficient-packnet" else str(one.method.values)


def over_tasks(ax: Axes, dataset: xarray.Dataset, group: Group, name: str) -> dict[str, Any]:
    """A measurement over the number of tasks learned, in %; returns the numbers [replica, task] per model."""
    every = list(dict.fromkeys(called(dataset.isel(model=place)) for place in range(dataset.sizes["model"])))
    found = {}
    for place in members(dataset, group):
        one = dataset.isel(model=place)
        if name == "used" and str(one.method.values) not in OWNED:
            continue
        values = 100 * one[name].where(~one.failed).transpose("replica", "task").values
        plots.curve(ax, np.arange(1, values.shape[1] + 1), values, called(one), every.index(called(one)))
        found[called(one)] = values.tolist()
    return found


def title(group: Group) -> str:
    """What tells a group from the others."""
    gamma, retrain = group
    return f"γ = {gamma:g}" + (", retrained" if retrain else "")


def draw(dataset: xarray.Dataset, folder: Path) -> list[Path]:
    """The figure of a run: a column per γ and retraining of EfficientPackNet."""
    columns = groups(dataset)
    with plots.style():
        made, axes = plots.panels(2, len(columns), width=max(3.5, 2.4 * len(columns)), height=4.4)
        data: dict[str, Any] = {}
        for place, group in enumerate(columns):
            top, bottom = axes[:, place]
            data[title(group)] = {
                "average": over_tasks(top, dataset, group, "average"),
                "used": over_tasks(bottom, dataset, group, "used"),
            }
            top.set(title=title(group))
            bottom.set(xlabel="tasks learned", ylim=(0, 103))
        # High accuracies lie close together: all columns begin below the lowest, whichever has it.
        low = 10 * np.floor(min(ax.dataLim.y0 for ax in axes[0]) / 10)
        for ax in axes[0]:
            ax.set_ylim(low, 100 + 0.03 * (100 - low))
        axes[0, 0].set(ylabel="mean accuracy over them (%)")
        axes[1, 0].set(ylabel="synapses used (%)")
        plots.legend_over(made, axes[0, 0])
        for letter, ax in zip("abcdefgh", axes.flat, strict=False):
            plots.letter(ax, letter)
        return plots.save(made, folder / "owned", data)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    figures.command(__doc__, "owned", lambda record, folder: draw(record.dataset, folder), arguments)


if __name__ == "__main__":
    main()
