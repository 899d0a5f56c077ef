"""Signals that end a run: the first lets it save what it has, the second ends it at once."""

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")


class StoppedError(KeyboardInterrupt):
    """The run was asked to stop, and what it has is saved."""


class Stop:
    """A context in which Ctrl-C, SIGTERM and SIGHUP ask a run to save at its next step, and to end then.

    A signal that comes before there is something to save, and a second one, raise KeyboardInterrupt at once; of those
    that come while the run is ending, the first is passed over and the second kills it. A signal that the program was
    started to ignore (as `nohup` does with SIGHUP) stays ignored.

    Attributes:
        asked: whether the run is to stop; `Session` asks for it.
        number: the signal that came last.
        saves: whether there is something to save by now.
    """

    def __init__(self) -> None:
        self.asked = False
        self.number: int = signal.SIGINT
        self.saves: Callable[[], bool] = lambda: False
        self._after = 0
        self._leaving = False
        self._before: dict[int, Any] = {}

    def leave(self) -> int:
        """Note that the run is ending: from now on a signal does not disturb it, and the second one kills it.

        Returns:
            The exit status that tells of the signal, as shells do.
        """
        self._leaving = True
        return 128 + self.number

    def __enter__(self) -> "Stop":
        for name in SIGNALS:
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                with suppress(ValueError):  # only the main thread may ask for signals
                    self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        if self._leaving:
            self._after += 1
            if self._after > 1:
                os._exit(128 + number)
            return
        if self.asked or not self.saves():
            self._leaving = True  # the next one is not to disturb what this one sets off
            raise KeyboardInterrupt
        self.asked = True
        # Not by print: the signal may have come in the middle of one.
        with suppress(OSError):
            os.write(2, b"\nstopping: the run saves at its next step and ends; once more to end at once\n")
