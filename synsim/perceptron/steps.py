"""Patterns, activations and steps as pure functions."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from synsim import streams
from synsim._checks import available_device, constant, require, whole
from synsim._doors import shown, typed
from synsim.perceptron import equations
from synsim.perceptron.refusals import (
    DTYPES,
    is_odd,
    require_labels,
    require_patterns,
    require_probabilities,
    require_room,
    require_state,
)

INPUTS, PATTERNS = 1000, 100


@typed
def patterns(
    seeds: Sequence[int],
    task: int,
    count: int = PATTERNS,
    inputs: int = INPUTS,
    device: torch.device | str | None = None,
) -> tuple[Tensor, Tensor]:
    """Random patterns and labels of one task, a pure function of seed and task.

    Args:
        seeds: R seeds.
        task: index of the task.
        count: patterns.
        inputs: synapses N.
        device: where they go.

    Returns:
        Patterns, int8 [R, count, inputs], and labels, int8 [R, count]; each entry −1 or +1 with equal probability.

    Raises:
        ValueError: if there is no seed, or the patterns are too many for a memory.
    """
    count, inputs = whole(count, "count"), whole(inputs, "inputs")
    require_room(seeds, count * inputs, "patterns")
    keys = streams.keys("init", seeds, f"perceptron/task/{whole(task, 'task', 0)}")
    x = _signs(keys, count * inputs, 0).reshape(len(seeds), count, inputs)
    return x.to(available_device(device)), _signs(keys, count, 1).to(available_device(device))


def _signs(keys: Tensor, count: int, draw: int) -> Tensor:
    words = streams.integers(keys, -(-count // 32), draw)
    bits = (words[:, :, None] >> torch.arange(32, device="cpu")) & 1
    return (2 * bits.to(torch.int8) - 1).reshape(keys.shape[0], -1)[:, :count]


@typed
def activation(x: Tensor, strength: Tensor) -> Tensor:
    """Summed input of the output neuron, Σ_i x_i · strength_i (eq. 4.11).

    Args:
        x: patterns [R, B, N], with or without a mask.
        strength: strengths when released [R, N]: w, or w̄ / p.

    Returns:
        [R, B].

    Raises:
        ValueError: if the shapes do not fit.
    """
    require_patterns(x, strength=strength)
    return equations.activation(x, strength)


@typed
def direction(x: Tensor, y: Tensor, strength: Tensor) -> Tensor:
    """Direction u of the update: the mean over patterns of (label − prediction) · x.

    The prediction is +1 where the activation is ≥ 0, else −1, so that an error is ±2.

    Args:
        x: patterns [R, B, N]; for the presynaptic model x ∘ r, with a release r per pattern.
        y: labels [R, B], −1 or +1.
        strength: strengths when released [R, N]: w, or w̄ / p.

    Returns:
        [R, N].

    Raises:
        ValueError: if the shapes do not fit, or a label is neither −1 nor +1.
    """
    require_patterns(x, strength=strength)
    require_labels(x, y)
    return equations.direction(x, y, strength)


@typed
def standard_step(weight: Tensor, u: Tensor) -> Tensor:
    """The perceptron rule with learning rate 1: w ← w + u.

    Args:
        weight: strengths w [R, N].
        u: from `direction`, [R, N].

    Returns:
        The new strengths.

    Raises:
        ValueError: if the shapes do not fit.
    """
    require_state(weight=weight, u=u)
    return weight + u


@typed
def presynaptic_step(
    weight: Tensor,
    p: Tensor,
    frozen: Tensor,
    u: Tensor,
    *,
    p_up: float | Tensor = 0.2,
    p_down: float | Tensor = 0.2,
    g_lim: float | Tensor = 0.1,
    p_min: float | Tensor = 0.25,
    p_freeze: float | Tensor = 0.9,
) -> tuple[Tensor, Tensor, Tensor]:
    """The presynaptic rule, learning rate 1; all of it with the old p and the old state of freezing.

    w̄ ← w̄ + (1 − p) u, and p ← clip(p + (1 − p) Δ, p_min, p_freeze) with Δ = p_up where abs(u) > g_lim, else −p_down,
    and Δ = 0 where frozen. Then a synapse with p ≥ p_freeze is frozen for good: its p, not its strength.

    Args:
        weight: expected strengths w̄ [R, N].
        p: release probabilities [R, N].
        frozen: bool [R, N].
        u: from `direction` with masked patterns, [R, N].
        p_up: step up. This and the other constants are numbers or [R, 1].
        p_down: step down.
        g_lim: size of u above which p grows. With batches of 5, u is a multiple of 0.4, so 0.1 means any update at all.
        p_min: lower bound of p.
        p_freeze: upper bound of p, at which it is frozen.

    Returns:
        The new w̄, p and frozen.

    Raises:
        ValueError: if the shapes do not fit, or a probability or constant is out of its bounds.
    """
    require_state(weight=weight, p=p, u=u, frozen=frozen)
    require_probabilities(p)
    for value, name in ((p_up, "p_up"), (p_down, "p_down"), (p_min, "p_min"), (p_freeze, "p_freeze"), (g_lim, "g_lim")):
        single = value[:, 0] if isinstance(value, Tensor) and value.ndim == 2 and value.shape[1] == 1 else value
        constant(single, name, p.shape[0], high=math.inf if name == "g_lim" else 1.0)
    constants = {"p_up": p_up, "p_down": p_down, "g_lim": g_lim, "p_min": p_min, "p_freeze": p_freeze}
    return equations.presynaptic_step(weight, p, frozen, u, constants)


@typed
def released(x: Tensor, p: Tensor, keys: Tensor, words: np.ndarray, *, example: int = 0, draw: int = 0) -> Tensor:
    """Patterns as the synapses transmit them, x ∘ r with one mask r ~ Bernoulli(p) per pattern.

    The mask of synapse n and pattern b is that of synapse b · N + n in `synsim.streams.release_bits`.

    Args:
        x: patterns [R, B, N].
        p: release probabilities [R, N].
        keys: int64 [R, 2] on the device of x.
        words: the same keys as uint32 NumPy array.
        example: block of patterns.
        draw: number of the draw.

    Returns:
        [R, B, N], of the type of p.

    Raises:
        ValueError: if the shapes do not fit, a p lies outside [0, 1], or the words are not those of the keys.
    """
    require_patterns(x, p=p)
    require(p.dtype in DTYPES and p.device == x.device, f"p must hold floats beside the patterns, got {shown(p)}.")
    require_probabilities(p)
    right = keys.dtype == torch.int64 and list(keys.shape) == [x.shape[0], 2]
    require(right, f"keys must be int64 [{x.shape[0]}, 2], as synsim.streams.keys returns them, got {shown(keys)}.")
    require(
        words.dtype == np.uint32 and np.array_equal(words, keys.cpu().numpy()),
        f"words must hold the keys as uint32, keys.cpu().numpy().astype(numpy.uint32), got {shown(words)}.",
    )
    return equations.released(x, p, keys, words, example=whole(example, "example", 0), draw=whole(draw, "draw", 0))


@typed
def majority(votes: Tensor, y: Tensor) -> Tensor:
    """Whether most passes are right; a tie counts as wrong.

    Args:
        votes: signs of the activations [samples, R, B], −1, 0 or +1.
        y: labels [R, B], −1 or +1.

    Returns:
        bool [R, B].

    Raises:
        ValueError: if the shapes do not fit, or a label is neither −1 nor +1.
    """
    fits = votes.ndim == 3 and votes.shape[0] > 0 and votes.shape[1:] == y.shape and not is_odd(votes)
    require(fits, f"votes must be real numbers [samples, {', '.join(map(str, y.shape))}], got {shown(votes)}.")
    require_labels(votes[0].unsqueeze(-1), y)
    return equations.majority(votes, y)
