"""Figure of a lesion run: accuracy as synapses are silenced (cf. Fig. 4.2b), and what other probabilities do to it."""

from pathlib import Path
from typing import Any

import numpy as np
import xarray
from matplotlib.axes import Axes

from synsim import figures, plots, statistics

LABELS = {
    "p": "low p first",
    "weight": "low |w̄| first",
    "p*weight": "low p·|w̄| first",
    "random": "random order",
    "fisher": "low Fisher first",
}
COLOURS = {"p": 0, "random": 6, "weight": 1, "p*weight": 2, "fisher": 3}
# What a synapse keeps decides the colour of the bar.
KEPT = {"w̄ kept": 5, "m kept": 4}
UNCHANGED = 0


def curves(ax: Axes, dataset: xarray.Dataset) -> Axes:
    """Accuracy against the share of synapses silenced, one curve per order."""
    orders = [str(order) for order in dataset.order.values]
    # Importances take the colours that are left.
    known = {order: COLOURS[order] for order in orders if order in COLOURS}
    free = [number for number in range(len(plots.COLOURS)) if number not in known.values()] or [0]
    others = [order for order in orders if order not in known]
    numbers = known | {order: free[place % len(free)] for place, order in enumerate(others)}
    for order in orders:
        values = 100 * dataset.lesion_accuracy.sel(order=order).transpose("replica", "fraction").values
        label = LABELS.get(order, f"low {order} first")
        plots.curve(ax, 100 * dataset.fraction.values, values, label, numbers[order])
    ax.set(xlabel="synapses silenced (%)", ylabel="accuracy (%)")
    ax.set_ylim(bottom=0)
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), borderaxespad=0.2, handlelength=1.4, ncols=2)
    return ax


def variants(ax: Axes, names: list[str], values: xarray.DataArray, label: str) -> Axes:
    """Bars for the network as it is and with other probabilities: mean ± s.e., and every replica as a dot."""
    for line, name in enumerate(reversed(names)):
        each = values.sel(variant=name).values
        found = statistics.summary(each)
        colour = plots.COLOURS[next((number for text, number in KEPT.items() if name.endswith(text)), UNCHANGED)]
        error = float(np.nan_to_num(found.sem))
        ax.barh(line, float(found.mean), 0.65, xerr=error, color=colour, alpha=0.75, capsize=2.5, ecolor="0.2")
        ax.plot(each, line + np.linspace(-0.15, 0.15, len(each)), ".", color="0.15", markersize=3, zorder=3)
    ax.set_yticks(range(len(names)), names[::-1])
    ax.set(xlabel=label, xlim=(0, None), ylim=(-0.6, len(names) - 0.4))
    return ax


def draw(dataset: xarray.Dataset, folder: Path) -> list[Path]:
    """All figures of a run."""
    with plots.style():
        made, axes = plots.panels(1, 3, width=7.0, height=2.7, ratios=(1.25, 1, 1))
        curves(axes[0, 0], dataset)
        ratio = 1000 * dataset.information / dataset.energy
        names = [str(name) for name in dataset.variant.values]
        variants(axes[0, 1], names, 100 * dataset.accuracy, "accuracy (%)")
        variants(axes[0, 2], names, ratio, "10⁻³ bits per unit of energy")
        axes[0, 2].set_yticklabels([])
        for letter, ax in zip("abc", axes[0], strict=True):
            plots.letter(ax, letter, up=32)
        data: dict[str, Any] = {"orders": dataset.order.values, "fractions": dataset.fraction.values}
        data["lesion_accuracy"] = dataset.lesion_accuracy.transpose("order", "replica", "fraction").values
        data["variants"] = dataset.variant.values
        for name in ("accuracy", "energy", "information"):
            data[name] = dataset[name].transpose("variant", "replica").values
        return plots.save(made, folder / "lesions", data)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    figures.command(__doc__, "lesions", lambda record, folder: draw(record.dataset, folder), arguments)


if __name__ == "__main__":
    main()
