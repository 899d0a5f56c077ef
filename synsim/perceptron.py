"""The lifelong perceptron: one output neuron that memorises random patterns, task after task, without gradients.

Source: Schug, Benzing & Steger 2021, §4.6.3 and Fig. 4.5b, c, in the form of the published code, which departs from the
rule of the networks (`synsim.rules`): each pattern has a mask of its own, the update carries the mask but is not
divided by p, the strength step has a factor (1 − p) as well as the p-step, and p is clipped to p_freeze.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from synsim import kernels, streams
from synsim._checks import Number, available_device, constant, require, times, whole
from synsim._doors import shown, typed

MODELS = ("standard", "presynaptic")
DTYPES = (torch.float32, torch.float64)
INPUTS, PATTERNS = 1000, 100
BLOCK = 10
"""Patterns of an evaluation that are drawn at once. It is part of the address of a mask: another one gives others."""
LARGEST = 2**30
"""Entries of the patterns of a task, or of a state, over all seeds: what a machine's memory holds several times."""


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
    _require_room(seeds, count * inputs, "patterns")
    keys = streams.keys("init", seeds, f"perceptron/task/{whole(task, 'task', 0)}")
    x = _signs(keys, count * inputs, 0).reshape(len(seeds), count, inputs)
    return x.to(available_device(device)), _signs(keys, count, 1).to(available_device(device))


def _require_room(seeds: Sequence[int], each: int, what: str) -> None:
    require(len(seeds) > 0, "expected at least one seed, got none.")
    require(
        len(seeds) * each <= LARGEST,
        f"{what} may have {LARGEST:,} entries over all seeds, got {len(seeds)} × {each:,}. Take fewer.",
    )


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
    _require_patterns(x, strength=strength)
    return _activation(x, strength)


def _activation(x: Tensor, strength: Tensor) -> Tensor:
    # Not a matrix product, whose order of summation depends on the number of replicas.
    return (x * strength.unsqueeze(1)).sum(-1)


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
    _require_patterns(x, strength=strength)
    _require_labels(x, y)
    return _direction(x, y, strength)


def _direction(x: Tensor, y: Tensor, strength: Tensor) -> Tensor:
    label = y.to(x.dtype)
    error = label - torch.where(_activation(x, strength) >= 0, torch.ones_like(label), -torch.ones_like(label))
    # Sums of whole numbers: exact in any order of a matrix product.
    return torch.bmm(error.unsqueeze(1), x).squeeze(1) / x.shape[1]


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
    _require_state(weight=weight, u=u)
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
    _require_state(weight=weight, p=p, u=u, frozen=frozen)
    _require_probabilities(p)
    for value, name in ((p_up, "p_up"), (p_down, "p_down"), (p_min, "p_min"), (p_freeze, "p_freeze"), (g_lim, "g_lim")):
        single = value[:, 0] if isinstance(value, Tensor) and value.ndim == 2 and value.shape[1] == 1 else value
        constant(single, name, p.shape[0], high=math.inf if name == "g_lim" else 1.0)
    constants = {"p_up": p_up, "p_down": p_down, "g_lim": g_lim, "p_min": p_min, "p_freeze": p_freeze}
    return _presynaptic_step(weight, p, frozen, u, constants)


def _presynaptic_step(
    weight: Tensor,
    p: Tensor,
    frozen: Tensor,
    u: Tensor,
    constants: Mapping[str, float | Tensor],
) -> tuple[Tensor, Tensor, Tensor]:
    names = ("p_up", "p_down", "p_min", "p_freeze", "g_lim")
    up, down, low, high, limit = (torch.as_tensor(constants[name], dtype=p.dtype, device=p.device) for name in names)
    room = 1 - p
    step = torch.where(u.abs() > limit, up, -down) * room
    moved = p + torch.where(frozen, torch.zeros_like(step), step)
    moved = torch.minimum(torch.maximum(moved, low), high)
    return weight + u * room, moved, frozen | (moved >= high)


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
    _require_patterns(x, p=p)
    require(p.dtype in DTYPES and p.device == x.device, f"p must hold floats beside the patterns, got {shown(p)}.")
    _require_probabilities(p)
    right = keys.dtype == torch.int64 and list(keys.shape) == [x.shape[0], 2]
    require(right, f"keys must be int64 [{x.shape[0]}, 2], as synsim.streams.keys returns them, got {shown(keys)}.")
    require(
        words.dtype == np.uint32 and np.array_equal(words, keys.cpu().numpy()),
        f"words must hold the keys as uint32, keys.cpu().numpy().astype(numpy.uint32), got {shown(words)}.",
    )
    return _released(x, p, keys, words, example=whole(example, "example", 0), draw=whole(draw, "draw", 0))


