"""Samples and tests from the rows of a result table, for experiments that have no reader here."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from synsim import statistics
from synsim._doors import typed
from synsim.outcomes.sample import Array, Key, Sample, Samples
from synsim.statistics import Test

SAME = 1e-6
"""Relative difference up to which two t are of one test."""

Row = Mapping[str, Any]


@typed
def from_rows(rows: Sequence[Row]) -> Samples:
    """The samples of a table.

    Args:
        rows: of a run's summary; those of old runs, without their values, are left out.

    Returns:
        (metric, method) -> sample; where a method has several rows of one metric, the key goes on with the settings of
        each, such as ("accuracy, %", "plastic", "decay 0.01").
    """
    having = [row for row in rows if row.get("values") is not None]
    times: Counter[Key] = Counter((str(row["metric"]), str(row["method"])) for row in having)
    found: Samples = {}
    for row in having:
        key: Key = (str(row["metric"]), str(row["method"]))
        if times[key] > 1:
            key = (*key, *(f"{name} {value}" for name, value in (row.get("setting") or {}).items()))
        found.setdefault(
            key, Sample(np.array([math.nan if one is None else one for one in row["values"]], dtype=float))
        )
    return found


@typed
def as_made(rows: Sequence[Row], first: Array, second: Array) -> Test | None:
    """The test of two samples as a run has made it, with the p value corrected in its family there.

    Args:
        rows: of the run's summary.
        first: [R].
        second: [R].

    Returns:
        The test, with the signs of the first minus the second; None if the rows hold no test of these samples.
    """
    told = [row["test"] for row in rows if row.get("test") and row["test"]["t"] is not None]
    for paired in (False, True):
        if paired and first.shape != second.shape:
            continue
        made = statistics.family("", {"": (first, second)}, paired=paired).get("")
        for test in told if made is not None else ():
            if made is not None and test["df"] == made.df and math.isclose(abs(test["t"]), abs(made.t), rel_tol=SAME):
                return Test(made.t, made.df, made.p, test["p_holm"], made.hedges_g, made.difference, test["family"])
    return None
