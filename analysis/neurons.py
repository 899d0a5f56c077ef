"""Figures of a neurons run: important synapses per neuron, true and shuffled (cf. Fig. 4.3 and 4.7 of the paper)."""

from pathlib import Path
from typing import Any

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from synsim import figures, plots, statistics

KINDS = ("true", "shuffled")
CLASSES = {"lowly": -1, "average": 0, "highly": 1}
BARS = 20
Array = np.ndarray[Any, Any]


def sound(dataset: xarray.Dataset) -> xarray.Dataset:
    """The measurements, without replicas that failed; the order of the axes is fixed."""
    order = ("kind", "side", "hidden", "shuffle", "replica", "neuron")
    return dataset.where(~dataset.failed).transpose(*order, ..., missing_dims="ignore")


def shown(dataset: xarray.Dataset) -> str:
    """The side of Fig. 4.3a: the inputs of the last hidden layer."""
    return f"{dataset.hidden.values[-1]} inputs"


def counts(dataset: xarray.Dataset, side: str) -> dict[str, Array]:
    """Counts of all replicas' neurons, [R, n], and of the shuffled matrices, [S·R, n]."""
    found = sound(dataset).sel(side=side)
    width = int(found["count"].notnull().any("replica").sum())
    every = found.shuffled.values[..., :width]
    return {"true": found["count"].values[..., :width], "shuffled": every.reshape(-1, width)}


def shares(dataset: xarray.Dataset, side: str) -> tuple[Array, dict[str, Array]]:
    """Share of the neurons per number of important synapses, %: edges [K + 1], and [R, K] for both kinds."""
    found = counts(dataset, side)
    width = found["true"].shape[1]
    low, top = (float(end(np.concatenate([v.ravel() for v in found.values()]))) for end in (np.nanmin, np.nanmax))
    step = max(1.0, np.ceil((top + 1 - low) / min(BARS, width)))
    edges = np.arange(low, top + 1 + step, step) - 0.5
    rows = {kind: [np.histogram(row, edges)[0] for row in values] for kind, values in found.items()}
    kept = {kind: np.isfinite(values).all(1, keepdims=True) for kind, values in found.items()}
    return edges, {kind: np.where(kept[kind], 100 * np.array(rows[kind]) / width, np.nan) for kind in KINDS}


def tested(dataset: xarray.Dataset, side: str) -> tuple[Array, Array]:
    """D and p of the Kolmogorov-Smirnov test per replica, medians over the shuffles."""
    found = sound(dataset).sel(side=side).median("shuffle")
    return found.ks.values, found.ks_p.values


def title(dataset: xarray.Dataset, side: str) -> str:
    """The test in words; of p the largest replica's."""
    d, p = tested(dataset, side)
    worst = float(np.nanmax(p))
    size = "p < 0.01" if worst < 0.01 else f"p ≤ {worst:.2g}"
    found = statistics.summary(d)
    return f"{side.rsplit(' ', 1)[0]}: D = {statistics.format_mean(float(found.mean), float(found.sem))}, {size}"


def histogram(ax: Axes, dataset: xarray.Dataset, side: str) -> Axes:
    """Neurons per number of important synapses, true and shuffled (Fig. 4.3a, 4.7a)."""
    edges, found = shares(dataset, side)
    for number, kind in enumerate(KINDS):
        plots.histogram(ax, (edges[1:] + edges[:-1]) / 2, found[kind], kind, number)
    ax.set(xlabel=f"important {side.rsplit(' ', 1)[1]} per neuron", ylabel="neurons (%)")
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    ax.set_title(title(dataset, side), fontsize=7)
    return ax


def class_shares(dataset: xarray.Dataset, side: str) -> dict[str, dict[str, Array]]:
    """Share of the neurons in each class, %, per replica."""
    found = sound(dataset).neuron_class.sel(side=side)
    return {
        kind: {name: 100 * (one == value).where(one.notnull()).mean("neuron").values for name, value in CLASSES.items()}
        for kind in KINDS
        for one in [found.sel(kind=kind)]
    }


