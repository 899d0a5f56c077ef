"""Sums over examples of a function of each example's own gradient."""

from contextlib import nullcontext
from functools import partial

import torch
from torch import Tensor, nn

from synsim._checks import finite, number, require
from synsim._doors import typed
from synsim.curvature.case import case_of
from synsim.curvature.means import parameters_of
from synsim.curvature.measuring import Measurement
from synsim.curvature.meeting import refuse_chunks
from synsim.curvature.products import POWERS, wide
from synsim.curvature.sums import Chosen, Job, Score, Term, Terms, add_batched, add_closed, add_single
from synsim.curvature.trial import unhooked, way_of
from synsim.inputs import Images, logits_of
from synsim.networks import replicas_of
from synsim.synapses import synapses


@typed
def sum_over_examples(
    net: nn.Module,
    images: Images,
    score: Score,
    terms: Terms,
    measurement: Measurement,
    *,
    power: str = "square",
    head: int | None = None,
    memory: float = 16.0,
) -> dict[str, Tensor]:
    """Σ_b Σ_t weight_bt · f(∂ score(x_b, label_bt) / ∂θ), with f applied to the gradient of each single example.

    Linear layers, convolutions and their stochastic kin have closed forms, which cost one backward pass per term and
    chunk and one product per layer. They are used where a trial on a few examples shows that they hold for this very
    network, hooks and detours included; else gradients go through `torch.func`, if that is shown to hold, one per
    example in memory-sized chunks; else through plain passes of one example each, with a warning.

    Args:
        net: any module, in the state in which it is to be measured.
        images: N images.
        score: what is differentiated.
        terms: which labels and weights a chunk has.
        measurement: the passes to make, from `measured`.
        power: "square" or "absolute": f.
        head: index of the head, or None.
        memory: MiB that a chunk may take.

    Returns:
        Parameter name -> sum over examples, terms and passes, divided by the passes; shaped like the parameter, zero
        for parameters that the pass does not use (inactive heads); float32 for parameters of 16 bits.

    Raises:
        NotFiniteError: if a result is not finite; the message names the parameter.
        ValueError: if a replica network shares a parameter among its replicas, or examples meet inside the network.
    """
    require(power in POWERS, f"power must be one of {', '.join(POWERS)}, got {power!r}.")
    wanted = parameters_of(net)
    budget = int(number(memory, "memory", above=True) * 2**20)
    require(
        all(layer.release.mask_per_example for layer in synapses(net).values()),
        "with a release of its own at every spike no mask holds for a whole example. "
        "Measure this network in the expected view.",
    )
    case = case_of(net, images, measurement, head)
    way = way_of(case, partial(_closed_squares, head, case.axis), partial(_batched_squares, head, case.axis))
    job = Job(net, score, power, head, case.axis, budget, _zeros(net))
    if way.kind == "closed":
        size = max(1, budget // (1024 + way.width * case.x.element_size()))
        refuse_chunks(case, size)
        for rows in measurement.rows(len(images), size):
            add_closed(job, images[rows], _at(terms, rows, measurement.draw))
    elif way.kind == "batched":
        size = max(1, budget // (3 * sum(value.numel() * value.element_size() for value in wanted.values())))
        refuse_chunks(case, size)
        with nullcontext() if way.hooks else unhooked(net):
            for rows in measurement.rows(len(images), size):
                x = images[rows]
                with torch.no_grad():
                    chosen = terms(logits_of(net, x, head), rows, measurement.draw)
                add_batched(job, x, chosen)
    else:
        for rows in measurement.rows(len(images), 1):
            add_single(job, images[rows], _at(terms, rows, measurement.draw))
    for value in job.sums.values():
        value /= measurement.draws
    finite(job.sums, "gradients", replicas_of(net))
    return job.sums


ALONG = Score(lambda output: output, lambda output, along: (output * along).sum(-1))
"""The output along given directions, which take the place of labels."""


def _at(terms: Terms, rows: slice, draw: int) -> Chosen:
    return lambda logits: terms(logits, rows, draw)


def _zeros(net: nn.Module) -> dict[str, Tensor]:
    return {name: torch.zeros_like(wide(parameter.detach())) for name, parameter in parameters_of(net).items()}


def _closed_squares(head: int | None, axis: int, net: nn.Module, x: Tensor, along: Tensor) -> dict[str, Tensor]:
    job = Job(net, ALONG, "square", head, axis, 2**24, _zeros(net))
    add_closed(job, x, lambda _: [Term(along)])
    return job.sums


def _batched_squares(head: int | None, axis: int, net: nn.Module, x: Tensor, along: Tensor) -> dict[str, Tensor]:
    job = Job(net, ALONG, "square", head, axis, 2**24, _zeros(net))
    add_batched(job, x, [Term(along)])
    return job.sums
