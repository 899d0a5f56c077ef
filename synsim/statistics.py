"""Means, errors, intervals, tests and effect sizes over replicas.

A replica whose value is not finite has failed: it is left out everywhere, and `n` says how many are left.
Everything is computed in float64.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special, stats
from torch import Tensor

from synsim._checks import array, number, require, whole
from synsim._doors import typed

Array = NDArray[np.float64]
Values = ArrayLike | Tensor | Sequence[Tensor]

LARGEST = 1e150
"""Size above which a square is no number any more."""
ROUNDING = 1e-14
"""Differences of pairs that vary by no more than this share of the values are those of rounding."""
_RAISED = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")
MANY = 2**31
"""Replicas up to which the effect size is exact to four digits and better."""


class Summary(NamedTuple):
    """What replicas say together; numbers, or arrays without the axis of the replicas.

    Attributes:
        mean: mean; NaN if no replica is left.
        sem: standard error of the mean, sd / √n; NaN if n < 2.
        sd: standard deviation of the sample (divisor n - 1); NaN if n < 2.
        n: replicas that count.
    """

    mean: Any
    sem: Any
    sd: Any
    n: Any


class Interval(NamedTuple):
    """The ends of a confidence interval; numbers, or arrays."""

    low: Any
    high: Any


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


@dataclass(frozen=True)
class Test:
    """One test of a family: all tests that an experiment makes to answer one question.

    Attributes:
        t: Student's t.
        df: its degrees of freedom.
        p: two-sided p value.
        p_holm: p corrected for all tests of the family (`holm`).
        hedges_g: the difference in standard deviations (see `Comparison`).
        difference: mean of the first minus mean of the second, in their unit.
        family: name of the family.
    """

    __test__: ClassVar[bool] = False  # pytest takes classes of this name for tests

    t: float
    df: float
    p: float
    p_holm: float
    hedges_g: float
    difference: float
    family: str


@typed
def summary(values: Values, axis: int = 0) -> Summary:
    """Mean, standard error, standard deviation and number of replicas.

    Args:
        values: [R, ...] for axis 0; any number of other axes.
        axis: the axis of the replicas.

    Returns:
        The four, each without that axis: NumPy scalars for [R], else arrays.

    Raises:
        ValueError: if the values are no numbers, or have no such axis.

    Example:
        >>> mean, sem, sd, n = summary([1.0, 2.0, 3.0, float("nan")])
        >>> print(f"{mean} ± {sem:.3f}, {n} replicas")
        2.0 ± 0.577, 3 replicas
    """
    given = _values(values, axis)
    counts = np.isfinite(given)
    n = counts.sum(axis)
    # Deviations from the smallest value, so that equal values have a standard deviation of exactly zero.
    shift = np.min(given, axis, where=counts, initial=np.inf, keepdims=True)
    shift = np.where(np.isfinite(shift), shift, 0.0)
    deviation = np.where(counts, given, shift) - shift
    with np.errstate(invalid="ignore", divide="ignore"):  # 0 / 0 is NaN on purpose
        centre = deviation.sum(axis, keepdims=True) / counts.sum(axis, keepdims=True)
        squares = (np.where(counts, deviation - centre, 0.0) ** 2).sum(axis)
        sd = np.sqrt(np.where(n > 1, squares, np.nan) / (n - 1))
        sem = sd / np.sqrt(n)
    return Summary((shift + centre).squeeze(axis)[()], sem[()], sd[()], n[()])


@typed
def interval(values: Values, level: float = 0.95, axis: int = 0) -> Interval:
    """Confidence interval of the mean, by Student's t with n - 1 degrees of freedom.

    Args:
        values: [R, ...] for axis 0.
        level: confidence, between 0 and 1.
        axis: the axis of the replicas.

    Returns:
        Both ends, without that axis; NaN if n < 2.

    Example:
        >>> low, high = interval([1.0, 2.0, 3.0])[:2]
        >>> print(f"{low:.2f} to {high:.2f}")
        -0.48 to 4.48
    """
    _require_level(level)
    mean, sem, _, n = summary(values, axis)
    reach = stats.t.ppf((1 + level) / 2, np.where(n > 1, n - 1, np.nan))[()] * sem
    return Interval(mean - reach, mean + reach)


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
    _require_level(level)
    difference, n = mean_a - mean_b, (n_a, n_b)
    sd_a, sd_b = sem_a * math.sqrt(n_a), sem_b * math.sqrt(n_b)
    if sd_a == sd_b == 0:
        return _untested(n_a + n_b - 2, difference, n)
    test = stats.ttest_ind_from_stats(mean_a, sd_a, n_a, mean_b, sd_b, n_b, equal_var=equal_variance)
    if equal_variance:
        df = df_effect = float(n_a + n_b - 2)
        scale = math.sqrt(((n_a - 1) * sd_a**2 + (n_b - 1) * sd_b**2) / df)
        error = scale * math.sqrt(1 / n_a + 1 / n_b)
    else:
        df, df_effect = _welch(sd_a, n_a, sd_b, n_b)
        scale, error = math.hypot(sd_a, sd_b) / math.sqrt(2), math.hypot(sem_a, sem_b)
    g = _correction(df_effect) * difference / scale
    bounds = _effect_interval(float(test.statistic), df, error / scale, level)
    return Comparison(float(test.statistic), df, float(test.pvalue), difference, g, bounds, n)


@typed
def holm(p_values: Values) -> Array:
    """P values corrected for the number of tests, by Holm's step-down method.

    The i-th smallest of m is multiplied by m - i + 1, made no smaller than those before it, and at most 1
    (Holm 1979, Scandinavian Journal of Statistics 6: 65-70).

    Args:
        p_values: [m], in any order. NaN (a test that could not be made) stays NaN and does not count.

    Returns:
        [m], in the order given.

    Raises:
        ValueError: if they are not one row of numbers between 0 and 1.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        array([0.03, 0.06, 0.06])
    """
    p = array(p_values, "p values")
    if p.ndim != 1 or bool(((p < 0) | (p > 1)).any()):
        raise ValueError(f"p values must be one row of numbers between 0 and 1, got {p.tolist()}.")
    made = np.flatnonzero(~np.isnan(p))
    order = made[np.argsort(p[made], kind="stable")]
    adjusted = np.full_like(p, np.nan)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)), 1.0)
    return adjusted


K = TypeVar("K", bound=Hashable)


@typed
def family(name: str, pairs: Mapping[K, tuple[Values, Values]], *, paired: bool = False) -> dict[K, Test]:
    """All tests that an experiment makes to answer one question, their p values corrected together.

    Args:
        name: what the family is called where it is read.
        pairs: key -> (a [R_a], b [R_b]), the two sets of replicas that are compared.
        paired: a[i] and b[i] share a seed (see `compare`).

    Returns:
        key -> test, in the order given. Pairs with fewer than two replicas left on a side (or, paired, together) can't
        be tested and are left out; the correction is for those that were made.

    Raises:
        ValueError: if the shapes are not as above.

    Example:
        >>> tests = family("accuracy", {"a over b": ([3.0, 4.0, 5.0], [1.0, 2.0, 2.5])}, paired=True)
        >>> print(f"{tests['a over b'].p_holm:.3f}")
        0.006
    """
    made = {}
    for key, (a, b) in pairs.items():
        first, second = array(a, "a"), array(b, "b")
        if paired and first.shape == second.shape:
            enough = np.isfinite(first - second).sum() > 1
        else:
            enough = min(np.isfinite(first).sum(), np.isfinite(second).sum()) > 1
        if enough:
            made[key] = compare(first, second, paired=paired)
    corrected = holm([test.p for test in made.values()])
    return {
        key: Test(test.t, test.df, test.p, float(p), test.hedges_g, test.difference, name)
        for (key, test), p in zip(made.items(), corrected, strict=True)
    }


@typed
def stars(p: float) -> str:
    """The mark of significance of a p value.

    Args:
        p: a p value; NaN has no mark.

    Returns:
        "**" if p < 0.01, "*" if p < 0.05, else "".

    Raises:
        ValueError: if it does not lie between 0 and 1.

    Example:
        >>> stars(0.003), stars(0.2)
        ('**', '')
    """
    require(math.isnan(p) or 0 <= p <= 1, f"p must lie between 0 and 1, or be NaN for no test, got {p!r}.")
    return "**" if p < 0.01 else "*" if p < 0.05 else ""


@typed
def marked(p: float) -> str:
    """A p value as a figure shows it: its mark of significance, and two digits.

    Args:
        p: a p value; NaN is no test.

    Returns:
        Such as "** p = 8.5×10⁻⁶"; empty for NaN.

    Raises:
        ValueError: if it does not lie between 0 and 1.

    Example:
        >>> marked(8.51e-6), marked(0.2)
        ('** p = 8.5×10⁻⁶', 'p = 0.2')
    """
    mark = stars(p)
    if math.isnan(p):
        return ""
    digits, _, power = f"{p:.2g}".partition("e")
    size = f"{digits}×10{str(int(power)).translate(_RAISED)}" if power else digits
    return f"{mark} p = {size}".strip()


@typed
def format_mean(mean: float, sem: float) -> str:
    """A mean and its standard error, rounded to the first digit of the error: "82.9 ± 0.4".

    Args:
        mean: the mean.
        sem: its standard error. If it is NaN (one replica) the mean stands alone, with four digits.

    Returns:
        The text; both share one power of ten, such as "(1.23 ± 0.04)e-06", if the mean is below 0.001 or at
        least a million. Nothing left of the point is rounded.

    Raises:
        ValueError: if the standard error is negative.

    Example:
        >>> format_mean(82.7134, 0.0412)
        '82.71 ± 0.04'
    """
    mean, sem = float(mean), float(sem)
    require(not sem < 0, f"sem must be a standard error, which is not negative, got {sem!r}.")
    if not (math.isfinite(mean) and math.isfinite(sem)):
        return f"{mean:.4g}"
    size = max(abs(mean), sem)
    if sem <= 1e-9 * size:  # no error, or that of rounding
        return f"{mean:.4g} ± 0"
    power = 0 if 1e-3 <= size < 1e6 else math.floor(math.log10(size))
    mean, sem = mean / 10.0**power, sem / 10.0**power
    first = int(f"{sem:.0e}".split("e")[1])  # of the rounded error: 0.096 is 0.1
    digits = max(0, -first)
    text = f"{mean:.{digits}f} ± {sem:.{digits}f}"
    return text if power == 0 else f"({text})e{power:+03d}"


def _values(values: Values, axis: int) -> Array:
    found = array(values, "values")
    require(found.ndim > 0, f"values must have an axis of replicas, got a single number, {found}.")
    whole(axis, f"axis, of values of shape {list(found.shape)},", -found.ndim, found.ndim - 1)
    return found


def _require_level(level: float) -> None:
    require(0 < level < 1, f"level must be between 0 and 1, such as 0.95, got {level!r}.")


def _compare_pairs(a: Array, b: Array, level: float) -> Comparison:
    if a.shape != b.shape:
        raise ValueError(f"pairs need as many replicas in a as in b, got {len(a)} and {len(b)}.")
    _require_level(level)
    with np.errstate(invalid="ignore"):  # a failed half makes a failed pair
        mean, sem, sd, n = summary(a - b)
    if n < 2:
        raise ValueError(f"a test needs two pairs of replicas, got {n}. Run more seeds.")
    df, difference, count = float(n - 1), float(mean), (int(n), int(n))
    both = np.isfinite(a) & np.isfinite(b)
    if sd <= ROUNDING * max(np.abs(a[both]).max(), np.abs(b[both]).max()):
        return _untested(df, difference, count)
    t = difference / float(sem)
    g = _correction(df) * difference / float(sd)
    bounds = _effect_interval(t, df, 1 / math.sqrt(n), level)
    return Comparison(t, df, 2 * float(stats.t.sf(abs(t), df)), difference, g, bounds, count)


def _untested(df: float, difference: float, n: tuple[int, int]) -> Comparison:
    return Comparison(math.nan, float(df), math.nan, difference, math.nan, Interval(math.nan, math.nan), n)


def _welch(sd_a: float, n_a: int, sd_b: float, n_b: int) -> tuple[float, float]:
    # Degrees of freedom of Welch's t, and of the averaged variance (Delacre et al. 2021).
    a, b = sd_a**2, sd_b**2
    test = (a / n_a + b / n_b) ** 2 / ((a / n_a) ** 2 / (n_a - 1) + (b / n_b) ** 2 / (n_b - 1))
    effect = (a + b) ** 2 / (a**2 / (n_a - 1) + b**2 / (n_b - 1))
    return test, effect


def _correction(df: float) -> float:
    # The expected estimate is the true effect divided by this; for df = 1 there is no expectation.
    if df <= 1:
        return math.nan
    if df > 1000:  # where the difference of the logarithms loses digits; the next term is below 1e-13
        z = (df - 1) / 2
        series = 1 - 1 / (8 * z) + 1 / (128 * z**2) + 5 / (1024 * z**3)
        return math.sqrt((df - 1) / df) * series
    return math.exp(special.gammaln(df / 2) - special.gammaln((df - 1) / 2)) / math.sqrt(df / 2)


def _effect_interval(t: float, df: float, unit: float, level: float) -> Interval:
    # The effect sizes under which t lies at the upper and at the lower end of its distribution.
    size, sign = abs(t), math.copysign(1.0, t)
    reach = size * stats.chi.isf(1e-16, df) / math.sqrt(df) + 10

    def excess(shift: float, tail: float) -> float:
        return _noncentral_cdf(size, df, shift) - tail

    tails = ((1 + level) / 2, (1 - level) / 2)
    ends = [sign * unit * optimize.brentq(excess, -10.0, reach, args=(tail,)) for tail in tails]
    return Interval(min(ends), max(ends))


def _noncentral_cdf(t: float, df: float, shift: float) -> float:
    # P(T <= t) for T = (Z + shift) / s, with Z normal and s² a chi-square of df over df; t >= 0. SciPy's own
    # does not come back for t in the millions. The inner integral has a closed form; the outer one runs over
    # whichever of s and Z makes the integrand smooth.
    nodes, weights = _legendre()
    if t < 2 * math.sqrt(df):
        low, high = stats.chi.ppf(1e-16, df), stats.chi.isf(1e-16, df)
        chi = (high + low) / 2 + (high - low) / 2 * nodes
        density = stats.chi.pdf(chi, df) * (high - low) / 2
        return float(weights @ (density * special.ndtr(t * chi / math.sqrt(df) - shift)))
    low, high = min(max(-shift, -9.0), 9.0), 9.0  # below -shift the numerator is negative, and T with it
    z = (high + low) / 2 + (high - low) / 2 * nodes
    density = stats.norm.pdf(z) * (high - low) / 2
    above = special.chdtrc(df, df * ((z + shift) / t) ** 2)
    return float(special.ndtr(low) + weights @ (density * above))


@cache
def _legendre() -> tuple[Array, Array]:
    nodes, weights = np.polynomial.legendre.leggauss(400)
    return nodes, weights
