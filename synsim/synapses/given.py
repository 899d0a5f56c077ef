"""A layer that transmits strengths it is given, in place of its own: for lesions and counts."""

from typing import Any

import torch
from torch import Tensor

from synsim._checks import require
from synsim.synapses.base import StochasticLayer


class Given:
    """Strengths for a copy of a layer, which transmits them as they are in the expected view.

    Whatever a layer stores, it asks `transmitted()` for its strengths; a copy that asks here knows nothing of p, ghosts
    or another parametrisation. One that does not ask is refused.

    Attributes:
        strengths: what the copy transmits, shaped like its weight.

    Args:
        twin: the copy; it is changed.
        name: of the layer, for messages.
    """

    def __init__(self, twin: StochasticLayer, name: str) -> None:
        self.strengths = torch.empty_like(twin.weight, requires_grad=False)
        self._twin, self._name, self._asked = twin, name, False
        vars(twin)["transmitted"] = self._answer
        vars(twin)["forward"] = self._watched

    def _answer(self) -> Tensor:
        self._asked = True
        return self.strengths

    def _watched(self, *inputs: Any, **options: Any) -> Tensor:
        self._asked = False
        out: Tensor = type(self._twin).forward(self._twin, *inputs, **options)
        require(
            self._asked,
            f"layer {self._name!r} ({type(self._twin).__name__}) does not ask `transmitted()` for its strengths in the "
            "expected view, so that no others can be given to it. Let its forward pass take them from there.",
        )
        return out
