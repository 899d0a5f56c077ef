"""Figure of a search: the score of every trial against each of its constants, and what the best are worth elsewhere."""

from pathlib import Path
from typing import Any

import numpy as np
import xarray
from matplotlib.axes import Axes

from synsim import figures, plots, statistics

LABELS = {
    "p_up": "step up $p_{up}$",
    "p_down": "step down $p_{down}$",
    "p_freeze": "threshold $p_{freeze}$",
    "weight_decay": "weight decay ρ",
}
SCORES = {"lifelong": "accuracy over all tasks (%)", "energy": "10⁻³ bits per unit of energy"}
WHERE = {"permuted": "Permuted", "split": "Split", "single": ""}
DATA = {"mnist": "MNIST", "fashion-mnist": "Fashion-MNIST", "digits": "digits"}


def searched(dataset: xarray.Dataset) -> list[str]:
    """The constants that were drawn; of two that are the same one is shown."""
    names = [name for name in LABELS if name in dataset]
    if {"p_up", "p_down"} <= set(names) and bool((dataset.p_up == dataset.p_down).all()):
        names.remove("p_down")
    return names


def scores(ax: Axes, dataset: xarray.Dataset, name: str) -> Axes:
    """Score against one constant; published constants and the best trial are marked."""
    own = ~dataset.published.values
    x, y, best = dataset[name].values, dataset.score.values, int(dataset.attrs["best"])
    ax.plot(x[own], y[own], "o", color="0.55", markersize=3, label="trials")
    ax.plot(x[best], y[best], "s", color=plots.COLOURS[1], markersize=4.5, label="best trial")
    ax.plot(x[~own], y[~own], "D", color=plots.COLOURS[0], markersize=4.5, label="published constants")
    if name == "weight_decay":
        ax.set_xscale("log")
        label = LABELS[name]
    else:
        label = "step up and down, $p_{up} = p_{down}$" if name == "p_up" and "p_down" not in searched(dataset) else ""
    ax.set_xlabel(label or LABELS[name])
    return ax


def target_name(target: str) -> str:
    """A target as people call it."""
    scenario, data = target.split(" ", 1)
    return f"{WHERE.get(scenario, scenario)} {DATA.get(data, data)}".strip()


def transfer(ax: Axes, dataset: xarray.Dataset) -> Axes:
    """Best and published constants on seeds that the search did not see."""
    names = [str(target) for target in dataset.target.values]
    values = dataset.carried.transpose("target", "constants", "seed").values
    for number, colour in enumerate((1, 0)):
        for place in range(len(names)):
            found = values[place, number]
            at = place + 0.2 * (number - 0.5)
            mean, sem, *_ = statistics.summary(found)
            ax.plot(np.full(len(found), at), found, ".", color="0.6", markersize=3, zorder=1)
            ax.errorbar(at, float(mean), yerr=float(np.nan_to_num(sem)), color=plots.COLOURS[colour],
                        marker="sD"[number], capsize=2, zorder=3)  # fmt: skip
    ax.set_xticks(range(len(names)), [target_name(name).replace(" ", "\n") for name in names])
    ax.set(xlim=(-0.6, len(names) - 0.4), xlabel="other seeds")
    return ax


def draw(dataset: xarray.Dataset, folder: Path) -> list[Path]:
    """All figures of a run."""
    names = searched(dataset)
    with plots.style():
        made, axes = plots.panels(1, len(names) + 1, width=7.0, height=2.5)
        for ax, name in zip(axes[0], names, strict=False):
            scores(ax, dataset, name)
            ax.sharey(axes[0, 0])
        transfer(axes[0, -1], dataset)
        for ax in (axes[0, 0], axes[0, -1]):
            ax.set_ylabel(SCORES.get(dataset.attrs["objective"], dataset.attrs["metric"]))
        plots.legend_over(made, axes[0, 0])
        for letter, ax in zip("abcd", axes[0], strict=False):
            plots.letter(ax, letter, up=4)
        data: dict[str, Any] = {name: dataset[name].values for name in ("score", "published", *names)}
        data |= {"best": int(dataset.attrs["best"]), "targets": dataset.target.values, "seeds": dataset.seed.values}
        data["carried"] = dataset.carried.transpose("target", "constants", "seed").values
        return plots.save(made, folder / "search", data)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    figures.command(__doc__, "search", lambda record, folder: draw(record.dataset, folder), arguments)


if __name__ == "__main__":
    main()