def classes(ax: Axes, dataset: xarray.Dataset, side: str) -> Axes:
    """Lowly, average and highly important neurons, true and shuffled (Fig. 4.3b)."""
    found = class_shares(dataset, side)
    for number, kind in enumerate(KINDS):
        for place, values in enumerate(found[kind].values()):
            one, at = statistics.summary(values), place + (number - 0.5) * 0.38
            ax.bar(at, float(one.mean), 0.36, yerr=float(np.nan_to_num(one.sem)), color=plots.COLOURS[number],
                   alpha=0.75, capsize=2, ecolor="0.2", label=kind if place == 0 else None)  # fmt: skip
            spread = np.linspace(-0.08, 0.08, len(values)) if len(values) > 1 else np.zeros(1)
            ax.plot(at + spread, values, ".", color="0.15", markersize=2.5, zorder=3)
    ax.set_xticks(range(len(CLASSES)), list(CLASSES))
    ax.set(xlabel=f"importance ({side})", ylabel="neurons (%)")
    return ax


def scatter(ax: Axes, dataset: xarray.Dataset) -> Axes:
    """Important outputs against important inputs of the hidden neurons, as shares (Fig. 4.3c, 4.7b)."""
    for number, (name, pair) in enumerate(pairs(dataset).items()):
        found = statistics.summary(sound(dataset).pearson.sel(hidden=name).values)
        label = f"{name}: r = {statistics.format_mean(float(found.mean), float(found.sem))}"
        share = [100 * values / most for values, most in zip(pair, most_of(dataset, name), strict=True)]
        ax.plot(share[0].ravel(), share[1].ravel(), plots.MARKERS[number], color=plots.COLOURS[number + 2],
                markersize=2.2, markeredgewidth=0, alpha=0.5, label=label, rasterized=True)  # fmt: skip
    ax.set(xlabel="important inputs (% of all)", ylabel="important outputs (% of all)")
    return ax


def pairs(dataset: xarray.Dataset) -> dict[str, tuple[Array, Array]]:
    """Important inputs and outputs of each hidden layer's neurons, [R, n]."""
    return {
        str(name): (counts(dataset, f"{name} inputs")["true"], counts(dataset, f"{name} outputs")["true"])
        for name in dataset.hidden.values
    }


def most_of(dataset: xarray.Dataset, name: str) -> tuple[int, int]:
    """How many inputs and outputs a neuron of a hidden layer has."""
    sides = [str(side) for side in dataset.side.values]
    before, after = sides[sides.index(f"{name} inputs") - 1], sides[sides.index(f"{name} outputs") + 1]
    return counts(dataset, before)["true"].shape[1], counts(dataset, after)["true"].shape[1]


def draw(dataset: xarray.Dataset, folder: Path) -> list[Path]:
    """All figures of a run."""
    side, sides = shown(dataset), [str(one) for one in dataset.side.values]
    with plots.style():
        made, axes = plots.figure(3, width=7.0, height=2.5)
        histogram(axes[0], dataset, side)
        classes(axes[1], dataset, side)
        scatter(axes[2], dataset)
        for letter, ax in zip("abc", axes, strict=True):
            plots.letter(ax, letter)
            ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.08 if ax is axes[0] else 1.0), borderaxespad=0.2)
        data: dict[str, Any] = {"side": side, "classes_percent": class_shares(dataset, side)}
        data["inputs_outputs"] = pairs(dataset)
        data["r"] = dict(zip(pairs(dataset), sound(dataset).pearson.values, strict=True))
        files = plots.save(made, folder / "neurons", data)

        rows = -(-len(sides) // 3)
        made, grid = plots.panels(rows, 3, width=7.0, height=2.1 * rows + 0.3)
        data = {}
        for ax, one in zip(grid.flat, sides, strict=False):
            histogram(ax, dataset, one)
            edges, found = shares(dataset, one)
            d, p = tested(dataset, one)
            data[one] = {"edges": edges, "neurons_percent": found, "D": d, "p": p}
        for ax in grid.flat[len(sides) :]:
            ax.set_axis_off()
        plots.legend_over(made, grid.flat[0])
        return files + plots.save(made, folder / "neurons_sides", data)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    figures.command(__doc__, "neurons", lambda record, folder: draw(record.dataset, folder), arguments)


if __name__ == "__main__":
    main()
