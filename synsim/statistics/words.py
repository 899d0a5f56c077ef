"""Means and p values as tables and figures show them."""

import math

from synsim._checks import require
from synsim._doors import typed

_RAISED = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


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
