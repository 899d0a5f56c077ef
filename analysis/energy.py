"""Figures of an energy run: the cost of a bit, and the fate of release probabilities (cf. Fig. 4.1, 4.2a, 4.6a)."""

from pathlib import Path
from typing import Any

import xarray
from matplotlib.axes import Axes

from synsim import figures, outcomes, plots, statistics

SHORT = {"deterministic": "determin.", "fixed": "fixed"}
LABELS = {"plastic": "plastic", "deterministic": "deterministic", "fixed": "fixed release"}


def best_decays(dataset: xarray.Dataset) -> dict[str, float]:
    """The decay at which each model gets most bits per energy."""
    ratio = outcomes.bits_per(dataset)
    return {str(name): outcomes.best(ratio.sel(model=name), "decay") for name in dataset.model.values}


def information_against_energy(ax: Axes, dataset: xarray.Dataset) -> Axes:
    """Mutual information against synaptic energy, one point per decay."""
    end = outcomes.at_end(dataset)
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
    """Bits per energy at each model's best decay, with tests of the published order; returns the numbers."""
    ratio, best = outcomes.bits_per(dataset), best_decays(dataset)
    samples = {name: ratio.sel(model=name, decay=decay).values for name, decay in best.items()}
    plots.bars(ax, [f"{SHORT.get(n, n)}\n{best[n]:g}" for n in samples], list(samples.values()))
    ax.set(xlabel="model, and its best weight decay", ylabel="10⁻³ bits per unit of energy")
    names = list(samples)
    top = max(float(values.max()) for values in samples.values())
    ax.set_ylim(0, top * (1.1 + 0.14 * len(names)))
    for rank, (pair, p) in enumerate(corrected(dataset).items()):
        ends = sorted(names.index(name) for name in pair)
        plots.bracket(ax, ends[0], ends[1], top * (1.08 + 0.14 * rank), statistics.marked(p))
    return {name: values.tolist() for name, values in samples.items()}


def corrected(dataset: xarray.Dataset) -> dict[tuple[str, str], float]:
    """P values of the models' differences in bits per energy, corrected within their family (Holm)."""
    tests = outcomes.tests("energy", outcomes.of("energy", dataset))
    return {(first[1], second[1]): test.p_holm for (first, second), test in tests.items() if first[0] == "best"}


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


def sweep(ax: Axes, dataset: xarray.Dataset, cost: str, label: str) -> dict[str, list[float]]:
    """Bits per unit of a cost against the weight decay (Fig. 4.6a, b); returns the means."""
    ratio, found = outcomes.bits_per(dataset, cost), {}
    at = range(dataset.sizes["decay"])
    for number, name in enumerate(dataset.model.values):
        values = ratio.sel(model=name).transpose("seed", "decay").values
        plots.curve(ax, at, values, LABELS.get(name, str(name)), number)
        found[str(name)] = statistics.summary(values).mean.tolist()
    ax.set_xticks(at, [f"{decay:g}" for decay in dataset.decay.values], rotation=45)
    ax.set(xlabel="weight decay", ylabel=f"10⁻³ bits per unit of {label}", ylim=(0, None))
    return found


def part(dataset: xarray.Dataset, name: str) -> xarray.Dataset:
    """The measurements of a part of the run under their usual names."""
    found = outcomes.part(dataset, name)
    if found is None:
        raise ValueError(f"no part {name!r} in it")
    return found


def fixed_release(ax: Axes, dataset: xarray.Dataset) -> dict[str, list[float]]:
    """Most bits per energy of fixed release over the learning rates, per release probability (Fig. 4.6c)."""
    ratio = outcomes.bits_per(part(dataset, "fixed"))
    best = ratio.mean("seed").idxmax("rate")
    values = ratio.sel(rate=best).transpose("seed", "probability").values
    plots.curve(ax, ratio.probability.values, values, "fixed release", 2)
    ax.set(xlabel="release probability", ylabel="10⁻³ bits per unit of energy", ylim=(0, None), xlim=(0, 1.03))
    return {
        "probability": ratio.probability.values.tolist(),
        "best_rate": best.values.tolist(),
        "ratio": values.tolist(),
    }


