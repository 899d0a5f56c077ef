"""Values along an axis, replicas together: curves with bands, and histograms."""

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from synsim import statistics
from synsim._checks import array, require, whole
from synsim._doors import typed
from synsim.plots.journal import COLOURS, MARKERS

Array = NDArray[np.float64]


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


def _require_places(at: Array, values: Array, what: str, place: str) -> None:
    require(
        values.shape[1] == len(at),
        f"{what} must hold one value per {place}, [R, {len(at)}], got {list(values.shape)}.",
    )
