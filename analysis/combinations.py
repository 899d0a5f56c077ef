"""Figure of a run of combinations: what every importance does under every consolidation, beside no protection."""

from pathlib import Path
from typing import Any

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.image import AxesImage

from synsim import figures, plots, statistics

TITLES = {"plain": "plain network", "stochastic": "stochastic network"}


def differences(dataset: xarray.Dataset, kind: str) -> statistics.Summary:
    """Accuracy minus that without protection on the same seed, in points, [importance, consolidation]."""
    change = (dataset.final - dataset.none_final).sel(kind=kind)
    return statistics.summary(change.transpose("seed", "importance", "consolidation").values)


def at_edge(dataset: xarray.Dataset, kind: str) -> np.ndarray[Any, Any]:
    """Where the chosen strength lies at an end of its grid, [importance, consolidation]."""
    return dataset.edge.sel(kind=kind).transpose("importance", "consolidation").values == 1


def was_run(dataset: xarray.Dataset, kind: str) -> np.ndarray[Any, Any]:
    """Which cells exist, [importance, consolidation]."""
    return np.isfinite(dataset.chosen.sel(kind=kind).transpose("importance", "consolidation").values)


def texts(dataset: xarray.Dataset, kind: str) -> list[list[str]]:
    """What stands in the cells."""
    found, edge, there = differences(dataset, kind), at_edge(dataset, kind), was_run(dataset, kind)
    made: list[list[str]] = []
    for row in range(found.mean.shape[0]):
        made.append([])
        for column in range(found.mean.shape[1]):
            mean, sem, n = (value[row, column] for value in (found.mean, found.sem, found.n))
            mean = round(float(mean), 1) + 0.0  # no "−0.0"
            text = f"{mean:+.1f} ± {sem:.1f}" if n > 1 else f"{mean:+.1f}" if n else "failed"
            text += "*" if edge[row, column] else ""
            text += "†" if 0 < n < dataset.sizes["seed"] else ""
            made[-1].append(text.replace("-", "−") if there[row, column] else "")
    return made


def scale(values: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Colours for all panels: from zero on where all values have one sign, else to both sides of it."""
    low, high = float(np.nanmin(values, initial=0.0)), float(np.nanmax(values, initial=0.0))
    most = max(-low, high) or 1.0
    if low < 0 < high:
        return {"colours": "PuOr", "limits": (-most, most)}
    return (
        {"colours": "Oranges_r", "limits": (-most, 0.0)} if low < 0 else {"colours": "Purples", "limits": (0.0, most)}
    )


def panel(ax: Axes, dataset: xarray.Dataset, kind: str, colours: dict[str, Any]) -> AxesImage:
    """The differences of one kind of network."""
    rows, columns = [str(v) for v in dataset.importance.values], [str(v) for v in dataset.consolidation.values]
    image = plots.heatmap(ax, differences(dataset, kind).mean, rows, columns, texts(dataset, kind),
                          **colours, fontsize=5.5)  # fmt: skip
    none = statistics.summary(dataset.none_final.sel(kind=kind).values)
    without = statistics.format_mean(float(none.mean), float(none.sem))
    ax.set_title(f"{TITLES.get(kind, kind)}\n(no protection: {without} %)")
    return image


def draw(dataset: xarray.Dataset, folder: Path) -> list[Path]:
    """All figures of a run."""
    kinds = [str(kind) for kind in dataset.kind.values]
    found = {kind: differences(dataset, kind) for kind in kinds}
    colours = scale(np.stack([one.mean for one in found.values()]))
    with plots.style():
        height = 1.4 + 0.21 * dataset.sizes["importance"]
        made, axes = plots.panels(1, len(kinds), width=7.0, height=height)
        for number, kind in enumerate(kinds):
            image = panel(axes[0, number], dataset, kind, colours)
            if number:
                axes[0, number].set_yticks(axes[0, number].get_yticks(), [])
            plots.letter(axes[0, number], "abcdef"[number])
        axes[0, 0].set_ylabel("importance")
        bar = made.colorbar(image, ax=axes, location="bottom", aspect=60, fraction=0.05, pad=0.03)
        bar.set_label(
            "accuracy over all tasks minus no protection (points), "
            f"mean ± standard error of {dataset.sizes['seed']} seeds\n"
            "* chosen strength at the end of its grid   † some seeds failed   hatched: not run"
        )
        data: dict[str, Any] = {"kinds": kinds, "importances": dataset.importance.values}
        data["consolidations"] = dataset.consolidation.values
        for name in ("mean", "sem", "n"):
            data[f"difference_{name}"] = {kind: getattr(found[kind], name) for kind in kinds}
        data["at_edge"] = {kind: at_edge(dataset, kind) for kind in kinds}
        data["no_protection_percent"] = {kind: dataset.none_final.sel(kind=kind).values for kind in kinds}
        return plots.save(made, folder / "combinations", data)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    figures.command(__doc__, "combinations", lambda record, folder: draw(record.dataset, folder), arguments)


if __name__ == "__main__":
    main()
