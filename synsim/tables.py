"""Result tables: rows of a summary, and how they are printed."""

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

from numpy.typing import ArrayLike

from synsim import statistics
from synsim._checks import array, is_whole, require, within
from synsim._doors import shown, typed

Row = dict[str, Any]
KEYS = ("method", "metric", "mean", "sem", "n", "published")


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

    Raises:
        ValueError: if the values are no numbers, one per replica, or the published one is not finite.
    """
    found = statistics.summary(array(values, "values", 1))
    if published is not None and not isinstance(published, str):
        within(published, "published", "(-inf, inf)")
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

    Raises:
        ValueError: if a row lacks something, or holds something else.
    """
    for index, one in enumerate(rows):
        _check(one, index)
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


def _check(one: Row, index: int) -> None:
    lacking = [key for key in KEYS if key not in one]
    require(
        not lacking,
        f"rows[{index}] must have the keys {', '.join(KEYS)}, and lacks {', '.join(lacking)}. Make rows by "
        "synsim.tables.row.",
    )
    kinds = {
        "method": isinstance(one["method"], str),
        "metric": isinstance(one["metric"], str),
        "mean": _is_number(one["mean"]),
        "sem": _is_number(one["sem"]) and not (one["sem"] is not None and one["sem"] < 0),
        "n": is_whole(one["n"]) and one["n"] >= 0,
    }
    wrong = [f"{key}={shown(one[key])}" for key, fits in kinds.items() if not fits]
    require(
        not wrong,
        f"rows[{index}] must hold texts for method and metric, numbers or None for mean and sem, and a number of "
        f"replicas for n, got {', '.join(wrong)}.",
    )


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, Real) and not isinstance(value, bool))


def _printable(text: str) -> str:
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)


def _number(mean: float | None, sem: float | None) -> str:
    if mean is None or math.isnan(mean):
        return "failed"
    if sem is None or math.isnan(sem):
        return f"{mean:.4g}"
    return statistics.format_mean(mean, sem)
