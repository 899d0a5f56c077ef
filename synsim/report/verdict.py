"""The rule by which a measured value is called the published one, or not."""

import math

from synsim._checks import require, whole, within
from synsim._doors import typed
from synsim.papers import Published

WITHIN = "within 2 s.e."
SAME = "same order"
DIFFERS = "differs"
IMAGE = "image only"
NO_ERROR = "no error known"
FAILED = "failed"
NOT_RUN = "not run"
APART = "significant too"
NOT_APART = "not significant"
OURS = "ours"
OTHER_DATA = "other data"
DATA = "needs the published data set"
SCHEMATIC = "schematic"

FACTOR = 2.0
LEVEL = 0.05

RULE = """\
A published number: "within 2 s.e." if it is at most two combined standard errors from ours (the root of the sum of \
both squared standard errors of the mean), else "differs". Where a number was published without an error, the \
standard deviation of our runs, divided by the root of the number of published runs, stands in for it, and the \
other way round if there is a single run of ours. A claim in words (an order, a threshold): "same order" if our \
means have the published order, or if every seed is on the published side of the threshold, else "differs"; it is \
"not significant" if the corrected p value of an order is 0.05 or more; beside an order stands the two-sided t test \
of independent samples with equal variances, as the paper makes it, its p value corrected for all tests of its \
family (Holm), as the experiment declares it, and Hedges' g. Two means that the paper calls significantly different, \
without saying which is larger: "significant too" if the corrected p value is below 0.05, else "not significant"; \
"ours" if the paper does not compare them. \
"image only": the paper shows a picture, and neither numbers nor words to compare with. "not \
run": no run with it was given. A verdict on a run that is shorter or smaller than the published one says so, and a \
number from another data set is not compared."""


@typed
def combined_error(sem: float, n: int, published: Published) -> float:
    """The standard error of the difference between ours and the published value.

    Args:
        sem: our standard error; NaN if there is one run.
        n: our runs.
        published: the published value.

    Returns:
        The combined error; NaN if neither side has one.

    Raises:
        ValueError: if a number of runs or an error is negative.
    """
    whole(n, "n", 0)
    for value, name in ((sem, "sem"), (published.sem, "the published sem")):
        known = math.nan if value is None else value
        require(math.isnan(known) or 0 <= known < math.inf, f"{name} must be an error, 0 or more, got {value!r}.")
    theirs = math.nan if published.sem is None else published.sem
    runs = math.nan if published.n is None else published.n
    if math.isnan(theirs):
        theirs = sem * math.sqrt(n / runs)
    if math.isnan(sem) and n:
        sem = theirs * math.sqrt(runs / n)
    return math.hypot(sem, theirs)


@typed
def of_value(mean: float, sem: float, n: int, published: Published, factor: float | None = None) -> str:
    """Whether a published value is within two combined standard errors of ours, or within a factor.

    Args:
        mean: ours.
        sem: our standard error; NaN if there is one run.
        n: our runs that count.
        published: the published value, in the same unit.
        factor: in place of errors: how many times larger or smaller than the published value ours may be.

    Returns:
        The verdict.

    Raises:
        ValueError: if a number of runs or an error is negative, or a factor does not lie above 1.
    """
    error = combined_error(sem, n, published)
    if factor is not None:
        within(factor, "factor", "(1, inf)")
    if n == 0 or not math.isfinite(mean):
        return FAILED
    if factor is not None:
        ratio = mean / published.mean if published.mean else math.inf
        return f"within a factor of {factor:g}" if 1 / factor <= ratio <= factor else DIFFERS
    if math.isnan(error):
        return NO_ERROR
    return WITHIN if abs(mean - published.mean) <= FACTOR * error else DIFFERS


@typed
def of_order(larger: float, smaller: float) -> str:
    """Whether two means have the published order.

    Args:
        larger: our mean of what is larger in the paper.
        smaller: our mean of what is smaller there.

    Returns:
        The verdict; equal means differ from a published order.
    """
    if not (math.isfinite(larger) and math.isfinite(smaller)):
        return FAILED
    return SAME if larger > smaller else DIFFERS


@typed
def of_pair(p: float, published: str) -> str:
    """Whether two means that differ in the paper differ here too.

    Args:
        p: corrected p value of the test; NaN if none could be made.
        published: how the paper says that they differ; empty if it does not compare them.

    Returns:
        The verdict.

    Raises:
        ValueError: if p does not lie between 0 and 1.
    """
    require(math.isnan(p) or 0 <= p <= 1, f"p must lie between 0 and 1, or be NaN for no test, got {p!r}.")
    if not published:
        return OURS
    if math.isnan(p):
        return NO_ERROR
    return APART if p < LEVEL else NOT_APART


@typed
def of_limit(low: float, high: float, sign: str, limit: float) -> str:
    """Whether all runs are on the published side of a threshold.

    Args:
        low: the smallest value of our runs.
        high: the largest.
        sign: "<" or ">", what was published.
        limit: the threshold.

    Returns:
        The verdict.

    Raises:
        ValueError: if the sign is another one, or the threshold is not finite.
    """
    require(math.isfinite(limit), f"limit must be finite, got {limit!r}.")
    if sign not in ("<", ">"):
        raise ValueError(f"sign must be '<' or '>', got {sign!r}.")
    if not (math.isfinite(low) and math.isfinite(high)):
        return FAILED
    return SAME if (high < limit if sign == "<" else low > limit) else DIFFERS
