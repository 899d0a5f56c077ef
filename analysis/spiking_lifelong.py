"""Figures of a run of spiking_lifelong: what spiking networks keep of tasks learned in sequence."""

from pathlib import Path
from typing import Any

import numpy as np
import xarray
from matplotlib.axes import Axes

from synsim import figures, outcomes, plots, statistics

LABELS = {"presynaptic": "presynaptic", "none": "none", "ewc": "EWC"}


def accuracy(dataset: xarray.Dataset, name: str) -> Any:
    """Test accuracy of a model in per cent, [replica, after_task, test_task]."""
    return outcomes.accuracies(dataset).sel(model=name).values


def first_task(ax: Axes, dataset: xarray.Dataset) -> Axes:
    """Accuracy on the first task after each task."""
    count = dataset.sizes["after_task"]
    for number, name in enumerate(dataset.model.values):
        values = accuracy(dataset, name)[:, :, 0]
        plots.curve(ax, np.arange(1, count + 1), values, LABELS.get(str(name), str(name)), number)
    ax.set(xlabel="tasks learned", ylabel="accuracy on task 1 (%)", xticks=range(1, count + 1))
    plots.legend_above(ax)
    return ax


def all_tasks(ax: Axes, dataset: xarray.Dataset) -> dict[str, list[float]]:
    """Bars of the accuracy over all tasks at the end, with tests of presynaptic consolidation; returns the numbers."""
    final, tested = outcomes.final(dataset), corrected(dataset)
    samples = {str(name): final.sel(model=name).values for name in dataset.model.values}
    names = list(samples)
    plots.bars(ax, [LABELS.get(name, name) for name in names], list(samples.values()), points=True)
    top = max(float(np.nanmax(values)) for values in samples.values())
    floor = max(0.0, 10 * np.floor((min(float(np.nanmin(values)) for values in samples.values()) - 10) / 10))
    gap = 0.13 * (top - floor)
    ax.set_ylim(floor, top + gap * (len(tested) + 1))
    for rank, (name, p) in enumerate(tested.items()):
        ends = sorted(names.index(one) for one in ("presynaptic", name))
        plots.bracket(ax, ends[0], ends[1], top + gap * (rank + 0.4), statistics.marked(p))
    ax.set_yticks([tick for tick in ax.get_yticks() if floor <= tick <= 100])
    ax.set_ylim(floor, top + gap * (len(tested) + 1))
    ax.set_ylabel("accuracy over all tasks (%)")
    return {name: values.tolist() for name, values in samples.items()}


def corrected(dataset: xarray.Dataset) -> dict[str, float]:
    """P values of presynaptic consolidation against every other method, corrected for one another (Holm)."""
    tests = outcomes.tests("spiking_lifelong", outcomes.of("spiking_lifelong", dataset))
    return {second[1]: test.p_holm for (_, second), test in tests.items()}


def selection(ax: Axes, dataset: xarray.Dataset) -> dict[str, Any]:
    """What the search saw: the accuracy at the end over the learning rates, on the selection seeds."""
    data = {}
    for number, name in enumerate(str(one) for one in dataset.model.values):
        rates, scores = dataset[f"selected_rate_{name}"].values, dataset[f"selection_{name}"].values
        each = sorted(set(rates.tolist()))
        # Of several strengths the best at each rate is shown.
        means = np.where(np.isfinite(scores).all(1), scores.mean(1), -np.inf)
        best = [scores[rates == rate][np.argmax(means[rates == rate])] for rate in each]
        plots.curve(ax, each, np.transpose(best), LABELS.get(name, name), number)
        data[name] = {"rate": each, "accuracy": np.array(best).tolist()}
    ax.set_xscale("log")
    ax.set(xlabel="learning rate", ylabel="accuracy over all tasks,\nselection seeds (%)")
    return data


def draw(dataset: xarray.Dataset, folder: Path) -> list[Path]:
    """All figures of a run."""
    with plots.style():
        made, axes = plots.figure(3, width=7.0, height=2.4)
        data: dict[str, Any] = {}
        first_task(axes[0], dataset)
        data["final_accuracy_percent"], data["p_holm"] = all_tasks(axes[1], dataset), corrected(dataset)
        data["selection"] = selection(axes[2], dataset)
        for letter, ax in zip("abc", axes, strict=True):
            plots.letter(ax, letter)
        data["accuracy"], data["axes"] = dataset.accuracy.values, list(dataset.accuracy.dims)
        return plots.save(made, folder / "spiking-lifelong", data)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    figures.command(__doc__, "spiking_lifelong", lambda record, folder: draw(record.dataset, folder), arguments)


if __name__ == "__main__":
    main()
