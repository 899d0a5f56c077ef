"""How far a loop is: a bar on a terminal or in a notebook; in a file or a scheduler's log, a line now and then."""

import os
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import suppress
from types import TracebackType
from typing import Any, ClassVar

from tqdm.auto import tqdm

EVERY = 30.0
"""Seconds between lines."""


def bar(
    steps: Iterable[Any] | None = None,
    *,
    total: int | None = None,
    initial: int = 0,
    desc: str = "",
    unit: str = "step",
    unit_scale: bool = False,
    leave: bool = True,
    shown: bool = True,
) -> "Lines":
    """A progress bar of tqdm, or what stands for it where none can be drawn.

    Args:
        steps: what to go through; None for a bar that is moved by `update`.
        total: number of steps; None if it is not known.
        initial: steps done before.
        desc: what is done.
        unit: what a step is called.
        unit_scale: whether to write thousands as k and so on.
        leave: whether the last state stays.
        shown: False for no output at all.

    Returns:
        Either, to be closed, or used by `with` or in a loop.
    """
    named: dict[str, Any] = {"total": total, "initial": initial, "desc": desc, "unit": unit, "unit_scale": unit_scale}
    if not (shown and drawable()):
        return Lines(steps, **named, leave=leave, disable=not shown or sys.stderr is None)
    made: Lines = tqdm(steps, **named, leave=leave, mininterval=0.5)
    return made


def drawable() -> bool:
    """Whether a bar can be drawn.

    Returns:
        True on a terminal that has a width, and in a notebook.
    """
    if any(kind.__module__ == "tqdm.notebook" for kind in tqdm.__mro__):
        return True
    if sys.stderr is None or not sys.stderr.isatty():
        return False
    try:
        # A terminal that a container opens may have no size: tqdm would draw nothing at all there.
        return os.get_terminal_size(sys.stderr.fileno()).columns > 0
    except (OSError, ValueError):  # no file behind it
        return True


class Lines:
    """Progress in whole lines on stderr, with the methods of tqdm that are used here.

    The time between lines is that of the process: of many short loops one after another each says something only when
    it is time to.

    Attributes:
        last: when the last line was written, or the first loop began.
        n: steps done.
        disable: whether it is silent.
    """

    last: ClassVar[float | None] = None

    def __init__(
        self,
        steps: Iterable[Any] | None,
        total: int | None,
        initial: int,
        desc: str,
        unit: str,
        unit_scale: bool,
        leave: bool,
        disable: bool,
    ) -> None:
        self.n: float = initial
        self.disable = disable
        self._steps, self._initial, self._leave = steps if steps is not None else (), initial, leave
        self._total = len(steps) if total is None and isinstance(steps, Sized) else total
        self._words = {"prefix": desc, "unit": unit, "unit_scale": unit_scale}
        self._postfix, self._said = "", False
        self._start = time.monotonic()
        if Lines.last is None:
            Lines.last = self._start

    def update(self, n: float = 1) -> None:
        """Go on.

        Args:
            n: steps.
        """
        self.n += n
        if not self.disable and time.monotonic() - (Lines.last or 0.0) >= EVERY:
            self._say()

    def set_postfix(self, **values: Any) -> None:
        """What stands at the end of the next line.

        Args:
            **values: name -> value.
        """
        self._postfix = ", ".join(f"{name}={value}" for name, value in values.items())

    def reset(self, total: int | None = None) -> None:
        """Begin anew.

        Args:
            total: number of steps; None: as before.
        """
        self.n, self._start = 0, time.monotonic()
        self._initial, self._total = 0, self._total if total is None else total

    def close(self) -> None:
        """Write how it ended, if it has written anything."""
        if self._said and self._leave:
            self._say()
        self.disable, self._said = True, False

    def _say(self) -> None:
        now = time.monotonic()
        line = tqdm.format_meter(
            self.n, self._total, now - self._start, 0, initial=self._initial, postfix=self._postfix, **self._words
        )
        Lines.last, self._said = now, True
        with suppress(OSError, ValueError):  # a stream that can't be written to ends no run
            print(line, file=sys.stderr, flush=True)

    def __iter__(self) -> Iterator[Any]:
        with self:
            for step in self._steps:
                yield step
                self.update()

    def __enter__(self) -> "Lines":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
