"""Means over replicas, their standard errors and confidence intervals."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from synsim._checks import array, require, whole
from synsim._doors import typed

Array = NDArray[np.float64]
Values = ArrayLike | Tensor | Sequence[Tensor]


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
    require_level(level)
    mean, sem, _, n = summary(values, axis)
    reach = scipy.stats.t.ppf((1 + level) / 2, np.where(n > 1, n - 1, np.nan))[()] * sem
    return Interval(mean - reach, mean + reach)


def _values(values: Values, axis: int) -> Array:
    found = array(values, "values")
    require(found.ndim > 0, f"values must have an axis of replicas, got a single number, {found}.")
    whole(axis, f"axis, of values of shape {list(found.shape)},", -found.ndim, found.ndim - 1)
    return found


def require_level(level: float) -> None:
    """Refuse what is no level of confidence.

    Args:
        level: such as 0.95.

    Raises:
        ValueError: if it is not between 0 and 1.
    """
    require(0 < level < 1, f"level must be between 0 and 1, such as 0.95, got {level!r}.")
