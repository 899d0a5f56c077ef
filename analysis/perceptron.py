"""Figure of a perceptron run: what is kept of the first task, the average at the end, the load (cf. Fig. 4.5b, c)."""

from pathlib import Path
from typing import Any

import numpy as np
import xarray
from matplotlib.axes import Axes

from synsim import figures, outcomes, plots, statistics

NUMBERS = {"standard": 1, "presynaptic": 0}


def first_task(ax: Axes, dataset: xarray.Dataset) -> dict[str, Any]:
    """Accuracy on task 1 after each of the first tasks; returns the numbers, [replica, after task]."""
    part = dataset.accuracy.sel(test_task=1, after_task=slice(1, dataset.attrs["final"]))
    found = {}
    for model, number in NUMBERS.items():
        values = 100 * part.sel(model=model).transpose("replica", "after_task").values
        plots.curve(ax, part.after_task.values, values, model, number)
        published = 100 * dataset.published_task_1.sel(model=model, after_task=part.after_task).values
        ax.plot(part.after_task.values, published, "x", color=plots.COLOURS[number], markersize=5, zorder=4)
        found[model] = values
    ax.plot([], [], "x", color="0.3", markersize=5, label="published")
    ax.set(xlabel="tasks learned", ylabel="accuracy on task 1 (%)", xticks=part.after_task.values)
    return found


def average(ax: Axes, dataset: xarray.Dataset) -> dict[str, Any]:
    """Average over the first tasks after the last of them, with a t test; returns the numbers."""
    last = dataset.attrs["final"]
    samples = {m: 100 * dataset.average.sel(model=m, after_task=last).values for m in NUMBERS}
    plots.bars(ax, list(samples), list(samples.values()), list(NUMBERS.values()), points=True)
    for place, model in enumerate(samples):
        published = 100 * float(dataset.published_average.sel(model=model))
        ax.plot(place + 0.25, published, "x", color="0.1", markersize=5, zorder=4)
    low = min(float(values.min()) for values in samples.values())
    high = max(float(values.max()) for values in samples.values())
    room = max(high - low, 1.0)
    ax.set(ylabel=f"accuracy over {last} tasks (%)", ylim=(low - 0.3 * room, high + 0.4 * room))
    data: dict[str, Any] = {"percent": samples}
    tests = outcomes.tests("perceptron", outcomes.of("perceptron", dataset))
    test = tests.between("average", "standard", "presynaptic")
    if test is not None:
        text = f"{statistics.marked(test.p_holm)}, g = {abs(test.hedges_g):.2g}"
        plots.bracket(ax, 0, 1, high + 0.12 * room, text)
        data["test"] = {
            "t": test.t,
            "df": test.df,
            "p": test.p,
            "p_holm": test.p_holm,
            "hedges_g": test.hedges_g,
            "difference_first": "standard",
        }
    return data


def load_sweep(ax: Axes, dataset: xarray.Dataset) -> dict[str, Any]:
    """Average over all tasks learned against their patterns; returns the numbers."""
    load, capacity = dataset["load"].values, dataset.attrs["capacity"]
    found: dict[str, Any] = {"load": load, "capacity": capacity}
    for model, number in NUMBERS.items():
        values = 100 * dataset.average.sel(model=model).transpose("replica", "after_task").values
        plots.curve(ax, load, values, model, number)
        found[model] = values
    gap = found["presynaptic"] - found["standard"]
    found["gap_points"], found["gap_sem"] = statistics.summary(gap)[:2]
    ax.axvline(capacity, color="0.4", linestyle="--", linewidth=0.8)
    ax.annotate("capacity 2N", (capacity, 0.99), (-3, 0), xycoords=("data", "axes fraction"),
                textcoords="offset points", ha="right", va="top", fontsize=6.5)  # fmt: skip
    ax.set(xlabel="patterns learned", ylabel="average accuracy (%)")
    return found


def draw(dataset: xarray.Dataset, folder: Path) -> list[Path]:
    """All figures of a run."""
    with plots.style():
        made, axes = plots.panels(1, 3, width=7.0, height=2.5, ratios=(1, 0.8, 1.1))
        data: dict[str, Any] = {"task_1_percent": first_task(axes[0, 0], dataset)}
        data["average"] = average(axes[0, 1], dataset)
        data["sweep_percent"] = load_sweep(axes[0, 2], dataset)
        count = dataset.sizes["replica"]
        plots.legend_over(made, axes[0, 0], f"bands and bars: ± standard error over {count} seeds")
        for letter, ax in zip("abc", axes[0], strict=True):
            plots.letter(ax, letter, up=5)
        data["frozen_share"] = dataset.frozen_share.sel(model="presynaptic").transpose("replica", "after_task").values
        data["seeds"] = np.asarray(dataset.seed.values)
        return plots.save(made, folder / "perceptron", data)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    figures.command(__doc__, "perceptron", lambda record, folder: draw(record.dataset, folder), arguments)


if __name__ == "__main__":
    main()
