"""What a program prints, whatever it prints to: a sign that can't be shown, or a stream that is full, ends no run."""

import codecs
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

# How signs are written where an encoding lacks them.
_PLAIN = {
    "±": "+/-", "−": "-", "–": "-", "—": "-", "─": "-", "×": "x", "·": "*", "…": "...", "≥": ">=", "≤": "<=",
    "→": "->", "⁻": "^-", "²": "^2", "³": "^3", "½": "1/2", "λ": "lambda", "σ": "sigma", "η": "eta", "Σ": "sum",
    "Ω": "Omega", "†": "+", "’": "'", "“": '"', "”": '"',
}  # fmt: skip


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    signs = error.object[error.start : error.end]
    shown = (_PLAIN.get(sign, sign.encode("ascii", "backslashreplace").decode("ascii")) for sign in signs)
    return "".join(shown), error.end


codecs.register_error("synsim.plain", _plain)


class Steady:
    """A stream that takes whatever is written to it.

    Args:
        stream: where it goes, as long as that can be written to.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._lost = False

    def write(self, text: str) -> int:
        """Write a text; signs that the encoding lacks are written otherwise.

        Args:
            text: any text.

        Returns:
            Its length.
        """
        if not self._lost:
            try:
                try:
                    self._stream.write(text)
                except UnicodeEncodeError:
                    encoding = self._stream.encoding or "ascii"
                    self._stream.write(text.encode(encoding, "synsim.plain").decode(encoding))
            except (OSError, ValueError) as error:
                self._lose(error)
        return len(text)

    def flush(self) -> None:
        """Pass on what was written, if that can be done."""
        if not self._lost:
            try:
                self._stream.flush()
            except (OSError, ValueError) as error:
                self._lose(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _lose(self, error: Exception) -> None:
        self._lost = True
        with suppress(OSError, ValueError, AttributeError):
            # Python flushes the stream once more at its end: what is still in it must go somewhere.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
        if not isinstance(error, BrokenPipeError) and self is sys.stdout:
            print(f"stdout can't be written to ({error}): nothing more is printed.", file=sys.stderr)


@contextmanager
def steady() -> Iterator[None]:
    """Make `print`, warnings and progress bars safe on any stdout and stderr: narrow, full, closed or broken.

    Ctrl-C ends the program in a word, with the exit status that shells give it.

    Yields:
        Nothing; both streams are as before afterwards.
    """
    before = sys.stdout, sys.stderr
    # A program started without them has None, to which print writes nothing.
    sys.stdout, sys.stderr = (stream if stream is None else Steady(stream) for stream in before)
    try:
        yield
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    finally:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        sys.stdout, sys.stderr = before


def sentence(error: BaseException) -> str:
    """What a person needs to know about an error that they can mend.

    Args:
        error: the error.

    Returns:
        Its message; for an error of the system, what and where it is, and what to do.
    """
    if isinstance(error, MemoryError) and not str(error):
        return "the memory of this machine is too small for this."
    if not isinstance(error, OSError) or error.strerror is None:
        return str(error) or type(error).__name__
    where = f": {error.filename}" if error.filename else ""
    return f"{error.strerror}{where}. Mend this, or give another folder; a run that was going goes on with --resume."


def fail(error: BaseException) -> NoReturn:
    """End the program with a sentence instead of a traceback.

    Args:
        error: what went wrong.
    """
    print(f"{Path(sys.argv[0]).name}: {sentence(error)}", file=sys.stderr)
    sys.exit(1)
