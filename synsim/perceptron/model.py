"""Perceptrons of one model, one per seed, as one tensor program."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from synsim import streams
from synsim._checks import Number, available_device, constant, require, times, whole
from synsim._doors import shown, typed
from synsim.perceptron import equations
from synsim.perceptron.refusals import (
    DTYPES,
    is_odd,
    require_labels,
    require_probabilities,
    require_room,
    require_state,
)
from synsim.perceptron.steps import INPUTS

MODELS = ("standard", "presynaptic")
BLOCK = 10
"""Patterns of an evaluation that are drawn at once. It is part of the address of a mask: another one gives others."""


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
        require_room(seeds, inputs, "the state")
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
            self.weight = self.weight + equations.direction(x, y, self.weight)
        else:
            x = equations.released(x, self.p, *self._keys["train"], draw=self.updates)
            u = equations.direction(x, y, self.weight / self.p)
            self.weight, self.p, self.frozen = equations.presynaptic_step(
                self.weight, self.p, self.frozen, u, self.constants
            )
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
                found.append((equations.activation(part, strength) >= 0) == (label > 0))
            else:
                passes = (
                    equations.released(part, self.p, keys, words, example=block, draw=draw) for draw in range(samples)
                )
                found.append(
                    equations.majority(
                        torch.stack([equations.activation(one, strength).sign() for one in passes]), label
                    )
                )
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
        require_state(**{name: state[name] for name in ("weight", "p", "frozen")})
        require_probabilities(state["p"])
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
        require(not is_odd(x), f"patterns must be real numbers, got {shown(x)}.")
        require_labels(x, y)
        return x
