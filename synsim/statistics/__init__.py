"""Means, errors, intervals, tests and effect sizes over replicas.

A replica whose value is not finite has failed: it is left out everywhere, and `n` says how many are left.
Everything is computed in float64.
"""

from synsim.statistics.comparing import LARGEST, MANY, ROUNDING, Comparison, compare, from_summary
from synsim.statistics.families import Test, family, holm
from synsim.statistics.means import Array, Interval, Summary, Values, interval, summary
from synsim.statistics.words import format_mean, marked, stars

__all__ = [
    "LARGEST",
    "MANY",
    "ROUNDING",
    "Array",
    "Comparison",
    "Interval",
    "Summary",
    "Test",
    "Values",
    "compare",
    "family",
    "format_mean",
    "from_summary",
    "holm",
    "interval",
    "marked",
    "stars",
    "summary",
]
