"""Figure of a run of sites: bits per energy over the number of release sites, with masks per batch and per image."""

from pathlib import Path
from typing import Any

import numpy as np
import xarray
from matplotlib.axes import Axes

from synsim import figures, outcomes, plots

LABELS = {"batch": "one mask per batch", "sample": "one mask per image"}
QUANTITIES = {
    "ratio": "10⁻³ bits per unit of energy",
    "information": "mutual information (bits)",
    "energy": "synaptic energy Σ|w̄| (strength)",
}


def panel(ax: Axes, dataset: xarray.Dataset, model: str, quantity: str) -> dict[str, Any]:
    """One quantity of one model over the number of sites; returns the numbers [seed, sites] per scope."""
    good = dataset.sel(model=model).where(~dataset.failed.sel(model=model))
    values = outcomes.bits_per(dataset).sel(model=model) if quantity == "ratio" else good[quantity]
    at, found = np.arange(dataset.sizes["sites"]), {}
    for number, scope in enumerate(dataset.scope.values):
        each = values.sel(scope=scope).transpose("replica", "sites").values
        plots.curve(ax, at, each, LABELS.get(str(scope), str(scope)), number)
        found[str(scope)] = each.tolist()
    ax.set_xticks(at, [str(sites) for sites in dataset.sites.values])
    ax.set(xlabel="release sites N per synapse", ylabel=QUANTITIES[quantity])
    if quantity == "energy":
        ax.ticklabel_format(axis="y", scilimits=(-3, 4), useMathText=True)
    return found


def draw(dataset: xarray.Dataset, folder: Path) -> list[Path]:
    """The figure of a run: a row per model."""
    with plots.style():
        models = [str(name) for name in dataset.model.values]
        made, axes = plots.panels(len(models), 3, width=7.0, height=2.2 * len(models) + 0.3)
        data: dict[str, Any] = {"sites": dataset.sites.values}
        for row, model in enumerate(models):
            data[model] = {q: panel(axes[row, k], dataset, model, q) for k, q in enumerate(QUANTITIES)}
            axes[row, 0].set_title(f"{model} release", loc="left")
        plots.legend_over(made, axes[0, 0])
        for letter, ax in zip("abcdef", axes.flat, strict=False):
            plots.letter(ax, letter)
        return plots.save(made, folder / "sites", data)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    figures.command(__doc__, "sites", lambda record, folder: draw(record.dataset, folder), arguments)


if __name__ == "__main__":
    main()
