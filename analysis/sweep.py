"""Figure of a sweep: a line per method over one axis of its grid, or a heat map over two, and the best cell.

The best cell is chosen on some of the seeds (--chosen-on, else the first half), and told of the others. Of more axes
than two the others stand where the best cell has them, or where --at puts them.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from synsim import figures, plots, statistics, sweeps

Setting = dict[str, Any]
WIDE = 20.0
"""Ratio of the largest to the smallest value from which an axis is logarithmic."""


def parser() -> argparse.ArgumentParser:
    """The options of this script."""
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("sweep", type=Path, help="folder of a sweep, of experiments/sweep.py")
    made.add_argument("--metric", help="what is drawn (default: the first of the table)")
    made.add_argument("--methods", nargs="+", help="methods that are drawn (default: all)")
    made.add_argument("--axes", nargs="+", help="one axis of the grid, or two: across and up (default: the longest)")
    made.add_argument("--at", nargs="+", default=[], metavar="NAME=VALUE", help="where other axes stand")
    made.add_argument("--chosen-on", nargs="+", type=int, metavar="SEED", help="seeds that choose the best cell")
    made.add_argument("--least", action="store_true", help="less is better")
    made.add_argument("--out", type=Path, help="folder for the figures (default: figures/ in the sweep)")
    return made


def axes_of(folder: Path) -> dict[str, list[Any]]:
    """Axes of the grid with more than one value: name -> values, in their order."""
    found: dict[str, dict[Any, None]] = {}
    for setting in sweeps.settings(folder).values():
        for name, value in setting.items():
            found.setdefault(name, {})[value] = None
    return {name: list(values) for name, values in found.items() if len(values) > 1}


def one_of(value: str | None, what: str, options: Sequence[str]) -> str:
    """What was asked for, else the first."""
    if value is not None and value not in options:
        raise ValueError(f"{what} must be one of {', '.join(options)}, got {value!r}.")
    return options[0] if value is None else value


def measured(folder: Path, axes: Mapping[str, list[Any]], metric: str | None) -> pd.DataFrame:
    """The values of one metric: columns method, seed, value, and one per axis; NaN for a seed that failed."""
    table = sweeps.table(folder)
    if "method" not in table:
        raise ValueError("the runs of this sweep hold no values of their seeds in their tables.")
    named = {f"config.{name}" if f"config.{name}" in table else name: name for name in axes}
    chosen = one_of(metric, "--metric", list(dict.fromkeys(table.metric)))
    about = table[table.metric == chosen]
    # Where a run has several settings of its own, as replicas of one program, these are part of the method.
    own = list(table)[list(table).index("metric") + 1 : list(table).index("seed")]
    if about.duplicated(["run", "method", "seed"]).any():
        told = [" ".join([row["method"], *(f"{name} = {row[name]}" for name in own if not pd.isna(row[name]))])
                for row in about.to_dict("records")]  # fmt: skip
        about = about.assign(method=told)
    found = about[["method", *named, "seed", "value"]].rename(columns=named)
    return found.assign(metric=chosen)


def best(table: pd.DataFrame, names: Sequence[str], seeds: Sequence[int], least: bool) -> Setting:
    """The setting with the best mean over the seeds that choose; one with a seed that failed is the last choice."""
    chosen = table[table.seed.isin(seeds)]
    if chosen.empty:
        raise ValueError(f"--chosen-on must name seeds of {sorted(set(table.seed.dropna()))}, got {list(seeds)}.")
    means = chosen.groupby(list(names), sort=False).value.agg(lambda values: values.mean(skipna=False)).dropna()
    if means.empty:
        raise ValueError("every setting has a seed that failed.")
    place = means.idxmin() if least else means.idxmax()
    return dict(zip(names, place if isinstance(place, tuple) else (place,), strict=True))


def at(table: pd.DataFrame, setting: Setting) -> pd.DataFrame:
    """The rows of a setting."""
    fits = np.ones(len(table), dtype=bool)
    for name, value in setting.items():
        fits &= (table[name] == value).to_numpy() | (table[name].isna().to_numpy() & (value is None))
    return table[fits]


def are_numbers(values: Sequence[Any]) -> bool:
    """Whether an axis has an order of its own."""
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def ordered(values: Sequence[Any]) -> list[Any]:
    """Numbers by size, other values as the grid has them."""
    return sorted(values) if are_numbers(values) else list(values)


def label(value: object) -> str:
    """A value at an axis."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def lines(ax: Axes, table: pd.DataFrame, name: str, values: Sequence[Any], methods: Sequence[str]) -> Setting:
    """A line per method over one axis; returns the numbers [seed, value]."""
    order, numbers = ordered(values), are_numbers(values)
    places = order if numbers else list(range(len(order)))
    found = {}
    for number, method in enumerate(methods):
        mine = table[table.method == method].pivot_table("value", "seed", name, dropna=False, observed=False)
        each = mine.reindex(columns=order).to_numpy(dtype=float)
        plots.curve(ax, places, each, method, number)
        found[method] = each.tolist()
    if not numbers:
        ax.set_xticks(places, [label(value) for value in order])
    elif min(order) > 0 and max(order) > WIDE * min(order):
        ax.set_xscale("log")
    ax.set_xlabel(name)
    return found


