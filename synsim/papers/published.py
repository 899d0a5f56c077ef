"""A published value, as one paper gives it."""

from dataclasses import dataclass
from typing import Any

from synsim._checks import require, whole, within
from synsim._doors import check_fields


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
        """The value as its table has it: as many digits as the standard error.

        Returns:
            `text` where there is one.
        """
        if self.text:
            return self.text
        if self.sem is None:
            return f"{self.mean:g}"
        return f"{self.mean:.{digits(self.sem)}f} ± {self.sem:.{digits(self.sem)}f}"

    def reference(self) -> dict[str, Any]:
        """The value for a row of `summary.json`.

        Returns:
            mean, sem, n and source.
        """
        return {"mean": self.mean, "sem": self.sem, "n": self.n, "source": self.source}


def digits(error: float) -> int:
    """Digits behind the point of a standard error as a table of a paper has it, at least two.

    Args:
        error: the standard error.

    Returns:
        Their number.
    """
    shown = f"{error:.10f}".rstrip("0")
    return max(2, len(shown) - shown.index(".") - 1)
