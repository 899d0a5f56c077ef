"""What is looked at before arrays enter a kernel: kernels walk memory without asking how long it is."""

from collections.abc import Sequence
from typing import NoReturn

import numpy as np
import torch
from torch import Tensor

from synsim.kernels.compiling import Later
from synsim.kernels.constants import LEAST_PROBABILITY, NAMES, Constants
from synsim.kernels.dispatch import path

cpu = Later("synsim.kernels.cpu")
LAST = 2**32 - 1
"""Largest number of a draw, an example or a block: counters have 32 bits."""
_BITS: dict[torch.dtype, type[np.signedinteger]] = {torch.float32: np.int32, torch.float64: np.int64}

Views = tuple[np.ndarray, np.ndarray, np.ndarray]


class Arrays:
    """NumPy views of a layer's strengths and probabilities, [R, n], made and checked again when the tensors moved.

    The views keep the memory alive, so its address can't pass to another tensor while they are kept. Copies and
    pickles start without any: their tensors lie elsewhere.
    """

    __slots__ = ("_kept", "_seen")

    def __init__(self) -> None:
        self._kept: tuple[tuple[object, ...], Views] | None = None
        self._seen: tuple[object, ...] | None = None

    def __reduce__(self) -> tuple[type["Arrays"], tuple[()]]:
        return Arrays, ()

    def of(self, weight: Tensor, p: Tensor, replicas: int) -> Views:
        """The views.

        Args:
            weight: expected strengths on the CPU, contiguous.
            p: release probabilities like `weight`, contiguous.
            replicas: R.

        Returns:
            Views of both, [R, n], and of the bits of p as integers.
        """
        # One look at the table and one write to it: two threads may use one layer.
        key, kept = _place(weight, p, replicas), self._kept
        if kept is None or kept[0] != key:
            layer(weight, p, replicas)
            w, q = (t.detach().numpy().reshape(replicas, -1) for t in (weight, p))
            kept = self._kept = key, (w, q, q.view(_BITS[p.dtype]))
        return kept[1]

    def look(self, weight: Tensor, p: Tensor, replicas: int) -> None:
        """Refuse probabilities out of bounds where no fused loop looks at them on its way.

        On a CPU they are looked at every time; elsewhere, where a look would wait for the device, when they moved.

        Args:
            weight: expected strengths.
            p: release probabilities like `weight`.
            replicas: R.
        """
        if p.is_cpu:
            probabilities(p)
            return
        key = _place(weight, p, replicas)
        if self._seen != key:
            probabilities(p)
            self._seen = key


def _place(weight: Tensor, p: Tensor, replicas: int) -> tuple[object, ...]:
    return weight.data_ptr(), p.data_ptr(), weight.numel(), p.numel(), weight.dtype, p.dtype, replicas


def refuse(what: str, expected: Sequence[int], *got: Sequence[int]) -> NoReturn:
    """Refuse tensors of a wrong shape.

    Args:
        what: which tensors they are.
        expected: the shape that they should have.
        *got: the shapes that they have.

    Raises:
        ValueError: always.
    """
    shapes = " and ".join(str(list(shape)) for shape in got)
    raise ValueError(f"{what} must have the shape {list(expected)}, got {shapes}.")


def layer(weight: Tensor, p: Tensor, replicas: int) -> None:
    """Refuse probabilities that do not fit the strengths.

    Args:
        weight: expected strengths.
        p: release probabilities.
        replicas: R.

    Raises:
        ValueError: if shape, type, device or the number of replicas do not fit.
    """
    if p.shape != weight.shape:
        raise ValueError(
            f"p must hold one release probability per synapse, shape {list(weight.shape)} like the weight, got "
            f"{list(p.shape)}. Set it in place (layer.p.fill_(0.5)), or change weight and p together."
        )
    if p.dtype != weight.dtype or p.device != weight.device:
        raise ValueError(
            f"p must be {weight.dtype} on {weight.device} like the weight, got {p.dtype} on {p.device}. Move and "
            "convert layers as a whole: layer.to(...)."
        )
    if replicas < 1 or weight.numel() % replicas or (replicas > 1 and weight.shape[0] != replicas):
        raise ValueError(f"expected {replicas} replicas, so a weight [{replicas}, ...], got {list(weight.shape)}.")


