"""Which implementation serves the tensors at hand: compiled loops on the CPU, Triton on CUDA, or plain torch.

Whoever has more than one implementation asks here. Plain torch serves everything, and says what the others mean.
"""

from functools import cache

import torch
from torch import Tensor

TYPES = (torch.float32, torch.float64)
"""Floating-point types of the fused kernels."""


@cache
def _has_triton() -> bool:
    try:
        import synsim.kernels.gpu  # noqa: F401
    except ImportError:
        return False
    return True


def path(tensor: Tensor, *others: Tensor) -> str:
    """Which implementation serves tensors as they lie in memory.

    Args:
        tensor: a weight.
        others: what goes with it; on the same device.

    Returns:
        "numba", "triton" or "torch".
    """
    if tensor.dtype not in TYPES or not tensor.is_contiguous():
        return "torch"
    for other in others:
        if other.dtype != tensor.dtype or not other.is_contiguous():
            return "torch"
    if tensor.is_cpu:
        return "numba"
    return "triton" if tensor.is_cuda and _has_triton() else "torch"


def compiled(tensor: Tensor, dtype: torch.dtype | None = None) -> bool:
    """Whether loops that are compiled for the CPU alone serve a tensor, once it is contiguous.

    Args:
        tensor: what they work on.
        dtype: of the numbers that they give; None: that of the tensor.

    Returns:
        True or False.
    """
    return tensor.is_cpu and (tensor.dtype if dtype is None else dtype) in TYPES
