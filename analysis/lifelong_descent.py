"""Figure of a run of lifelong_descent: accuracy under every consolidation; learning and forgetting without any."""

from pathlib import Path
from typing import Any

import numpy as np
import xarray
from matplotlib.axes import Axes

from synsim import figures, plots, statistics

NAMES = {"sgd": "SGD", "adam": "Adam", "foof": "FOOF", "kfac": "KFAC"}
ORDER = tuple(NAMES)


def cells(ax: Axes, dataset: xarray.Dataset) -> dict[str, Any]:
    """Accuracy over all tasks, one group of bars per consolidation; returns the numbers [seed, consolidation]."""
    rules, found = [str(rule) for rule in dataset.rule.values], {}
    width = 0.8 / len(rules)
    for number, rule in enumerate(rules):
        values = dataset.final.sel(rule=rule).transpose("seed", "consolidation").values
        summary = statistics.summary(values)
        at = np.arange(values.shape[1]) + (number - (len(rules) - 1) / 2) * width
        colour = plots.COLOURS[ORDER.index(rule)]
        ax.bar(at, summary.mean, 0.92 * width, yerr=np.nan_to_num(summary.sem), color=colour, alpha=0.75, ecolor="0.2",
               capsize=1.5, label=NAMES[rule], error_kw={"elinewidth": 0.8})  # fmt: skip
        for place, each in zip(at, values.T, strict=True):
            ax.plot(np.full(len(each), place), each, ".", color="0.15", markersize=2, zorder=3)
        found[rule] = values
    finite = np.concatenate([one[np.isfinite(one)] for one in found.values()])
    ax.set_ylim(max(0.0, float(finite.min()) - 5), min(100.0, float(finite.max()) + 3))
    ax.set_xticks(range(dataset.sizes["consolidation"]), [str(how) for how in dataset.consolidation.values])
    ax.set(ylabel="accuracy over all tasks (%)", xlabel="consolidation")
    return found


def along(ax: Axes, dataset: xarray.Dataset) -> dict[str, Any]:
    """What every rate learns and forgets without protection, on the seeds that choose; returns the numbers."""
    found = {}
    for rule in map(str, dataset.rule.values):
        one, number = dataset.sel(rule=rule), ORDER.index(rule)
        learned, forgotten = (one[f"tried_{key}"].mean("selection", skipna=False) for key in ("learned", "forgotten"))
        x, y = learned.values, forgotten.values
        ax.plot(x, y, color=plots.COLOURS[number], marker=plots.MARKERS[number], label=NAMES[rule])
        chosen = np.isclose(one.tried_rate.values, float(one.rate))
        ax.plot(x[chosen], y[chosen], "o", markersize=8, markerfacecolor="none", color="0.15")
        found[rule] = {"rate": one.tried_rate.values, "learned": x, "forgotten": y}
    ax.set(xlabel="accuracy right after learning (%)", ylabel="forgotten (points)")
    return found


def draw(dataset: xarray.Dataset, folder: Path) -> list[Path]:
    """The figure of a run."""
    with plots.style():
        made, axes = plots.panels(1, 2, width=7.0, height=2.8, ratios=(3, 2))
        data: dict[str, Any] = {"consolidations": dataset.consolidation.values}
        data["accuracy_percent"], data["without"] = cells(axes[0, 0], dataset), along(axes[0, 1], dataset)
        axes[0, 1].set_title("no protection, a rate each; chosen in a ring")
        plots.legend_over(made, axes[0, 0])
        for letter, ax in zip("ab", axes.flat, strict=True):
            plots.letter(ax, letter)
        return plots.save(made, folder / "lifelong_descent", data)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    figures.command(__doc__, "lifelong_descent", lambda record, folder: draw(record.dataset, folder), arguments)


if __name__ == "__main__":
    main()
