"""Three ways to sum over examples: by closed forms, by `torch.func`, and one example at a time."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from synsim._kept import kept
from synsim._names import named_modules, named_parameters
from synsim.curvature.capture import Tape, capture, mask_of
from synsim.curvature.layers import Handler, handler_of, replicas_of
from synsim.curvature.means import dense, parameters_of
from synsim.curvature.products import magnitude, outer_sums, position_sums, wide
from synsim.curvature.trial import quiet
from synsim.inputs import logits_of, output_replicas, tensor_of


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
Chosen = Callable[[Tensor], Sequence[Term]]
"""Output without autograd -> the gradients wanted of this chunk."""


@dataclass(frozen=True)
class Job:
    """What is summed, of which network, and the sums so far.

    Attributes:
        net: the network.
        score: what is differentiated.
        power: "square" or "absolute".
        head: index of the head, or None.
        axis: of the examples in the input.
        memory: bytes that a chunk may take.
        sums: parameter name -> sum.
        scratch: memory kept from chunk to chunk.
    """

    net: nn.Module
    score: Score
    power: str
    head: int | None
    axis: int
    memory: int
    sums: dict[str, Tensor]
    scratch: dict[torch.Size, Tensor] = field(default_factory=dict)

    def add(self, layer: str, parts: dict[str, Tensor], slope: Tensor | None) -> None:
        """Add what a layer contributes.

        Args:
            layer: its name.
            parts: "weight" and "bias" -> sums with respect to the strengths and the bias.
            slope: derivative of the strengths by the weight, or None for 1.
        """
        if slope is not None:
            parts["weight"] = parts["weight"] * magnitude(slope.detach(), self.power)
        for own, value in parts.items():
            name = _join(layer, own)
            if name in self.sums:
                self.sums[name] += value


@dataclass
class _Used:
    # A layer as the pass used it; of one product, the magnitudes of its output gradients add up over terms. Else these
    # gradients wait, as long as memory holds them, so that terms share what is made of the inputs.
    name: str
    layer: nn.Module
    handler: Handler
    given: Tensor
    mask: Tensor | None
    total: Tensor | None = None
    waiting: list[Tensor] = field(default_factory=list)

    @property
    def outer(self) -> bool:
        shared = self.mask is None or self.mask.shape[0] == 1
        return shared and self.handler.outer(self.layer, self.given)

    def add(self, job: Job, delta: Tensor) -> None:
        if not self.outer:
            self.waiting.append(delta)
        elif self.total is None:
            self.total = magnitude(delta, job.power)
        elif job.power == "square":
            self.total.addcmul_(wide(delta), wide(delta))
        else:
            self.total += delta.abs()

    def flush(self, job: Job) -> None:
        if not self.waiting:
            return
        axis = 1 if replicas_of(self.layer) is None else 2
        deltas = torch.stack(self.waiting, axis)
        self.waiting.clear()
        with _precise(deltas):
            parts = position_sums(self.handler, self.layer, self.given, deltas, self.mask, job.power, job.memory)
        job.add(self.name, parts, self.handler.slope(self.layer))

    def finish(self, job: Job) -> None:
        self.flush(job)
        if self.total is not None:
            with _precise(self.total):
                whole = outer_sums(self.layer, self.given, self.total, self.mask, job.power, job.scratch)
            job.add(self.name, whole, self.handler.slope(self.layer))


def _summed(net: nn.Module, scores: Tensor, term: Term) -> Tensor:
    # Scores of tokens [B, T] add up to those of their examples [B]; those of replicas [R, B] stay apart.
    if scores.ndim == 1 or output_replicas(net) is not None:
        return scores
    return scores.sum(1) if term.token is None else scores[:, term.token]


def add_closed(job: Job, x: Tensor, terms: Chosen) -> None:
    """Add the sums of a chunk by closed forms: one backward pass per term.

    Args:
        job: what is summed.
        x: the chunk.
        terms: says which gradients are wanted.
    """
    with capture(job.net) as tape:
        with torch.enable_grad():
            logits = logits_of(job.net, x, job.head)
            prepared = job.score.prepare(logits)
        layers = _layers(job, tape, x.shape[job.axis])
        outputs = [tape.uses[layer.name].output for layer in layers]
        chosen = list(terms(logits.detach()))
        for place, term in enumerate(chosen):
            with torch.enable_grad():
                picked = _summed(job.net, job.score.pick(prepared, term.labels), term)
                if term.weight is not None:
                    # A gradient is linear in what is differentiated: weighed here, once, and in no layer.
                    picked = picked * (term.weight.sqrt() if job.power == "square" else term.weight)
                total = picked.sum()
            last = place == len(chosen) - 1
            deltas = torch.autograd.grad(total, outputs, retain_graph=not last, allow_unused=True)
            for layer, delta in zip(layers, cast(tuple[Tensor | None, ...], deltas), strict=True):
                if delta is not None:
                    layer.add(job, delta)
            held = sum(delta.numel() * delta.element_size() for layer in layers for delta in layer.waiting)
            if held > job.memory:
                for layer in layers:
                    layer.flush(job)
        for layer in layers:
            layer.finish(job)


def _layers(job: Job, tape: Tape, examples: int) -> list[_Used]:
    modules, layers = dict(named_modules(job.net)), []
    for name, use in tape.uses.items():
        if any(_join(name, own) in job.sums for own in ("weight", "bias")):
            layer = modules[name]
            handler = cast(Handler, handler_of(layer))
            layers.append(_Used(name, layer, handler, use.input, mask_of(layer, examples)))
    return layers


def _precise(x: Tensor) -> AbstractContextManager[object]:
    # Under autocast, products of squares would be made in 16 bits again.
    kind = x.device.type
    return torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext()


def _places(job: Job) -> dict[str, str]:
    # Each place that holds a parameter, once: torch itself loses a parameter whose module has two names.
    names = {id(parameter): name for name, parameter in named_parameters(job.net)}
    return {
        _join(owner, own): names[id(parameter)]
        for owner, module in job.net.named_modules()
        for own, parameter in module.named_parameters(recurse=False)
        if names[id(parameter)] in job.sums
    }


def add_batched(job: Job, x: Tensor, chosen: Sequence[Term]) -> None:
    """Add the sums of a chunk by `torch.func`.

    Args:
        job: what is summed.
        x: the chunk.
        chosen: the gradients wanted.
    """
    net, places = job.net, _places(job)
    inputs = {} if job.head is None else {"head": job.head}
    parameters = {name: parameter.detach() for name, parameter in named_parameters(net) if name in job.sums}
    replicas = output_replicas(net) is not None
    for term in chosen:
        where = 1 if replicas and term.labels.ndim > 1 else 0

        def total(
            values: dict[str, Tensor], image: Tensor, label: Tensor, term: Term = term, at: int = where
        ) -> Tensor:
            held = {place: values[name] for place, name in places.items()}
            out = tensor_of(functional_call(net, held, (image.unsqueeze(job.axis),), inputs, tie_weights=False))
            return _summed(net, job.score.pick(job.score.prepare(out), label.unsqueeze(at)), term).sum()

        each = vmap(grad(total), in_dims=(None, job.axis, where), randomness="different")
        # A forward pass that keeps something must not meet tensors of the last transform.
        with kept(net), quiet():
            gradients = each(parameters, x, term.labels)
        for name, gradient in gradients.items():
            weight = term.weight
            value = magnitude(gradient, job.power)
            if weight is not None:
                weight = weight.t() if weight.ndim == 2 else weight
                value = value * weight.reshape(*weight.shape, *[1] * (value.ndim - weight.ndim))
            job.sums[name] += value.sum(0)


def add_single(job: Job, x: Tensor, terms: Chosen) -> None:
    """Add the gradient of one example by a plain pass.

    Args:
        job: what is summed.
        x: the example.
        terms: says which gradients are wanted.
    """
    wanted = parameters_of(job.net)
    with torch.enable_grad():
        logits = logits_of(job.net, x, job.head)
        prepared = job.score.prepare(logits)
    chosen = list(terms(logits.detach()))
    for place, term in enumerate(chosen):
        with torch.enable_grad():
            total = _summed(job.net, job.score.pick(prepared, term.labels), term).sum()
        last = place == len(chosen) - 1
        parameters = list(wanted.values())
        gradients = torch.autograd.grad(total, parameters, retain_graph=not last, allow_unused=True)
        for name, gradient in zip(wanted, cast(tuple[Tensor | None, ...], gradients), strict=True):
            if gradient is None:
                continue
            value = magnitude(dense(gradient), job.power)
            if term.weight is not None:
                # [1], or [R, 1] beside a gradient of [R, ...].
                value = value * term.weight.reshape((-1, *[1] * (value.ndim - 1)) if value.ndim else ())
            job.sums[name] += value


def _join(layer: str, own: str) -> str:
    return f"{layer}.{own}" if layer else own
