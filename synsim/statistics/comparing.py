"""T tests of two sets of replicas: Student's, Welch's, and of pairs."""

import math
from typing import NamedTuple

import numpy as np
import scipy

from synsim._checks import array, number, whole
from synsim._doors import typed
from synsim.statistics.effects import correction, effect_interval
from synsim.statistics.means import Array, Interval, Values, require_level, summary

LARGEST = 1e150
"""Size above which a square is no number any more."""
ROUNDING = 1e-14
"""Differences of pairs that vary by no more than this share of the values are those of rounding."""
MANY = 2**31
"""Replicas up to which the effect size is exact to four digits and better."""


class Comparison(NamedTuple):
    """A t test of a against b, and how large the difference is. Signs: positive if a is larger.

    Attributes:
        t: Student's t, or Welch's.
        df: degrees of freedom of t.
        p: two-sided p value, not corrected for other tests.
        difference: mean of a minus mean of b, in their unit.
        hedges_g: the difference in standard deviations, corrected for small samples. The standard deviation
            is, for equal variances, the pooled one; for Welch's test √((sd_a² + sd_b²) / 2); for pairs, that
            of the differences.
        g_interval: confidence interval of the difference in standard deviations.
        n: replicas that count in a and in b.
    """

    t: float
    df: float
    p: float
    difference: float
    hedges_g: float
    g_interval: Interval
    n: tuple[int, int]


@typed
def compare(
    a: Values, b: Values, *, paired: bool = False, equal_variance: bool = True, level: float = 0.95
) -> Comparison:
    """Two-sided t test of whether two sets of replicas have the same mean.

    If nothing varies (in both sets, or between pairs), no test is possible: t, p, g and its interval are NaN.

    Args:
        a: [R_a].
        b: [R_b].
        paired: a[i] and b[i] share a seed, and their differences are tested; a pair with a failed half is
            left out.
        equal_variance: Student's test; False: Welch's. Without meaning for pairs.
        level: confidence of the interval of the effect size.

    Returns:
        The test and the effect size (see `from_summary` for its sources).

    Raises:
        ValueError: if the shapes are not as above, or fewer than two replicas (or pairs) are left.

    Example:
        >>> found = compare([1.0, 2.0, 3.0], [2.0, 3.0, 4.0])
        >>> print(f"t = {found.t:.2f}, p = {found.p:.2f}")
        t = -1.22, p = 0.29
    """
    first, second = array(a, "a"), array(b, "b")
    if first.ndim != 1 or second.ndim != 1:
        raise ValueError(f"a and b must be one number per replica, got shapes {first.shape} and {second.shape}.")
    if paired:
        return _compare_pairs(first, second, level)
    x, y = summary(first), summary(second)
    return from_summary(
        float(x.mean), float(x.sem), int(x.n), float(y.mean), float(y.sem), int(y.n),
        equal_variance=equal_variance, level=level,
    )  # fmt: skip


