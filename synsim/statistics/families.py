"""Tests that answer one question, their p values corrected together."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import numpy as np

from synsim._checks import array
from synsim._doors import typed
from synsim.statistics.comparing import compare
from synsim.statistics.means import Array, Values


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


K = TypeVar("K", bound=Hashable)


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
