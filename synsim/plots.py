"""Figures from numbers: every function draws into the axes it is given, and returns them.

Colours are those of Okabe & Ito (2008), which people with any colour vision can tell apart.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import ArrayLike, NDArray

from synsim import statistics
from synsim._checks import array, require, whole, within
from synsim._doors import typed

Array = NDArray[np.float64]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
COLUMN = 3.35
"""Width of one column of a journal, in inches."""
INCHES, PANELS = "(0, 200]", 50
"""Sizes of a figure, and panels in a row or column, that are drawn."""
SHOWN = 192
"""Dots per inch of a figure in a notebook: two for each of the screen."""
STARS = "* p < 0.05, ** p < 0.01"
"""What the stars above brackets mean, said once in every panel that has some."""
SUFFIXES = (".pdf", ".png", ".json")

STYLE = {
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "legend.fontsize": 7,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "legend.frameon": False,
    "pdf.fonttype": 42,
    "savefig.dpi": 300,
    "figure.dpi": 150,
}


class _Drawing(Figure):
    """A figure that shows itself in notebooks, though pyplot does not know of it."""

    def _repr_html_(self) -> str:
        held = io.BytesIO()
        self.savefig(held, format="png", dpi=SHOWN)
        coded = base64.b64encode(held.getvalue()).decode("ascii")
        width = round(96 * self.get_figwidth())
        return f'<img src="data:image/png;base64,{coded}" style="width: {width}px; max-width: 100%" alt="figure">'


def style() -> AbstractContextManager[None]:
    """Settings of a paper figure, for a `with` statement; nothing global stays changed.

    Returns:
        A context manager.
    """
    return mpl.rc_context(STYLE)  # type: ignore[arg-type,unused-ignore]


@typed
def figure(columns: int = 1, *, width: float | None = None, height: float = 2.4) -> tuple[Figure, list[Axes]]:
    """A figure without pyplot's global state.

    Args:
        columns: panels side by side.
        width: inches; None: one journal column per panel.
        height: inches.

    Returns:
        The figure and its axes.

    Raises:
        ValueError: if there is no panel, or a size is none of a figure.
    """
    columns = whole(columns, "columns", 1, PANELS)
    made, axes = panels(1, columns, width=COLUMN * columns if width is None else width, height=height)
    return made, list(axes[0])


@typed
def panels(
    rows: int, columns: int, *, width: float = 7.0, height: float = 4.0, ratios: Sequence[float] | None = None
) -> tuple[Figure, Any]:
    """A figure with panels in rows, without pyplot's global state.

    Args:
        rows: panels one above the other.
        columns: panels side by side.
        width: inches.
        height: inches.
        ratios: widths of the columns, relative to each other; None: all alike.

    Returns:
        The figure and its axes, an array [rows, columns].

    Raises:
        ValueError: if there is no panel, or a size is none of a figure.
    """
    rows, columns = whole(rows, "rows", 1, PANELS), whole(columns, "columns", 1, PANELS)
    width = within(width, "width in inches", INCHES)
    height = within(height, "height in inches", INCHES)
    if ratios is not None:
        require(len(ratios) == columns, f"ratios must hold one width per column, {columns}, got {len(ratios)}.")
        ratios = [within(ratio, "every entry of ratios", "(0, 1e6]") for ratio in ratios]
    made = _Drawing(figsize=(width, height), layout="constrained")
    return made, made.subplots(rows, columns, squeeze=False, width_ratios=ratios)


@typed
def save(made: Figure, path: str | Path, data: dict[str, Any] | None = None) -> list[Path]:
    """Write a figure as PDF and PNG, and the numbers in it as JSON.

    Args:
        made: the figure.
        path: file name without suffix.
        data: numbers drawn, as lists.

    Returns:
        The files written.

    Raises:
        ValueError: if the path names no file, or JSON can't hold the data.
    """
    import json

    base = Path(path)
    base = base.with_suffix("") if base.suffix in SUFFIXES else base
    require(base.name not in ("", ".."), f"path must name a file, without suffix, got {str(path)!r}.")
    # Not by `with_suffix`, which takes the end of "p=0.5" for a suffix.
    pdf, png, numbers = (base.with_name(base.name + suffix) for suffix in SUFFIXES)
    if data is not None:
        try:
            text = json.dumps(data, indent=1, default=_listed)
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"data must be numbers and texts in lists and dicts, by name ({error}).") from error
    base.parent.mkdir(parents=True, exist_ok=True)
    files = [pdf, png]
    made.savefig(files[0], metadata={"CreationDate": None})
    made.savefig(files[1], dpi=300)
    if data is not None:
        files.append(numbers)
        numbers.write_text(text + "\n", encoding="utf-8")
    return files


def _listed(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)


def _require_places(at: Array, values: Array, what: str, place: str) -> None:
    require(
        values.shape[1] == len(at),
        f"{what} must hold one value per {place}, [R, {len(at)}], got {list(values.shape)}.",
    )


def _samples(
    labels: Sequence[str], samples: Sequence[ArrayLike], numbers: Sequence[int] | None
) -> tuple[list[Array], list[int] | None]:
    rows = [array(values, f"sample {k}", 1) for k, values in enumerate(samples)]
    require(len(rows) == len(labels), f"expected one sample per label, got {len(rows)} and {len(labels)}.")
    if numbers is None:
        return rows, None
    require(len(numbers) == len(rows), f"numbers must hold one per sample, {len(rows)}, got {len(numbers)}.")
    return rows, [whole(number, "every one of numbers", 0) for number in numbers]


@typed
def curve(ax: Axes, x: ArrayLike, replicas: ArrayLike, label: str, number: int = 0) -> Axes:
    """Mean over replicas with a band of one standard error; crossed out where only some replicas have a value.

    Args:
        ax: axes to draw into.
        x: positions [K].
        replicas: values [R, K]; NaN are left out.
        label: for the legend.
        number: of the curve, for colour and marker.

    Returns:
        The axes.

    Raises:
        ValueError: if there is not one value of every replica at each position.
    """
    at, values, number = array(x, "x", 1), array(replicas, "replicas", 2), whole(number, "number", 0)
    _require_places(at, values, "replicas", "position")
    found = statistics.summary(values)
    error = np.nan_to_num(found.sem)
    colour = COLOURS[number % len(COLOURS)]
    every = max(1, len(at) // 15)  # a marker on each of many points would hide the line
    places = ((number * every // 4) % every, every)
    ax.plot(at, found.mean, color=colour, marker=MARKERS[number % len(MARKERS)], markevery=places, label=label)
    ax.fill_between(at, found.mean - error, found.mean + error, color=colour, alpha=0.2, linewidth=0)
    some = (found.n > 0) & (found.n < len(values))
    ax.plot(at[some], found.mean[some], "x", color="0.1", markersize=5, zorder=4)
    return ax


@typed
def bars(
    ax: Axes,
    labels: Sequence[str],
    samples: Sequence[ArrayLike],
    numbers: Sequence[int] | None = None,
    *,
    points: bool = False,
) -> Axes:
    """Bars of means with standard errors, and every replica as a dot.

    Args:
        ax: axes to draw into.
        labels: one per bar.
        samples: replicas of each bar.
        numbers: of the colours.
        points: markers in place of bars, for an axis that does not begin at 0.

    Returns:
        The axes.

    Raises:
        ValueError: if there is not one sample, one row of numbers, and one number of a colour to every label.
    """
    rows, given = _samples(labels, samples, numbers)
    for k, used in enumerate(rows):
        found = statistics.summary(used)
        colour = COLOURS[(k if given is None else given[k]) % len(COLOURS)]
        error = float(np.nan_to_num(found.sem))
        if points:
            marker = MARKERS[(k if given is None else given[k]) % len(MARKERS)]
            ax.errorbar(k, float(found.mean), yerr=error, color=colour, marker=marker, markersize=7, capsize=3)
        else:
            ax.bar(k, float(found.mean), 0.65, yerr=error, color=colour, alpha=0.75, capsize=2.5, ecolor="0.2")
        spread = np.linspace(-0.12, 0.12, len(used)) if len(used) > 1 else np.zeros(1)
        ax.plot(k + spread, used, ".", color="0.15", markersize=3, zorder=3)
    ax.set_xticks(range(len(labels)), labels)
    ax.set_xlim(-0.6, len(labels) - 0.4)
    return ax


@typed
def dots(ax: Axes, labels: Sequence[str], samples: Sequence[ArrayLike], numbers: Sequence[int] | None = None) -> Axes:
    """Means with standard errors along the x axis, one line of the panel each, and every replica as a small dot.

    Args:
        ax: axes to draw into.
        labels: one per line, from the bottom up.
        samples: replicas of each line.
        numbers: of the colours; None: the first colour for all.

    Returns:
        The axes.

    Raises:
        ValueError: if there is not one sample, one row of numbers, and one number of a colour to every label.
    """
    rows, given = _samples(labels, samples, numbers)
    for k, used in enumerate(rows):
        found = statistics.summary(used)
        number = 0 if given is None else given[k]
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        ax.plot(used, np.full(len(used), k), ".", color="0.6", markersize=3, zorder=1)
        error = float(np.nan_to_num(found.sem))
        ax.errorbar(float(found.mean), k, xerr=error, color=colour, marker=marker, capsize=2, zorder=3)
    ax.set_yticks(range(len(labels)), labels)
    ax.set_ylim(-0.6, len(labels) - 0.4)
    return ax


@typed
def heatmap(
    ax: Axes,
    values: ArrayLike,
    rows: Sequence[str],
    columns: Sequence[str],
    texts: Sequence[Sequence[str]] | None = None,
    *,
    colours: str = "cividis",
    limits: tuple[float, float] = (0.0, 1.0),
    fontsize: float = 6.0,
) -> AxesImage:
    """A matrix in colours, with a text in each cell; NaN is hatched.

    Args:
        ax: axes to draw into.
        values: [rows, columns].
        rows: labels, from the top down.
        columns: labels.
        texts: for the cells.
        colours: name of a map of matplotlib; "PuOr" for values on both sides of zero.
        limits: the values at the ends of the map.
        fontsize: of the texts.

    Returns:
        The image, for a colour bar.

    Raises:
        ValueError: if labels and texts do not fit the values, there is no such map, or the limits do not rise.
    """
    matrix = array(values, "values", 2)
    require(
        matrix.size > 0 and matrix.shape == (len(rows), len(columns)),
        f"values must have a row for each of {len(rows)} labels and a column for each of {len(columns)}, got shape "
        f"{list(matrix.shape)}.",
    )
    require(
        texts is None or [len(row) for row in texts] == [len(columns)] * len(rows),
        f"texts must hold one text for each of the values, {list(matrix.shape)}.",
    )
    require(colours in mpl.colormaps, f"colours must name a map of matplotlib, such as cividis, got {colours!r}.")
    low, high = (within(limit, "every one of the limits", "(-inf, inf)") for limit in limits)
    require(low < high, f"limits must be a lower and a higher value, got {low:g} and {high:g}.")
    fontsize = within(fontsize, "fontsize in points", "(0, 1000]")
    image = ax.imshow(matrix, cmap=colours, vmin=low, vmax=high, aspect="auto")
    ax.patch.set(hatch="/////", edgecolor="0.75", facecolor="white", linewidth=0)
    ax.set_xticks(range(len(columns)), columns)
    ax.set_yticks(range(len(rows)), rows)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    for (row, column), cell in np.ndenumerate(matrix):
        value: Any = cell
        if texts is None or not texts[row][column]:
            continue
        red, green, blue, _ = image.to_rgba(value) if np.isfinite(value) else (1.0, 1.0, 1.0, 1.0)
        dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
        colour, box = "w" if dark else "k", None if np.isfinite(value) else {"color": "w", "pad": 1}
        ax.text(column, row, texts[row][column], ha="center", va="center", fontsize=fontsize, color=colour, bbox=box)
    return image


@typed
def bracket(ax: Axes, left: float, right: float, height: float, text: str) -> Axes:
    """A bracket over two bars with the result of a test.

    Args:
        ax: axes to draw into.
        left: position of the first bar.
        right: position of the second.
        height: where, in data units.
        text: such as "** p = 0.003".

    Returns:
        The axes.

    Raises:
        ValueError: if a place is not finite.
    """
    left, right, height = (
        within(value, name, "(-1e300, 1e300)") for value, name in ((left, "left"), (right, "right"), (height, "height"))
    )
    low, high = ax.get_ylim()
    tick = 0.015 * (high - low)
    ax.plot([left, left, right, right], [height - tick, height, height, height - tick], color="0.2", linewidth=0.8)
    ax.text((left + right) / 2, height + tick / 2, text, ha="center", va="bottom", fontsize=6.5)
    return explain_stars(ax) if "*" in text else ax


@typed
def explain_stars(ax: Axes) -> Axes:
    """What the stars of a panel mean, once, over its upper right corner.

    Args:
        ax: axes with stars.

    Returns:
        The axes.
    """
    if not any(one.get_text() == STARS for one in ax.texts):
        ax.text(1.0, 1.0, STARS, transform=ax.transAxes, ha="right", va="bottom", fontsize=5.5, color="0.4")
    return ax


@typed
def legend_above(ax: Axes) -> Axes:
    """The legend on one line over the panel; inside of it, where it hides least, if the line would be too long.

    Args:
        ax: axes whose curves have labels.

    Returns:
        The axes.
    """
    labels = ax.get_legend_handles_labels()[1]
    size = mpl.rcParams["legend.fontsize"]
    points = size if isinstance(size, float | int) else 8.0
    # A letter is about half as wide as it is high; a handle and the gaps around it take 3.5 letters' heights.
    needed = points / 72 * sum(0.55 * len(label) + 3.5 for label in labels)
    grid = ax.get_subplotspec()
    share = 1.0 if grid is None else 1.0 / grid.get_gridspec().ncols
    made = ax.get_figure(root=True)
    room = COLUMN if made is None else 0.9 * share * made.get_figwidth()
    if needed > room:
        ax.legend(loc="best", handlelength=1.4, frameon=True, framealpha=0.85, edgecolor="none")
    else:
        line = {"ncols": max(1, len(labels)), "columnspacing": 1.0, "handlelength": 1.4, "borderaxespad": 0.2}
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), **line)
    return ax


@typed
def legend_over(made: Figure, ax: Axes, title: str | None = None, columns: int = 4) -> Figure:
    """One legend for all panels, over the figure.

    Args:
        made: the figure.
        ax: axes whose curves have the labels.
        title: such as what the bands are.
        columns: of the legend.

    Returns:
        The figure.

    Raises:
        ValueError: if there is no column.
    """
    columns = whole(columns, "columns", 1, PANELS)
    handles, labels = ax.get_legend_handles_labels()
    made.legend(
        handles, labels, loc="outside upper center", ncols=columns, title=title, title_fontsize=7, handlelength=1.6
    )
    return made


@typed
def letter(ax: Axes, name: str, up: float = 14) -> Axes:
    """The letter of a panel, over its left edge.

    Args:
        ax: axes of the panel.
        name: such as "a".
        up: how far over the panel, in points.

    Returns:
        The axes.

    Raises:
        ValueError: if that is no distance on a page.
    """
    up = within(up, "up, in points,", "[-1e4, 1e4]")
    ax.annotate(name, (0, 1), (-24, up), xycoords="axes fraction", textcoords="offset points", fontweight="bold")
    return ax


@typed
def histogram(ax: Axes, centres: ArrayLike, shares: ArrayLike, label: str, number: int = 0) -> Axes:
    """Shares per bin as steps, mean over replicas.

    Args:
        ax: axes to draw into.
        centres: of the bins [K], equally spaced; one alone is 1 wide.
        shares: [R, K].
        label: for the legend.
        number: of the colour.

    Returns:
        The axes.

    Raises:
        ValueError: if there is no bin, or there is not one share of every replica for each.
    """
    at, values, number = array(centres, "centres", 1), array(shares, "shares", 2), whole(number, "number", 0)
    require(len(at) > 0 and bool(np.isfinite(at).all()), f"centres must be finite numbers, one at least, got {at}.")
    widths = np.diff(at)
    require(
        bool((widths > 0).all()) and (len(at) < 3 or bool(np.allclose(widths, widths[0], rtol=1e-3, atol=0))),
        "centres must rise in equal steps, for bars that are as wide as their bins, got others.",
    )
    _require_places(at, values, "shares", "bin")
    mean = statistics.summary(values).mean
    half = (at[1] - at[0]) / 2 if len(at) > 1 else 0.5
    edges = np.append(at - half, at[-1] + half)
    colour = COLOURS[number % len(COLOURS)]
    ax.stairs(mean, edges, color=colour, fill=True, alpha=0.35)
    ax.stairs(mean, edges, color=colour, label=label)
    return ax


@typed
def raster(ax: Axes, spikes: Mapping[str, ArrayLike] | ArrayLike, *, dt: float = 1.0) -> Axes:
    """Spikes of populations over time: a line for each neuron, a tick for each spike.

    Args:
        ax: axes to draw into.
        spikes: [T, n] of one example, 0 or 1; or such by the name of the population, drawn from the bottom up, as those
            of `net.run(spikes).spikes` with an example picked.
        dt: time step, ms.

    Returns:
        The axes.

    Raises:
        ValueError: if the spikes are no series of 0 and 1, or populations differ in their steps.
    """
    step = within(dt, "dt in ms", "(0, 1e9]")
    given = dict(spikes) if isinstance(spikes, Mapping) else {"": spikes}
    require(len(given) > 0, "spikes must hold one population at least, got none.")
    series = {name: _spikes(value, f"spikes of {name!r}" if name else "spikes") for name, value in given.items()}
    steps = {len(one) for one in series.values()}
    require(len(steps) == 1, f"all populations must have the same number of steps, got {sorted(steps)}.")
    # A gap between populations, so that their edges are seen.
    bottom, gap = 0.0, max(1.0, 0.03 * sum(one.shape[1] for one in series.values()))
    middles = []
    for number, one in enumerate(series.values()):
        at, neuron = np.nonzero(one)
        row = bottom + neuron
        ax.vlines(at * step, row - 0.45, row + 0.45, color=COLOURS[number % len(COLOURS)], linewidth=0.8)
        middles.append(bottom + (one.shape[1] - 1) / 2)
        bottom += one.shape[1] + gap
    if isinstance(spikes, Mapping):
        ax.set_yticks(middles, list(series))
        ax.tick_params(axis="y", length=0)
    else:
        ax.set_ylabel("neuron")
    ax.set_ylim(-0.5 - gap / 2, bottom - gap / 2 - 0.5)
    _time_axis(ax, steps.pop() * step)
    return ax


@typed
def membranes(
    ax: Axes,
    v: ArrayLike,
    *,
    dt: float = 1.0,
    spikes: ArrayLike | None = None,
    threshold: float | None = None,
    neurons: Sequence[int] | None = None,
) -> Axes:
    """Membranes of a few neurons over time, one above the other, all on the same scale.

    Args:
        ax: axes to draw into.
        v: at the end of each step, [T, n] of one example.
        dt: time step, ms.
        spikes: 0 or 1, [T, n], marked above the threshold; None: not known.
        threshold: a dotted line for each neuron, where it fires; None: none.
        neurons: which ones, from the bottom up; None: the first eight.

    Returns:
        The axes.

    Raises:
        ValueError: if membranes, spikes or neurons do not fit each other, or a membrane is not finite.
    """
    step, values = within(dt, "dt in ms", "(0, 1e9]"), array(v, "v", 2)
    require(
        values.size > 0 and bool(np.isfinite(values).all()), f"v must hold finite numbers, got shape {values.shape}."
    )
    fired = None if spikes is None else _spikes(spikes, "spikes")
    require(fired is None or fired.shape == values.shape, "spikes must be shaped like v, [T, n].")
    level = None if threshold is None else within(threshold, "threshold", "(-1e300, 1e300)")
    count = values.shape[1]
    chosen = [
        whole(one, "every one of neurons", 0, count - 1)
        for one in (range(min(8, count)) if neurons is None else neurons)
    ]
    require(len(chosen) > 0, "neurons must name one at least, got none.")
    shown = values[:, chosen]
    low, high = min(0.0, float(shown.min())), max(float(shown.max()), 0.0 if level is None else level)
    spread = 1.25 * (high - low) or 1.0
    time = np.arange(len(values)) * step
    for place, neuron in enumerate(chosen):
        base, colour = place * spread, COLOURS[place % len(COLOURS)]
        ax.plot(time, base + values[:, neuron], color=colour, linewidth=0.9)
        if level is not None:
            ax.axhline(base + level, color="0.6", linewidth=0.6, linestyle=":", zorder=0)
        if fired is not None:
            at = time[fired[:, neuron]]
            ax.vlines(
                at, base + (high if level is None else level), base + high + 0.12 * spread, color=colour, linewidth=0.9
            )
    ax.set_yticks([place * spread for place in range(len(chosen))], [str(neuron) for neuron in chosen])
    ax.set_ylabel("neuron, v = 0 at its number")
    ax.set_ylim(low - 0.1 * spread, (len(chosen) - 1) * spread + high + 0.2 * spread)
    _time_axis(ax, len(values) * step)
    return ax


@typed
def release(ax: Axes, spikes: ArrayLike, released: ArrayLike, *, sites: int = 1, dt: float = 1.0) -> Axes:
    """What the synapses of one neuron make of the spikes that reach them: a ring where a spike fails, a dot otherwise.

    Args:
        ax: axes to draw into.
        spikes: presynaptic ones of one example, 0 or 1, [T, I].
        released: sites released at these spikes, 0 to N, [T, I], such as a row of `layer.draw_mask(example, step)`
            times the spikes, at each step.
        sites: N; the area of a dot is the share of sites that released.
        dt: time step, ms.

    Returns:
        The axes.

    Raises:
        ValueError: if the two do not fit each other, or sites release without a spike.
    """
    step, fired, most = within(dt, "dt in ms", "(0, 1e9]"), _spikes(spikes, "spikes"), whole(sites, "sites", 1, 255)
    counts = array(released, "released", 2)
    require(
        counts.shape == fired.shape,
        f"released must be shaped like the spikes, {list(fired.shape)}, got {list(counts.shape)}.",
    )
    fits = bool(((counts >= 0) & (counts <= most) & (counts == np.round(counts))).all())
    require(fits, f"released must hold whole numbers from 0 to sites = {most}, got others. Give the layer's sites.")
    require(not counts[~fired].any(), "released must be 0 where there is no spike. Multiply the masks with the spikes.")
    at, source = np.nonzero(fired)
    share = counts[at, source] / most
    area = _area(fired.shape[1])
    ax.scatter(at * step, source, s=area, facecolors="none", edgecolors="0.6", linewidths=0.5, label="failed")
    some = share > 0
    ax.scatter(at[some] * step, source[some], s=area * share[some], color=COLOURS[0], linewidths=0, label="released")
    ax.set_ylabel("presynaptic neuron")
    ax.set_ylim(-1, fired.shape[1])
    _time_axis(ax, len(fired) * step)
    return ax


def _spikes(value: Any, what: str) -> NDArray[np.bool_]:
    found = array(value, what, 2)
    good = found.size > 0 and bool(((found == 0) | (found == 1)).all())
    require(
        good, f"{what} must be 0 or 1, [T, n] of one example, got other values or none, of shape {list(found.shape)}."
    )
    return found > 0


def _area(rows: int) -> float:
    # Points², so that marks of neighbouring rows do not meet in a panel of usual height.
    return float(min(24.0, max(3.0, (110 / rows) ** 2)))


def _time_axis(ax: Axes, end: float) -> None:
    ax.set_xlim(-0.01 * end, end)
    ax.set_xlabel("time, ms")
