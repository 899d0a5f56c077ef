"""Matrices in colours."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from numpy.typing import ArrayLike

from synsim._checks import array, require, within
from synsim._doors import typed


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
