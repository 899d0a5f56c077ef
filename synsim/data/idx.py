"""Reader of the IDX format, in which MNIST and Fashion-MNIST are distributed."""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


def read_bytes(path: Path) -> bytes:
    """Content of a file, decompressed if its name ends in .gz.

    Args:
        path: the file.

    Returns:
        Its content.

    Raises:
        ValueError: if the compressed stream is cut short or damaged.
    """
    if path.suffix != ".gz":
        return path.read_bytes()
    try:
        with gzip.open(path) as file:
            return file.read()
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path}: expected a whole gzip file, got a damaged one ({error}). Fetch it again.") from error


def read_idx(path: Path, ndim: int) -> Tensor:
    """Unsigned bytes of an IDX file.

    Args:
        path: the file, plain or with .gz.
        ndim: number of axes expected, 3 for images and 1 for labels.

    Returns:
        uint8 tensor.

    Raises:
        ValueError: if the file is not such a file, or its length differs from what its header says.
    """
    content = read_bytes(path)
    header = 4 + 4 * ndim
    magic = bytes([0, 0, 8, ndim])
    if content[:4] != magic or len(content) < header:
        raise ValueError(
            f"{path}: expected an IDX file of unsigned bytes with {ndim} axes (magic {magic.hex()}), "
            f"got {content[:4].hex() or 'an empty file'}."
        )
    shape = [int.from_bytes(content[4 + 4 * k : 8 + 4 * k], "big") for k in range(ndim)]
    if len(content) != header + math.prod(shape):
        raise ValueError(
            f"{path}: expected {header + math.prod(shape)} bytes for shape {shape}, got {len(content)}. Fetch it again."
        )
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=header).reshape(shape).copy())
