"""Figures of a run of spiking_energy: what a bit costs in rate and in spiking networks, and one image as spikes."""

from pathlib import Path
from typing import Any

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from synsim import figures, outcomes, plots, statistics

TERMS = {"spikes": "action potentials", "release": "release", "reversal": "ion reversal"}
GROUPS = {"plastic": 0, "deterministic": 1, "fixed": 2}
SHORT = {"plastic": "plastic", "deterministic": "determin.", "fixed": "fixed"}
TRACES = 4


def last(dataset: xarray.Dataset) -> xarray.Dataset:
    """The measurements at the end, without replicas that failed."""
    names = [str(name) for name in dataset.data_vars if "model" in dataset[name].dims]
    return outcomes.at_end(dataset[names])


def best_decays(dataset: xarray.Dataset) -> dict[str, float]:
    """The decay at which each model gets most bits per synaptic energy."""
    ratio = outcomes.bits_per(last(dataset).assign(failed=dataset.failed))
    # Panels are filled from below, so that the first model comes on top.
    return {str(name): outcomes.best(ratio.sel(model=name), "decay") for name in dataset.model.values[::-1]}


def atp(end: xarray.Dataset) -> xarray.DataArray:
    """ATP per image, all terms."""
    return end.atp_spikes + end.atp_release + end.atp_reversal


def at_best(values: xarray.DataArray, best: dict[str, float]) -> dict[str, Any]:
    """Values of every model at its best decay, over seeds."""
    return {name: values.sel(model=name, decay=decay).values for name, decay in best.items()}


def colour_of(name: str) -> int:
    """Number of the colour: what releases do."""
    return GROUPS[method(name)]


def method(name: str) -> str:
    """What releases of a model do."""
    return name.split(",")[0].split()[1]


def kind(name: str) -> str:
    """Kind of network, and rule where it is the local one."""
    return name.split()[0] + (", local" if name.endswith("local") else "")


def label(name: str) -> str:
    """A model's name for an axis."""
    return f"{name.split()[0]}, {SHORT[method(name)]}" + (", local" if name.endswith("local") else "")


def cost(ax: Axes, values: xarray.DataArray, best: dict[str, float], xlabel: str) -> dict[str, Any]:
    """One line per model, with every seed as a dot; returns the numbers."""
    found = at_best(values, best)
    plots.dots(ax, [label(name) for name in found], list(found.values()), [colour_of(name) for name in found])
    top = max(float(np.nanmax(one, initial=0.0)) for one in found.values()) or 1.0
    ax.set(xlabel=xlabel, xlim=(0, 1.06 * top))
    ax.xaxis.set_major_locator(MaxNLocator(4))
    return {name: values.tolist() for name, values in found.items()}


def budget(ax: Axes, end: xarray.Dataset, best: dict[str, float]) -> dict[str, Any]:
    """ATP per image that synapses spend, stacked by term; action potentials, which cost far more, stand apart."""
    names, data = list(best), {}
    at = np.arange(len(names))
    left = np.zeros(len(names))
    for number, term in enumerate(("release", "reversal")):
        values = at_best(end[f"atp_{term}"] / 1e6, best)
        means = np.array([np.nanmean(values[name]) for name in names])
        ax.barh(at, means, 0.65, left=left, color=plots.COLOURS[3 + number], label=TERMS[term])
        data[term] = {name: values[name].tolist() for name in names}
        left += means
    ax.set_yticks(at, [label(name) for name in names])
    ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.set(xlabel="synaptic ATP (10⁶ per image)", ylim=(-0.6, len(names) - 0.4))
    plots.legend_above(ax)
    return data


def sweep(ax: Axes, end: xarray.Dataset, names: list[str]) -> dict[str, Any]:
    """Bits per synaptic energy against the weight decay, of the models of one kind of network."""
    ratio, found = 1000 * end.information / end.energy, {}
    at = range(end.sizes["decay"])
    for name in names:
        values = ratio.sel(model=name).transpose("seed", "decay").values
        plots.curve(ax, at, values, method(name), colour_of(name))
        found[name] = statistics.summary(values).mean.tolist()
    ax.set_xticks(at, [f"{decay:g}" for decay in end.decay.values])
    ax.set(xlabel="weight decay", ylabel="10⁻³ bits per unit of Σ|w̄|")
    return found


