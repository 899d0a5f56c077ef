"""Natural gradients where few examples make the Fisher: exact, without a matrix as large as the network.

A Fisher of n examples is F = C Cᵀ, where every column of C is a gradient. Then

    (λ I + C Cᵀ)⁻¹ g = (g − C (λ I + Cᵀ C)⁻¹ Cᵀ g) / λ

needs no more than the Gram matrix Cᵀ C, or, where conjugate gradients solve the system, products with it. For a layer
that multiplies, a column is an outer product e aᵀ of what came in and of the gradient of what went out, and the Gram
matrix is (A Aᵀ) ∘ (E Eᵀ): no gradient per example is ever made. Where a column is a sum over positions, or has a mask,
its entries are made in parts that fit into memory.

Source: Benzing 2022 (thesis), eq. 2.6. The form printed there, with λ⁻² before the product, loses digits at small λ.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from synsim._checks import NotFiniteError
from synsim.descent.conjugate import conjugate
from synsim.descent.gradient import Gradient

PART = 2**26
"""Bytes that gradients per example may take at a time."""
HELD = 3
"""Matrices as large as the Gram matrix that are held at a time: it, what a layer adds or its root, and a copy."""


@dataclass(frozen=True)
class Columns:
    """The part of C that belongs to one matrix: column (k, n) is mask ∘ Σ over positions of e aᵀ.

    Attributes:
        inputs: A, [R, N, P, I] of N examples at P positions, or [1, N, P, I] where all replicas have the same.
        errors: E, [R, K, N, P, O]: K columns per example.
        mask: factors of the strengths in this pass, [R, O, I]; None: all are 1.
    """

    inputs: Tensor
    errors: Tensor
    mask: Tensor | None = None

    @property
    def number(self) -> int:
        """How many columns there are, K · N."""
        return self.errors.shape[1] * self.errors.shape[2]

    def of(self, replicas: slice) -> "Columns":
        """Some of the replicas.

        Args:
            replicas: which.

        Returns:
            Their columns.
        """
        inputs = self.inputs if self.inputs.shape[0] == 1 else self.inputs[replicas]
        return Columns(inputs, self.errors[replicas], None if self.mask is None else self.mask[replicas])

    def gram(self) -> Tensor:
        """Cᵀ C of this part.

        Returns:
            float64 [R, K · N, K · N].
        """
        a, e = self.inputs.double(), self.errors.double()
        replicas, many, examples, positions, _ = e.shape
        if positions > 1 or self.mask is not None:
            return self._in_parts(a, e)
        flat = e.reshape(replicas, many * examples, -1)
        found = flat @ flat.mT
        likeness = a[:, :, 0] @ a[:, :, 0].mT
        found.view(replicas, many, examples, many, examples).mul_(likeness[:, None, :, None, :])
        return found

    def product(self) -> Callable[[Tensor], Tensor]:
        """Products with Cᵀ C of this part, without making it: what it costs grows with N² and N K, not with N² K².

        Returns:
            v, float64 [R, K · N] -> Cᵀ C v, float64 [R, K · N].
        """
        if self.mask is not None or self.errors.shape[3] > 1:
            return lambda weights: self.against(self.combined(weights)).double()
        own, errors = self.inputs[:, :, 0], self.errors[:, :, :, 0]
        likeness = own @ own.mT

        def multiply(weights: Tensor) -> Tensor:
            each = weights.to(errors.dtype).reshape(errors.shape[:3])
            sums = likeness @ torch.einsum("rkno,rkn->rno", errors, each)
            return torch.einsum("rkno,rno->rkn", errors, sums).flatten(1).double()

        return multiply

    def _in_parts(self, a: Tensor, e: Tensor) -> Tensor:
        replicas, _, _, _, outputs = e.shape
        each = replicas * self.number * a.shape[-1] * e.element_size()
        step = max(1, PART // each)
        found = e.new_zeros(replicas, self.number, self.number)
        for start in range(0, outputs, step):
            rows = slice(start, start + step)
            part = torch.einsum("rknpo,rnpi->rknoi", e[..., rows], a.expand(replicas, *a.shape[1:]))
            if self.mask is not None:
                part = part * self.mask.double()[:, None, None, rows]
            flat = part.reshape(replicas, self.number, -1)
            found.baddbmm_(flat, flat.mT)
        return found

    def against(self, gradient: Gradient) -> Tensor:
        """Cᵀ g of this part.

        Args:
            gradient: g, [R, O, I].

        Returns:
            [R, K · N].
        """
        # One product per replica: with an axis of examples torch would make as many copies of what they share.
        own = self.inputs.flatten(1, 2)
        if self.mask is None and gradient.rows is not None and self._by_rows(gradient):
            inputs, errors = gradient.rows
            moved = (own @ inputs.mT) @ errors
        else:
            matrix = gradient.matrix if self.mask is None else gradient.matrix * self.mask
            moved = own @ matrix.mT
        moved = moved.unflatten(1, self.inputs.shape[1:3])
        return torch.einsum("rknpo,rnpo->rkn", self.errors, moved).flatten(1)

    def _by_rows(self, gradient: Gradient) -> bool:
        assert gradient.rows is not None
        count, inputs, outputs = *gradient.rows[0].shape[-2:], gradient.rows[1].shape[-1]
        return not gradient.ready or count * (inputs + outputs) < inputs * outputs

    def combined(self, weights: Tensor) -> Gradient:
        """C v of this part.

        Args:
            weights: v, [R, K · N].

        Returns:
            [R, O, I].
        """
        replicas, many, examples, _, outputs = self.errors.shape
        own = weights.to(self.errors.dtype).reshape(replicas, many, examples)
        errors = torch.einsum("rknpo,rkn->rnpo", self.errors, own).reshape(replicas, -1, outputs)
        inputs = self.inputs.flatten(1, 2).expand(replicas, -1, -1)
        if self.mask is None:
            return Gradient((inputs, errors))
        return Gradient(matrix=(errors.mT @ inputs).mul_(self.mask))


def natural(
    columns: Sequence[Columns],
    gradients: Sequence[Gradient],
    damping: Tensor,
    memory: int | None = None,
    tolerant: bool = False,
    tolerance: float | None = None,
) -> list[Gradient]:
    """(λ I + C Cᵀ)⁻¹ g over all the matrices that are given: one system for all of them together.

    Args:
        columns: C, one part per matrix.
        gradients: g, one [R, O, I] per matrix.
        damping: λ, [R].
        memory: bytes that the Gram matrices of all replicas at a time may take; None: no limit.
        tolerant: whether the moves of a replica without a solution are NaN, in place of an error.
        tolerance: residual, relative to Cᵀ g, down to which conjugate gradients solve the system; None: by Cholesky.

    Returns:
        One [R, O, I] per matrix.

    Raises:
        NotFiniteError: if a Gram matrix is not finite.
    """
    seen = sum(part.against(gradient).double() for part, gradient in zip(columns, gradients, strict=True))
    assert isinstance(seen, Tensor)
    if tolerance is None:
        weights = _by_roots(columns, seen, damping, memory, tolerant)
    else:
        weights = _by_products(columns, seen, damping, tolerance, tolerant)
    return [
        _between(gradient, part.combined(weights), damping) for part, gradient in zip(columns, gradients, strict=True)
    ]


def _by_roots(columns: Sequence[Columns], seen: Tensor, damping: Tensor, memory: int | None, tolerant: bool) -> Tensor:
    replicas = len(damping)
    step = replicas if memory is None else max(1, memory // bytes_of(columns[0].number))
    weights = torch.empty_like(seen)
    for start in range(0, replicas, step):
        some = slice(start, start + step)
        gram = columns[0].of(some).gram()
        for part in columns[1:]:
            gram += part.of(some).gram()
        weights[some] = solved(gram, damping[some].to(gram), seen[some], start, tolerant)
    return weights


def _by_products(columns: Sequence[Columns], seen: Tensor, damping: Tensor, tolerance: float, tolerant: bool) -> Tensor:
    products = [part.product() for part in columns]

    def multiply(weights: Tensor) -> Tensor:
        return sum((product(weights) for product in products), damping.to(weights)[:, None] * weights)

    weights = conjugate(multiply, seen, tolerance)
    bad = (~weights.isfinite().all(1)).nonzero().flatten().tolist()
    if bad and not tolerant:
        raise NotFiniteError(
            f"conjugate gradients found no finite solution for replicas {bad}. The network may have diverged: use a "
            "smaller lr or a larger damping.",
            bad,
        )
    return weights


def bytes_of(number: int) -> int:
    """Memory that a natural gradient of so many columns takes, for one replica.

    Args:
        number: of columns.

    Returns:
        Bytes.
    """
    return HELD * 8 * number**2


def _between(gradient: Gradient, explained: Gradient, damping: Tensor) -> Gradient:
    # (g − C v) / λ, as rows where neither was carried out.
    if gradient.rows is not None and explained.rows is not None and not gradient.ready:
        (a, e), (b, f) = gradient.rows, explained.rows
        scale = damping.to(e)[:, None, None]
        return Gradient((torch.cat([a, b], 1), torch.cat([e, -f], 1) / scale))
    scale = damping.to(gradient.matrix)[:, None, None]
    if explained.rows is None:
        return Gradient(matrix=(gradient.matrix - explained.matrix) / scale)
    inputs, errors = explained.rows
    return Gradient(matrix=torch.baddbmm(gradient.matrix, errors.mT, inputs, alpha=-1).div_(scale))


def solved(gram: Tensor, damping: Tensor, right: Tensor, first: int = 0, tolerant: bool = False) -> Tensor:
    """(λ I + K)⁻¹ b by Cholesky, one replica at a time; K is overwritten.

    Args:
        gram: K, float64 [R, n, n].
        damping: λ, float64 [R].
        right: b, float64 [R, n].
        first: index of the first of these replicas, for messages.
        tolerant: whether replicas without a solution get NaN, in place of an error.

    Returns:
        float64 [R, n].

    Raises:
        NotFiniteError: if λ I + K is not positive definite, to the precision of float64.
    """
    gram.diagonal(dim1=-2, dim2=-1).add_(damping[:, None])
    found, bad = torch.empty_like(right), list[int]()
    # One after the other, so that one root is held and not R.
    for replica, matrix in enumerate(gram):
        root, failed = torch.linalg.cholesky_ex(matrix)
        if int(failed):
            bad.append(replica)
            found[replica] = torch.nan
        else:
            found[replica] = torch.cholesky_solve(right[replica, :, None], root)[:, 0]
    if bad and not tolerant:
        where, shown = [first + replica for replica in bad], [float(damping[replica]) for replica in bad]
        raise NotFiniteError(
            f"the damped Gram matrix of replicas {where} is not positive definite in float64 with the damping {shown}, "
            f"where its largest entries are {[float(gram[replica].max()) for replica in bad]}. The network may have "
            "diverged, or the damping is lost beside them: use a larger one.",
            where,
        )
    return found
