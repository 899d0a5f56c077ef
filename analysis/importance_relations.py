"""Figures of a run of importance_relations: parameter by parameter, how the importances relate (cf. Fig. 3.1, 3.2)."""

from pathlib import Path
from typing import Any

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.image import AxesImage

from synsim import figures, plots, statistics

PAIRS = (("SI", "SOS"), ("SIB", "SOS"), ("SIU", "SOS"), ("MAS", "MASX"), ("MAS", "√Fisher"), ("AF²", "Fisher"))
BINS = (80, 50)


def last(dataset: xarray.Dataset) -> xarray.Dataset:
    """The measurements after the last task, without replicas that failed."""
    return dataset.isel(task=-1).where(~dataset.failed)


def correlations(dataset: xarray.Dataset) -> xarray.DataArray:
    """Correlation of every two measures over all parameters, [replica, measure, other]."""
    return last(dataset).correlation.transpose("replica", "measure", "other")


def shown(dataset: xarray.Dataset) -> int:
    """The replica whose parameters are drawn: the first that did not fail."""
    return int(np.argmin(dataset.failed.values))


def relative(dataset: xarray.Dataset, name: str) -> np.ndarray[Any, Any]:
    """A measure at the sampled parameters of the replica drawn, as a share of its largest value."""
    values = last(dataset).points.isel(replica=shown(dataset)).sel(measure=name).values
    return values / values.max()


def title(ax: Axes, dataset: xarray.Dataset, one: str, other: str) -> Axes:
    """The correlation over all parameters, mean and standard error over replicas."""
    found = statistics.summary(correlations(dataset).sel(measure=one, other=other).values)
    ax.set_title(f"r = {statistics.format_mean(float(found.mean), float(found.sem))}".replace("-", "−"))
    ax.set(xlabel=f"{one} (share of maximum)", ylabel=f"{other} (share of maximum)")
    return ax


def scatter(ax: Axes, dataset: xarray.Dataset, one: str, other: str) -> Axes:
    """One measure against another, a point per parameter."""
    x, y = relative(dataset, one), relative(dataset, other)
    ax.plot(x, y, ".", color=plots.COLOURS[0], markersize=2, markeredgewidth=0, alpha=0.35, rasterized=True)
    return title(ax, dataset, one, other)


def counts(dataset: xarray.Dataset, one: str, other: str) -> tuple[np.ndarray[Any, Any], Any, Any]:
    """Parameters per bin, [80, 50], each column divided by its maximum; NaN where a column has none. And the edges."""
    found, x, y = np.histogram2d(relative(dataset, one), relative(dataset, other), BINS)
    top = found.max(1, keepdims=True)
    return found / np.where(top > 0, top, np.nan), x, y


def intensity(ax: Axes, dataset: xarray.Dataset, one: str, other: str) -> AxesImage:
    """How one measure is spread at each value of another."""
    found, x, y = counts(dataset, one, other)
    filled = np.where(found > 0, found, np.nan).T
    image = ax.imshow(filled, origin="lower", extent=(x[0], x[-1], y[0], y[-1]), aspect="auto", cmap="Blues",
                      vmin=0, vmax=1, interpolation="nearest")  # fmt: skip
    title(ax, dataset, one, other)
    return image


def matrix(ax: Axes, dataset: xarray.Dataset) -> AxesImage:
    """All correlations after the last task."""
    names = [str(name) for name in dataset.measure.values]
    found = statistics.summary(correlations(dataset).values).mean
    texts = [[f"{value:.2f}".replace("-", "−") for value in row] for row in found]
    low = min(0.0, float(np.nanmin(found)))
    image = plots.heatmap(ax, found, names, names, texts, limits=(low, 1.0), fontsize=6.5)
    ax.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
    return image


def present(dataset: xarray.Dataset) -> list[tuple[str, str]]:
    """The pairs whose measures are in the record."""
    names = set(dataset.measure.values)
    return [pair for pair in PAIRS if set(pair) <= names]


def draw(dataset: xarray.Dataset, folder: Path) -> list[Path]:
    """All figures of a run."""
    pairs = present(dataset)
    found = statistics.summary(correlations(dataset).values)
    seeds = dataset.sizes["replica"]
    note = (
        f"parameters of seed {int(dataset.seed[shown(dataset)])}; r over all parameters, mean ± s.e. of {seeds} seeds"
    )
    files = []
    with plots.style():
        made, axes = plots.panels(2, 3, width=7.0, height=4.6)
        for ax, pair in zip(axes.flat, pairs, strict=False):
            scatter(ax, dataset, *pair)
        _finish(made, axes, len(pairs), note)
        drawn = [correlations(dataset).sel(measure=one, other=other).values for one, other in pairs]
        data: dict[str, Any] = {"pairs": pairs, "correlation": drawn}
        data["points"] = [[relative(dataset, name) for name in pair] for pair in pairs]
        files += plots.save(made, folder / "importance_relations", data)

        made, axes = plots.panels(2, 3, width=7.0, height=4.6)
        image = None
        for ax, pair in zip(axes.flat, pairs, strict=False):
            image = intensity(ax, dataset, *pair)
        _finish(made, axes, len(pairs), note)
        if image is not None:
            made.colorbar(image, ax=axes, label="parameters per bin (share of the column's maximum)", aspect=40)
        binned = [np.nan_to_num(counts(dataset, *pair)[0]) for pair in pairs]
        files += plots.save(made, folder / "importance_relations_intensity", {"pairs": pairs, "intensity": binned})

        made, axes = plots.panels(1, 1, width=5.0, height=4.2)
        bar = made.colorbar(matrix(axes[0, 0], dataset), ax=axes[0, 0])
        bar.set_label(f"Pearson correlation over all parameters,\nmean of {seeds} seeds")
        data = {"measures": dataset.measure.values, "mean": found.mean, "sem": found.sem, "n": found.n}
        files += plots.save(made, folder / "importance_relations_matrix", data)
    return files


def _finish(made: Any, axes: Any, used: int, note: str) -> None:
    made.suptitle(note, fontsize=7)
    for ax in axes.flat[used:]:
        ax.set_axis_off()
    for letter, ax in zip("abcdef", axes.flat[:used], strict=False):
        plots.letter(ax, letter)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    figures.command(__doc__, "importance_relations", lambda record, folder: draw(record.dataset, folder), arguments)


if __name__ == "__main__":
    main()
