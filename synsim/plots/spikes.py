"""Spikes over time: rasters, membranes, and releases of synapses."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from synsim._checks import array, require, whole, within
from synsim._doors import typed
from synsim.plots.journal import COLOURS


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
