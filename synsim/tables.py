"""Result tables: rows of a summary, and how they are printed."""

import math
import re
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

from numpy.typing import ArrayLike

from synsim import statistics
from synsim._checks import array, is_whole, require, within
from synsim._doors import shown, typed
from synsim.papers import Published

Row = dict[str, Any]
KEYS = ("method", "metric", "mean", "sem", "n", "published")


@typed
def row(
    method: str,
    metric: str,
    values: ArrayLike,
    published: str | float | Published | None = None,
    *,
    setting: Mapping[str, Any] | None = None,
    test: statistics.Test | None = None,
) -> Row:
    """One row of a result table.

    Args:
        method: what was run.
        metric: the name of what was measured, with its unit; the same whatever the run.
        values: one value per replica; NaN for a replica that failed.
        published: the published value, or None.
        setting: the settings that the row is about, name -> a number, a text, a truth value or None.
        test: the test that the row is about (see `statistics.family`).

    Returns:
        The row: method, metric, mean, standard error, n, published, values, and, where they are given, setting, test
        and reference (mean, sem, n and source of a published value).

    Raises:
        ValueError: if the values are no numbers, one per replica, or the published one is not finite.

    Example:
        >>> row("mine", "accuracy, %", [81.0, 83.0])["mean"]
        82.0
    """
    each = array(values, "values", 1)
    found = statistics.summary(each)
    if published is not None and not isinstance(published, str | Published):
        within(published, "published", "(-inf, inf)")
    made = {
        "method": method,
        "metric": metric,
        "mean": float(found.mean),
        "sem": float(found.sem),
        "n": int(found.n),
        "published": str(published) if isinstance(published, Published) else published,
        "values": [float(value) for value in each],
    }
    if setting is not None:
        made["setting"] = dict(setting)
    if test is not None:
        made["test"] = {"t": test.t, "df": test.df, "p": test.p, "p_holm": test.p_holm, "g": test.hedges_g,
                        "family": test.family}  # fmt: skip
    if isinstance(published, Published):
        made["reference"] = published.reference()
    return made


@typed
def text(rows: Sequence[Row]) -> str:
    """The table for a terminal.

    Args:
        rows: from `row`.

    Returns:
        Lines of aligned columns: mean ± standard error, n, published, and, where rows have them, settings that neither
        method nor metric tell, and tests.

    Raises:
        ValueError: if a row lacks something, or holds something else.
    """
    for index, one in enumerate(rows):
        _check(one, index)
    head = ["method", "metric", "mean ± s.e.", "n", "published"]
    body = [_cells(one) for one in rows]
    told = [_untold(one) for one in rows]
    if any(told):
        head.insert(2, "setting")
        body = [[*cells[:2], setting, *cells[2:]] for cells, setting in zip(body, told, strict=True)]
    if any(one.get("test") for one in rows):
        head.append("test")
        body = [[*cells, _tested(one.get("test"))] for cells, one in zip(body, rows, strict=True)]
    widths = [max(len(line[k]) for line in (head, *body)) for k in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in (head, *body)]
    lines.insert(1, "  ".join("─" * width for width in widths))
    # The rows may be a stranger's: what would move the cursor or change the terminal is shown as an escape.
    return "\n".join(_printable(line.rstrip()) for line in lines)


def _cells(one: Row) -> list[str]:
    published = "–" if one["published"] is None else str(one["published"])
    return [one["method"], one["metric"], _number(one["mean"], one["sem"]), str(one["n"]), published]


def _untold(one: Row) -> str:
    # Where the names of a row tell a setting already, the column would say it again.
    names, parts = f"{one['method']} {one['metric']}", []
    for name, value in (one.get("setting") or {}).items():
        if value is True:
            parts.append(str(name))
        elif value is not None and value is not False:
            shown = f"{value:g}" if isinstance(value, Real) else str(value)
            known = re.search(rf"(?<![\w.]){re.escape(shown)}(?![\w.])", names)
            parts += [] if known else [f"{name} {shown}"]
    return ", ".join(parts)


def _tested(test: Mapping[str, Any] | None) -> str:
    if test is None:
        return ""
    t, p, holm, g = (test.get(key) for key in ("t", "p", "p_holm", "g"))
    if not (_finite(t) and _finite(p) and _finite(holm)):
        return "none possible"
    size = f", Hedges g = {g:.2g}" if _finite(g) else ""
    return f"t = {t:.2f}, p = {p:.2g} (Holm: {holm:.2g}){size}"


def _finite(value: object) -> bool:
    return isinstance(value, Real) and math.isfinite(value)


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
        "setting": one.get("setting") is None or isinstance(one["setting"], Mapping),
        "test": one.get("test") is None or isinstance(one["test"], Mapping),
    }
    wrong = [f"{key}={shown(one[key])}" for key, fits in kinds.items() if not fits]
    require(
        not wrong,
        f"rows[{index}] must hold texts for method and metric, numbers or None for mean and sem, a number of replicas "
        f"for n, and a mapping, if anything, for setting and test, got {', '.join(wrong)}.",
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
