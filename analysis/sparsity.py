"""Figure of a run of sparsity: accuracy over the share kept, overlap of masks, weights before and after, schedules."""

from pathlib import Path
from typing import Any

import xarray
from matplotlib.axes import Axes

from synsim import figures, plots

SCHEDULES = {"one-shot": "one-shot", "gradual": "gradual", "topkast": "TopKAST"}
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
    ax.set(xscale="log", xlabel="weights kept (%)", ylabel="overlap with the first mask", ylim=(0, 1))
    return found


def scatter(ax: Axes, dataset: xarray.Dataset, alpha: float) -> None:
    """Weights of the first seed before and after learning."""
    one = dataset.sel(alpha=alpha).isel(seed=0)
    ax.plot(one.before.values, one.after.values, ".", markersize=1, alpha=0.3, rasterized=True)
    ax.set(xlabel="weight before", ylabel="weight after", title=f"α = {alpha:g}")


def schedules(ax: Axes, dataset: xarray.Dataset) -> dict[str, Any]:
    """Accuracy with few weights over the power, however they became few; returns the numbers [seed, power]."""
    found = {}
    for number, name in enumerate(dataset.schedule.values.tolist()):
        each = 100 * dataset.scheduled.sel(schedule=name).transpose("seed", "alpha").values
        plots.curve(ax, dataset.alpha.values, each, SCHEDULES[name], number)
        found[name] = each.tolist()
    ax.set(xlabel="power α", ylabel="accuracy, few weights (%)", xticks=dataset.alpha.values)
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, handlelength=1.2, columnspacing=0.8)
    return found


def draw(dataset: xarray.Dataset, folder: Path) -> list[Path]:
    """The figure of a run."""
    with plots.style():
        made, axes = plots.panels(2, 3, width=7.0, height=4.6)
        data: dict[str, Any] = {"keep": dataset.keep.values, "share": dataset.share.values}
        data["layer"] = pruned(axes[0, 0], dataset, "layer")
        data["network"] = pruned(axes[0, 1], dataset, "network")
        data["overlap"] = overlap(axes[0, 2], dataset)
        for ax, k in zip(axes[1], (0, -1), strict=False):
            scatter(ax, dataset, float(dataset.alpha.values[k]))
        if "scheduled" in dataset:
            data["schedules"] = schedules(axes[1, 2], dataset)
        else:  # runs of old
            scatter(axes[1, 2], dataset, float(dataset.alpha.values[len(dataset.alpha) // 2]))
        plots.legend_over(made, axes[0, 0], columns=5)
        for letter, ax in zip("abcdef", axes.flat, strict=True):
            plots.letter(ax, letter)
        return plots.save(made, folder / "sparsity", data)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    figures.command(__doc__, "sparsity", lambda record, folder: draw(record.dataset, folder), arguments)


if __name__ == "__main__":
    main()
