"""The figure that is drawn on, its panels, and the files that it is kept in."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from synsim._checks import require, whole, within
from synsim._doors import typed
from synsim.plots.journal import COLUMN, INCHES, PANELS

SHOWN = 192
"""Dots per inch of a figure in a notebook: two for each of the screen."""
SUFFIXES = (".pdf", ".png", ".json")


class _Drawing(Figure):
    """A figure that shows itself in notebooks, though pyplot does not know of it."""

    def _repr_html_(self) -> str:
        held = io.BytesIO()
        self.savefig(held, format="png", dpi=SHOWN)
        coded = base64.b64encode(held.getvalue()).decode("ascii")
        width = round(96 * self.get_figwidth())
        return f'<img src="data:image/png;base64,{coded}" style="width: {width}px; max-width: 100%" alt="figure">'


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
