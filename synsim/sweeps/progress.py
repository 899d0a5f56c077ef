"""One bar for all cells; off a terminal, one line in thirty seconds."""

import sys
import time
from types import TracebackType

from tqdm.auto import tqdm

from synsim._progress import EVERY, drawable


class Progress:
    """How many cells are done.

    Args:
        total: cells.
        done: those that were done before.
        quiet: whether to say nothing.
    """

    def __init__(self, total: int, done: int = 0, quiet: bool = False) -> None:
        self._total, self._done, self._errors = total, done, 0
        shown = not quiet and drawable()
        self._bar = tqdm(total=total, initial=done, unit="cell", desc="sweep", disable=not shown)
        self._lines = not quiet and not shown and sys.stderr is not None
        self._begin = self._last = time.monotonic()
        self._before = done

    def step(self, error: bool = False) -> None:
        """One more cell has ended.

        Args:
            error: whether without results.
        """
        self._done += 1
        self._errors += error
        if self._errors:
            self._bar.set_postfix_str(f"{self._errors} without results", refresh=False)
        self._bar.update()
        self.look()

    def look(self) -> None:
        """Print a line, if it is time to."""
        now = time.monotonic()
        if self._lines and now - self._last >= EVERY:
            self._last = now
            print(self._line(now), file=sys.stderr, flush=True)

    def _line(self, now: float) -> str:
        made, errors = self._done - self._before, f", {self._errors} without results" if self._errors else ""
        left = (self._total - self._done) * (now - self._begin) / made if made else None
        return f"sweep: {self._done} of {self._total} cells{errors}" + (f", about {left:.0f} s left" if left else "")

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
        if self._lines:
            print(self._line(time.monotonic()), file=sys.stderr, flush=True)
