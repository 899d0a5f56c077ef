"""Samples side by side: means with standard errors, and every replica as a dot."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from synsim import statistics
from synsim._checks import array, require, whole
from synsim._doors import typed
from synsim.plots.journal import COLOURS, MARKERS

Array = NDArray[np.float64]


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


def _samples(
    labels: Sequence[str], samples: Sequence[ArrayLike], numbers: Sequence[int] | None
) -> tuple[list[Array], list[int] | None]:
    rows = [array(values, f"sample {k}", 1) for k, values in enumerate(samples)]
    require(len(rows) == len(labels), f"expected one sample per label, got {len(rows)} and {len(labels)}.")
    if numbers is None:
        return rows, None
    require(len(numbers) == len(rows), f"numbers must hold one per sample, {len(rows)}, got {len(numbers)}.")
    return rows, [whole(number, "every one of numbers", 0) for number in numbers]
