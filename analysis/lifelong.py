"""Figures of a lifelong run: what is left of the first task, and of all tasks at the end (cf. Fig. 4.4, 4.8)."""

from pathlib import Path
from typing import Any

import numpy as np
import xarray
from matplotlib.axes import Axes

from synsim import figures, outcomes, plots, statistics

LABELS = {"presynaptic": "presynaptic\nconsolidation", "ewc": "EWC", "bgd": "BGD"}
FEW = 3


def short(name: str) -> str:
    """What a method is called where there is little room."""
    return LABELS.get(name, name).split("\n")[0]


def sequential(dataset: xarray.Dataset) -> list[str]:
    """The models that learned the tasks one after another."""
    return [str(name) for name in dataset.model.values if name != "joint"]


def steps(dataset: xarray.Dataset) -> list[str]:
    """The tasks in their order."""
    return [str(name) for name in dataset.test_task.values]


def first_task(ax: Axes, dataset: xarray.Dataset) -> Axes:
    """Test accuracy on the first task after each task."""
    names = steps(dataset)
    accuracy = 100 * dataset.accuracy.where(~dataset.failed).sel(test_task=names[0])
    # A method has the colour that it has in the other panels.
    numbers = {str(name): number for number, name in enumerate(dataset.model.values)}
    for name in sequential(dataset):
        # The long names of many methods would put their legend over the curves.
        whole = LABELS.get(name, name).replace("\n", " ")
        number, label = numbers[name], whole if len(numbers) <= FEW else short(name)
        values = accuracy.sel(model=name, after_task=names).transpose("replica", "after_task").values
        plots.curve(ax, np.arange(1, len(names) + 1), values, label, number)
    ax.set(xlabel="tasks learned", ylabel="accuracy on task 1 (%)", xticks=range(1, len(names) + 1))
    plots.legend_above(ax)
    return ax


def final(dataset: xarray.Dataset) -> dict[str, np.ndarray[Any, Any]]:
    """Mean test accuracy over all tasks after the last, in per cent, per model and replica."""
    found = outcomes.final(dataset)
    return {str(name): found.sel(model=name).values for name in dataset.model.values}


def all_tasks(ax: Axes, dataset: xarray.Dataset) -> dict[str, list[float]]:
    """Bars of the final mean accuracy, with tests against presynaptic consolidation; returns the numbers."""
    samples, tested = final(dataset), corrected(dataset)
    names = list(samples)
    plots.bars(ax, [LABELS.get(name, name) for name in names], [samples[name] for name in names], points=True)
    lowest = min(float(np.nanmin(values)) for values in samples.values())
    floor = max(0.0, 10 * np.floor((lowest - 10) / 10))
    top = max(float(np.nanmax(values)) for values in samples.values())
    gap = 0.13 * (top - floor)
    if len(names) <= FEW:
        ax.set_ylim(floor, top + gap * (len(tested) + 1))
        for rank, (name, p) in enumerate(tested.items()):
            ends = sorted(names.index(one) for one in ("presynaptic", name))
            plots.bracket(ax, ends[0], ends[1], top + gap * (rank + 0.4), statistics.marked(p))
    else:
        # Brackets of many tests would hide the bars: a sign above each, compared with presynaptic consolidation.
        ax.set_ylim(floor, top + 2 * gap)
        for name, p in tested.items():
            height = float(np.nanmax(samples[name]))
            ax.text(
                names.index(name),
                height + 0.4 * gap,
                statistics.stars(p) or "n.s.",
                ha="center",
                va="bottom",
                fontsize=7,
            )
        plots.explain_stars(ax)
        ax.set_xticks(range(len(names)), [short(name) for name in names])
        ax.tick_params(axis="x", rotation=40)
    low, high = ax.get_ylim()
    ax.set_yticks([tick for tick in ax.get_yticks() if tick <= 100])
    ax.set_ylim(low, high)
    ax.set_ylabel("accuracy over all tasks (%)")
    return {name: values.tolist() for name, values in samples.items()}


def corrected(dataset: xarray.Dataset) -> dict[str, float]:
    """P values of presynaptic consolidation against every other method, corrected within their family (Holm)."""
    tests = outcomes.tests("lifelong", outcomes.of("lifelong", dataset))
    made = {str(name): tests.between("final", "presynaptic", str(name)) for name in dataset.model.values}
    return {name: test.p_holm for name, test in made.items() if test is not None}


def consolidation(ax: Axes, dataset: xarray.Dataset) -> Axes:
    """Mean release probability and share of frozen synapses over the tasks."""
    names = steps(dataset)
    part = dataset.sel(model="presynaptic", task=names).where(~dataset.failed.sel(model="presynaptic"))
    epochs = len(dataset.epoch)
    x = np.arange(1, len(names) * epochs + 1) / epochs
    for number, (name, label) in enumerate((("mean_p", "mean release probability"), ("frozen_share", "share frozen"))):
        values = part[name].transpose("replica", "task", "epoch").values.reshape(len(dataset.replica), -1)
        found = statistics.summary(values)
        ax.plot(x, found.mean, color=plots.COLOURS[number + 2], label=label)
        error = np.nan_to_num(found.sem)
        ax.fill_between(x, found.mean - error, found.mean + error, color=plots.COLOURS[number + 2], alpha=0.2)
    ax.set(xlabel="tasks learned", ylabel="probability, share", ylim=(0, None))
    plots.legend_above(ax)
    return ax


def draw(dataset: xarray.Dataset, folder: Path) -> list[Path]:
    """All figures of a run."""
    with plots.style():
        shown = 3 if "presynaptic" in dataset.model.values else 2
        made, axes = plots.figure(shown, width=7.0, height=2.4)
        if sequential(dataset):
            first_task(axes[0], dataset)
        data: dict[str, Any] = {"final_accuracy_percent": all_tasks(axes[1], dataset), "p_holm": corrected(dataset)}
        if shown == 3:
            consolidation(axes[2], dataset)
        for letter, ax in zip("abc", axes, strict=False):
            plots.letter(ax, letter)
        data["accuracy"] = dataset.accuracy.values
        data["axes"] = list(dataset.accuracy.dims)
        return plots.save(made, folder / "lifelong", data)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    figures.command(__doc__, "lifelong", lambda record, folder: draw(record.dataset, folder), arguments)


if __name__ == "__main__":
    main()
