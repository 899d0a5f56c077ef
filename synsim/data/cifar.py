"""Reader of the binary CIFAR-10 format."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from synsim._checks import require

RECORD = 1 + 3 * 32 * 32


def read_cifar(path: Path, classes: int = 10) -> tuple[Tensor, Tensor]:
    """Images and labels of one file.

    Args:
        path: a `.bin` file: records of one label and 3,072 pixels, channel by channel.
        classes: how many classes there are.

    Returns:
        uint8 images [N, 3, 32, 32] and labels [N].

    Raises:
        ValueError: if the file is empty, cut short, or holds a label out of range.
    """
    content = path.read_bytes()
    require(
        len(content) > 0 and len(content) % RECORD == 0,
        f"{path}: expected records of {RECORD} bytes, got {len(content)} bytes: "
        f"{len(content) // RECORD} records and {len(content) % RECORD} bytes. Fetch it again.",
    )
    rows = torch.from_numpy(np.frombuffer(content, np.uint8).reshape(-1, RECORD).copy())
    highest = int(rows[:, 0].max())
    require(
        highest < classes,
        f"{path}: expected labels from 0 to {classes - 1}, got {highest}. Is it a CIFAR-10 file?",
    )
    return rows[:, 1:].reshape(-1, 3, 32, 32).contiguous(), rows[:, 0].contiguous()