def _released(x: Tensor, p: Tensor, keys: Tensor, words: np.ndarray, *, example: int = 0, draw: int = 0) -> Tensor:
    each = p.unsqueeze(1).expand(x.shape).reshape(x.shape[0], -1)
    # p stands for the expected strength too: what is transmitted is p / p, exactly 1, or 0.
    mask, _ = kernels.release(each, each, keys, words, 1, example, draw)
    return mask.view(x.shape).mul_(x)


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
    fits = votes.ndim == 3 and votes.shape[0] > 0 and votes.shape[1:] == y.shape and not _is_odd(votes)
    require(fits, f"votes must be real numbers [samples, {', '.join(map(str, y.shape))}], got {shown(votes)}.")
    _require_labels(votes[0].unsqueeze(-1), y)
    return _majority(votes, y)


def _majority(votes: Tensor, y: Tensor) -> Tensor:
    return votes.sum(0) * y > 0


def _is_odd(value: Tensor) -> bool:
    return value.is_complex() or value.dtype == torch.bool


def _require_patterns(x: Tensor, **rows: Tensor) -> None:
    require(
        x.ndim == 3 and x.numel() > 0 and not _is_odd(x),
        f"patterns must be real numbers [R, B, N] (replicas, patterns, inputs), got {shown(x)}.",
    )
    shape = [x.shape[0], x.shape[2]]
    for name, value in rows.items():
        require(
            list(value.shape) == shape and not _is_odd(value),
            f"{name} must hold real numbers of shape {shape}, a row per replica, got {shown(value)}.",
        )


def _require_labels(x: Tensor, y: Tensor) -> None:
    shape = list(x.shape[:2])
    good = list(y.shape) == shape and not _is_odd(y) and bool((y.abs() == 1).all())
    if not good:
        values = "" if _is_odd(y) or not y.numel() else f" with values from {y.min().item()} to {y.max().item()}"
        raise ValueError(
            f"labels must be −1 or +1 of shape {shape}, got {shown(y)}{values}. Turn classes 0 and 1 into 2 · y − 1."
        )


def _require_state(**state: Tensor) -> None:
    first = next(iter(state.values()))
    for name, value in state.items():
        kind = value.dtype == torch.bool if name == "frozen" else not _is_odd(value)
        require(
            value.ndim == 2 and value.shape == first.shape and kind,
            f"{name} must hold {'truth values' if name == 'frozen' else 'real numbers'} [R, N], in one shape with the "
            f"others ({', '.join(state)}), got {shown(value)}.",
        )


def _require_probabilities(p: Tensor) -> None:
    inside = bool(((p >= 0) & (p <= 1)).all())
    require(inside, f"p must lie in [0, 1], got values from {p.min().item():g} to {p.max().item():g}.")


