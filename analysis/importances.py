"""Figure of a run of importances: every importance under one penalty, and larger batches (cf. Tables 3.1, C.1)."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray
from matplotlib.axes import Axes

from synsim import figures, outcomes, papers, plots, statistics
from synsim.papers.benzing2022 import ACCURACY, BELOW

LABELS = {
    "si": "SI",
    "si-unbiased": "SIU",
    "si-bias": "SIB",
    "sos": "SOS",
    "onaf": "OnAF",
    "mas": "MAS",
    "mas-max": "MASX",
    "mas-logits": "MAS, logits",
    "af": "AF",
    "sqrt-fisher": "√Fisher",
    "ewc": "Fisher (EWC)",
    "empirical": "empirical Fisher",
    "batch-ef": "batched Fisher",
    "magnitude": "magnitude",
    "uniform": "uniform",
    "none": "none",
}
LARGE = "-2048"
Published = Mapping[str, tuple[float, float, bool]]


def label(name: str) -> str:
    """The name of a method in the figure."""
    small = name.removesuffix(LARGE)
    return LABELS.get(small, small) + (", batch 2048" if name.endswith(LARGE) else "")


def final(dataset: xarray.Dataset) -> dict[str, np.ndarray[Any, Any]]:
    """Accuracy over all tasks after the last one, in per cent, per method and replica."""
    mean = outcomes.final(dataset)
    return {str(name): mean.sel(model=name).values for name in dataset.model.values}


def published_of(names: Iterable[str]) -> dict[str, tuple[float, float, bool]]:
    """Published mean, standard error and whether it is only an upper bound, of the methods that have one."""
    found = {}
    for name in names:
        one = ACCURACY.get(name)
        if name in BELOW:
            found[name] = BELOW[name], math.nan, True
        elif isinstance(one, papers.Published):
            found[name] = one.mean, math.nan if one.sem is None else one.sem, False
    return found


def all_methods(ax: Axes, dataset: xarray.Dataset, published: Published) -> dict[str, list[float]]:
    """Accuracies of all methods, sorted, with the published ones beside them; returns the numbers."""
    samples = final(dataset)
    means = {name: float(statistics.summary(values).mean) for name, values in samples.items()}
    order = sorted(means, key=lambda name: (np.isfinite(means[name]), means[name]))
    plots.dots(ax, [label(name) for name in order], [samples[name] for name in order])
    for line, name in enumerate(order):
        if name in published:
            mean, error, bound = published[name]
            ax.errorbar(mean, line - 0.28, xerr=None if np.isnan(error) else error, color=plots.COLOURS[1],
                        marker="<" if bound else "D", markerfacecolor="w", markersize=3.2, linewidth=0.8)  # fmt: skip
    count = dataset.sizes["replica"]
    ax.plot([], [], color=plots.COLOURS[0], marker="o", label=f"this run, mean ± s.e. of {count} seeds (grey dots)")
    if published:
        ax.plot([], [], color=plots.COLOURS[1], marker="D", markerfacecolor="w", markersize=3.2, linewidth=0.8,
                label="published, mean ± s.e. (◁ upper bound)")  # fmt: skip
    ax.grid(axis="y", color="0.92", linewidth=0.6)
    ax.set(xlabel="accuracy over all tasks (%)", axisbelow=True)
    plots.legend_above(ax)
    return {name: samples[name].tolist() for name in order[::-1]}


def pairs(dataset: xarray.Dataset) -> list[str]:
    """Methods that ran with both batch sizes."""
    names = [str(name) for name in dataset.model.values]
    return [name for name in names if f"{name}{LARGE}" in names]


def falls(ax: Axes, dataset: xarray.Dataset, published: Published) -> dict[str, list[float]]:
    """Accuracy with batch 256 and 2,048, one thin line per seed; returns the fall of every seed, in points."""
    samples, found = final(dataset), {}
    for number, name in enumerate(pairs(dataset)):
        both = np.stack([samples[name], samples[f"{name}{LARGE}"]], axis=1)
        fall = statistics.summary(both[:, 0] - both[:, 1])
        each = statistics.summary(both)
        x, colour = np.arange(2) + 0.09 * (number - 1), plots.COLOURS[(0, 1, 2, 3, 4)[number % 5]]
        ax.plot(x, both.T, color=colour, linewidth=0.5, alpha=0.55)
        text = f"{label(name)}: fall {statistics.format_mean(float(fall.mean), float(fall.sem))}".replace("-", "−")
        if name in published and f"{name}{LARGE}" in published:
            ends = [published[name][0], published[f"{name}{LARGE}"][0]]
            ax.plot(
                x, ends, color=colour, linestyle=":", marker="D", markerfacecolor="w", linewidth=0.8, markersize=3.2
            )
            text += f" (published {ends[0] - ends[1]:.1f})"
        ax.errorbar(x, each.mean, yerr=np.nan_to_num(each.sem), color=colour, capsize=2, label=text,
                    marker=plots.MARKERS[number % len(plots.MARKERS)])  # fmt: skip
        found[name] = (both[:, 0] - both[:, 1]).tolist()
    ax.set_xticks((0, 1), ("256", "2048"))
    ax.set(xlabel="batch size (examples)", ylabel="accuracy over all tasks (%)", xlim=(-0.3, 1.3))
    plots.legend_above(ax)
    return found


def draw(dataset: xarray.Dataset, folder: Path) -> list[Path]:
    """All figures of a run, with the published values beside it."""
    published = published_of(map(str, dataset.model.values))
    with plots.style():
        both = bool(pairs(dataset))
        height = 1.2 + 0.165 * dataset.sizes["model"]
        made, axes = plots.panels(1, 1 + both, width=7.0, height=max(2.6, height), ratios=(1.4, 1)[: 1 + both])
        data: dict[str, Any] = {"accuracy_percent": all_methods(axes[0, 0], dataset, published)}
        data["published_percent"] = {name: values[0] for name, values in published.items()}
        if both:
            data["fall_points"] = falls(axes[0, 1], dataset, published)
            for letter, ax in zip("ab", axes[0], strict=True):
                plots.letter(ax, letter)
        data["seeds"] = dataset.seed.values
        return plots.save(made, folder / "importances", data)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    figures.command(__doc__, "importances", lambda record, folder: draw(record.dataset, folder), arguments)


if __name__ == "__main__":
    main()
