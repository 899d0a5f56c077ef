"""Figure of a run of sparsity: accuracy over the share kept, overlap of masks, and weights before and after."""

from pathlib import Path
from typing import Any

import xarray
from matplotlib.axes import Axes

from synsim import figures, plots

SCOPES = {"layer": "each layer", "network": "the network"}


def pruned(ax: Axes, dataset: xarray.Dataset, scope: str) -> dict[str, Any]:
    """Accuracy over the share of the weights that is kept; returns the numbers [seed, keep] per power."""
    found = {}
    good = 100 * dataset.pruned.sel(scope=scope).where(~dataset.failed)
    for number, alpha in enumerate(dataset.alpha.values):
        each = good.sel(alpha=alpha).transpose("seed", "keep").values
        plots.curve(ax, 100 * dataset.keep.values, each, f"α = {alpha:g}", number)
        found[f"{alpha:g}"] = each.tolist()
    ax.set(xscale="log", xlabel=f"kept of {SCOPES[scope]} (%)", ylabel="test accuracy (%)")
    return found


def overlap(ax: Axes, dataset: xarray.Dataset) -> dict[str, Any]:
    """Overlap of the masks of first and last weights; returns the numbers [seed, share] per power."""
    found = {}
    for number, alpha in enumerate(dataset.alpha.values):
        each = dataset.overlap.sel(alpha=alpha).transpose("seed", "share").values
        plots.curve(ax, 100 * dataset.share.values, each, f"α = {alpha:g}", number)
        found[f"{alpha:g}"] = each.tolist()
    ax.set(xscale="log", xlabel="weights kept, %", ylabel="overlap with the first mask", ylim=(0, 1))
    return found


def scatter(ax: Axes, dataset: xarray.Dataset, alpha: float) -> None:
    """Weights of the first seed before and after learning."""
    one = dataset.sel(alpha=alpha).isel(seed=0)
    ax.plot(one.before.values, one.after.values, ".", markersize=1, alpha=0.3, rasterized=True)
    ax.set(xlabel="weight before", ylabel="weight after", title=f"α = {alpha:g}")


def draw(dataset: xarray.Dataset, folder: Path) -> list[Path]:
    """The figure of a run."""
    with plots.style():
        made, axes = plots.panels(2, 3, width=7.0, height=4.6)
        data: dict[str, Any] = {"keep": dataset.keep.values, "share": dataset.share.values}
        data["layer"] = pruned(axes[0, 0], dataset, "layer")
        data["network"] = pruned(axes[0, 1], dataset, "network")
        data["overlap"] = overlap(axes[0, 2], dataset)
        shown = [dataset.alpha.values[k] for k in (0, len(dataset.alpha) // 2, -1)]
        for ax, alpha in zip(axes[1], shown, strict=True):
            scatter(ax, dataset, float(alpha))
        plots.legend_over(made, axes[0, 0])
        for letter, ax in zip("abcdef", axes.flat, strict=True):
            plots.letter(ax, letter)
        return plots.save(made, folder / "sparsity", data)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    figures.command(__doc__, "sparsity", lambda record, folder: draw(record.dataset, folder), arguments)


if __name__ == "__main__":
    main()
