"""One small network per kind of module that draws, for the tour of torch.

`build(kind)` makes the same network each time, in float64: the module that is meant, and a layer of synapses after it,
so that gradients and draws on both sides of it are seen. `inputs(kind)` are examples that suit it.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

import synsim
from synsim import controls
from synsim.dropout import StreamDropout
from synsim.spiking import spiking_mlp
from synsim.synapses import evaluation
from synsim.synapses.addressed import addressed

DOUBLE = torch.float64
ROWS, WIDTH, CLASSES = 4, 6, 3


def linear(**options: Any) -> Callable[[], nn.Module]:
    others = {key: options[key] for key in ("replicas", "p") if key in options}
    return lambda: nn.Sequential(
        synsim.BernoulliLinear(WIDTH, 5, bias=True, dtype=DOUBLE, **options),
        nn.Tanh(),
        synsim.BernoulliLinear(5, CLASSES, dtype=DOUBLE, **others),
    )


def convolution(**options: Any) -> Callable[[], nn.Module]:
    replicas = options.get("replicas")
    return lambda: nn.Sequential(
        synsim.BernoulliConv2d(4, 4, 2, stride=2, padding=1, groups=2, bias=True, dtype=DOUBLE, **options),
        nn.Tanh(),
        nn.Flatten(-3),
        synsim.BernoulliLinear(24, CLASSES, replicas=replicas, dtype=DOUBLE),
    )


def dropout(replicas: int | None = None) -> nn.Module:
    net = linear(replicas=replicas)()
    net.insert(2, StreamDropout(0.4, replicas=replicas))
    return net


def control(name: str, replicas: int | None = None) -> Callable[[], nn.Module]:
    return lambda: controls.mlp([WIDTH, 5, CLASSES], name, bias=True, replicas=replicas, dtype=DOUBLE)


def spiking(**options: Any) -> Callable[[], nn.Module]:
    return lambda: spiking_mlp([WIDTH, 5, CLASSES], window=6.0, threshold=0.1, dtype=DOUBLE, **options)


KINDS: dict[str, Callable[[], nn.Module]] = {
    "batch": linear(),
    "sample": linear(scope="sample"),
    "event": linear(scope="event"),
    "event-gaussian": linear(scope="event-gaussian"),
    "three sites": linear(sites=3),
    "always released": linear(p=1.0),
    "batch, replicas": linear(replicas=2),
    "sample, replicas": linear(replicas=2, scope="sample"),
    "event, replicas": linear(replicas=2, scope="event"),
    "convolution": convolution(),
    "convolution, sample": convolution(scope="sample", sites=2),
    "convolution, replicas": convolution(replicas=2),
    "dropout": dropout,
    "dropout, replicas": lambda: dropout(2),
    **{name: control(name) for name in controls.CONTROLS},
    "ghost-code, replicas": control("ghost-code", 2),
    "spiking": spiking(),
    "spiking, event": spiking(scope="event"),
    "spiking, replicas": spiking(scope="sample", replicas=2),
}
LAYERS = [kind for kind in KINDS if not kind.startswith(("spiking", "dropout"))]
"""Kinds whose first module is a layer of synapses."""


def build(kind: str, seed: int = 3) -> nn.Module:
    """The network of a kind, with probabilities that differ between synapses."""
    net, generator = KINDS[kind](), torch.Generator().manual_seed(5)
    synsim.networks.initialised(net, seed)
    for layer in synsim.synapses(net).values():
        if kind != "always released":
            layer.p.uniform_(0.3, 0.9, generator=generator)
        if getattr(layer, "ghost", None) is not None:
            layer.ghost.uniform_(0.3, 0.9, generator=generator)
        if layer.bias is not None:
            with torch.no_grad():
                layer.bias.uniform_(-0.5, 0.5, generator=generator)
    return net


def inputs(kind: str, seed: int = 2, rows: int = ROWS) -> Tensor:
    shape = (4, 3, 4) if kind.startswith("convolution") else (WIDTH,)
    x = torch.rand(rows, *shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)
    return x.round() if kind.startswith("event") else x


def draws(net: nn.Module) -> list[int]:
    """How many draws each module has consumed."""
    return [module.draws for module in addressed(net).values()]


def gradients(net: nn.Module) -> list[Tensor | None]:
    return [parameter.grad for parameter in net.parameters()]


def same(one: list[Tensor | None], other: list[Tensor | None]) -> bool:
    """Whether two lists hold the same bits, None included."""
    return len(one) == len(other) and all(
        a is b is None or (a is not None and b is not None and a.dtype == b.dtype and torch.equal(a, b))
        for a, b in zip(one, other, strict=True)
    )


def passed(net: nn.Module, run: Callable[[Tensor], Tensor], x: Tensor) -> list[Tensor | None]:
    """Output of a pass, and the gradients of its sum of squares for parameters and inputs."""
    net.zero_grad()
    x = x.detach().clone().requires_grad_()
    out = run(x)
    out.square().sum().backward()
    return [out.detach(), x.grad, *gradients(net)]


def copied(net: nn.Module) -> nn.Module:
    return copy.deepcopy(net)


@contextmanager
def at(net: nn.Module, view: str) -> Iterator[None]:
    """One of the views, by name."""
    if view == "frozen":
        with synsim.frozen(net, 7):
            yield
    elif view == "expected":
        with synsim.expected(net):
            yield
    else:
        with evaluation(net, 4) as passes:
            passes.at(2, 1, 3)
            yield
