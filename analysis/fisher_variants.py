"""Figure of a run of fisher_variants: how five ways to compute the Fisher do over strengths λ of the penalty."""

from pathlib import Path
from typing import Any

import numpy as np
import xarray
from matplotlib.axes import Axes

from synsim import figures, outcomes, plots, statistics

LABELS = {
    "exact": "exact",
    "exact-500": "exact, 500 images",
    "sample": "sampled labels",
    "empirical": "empirical",
    "batched": "batched",
    "none": "none",
}
TOLERANCE = 1.0
"""Points below the best accuracy that still count as good."""


def final(dataset: xarray.Dataset) -> xarray.DataArray:
    """Accuracy over all tasks after the last one, in per cent, [model, seed, strength]."""
    return outcomes.final(dataset).transpose("model", "seed", "strength")


def variants(dataset: xarray.Dataset) -> list[str]:
    """The variants of the Fisher, without "none"."""
    return [str(name) for name in dataset.model.values if name != "none"]


def curve_of(dataset: xarray.Dataset, name: str) -> xarray.DataArray:
    """Accuracy of a variant at the strengths it ran with, [seed, strength]."""
    return final(dataset).sel(model=name).sel(strength=dataset.strength > 0)


def means(dataset: xarray.Dataset, name: str) -> xarray.DataArray:
    """Mean accuracy over seeds at each strength; NaN where more seeds failed than at another strength."""
    values = curve_of(dataset, name)
    count = values.count("seed")
    return values.mean("seed").where(count == count.max())


def best(dataset: xarray.Dataset, name: str) -> float:
    """The strength with the highest mean accuracy."""
    return float(means(dataset, name).idxmax("strength"))


def good(dataset: xarray.Dataset, name: str) -> tuple[float, float]:
    """First and last strength of the unbroken range around the best one in which no mean is a point below it."""
    mean = means(dataset, name)
    inside = (mean >= mean.max() - TOLERANCE).values
    low = high = int(mean.argmax("strength"))
    while low > 0 and inside[low - 1]:
        low -= 1
    while high < len(inside) - 1 and inside[high + 1]:
        high += 1
    return float(mean.strength[low]), float(mean.strength[high])


def against_strength(ax: Axes, dataset: xarray.Dataset) -> Axes:
    """Accuracy against strength, one line per variant; no protection as a dashed line."""
    for number, name in enumerate(variants(dataset)):
        values = curve_of(dataset, name)
        plots.curve(ax, values.strength.values, values.values, LABELS.get(name, name), number)
    if "none" in dataset.model.values:
        found = statistics.summary(final(dataset).sel(model="none", strength=0.0).values)
        error = np.nan_to_num(found.sem)
        ax.axhline(found.mean, color="0.3", linestyle="--", linewidth=1, label="no protection")
        ax.axhspan(found.mean - error, found.mean + error, color="0.3", alpha=0.12, linewidth=0)
    ax.set_xscale("log")
    ax.set(xlabel="strength λ", ylabel="accuracy over all tasks (%)")
    return ax


def at_best(ax: Axes, dataset: xarray.Dataset) -> dict[str, list[float]]:
    """Accuracy of each variant at its best strength; returns the numbers."""
    names = variants(dataset)
    samples = {name: curve_of(dataset, name).sel(strength=best(dataset, name)).values for name in names}
    upwards = names[::-1]
    numbers = [names.index(name) for name in upwards]
    plots.dots(ax, [LABELS.get(name, name) for name in upwards], [samples[name] for name in upwards], numbers)
    ax.set(xlabel="accuracy at the best λ (%)")
    return {name: values.tolist() for name, values in samples.items()}


def ranges(ax: Axes, dataset: xarray.Dataset) -> dict[str, tuple[float, float]]:
    """The range of good strengths of each variant, and the best one; returns the ranges."""
    names, grid = variants(dataset), dataset.strength.values[dataset.strength.values > 0]
    found = {name: good(dataset, name) for name in names}
    for line, name in enumerate(names[::-1]):
        colour, marker = plots.COLOURS[names.index(name)], plots.MARKERS[names.index(name)]
        ax.plot(found[name], (line, line), color=colour, linewidth=5, alpha=0.45, solid_capstyle="butt")
        ax.plot(best(dataset, name), line, color=colour, marker=marker)
        for end, edge, arrow in zip(found[name], (grid.min(), grid.max()), "<>", strict=True):
            if end == edge:  # the range may go on outside of the grid
                ax.plot(end, line, color=colour, marker=arrow, markersize=5, markerfacecolor="w", clip_on=False)
    ax.set_xscale("log")
    label = f"λ within {TOLERANCE:g} point of the best\n(◁ ▷ end of the grid)"
    ax.set(xlabel=label, xlim=(grid.min(), grid.max()))
    ax.set_yticks(range(len(names)), [])
    ax.set_ylim(-0.6, len(names) - 0.4)
    return found


def draw(dataset: xarray.Dataset, folder: Path) -> list[Path]:
    """All figures of a run."""
    with plots.style():
        made, axes = plots.panels(1, 3, width=7.0, height=2.6, ratios=(1.5, 1, 1))
        against_strength(axes[0, 0], dataset)
        data: dict[str, Any] = {"at_best_percent": at_best(axes[0, 1], dataset)}
        data["range_within_a_point"] = ranges(axes[0, 2], dataset)
        note = f"bands and bars: ± standard error over {dataset.sizes['seed']} seeds"
        finished = [curve_of(dataset, name).count("seed").values for name in variants(dataset)]
        if any(((count > 0) & (count < dataset.sizes["seed"])).any() for count in finished):
            note += "; ×: some seeds failed"
        plots.legend_over(made, axes[0, 0], note, columns=6)
        for letter, ax in zip("abc", axes[0], strict=True):
            plots.letter(ax, letter, up=5)
        data["best"] = {name: best(dataset, name) for name in variants(dataset)}
        data["finished"] = dict(zip(variants(dataset), finished, strict=True))
        found = final(dataset)
        data["accuracy_percent"], data["axes"] = found.values, list(found.dims)
        data["models"], data["strengths"] = dataset.model.values, dataset.strength.values
        return plots.save(made, folder / "fisher_variants", data)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    figures.command(__doc__, "fisher_variants", lambda record, folder: draw(record.dataset, folder), arguments)


if __name__ == "__main__":
    main()
