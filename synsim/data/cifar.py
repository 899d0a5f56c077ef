"""Reader of the binary CIFAR-10 format."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

RECORD = 1 + 3 * 32 * 32


def read_cifar(path: Path) -> tuple[Tensor, Tensor]:
    """Images and labels of one file.

    Args:
        path: a `.bin` file: records of one label and 3,072 pixels, channel by channel.

    Returns:
        uint8 images [N, 3, 32, 32] and labels [N].

    Raises:
        ValueError: if the file is empty, cut short, or holds a label above 9.
    """
    content = path.read_bytes()
    if not content or len(content) % RECORD:
        raise ValueError(f"{path}: expected a multiple of {RECORD} bytes, got {len(content)}. Fetch it again.")
    rows = torch.from_numpy(np.frombuffer(content, np.uint8).reshape(-1, RECORD).copy())
    if int(rows[:, 0].max()) > 9:
        raise ValueError(f"{path}: expected labels from 0 to 9, got {int(rows[:, 0].max())}. Is it a CIFAR-10 file?")
    return rows[:, 1:].reshape(-1, 3, 32, 32).contiguous(), rows[:, 0].contiguous()
