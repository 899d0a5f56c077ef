"""Figures of an energy run: the cost of a bit, and the fate of release probabilities (cf. Fig. 4.1, 4.2a, 4.6a)."""

from pathlib import Path
from typing import Any

import xarray
from matplotlib.axes import Axes

from synsim import figures, plots, statistics

SHORT = {"deterministic": "determin.", "fixed": "fixed"}
LABELS = {"plastic": "plastic", "deterministic": "deterministic", "fixed": "fixed release"}


def last(dataset: xarray.Dataset) -> xarray.Dataset:
    """The measurements at the end, without replicas that failed."""
    return dataset.isel(task=0, epoch=-1).where(~dataset.failed)


def best_decays(dataset: xarray.Dataset) -> dict[str, float]:
    """The decay at which each model gets most bits per energy."""
    end = last(dataset)
    ratio = (end.information / end.energy).mean("seed")
    return {str(name): float(ratio.sel(model=name).idxmax("decay")) for name in dataset.model.values}


def information_against_energy(ax: Axes, dataset: xarray.Dataset) -> Axes:
    """Mutual information against synaptic energy, one point per decay."""
    end = last(dataset)
    for number, name in enumerate(dataset.model.values):
        part = end.sel(model=name).transpose("seed", "decay", ...)
        bits, cost = statistics.summary(part.information.values), statistics.summary(part.energy.values)
        ax.errorbar(cost.mean, bits.mean, xerr=cost.sem, yerr=bits.sem, capsize=2, label=LABELS.get(name, name),
                    color=plots.COLOURS[number], marker=plots.MARKERS[number])  # fmt: skip
    ax.set(xlabel="synaptic energy Σ|w̄| (strength)", ylabel="mutual information (bits)")
    ax.ticklabel_format(axis="x", scilimits=(-3, 4), useMathText=True)
    plots.legend_above(ax)
    return ax


def best_ratio(ax: Axes, dataset: xarray.Dataset) -> dict[str, list[float]]:
    """Bits per energy at each model's best decay, with tests against the plastic one; returns the numbers."""
    end, best = last(dataset), best_decays(dataset)
    ratio = 1000 * end.information / end.energy
    samples = {name: ratio.sel(model=name, decay=decay).values for name, decay in best.items()}
    plots.bars(ax, [f"{SHORT.get(n, n)}\n{best[n]:g}" for n in samples], list(samples.values()))
    ax.set(xlabel="model, and its best weight decay", ylabel="10⁻³ bits per unit of energy")
    names = list(samples)
    top = max(float(values.max()) for values in samples.values())
    ax.set_ylim(0, top * (1.1 + 0.11 * len(names)))
    others = [k for k in range(1, len(names)) if min(len(samples[names[0]]), len(samples[names[k]])) > 1]
    tests = [statistics.compare(samples[names[0]], samples[names[k]]).p for k in others]
    for rank, (k, p) in enumerate(zip(others, statistics.holm(tests), strict=True)):
        text = f"{statistics.stars(p)} p = {p:.2g}".strip()
        plots.bracket(ax, 0, k, top * (1.08 + 0.11 * rank), text)
    return {name: values.tolist() for name, values in samples.items()}


def probabilities(ax: Axes, dataset: xarray.Dataset, model: str = "plastic") -> Axes:
    """Histogram of release probabilities before and after learning, at the model's best decay."""
    decay = best_decays(dataset)[model]
    part = dataset.p_histogram.sel(model=model, decay=decay).where(~dataset.failed.sel(model=model, decay=decay))
    for number, when in enumerate(("before", "after")):
        shares = 100 * part.sel(when=when).transpose("seed", "bin", ...).values
        plots.histogram(ax, dataset.bin.values, shares, f"{when} learning", number)
    ax.axvline(0.9, color="0.4", linestyle="--", linewidth=0.8)
    ax.set_yscale("log")
    ax.set(xlabel="release probability p", ylabel="synapses (%)", xlim=(0, 1))
    plots.legend_above(ax)
    return ax


def draw(dataset: xarray.Dataset, folder: Path) -> list[Path]:
    """All figures of a run."""
    with plots.style():
        made, axes = plots.figure(3, width=7.0, height=2.5)
        information_against_energy(axes[0], dataset)
        data: dict[str, Any] = {"bits_per_energy_1e-3": best_ratio(axes[1], dataset)}
        if "plastic" in dataset.model.values:
            probabilities(axes[2], dataset)
        else:
            axes[2].set_axis_off()
        for letter, ax in zip("abc", axes, strict=True):
            plots.letter(ax, letter)
        end = last(dataset)
        for name in ("information", "energy", "mean_p"):
            data[name] = end[name].transpose("model", "decay", "seed", ...).values
        data["models"], data["decays"] = dataset.model.values, dataset.decay.values
        return plots.save(made, folder / "energy", data)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    figures.command(__doc__, "energy", lambda record, folder: draw(record.dataset, folder), arguments)


if __name__ == "__main__":
    main()