def probabilities(p: Tensor) -> None:
    """Refuse release probabilities out of bounds.

    Args:
        p: release probabilities.

    Raises:
        ValueError: if one is NaN, above 1 or below `LEAST_PROBABILITY`.
    """
    if p.is_meta or not p.numel():
        return
    if path(p) == "numba":
        right = bool(cpu.lawful(p.detach().numpy().reshape(-1).view(_BITS[p.dtype])))
    else:
        right = bool(((p >= LEAST_PROBABILITY) & (p <= 1)).all())
    if not right:
        raise ValueError(
            f"p must lie between 2⁻¹² = {LEAST_PROBABILITY:.3g} and 1, got values from {float(p.min()):.3g} to "
            f"{float(p.max()):.3g}. Sixteen bits decide on a release: a smaller p would be off by more than 1 / 16. "
            "Keep p in bounds (p_min of the rule), or take a synapse out by a weight of 0."
        )


def address(example: int, draw: int) -> None:
    """Refuse numbers that the counters of the generator can't hold.

    Args:
        example: index of an example or block.
        draw: number of a draw.

    Raises:
        ValueError: if one is negative or has more than 32 bits.
    """
    if not (0 <= draw <= LAST and 0 <= example <= LAST):
        raise ValueError(f"draws and examples must be numbers from 0 to 2**32 - 1, got {draw} and {example}.")


def learning(weight: Tensor, p: Tensor, gradient: Tensor, penalty: Tensor | None, constants: Constants) -> None:
    """Refuse what a learning step can't take.

    Args:
        weight: expected strengths.
        p: the probabilities that move.
        gradient: of the task's loss.
        penalty: gradient of a penalty, or None.
        constants: of the rule.

    Raises:
        ValueError: if shapes or types do not fit.
    """
    shape = weight.shape
    if not (shape == p.shape == gradient.shape and (penalty is None or penalty.shape == shape)):
        others = (p, gradient) if penalty is None else (p, gradient, penalty)
        refuse("probabilities, gradient and penalty", shape, *(other.shape for other in others))
    if gradient.dtype != weight.dtype or p.dtype != weight.dtype:
        raise ValueError(f"p and gradient must be {weight.dtype} like the weight, got {p.dtype} and {gradient.dtype}.")
    rows, replicas = constants.table.shape
    if rows != len(NAMES) or (replicas > 1 and shape[0] != replicas) or constants.table.dtype != torch.float64:
        raise ValueError(
            f"constants must be a float64 table [{len(NAMES)}, R] with one column per replica of {list(shape)}, got "
            f"{constants.table.dtype} [{rows}, {replicas}]."
        )


def samples(x: Tensor, weight: Tensor, p: Tensor, gradient: Tensor | None = None) -> None:
    """Refuse what a product with one mask per example can't take.

    Args:
        x: inputs [B, I].
        weight: expected strengths [O, I].
        p: release probabilities [O, I].
        gradient: gradient of the result [B, O], or None.

    Raises:
        ValueError: if shapes or types do not fit.
    """
    layer(weight, p, 1)
    if weight.ndim != 2 or x.ndim != 2 or x.shape[1] != weight.shape[1]:
        refuse("inputs [B, I] of a weight [O, I]", (*x.shape[:1], *weight.shape[1:]), x.shape)
    tensors = (x, weight) if gradient is None else (x, weight, gradient)
    if gradient is not None and gradient.shape != (x.shape[0], weight.shape[0]):
        refuse("the gradient of the outputs", (x.shape[0], weight.shape[0]), gradient.shape)
    if any(one.dtype != weight.dtype or not one.is_cpu for one in tensors):
        raise ValueError(
            f"inputs, weight and gradients must be {weight.dtype} on the CPU, got "
            + ", ".join(f"{one.dtype} on {one.device}" for one in tensors)
            + "."
        )