def heat(ax: Axes, table: pd.DataFrame, names: Sequence[str], axes: Mapping[str, list[Any]], star: Setting) -> Any:
    """A heat map of means over two axes, with standard errors; the best cell has a star."""
    across, up = (ordered(axes[name]) for name in names)
    up = up[::-1]
    means, texts = np.full((len(up), len(across)), np.nan), []
    for row, high in enumerate(up):
        texts.append([""] * len(across))
        for column, wide in enumerate(across):
            setting = {names[0]: wide, names[1]: high}
            values = at(table, setting).value.to_numpy(dtype=float)
            if not np.isfinite(values).any():
                texts[-1][column] = "failed" if len(values) else "–"
                continue
            found = statistics.summary(values)
            means[row, column] = found.mean
            failed = "" if np.isfinite(values).all() else f"\n{np.isnan(values).sum()} failed"
            marked = " *" if all(star[name] == value for name, value in setting.items()) else ""
            told = statistics.format_mean(float(found.mean), float(found.sem))
            texts[-1][column] = told.replace(" ± ", "\n± ") + marked + failed
    low, high = float(np.nanmin(means)), float(np.nanmax(means))
    limits = (low, high) if high > low else (low - 0.5, low + 0.5)
    image = plots.heatmap(ax, means, [label(value) for value in up], [label(value) for value in across], texts,
                          limits=limits)  # fmt: skip
    ax.set(xlabel=names[0], ylabel=names[1])
    ax.figure.colorbar(image, ax=ax, shrink=0.8)
    return means.tolist()


def chosen_axes(axes: Mapping[str, list[Any]], asked: Sequence[str] | None) -> list[str]:
    """The axes that are drawn: those asked for, else the two with most values."""
    if not axes:
        raise ValueError("the grid of this sweep has no axis with two values: there is nothing to draw.")
    for name in asked or ():
        one_of(name, "--axes", list(axes))
    names = list(asked or sorted(axes, key=lambda name: -len(axes[name]))[:2])
    if len(set(names)) != len(names) or len(names) > 2:
        raise ValueError(f"--axes must be one axis or two, got {', '.join(names)}.")
    return names


def placed(words: Sequence[str], axes: Mapping[str, list[Any]]) -> Setting:
    """Where --at puts other axes."""
    found = {}
    for word in words:
        name, _, text = word.partition("=")
        one_of(name, "--at", list(axes))
        values = {str(value): value for value in axes[name]}
        found[name] = values[one_of(text, f"--at {name}", list(values))]
    return found


def told_of(seeds: Sequence[int]) -> str:
    """Seeds in a title."""
    return ", ".join(map(str, seeds)) if len(seeds) < 6 else f"{seeds[0]} … {seeds[-1]}"


def draw(given: argparse.Namespace) -> list[Path]:
    """Print the best cell of every method, and draw the figure."""
    axes = axes_of(given.sweep)
    names = chosen_axes(axes, given.axes)
    table = measured(given.sweep, axes, given.metric)
    metric, known = table.metric.iloc[0], list(dict.fromkeys(table.method))
    methods = [one_of(name, "--methods", known) for name in given.methods] if given.methods else known
    seeds = sorted({int(seed) for seed in table.seed.dropna()})
    choosing = given.chosen_on or seeds[: max(1, len(seeds) // 2)]
    stars = {name: best(table[table.method == name], list(axes), choosing, given.least) for name in methods}
    for name, star in stars.items():
        others = at(table[table.method == name], star)
        values = others[~others.seed.isin(choosing)].value.to_numpy(dtype=float)
        told = statistics.summary(values)
        mean = statistics.format_mean(float(told.mean), float(told.sem)) if told.n else "no other seed"
        where = ", ".join(f"{axis} = {label(value)}" for axis, value in star.items())
        print(f"{name}: {metric}: {mean} (n = {told.n}) at {where}, chosen on seeds {told_of(choosing)}")
    fixed = placed(given.at, axes)
    with plots.style():
        data: dict[str, Any] = {"axes": {name: axes[name] for name in names}, "best": stars}
        rest = {name: {axis: value for axis, value in ({**star, **fixed}).items() if axis not in names}
                for name, star in stars.items()}  # fmt: skip
        shown = pd.concat([at(table[table.method == name], rest[name]) for name in methods])
        if len(names) == 1:
            made, (ax, *_) = plots.figure(1, width=4.2, height=2.8)
            data[metric] = lines(ax, shown, names[0], axes[names[0]], methods)
            ax.set_ylabel(metric)
            plots.legend_above(ax)
        else:
            size = (1.6 + 0.62 * len(axes[names[0]]), 1.2 + 0.42 * len(axes[names[1]]))
            made, drawn = plots.panels(1, len(methods), width=size[0] * len(methods), height=size[1])
            for ax, name in zip(drawn.flat, methods, strict=True):
                data[name] = heat(ax, shown[shown.method == name], names, axes, stars[name])
                where = "".join(f"; {axis} = {value}" for axis, value in rest[name].items())
                ax.set_title(f"{name}: {metric}{where}\n* best on seeds {told_of(choosing)}", fontsize=6.5, loc="left")
        return plots.save(made, (given.out or given.sweep / "figures") / "sweep", data)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    given = parser().parse_args(arguments)
    with figures.steady():
        try:
            files = draw(given)
        except (OSError, ValueError, MemoryError) as error:
            figures.fail(error)
        for file in files:
            print(file)


if __name__ == "__main__":
    main()
