"""Figure of a run of power_synapses: bits against energy, accuracy against bits per energy, p, and lesions."""

from pathlib import Path
from typing import Any

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from synsim import figures, plots, statistics
from synsim.papers.schug2021 import DECAY

PLAIN, TWO = "α = 1, L2", 2
"""The family whose bits at the published decay the lesioned networks have, and the least of families to compare."""
WIDE = 100
"""Ratio of the ends of a logarithmic axis from which on only powers of ten have numbers."""


def families(dataset: xarray.Dataset) -> list[str]:
    """Names of the families, in the order of the run."""
    return list(dict.fromkeys(str(name) for name in dataset.family.values))


def family(dataset: xarray.Dataset, model: str, name: str) -> xarray.Dataset:
    """A family of a model by rising strength, NaN where a replica failed."""
    places = np.flatnonzero(dataset.family.values == name)
    one = dataset.sel(model=model).isel(setting=places).sortby("strength")
    return one.where(~one.failed)


def logarithmic(ax: Axes) -> None:
    """A logarithmic axis with numbers at 1, 2 and 5 of each power of ten; over a wide range these would overlap."""
    ax.set_xscale("log")
    low, high = ax.get_xlim()
    ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < WIDE * low else (1.0,)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())


def points(ax: Axes, x: xarray.DataArray, y: xarray.DataArray, label: str, number: int, **more: Any) -> None:
    """Means and standard errors of both, a point per strength."""
    across, up = (statistics.summary(each.transpose("seed", "setting").values) for each in (x, y))
    ax.errorbar(
        across.mean, up.mean, xerr=np.nan_to_num(across.sem), yerr=np.nan_to_num(up.sem), capsize=1.5, label=label,
        color=plots.COLOURS[number % len(plots.COLOURS)], marker=plots.MARKERS[number % len(plots.MARKERS)], **more,
    )  # fmt: skip


def costs(ax: Axes, dataset: xarray.Dataset, model: str) -> dict[str, Any]:
    """Bits against energy; returns both, [strength, seed] per family."""
    found = {}
    for number, name in enumerate(families(dataset)):
        one = family(dataset, model, name)
        points(ax, one.energy, one.information, name, number)
        each = {key: one[key].transpose("setting", "seed").values.tolist() for key in ("energy", "information")}
        found[name] = {"strength": one.strength.values.tolist(), **each}
    logarithmic(ax)
    ax.set(xlabel="synaptic energy Σ|w̄| (strength)", ylabel="mutual information (bits)", title=model)
    return found


def worth(ax: Axes, dataset: xarray.Dataset, model: str, share: float) -> dict[str, Any]:
    """Accuracy against bits per energy, whole and (dashed) pruned to a share; returns the pruned ratio."""
    found = {}
    for number, name in enumerate(families(dataset)):
        one = family(dataset, model, name)
        points(ax, 1000 * one.information / one.energy, 100 * one.accuracy, name, number)
        few = one.sel(keep=share)
        ratio = 1000 * few.pruned_information / few.pruned_energy
        points(ax, ratio, 100 * few.pruned_accuracy, "", number, linestyle="--", markerfacecolor="white")
        found[name] = ratio.transpose("setting", "seed").values.tolist()
    logarithmic(ax)
    ax.set(xlabel="10⁻³ bits per unit of energy", ylabel="accuracy (%)")
    ax.set_title(f"{model}; dashed: {share:.0%} kept")
    return found


def alike(dataset: xarray.Dataset, model: str) -> dict[str, int]:
    """Of every family the setting whose bits are nearest to those of the plain network at the published decay."""
    bits = dataset.information.where(~dataset.failed).sel(model=model).mean("seed")
    names = families(dataset)
    plain = np.flatnonzero(dataset.family.values == (PLAIN if PLAIN in names else names[0]))
    aim = bits[plain[np.abs(dataset.strength.values[plain] - DECAY).argmin()]]
    apart = np.abs(bits - aim).fillna(np.inf).values
    mine = {name: np.flatnonzero(dataset.family.values == name) for name in names}
    return {name: int(places[apart[places].argmin()]) for name, places in mine.items()}


def after(ax: Axes, dataset: xarray.Dataset, model: str) -> None:
    """Release probabilities after learning, of networks with like bits."""
    for number, (name, place) in enumerate(alike(dataset, model).items()):
        one = dataset.sel(model=model, when="after").isel(setting=place)
        shares = 100 * one.p_histogram.where(~one.failed).transpose("seed", "bin").values
        ax.stairs(statistics.summary(shares).mean, np.linspace(0, 1, dataset.sizes["bin"] + 1), label=name,
                  color=plots.COLOURS[number % len(plots.COLOURS)])  # fmt: skip
    ax.set(yscale="log", xlabel="release probability p at the end", ylabel="synapses (%)", xlim=(0.2, 1))


def lesions(ax: Axes, dataset: xarray.Dataset, model: str, what: str, label: str) -> dict[str, Any]:
    """Accuracy against the share that is kept, of networks with like bits; returns it, [seed, share] per family."""
    found = {}
    for number, (name, place) in enumerate(alike(dataset, model).items()):
        one = dataset.sel(model=model).isel(setting=place)
        values = 100 * one[what].where(~one.failed).transpose("seed", "keep").values
        plots.curve(ax, 100 * dataset.keep.values, values, f"{name} {float(one.strength):g}", number)
        found[f"{name} {float(one.strength):g}"] = values.tolist()
    logarithmic(ax)
    ax.set_xticks(100 * dataset.keep.values, [f"{100 * share:g}" for share in dataset.keep.values])
    ax.set(xlabel=f"synapses kept, {label} (%)", ylabel="accuracy (%)", ylim=(0, 100))
    return found


def draw(dataset: xarray.Dataset, folder: Path) -> list[Path]:
    """The figure of a run."""
    models, share = [str(name) for name in dataset.model.values], float(dataset.keep.values.min())
    first = models[0]
    with plots.style():
        made, axes = plots.panels(2, 3, width=7.0, height=4.8)
        data: dict[str, Any] = {"keep": dataset.keep.values}
        for ax, model in zip(axes[0], models, strict=False):
            data[model] = costs(ax, dataset, model)
        if len(models) < TWO:
            axes[0, 1].set_axis_off()
        data["pruned"] = worth(axes[0, 2], dataset, first, next((s for s in dataset.keep.values if s >= 0.02), share))
        after(axes[1, 0], dataset, first)
        data["by_weight"] = lesions(axes[1, 1], dataset, first, "pruned_accuracy", "largest |w̄|")
        data["by_p"] = lesions(axes[1, 2], dataset, first, "accuracy_by_p", "highest p")
        plots.legend_over(made, axes[0, 0])
        for letter, ax in zip("abcdef", [ax for ax in axes.flat if ax.axison], strict=False):
            plots.letter(ax, letter)
        return plots.save(made, folder / "power_synapses", data)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    figures.command(__doc__, "power_synapses", lambda record, folder: draw(record.dataset, folder), arguments)


if __name__ == "__main__":
    main()
