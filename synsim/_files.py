"""Files as strangers may have left them: only regular ones are opened, and none that is larger than a stated size."""

import os
import stat
from io import BufferedReader
from pathlib import Path


def regular(path: Path, most: int) -> BufferedReader:
    """A regular file, opened for reading.

    A pipe would be waited for without end, and a device would fill the memory.

    Args:
        path: the file, or a link to it.
        most: how many bytes it may have.

    Returns:
        The open file.

    Raises:
        ValueError: if it is something else than a regular file, or larger; the message says which, without the path.
    """
    # A pipe without a writer is opened at once with O_NONBLOCK, and then refused.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise ValueError("it is no regular file")
    if status.st_size > most:
        os.close(descriptor)
        raise ValueError(f"it has {status.st_size:,} bytes, and at most {most:,} are read")
    return os.fdopen(descriptor, "rb")
