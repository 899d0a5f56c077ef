"""Sums over examples of a function of each example's own gradient."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from synsim._checks import finite, require
from synsim.curvature.capture import Layer, capture, closed, mask_of
from synsim.curvature.means import parameters_of
from synsim.curvature.measuring import Measurement
from synsim.curvature.products import POWERS, linear_sums, magnitude, one_product, position_sums
from synsim.inputs import Images, has_replicas, logits_of
from synsim.networks import replicas_of
from synsim.synapses import synapses


@dataclass(frozen=True)
class Score:
    """What is differentiated, in two parts, so that labels share the work on the output.

    Attributes:
        prepare: output [..., B, C] -> anything per example, [..., B] or [..., B, K].
        pick: (what was prepared, labels [B] or [..., B]) -> the score per example, [..., B].
    """

    prepare: Callable[[Tensor], Tensor]
    pick: Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Term:
    """One gradient per example.

    Attributes:
        labels: of the score, int64 [B] or [R, B].
        weight: of the example in the sum, at least 0, [B] or [R, B]; None for 1.
    """

    labels: Tensor
    weight: Tensor | None = None


Terms = Callable[[Tensor, slice, int], Sequence[Term]]
"""(output without autograd, rows of the chunk, number of the pass) -> the gradients wanted."""


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
    chunk and one product per layer; any other network goes through `torch.func`, one gradient per example at a time
    in memory-sized chunks.

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
        for parameters that the pass does not use (inactive heads).

    Raises:
        NotFiniteError: if a result is not finite; the message names the parameter.
        ValueError: if a replica network shares a parameter among its replicas.
    """
    require(power in POWERS, f"power must be one of {', '.join(POWERS)}, got {power!r}.")
    wanted = parameters_of(net)
    sums = {name: torch.zeros_like(parameter, requires_grad=False) for name, parameter in wanted.items()}
    budget = int(memory * 2**20)
    first = images[0:1]
    axis = 1 if has_replicas(net, first) else 0
    with torch.no_grad():
        next(iter(measurement.rows(1, 1)))
        simple, width = closed(net, wanted, lambda n: logits_of(net, torch.cat([first] * n, dim=axis), head))
    if simple:
        scratch: dict[torch.Size, Tensor] = {}
        each = 1024 + width * first.element_size()
        for rows in measurement.rows(len(images), max(1, budget // each)):
            _add_closed(sums, net, images[rows], rows, measurement.draw, score, terms, power, head, budget, scratch)
    else:
        require(
            all(layer.address.mean or layer.scope == "batch" for layer in synapses(net).values()),
            "masks per example need layers with a closed form (linear and convolution, each used once). "
            "Measure this network in the expected view.",
        )
        each = 3 * sum(parameter.numel() * parameter.element_size() for parameter in wanted.values())
        for rows in measurement.rows(len(images), max(1, budget // each)):
            _add_general(sums, net, images[rows], rows, measurement.draw, score, terms, power, head, axis)
    for value in sums.values():
        value /= measurement.draws
    finite(sums, "gradients", replicas_of(net))
    return sums


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
    modules = cast(dict[str, Layer], dict(net.named_modules()))
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
        for number, term in enumerate(chosen):
            with torch.enable_grad():
                picked = score.pick(prepared, term.labels)
                if term.weight is not None:
                    # A gradient is linear in what is differentiated: weighed here, once, and in no layer.
                    picked = picked * (term.weight.sqrt() if power == "square" else term.weight)
                total = picked.sum()
            last = number == len(chosen) - 1
            found_deltas = torch.autograd.grad(total, outputs, retain_graph=not last, allow_unused=True)
            deltas = cast(tuple[Tensor | None, ...], found_deltas)
            for name, delta in zip(names, deltas, strict=True):
                if delta is None:
                    continue
                if name not in direct:
                    found = position_sums(modules[name], tape.uses[name].input, delta, masks[name], power, budget)
                    _add(sums, name, found)
                    continue
                if name not in gathered:
                    gathered[name] = magnitude(delta, power)
                elif power == "square":
                    gathered[name].addcmul_(delta, delta)
                else:
                    gathered[name] += delta.abs()
        for name, summed in gathered.items():
            _add(sums, name, linear_sums(modules[name], tape.uses[name].input, summed, masks[name], power, scratch))


def _add_general(
    sums: dict[str, Tensor], net: nn.Module, x: Tensor, rows: slice, draw: int, score: Score, terms: Terms,
    power: str, head: int | None, axis: int,
) -> None:  # fmt: skip
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    # Each place that holds a parameter, once: torch itself loses a parameter whose module has two names.
    places = {
        _join(owner, own): names[id(parameter)]
        for owner, module in net.named_modules()
        for own, parameter in module.named_parameters(recurse=False)
        if names[id(parameter)] in sums
    }
    inputs = {} if head is None else {"head": head}
    with torch.no_grad():
        chosen = terms(logits_of(net, x, head), rows, draw)

    def total(values: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
        held = {place: values[name] for place, name in places.items()}
        out = functional_call(net, held, (image.unsqueeze(axis),), inputs, tie_weights=False)
        return score.pick(score.prepare(out), label.unsqueeze(-1)).sum()

    parameters = {name: parameter.detach() for name, parameter in net.named_parameters() if name in sums}
    for term in chosen:
        each = vmap(grad(total), in_dims=(None, axis, term.labels.ndim - 1), randomness="different")
        for name, gradient in each(parameters, x, term.labels).items():
            weight = term.weight
            value = magnitude(gradient, power)
            if weight is not None:
                weight = weight.t() if weight.ndim == 2 else weight
                value = value * weight.reshape(*weight.shape, *[1] * (value.ndim - weight.ndim))
            sums[name] += value.sum(0)


def _add(sums: dict[str, Tensor], layer: str, found: dict[str, Tensor]) -> None:
    for own, value in found.items():
        name = _join(layer, own)
        if name in sums:
            sums[name] += value


def _join(layer: str, own: str) -> str:
    return f"{layer}.{own}" if layer else own
