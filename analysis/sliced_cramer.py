"""Figure of a run of sliced_cramer: permuted images and an auto-encoder, over strengths λ (cf. Kolouri et al. 2020)."""

from pathlib import Path
from typing import Any

import numpy as np
import xarray
from matplotlib.axes import Axes

from synsim import figures, plots, statistics

LABELS = {"scp": "SCP", "mas": "MAS", "ewc": "EWC"}
COLOURS = {"scp": 0, "mas": 1, "ewc": 2}
SCALE = {"permuted": 100.0, "encoder": 1000.0}
UNIT = {"permuted": "accuracy over all tasks (%)", "encoder": "ℓ₁ error per pixel (10⁻³)"}


def parts(dataset: xarray.Dataset) -> list[str]:
    """Which of the two experiments the record holds."""
    return [part for part in SCALE if f"{part}_accuracy" in dataset]


def scores(dataset: xarray.Dataset, part: str) -> xarray.DataArray:
    """What was measured on every task after the last, [model, seed, strength, test_task], in the unit of the part."""
    values = SCALE[part] * dataset[f"{part}_accuracy"].where(~dataset[f"{part}_failed"].astype(bool))
    values = values.rename({f"{part}_model": "model", f"{part}_test_task": "test_task"})
    return values.isel({f"{part}_after_task": -1}).transpose("model", "seed", "strength", "test_task")


def final(dataset: xarray.Dataset, part: str) -> xarray.DataArray:
    """The mean over all tasks, [model, seed, strength]."""
    return scores(dataset, part).mean("test_task", skipna=False)


def best(dataset: xarray.Dataset, part: str, name: str) -> float:
    """The strength at which a method does best on average: most accuracy, or least error."""
    values = final(dataset, part).sel(model=name, strength=dataset.strength > 0)
    count = values.count("seed")
    mean = values.mean("seed").where(count == count.max())  # a strength at which more seeds failed is not the best
    return float((mean.idxmax if part == "permuted" else mean.idxmin)("strength"))


def methods(dataset: xarray.Dataset, part: str) -> list[str]:
    """The methods of a part."""
    return [str(name) for name in dataset[f"{part}_model"].values]


def against_strength(ax: Axes, dataset: xarray.Dataset, part: str) -> Axes:
    """The mean over all tasks against strength, one line per method; no protection as a dashed line."""
    values = final(dataset, part)
    for name in methods(dataset, part):
        one = values.sel(model=name, strength=dataset.strength > 0)
        plots.curve(ax, one.strength.values, one.values, LABELS[name], COLOURS[name])
    found = statistics.summary(values.isel(model=0).sel(strength=0.0).values)
    error = np.nan_to_num(found.sem)
    ax.axhline(found.mean, color="0.3", linestyle="--", linewidth=1, label="no protection")
    ax.axhspan(found.mean - error, found.mean + error, color="0.3", alpha=0.12, linewidth=0)
    ax.set_xscale("log")
    ax.set(xlabel="strength λ", ylabel=UNIT[part])
    ax.set_title("permuted images" if part == "permuted" else "auto-encoder, one digit after another")
    return ax


def spread(ax: Axes, dataset: xarray.Dataset, part: str) -> dict[str, Any]:
    """How log10(λ · importance) is spread over the parameters at each best strength; returns the mean shares."""
    found, lowest, highest = {}, np.inf, -np.inf
    centres = dataset.bin.values
    half = (centres[1] - centres[0]) / 2
    for name in methods(dataset, part):
        strength = best(dataset, part, name)
        chosen = {f"{part}_model": name, "strength": strength}
        alive = ~dataset[f"{part}_failed"].astype(bool).sel(chosen)
        shares = 100 * dataset[f"{part}_log_importance"].sel(chosen).isel({f"{part}_task": -1}).where(alive)
        values = shares.transpose("seed", "bin").values
        mean = statistics.summary(values).mean
        # The first bin holds all below 10^-29.5, in effect zero; it is told in the legend, and not drawn.
        label = f"{LABELS[name]}, λ = {strength:g}; ≈ 0: {mean[0]:.0f} %"
        plots.histogram(ax, centres[1:], values[:, 1:], label, COLOURS[name])
        filled = centres[1:][mean[1:] > 0.01]
        if len(filled):
            lowest, highest = min(lowest, filled[0]), max(highest, filled[-1])
        found[name] = mean
    if np.isfinite(lowest):
        ax.set_xlim(lowest - 3 * half, highest + 3 * half)
    ax.set(xlabel="log₁₀(λ × importance)", ylabel=f"parameters (% per bin of {2 * half:g})", ylim=(0, None))
    plots.legend_above(ax)
    return found


def per_digit(ax: Axes, dataset: xarray.Dataset) -> dict[str, Any]:
    """Error on every digit after the last one, at the best strengths and without protection; returns the numbers."""
    values = scores(dataset, "encoder")
    places = np.arange(1, values.sizes["test_task"] + 1)
    found = {}
    for name in methods(dataset, "encoder"):
        found[name] = values.sel(model=name, strength=best(dataset, "encoder", name)).values
        plots.curve(ax, places, found[name], f"{LABELS[name]}, λ = {best(dataset, 'encoder', name):g}", COLOURS[name])
    found["none"] = values.isel(model=0).sel(strength=0.0).values
    none = statistics.summary(found["none"])
    error = np.nan_to_num(none.sem)
    ax.plot(places, none.mean, color="0.3", linestyle="--", label="no protection")
    ax.fill_between(places, none.mean - error, none.mean + error, color="0.3", alpha=0.12, linewidth=0)
    ax.set(xlabel="digit, in the order of learning", ylabel=f"{UNIT['encoder']}\nafter the last digit", xticks=places)
    plots.legend_above(ax)
    return found


def draw(dataset: xarray.Dataset, folder: Path) -> list[Path]:
    """All figures of a run."""
    there = parts(dataset)
    with plots.style():
        made, axes = plots.panels(len(there), 2, width=7.0, height=0.3 + 2.5 * len(there))
        data: dict[str, Any] = {"strengths": dataset.strength.values, "bins": dataset.bin.values}
        for row, part in enumerate(there):
            against_strength(axes[row, 0], dataset, part)
            names = methods(dataset, part)
            data[part] = {
                "models": names,
                "best": {name: best(dataset, part, name) for name in names},
                "final": final(dataset, part).values,
                "axes": ["model", "seed", "strength"],
            }
            if part == "permuted":
                data[part]["log_importance_percent"] = spread(axes[row, 1], dataset, part)
            else:
                data[part]["per_digit"] = per_digit(axes[row, 1], dataset)
        count = dataset.sizes["seed"]
        plots.legend_over(made, axes[0, 0], f"bands: ± standard error over {count} seeds; ×: some failed")
        for letter, ax in zip("abcd", axes.flat, strict=False):
            plots.letter(ax, letter)
        return plots.save(made, folder / "sliced_cramer", data)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    figures.command(__doc__, "sliced_cramer", lambda record, folder: draw(record.dataset, folder), arguments)


if __name__ == "__main__":
    main()
