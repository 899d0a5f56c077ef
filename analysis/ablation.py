"""Figure of an ablation run: accuracy of every variant, and its difference from the full model (cf. Fig. 4.5a)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray
from matplotlib.axes import Axes

from synsim import figures, outcomes, plots, statistics
from synsim.papers.schug2021 import GHOST

FIRST, CODE = "full", "ghost (code)"
LABELS = {
    "no freezing": "no\nfreezing",
    "no modulation": "no modu-\nlation",
    "ghost (expected)": "ghost\n(expected)",
    "ghost (code)": "ghost\n(code)",
    "not normalised": "not nor-\nmalised",
}


def final(dataset: xarray.Dataset) -> dict[str, np.ndarray[Any, Any]]:
    """Mean test accuracy over all tasks after the last, in per cent, per variant and seed."""
    mean = outcomes.final(dataset)
    return {str(name): mean.sel(model=name).values for name in dataset.model.values}


def tests(dataset: xarray.Dataset) -> dict[str, dict[str, float]]:
    """Two-sample t-test of every variant against the full model, with Holm's correction, and Hedges' g."""
    made = outcomes.tests("ablation", outcomes.of("ablation", dataset))
    found = {str(name): made.between("final", str(name), FIRST) for name in dataset.model.values}
    return {
        name: {
            "t": test.t,
            "p": test.p,
            "p_holm": test.p_holm,
            "hedges_g": test.hedges_g,
            "difference": test.difference,
        }
        for name, test in found.items()
        if test is not None
    }


def published_difference(summary: Sequence[Mapping[str, Any]]) -> float | None:
    """The published difference of ghost and full, in points, if the result table of the run has one."""
    told = {row.get("published") for row in summary if str(row["method"]) == f"{CODE} − {FIRST}"}
    return next((one.mean for one in GHOST.values() if str(one) in told), None)


def accuracies(ax: Axes, samples: Mapping[str, np.ndarray[Any, Any]], found: Mapping[str, Mapping[str, float]]) -> Axes:
    """Bars of the accuracy, with the result of the test against the full model above each."""
    names = list(samples)
    plots.bars(ax, [LABELS.get(name, name) for name in names], [samples[name] for name in names], points=True)
    highest = max(float(np.nanmax(values, initial=0.0)) for values in samples.values())
    lowest = min(float(np.nanmin(values, initial=100.0)) for values in samples.values())
    floor = max(0.0, 10 * np.floor((lowest - 5) / 10))
    gap = 0.03 * (highest - floor)
    for place, name in enumerate(names):
        if name in found:
            text = statistics.stars(found[name]["p_holm"]) or "n.s."
            ax.text(place, float(np.nanmax(samples[name])) + gap, text, ha="center", va="bottom", fontsize=7)
    ax.set_ylim(floor, highest + 4 * gap)
    ax.tick_params(axis="x", labelsize=6)
    ax.set_ylabel("accuracy over all tasks (%)")
    return ax


def differences(
    ax: Axes, samples: Mapping[str, np.ndarray[Any, Any]], found: Mapping[str, Mapping[str, float]],
    published: float | None,
) -> Axes:  # fmt: skip
    """Differences from the full model in points, mean and standard error over seeds."""
    names = [name for name in samples if name != FIRST][::-1]
    numbers = {name: number for number, name in enumerate(samples)}
    labels = []
    for name in names:
        test = found.get(name)
        labels.append(
            name if test is None else f"{name}\nt = {test['t']:.1f}, p = {test['p_holm']:.1g}".replace("-", "−")
        )
    plots.dots(ax, labels, [samples[n] - samples[FIRST] for n in names], [numbers[n] for n in names])
    ax.axvline(0, color="0.4", linewidth=0.8, zorder=0)
    if published is not None and CODE in names:
        ax.plot(published, names.index(CODE) - 0.28, color=plots.COLOURS[6], marker="D", markerfacecolor="w",
                markersize=3.5, linestyle="", label="published")  # fmt: skip
        plots.legend_above(ax)
    ax.tick_params(axis="y", labelsize=6)
    ax.set_xlabel("difference from full (points);\np corrected for all variants (Holm)")
    return ax


def draw(dataset: xarray.Dataset, folder: Path, summary: Sequence[Mapping[str, Any]] = ()) -> list[Path]:
    """All figures of a run; the published difference comes from its result table."""
    samples = final(dataset)
    found, published = tests(dataset), published_difference(summary)
    both = FIRST in samples and len(samples) > 1
    with plots.style():
        made, axes = plots.panels(1, 1 + both, width=7.0, height=2.9, ratios=(1.45, 1)[: 1 + both])
        accuracies(axes[0, 0], samples, found)
        if both:
            differences(axes[0, 1], samples, found, published)
            for letter, ax in zip("ab", axes[0], strict=True):
                plots.letter(ax, letter, up=6)
        data: dict[str, Any] = {"accuracy_percent": {name: values.tolist() for name, values in samples.items()}}
        data |= {"tests_against_full": found, "published_difference_points": published, "seeds": dataset.seed.values}
        return plots.save(made, folder / "ablation", data)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    figures.command(__doc__, "ablation", lambda record, folder: draw(record.dataset, folder, record.summary), arguments)


if __name__ == "__main__":
    main()