class Perceptron:
    """R perceptrons of one model, one per seed, as one tensor program.

    The state is `weight` (w, or w̄) and, for the presynaptic model, `p` and `frozen`, each [R, N], and `updates`. A mask
    is a function of seed, update and pattern, so a replica learns the same alone or among others, and after a resume.

    Args:
        seeds: R seeds; they matter to the presynaptic model only.
        model: "standard" or "presynaptic".
        inputs: synapses N.
        p_up: step up of p; this and the other constants are numbers or one per replica ([R]), see `presynaptic_step`.
        p_down: step down.
        g_lim: size of an update above which p grows.
        p_min: lower bound of p, and p at the start.
        p_freeze: upper bound of p, at which it is frozen.
        device: where the state lives.
        dtype: torch.float32 or torch.float64.

    Raises:
        ValueError: if the model is unknown, or a seed or constant is not of its kind.
    """

    @typed
    def __init__(
        self,
        seeds: Sequence[int],
        model: str = "presynaptic",
        *,
        inputs: int = INPUTS,
        p_up: Number = 0.2,
        p_down: Number = 0.2,
        g_lim: Number = 0.1,
        p_min: Number = 0.25,
        p_freeze: Number = 0.9,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        require(model in MODELS, f"model must be one of {', '.join(MODELS)}, got {model!r}.")
        inputs = whole(inputs, "inputs")
        _require_room(seeds, inputs, "the state")
        require(dtype in DTYPES, f"dtype must be torch.float32 or torch.float64, got {dtype}.")
        self.seeds, self.model = tuple(whole(seed, "seed", 0) for seed in seeds), model
        at = available_device(device)
        given = {"p_up": p_up, "p_down": p_down, "g_lim": g_lim, "p_min": p_min, "p_freeze": p_freeze}
        self.constants: dict[str, Any] = {}
        for name, value in given.items():
            low, high = 1e-6 if name in ("p_min", "p_freeze") else 0.0, float("inf") if name == "g_lim" else 1.0
            checked = torch.as_tensor(
                constant(value, name, len(self.seeds), low=low, high=high), dtype=torch.float64, device="cpu"
            )
            self.constants[name] = checked.to(at, dtype).reshape(-1, 1)
        bounds = self.constants["p_min"], self.constants["p_freeze"]
        require(
            bool((bounds[0] <= bounds[1]).all()),
            f"p_min must not exceed p_freeze, got {bounds[0].flatten().tolist()} and {bounds[1].flatten().tolist()}.",
        )
        self.weight = torch.zeros(len(self.seeds), inputs, device=at, dtype=dtype)
        self.p = torch.zeros_like(self.weight) + bounds[0] if model == "presynaptic" else torch.ones_like(self.weight)
        self.frozen = torch.zeros_like(self.weight, dtype=torch.bool)
        self.updates = 0
        self._keys = {}
        for purpose in ("train", "eval"):
            keys = streams.keys(purpose, self.seeds, "perceptron")
            self._keys[purpose] = keys.to(at), keys.numpy().astype(np.uint32)

    @typed
    def learn(self, x: Tensor, y: Tensor) -> None:
        """One update from a batch of patterns.

        Args:
            x: patterns [R, B, N].
            y: labels [R, B], −1 or +1.
        """
        x = self._checked(x, y).to(self.weight)
        if self.model == "standard":
            self.weight = self.weight + _direction(x, y, self.weight)
        else:
            x = _released(x, self.p, *self._keys["train"], draw=self.updates)
            u = _direction(x, y, self.weight / self.p)
            self.weight, self.p, self.frozen = _presynaptic_step(self.weight, self.p, self.frozen, u, self.constants)
        self.updates += 1

    @typed
    def correct(self, x: Tensor, y: Tensor, *, samples: int = 10) -> Tensor:
        """Which patterns are remembered; learning does not notice.

        The standard model makes one pass (an activation of 0 means +1), the presynaptic one `samples` passes with a
        mask per pattern, of which the majority counts (see `majority`).

        Args:
            x: patterns [R, P, N].
            y: labels [R, P], −1 or +1.
            samples: passes.

        Returns:
            bool [R, P].
        """
        self._checked(x, y)
        times(samples, "samples")
        keys, words = self._keys["eval"]
        strength, found = self.weight / self.p, []
        for block in range(-(-x.shape[1] // BLOCK)):
            rows = slice(block * BLOCK, (block + 1) * BLOCK)
            part, label = x[:, rows].to(self.weight), y[:, rows]
            if self.model == "standard":
                found.append((_activation(part, strength) >= 0) == (label > 0))
            else:
                passes = (_released(part, self.p, keys, words, example=block, draw=draw) for draw in range(samples))
                found.append(_majority(torch.stack([_activation(one, strength).sign() for one in passes]), label))
        return torch.cat(found, dim=1)

    def state_dict(self) -> dict[str, Tensor]:
        """The state.

        Returns:
            Copies of weight, p and frozen, and the number of updates.
        """
        state = {name: getattr(self, name).clone() for name in ("weight", "p", "frozen")}
        return {**state, "updates": torch.tensor(self.updates, device="cpu")}

    @typed
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state.

        Args:
            state: from `state_dict`.

        Raises:
            ValueError: if a tensor is missing or of another shape.
        """
        for name in ("weight", "p", "frozen"):
            mine = getattr(self, name)
            got = state.get(name)
            require(
                got is not None and got.shape == mine.shape,
                f"state[{name!r}] must have shape {list(mine.shape)}, got {None if got is None else list(got.shape)}. "
                "Build the perceptron with the seeds and inputs of the state.",
            )
        _require_state(**{name: state[name] for name in ("weight", "p", "frozen")})
        _require_probabilities(state["p"])
        updates = state.get("updates")
        whole(updates, "state['updates']", 0)
        for name in ("weight", "p", "frozen"):
            setattr(self, name, state[name].to(getattr(self, name), copy=True))
        self.updates = int(updates)  # type: ignore[arg-type]

    def _checked(self, x: Tensor, y: Tensor) -> Tensor:
        replicas, inputs = self.weight.shape
        require(
            x.ndim == 3 and x.shape[0] == replicas and x.shape[2] == inputs and x.shape[1] > 0,
            f"patterns must have shape [{replicas}, B, {inputs}] (replicas, patterns, inputs), got {list(x.shape)}.",
        )
        require(not _is_odd(x), f"patterns must be real numbers, got {shown(x)}.")
        _require_labels(x, y)
        return x
