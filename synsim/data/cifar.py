"""Reader of the binary CIFAR-10 format."""

import os
from pathlib import Path

import torch
from torch import Tensor

from synsim._checks import require
from synsim.data.stored import fill, opened, stranger

RECORD = 1 + 3 * 32 * 32


def read_cifar(path: Path, classes: int = 10) -> tuple[Tensor, Tensor]:
    """Images and labels of one file.

    Args:
        path: a `.bin` file: records of one label and 3,072 pixels, channel by channel; of at most 1 GiB (`LARGEST`).
        classes: how many classes there are.

    Returns:
        uint8 images [N, 3, 32, 32] and labels [N].

    Raises:
        ValueError: if the file is empty, cut short, too large, no regular file, or holds a label out of range.
    """
    with opened(path, packed=False) as file:
        size = os.fstat(file.fileno()).st_size
        content, got = fill(file, size)
    strange = stranger(content[:64].tobytes())
    require(
        size == got > 0 and size % RECORD == 0,
        f"{path}: expected records of {RECORD} bytes, got {got} bytes: "
        f"{got // RECORD} records and {got % RECORD} bytes. {strange or 'Fetch it again.'}",
    )
    rows = torch.from_numpy(content.reshape(-1, RECORD))
    highest = int(rows[:, 0].max())
    require(
        highest < classes,
        f"{path}: expected labels from 0 to {classes - 1}, got {highest}. {strange or 'Is it a CIFAR-10 file?'}",
    )
    return rows[:, 1:].reshape(-1, 3, 32, 32).contiguous(), rows[:, 0].contiguous()
