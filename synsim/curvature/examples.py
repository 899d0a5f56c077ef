"""Sums over examples of a function of each example's own gradient."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from synsim._checks import finite, number, require
from synsim._doors import typed
from synsim._kept import kept
from synsim._names import named_modules, named_parameters
from synsim.curvature.capture import Layer, capture, mask_of
from synsim.curvature.case import case_of
from synsim.curvature.means import dense, parameters_of
from synsim.curvature.measuring import Measurement
from synsim.curvature.meeting import refuse_chunks
from synsim.curvature.products import POWERS, linear_sums, magnitude, one_product, position_sums, wide
from synsim.curvature.trial import quiet, unhooked, way_of
from synsim.inputs import Images, logits_of, output_replicas, tensor_of
from synsim.networks import replicas_of
from synsim.synapses import synapses


@dataclass(frozen=True)
class Score:
    """What is differentiated, in two parts, so that labels share the work on the output.

    Attributes:
        prepare: output [..., B, C] -> anything per example, [..., B] or [..., B, K].
        pick: (what was prepared, labels [B] or [..., B]) -> the score per example, [..., B]. Of an output at each of T
            tokens, [B, T, C], scores are [B, T], and the score of an example is the sum over its tokens.
    """

    prepare: Callable[[Tensor], Tensor]
    pick: Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Term:
    """One gradient per example.

    Attributes:
        labels: of the score, int64 [B] or [R, B]; [B, T] for tokens.
        weight: of the example in the sum, at least 0, [B] or [R, B]; None for 1.
        token: the only token whose score counts; None: all.
    """

    labels: Tensor
    weight: Tensor | None = None
    token: int | None = None


Terms = Callable[[Tensor, slice, int], Sequence[Term]]
"""(output without autograd, rows of the chunk, number of the pass) -> the gradients wanted."""


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
    wanted, sums = parameters_of(net), _zeros(net)
    budget = int(number(memory, "memory", above=True) * 2**20)
    require(
        not any(layer.scope.startswith("event") and not layer.address.mean for layer in synapses(net).values()),
        "with a release of its own at every spike no mask holds for a whole example. "
        "Measure this network in the expected view.",
    )
    case = case_of(net, images, measurement, head)
    way = way_of(case, partial(_closed_squares, head), partial(_batched_squares, head, case.axis))
    if way.kind == "closed":
        scratch: dict[torch.Size, Tensor] = {}
        size = max(1, budget // (1024 + way.width * case.x.element_size()))
        refuse_chunks(case, size)
        for rows in measurement.rows(len(images), size):
            _add_closed(sums, net, images[rows], rows, measurement.draw, score, terms, power, head, budget, scratch)
    elif way.kind == "batched":
        size = max(1, budget // (3 * sum(one.numel() * one.element_size() for one in wanted.values())))
        refuse_chunks(case, size)
        with nullcontext() if way.hooks else unhooked(net):
            for rows in measurement.rows(len(images), size):
                x = images[rows]
                with torch.no_grad():
                    chosen = terms(logits_of(net, x, head), rows, measurement.draw)
                _add_batched(sums, net, x, chosen, score, power, head, case.axis)
    else:
        for rows in measurement.rows(len(images), 1):
            _add_single(sums, net, images[rows], rows, measurement.draw, score, terms, power, head)
    for value in sums.values():
        value /= measurement.draws
    finite(sums, "gradients", replicas_of(net))
    return sums


ALONG = Score(lambda output: output, lambda output, along: (output * along).sum(-1))
"""The output along given directions, which take the place of labels."""


def _zeros(net: nn.Module) -> dict[str, Tensor]:
    return {name: torch.zeros_like(wide(parameter.detach())) for name, parameter in parameters_of(net).items()}


def _closed_squares(head: int | None, net: nn.Module, x: Tensor, along: Tensor) -> dict[str, Tensor]:
    sums, rows = _zeros(net), slice(0, along.shape[0 if output_replicas(net) is None else 1])
    _add_closed(sums, net, x, rows, 0, ALONG, lambda *_: [Term(along)], "square", head, 2**24, {})
    return sums


def _batched_squares(head: int | None, axis: int, net: nn.Module, x: Tensor, along: Tensor) -> dict[str, Tensor]:
    sums = _zeros(net)
    _add_batched(sums, net, x, [Term(along)], ALONG, "square", head, axis)
    return sums


def _summed(net: nn.Module, scores: Tensor, term: Term) -> Tensor:
    # Scores of tokens [B, T] add up to those of their examples [B]; those of replicas [R, B] stay apart.
    if scores.ndim == 1 or output_replicas(net) is not None:
        return scores
    return scores.sum(1) if term.token is None else scores[:, term.token]


def _add_closed(
    sums: dict[str, Tensor],
    net: nn.Module,
    x: Tensor,
    rows: slice,
    draw: int,
    score: Score,
    terms: Terms,
    power: str,
    head: int | None,
    budget: int,
    scratch: dict[torch.Size, Tensor],
) -> None:
    modules = cast(dict[str, Layer], dict(named_modules(net)))
    with capture(net) as tape:
        with torch.enable_grad():
            logits = logits_of(net, x, head)
            prepared = score.prepare(logits)
        names = [name for name in tape.uses if any(_join(name, own) in sums for own in ("weight", "bias"))]
        outputs = [tape.uses[name].output for name in names]
        masks = {name: mask_of(modules[name], rows.stop - rows.start) for name in names}
        direct = {name for name in names if one_product(modules[name], tape.uses[name].input, masks[name])}
        gathered: dict[str, Tensor] = {}
        chosen = list(terms(logits.detach(), rows, draw))
        for place, term in enumerate(chosen):
            with torch.enable_grad():
                picked = _summed(net, score.pick(prepared, term.labels), term)
                if term.weight is not None:
                    # A gradient is linear in what is differentiated: weighed here, once, and in no layer.
                    picked = picked * (term.weight.sqrt() if power == "square" else term.weight)
                total = picked.sum()
            last = place == len(chosen) - 1
            found_deltas = torch.autograd.grad(total, outputs, retain_graph=not last, allow_unused=True)
            deltas = cast(tuple[Tensor | None, ...], found_deltas)
            for name, delta in zip(names, deltas, strict=True):
                if delta is None:
                    continue
                if name not in direct:
                    with _precise(delta):
                        found = position_sums(modules[name], tape.uses[name].input, delta, masks[name], power, budget)
                    _add(sums, name, found)
                    continue
                if name not in gathered:
                    gathered[name] = magnitude(delta, power)
                elif power == "square":
                    gathered[name].addcmul_(wide(delta), wide(delta))
                else:
                    gathered[name] += delta.abs()
        for name, summed in gathered.items():
            with _precise(summed):
                found = linear_sums(modules[name], tape.uses[name].input, summed, masks[name], power, scratch)
            _add(sums, name, found)


def _precise(x: Tensor) -> AbstractContextManager[object]:
    # Under autocast, products of squares would be made in 16 bits again.
    kind = x.device.type
    return torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext()


def _add_batched(
    sums: dict[str, Tensor], net: nn.Module, x: Tensor, chosen: Sequence[Term], score: Score, power: str,
    head: int | None, axis: int,
) -> None:  # fmt: skip
    names = {id(parameter): name for name, parameter in named_parameters(net)}
    # Each place that holds a parameter, once: torch itself loses a parameter whose module has two names.
    places = {
        _join(owner, own): names[id(parameter)]
        for owner, module in net.named_modules()
        for own, parameter in module.named_parameters(recurse=False)
        if names[id(parameter)] in sums
    }
    inputs = {} if head is None else {"head": head}
    parameters = {name: parameter.detach() for name, parameter in named_parameters(net) if name in sums}
    replicas = output_replicas(net) is not None
    for term in chosen:
        where = 1 if replicas and term.labels.ndim > 1 else 0

        def total(
            values: dict[str, Tensor], image: Tensor, label: Tensor, term: Term = term, at: int = where
        ) -> Tensor:
            held = {place: values[name] for place, name in places.items()}
            out = tensor_of(functional_call(net, held, (image.unsqueeze(axis),), inputs, tie_weights=False))
            return _summed(net, score.pick(score.prepare(out), label.unsqueeze(at)), term).sum()

        each = vmap(grad(total), in_dims=(None, axis, where), randomness="different")
        # A forward pass that keeps something must not meet tensors of the last transform.
        with kept(net), quiet():
            found = each(parameters, x, term.labels)
        for name, gradient in found.items():
            weight = term.weight
            value = magnitude(gradient, power)
            if weight is not None:
                weight = weight.t() if weight.ndim == 2 else weight
                value = value * weight.reshape(*weight.shape, *[1] * (value.ndim - weight.ndim))
            sums[name] += value.sum(0)


def _add_single(
    sums: dict[str, Tensor], net: nn.Module, x: Tensor, rows: slice, draw: int, score: Score, terms: Terms,
    power: str, head: int | None,
) -> None:  # fmt: skip
    wanted = parameters_of(net)
    with torch.enable_grad():
        logits = logits_of(net, x, head)
        prepared = score.prepare(logits)
    chosen = list(terms(logits.detach(), rows, draw))
    for place, term in enumerate(chosen):
        with torch.enable_grad():
            total = _summed(net, score.pick(prepared, term.labels), term).sum()
        last = place == len(chosen) - 1
        parameters = list(wanted.values())
        found = torch.autograd.grad(total, parameters, retain_graph=not last, allow_unused=True)
        for name, gradient in zip(wanted, cast(tuple[Tensor | None, ...], found), strict=True):
            if gradient is None:
                continue
            value = magnitude(dense(gradient), power)
            if term.weight is not None:
                # [1], or [R, 1] beside a gradient of [R, ...].
                value = value * term.weight.reshape((-1, *[1] * (value.ndim - 1)) if value.ndim else ())
            sums[name] += value


def _add(sums: dict[str, Tensor], layer: str, found: dict[str, Tensor]) -> None:
    for own, value in found.items():
        name = _join(layer, own)
        if name in sums:
            sums[name] += value


def _join(layer: str, own: str) -> str:
    return f"{layer}.{own}" if layer else own
