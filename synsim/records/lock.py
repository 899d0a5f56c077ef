"""One process at a time writes to the folder of a run."""

import os
import sys
from pathlib import Path

from synsim.records.errors import RunBusyError

if sys.platform != "win32":
    import fcntl

_held: dict[tuple[int, int], int] = {}


def hold(folder: Path) -> bool:
    """Keep other processes from writing to a folder until `release`, or until this process ends, however it ends.

    Where the system has no such locks (Windows, some network disks) nothing is held.

    Args:
        folder: an existing folder; holding it again in the same process does nothing.

    Returns:
        Whether the lock was free until now: False if this process has it already, or if there are no locks.

    Raises:
        RunBusyError: if another process holds it.
    """
    if sys.platform == "win32":
        return False
    descriptor = os.open(folder, os.O_RDONLY)
    key = _key(descriptor)
    if key in _held and os.fstat(_held[key]).st_nlink:
        os.close(descriptor)
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise RunBusyError(
            f"{folder} is being written to by another process. Wait until that has ended, or give another --out."
        ) from None
    except OSError:
        os.close(descriptor)
        return False
    _drop(key)
    _held[key] = descriptor
    return True


def release(folder: Path) -> None:
    """Let other processes write to a folder.

    Args:
        folder: held or not, there or not.
    """
    if folder.exists() and sys.platform != "win32":
        descriptor = os.open(folder, os.O_RDONLY)
        _drop(_key(descriptor))
        os.close(descriptor)


def _key(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def _drop(key: tuple[int, int]) -> None:
    # Closing the descriptor gives the lock back; the number of a removed folder may come again.
    if key in _held:
        os.close(_held.pop(key))


def _forget() -> None:
    # A forked child shares the lock of its parent, and would keep it after the parent's death.
    while _held:
        os.close(_held.popitem()[1])


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_forget)
