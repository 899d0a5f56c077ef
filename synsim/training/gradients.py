"""Gradients that are measured beside a training step, at the same weights, without moving the training."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from synsim._kept import kept
from synsim._names import named_parameters
from synsim.curvature import measured
from synsim.curvature.means import gradients, parameters_of
from synsim.dropout import StreamDropout
from synsim.inputs import Images
from synsim.inputs.loss import Objective, losses_of
from synsim.synapses import Address, addressed, evaluation, frozen

FULL_CHUNK = 1000


def drops(net: nn.Module) -> bool:
    """Whether units of a network drop out.

    Args:
        net: the network.

    Returns:
        True if a dropout module is in training mode.
    """
    return any(
        module.training and module.p > 0 for module in net.modules() if isinstance(module, _DropoutNd | StreamDropout)
    )


def without_dropout(net: nn.Module, again: Callable[[], object]) -> dict[str, Tensor]:
    """Gradient of the batch at hand with the masks of the latest pass, but without dropout.

    Args:
        net: the network; its `.grad` are overwritten.
        again: computes the gradients of the batch anew.

    Returns:
        Parameter name -> gradient.
    """
    free = all(layer.address == Address() for layer in addressed(net).values())
    with _still(net), frozen(net) if free else nullcontext():
        again()
    return gradients_at_hand(net)


def independent(net: nn.Module, again: Callable[[], object], task: int, step: int) -> dict[str, Tensor]:
    """Gradient of another batch, with release masks of its own and without dropout.

    Args:
        net: the network; its `.grad` are overwritten.
        again: computes the gradients of that batch.
        task: index of the task.
        step: number of the step within the task.

    Returns:
        Parameter name -> gradient.
    """
    with evaluation(net, seed=1 + task) as passes:
        passes.at(step, 0, 0)
        with _still(net):
            again()
    return gradients_at_hand(net)


def gradients_at_hand(net: nn.Module) -> dict[str, Tensor]:
    """The gradients at hand.

    Args:
        net: the network.

    Returns:
        Name of a trained parameter -> its gradient, where it has one.
    """
    return {name: p.grad for name, p in named_parameters(net) if p.requires_grad and p.grad is not None}


@contextmanager
def _still(net: nn.Module) -> Iterator[None]:
    # Evaluation mode, but for batch norm: it normalises as in the update, and its running statistics are put back.
    norms = [module for module in net.modules() if module.training and isinstance(module, _BatchNorm)]
    with kept(net):
        net.eval()
        for module in norms:
            module.training = True
        yield


def full_gradient(
    net: nn.Module, images: Images, y: Tensor, head: int | None = None, objective: Objective | None = None
) -> dict[str, Tensor]:
    """Gradient of the mean loss over the whole training set, in the expected view and in evaluation mode.

    Args:
        net: the network; its gradients are left as they are.
        images: the training images.
        y: their labels.
        head: index of the head, or None.
        objective: what is minimised; None: the cross-entropy.

    Returns:
        Parameter name -> gradient.
    """
    parameters = parameters_of(net)
    total: dict[str, Tensor] = {}
    count = len(images)
    with kept(net), measured(net.eval()) as measurement:
        for rows in measurement.rows(count, FULL_CHUNK):
            with torch.enable_grad():
                x = images[rows]
                losses, _, _ = losses_of(net, x, y[rows], head, objective)
                loss = losses.sum() * ((rows.stop - rows.start) / count)
            for name, value in gradients(loss, parameters).items():
                total[name] = value if name not in total else total[name].add_(value)
    return total
