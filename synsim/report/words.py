"""Numbers as words of a page."""

import math

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


def test(found: statistics.Test) -> str:
    """A t test, its corrected p value and the effect size.

    Args:
        found: the test, its p value corrected for all tests of its family.

    Returns:
        One line.
    """
    if math.isnan(found.p):
        return NOTHING
    corrected = found.p_holm
    text = f"t = {found.t:.2f}, p = {found.p:.1g}, Holm {corrected:.1g}{statistics.stars(corrected)}, g = "
    size = f"{found.hedges_g:.1f}" if math.isfinite(found.hedges_g) else NOTHING
    return (text + size).replace("-", "−")
