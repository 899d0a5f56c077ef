"""A layer's gradient as a product that is not yet carried out, so that it can be multiplied in the cheaper order."""

import torch
from torch import Tensor


class Gradient:
    """G = Eᵀ A [.., O, I], as rows, as a matrix, or both.

    L G R is (E Lᵀ)ᵀ (A R): with N rows 2 N (O² + I² + O I) operations, against 2 (O² I + O I²) for the matrix. For few
    rows the first is several times cheaper.

    Args:
        rows: inputs A [.., N, I] and output gradients E [.., N, O]; None: not known.
        matrix: G; None: not carried out yet.
    """

    def __init__(self, rows: tuple[Tensor, Tensor] | None = None, matrix: Tensor | None = None) -> None:
        assert rows is not None or matrix is not None
        self.rows, self._matrix = rows, matrix

    @property
    def ready(self) -> bool:
        """Whether the matrix was carried out."""
        return self._matrix is not None

    @property
    def matrix(self) -> Tensor:
        """G [.., O, I]."""
        if self._matrix is None:
            assert self.rows is not None
            self._matrix = self.rows[1].mT @ self.rows[0]
        return self._matrix

    def times(self, left: Tensor | None, right: Tensor | None) -> "Gradient":
        """Multiply from both sides.

        Args:
            left: L [.., K, O]; None: the identity.
            right: R [.., I, M]; None: the identity.

        Returns:
            L G R.
        """
        if self.rows is not None and self._by_rows(left, right):
            inputs, errors = self.rows
            inputs = inputs if right is None else inputs @ right
            return Gradient((inputs, errors if left is None else errors @ left.mT))
        found = self.matrix if right is None else self.matrix @ right
        return Gradient(matrix=found if left is None else left @ found)

    def _by_rows(self, left: Tensor | None, right: Tensor | None) -> bool:
        assert self.rows is not None
        count, inputs, outputs = *self.rows[0].shape[-2:], self.rows[1].shape[-1]
        sides = (0 if left is None else outputs * outputs) + (0 if right is None else inputs * inputs)
        whole = (0 if left is None else outputs * outputs * inputs) + (0 if right is None else outputs * inputs**2)
        made = count * outputs * inputs
        return count * sides + made < whole + (0 if self._matrix is not None else made)

    def columns(self, which: slice) -> "Gradient":
        """Some columns, those of the weight or of the bias.

        Args:
            which: of the inputs.

        Returns:
            G [:, which].
        """
        if which == slice(None):
            return self
        rows = None if self.rows is None else (self.rows[0][..., which], self.rows[1])
        return Gradient(rows, None if self._matrix is None else self._matrix[..., which])

    @torch.no_grad()
    def added_to(self, matrix: Tensor, factor: Tensor | float) -> None:
        """Add a multiple to a matrix, in place.

        Args:
            matrix: [.., O, I].
            factor: a number, or what broadcasts with [.., 1, 1].
        """
        if self._matrix is not None or self.rows is None or self.rows[0].dtype != matrix.dtype:
            own, alpha = (self.matrix * factor, 1.0) if isinstance(factor, Tensor) else (self.matrix, factor)
            matrix.add_(own, alpha=alpha)
            return
        inputs, errors = self.rows
        if isinstance(factor, Tensor):
            errors, factor = errors * factor, 1.0
        if matrix.ndim == 2:
            matrix.addmm_(errors.mT, inputs, alpha=factor)
        elif matrix.ndim == 3:
            matrix.baddbmm_(errors.mT, inputs, alpha=factor)
        else:
            matrix.add_(errors.mT @ inputs, alpha=factor)
