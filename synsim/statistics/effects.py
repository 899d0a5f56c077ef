"""How large a difference is, in standard deviations: Hedges' correction, and the interval of noncentral t."""

import math
from functools import cache

import numpy as np
import scipy

from synsim.statistics.means import Array, Interval


def correction(df: float) -> float:
    """Hedges' J(df), by which an effect size is multiplied so that it is not expected to be too large (Hedges 1981).

    Args:
        df: degrees of freedom of the standard deviation.

    Returns:
        Γ(df/2) / (√(df/2) Γ((df-1)/2)); NaN for df = 1, where there is no expectation.
    """
    if df <= 1:
        return math.nan
    if df > 1000:  # where the difference of the logarithms loses digits; the next term is below 1e-13
        z = (df - 1) / 2
        series = 1 - 1 / (8 * z) + 1 / (128 * z**2) + 5 / (1024 * z**3)
        return math.sqrt((df - 1) / df) * series
    return math.exp(scipy.special.gammaln(df / 2) - scipy.special.gammaln((df - 1) / 2)) / math.sqrt(df / 2)


def effect_interval(t: float, df: float, unit: float, level: float) -> Interval:
    """The effect sizes under which t lies at the upper and at the lower end of its distribution.

    Args:
        t: Student's t, or Welch's.
        df: its degrees of freedom.
        unit: effect size per t.
        level: confidence.

    Returns:
        Both ends.
    """
    size, sign = abs(t), math.copysign(1.0, t)
    reach = size * scipy.stats.chi.isf(1e-16, df) / math.sqrt(df) + 10

    def excess(shift: float, tail: float) -> float:
        return noncentral_cdf(size, df, shift) - tail

    tails = ((1 + level) / 2, (1 - level) / 2)
    ends = [sign * unit * scipy.optimize.brentq(excess, -10.0, reach, args=(tail,)) for tail in tails]
    return Interval(min(ends), max(ends))


def noncentral_cdf(t: float, df: float, shift: float) -> float:
    """P(T <= t) of the noncentral t distribution: T = (Z + shift) / s, with Z normal and s² a chi-square of df over df.

    Args:
        t: at least 0.
        df: degrees of freedom.
        shift: noncentrality.

    Returns:
        The probability.
    """
    # SciPy's own does not come back for t in the millions. The inner integral has a closed form; the outer one runs
    # over whichever of s and Z makes the integrand smooth.
    nodes, weights = _legendre()
    if t < 2 * math.sqrt(df):
        low, high = scipy.stats.chi.ppf(1e-16, df), scipy.stats.chi.isf(1e-16, df)
        chi = (high + low) / 2 + (high - low) / 2 * nodes
        density = scipy.stats.chi.pdf(chi, df) * (high - low) / 2
        return float(weights @ (density * scipy.special.ndtr(t * chi / math.sqrt(df) - shift)))
    low, high = min(max(-shift, -9.0), 9.0), 9.0  # below -shift the numerator is negative, and T with it
    z = (high + low) / 2 + (high - low) / 2 * nodes
    density = scipy.stats.norm.pdf(z) * (high - low) / 2
    above = scipy.special.chdtrc(df, df * ((z + shift) / t) ** 2)
    return float(scipy.special.ndtr(low) + weights @ (density * above))


@cache
def _legendre() -> tuple[Array, Array]:
    nodes, weights = np.polynomial.legendre.leggauss(400)
    return nodes, weights
