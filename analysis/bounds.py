"""Figure of a run of bounds: the printed rule and the code's, with the published constants and with their own."""

from pathlib import Path
from typing import Any

import numpy as np
import xarray
from matplotlib.axes import Axes

from synsim import figures, outcomes, plots, statistics

UNITS = {"lifelong": "accuracy over all tasks (%)", "energy": "10⁻³ bits per unit of energy"}


def tests(dataset: xarray.Dataset) -> dict[tuple[str, str], float]:
    """P values of soft against hard bounds, paired, per part and constants; corrected for one another (Holm)."""
    made = outcomes.tests("bounds", outcomes.of("bounds", dataset))
    return {(soft[0], soft[1]): test.p_holm for (soft, _), test in made.items()}


def scores(ax: Axes, dataset: xarray.Dataset, part: str) -> dict[str, list[float]]:
    """Bars of the objective with tests of soft against hard; returns the numbers."""
    score = dataset[f"{part}_score"]
    found, colours, brackets, corrected = {}, [], [], tests(dataset)
    for constants in ("published", "own"):
        pair = [score.sel(rule=rule, constants=constants).values for rule in dataset.rule.values]
        for number, (rule, values) in enumerate(zip(dataset.rule.values, pair, strict=True)):
            found[f"{rule}\n{constants}"] = values
            colours.append(number)
        if (part, constants) in corrected:
            brackets.append((len(found) - 2, corrected[part, constants]))
    plots.bars(ax, list(found), list(found.values()), colours, points=part != "energy")
    everything = np.concatenate(list(found.values()))
    low, high = float(np.nanmin(everything)), float(np.nanmax(everything))
    floor = 0.0 if part == "energy" else max(0.0, low - 2 * (high - low) - 1)
    reach = high - floor
    ax.set_ylim(floor, high + 0.2 * reach)
    for left, p in brackets:
        plots.bracket(ax, left, left + 1, high + 0.06 * reach, statistics.marked(p))
    ax.set(xlabel="bounds of p, and constants", ylabel=UNITS[part])
    return {name.replace("\n", ", "): values.tolist() for name, values in found.items()}


def search(ax: Axes, dataset: xarray.Dataset, part: str) -> dict[str, list[float]]:
    """The objective of all draws, sorted, per rule; returns the numbers."""
    found = {}
    for number, rule in enumerate(dataset.rule.values):
        values = np.sort(dataset[f"{part}_search"].sel(rule=rule).values)[::-1]
        ax.plot(np.arange(1, len(values) + 1), values, marker=plots.MARKERS[number], color=plots.COLOURS[number],
                label=f"{rule} bounds")  # fmt: skip
        found[str(rule)] = values.tolist()
    ax.set(xlabel="rank of the draw", ylabel=UNITS[part])
    plots.legend_above(ax)
    return found


def draw(dataset: xarray.Dataset, folder: Path) -> list[Path]:
    """The figure of a run: a row per objective."""
    with plots.style():
        parts = [part for part in UNITS if f"{part}_score" in dataset]
        made, axes = plots.panels(len(parts), 2, width=5.5, height=2.4 * len(parts))
        data: dict[str, Any] = {}
        for row, part in enumerate(parts):
            data[part] = {"scores": scores(axes[row, 0], dataset, part), "search": search(axes[row, 1], dataset, part)}
        for letter, ax in zip("abcd", axes.flat, strict=False):
            plots.letter(ax, letter)
        return plots.save(made, folder / "bounds", data)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    figures.command(__doc__, "bounds", lambda record, folder: draw(record.dataset, folder), arguments)


if __name__ == "__main__":
    main()
