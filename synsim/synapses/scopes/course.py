"""Transmission step by step within one draw, for layers whose input depends on what they transmitted before.

A course stands for all steps of a pass. What a step transmits, and how gradients go back through it to its inputs, is
all that a recurrent population needs; the gradient of the strengths then comes from one pass over all steps.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from synsim.synapses.release import product

if TYPE_CHECKING:
    from synsim.synapses.base import StochasticLayer
    from synsim.synapses.linear import BernoulliLinear
    from synsim.synapses.scopes.base import Scope


class Course:
    """The steps of one pass of any scope: each is a pass of one step, whose graph of its inputs is kept.

    It is made and used inside of `synsim.synapses.one_pass`, which holds the draw and counts the steps.

    Args:
        scope: of the layer.
        layer: what transmits.
    """

    def __init__(self, scope: "Scope", layer: "BernoulliLinear") -> None:
        self._scope, self._layer = scope, layer
        self._sent: list[tuple[Tensor, Tensor]] = []

    def step(self, x: Tensor, factor: Tensor | None) -> Tensor:
        """What the next step transmits, differentiable.

        Args:
            x: [B, I] or [R, B, I].
            factor: like x, or None.

        Returns:
            [B, O] or [R, B, O].
        """
        return self._scope.linear(self._layer, x, 1, factor)

    def send(self, x: Tensor, factor: Tensor | None) -> Tensor:
        """The same apart from autograd, to be followed by `back`.

        Args:
            x: [B, I] or [R, B, I].
            factor: like x, or None.

        Returns:
            [B, O] or [R, B, O].
        """
        with torch.enable_grad():
            given = x.detach().requires_grad_()
            out = self.step(given, factor)
        self._sent.append((given, out))
        return out.detach()

    def back(self, gradient: Tensor, t: int, factor: Tensor | None) -> Tensor:
        """The gradient of what was sent at a step.

        Args:
            gradient: of what the step transmitted.
            t: number of the step, counted from the first one that was sent.
            factor: of the step.

        Returns:
            Like the inputs of the step.
        """
        given, out = self._sent[t]
        (found,) = torch.autograd.grad(out, given, gradient, retain_graph=True)
        return found


class Shared(Course):
    """One mask for all examples: the strengths are made once."""

    def __init__(self, scope: "Scope", layer: "BernoulliLinear") -> None:
        super().__init__(scope, layer)
        self._strength, self._bias = layer.transmitted(), layer.bias

    def step(self, x: Tensor, factor: Tensor | None) -> Tensor:  # noqa: D102
        return product(x if factor is None else x * factor, self._strength, self._bias)

    def send(self, x: Tensor, factor: Tensor | None) -> Tensor:  # noqa: D102
        return self.step(x, factor)

    def back(self, gradient: Tensor, t: int, factor: Tensor | None) -> Tensor:  # noqa: D102
        found = gradient @ self._strength.detach()
        return found if factor is None else found * factor


class Own(Course):
    """A mask for each example: all strengths of a batch, made once.

    Args:
        scope: of the layer.
        layer: what transmits.
        strengths: [R, B, O, I], or [B, O, I] without replicas.
    """

    def __init__(self, scope: "Scope", layer: "BernoulliLinear", strengths: Tensor) -> None:
        super().__init__(scope, layer)
        self._strengths, self._bias = strengths, layer.bias

    def step(self, x: Tensor, factor: Tensor | None) -> Tensor:  # noqa: D102
        x = x if factor is None else x * factor
        out = (self._strengths @ x.unsqueeze(-1)).squeeze(-1)
        return out if self._bias is None else out + self._bias.unsqueeze(-2)

    def send(self, x: Tensor, factor: Tensor | None) -> Tensor:  # noqa: D102
        return self.step(x, factor)

    def back(self, gradient: Tensor, t: int, factor: Tensor | None) -> Tensor:  # noqa: D102
        found = (gradient.unsqueeze(-2) @ self._strengths).squeeze(-2)
        return found if factor is None else found * factor


class EachSpike(Course):
    """Release per spike: the gradient of a presynaptic neuron is that of the expected strengths."""

    def send(self, x: Tensor, factor: Tensor | None) -> Tensor:  # noqa: D102
        return self.step(x, factor)

    def back(self, gradient: Tensor, t: int, factor: Tensor | None) -> Tensor:  # noqa: D102
        found = gradient @ self._layer.expected_strength.detach()
        return found if factor is None else found * factor


def hooked(layer: "StochasticLayer") -> bool:
    """Whether a pass of a layer has to go through its call: something listens there, or its class transmits by itself.

    Args:
        layer: of a network.

    Returns:
        True then.
    """
    from synsim.synapses.linear import BernoulliLinear

    own = (layer._forward_hooks, layer._forward_pre_hooks, layer._backward_hooks, layer._backward_pre_hooks)
    of_all = torch.nn.modules.module
    every = (
        of_all._global_forward_hooks, of_all._global_forward_pre_hooks, of_all._global_backward_hooks,
        of_all._global_backward_pre_hooks,
    )  # fmt: skip
    return any(own) or any(every) or type(layer).forward is not BernoulliLinear.forward
