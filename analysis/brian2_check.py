"""Figures of a run of brian2_check: one trained network in torch and in Brian2, side by side."""

from pathlib import Path
from typing import Any

import numpy as np
import xarray
from matplotlib.axes import Axes
from scipy import stats

from synsim import figures, plots

WORLDS = ("torch", "Brian2")
LIMIT = 3.0
Numbers = dict[str, Any]


def raster(ax: Axes, dataset: xarray.Dataset, image: int = 0) -> Numbers:
    """Hidden spikes of one image with expected strengths: those of Brian2 as rings around the dots of torch."""
    counts = {}
    looks: dict[str, dict[str, Any]] = {"torch": {"s": 2.5, "color": plots.COLOURS[0], "zorder": 2},
             "Brian2": {"s": 11, "facecolors": "none", "edgecolors": plots.COLOURS[1], "linewidths": 0.5}}  # fmt: skip
    for world in WORLDS:
        step, neuron = np.nonzero(dataset.mean_spikes.sel(world=world).values[image])
        ax.scatter(dataset.time.values[step], neuron, label=world, **looks[world])
        counts[world] = len(step)
    ax.set(xlabel="time (ms)", ylabel="hidden neuron", ylim=(-2, dataset.mean_spikes.sizes["neuron"] + 1))
    return counts


def membrane(ax: Axes, dataset: xarray.Dataset) -> Numbers:
    """Output membrane of the winner of the first image: mean over repeats ± sd, and with expected strengths."""
    winner, time = int(dataset.winner[0]), dataset.time.values
    data: Numbers = {"class": winner}
    for number, world in enumerate(WORLDS):
        one = dataset.membrane.sel(world=world).isel({"class": winner})
        mean, sd = one.mean("repeat").values, one.std("repeat", ddof=1).values
        style: Numbers = {"linestyle": "--", "linewidth": 1.4} if number else {"linewidth": 1.8, "alpha": 0.6}
        ax.plot(time, mean, color=plots.COLOURS[number], label=world, **style)
        for sign in (-1, 1):
            ax.plot(time, mean + sign * sd, color=plots.COLOURS[number], **{**style, "linewidth": 0.7})
        data[world] = {"mean": mean, "sd": sd}
    exact = dataset.mean_membrane.sel(world="torch").values[0, :, winner]
    ax.plot(time, exact, color="0.2", linewidth=0.8, linestyle=":", label="expected")
    ax.set(xlabel="time (ms)", ylabel=f"v of output {winner}, mean ± sd")
    return data


def readouts(ax: Axes, dataset: xarray.Dataset) -> Numbers:
    """Mean readout of the winner of every image, with standard errors."""
    found = dataset.readout.isel({"class": dataset.winner})
    mean, n = found.mean("repeat"), found.sizes["repeat"]
    error = found.std("repeat", ddof=1) / np.sqrt(n)
    x, y = (mean.sel(world=world).values for world in WORLDS)
    dx, dy = (error.sel(world=world).values for world in WORLDS)
    identity(ax, np.concatenate([x, y]))
    ax.errorbar(x, y, xerr=dx, yerr=dy, fmt="o", markersize=1.5, elinewidth=0.5, color=plots.COLOURS[0])
    ax.set(xlabel="mean readout of winner, torch", ylabel="the same, Brian2")
    return {"torch": x, "Brian2": y, "torch_sem": dx, "Brian2_sem": dy}


def identity(ax: Axes, values: np.ndarray[Any, Any]) -> Axes:
    """The line of equal values."""
    ends = [float(values.min()), float(values.max())]
    ax.plot(ends, ends, color="0.3", linewidth=0.7, zorder=0)
    return ax


def differences(ax: Axes, z: xarray.DataArray, label: str, density: Any, name: str) -> Numbers:
    """Histogram of z with the density that chance gives; what lies beyond the panel counts at its edge."""
    edges = np.linspace(-4, 4, 25)
    worlds = WORLDS if "world" in z.dims else (None,)
    data: Numbers = {}
    for number, world in enumerate(worlds):
        values = (z if world is None else z.sel(world=world)).values.ravel()
        heights = np.histogram(np.clip(values, -4, 4), edges)[0] / len(values) / (edges[1] - edges[0])
        ax.stairs(heights, edges, color=plots.COLOURS[number], label=world or "images", fill=world is None,
                  alpha=0.5 if world is None else 1.0)  # fmt: skip
        data[world or "images"] = values
    at = np.linspace(-4, 4, 161)
    ax.plot(at, density(at), color="0.2", linewidth=0.9, label=name)
    for limit in (-LIMIT, LIMIT):
        ax.axvline(limit, color="0.5", linestyle=":", linewidth=0.8)
    ax.set(xlabel=label, ylabel="density", xlim=(-4, 4), ylim=(0, None))
    return data


def variances(ax: Axes, dataset: xarray.Dataset) -> Numbers:
    """Variance over repeats of the sites that the first layer releases, against the closed form, per image."""
    known = dataset.releases_variance.values
    data: Numbers = {"closed_form": known}
    n = dataset.sizes["repeat"]
    for number, world in enumerate(WORLDS):
        found = dataset.releases.isel(layer=0).sel(world=world).var("repeat", ddof=1).values
        ax.plot(known, found, plots.MARKERS[number], markersize=1.8, color=plots.COLOURS[number], alpha=0.7,
                label=world)  # fmt: skip
        data[world] = found
    ends = np.array([known.min(), known.max()])
    spread = LIMIT * np.sqrt(2 / (n - 1))
    ax.fill_between(ends, ends * (1 - spread), ends * (1 + spread), color="0.85", zorder=0, linewidth=0,
                    label="3 s.e.")  # fmt: skip
    identity(ax, ends)
    ax.set(xlabel="variance of sites, closed form", ylabel="variance over repeats", ylim=(0, None))
    return data


def draw(dataset: xarray.Dataset, folder: Path) -> list[Path]:
    """The figure of a run; of several seeds, the first."""
    one = dataset.isel(replica=0)
    n = dataset.sizes["repeat"]
    with plots.style():
        made, axes = plots.panels(2, 3, width=7.0, height=4.9)
        data = {
            "raster_spikes": raster(axes[0, 0], one),
            "membrane": membrane(axes[0, 1], one),
            "readouts": readouts(axes[0, 2], one),
            "z_readouts": differences(axes[1, 0], one.z.isel({"class": one.winner}), "z of the winner's mean readout",
                                      lambda at: stats.t.pdf(at, 2 * n - 2), "Student's t"),
            "z_releases": differences(axes[1, 1], one.z_closed_form, "z of mean sites against theory",
                                      stats.norm.pdf, "normal"),
            "release_variances": variances(axes[1, 2], one),
        }  # fmt: skip
        for ax in axes.flat[[0, 1, 3, 4, 5]]:
            ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, borderaxespad=0.2, handlelength=1.2,
                      handletextpad=0.4, columnspacing=0.8)  # fmt: skip
        for name, ax in zip("abcdef", axes.flat, strict=True):
            plots.letter(ax, name)
        return plots.save(made, folder / "brian2-check", data)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    figures.command(__doc__, "brian2_check", lambda record, folder: draw(record.dataset, folder), arguments)


if __name__ == "__main__":
    main()
