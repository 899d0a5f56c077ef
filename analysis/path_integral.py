"""Figure of a run of path_integral: what the path integrals add up to, and the noise of a batch (cf. Fig. 3.1, 3.3)."""

from pathlib import Path
from typing import Any

import numpy as np
import xarray
from matplotlib.axes import Axes

from synsim import figures, plots, statistics

LABELS = {
    "SI": ("SI", 0),
    "SIU": ("SIU (another batch)", 1),
    "full gradient": ("full gradient", 2),
    "drop of the loss": ("drop of the loss", 6),
}
POSITIONS = 200


def ratio(dataset: xarray.Dataset) -> xarray.DataArray:
    """Squared noise of the batch gradient over the squared full gradient, [replica, step]."""
    return (dataset.noise / dataset.signal).transpose("replica", "step")


def share_above(values: np.ndarray[Any, Any], limits: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Share of steps at which the ratio is at least each limit: [R, steps] and [K] give [R, K]."""
    count = np.isfinite(values).sum(1)[:, None]
    with np.errstate(invalid="ignore"):  # a replica that failed at once has no share
        return (values[:, :, None] >= limits).sum(1) / np.where(count, count, np.nan)


def sums(ax: Axes, dataset: xarray.Dataset) -> Axes:
    """The three sums and the drop of the loss over the steps."""
    for name, (label, number) in LABELS.items():
        plots.curve(ax, dataset.step.values, dataset[name].transpose("replica", "step").values, label, number)
    ax.set(xlabel="step of training", ylabel="sum over all parameters (nats)")
    return ax


def noise(ax: Axes, dataset: xarray.Dataset) -> dict[str, Any]:
    """Share of steps whose ratio of noise is at least x; returns the numbers."""
    values = ratio(dataset).values
    positive = values[np.isfinite(values) & (values > 0)]
    x = np.geomspace(positive.min(), positive.max(), POSITIONS)
    shares = 100 * share_above(values, x)
    found = statistics.summary(shares)
    error, colour = np.nan_to_num(found.sem), plots.COLOURS[5]
    ax.plot(x, found.mean, color=colour)
    ax.fill_between(x, found.mean - error, found.mean + error, color=colour, alpha=0.3, linewidth=0)
    ax.axvline(1, color="0.4", linestyle="--", linewidth=0.8)
    ax.annotate("noise = signal", (1, 1.01), xycoords=("data", "axes fraction"), ha="center", fontsize=6.5)
    ax.set_xscale("log")
    ax.set(xlabel="x: noise of the batch, ‖ĝ − g‖² / ‖g‖²", ylabel="steps with at least x (%)", ylim=(0, 103))
    with np.errstate(invalid="ignore"):
        medians = np.array([np.median(row[np.isfinite(row)]) if np.isfinite(row).any() else np.nan for row in values])
    return {"limits": x, "share_percent": shares, "median": medians}


def draw(dataset: xarray.Dataset, folder: Path) -> list[Path]:
    """All figures of a run."""
    with plots.style():
        made, axes = plots.panels(1, 2, width=7.0, height=2.5, ratios=(1.1, 1))
        sums(axes[0, 0], dataset)
        data: dict[str, Any] = {"noise": noise(axes[0, 1], dataset)}
        plots.legend_over(made, axes[0, 0], f"bands: ± standard error over {dataset.sizes['replica']} seeds")
        for letter, ax in zip("ab", axes[0], strict=True):
            plots.letter(ax, letter, up=5)
        data["sums_nats"] = {name: dataset[name].transpose("replica", "step").values for name in LABELS}
        data["step"], data["seeds"] = dataset.step.values, dataset.seed.values
        return plots.save(made, folder / "path_integral", data)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    figures.command(__doc__, "path_integral", lambda record, folder: draw(record.dataset, folder), arguments)


if __name__ == "__main__":
    main()
