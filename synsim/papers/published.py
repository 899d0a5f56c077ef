"""A published value, as one paper gives it."""

from dataclasses import dataclass
from typing import Any

from synsim._checks import require, whole, within
from synsim._doors import check_fields, typed


@dataclass(frozen=True)
class Published:
    """A value that a paper gives; `str` of it is what a table shows.

    Attributes:
        mean: the value, or the mean.
        sem: its standard error, if one is given.
        n: runs behind it, if the paper says so.
        source: where it stands, such as "Table 4.1".
        text: what a table shows in place of "mean ± sem".

    Raises:
        ValueError: if the mean or its standard error is not finite, or n is below one.
    """

    mean: float
    sem: float | None = None
    n: int | None = None
    source: str = ""
    text: str = ""

    def __post_init__(self) -> None:
        check_fields(self)
        within(self.mean, "mean", "(-inf, inf)")
        if self.sem is not None:
            within(self.sem, "sem", "[0, inf)")
        if self.n is not None:
            whole(self.n, "n")
        require(self.text.isprintable(), f"text must be one line, got {self.text!r}.")

    def __str__(self) -> str:
        """The value as the paper prints it.

        Returns:
            `text` where there is one.
        """
        return self.text or self.printed(max(_decimals(self.mean), _decimals(self.sem or 0.0)))

    @typed
    def printed(self, digits: int) -> str:
        """Mean and standard error with so many digits.

        Args:
            digits: after the point.

        Returns:
            Such as "82.90 ± 0.01", with a minus sign instead of a hyphen.
        """
        mean = f"{self.mean:.{whole(digits, 'digits', 0, 20)}f}".replace("-", "−")
        return mean if self.sem is None else f"{mean} ± {self.sem:.{digits}f}"

    def reference(self) -> dict[str, Any]:
        """The value for a row of `summary.json`.

        Returns:
            mean, sem, n and source.
        """
        return {"mean": self.mean, "sem": self.sem, "n": self.n, "source": self.source}


def _decimals(value: float) -> int:
    # Digits after the point of the shortest decimal number that is this one.
    places = f"{value:.15f}".rstrip("0") if abs(value) < 1e-4 else repr(float(value)).removesuffix(".0")
    return len(places.partition(".")[2])