def starts(ax: Axes, dataset: xarray.Dataset) -> dict[str, list[float]]:
    """Release probabilities at the end from two starts (Fig. 4.6d)."""
    found, shares = part(dataset, "start"), {}
    for number, name in enumerate(found.start.values):
        one = found.p_histogram.sel(when="after", start=name).where(~found.failed.sel(start=name))
        values = 100 * one.transpose("seed", "bin", ...).values.reshape(dataset.sizes["seed"], -1)
        plots.histogram(ax, dataset.bin.values, values, f"start {name}", number)
        shares[str(name)] = statistics.summary(values).mean.tolist()
    ax.axvline(0.9, color="0.4", linestyle="--", linewidth=0.8)
    ax.set_yscale("log")
    ax.set(xlabel="release probability p at the end", ylabel="synapses (%)", xlim=(0, 1))
    plots.legend_above(ax)
    return shares


def robustness(ax: Axes, dataset: xarray.Dataset) -> dict[str, list[float]]:
    """Bits per energy with the steps of the release probability changed by a quarter."""
    ratio = outcomes.bits_per(part(dataset, "robust"))
    names = [str(name) for name in ratio.steps.values]
    samples = {name: ratio.sel(steps=name).values for name in names[::-1]}
    labels = [name.replace("p_up", "up").replace("p_down", "down").replace("-", "−") for name in samples]
    plots.dots(ax, labels, list(samples.values()), [1 if name == "deterministic" else 0 for name in samples])
    ax.set(xlabel="10⁻³ bits per unit of energy", xlim=(0, None))
    return {name: values.tolist() for name, values in samples.items()}


def controls(dataset: xarray.Dataset, folder: Path) -> list[Path]:
    """The second figure: sweeps of the main part, and the other parts of the run."""
    there = [
        name for name in ("fixed", "start", "robust") if any(str(v).startswith(f"{name}_") for v in dataset.data_vars)
    ]
    if not there and "model" not in dataset.dims:
        raise ValueError("no part of an energy run in it")
    data: dict[str, Any] = {}
    rows = 1 if not there else 2
    made, axes = plots.panels(rows, max(2, len(there)), width=7.0, height=2.5 * rows)
    if "model" in dataset.dims:
        data["per_energy"] = sweep(axes[0, 0], dataset, "energy", "energy")
        data["per_activity"] = sweep(axes[0, 1], dataset, "activity", "activity")
        if axes.shape[1] > 2:
            axes[0, 2].legend(*axes[0, 0].get_legend_handles_labels(), loc="center left", title="release")
        else:
            plots.legend_above(axes[0, 0])
    for ax in axes[0, 2 if "model" in dataset.dims else 0 :]:
        ax.set_axis_off()
    makers = {"fixed": fixed_release, "start": starts, "robust": robustness}
    for ax, name in zip(axes[-1] if there else [], there, strict=False):
        data[name] = makers[name](ax, dataset)
    used = [ax for ax in axes.flat if ax.axison]
    for letter, ax in zip("abcdef", used, strict=False):
        plots.letter(ax, letter)
    return plots.save(made, folder / "energy-controls", data)


def draw(dataset: xarray.Dataset, folder: Path) -> list[Path]:
    """All figures of a run."""
    with plots.style():
        files = controls(dataset, folder)
        if "model" not in dataset.dims:
            return files
        made, axes = plots.figure(3, width=7.0, height=2.5)
        information_against_energy(axes[0], dataset)
        data: dict[str, Any] = {"bits_per_energy_1e-3": best_ratio(axes[1], dataset)}
        data["p_holm"] = {" − ".join(pair): p for pair, p in corrected(dataset).items()}
        if "plastic" in dataset.model.values:
            probabilities(axes[2], dataset)
        else:
            axes[2].set_axis_off()
        for letter, ax in zip("abc", axes, strict=True):
            plots.letter(ax, letter)
        end = outcomes.at_end(dataset)
        for name in ("information", "energy", "mean_p"):
            data[name] = end[name].transpose("model", "decay", "seed", ...).values
        data["models"], data["decays"] = dataset.model.values, dataset.decay.values
        return [*plots.save(made, folder / "energy", data), *files]


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    figures.command(__doc__, "energy", lambda record, folder: draw(record.dataset, folder), arguments)


if __name__ == "__main__":
    main()