@typed
def from_summary(
    mean_a: float,
    sem_a: float,
    n_a: int,
    mean_b: float,
    sem_b: float,
    n_b: int,
    *,
    equal_variance: bool = True,
    level: float = 0.95,
) -> Comparison:
    """The test of `compare`, rebuilt from published means and standard errors.

    Hedges' g: J(df) · difference / sd with J(m) = Γ(m/2) / (√(m/2) Γ((m-1)/2)), exact (Hedges 1981,
    doi:10.3102/10769986006002107). For Welch's test sd and df are those of Delacre et al. 2021 (g*_s,
    doi:10.31234/osf.io/tu6mp). The interval of the effect size inverts the noncentral t distribution (Cumming
    & Finch 2001, doi:10.1177/0013164401614002), so it leaves out zero if and only if p is below 1 - level;
    for Welch's test it is approximate.

    Args:
        mean_a: mean of a.
        sem_a: standard error of that mean (not the standard deviation).
        n_a: replicas in a.
        mean_b: mean of b.
        sem_b: standard error of that mean.
        n_b: replicas in b.
        equal_variance: Student's test; False: Welch's.
        level: confidence of the interval of the effect size.

    Returns:
        The test and the effect size; t, p, g and its interval are NaN if both standard errors are zero.

    Raises:
        ValueError: if an n is below two or above 2³¹, a standard error is negative, or a number is not finite or above
            1e150.
    """
    if min(n_a, n_b) < 2:
        raise ValueError(f"a test needs two replicas on each side, got n = {n_a} and {n_b}. Run more seeds.")
    if not (0 <= sem_a < math.inf and 0 <= sem_b < math.inf):
        raise ValueError(f"standard errors must be finite and not negative, got {sem_a} and {sem_b}.")
    n_a, n_b = whole(n_a, "n_a", 2, MANY), whole(n_b, "n_b", 2, MANY)
    mean_a, mean_b = (
        number(mean, name, low=-LARGEST, high=LARGEST) for mean, name in ((mean_a, "mean_a"), (mean_b, "mean_b"))
    )
    sem_a, sem_b = (number(sem, name, high=LARGEST) for sem, name in ((sem_a, "sem_a"), (sem_b, "sem_b")))
    require_level(level)
    difference, n = mean_a - mean_b, (n_a, n_b)
    sd_a, sd_b = sem_a * math.sqrt(n_a), sem_b * math.sqrt(n_b)
    if sd_a == sd_b == 0:
        return _untested(n_a + n_b - 2, difference, n)
    test = scipy.stats.ttest_ind_from_stats(mean_a, sd_a, n_a, mean_b, sd_b, n_b, equal_var=equal_variance)
    if equal_variance:
        df = df_effect = float(n_a + n_b - 2)
        scale = math.sqrt(((n_a - 1) * sd_a**2 + (n_b - 1) * sd_b**2) / df)
        error = scale * math.sqrt(1 / n_a + 1 / n_b)
    else:
        df, df_effect = _welch(sd_a, n_a, sd_b, n_b)
        scale, error = math.hypot(sd_a, sd_b) / math.sqrt(2), math.hypot(sem_a, sem_b)
    g = correction(df_effect) * difference / scale
    bounds = effect_interval(float(test.statistic), df, error / scale, level)
    return Comparison(float(test.statistic), df, float(test.pvalue), difference, g, bounds, n)


def _compare_pairs(a: Array, b: Array, level: float) -> Comparison:
    if a.shape != b.shape:
        raise ValueError(f"pairs need as many replicas in a as in b, got {len(a)} and {len(b)}.")
    require_level(level)
    with np.errstate(invalid="ignore"):  # a failed half makes a failed pair
        mean, sem, sd, n = summary(a - b)
    if n < 2:
        raise ValueError(f"a test needs two pairs of replicas, got {n}. Run more seeds.")
    df, difference, count = float(n - 1), float(mean), (int(n), int(n))
    both = np.isfinite(a) & np.isfinite(b)
    if sd <= ROUNDING * max(np.abs(a[both]).max(), np.abs(b[both]).max()):
        return _untested(df, difference, count)
    t = difference / float(sem)
    g = correction(df) * difference / float(sd)
    bounds = effect_interval(t, df, 1 / math.sqrt(n), level)
    return Comparison(t, df, 2 * float(scipy.stats.t.sf(abs(t), df)), difference, g, bounds, count)


def _untested(df: float, difference: float, n: tuple[int, int]) -> Comparison:
    return Comparison(math.nan, float(df), math.nan, difference, math.nan, Interval(math.nan, math.nan), n)


def _welch(sd_a: float, n_a: int, sd_b: float, n_b: int) -> tuple[float, float]:
    # Degrees of freedom of Welch's t, and of the averaged variance (Delacre et al. 2021).
    a, b = sd_a**2, sd_b**2
    test = (a / n_a + b / n_b) ** 2 / ((a / n_a) ** 2 / (n_a - 1) + (b / n_b) ** 2 / (n_b - 1))
    effect = (a + b) ** 2 / (a**2 / (n_a - 1) + b**2 / (n_b - 1))
    return test, effect
