"""Figure of a run of descent_subset: training loss over full-batch steps, with the published curves as open marks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray
from matplotlib.axes import Axes

from synsim import figures, plots

TITLES = {"layers": "network with hidden layers", "logistic": "logistic regression"}
NAMES = {
    "sgd": "gradient descent",
    "sgd-momentum": "SGD, momentum",
    "natural": "natural, sampled labels",
    "natural-full": "natural, exact",
    "natural-blocks": "natural, blocks, sampled",
    "kfac-subsampled": "KFAC",
    "foof-subsampled": "FOOF",
    "natural-blocks-full": "natural, blocks, exact",
}
ORDER = tuple(NAMES)
LEAST = 1e-8


def published(summary: Sequence[Mapping[str, Any]], method: str) -> dict[int, float]:
    """Step -> the published loss, from the table of the run."""
    told = [row for row in summary if row["method"] == method and row.get("reference")]
    return {int(str(row["metric"]).rpartition(" ")[2]): float(row["reference"]["mean"]) for row in told}


def panel(ax: Axes, dataset: xarray.Dataset, network: str, summary: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The curves of a network; returns the numbers [seed, step] per rule, and the published ones."""
    found: dict[str, Any] = {}
    for rule in (str(name) for name in dataset.rule.values):
        values = dataset.loss.sel(network=network, rule=rule).transpose("seed", "step").values
        if not np.isfinite(values).any():
            # One legend for both panels.
            plots.curve(ax, [], np.empty((1, 0)), NAMES[rule], ORDER.index(rule))
            continue
        number, theirs = ORDER.index(rule), published(summary, f"{rule}, {network}")
        # A loss of exactly 0, of float32, has no place on a logarithmic axis.
        plots.curve(ax, dataset.step.values, np.maximum(values, LEAST), NAMES[rule], number)
        colour = plots.COLOURS[number % len(plots.COLOURS)]
        shown = [max(value, LEAST) for value in theirs.values()]
        ax.plot(list(theirs), shown, "o", markerfacecolor="white", color=colour, zorder=5, markersize=5)
        found[rule] = {"loss": values, "published": theirs}
    ax.set(yscale="log", xlabel="step", title=TITLES[network])
    return found


def draw(dataset: xarray.Dataset, folder: Path, summary: Sequence[Mapping[str, Any]] = ()) -> list[Path]:
    """The figure of a run: a panel per network."""
    with plots.style():
        networks = [str(name) for name in dataset.network.values]
        made, axes = plots.panels(1, len(networks), width=3.5 * len(networks), height=3.0)
        data: dict[str, Any] = {"step": dataset.step.values}
        for ax, network in zip(axes.flat, networks, strict=True):
            data[network] = panel(ax, dataset, network, summary)
            plots.letter(ax, "ab"[networks.index(network)])
        axes[0, 0].set_ylabel("training loss of all images")
        plots.legend_over(made, axes[0, -1])
        return plots.save(made, folder / "descent_subset", data)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    figures.command(
        __doc__, "descent_subset", lambda record, folder: draw(record.dataset, folder, record.summary), arguments
    )


if __name__ == "__main__":
    main()
