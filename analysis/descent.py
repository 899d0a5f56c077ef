"""Figure of a run of descent: training loss over steps, by question, with the published curves as open marks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray
from matplotlib.axes import Axes
from numpy.typing import NDArray

from synsim import figures, plots

SMOOTHED = 100
PANELS = {
    "KFAC and descent on weights (A)": ("kfac", "natural", "adam", "sgd-momentum"),
    "data for the curvature (B, C)": ("kfac-subsampled", "natural-blocks", "natural-1000", "natural-4000",
                                      "natural-previous", "natural-same"),
    "damping and labels of KFAC": ("kfac", "kfac-standard", "kfac-low", "kfac-empirical", "sgd-momentum"),
    "descent on neurons": ("foof-1", "foof-100", "kfac"),
}  # fmt: skip
NAMES = {
    "sgd-momentum": "SGD, momentum",
    "adam": "Adam",
    "natural": "natural",
    "natural-previous": "natural, previous batch",
    "natural-same": "natural, same batch",
    "natural-1000": "natural, 1,000 images",
    "natural-4000": "natural, 4,000 images",
    "natural-blocks": "natural, blocks",
    "kfac": "KFAC",
    "kfac-low": "KFAC, low damping",
    "kfac-standard": "KFAC, standard damping",
    "kfac-subsampled": "KFAC, m = 0",
    "kfac-empirical": "KFAC, empirical",
    "foof-1": "FOOF, T = 1",
    "foof-100": "FOOF, T = 100",
}
# Numbers of colours and marks: no two of a panel are alike.
NUMBERS = dict(zip(NAMES, (6, 4, 3, 5, 6, 2, 4, 0, 1, 4, 2, 1, 5, 5, 0), strict=True))


def smoothed(dataset: xarray.Dataset, rule: str) -> NDArray[np.float64]:
    """Mean loss of the hundred steps before each point, or of those that there are, [seed, step]."""
    loss = dataset.loss.sel(rule=rule).transpose("seed", "step").values
    width = max(1, round(SMOOTHED / float(dataset.step[0])))
    return np.stack([loss[:, max(0, k + 1 - width) : k + 1].mean(1) for k in range(loss.shape[1])], 1)


def published(summary: Sequence[Mapping[str, Any]], rule: str) -> dict[int, float]:
    """Step -> the published loss, from the table of the run."""
    told = [row for row in summary if row["method"] == rule and row.get("reference")]
    return {int(str(row["metric"]).rpartition(" ")[2]): float(row["reference"]["mean"]) for row in told}


def panel(
    ax: Axes, dataset: xarray.Dataset, rules: Sequence[str], summary: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Some curves; returns the numbers, [seed, step] per rule, and the published ones."""
    found: dict[str, Any] = {}
    for rule in rules:
        number = NUMBERS[rule]
        values, theirs = smoothed(dataset, rule), published(summary, rule)
        plots.curve(ax, dataset.step.values, values, NAMES[rule], number)
        colour = plots.COLOURS[number]
        ax.plot(list(theirs), list(theirs.values()), "o", markerfacecolor="white", color=colour, zorder=5, markersize=5)
        found[rule] = {"loss": values, "published": theirs}
    ax.set(yscale="log", xlabel="step")
    ax.legend(loc="upper right", handlelength=1.4)
    return found


def draw(dataset: xarray.Dataset, folder: Path, summary: Sequence[Mapping[str, Any]] = ()) -> list[Path]:
    """The figure of a run: the panels of whose curves it has at least two."""
    have = [str(rule) for rule in dataset.rule.values]
    shown = {title: [rule for rule in rules if rule in have] for title, rules in PANELS.items()}
    shown = {title: rules for title, rules in shown.items() if len(rules) > 1} or {"training loss": have}
    with plots.style():
        columns = min(2, len(shown))
        lines = -(-len(shown) // columns)
        made, axes = plots.panels(lines, columns, width=3.5 * columns, height=2.7 * lines)
        data: dict[str, Any] = {"step": dataset.step.values}
        for ax in axes.flat[len(shown) :]:
            ax.set_axis_off()
        for number, (title, rules) in enumerate(shown.items()):
            ax = axes.flat[number]
            data[title] = panel(ax, dataset, rules, summary)
            ax.set_title(title)
            plots.letter(ax, "abcd"[number])
        for ax in axes[:, 0]:
            ax.set_ylabel(f"training loss, mean of {SMOOTHED} steps")
        return plots.save(made, folder / "descent", data)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    figures.command(__doc__, "descent", lambda record, folder: draw(record.dataset, folder, record.summary), arguments)


if __name__ == "__main__":
    main()
