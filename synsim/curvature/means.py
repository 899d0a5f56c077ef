"""Gradients of mean responses and of whole batches: plain backward passes, in which examples add up."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from synsim._checks import require, whole
from synsim._doors import typed
from synsim._names import named_parameters
from synsim.curvature.measuring import Measurement
from synsim.inputs import Images, logits_of, output_replicas, rows_of
from synsim.inputs.images import count_of
from synsim.losses import replica_cross_entropy
from synsim.networks import replicas_of
from synsim.synapses import synapses


@typed
def parameters_of(net: nn.Module) -> dict[str, Tensor]:
    """The parameters that are trained.

    Args:
        net: any module.

    Returns:
        Name -> parameter.

    Raises:
        ValueError: if there are none, or replicas share one, so that its gradient would mix them.
    """
    wanted: dict[str, Tensor] = {name: p for name, p in named_parameters(net) if p.requires_grad}
    require(bool(wanted), "the network has no parameter that requires a gradient.")
    if replicas_of(net) is not None:
        own = {id(parameter) for layer in synapses(net).values() for parameter in layer.parameters(recurse=False)}
        shared = sorted(name for name, parameter in wanted.items() if id(parameter) not in own)
        require(
            not shared,
            f"parameter {shared[:1]} belongs to a plain layer that all replicas share, so its gradient mixes them. "
            "Use stochastic layers with p=1 throughout.",
        )
    return wanted


@typed
def gradients(total: Tensor, parameters: dict[str, Tensor], keep: bool = False) -> dict[str, Tensor]:
    """Gradients of a number, zero where it does not depend on a parameter.

    Args:
        total: a number.
        parameters: name -> parameter.
        keep: whether the graph is needed again.

    Returns:
        Name -> gradient.
    """
    found = torch.autograd.grad(total, list(parameters.values()), retain_graph=keep, allow_unused=True)
    pairs = zip(parameters.items(), found, strict=True)
    return {name: torch.zeros_like(value) if one is None else dense(one) for (name, value), one in pairs}


def dense(gradient: Tensor) -> Tensor:
    """A gradient with all its entries: embeddings may give a sparse one, in which rows stand several times.

    Args:
        gradient: as torch gave it.

    Returns:
        The same, dense.
    """
    return gradient.to_dense() if gradient.is_sparse else gradient


@typed
def mean_response_gradients(
    net: nn.Module, images: Images, measurement: Measurement, directions: Tensor | None, head: int | None, chunk: int
) -> Iterator[dict[str, Tensor]]:
    """Gradients of the mean output along given directions (Algorithm 1 of the sliced Cramér paper).

    Args:
        net: any module, in the state in which it is to be measured.
        images: N images.
        measurement: the passes to make.
        directions: [L, K] in the space of the K outputs, or None for the K unit vectors. An output at each of T tokens
            is one of T · C numbers.
        head: index of the head, or None.
        chunk: images per pass.

    Yields:
        For every direction: parameter name -> gradient of (direction · mean output).
    """
    parameters = parameters_of(net)
    totals: list[dict[str, Tensor]] = []
    for rows in measurement.rows(count_of(images), chunk):
        with torch.enable_grad():
            output = logits_of(net, images[rows], head)
            output = output.flatten(1) if output_replicas(net) is None else output
            mean = output.sum(-2) / (len(images) * measurement.draws)
            along = mean if directions is None else mean @ directions.to(mean).t()
            numbers = along.reshape(-1, along.shape[-1]).sum(0).unbind()
        for index, number in enumerate(numbers):
            part = gradients(number, parameters, keep=index < len(numbers) - 1)
            if index == len(totals):
                totals.append(part)
            else:
                for name, value in part.items():
                    totals[index][name] += value
    yield from totals


@typed
def batch_gradients(
    net: nn.Module, images: Images, y: Tensor, measurement: Measurement, head: int | None, batch: int
) -> Iterator[dict[str, Tensor]]:
    """Gradients of the mean cross-entropy of successive batches; the last, incomplete one is dropped.

    The loss of an example with an output at each of T tokens is the sum over its tokens.

    Args:
        net: any module, in the state in which it is to be measured.
        images: N images.
        y: labels [N] or [R, N]; [N, T] for tokens.
        measurement: the passes to make.
        head: index of the head, or None.
        batch: examples per batch.

    Yields:
        Parameter name -> gradient of the mean over the batch.
    """
    parameters, batch = parameters_of(net), whole(batch, "batch")
    for rows in measurement.rows(count_of(images), batch):
        if rows.stop - rows.start < min(batch, len(images)):
            continue
        with torch.enable_grad():
            logits = logits_of(net, images[rows], head)
            tokens = logits.ndim == 3 and output_replicas(net) is None
            loss = replica_cross_entropy(logits, rows_of(net, y, rows), tokens=tokens).sum()
            loss = loss * logits.shape[1] if tokens else loss
        yield gradients(loss, parameters)