def sweeps(end: xarray.Dataset, folder: Path) -> list[Path]:
    """One panel per kind of network and rule, on one scale."""
    kinds: dict[str, list[str]] = {}
    for name in map(str, end.model.values):
        kinds.setdefault(kind(name), []).append(name)
    made, axes = plots.figure(len(kinds), width=min(7.0, 2.4 * len(kinds) + 1.2), height=2.3)
    found: dict[str, Any] = {}
    for ax, (title, names) in zip(axes, kinds.items(), strict=True):
        found |= sweep(ax, end, names)
        ax.set_title(title)
    top = max(ax.get_ylim()[1] for ax in axes)
    for ax in axes:
        ax.set_ylim(0, top)
    for ax in axes[1:]:
        ax.set_ylabel("")
    axes[-1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return plots.save(made, folder / "spiking-energy-decays", {"bits_per_energy_1e-3": found})


def energies(dataset: xarray.Dataset, folder: Path) -> list[Path]:
    """The first figure: information per energy, activity, and where ATP goes."""
    end, best = last(dataset), best_decays(dataset)
    data: dict[str, Any] = {"best_decays": best}
    tall = 1.3 + 0.17 * len(best)
    made, axes = plots.panels(2, 3, width=7.0, height=2 * tall)
    data["bits_per_energy_1e-3"] = cost(axes[0, 0], 1000 * end.information / end.energy, best,
                                        "10⁻³ bits per unit of Σ|w̄|")  # fmt: skip
    data["accuracy"] = cost(axes[0, 1], 100 * end.accuracy.isel(after_task=0, test_task=0), best, "accuracy (%)")
    data["hidden_spikes"] = cost(axes[0, 2], end.hidden_spikes, best, "hidden spikes per image")
    data["bits_per_1e9_atp"] = cost(axes[1, 0], 1e9 * end.information / atp(end), best, "bits per 10⁹ ATP")
    data["atp_spikes"] = cost(axes[1, 1], end.atp_spikes / 1e9, best, "action potentials (10⁹ ATP per image)")
    data["atp_synapses_1e6"] = budget(axes[1, 2], end, best)
    for row in axes:
        for ax in row[1:]:
            ax.set_yticklabels([])
    for name, ax in zip("abcdef", axes.flat, strict=True):
        plots.letter(ax, name, up=6)
    files = plots.save(made, folder / "spiking-energy", data)
    return files + (sweeps(end, folder) if end.sizes["decay"] > 1 else [])


def dotted(ax: Axes, dataset: xarray.Dataset, name: str, ylabel: str) -> Axes:
    """A raster: a dot where a neuron fires."""
    step, neuron = np.nonzero(dataset[name].values)
    times = dataset.time.values
    ax.scatter(times[step], neuron, s=1.6, marker="|", linewidths=0.7, color="0.1")
    ax.set(xlabel="time (ms)", ylabel=ylabel, xlim=(times[0] - 0.5, times[-1] + 0.5),
           ylim=(-1, dataset[name].shape[1]))  # fmt: skip
    return ax


def traces(ax: Axes, dataset: xarray.Dataset) -> list[int]:
    """Membranes of the hidden neurons that fire most, with the threshold; returns which."""
    threshold = dataset.attrs["raster_threshold"]
    spikes, v = dataset.raster_hidden_1.values, dataset.membrane_hidden_1.values
    shown = np.argsort(-spikes.sum(0, dtype=int), kind="stable")[:TRACES]
    low, high = float(v[:, shown].min()), max(float(v[:, shown].max()), threshold)
    for row, neuron in enumerate(shown):
        up = row * 1.15 * (high - low)
        ax.axhline(up + threshold, color="0.6", linewidth=0.6, linestyle=":")
        ax.plot(dataset.time.values, up + v[:, neuron], color=plots.COLOURS[0], linewidth=0.9)
        at = np.nonzero(spikes[:, neuron])[0]
        ax.plot(dataset.time.values[at], np.full(len(at), up + threshold), "|", color=plots.COLOURS[1], markersize=5)
    ax.set_yticks([row * 1.15 * (high - low) for row in range(len(shown))], [str(neuron) for neuron in shown])
    ax.set(xlabel="time (ms)", ylabel="hidden neuron, its v")
    return [int(neuron) for neuron in shown]


def readout(ax: Axes, dataset: xarray.Dataset) -> Axes:
    """Membranes of the readout; that of the right class is coloured."""
    right = int(dataset.attrs["raster_label"])
    for k in range(dataset.sizes["class"]):
        if k != right:
            ax.plot(dataset.time.values, dataset.raster_output.values[:, k], color="0.7", linewidth=0.8,
                    label="others" if k == (right == 0) else None)  # fmt: skip
    ax.plot(dataset.time.values, dataset.raster_output.values[:, right], color=plots.COLOURS[1], label=f"class {right}")
    ax.axhline(0, color="0.2", linewidth=0.5)
    ax.set(xlabel="time (ms)", ylabel="v of the readout")
    plots.legend_above(ax)
    return ax


def raster(dataset: xarray.Dataset, folder: Path) -> list[Path]:
    """The second figure: one image on its way through a trained network."""
    made, axes = plots.panels(1, 5, width=7.0, height=2.1, ratios=(0.8, 1, 1, 1, 1))
    side = round(np.sqrt(dataset.sizes["pixel"]))
    if side * side == dataset.sizes["pixel"]:
        axes[0, 0].imshow(dataset.raster_image.values.reshape(side, side), cmap="gray_r", vmin=0, vmax=1)
    axes[0, 0].set(xticks=[], yticks=[], xlabel="image", anchor="N")
    axes[0, 0].spines[:].set_visible(False)
    dotted(axes[0, 1], dataset, "raster_input", "pixel")
    dotted(axes[0, 2], dataset, "raster_hidden_1", "hidden neuron")
    shown = traces(axes[0, 3], dataset)
    readout(axes[0, 4], dataset)
    data = {
        "model": dataset.attrs["raster_model"],
        "label": dataset.attrs["raster_label"],
        "input_spikes": int(dataset.raster_input.sum()),
        "hidden_spikes": int(dataset.raster_hidden_1.sum()),
        "neurons_shown": shown,
        "readout": dataset.raster_output.values,
    }
    for name, ax in zip("abcde", axes.flat, strict=True):
        plots.letter(ax, name, up=6)
    return plots.save(made, folder / "spiking-raster", data)


def draw(dataset: xarray.Dataset, folder: Path) -> list[Path]:
    """All figures of a run."""
    with plots.style():
        files = energies(dataset, folder)
        return files + (raster(dataset, folder) if "raster_hidden_1" in dataset else [])


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    figures.command(__doc__, "spiking_energy", lambda record, folder: draw(record.dataset, folder), arguments)


if __name__ == "__main__":
    main()
