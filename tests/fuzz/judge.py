"""What became of a set of arguments, read from the error and where it was raised."""

import dis
import re
import traceback
from pathlib import Path
from types import TracebackType

import synsim

HOUSE = str(Path(synsim.__file__).parent)
WORDS, DOOR, RAW, ACCEPTED = "words", "door", "raw", "accepted"
"""Refused by synsim in words; by Python at the door of a function; by something inside; not refused."""

OF_LIBRARIES = re.compile(
    r"\w+\(\)[:,]? (argument|received|expected|got)|must be Tensor, not|numpy|ufunc|can't convert|array"
)


def _by_raise(trace: TracebackType) -> bool:
    # Whether the line that failed is a `raise`, rather than something that was called or computed.
    code = trace.tb_frame.f_code
    for instruction in dis.get_instructions(code):
        if instruction.offset == trace.tb_lasti:
            return instruction.opname in ("RAISE_VARARGS", "RERAISE")
    return False


def judge(error: BaseException, depth: int) -> str:
    """The verdict on an error.

    Args:
        error: what was raised.
        depth: frames of the worker before the call.

    Returns:
        "words", "door" or "raw".
    """
    frames = []
    trace = error.__traceback__
    while trace is not None:
        frames.append(trace)
        trace = trace.tb_next
    inside = [frame for frame in frames[depth:] if "_doors.py" not in frame.tb_frame.f_code.co_filename]
    last = frames[-1]
    ours = last.tb_frame.f_code.co_filename.startswith(HOUSE)
    if ours and _by_raise(last):
        return WORDS if str(error) else RAW
    plain = isinstance(error, TypeError) and not OF_LIBRARIES.search(str(error))
    if plain and len(inside) <= 1:
        return DOOR
    # `raise ... from` keeps the words; a converter of argparse or jsonargparse ends the program in words, too.
    return WORDS if isinstance(error, SystemExit) else RAW


def where(error: BaseException) -> str:
    """The innermost place in synsim, and the last words of the error."""
    places = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith(HOUSE)]
    place = f"{Path(places[-1].filename).relative_to(HOUSE)}:{places[-1].lineno}" if places else "door"
    said = str(error).strip().splitlines() or [""]
    return f"{place} {type(error).__name__}: {said[0][:120]}"
