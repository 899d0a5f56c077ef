"""How it is said: a refusal, and a warning that points to the line of the user's."""

import sys
import warnings
from types import FrameType


def require(condition: bool, message: str) -> None:
    """Raise ValueError with the message unless the condition holds.

    Args:
        condition: what must be true.
        message: expected, got, and what to do.

    Raises:
        ValueError: if the condition is false.
    """
    if not condition:
        raise ValueError(message)


def warn(message: str) -> None:
    """A UserWarning that points to the line of the user's, not to one of this package.

    Args:
        message: what holds not, why, and what to do.
    """
    depth, frame = 2, sys._getframe(1)
    while frame is not None and frame.f_back is not None and _ours(frame):
        frame, depth = frame.f_back, depth + 1
    warnings.warn(message, UserWarning, stacklevel=depth)


def _ours(frame: FrameType) -> bool:
    return frame.f_globals.get("__name__", "").partition(".")[0] in ("synsim", "torch", "contextlib")
