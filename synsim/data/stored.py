"""Data files as they are stored, plain or packed by gzip: regular files only, read up to a stated size."""

import gzip
import hashlib
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from synsim._checks import require
from synsim._files import regular

LARGEST = 2**30
"""Bytes of a data file that are read at most, packed or unpacked: 1 GiB."""

GZIP = b"\x1f\x8b"
CHUNK = 2**20

STRANGERS = {
    GZIP: "It is packed by gzip once more: unpack it.",
    b"PK\3\4": "It is a zip archive: unpack it.",
    b"\x93NUMPY": "It is an array of NumPy.",
    b"\x89HDF": "It is an HDF5 file.",
    b"\x80": "It is a pickle of Python, which is not read, since it could run code.",
    b"version ": "It is a pointer of Git LFS: get the file itself by git lfs pull.",
    b"<": "It is a web page, such as one that asks for a login: fetch the file again.",
}
"""What files that are none of data begin with."""


@contextmanager
def opened(path: Path, most: int = LARGEST, *, packed: bool = True) -> Iterator[BufferedIOBase]:
    """A data file to read from, decompressed on the way if it is a gzip file.

    The first bytes decide, not the name: browsers and some servers unpack a file and leave it its .gz.

    Args:
        path: the file.
        most: bytes that it may have on the disk; how many it unpacks to is for the reader to watch.
        packed: whether to decompress.

    Yields:
        The stream.

    Raises:
        ValueError: if it is no regular file or larger, the compressed stream is cut short or damaged, or the content
            does not fit into the memory.
    """
    try:
        file = regular(path, most)
    except ValueError as error:
        raise ValueError(f"{path}: expected a regular file of at most {most:,} bytes, but {error}.") from None
    with file:
        try:
            yield gzip.GzipFile(fileobj=file) if packed and file.peek(2)[:2] == GZIP else file
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(
                f"{path}: expected a whole gzip file, got a damaged one ({error}). Fetch it again."
            ) from error
        except MemoryError as error:
            raise ValueError(f"{path}: its content does not fit into the memory of this machine.") from error


def fill(file: BufferedIOBase, size: int) -> tuple[NDArray[np.uint8], int]:
    """The next bytes of a stream, and whether there are as many.

    Args:
        file: the stream.
        size: how many bytes are wanted.

    Returns:
        The bytes, [size] or fewer; and how many there were, looking one chunk beyond those wanted.
    """
    # No more memory than there really is content, whatever size was wanted.
    content = bytearray()
    while chunk := file.read(min(CHUNK, size - len(content))):
        content += chunk
    return np.frombuffer(content, np.uint8), len(content) + len(file.read(CHUNK))


def digest(path: Path, most: int) -> str:
    """SHA-256 of the content of a data file, which stays the same however it was packed.

    Args:
        path: the file.
        most: bytes that it may have, packed and unpacked.

    Returns:
        64 hexadecimal digits.

    Raises:
        ValueError: if it is damaged, or has more bytes.
    """
    found, size = hashlib.sha256(), 0
    with opened(path, most) as file:
        while chunk := file.read(CHUNK):
            size += len(chunk)
            require(size <= most, f"{path}: expected at most {most:,} bytes, but it unpacks to more.")
            found.update(chunk)
    return found.hexdigest()


def stranger(head: bytes) -> str:
    """What a file is that is none of those expected.

    Args:
        head: its first bytes.

    Returns:
        A sentence; empty if they don't tell.
    """
    shown = head.lstrip(b"\xef\xbb\xbf \r\n")
    return next((what for begin, what in STRANGERS.items() if shown.startswith(begin)), "")
