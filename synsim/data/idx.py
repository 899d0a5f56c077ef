"""Reader of the IDX format, in which MNIST and Fashion-MNIST are distributed."""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from synsim._checks import require

GZIP = b"\x1f\x8b"


def read_bytes(path: Path) -> bytes:
    """Content of a file, decompressed if it is a gzip file.

    The first bytes decide, not the name: browsers and some servers unpack a file and leave it its .gz.

    Args:
        path: the file.

    Returns:
        Its content.

    Raises:
        ValueError: if the compressed stream is cut short or damaged.
    """
    content = path.read_bytes()
    if not content.startswith(GZIP):
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path}: expected a whole gzip file, got a damaged one ({error}). Fetch it again.") from error


def read_idx(path: Path, ndim: int) -> Tensor:
    """Unsigned bytes of an IDX file.

    Args:
        path: the file, plain or compressed by gzip.
        ndim: number of axes expected, 3 for images and 1 for labels.

    Returns:
        uint8 tensor.

    Raises:
        ValueError: if the file is not such a file, or its length differs from what its header says.
    """
    content = read_bytes(path)
    header = 4 + 4 * ndim
    magic = bytes([0, 0, 8, ndim])
    require(
        content[:4] == magic,
        f"{path}: expected an IDX file of unsigned bytes with {ndim} axes (magic {magic.hex()}), "
        f"got {content[:4].hex() or 'an empty file'}. Is it another file under this name?",
    )
    require(
        len(content) >= header,
        f"{path}: expected an IDX header of {header} bytes, got {len(content)} bytes. Fetch it again.",
    )
    shape = np.frombuffer(content, ">u4", count=ndim, offset=4).tolist()
    expected = header + math.prod(shape)
    require(
        len(content) == expected,
        f"{path}: expected {expected} bytes for shape {shape}, got {len(content)}. Fetch it again.",
    )
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=header).reshape(shape).copy())


def read_pair(images: Path, labels: Path, classes: int) -> tuple[Tensor, Tensor]:
    """Images with their labels, of two IDX files.

    Args:
        images: IDX file with 3 axes.
        labels: IDX file with 1 axis.
        classes: how many classes there are.

    Returns:
        uint8 images [N, H, W] and labels [N].

    Raises:
        ValueError: if a file is damaged or empty, the lengths differ, or a label is out of range.
    """
    x, y = read_idx(images, 3), read_idx(labels, 1)
    require(x.numel() > 0, f"{images}: expected at least one image, got shape {list(x.shape)}. Fetch it again.")
    require(
        len(x) == len(y),
        f"{labels}: expected one label for each of the {len(x)} images in {images.name}, got {len(y)}. "
        "Take both from the same data set.",
    )
    require(
        int(y.max()) < classes,
        f"{labels}: expected labels from 0 to {classes - 1}, got {int(y.max())}. Is it another data set's file?",
    )
    return x, y
