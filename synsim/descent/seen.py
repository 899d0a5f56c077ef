"""What a pass leaves behind: inputs and output gradients of layers, and the gradients that are made of them."""

import weakref
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from synsim._checks import require
from synsim.curvature import wide
from synsim.curvature.capture import Tape
from synsim.descent.blocks import Block
from synsim.descent.gradient import Gradient

ACCUMULATED = -1


@dataclass
class Seen:
    """What one pass left of a layer.

    Attributes:
        block: the layer.
        inputs: A [*lead, N, I], with the 1 of a bias.
        errors: E [*lead, N, O], gradients of the losses with respect to the outputs.
        factor: by which the pass scaled the strengths, [*lead, O, I]; None: 1.
        made: the gradients as they were given to the parameters, and their versions (`ACCUMULATED` where others stood
            there before); empty if none were made.
    """

    block: Block
    inputs: Tensor
    errors: Tensor
    factor: Tensor | None
    made: dict[str, tuple[Tensor, int]] = field(default_factory=dict)

    def product(self) -> Gradient:
        """The gradient of the layer.

        Returns:
            Eᵀ A, times the factor.
        """
        if self.factor is None:
            return Gradient((self.inputs, self.errors))
        return Gradient(matrix=(self.errors.mT @ self.inputs).mul_(self.factor))

    def fill(self) -> None:
        """Add the gradient to `.grad` of the parameters that are trained."""
        for name, gradient in self.block.parts(self.product().matrix).items():
            parameter = self.block.parameters[name]
            if parameter.requires_grad:
                alone = parameter.grad is None
                add(parameter, gradient.to(parameter.dtype))
                assert parameter.grad is not None
                # That of several passes is no product of the rows of this one.
                self.made[name] = parameter.grad, parameter.grad._version if alone else ACCUMULATED

    def gradient(self) -> Gradient | None:
        """The gradient as it stands in `.grad`, where somebody may have clipped or scaled it.

        Returns:
            The gradient; None if it was cleared.
        """
        if not self.made:
            return self.product()
        grads = {name: parameter.grad for name, parameter in self.block.parameters.items()}
        if all(grad is None for grad in grads.values()):
            return None
        weight, *bias = grads.values()
        weight = torch.zeros_like(self.block.weight) if weight is None else weight
        matrix = self.block.matrix(wide(weight), bias[0] if bias else None)
        same = self.factor is None and all(self._untouched(name, grad) for name, grad in grads.items())
        return Gradient((self.inputs, self.errors) if same else None, matrix)

    def _untouched(self, name: str, grad: Tensor | None) -> bool:
        before, version = self.made.get(name, (None, 0))
        return grad is not None and grad is before and grad._version == version


@dataclass
class Pass:
    """A pass and what is made of it.

    Attributes:
        seen: layer name -> what it left.
        examples: how many terms the mean loss of a replica has.
        finite: which replicas have finite losses and gradients, bool [R]; None: all.
        tolerant: whether a replica may fail while the others go on.
        taken: names of layers whose averages have taken it in already.
        outputs: layer name -> gradients of the outputs for other labels, [*lead, N, O] each, where the rule asks.
    """

    seen: dict[str, Seen]
    examples: int
    finite: Tensor | None = None
    tolerant: bool = False
    taken: set[str] = field(default_factory=set)
    outputs: dict[str, list[Tensor]] = field(default_factory=dict)


def refuse_use(name: str, tape: Tape) -> None:
    """Refuse a layer that was used several times in a pass, or on more than one input.

    Args:
        name: of the layer.
        tape: of the pass.

    Raises:
        ValueError: if it was.
    """
    require(
        tape.calls[name] == 1,
        f"layer {name!r} was used {tape.calls[name]} times in one pass (by time steps, or shared, or in two passes "
        "within one `watch`), where its gradient is a sum of several products. Make one pass per watch, and give each "
        "use a layer of its own.",
    )
    require(
        tape.uses[name].input.numel() > 0,
        f"layer {name!r} takes more than one input, as the layers of spiking networks do: this rule needs layers of "
        "rows times a matrix.",
    )


def add(parameter: nn.Parameter, gradient: Tensor | None) -> None:
    """Add to what stands in `.grad`, as a backward pass does.

    Args:
        parameter: of the network.
        gradient: like it; None: nothing.
    """
    if gradient is not None:
        parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient


class Used:
    """The gradient that a step has used, without keeping it.

    Args:
        parameter: whose.
    """

    def __init__(self, parameter: Tensor) -> None:
        assert parameter.grad is not None
        self._parameter, self._gradient = weakref.ref(parameter), weakref.ref(parameter.grad)
        self._version = parameter.grad._version

    def stands(self) -> bool:
        """Look for it.

        Returns:
            Whether nobody has cleared or replaced it since.
        """
        parameter = self._parameter()
        gradient = None if parameter is None else parameter.grad
        return gradient is not None and gradient is self._gradient() and gradient._version == self._version
