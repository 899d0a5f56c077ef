"""What a learner of many tasks keeps and gives on: measures of the matrix of accuracies.

A[k, j] is the accuracy on task j after training on tasks 0 … k; T tasks make it [..., T, T], with any leading axes,
such as replicas. All measures are in the unit of A. A failed replica (NaN) gives NaN; tasks that were not tested before
they were trained (NaN above the diagonal) are no obstacle, except to `forward_transfer`.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from synsim._checks import array, require
from synsim._doors import typed

Array = NDArray[np.float64]


@typed
def average_accuracy(accuracy: ArrayLike) -> Array:
    """Mean accuracy over all tasks after the last: mean over k of A[T−1, k].

    Args:
        accuracy: [..., after_task, test_task].

    Returns:
        [...].

    Source:
        ACC of Lopez-Paz & Ranzato 2017, "Gradient episodic memory for continual learning", NIPS.

    Example:
        >>> float(average_accuracy([[0.9, 0.5], [0.7, 0.8]]))
        0.75
    """
    return _mean(_matrix(accuracy)[..., -1, :])


@typed
def learning_accuracy(accuracy: ArrayLike) -> Array:
    """Mean accuracy on each task right after it was trained: mean over k of A[k, k].

    Args:
        accuracy: [..., after_task, test_task].

    Returns:
        [...].

    Source:
        LA of Riemer et al. 2019, "Learning to learn without forgetting by maximizing transfer and minimizing
        interference", ICLR.
    """
    return _mean(_diagonal(_matrix(accuracy)))


@typed
def backward_transfer(accuracy: ArrayLike) -> Array:
    """What later tasks did to earlier ones: mean over k < T−1 of A[T−1, k] − A[k, k]; negative if they harmed.

    Args:
        accuracy: [..., after_task, test_task], at least two tasks.

    Returns:
        [...].

    Source:
        BWT of Lopez-Paz & Ranzato 2017.

    Example:
        >>> print(f"{backward_transfer([[0.9, 0.5], [0.7, 0.8]]):.1f}")
        -0.2
    """
    matrix = _matrix(accuracy, 2)
    return _mean((matrix[..., -1, :] - _diagonal(matrix))[..., :-1])


@typed
def forgetting(accuracy: ArrayLike) -> Array:
    """Loss against the best ever: mean over k < T−1 of max over l < T−1 of A[l, k], minus A[T−1, k].

    Positive if tasks were forgotten; never less than minus the backward transfer, whose reference is A[k, k].

    Args:
        accuracy: [..., after_task, test_task], at least two tasks.

    Returns:
        [...].

    Source:
        F of Chaudhry et al. 2018, "Riemannian walk for incremental learning", ECCV.

    Example:
        >>> print(f"{forgetting([[0.9, 0.5], [0.7, 0.8]]):.1f}")
        0.2
    """
    matrix = _matrix(accuracy, 2)
    earlier = matrix[..., :-1, :-1]
    # Above the diagonal NaN means "not tested"; elsewhere it means "failed", and stays.
    untested = np.triu(np.ones(earlier.shape[-2:], dtype=bool), 1) & np.isnan(earlier)
    best = np.where(untested, -np.inf, earlier).max(-2)
    return _mean(best - matrix[..., -1, :-1])


@typed
def intransigence(accuracy: ArrayLike, joint: ArrayLike) -> Array:
    """Inability to learn what joint training can: mean over k of A*[k] − A[k, k]; negative if earlier tasks helped.

    Args:
        accuracy: [..., after_task, test_task].
        joint: A*, accuracy of networks trained on tasks jointly. With as many axes as `accuracy`, a matrix whose entry
            [k, k] is that on task k after training on tasks 0 … k together (the definition); with fewer, [T] or
            [..., T], that on task k after training on all tasks together.

    Returns:
        [...].

    Raises:
        ValueError: if the shapes do not fit.

    Source:
        I of Chaudhry et al. 2018.
    """
    matrix = _matrix(accuracy)
    reference = array(joint, "joint", flags=False)
    if reference.ndim == matrix.ndim:
        reference = _diagonal(_matrix(reference))
    return _mean(_fitting(reference, matrix, "joint") - _diagonal(matrix))


@typed
def forward_transfer(accuracy: ArrayLike, baseline: ArrayLike) -> Array:
    """What earlier tasks did to later ones before these were trained: mean over k ≥ 1 of A[k−1, k] − b[k].

    Args:
        accuracy: [..., after_task, test_task], at least two tasks, tested before they are trained.
        baseline: b, accuracy on each task of the network at its random start, [T] or [..., T].

    Returns:
        [...].

    Raises:
        ValueError: if the shapes do not fit.

    Source:
        FWT of Lopez-Paz & Ranzato 2017.
    """
    matrix = _matrix(accuracy, 2)
    reference = _fitting(array(baseline, "baseline", flags=False), matrix, "baseline")
    return _mean(np.diagonal(matrix, 1, -2, -1) - reference[..., 1:])


@typed
def measures(
    accuracy: ArrayLike, joint: ArrayLike | None = None, baseline: ArrayLike | None = None
) -> dict[str, Array]:
    """All measures that the data allow.

    Args:
        accuracy: [..., after_task, test_task].
        joint: for `intransigence`, or None.
        baseline: for `forward_transfer`, or None.

    Returns:
        Name of the function -> [...]; with a single task only the two means of accuracies, and `intransigence`.
    """
    found = {"average_accuracy": average_accuracy(accuracy), "learning_accuracy": learning_accuracy(accuracy)}
    several = _matrix(accuracy).shape[-1] > 1
    if several:
        found |= {"backward_transfer": backward_transfer(accuracy), "forgetting": forgetting(accuracy)}
    if joint is not None:
        found["intransigence"] = intransigence(accuracy, joint)
    if baseline is not None and several:
        found["forward_transfer"] = forward_transfer(accuracy, baseline)
    return found


def _matrix(accuracy: ArrayLike, least: int = 1) -> Array:
    matrix = array(accuracy, "accuracy", flags=False)
    square = matrix.ndim >= 2 and matrix.shape[-1] == matrix.shape[-2]
    require(
        square and matrix.shape[-1] >= 1,
        f"expected accuracies [..., after_task, test_task], as many rows as columns, got shape {matrix.shape}. "
        "Test on every task after each.",
    )
    require(matrix.shape[-1] >= least, f"expected at least {least} tasks, got {matrix.shape[-1]}.")
    return matrix


def _diagonal(matrix: Array) -> Array:
    return np.diagonal(matrix, 0, -2, -1)


def _fitting(reference: Array, matrix: Array, what: str) -> Array:
    lead, tasks = matrix.shape[:-2], matrix.shape[-1]
    fits = reference.ndim >= 1 and reference.shape[-1] == tasks and reference.shape[:-1] in ((), lead)
    allowed = f"({tasks},)" if not lead else f"({tasks},) or {(*lead, tasks)}"
    require(fits, f"{what} must hold an accuracy per task, shape {allowed}, got shape {reference.shape}.")
    return reference


def _mean(values: Array) -> Array:
    out: Array = values.mean(-1)
    return out
