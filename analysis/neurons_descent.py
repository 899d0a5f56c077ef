"""Figure of a run of neurons_descent: cosines with FOOF, decreases of the loss on KFAC's path, and training losses."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray
from matplotlib.axes import Axes

from synsim import figures, plots

COSINES = {
    "heuristic": "heuristic damping",
    "standard": "standard damping",
    "published code": "standard damping, published code",
}
MOVES = {
    "foof": "FOOF with λ_A",
    "heuristic": "KFAC",
    "standard": "standard",
    "published code": "standard, published code",
    "gradient": "gradient",
}
FORMS = {
    "heuristic": "heuristic",
    "standard": "standard",
    "published code": "standard, published code",
    "sgd-momentum": "SGD, momentum",
}
SMOOTHED = 100


def marks(ax: Axes, summary: Sequence[Mapping[str, Any]], metric: str, method: str, number: int) -> dict[int, float]:
    """Open marks where the paper has a value: step -> value."""
    told = [
        row for row in summary
        if row["method"] == method and str(row["metric"]).startswith(f"{metric} at step") and row.get("reference")
    ]  # fmt: skip
    found = {int(str(row["metric"]).rpartition(" ")[2]): float(row["reference"]["mean"]) for row in told}
    colour = plots.COLOURS[number % len(plots.COLOURS)]
    ax.plot(list(found), list(found.values()), "o", markerfacecolor="white", color=colour, zorder=5, markersize=5)
    return found


def cosines(ax: Axes, dataset: xarray.Dataset, kind: str, summary: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Cosine of a kind of damping with FOOF, a curve per damping; returns the numbers [seed, step]."""
    found: dict[str, Any] = {}
    for number, damping in enumerate(sorted(dataset.damping.values, reverse=True)):
        values = dataset.cosine.sel(kind=kind, damping=damping).transpose("seed", "step").values
        plots.curve(ax, dataset.step.values, values, f"λ = {damping:g}", number)
        theirs = marks(ax, summary, "cosine with FOOF", f"{kind}, damping {damping:g}", number)
        found[f"{damping:g}"] = {"cosine": values, "published": theirs}
    ax.set(xlabel="step", ylim=(-0.05, 1), title=COSINES[kind])
    return found


def decreases(ax: Axes, dataset: xarray.Dataset, summary: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Relative decrease of a batch's loss by one step on KFAC's path, moves of KFAC's norm."""
    found: dict[str, Any] = {}
    path = dataset.decrease.sel(damping=dataset.damping.values.max())
    for number, move in enumerate(MOVES):
        values = path.sel(move=move).transpose("seed", "step").values
        plots.curve(ax, dataset.step.values, values, MOVES[move], number)
        theirs = marks(ax, summary, "relative decrease of the batch's loss", f"{move}, on KFAC's path", number)
        found[move] = {"decrease": values, "published": theirs}
    # The plain gradient at KFAC's norm may do any harm.
    ax.set(xlabel="step", ylabel="relative decrease of the loss", title="one step on KFAC's path")
    ax.set_ylim(bottom=max(-0.3, ax.get_ylim()[0]))
    ax.legend(loc="best", handlelength=1.2, fontsize="x-small")
    return found


def smoothed(loss: xarray.DataArray) -> np.ndarray:
    """Mean loss of the hundred steps before each point, or of those that there are, [seed, step]."""
    values = loss.transpose("seed", "step").values
    width = max(1, round(SMOOTHED / float(loss.step[0])))
    return np.stack([values[:, max(0, k + 1 - width) : k + 1].mean(1) for k in range(values.shape[1])], 1)


def losses(ax: Axes, dataset: xarray.Dataset, summary: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Training loss of KFAC (lines) and of FOOF with its λ_A (broken lines) over dampings."""
    found: dict[str, Any] = {}
    for number, damping in enumerate(sorted(dataset.damping.values, reverse=True)):
        for variable, rule in (("loss", "kfac"), ("foof_loss", "foof")):
            values = smoothed(dataset[variable].sel(damping=damping))
            if not np.isfinite(values).any():
                continue
            plots.curve(ax, dataset.step.values, values, f"{rule.upper()}, λ = {damping:g}", number)
            if rule == "foof":
                # The last line marks where replicas are missing.
                ax.lines[-2].set_linestyle("--")
            theirs = marks(ax, summary, "training loss", f"{rule}, damping {damping:g}", number)
            found[f"{rule} {damping:g}"] = {"loss": values, "published": theirs}
    ax.set(yscale="log", xlabel="step", ylabel="training loss", title="KFAC (–) and FOOF with λ_A (- -)")
    return found


def forms(ax: Axes, dataset: xarray.Dataset) -> dict[str, Any]:
    """Training loss of every form of damping at its best setting."""
    found: dict[str, Any] = {}
    for number, form in enumerate(FORMS):
        values = smoothed(dataset.form_loss.sel(form=form))
        plots.curve(ax, dataset.step.values, values, FORMS[form], number)
        found[form] = values
    ax.set(yscale="log", xlabel="step", ylabel="training loss", title="each at its best setting")
    ax.legend(loc="best", handlelength=1.2, fontsize="x-small")
    return found


def draw(dataset: xarray.Dataset, folder: Path, summary: Sequence[Mapping[str, Any]] = ()) -> list[Path]:
    """The figure of a run, of the parts that it has."""
    paths, learned = "cosine" in dataset, "form_loss" in dataset
    if not (paths or learned):
        raise ValueError("this run has neither paths nor forms of damping: run it with --parts paths forms.")
    with plots.style():
        lines, columns = (2, 3) if paths else (1, 1)
        made, axes = plots.panels(lines, columns, width=2.6 * columns, height=2.6 * lines)
        data: dict[str, Any] = {"step": dataset.step.values}
        if paths:
            for ax, kind in zip(axes[0], COSINES, strict=True):
                data[kind] = cosines(ax, dataset, kind, summary)
            axes[0, 0].set_ylabel("cosine with FOOF")
            data["decrease"] = decreases(axes[1, 0], dataset, summary)
            data["loss"] = losses(axes[1, 1], dataset, summary)
            plots.legend_over(made, axes[0, 0])
        if learned:
            data["forms"] = forms(axes[-1, -1], dataset)
        else:
            axes[-1, -1].set_axis_off()
        for name, ax in zip("abcdef", axes.flat, strict=False):
            plots.letter(ax, name)
        return plots.save(made, folder / "neurons_descent", data)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    figures.command(
        __doc__, "neurons_descent", lambda record, folder: draw(record.dataset, folder, record.summary), arguments
    )


if __name__ == "__main__":
    main()
