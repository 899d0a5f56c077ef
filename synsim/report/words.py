"""Numbers as words of a page."""

import math
from collections.abc import Mapping
from typing import Any

from synsim import statistics
from synsim.papers import Published
from synsim.report import verdict

NOTHING = "–"


def mean(value: float | None, sem: float | None) -> str:
    """A mean and its standard error.

    Args:
        value: the mean; None or NaN if every replica failed.
        sem: its standard error; None or NaN if there is one replica.

    Returns:
        Such as "82.9 ± 0.4", with a minus sign instead of a hyphen.
    """
    if value is None or not math.isfinite(value):
        return verdict.FAILED
    alone = sem is None or math.isnan(sem)
    text = f"{value:.4g}" if alone else statistics.format_mean(value, float(sem or 0.0))
    return text.replace("-", "−")


def distance(value: float, sem: float, n: int, published: Published) -> str:
    """Ours minus theirs, also in combined standard errors.

    Args:
        value: our mean.
        sem: its standard error.
        n: our runs.
        published: theirs.

    Returns:
        Such as "−0.19 (4.7 s.e.)".
    """
    error, gap = verdict.combined_error(float(sem), int(n), published), float(value) - published.mean
    if not math.isfinite(gap):
        return NOTHING
    text = f"{gap:+.2g}".replace("-", "−")
    return f"{text} ({abs(gap) / error:.1f} s.e.)" if error > 0 else text


def times(value: float, published: Published) -> str:
    """Ours as a multiple of theirs.

    Args:
        value: our mean.
        published: theirs.

    Returns:
        Such as "× 0.93".
    """
    ratio = value / published.mean if published.mean else math.nan
    return f"× {ratio:.3g}" if math.isfinite(ratio) else NOTHING


def test(found: statistics.Test) -> str:
    """A t test, its corrected p value and the effect size.

    Args:
        found: the test, its p value corrected for all tests of its family.

    Returns:
        One line.
    """
    return told({"t": found.t, "p": found.p, "p_holm": found.p_holm, "g": found.hedges_g})


def told(test: Mapping[str, Any] | None) -> str:
    """The same for a test as a row of a table has it.

    Args:
        test: t, p, p_holm and g; None if the row has no test.

    Returns:
        One line.
    """
    t, p, holm, g = (math.nan if test is None or test[key] is None else test[key] for key in ("t", "p", "p_holm", "g"))
    if math.isnan(p):
        return NOTHING
    size = f"{g:.1f}" if math.isfinite(g) else NOTHING
    return f"t = {t:.2f}, p = {p:.1g}, Holm {holm:.1g}{statistics.stars(holm)}, g = {size}".replace("-", "−")
