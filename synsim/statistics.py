"""Statistics over replicas: mean, standard error, interval, t-test, effect size, correction for many tests."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Summary:
    """Mean and error of a sample; NaN (failed replicas) left out.

    Attributes:
        mean: mean.
        sem: standard error of the mean, ddof = 1; NaN for n < 2.
        sd: standard deviation, ddof = 1; NaN for n < 2.
        n: how many values were used.
    """

    mean: Array
    sem: Array
    sd: Array
    n: NDArray[np.int64]


@dataclass(frozen=True)
class Comparison:
    """A two-sample or paired t-test.

    Attributes:
        t: statistic, positive if the first sample is larger.
        df: degrees of freedom.
        p: two-sided probability.
        difference: mean of the first minus mean of the second.
        hedges_g: difference over the pooled standard deviation, with the exact correction for small samples
            (Hedges 1981). For pairs: over the standard deviation of the differences.
        n: sizes of the two samples.
    """

    t: float
    df: float
    p: float
    difference: float
    hedges_g: float
    n: tuple[int, int]


def _values(values: ArrayLike) -> Array:
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values, dtype=np.float64)


def summary(values: ArrayLike, axis: int = 0) -> Summary:
    """Mean and standard error along an axis; NaN are left out and `n` says so.

    Args:
        values: any shape.
        axis: axis of the replicas.

    Returns:
        Arrays without that axis.
    """
    array = np.moveaxis(_values(values), axis, 0)
    used = ~np.isnan(array)
    n = used.sum(0)
    filled = np.where(used, array, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(n > 0, filled.sum(0) / n, np.nan)
        squares = np.where(used, (filled - mean) ** 2, 0.0).sum(0)
        sd = np.where(n > 1, np.sqrt(squares / (n - 1)), np.nan)
        sem = sd / np.sqrt(n)
    return Summary(mean, sem, sd, n)


def interval(values: ArrayLike, level: float = 0.95, axis: int = 0) -> tuple[Array, Array]:
    """Confidence interval of the mean from Student's t.

    Args:
        values: any shape.
        level: between 0 and 1.
        axis: axis of the replicas.

    Returns:
        Lower and upper bound; NaN for n < 2.

    Raises:
        ValueError: if the level is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}.")
    found = summary(values, axis)
    with np.errstate(invalid="ignore"):
        half = stats.t.ppf((1 + level) / 2, np.maximum(found.n - 1, 1)) * found.sem
    return found.mean - half, found.mean + half


def correction(df: float) -> float:
    """Hedges' exact correction J = Γ(df / 2) / (√(df / 2) · Γ((df − 1) / 2)).

    Args:
        df: degrees of freedom, more than 1.

    Returns:
        J, below 1.
    """
    return math.exp(special.gammaln(df / 2) - special.gammaln((df - 1) / 2)) / math.sqrt(df / 2)


def compare(a: ArrayLike, b: ArrayLike, *, paired: bool = False, equal_variance: bool = True) -> Comparison:
    """t-test of two samples, two-sided; the paper's is unpaired with equal variances.

    Args:
        a: first sample [n]; NaN are left out (pairs with a NaN, if paired).
        b: second sample [m].
        paired: whether a and b belong together value by value.
        equal_variance: False for Welch's test.

    Returns:
        The test and the effect size.

    Raises:
        ValueError: if a sample has fewer than two values, paired ones differ in length, or nothing varies.
    """
    first, second = _values(a).ravel(), _values(b).ravel()
    if paired:
        if len(first) != len(second):
            raise ValueError(f"paired samples must be equally long, got {len(first)} and {len(second)}.")
        kept = ~(np.isnan(first) | np.isnan(second))
        first, second = first[kept], second[kept]
    first, second = first[~np.isnan(first)], second[~np.isnan(second)]
    if len(first) < 2 or len(second) < 2:
        raise ValueError(f"a t-test needs two values in each sample, got {len(first)} and {len(second)}.")
    if paired:
        varies = np.ptp(first - second) > 0
    else:
        varies = np.ptp(first) > 0 or np.ptp(second) > 0
    if not varies:
        raise ValueError("a t-test needs values that vary, got constant samples.")
    difference = float(first.mean() - second.mean())
    if paired:
        found = stats.ttest_rel(first, second)
        df = float(len(first) - 1)
        scale = float(np.std(first - second, ddof=1))
    else:
        found = stats.ttest_ind(first, second, equal_var=equal_variance)
        df = float(found.df)
        scale = _pooled(float(first.var(ddof=1)), len(first), float(second.var(ddof=1)), len(second))
    g = difference / scale * correction(df if df > 1 else math.nan)
    return Comparison(float(found.statistic), df, float(found.pvalue), difference, g, (len(first), len(second)))


def _pooled(variance_a: float, n_a: int, variance_b: float, n_b: int) -> float:
    return math.sqrt(((n_a - 1) * variance_a + (n_b - 1) * variance_b) / (n_a + n_b - 2))


def from_summary(mean_a: float, sem_a: float, n_a: int, mean_b: float, sem_b: float, n_b: int) -> Comparison:
    """The same test, rebuilt from published means and standard errors (equal variances).

    Args:
        mean_a: first mean.
        sem_a: its standard error.
        n_a: its sample size, at least 2.
        mean_b: second mean.
        sem_b: its standard error.
        n_b: its sample size, at least 2.

    Returns:
        The test and the effect size.

    Raises:
        ValueError: if a sample is smaller than 2, or both errors are 0.
    """
    if min(n_a, n_b) < 2 or not (sem_a > 0 or sem_b > 0):
        raise ValueError(f"expected samples of at least 2 with errors above 0, got n = {n_a}, {n_b}.")
    sd_a, sd_b = sem_a * math.sqrt(n_a), sem_b * math.sqrt(n_b)
    found = stats.ttest_ind_from_stats(mean_a, sd_a, n_a, mean_b, sd_b, n_b)
    df = n_a + n_b - 2
    g = (mean_a - mean_b) / _pooled(sd_a**2, n_a, sd_b**2, n_b) * correction(df)
    return Comparison(float(found.statistic), df, float(found.pvalue), mean_a - mean_b, g, (n_a, n_b))


def holm(p_values: Sequence[float]) -> Array:
    """Probabilities corrected for many tests by Holm's step-down method (Holm 1979).

    Args:
        p_values: [k], in any order.

    Returns:
        [k] adjusted probabilities in the same order.

    Raises:
        ValueError: if a value lies outside [0, 1].
    """
    p = _values(p_values)
    if p.size and not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"probabilities must lie between 0 and 1, got {p.tolist()}.")
    order = np.argsort(p, kind="stable")
    scaled = p[order] * (len(p) - np.arange(len(p)))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0) if p.size else scaled
    return adjusted


def stars(p: float) -> str:
    """Marks of significance as in the paper: ** below 0.01, * below 0.05.

    Args:
        p: probability.

    Returns:
        "**", "*" or "".
    """
    return "**" if p < 0.01 else "*" if p < 0.05 else ""


def format_mean(mean: float, sem: float) -> str:
    """A mean with its standard error, both to two digits of the error.

    Args:
        mean: mean.
        sem: standard error.

    Returns:
        Such as "82.90 ± 0.12".
    """
    if not math.isfinite(sem) or sem <= 0:
        return f"{mean:.4g} ± {sem:.2g}"
    digits = max(0, 1 - math.floor(math.log10(sem)))
    return f"{mean:.{digits}f} ± {sem:.{digits}f}"
