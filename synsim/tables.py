"""Result tables: rows of a summary, and how they are printed."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from synsim import statistics
from synsim._doors import typed

Row = dict[str, Any]


@typed
def row(method: str, metric: str, values: ArrayLike, published: str | float | None = None) -> Row:
    """One row of a result table.

    Args:
        method: what was run.
        metric: what was measured, with its unit.
        values: one value per replica; NaN for a replica that failed.
        published: the published value, or None.

    Returns:
        The row: method, metric, mean, standard error, n, published.
    """
    found = statistics.summary(np.asarray(values, dtype=float))
    return {
        "method": method,
        "metric": metric,
        "mean": float(found.mean),
        "sem": float(found.sem),
        "n": int(found.n),
        "published": published,
    }


@typed
def text(rows: Sequence[Row]) -> str:
    """The table for a terminal.

    Args:
        rows: from `row`.

    Returns:
        Lines of aligned columns: mean ± standard error, n, published.
    """
    head = ("method", "metric", "mean ± s.e.", "n", "published")
    body = [
        (
            one["method"],
            one["metric"],
            _number(one["mean"], one["sem"]),
            str(one["n"]),
            "–" if one["published"] is None else str(one["published"]),
        )
        for one in rows
    ]
    widths = [max(len(line[k]) for line in (head, *body)) for k in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in (head, *body)]
    lines.insert(1, "  ".join("─" * width for width in widths))
    # The rows may be a stranger's: what would move the cursor or change the terminal is shown as an escape.
    return "\n".join(_printable(line.rstrip()) for line in lines)


def _printable(text: str) -> str:
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)


def _number(mean: float | None, sem: float | None) -> str:
    if mean is None or np.isnan(mean):
        return "failed"
    if sem is None or np.isnan(sem):
        return f"{mean:.4g}"
    return statistics.format_mean(mean, sem)
