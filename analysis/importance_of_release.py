"""Figures of an importance_of_release run: what reliable synapses cost and know (cf. Fig. 4.2a, c, d of the paper)."""

from pathlib import Path
from typing import Any

import numpy as np
import xarray
from matplotlib.axes import Axes

from synsim import figures, outcomes, plots, statistics

LABELS = {"high": "p ≥ 0.9", "low": "p < 0.9"}
NAMES = {
    "energy": "synaptic energy |w̄|\n(strength per synapse)",
    "fisher": "Fisher information\n(strength⁻² per synapse)",
}
Array = np.ndarray[Any, Any]


def sound(dataset: xarray.Dataset) -> xarray.Dataset:
    """The measurements, without replicas that failed."""
    return dataset.where(~dataset.failed)


def probabilities(ax: Axes, dataset: xarray.Dataset) -> Axes:
    """Histogram of release probabilities before and after learning (Fig. 4.2a)."""
    for number, when in enumerate(("before", "after")):
        shares = 100 * sound(dataset).p_histogram.sel(when=when).transpose("replica", "bin").values
        plots.histogram(ax, dataset.bin.values, shares, f"{when} learning", number)
    ax.axvline(0.9, color="0.4", linestyle="--", linewidth=0.8)
    ax.set_yscale("log")
    ax.set(xlabel="release probability p", ylabel="synapses (%)", xlim=(0, 1))
    plots.legend_above(ax)
    return ax


def groups(dataset: xarray.Dataset, name: str, layer: str = "all") -> dict[str, Array]:
    """Mean over the synapses of each group, per replica."""
    means = sound(dataset)[f"{name}_mean"].sel(layer=layer)
    return {label: means.sel(group=group).values for group, label in LABELS.items()}


def tests(dataset: xarray.Dataset) -> dict[str, dict[str, float] | None]:
    """High against low p over seeds, with Holm's correction for the two tests; None where there are too few seeds."""
    made = outcomes.tests("importance_of_release", outcomes.of("importance_of_release", dataset))
    found = {name: made.between(name, "high", "low") for name in NAMES}
    keys = ("t", "df", "p", "p_holm", "hedges_g")
    return {name: {key: getattr(test, key) for key in keys} if test else None for name, test in found.items()}


def compared(ax: Axes, dataset: xarray.Dataset, name: str) -> Axes:
    """Energy or Fisher information of synapses with high and low p (Fig. 4.2c, d)."""
    found, test = groups(dataset, name), tests(dataset)[name]
    plots.bars(ax, list(found), list(found.values()), [1, 0])
    ax.set(xlabel="release probability", ylabel=NAMES[name])
    top = max(float(np.nanmax(values, initial=0.0)) for values in found.values())
    ax.set_ylim(0, top * 1.25)
    ax.ticklabel_format(axis="y", scilimits=(-2, 3), useMathText=True)
    if test is not None and np.isfinite(test["p_holm"]):
        plots.bracket(ax, 0, 1, top * 1.1, statistics.marked(test["p_holm"]))
    return ax


def correlation(dataset: xarray.Dataset, kind: str) -> xarray.DataArray:
    """Correlation of every importance with p, [importance, layer, replica]."""
    return sound(dataset).r.sel(kind=kind).transpose("importance", "layer", "replica")


def order(dataset: xarray.Dataset) -> list[str]:
    """The importances, that of the highest rank correlation over all synapses first."""
    pooled = statistics.summary(correlation(dataset, "Spearman").sel(layer="all").values, axis=1).mean
    names = dataset.importance.values
    return [str(names[k]) for k in np.argsort(-np.nan_to_num(pooled, nan=-2.0), kind="stable")]


def draw(dataset: xarray.Dataset, folder: Path) -> list[Path]:
    """All figures of a run."""
    names, layers = order(dataset), [str(layer) for layer in dataset.layer.values]
    with plots.style():
        made, axes = plots.figure(3, width=7.0, height=2.5)
        probabilities(axes[0], dataset)
        data: dict[str, Any] = {"p_histogram_bins": dataset.bin.values}
        for when in ("before", "after"):
            data[f"p_{when}"] = sound(dataset).p_histogram.sel(when=when).transpose("replica", "bin").values
        for ax, name in zip(axes[1:], NAMES, strict=True):
            compared(ax, dataset, name)
            data[name] = {layer: groups(dataset, name, layer) for layer in layers}
        data["tests"] = tests(dataset)
        for letter, ax in zip("abc", axes, strict=True):
            plots.letter(ax, letter)
        files = plots.save(made, folder / "importance_of_release", data)

        made, axes = plots.figure(2, width=7.0, height=0.17 * len(names) + 1.0)
        data = {"importances": names, "layers": layers}
        low = min(0.0, *(float(np.nanmin(correlation(dataset, str(k)), initial=0.0)) for k in dataset.kind.values))
        for ax, kind in zip(axes, ("Spearman", "Pearson"), strict=True):
            values = correlation(dataset, kind).sel(importance=names)
            found = statistics.summary(values.values, axis=2)
            texts = [[f"{one:.2f}".replace("-", "−") if np.isfinite(one) else "" for one in row] for row in found.mean]
            shown = names if ax is axes[0] else [""] * len(names)
            image = plots.heatmap(ax, found.mean, shown, layers, texts, limits=(low, 1.0))
            ax.set_title(f"{kind} correlation with p")
            data[kind] = {"mean": found.mean, "sem": found.sem, "n": found.n}
        made.colorbar(image, ax=axes, label=f"mean of {dataset.sizes['replica']} seeds", aspect=30)
        return files + plots.save(made, folder / "importance_of_release_correlation", data)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    figures.command(__doc__, "importance_of_release", lambda record, folder: draw(record.dataset, folder), arguments)


if __name__ == "__main__":
    main()
