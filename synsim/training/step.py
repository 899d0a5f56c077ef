"""One training step, and the guard that keeps a replica which fails from harm."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from synsim._checks import images, require
from synsim._doors import explained, held
from synsim._names import by_own_name, named_parameters
from synsim.inputs.loss import Objective, losses_of
from synsim.losses import class_logits
from synsim.networks import replicas_of
from synsim.rules.base import traits

Penalty = Callable[[], Mapping[str, Tensor]]


def forward_backward(
    net: nn.Module,
    optimiser: Optimizer,
    x: Tensor,
    y: Tensor,
    head: int | None = None,
    objective: Objective | None = None,
    *,
    beside: bool = False,
) -> tuple[Tensor, Tensor]:
    """Losses, accuracies and gradients of one batch.

    Args:
        net: the network.
        optimiser: its optimiser; gradients are cleared first.
        x: images [B, ...] or [R, B, ...].
        y: labels [B] or [R, B].
        head: index of the head, or None.
        objective: what is minimised; None: the cross-entropy.
        beside: whether the gradients are for somebody else than the optimiser, which then does not watch the pass.

    Returns:
        Loss (mean cross-entropy in nats) and share of right answers of this pass, [R] each ([1] without replicas);
        with another objective there are no answers, and the share is NaN.
    """
    optimiser.zero_grad()
    if traits(optimiser).watches and not beside:
        rule: Any = optimiser
        with rule.watch():
            losses, logits, tokens = losses_of(net, x, y, head, objective)
        rule.backward(losses, logits, tolerant=True)
    else:
        losses, logits, tokens = losses_of(net, x, y, head, objective)
        # One loss is its own sum, and a sum would be one more operation in both passes.
        (losses.sum() if losses.ndim else losses).backward()  # type: ignore[no-untyped-call,unused-ignore]
    if objective is not None:
        return losses.detach().reshape(-1), torch.full_like(losses.detach().reshape(-1), torch.nan)
    right = (class_logits(logits.detach()).argmax(-1) == y).to(logits.dtype)
    return losses.detach().reshape(-1), (right.mean() if tokens else right.mean(-1)).reshape(-1)


def apply_step(
    net: nn.Module, optimiser: Optimizer, penalty: Penalty | None = None, again: Callable[[], Tensor] | None = None
) -> None:
    """Move the parameters by the gradients at hand; a penalty's gradient stays apart from the task's.

    Args:
        net: the network.
        optimiser: its optimiser.
        penalty: returns gradients keyed like `named_parameters()`.
        again: computes losses and gradients of the batch anew, for an optimiser that looks at several weights (BGD,
            LBFGS).

    Raises:
        ValueError: if such an optimiser is to be combined with a penalty, or `again` is missing.
    """
    can, name = traits(optimiser), type(optimiser).__name__
    if penalty is not None and can.needs_closure and not can.takes_penalty:
        require(not can.protects, f"{name} protects by itself: train it without a penalty.")
        raise ValueError(
            f"{name} looks at the loss at several weights of one step, and the penalty's gradient is known at the "
            "first only. Use an optimiser that needs no closure, or protect by modulation, freezing or a mask."
        )
    require(again is not None or not can.needs_closure, f"{name} needs the loss anew: give `again`.")
    options: dict[str, Any] = {"closure": again} if can.needs_closure else {}
    if penalty is not None and can.takes_penalty:
        options["penalty"] = penalty()
    elif penalty is not None:
        extra = by_own_name(net, penalty())
        for own, parameter in named_parameters(net):
            if own in extra and parameter.grad is not None:
                parameter.grad = parameter.grad + extra[own]
    optimiser.step(**options)


@explained
def train_step(
    net: nn.Module,
    optimiser: Optimizer,
    x: Tensor,
    y: Tensor,
    *,
    head: int | None = None,
    penalty: Penalty | None = None,
) -> tuple[Tensor, Tensor]:
    """One whole training step.

    Args:
        net: the network.
        optimiser: its optimiser.
        x: images [B, ...] or [R, B, ...].
        y: labels [B] or [R, B].
        head: index of the head, or None.
        penalty: returns gradients of a penalty, keyed like `named_parameters()`.

    Returns:
        Mean cross-entropy (nats) and share of right answers before the step, [R] each ([1] without replicas).

    Raises:
        ValueError: if x is not finite; nothing has moved then.
    """
    held(optimiser, Optimizer, "optimiser")
    found = forward_backward(net, optimiser, x, y, head)
    if not bool(found[0].isfinite().all()) and x.is_floating_point():
        images(x)  # a network that diverged is what it is; of its inputs nobody thinks
    apply_step(net, optimiser, penalty, lambda: forward_backward(net, optimiser, x, y, head, beside=True)[0])
    return found


def finite_replicas(net: nn.Module, losses: Tensor) -> Tensor:
    """Which replicas have a finite loss and finite gradients.

    Args:
        net: the network after its backward pass.
        losses: [R].

    Returns:
        bool [R], on the CPU.
    """
    gradients = [parameter.grad for parameter in net.parameters() if parameter.grad is not None]
    # Hardly ever is anything wrong: one number tells that, for which a GPU need be waited for once.
    total = sum((gradient.sum() for gradient in gradients), losses.sum())
    lead = losses.shape[0]
    if math.isfinite(total.item()):
        return torch.ones(lead, dtype=torch.bool, device="cpu")
    replicas = replicas_of(net)
    sums = [gradient.reshape(lead, -1).sum(1) if replicas else gradient.sum() for gradient in gradients]
    finite = losses.isfinite()
    for values in sums:
        finite = finite & values.isfinite()
    return finite.cpu()


def what_failed(net: nn.Module, losses: Tensor, replica: int) -> str:
    """What is not finite in a replica that failed.

    Args:
        net: the network after its backward pass.
        losses: [R].
        replica: its index.

    Returns:
        The loss, or the first parameter whose gradient is not finite.
    """
    if not bool(losses[replica].isfinite()):
        return "loss"
    for name, parameter in named_parameters(net):
        if parameter.grad is not None and not bool(_slice(parameter.grad, replica, net).isfinite().all()):
            return f"gradient of {name!r}"
    return "sum of gradients"


class Held:
    """Replicas that failed, held at their last good state: the one before the step whose loss was not finite."""

    def __init__(self, net: nn.Module, optimiser: Optimizer) -> None:
        self._net, self._optimiser = net, optimiser
        self._kept: dict[int, list[tuple[Tensor, Tensor]]] = {}

    def hold(self, replica: int) -> None:
        """Keep the present state of a replica.

        Args:
            replica: its index.
        """
        self._kept[replica] = [(tensor, _slice(tensor, replica, self._net).clone()) for tensor in self._tensors()]

    def restore(self) -> None:
        """Put the replicas that failed back where they were."""
        with torch.no_grad():
            for replica, kept in self._kept.items():
                for tensor, value in kept:
                    _slice(tensor, replica, self._net).copy_(value)

    def _tensors(self) -> list[Tensor]:
        return [*self._net.parameters(), *self._net.buffers()]


def _slice(tensor: Tensor, replica: int, net: nn.Module) -> Tensor:
    return tensor.detach()[replica] if replicas_of(net) else tensor.detach()
