"""Reader of the IDX format, in which MNIST and Fashion-MNIST are distributed."""

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from synsim._checks import require
from synsim.data.stored import CHUNK, LARGEST, fill, opened, stranger

TYPES = {8: "unsigned bytes", 9: "signed bytes", 11: "int16", 12: "int32", 13: "float32", 14: "float64"}


def read_idx(path: Path, ndim: int) -> Tensor:
    """Unsigned bytes of an IDX file.

    Args:
        path: the file, plain or compressed by gzip, of at most 1 GiB (`LARGEST`) either way.
        ndim: number of axes expected, 3 for images and 1 for labels.

    Returns:
        uint8 tensor.

    Raises:
        ValueError: if the file is not such a file, its length differs from what its header says, or that is too much.
            What the header says is looked at before anything is unpacked.
    """
    header = 4 + 4 * ndim
    magic = bytes([0, 0, 8, ndim])
    with opened(path) as file:
        head = file.read(header)
        require(
            head[:4] == magic,
            f"{path}: expected an IDX file of unsigned bytes with {ndim} axes (magic {magic.hex()}), "
            f"got {head[:4].hex() or 'an empty file'}. {_other(head)}",
        )
        require(
            len(head) == header,
            f"{path}: expected an IDX header of {header} bytes, got {len(head)} bytes. Fetch it again.",
        )
        shape = np.frombuffer(head, ">u4", offset=4).tolist()
        size = math.prod(shape)
        require(
            header + size <= LARGEST,
            f"{path}: its header speaks of {header + size:,} bytes for shape {shape}, and at most {LARGEST:,} are "
            "read. If it is damaged, fetch it again; if not, keep fewer images in a file.",
        )
        content, got = fill(file, size)
    more = "at least " if got == size + CHUNK else ""
    require(
        got == size,
        f"{path}: expected {header + size} bytes for shape {shape}, got {more}{header + got}. Fetch it again.",
    )
    return torch.from_numpy(content.reshape(shape))


def _other(head: bytes) -> str:
    if not head:
        return "Fetch it again."
    if head[:2] != b"\0\0" or len(head) < 4 or head[2] not in TYPES:
        return stranger(head) or "Is it another file under this name?"
    axes = "1 axis" if head[3] == 1 else f"{head[3]} axes"
    swapped = " Were images and labels exchanged?" if head[2] == 8 else ""
    return f"It is an IDX file of {TYPES[head[2]]} with {axes}.{swapped}"


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
