"""What is written beside the data: results of tests, legends, letters of panels."""

import math

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from synsim._checks import whole, within
from synsim._doors import typed
from synsim.plots.journal import COLUMN, PANELS

STARS = "* p < 0.05, ** p < 0.01"
"""What the stars above brackets mean, said once in every panel that has some."""
LINES = 3
"""Of a legend over a panel; a longer one would take its height."""


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
    """The legend over the panel, on as few lines as fit; inside of it, where it hides least, if these are many.

    Inside of a panel it may hide curves and errors, which a legend over it never does.

    Args:
        ax: axes whose curves have labels.

    Returns:
        The axes.
    """
    widths = [_width(label) for label in ax.get_legend_handles_labels()[1]]
    if not widths:
        return ax
    grid = ax.get_subplotspec()
    share = 1.0 if grid is None else 1.0 / grid.get_gridspec().ncols
    made = ax.get_figure(root=True)
    room = COLUMN if made is None else 0.9 * share * made.get_figwidth()
    fitting = len(widths) if sum(widths) <= room else int(room / max(widths))
    lines = math.ceil(len(widths) / max(1, fitting))
    if lines > LINES:
        ax.legend(loc="best", handlelength=1.4, frameon=True, framealpha=0.85, edgecolor="none")
    else:
        columns = math.ceil(len(widths) / lines)
        line = {"ncols": columns, "columnspacing": 1.0, "handlelength": 1.4, "borderaxespad": 0.2}
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), **line)
    return ax


@typed
def _width(label: str) -> float:
    # Inches in a legend: a letter is about half as wide as it is high; a handle and the gaps take 3.5 heights.
    size = mpl.rcParams["legend.fontsize"]
    points = size if isinstance(size, float | int) else 8.0
    return points / 72 * (0.55 * len(label) + 3.5)


def legend_over(made: Figure, ax: Axes, title: str | None = None, columns: int | None = None) -> Figure:
    """One legend for all panels, over the figure.

    Args:
        made: the figure.
        ax: axes whose curves have the labels.
        title: such as what the bands are.
        columns: of the legend; None: as few lines as fit the figure, all of one length where that can be.

    Returns:
        The figure.

    Raises:
        ValueError: if there is no column.
    """
    handles, labels = ax.get_legend_handles_labels()
    if columns is None:
        fitting = max(1, int(made.get_figwidth() / max(map(_width, labels), default=1.0)))
        lines = max(1, math.ceil(len(labels) / fitting))
        columns = max(1, math.ceil(len(labels) / lines))
    columns = whole(columns, "columns", 1, PANELS)
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
