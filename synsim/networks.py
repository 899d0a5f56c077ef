"""Networks made of Bernoulli synapses: plain modules."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synsim import streams
from synsim._checks import require, whole
from synsim._doors import shown, typed
from synsim.dropout import StreamDropout
from synsim.synapses import BernoulliConv2d, BernoulliLinear, StochasticLayer, addressed, synapses
from synsim.synapses.views import seeds_of

SCHEMES = ("fan_in", "glorot")
Net = TypeVar("Net", bound=nn.Module)
LayerFactory = Callable[..., StochasticLayer]
"""What makes the layers of a network: a class, or a function with its arguments."""


@runtime_checkable
class Seeded(Protocol):
    """Replicas that know their seeds, such as a `synsim.Sweep`."""

    @property
    def replicas(self) -> int:
        """Their number R."""

    @property
    def seeds(self) -> tuple[int, ...]:
        """One for each; a seed may stand for several settings."""


@typed
def spelled(replicas: int | Seeded | None, seed: int | Sequence[int]) -> tuple[int | None, int | Sequence[int], bool]:
    """Replicas by their number, or by a sweep.

    Args:
        replicas: R, None, or a sweep.
        seed: of the network; a sweep has seeds of its own.

    Returns:
        R or None, the seeds, and whether a seed may stand there twice.

    Raises:
        ValueError: if both name seeds.
    """
    if not isinstance(replicas, Seeded):
        return replicas, seed, False
    require(seed == 0, f"the replicas of a sweep have their own seeds; leave out seed={shown(seed)}.")
    return replicas.replicas, replicas.seeds, True


def _stochastic(made: Any, what: str) -> StochasticLayer:
    """Refuse what a factory made if it is no stochastic layer.

    Args:
        made: by the factory.
        what: name of the argument that gave it.

    Returns:
        The same layer.

    Raises:
        ValueError: if it is none.
    """
    require(
        isinstance(made, StochasticLayer),
        f"{what} must make stochastic layers (subclasses of synsim.synapses.StochasticLayer), got {shown(made)}.",
    )
    return made  # type: ignore[no-any-return]


@typed
def mlp(
    sizes: Sequence[int],
    *,
    p: float | Tensor | Sequence[float] = 0.25,
    bias: bool = False,
    sites: int = 1,
    scope: str = "batch",
    replicas: int | Seeded | None = None,
    seed: int | Sequence[int] = 0,
    layer: LayerFactory = BernoulliLinear,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> nn.Sequential:
    """Multilayer network of Bernoulli synapses with ReLU between the layers; it returns logits.

    Args:
        sizes: width of the input, of each hidden layer and of the output, such as [784, 200, 200, 10].
        p: release probability at the start: a number, or [R].
        bias: whether the layers have biases. The published model has none.
        sites: release sites per synapse.
        scope: "batch": one mask per forward pass; "sample": one per example.
        replicas: R independent networks in one, or a `synsim.Sweep`, which brings their seeds.
        seed: of weights and releases; with R replicas an int s means s, s + 1, …. `mlp(seed=s)` alone equals the
            replica of a batched network that has the seed s.
        layer: makes the layers: `BernoulliLinear`, or any class or function with its arguments, which gives stochastic
            layers of one's own.
        device: where the tensors live.
        dtype: their floating-point type.

    Returns:
        A Sequential; its synapses are called "0", "2", "4", ….

    Raises:
        ValueError: if there are fewer than two sizes, or an argument does not fit.

    Example:
        >>> import torch, synsim
        >>> net = synsim.mlp([4, 3, 2], p=0.25, replicas=5)
        >>> net(torch.ones(5, 7, 4)).shape
        torch.Size([5, 7, 2])
    """
    replicas, seed, again = spelled(replicas, seed)
    sizes = [whole(size, "every entry of sizes") for size in sizes]
    require(len(sizes) >= 2, f"sizes must name at least an input and an output width, got {sizes}.")
    modules: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes):
        made = layer(
            inputs,
            outputs,
            p=p,
            bias=bias,
            sites=sites,
            scope=scope,
            replicas=replicas,
            device=device,
            dtype=dtype,
        )
        modules += [_stochastic(made, "layer"), nn.ReLU()]
    return initialised(nn.Sequential(*modules[:-1]), seed, sweep=again)


@typed
def cnn(
    classes: int = 10,
    *,
    heads: int | None = None,
    p: float | Tensor | Sequence[float] = 0.25,
    sites: int = 1,
    scope: str = "batch",
    replicas: int | Seeded | None = None,
    seed: int | Sequence[int] = 0,
    dropout: bool = True,
    layer: LayerFactory = BernoulliLinear,
    convolution: LayerFactory = BernoulliConv2d,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> nn.Module:
    """The small convolutional network of the Keras examples for CIFAR, of Bernoulli synapses; it returns logits.

    3 × 3 convolutions that keep the size, to 32, 32, 64 and 64 channels, a pool of 2 × 2 after the second and the
    fourth, a hidden layer of 512, and the head; ReLU after every layer but the head. All layers have biases, so that
    p = 1 is the plain network. Weights start from U(±√(6 / (fan_in + fan_out))) (Glorot & Bengio 2010), biases at 0.

    Args:
        classes: outputs of a head.
        heads: None for one head; a number for `MultiHead` with that many, one per task.
        p: release probability at the start: a number, or [R].
        sites: release sites per synapse.
        scope: "batch": one mask per forward pass; "sample": one per example.
        replicas: R independent networks in one, or a `synsim.Sweep`, which brings their seeds.
        seed: of weights, releases and dropout, as for `mlp`.
        layer: makes the layers: `BernoulliLinear`, or any class or function with its arguments, which gives stochastic
            layers of one's own.
        convolution: makes the convolutions: `BernoulliConv2d`, or what takes its arguments.
        dropout: whether units drop out in training: 0.25 of them after each pool, 0.5 after the hidden layer.
        device: where the tensors live.
        dtype: their floating-point type.

    Returns:
        A Sequential whose synapses are called "conv1" to "conv4", "hidden" and "head"; with several heads a
        `MultiHead`, where they are "trunk.conv1" … and "heads.0", …. Inputs [B, 3, 32, 32], or with replicas also
        [R, B, 3, 32, 32]; logits [B, C] or [R, B, C].

    Raises:
        ValueError: if an argument does not fit.

    Source:
        The network of Zenke, Poole & Ganguli 2017 for CIFAR-10/100, from the Keras example cifar10_cnn.py.
    """
    replicas, seed, again = spelled(replicas, seed)
    classes = whole(classes, "classes")
    kind: dict[str, Any] = {
        "p": p,
        "bias": True,
        "sites": sites,
        "scope": scope,
        "replicas": replicas,
        "device": device,
        "dtype": dtype,
    }
    trunk = nn.Sequential()
    channels = 3
    for index, width in enumerate((32, 32, 64, 64), start=1):
        made = convolution(channels, width, 3, padding=1, **kind)
        trunk.add_module(f"conv{index}", _stochastic(made, "convolution"))
        trunk.add_module(f"relu{index}", nn.ReLU())
        channels = width
        if index % 2 == 0:
            trunk.add_module(f"pool{index // 2}", MaxPool(2))
            if dropout:
                trunk.add_module(f"drop{index // 2}", StreamDropout(0.25, replicas=replicas))
    trunk.add_module("flatten", nn.Flatten(-3))
    trunk.add_module("hidden", _stochastic(layer(channels * 8 * 8, 512, **kind), "layer"))
    trunk.add_module("relu5", nn.ReLU())
    if dropout:
        trunk.add_module("drop3", StreamDropout(0.5, replicas=replicas))
    last = [
        _stochastic(layer(512, classes, **kind), "layer")
        for _ in range(1 if heads is None else whole(heads, "heads", 1, 2**16))
    ]
    if heads is not None:
        return initialised(MultiHead(trunk, last), seed, sweep=again, scheme="glorot")
    trunk.add_module("head", last[0])
    return initialised(trunk, seed, sweep=again, scheme="glorot")


@typed
def initialised(net: Net, seeds: int | Sequence[int], *, sweep: bool = False, scheme: str = "fan_in") -> Net:
    """Seed a network, its dropout included, and draw its parameters anew from these seeds.

    Args:
        net: a network of stochastic layers.
        seeds: one seed, or one per replica.
        sweep: allow a seed for several replicas, which then start alike and differ by their settings.
        scheme: "fan_in": weights and biases from U(±1 / √fan_in), as torch does; "glorot": weights from
            U(±√(6 / (fan_in + fan_out))), biases 0, as Keras does.

    Returns:
        The same network.

    Raises:
        ValueError: if the seeds do not fit, or the scheme is unknown.
    """
    chosen = seeds_of(seeds, replicas_of(net), again=sweep)
    for name, drawing in addressed(net).items():
        drawing.seed(chosen, name)
    return redraw(net, scheme=scheme)


@typed
def redraw(net: Net, *, scheme: str = "fan_in", bias: float = 0.0, draw: int = 0) -> Net:
    """Draw the parameters of all stochastic layers anew from their seeds; release streams and probabilities stay.

    Args:
        net: a network of stochastic layers.
        scheme: "fan_in" or "glorot", as for `initialised`.
        bias: value of all biases with scheme="glorot".
        draw: number of the draw; another one gives other values, such as the index of a task.

    Returns:
        The same network.

    Raises:
        ValueError: if the scheme is unknown.
    """
    require(scheme in SCHEMES, f"scheme must be one of {', '.join(SCHEMES)}, got {scheme!r}.")
    for name, layer in synapses(net).items():
        if scheme == "glorot":
            _glorot(layer, name, bias, draw)
        else:
            layer.reset_parameters(draw)
    return net


@torch.no_grad()
def _glorot(layer: StochasticLayer, name: str, bias: float, draw: int) -> None:
    weight, seeds = layer.weight, layer.seeds
    shape = weight.shape if layer.replicas is None else weight.shape[1:]
    bound = math.sqrt(6 / ((shape[0] + shape[1]) * math.prod(shape[2:])))
    drawn = streams.uniform(streams.keys("init", seeds, name), weight.numel() // len(seeds), draw)
    weight.copy_(((2 * drawn - 1) * bound).reshape(weight.shape))
    if layer.bias is not None:
        layer.bias.fill_(bias)


@typed
def replicas_of(net: nn.Module) -> int | None:
    """The number of replicas of a network, None if it has no replica axis.

    Args:
        net: any module.

    Returns:
        R or None.
    """
    # Asked at every pass of a meter: without a list of all layers.
    return next((layer.replicas for layer in net.modules() if isinstance(layer, StochasticLayer)), None)


@typed
def example_ndim(net: nn.Module) -> int | None:
    """How many axes one input example has: 1 for linear layers, 3 for images; None if it can't be told.

    Args:
        net: any module.

    Returns:
        The number of axes of an example as the first layer of the network takes it.
    """
    for module in net.modules():
        if isinstance(module, StochasticLayer):
            return module.example_ndim
        if isinstance(module, nn.Linear):
            return 1
        if isinstance(module, nn.Conv2d):
            return 3
        if isinstance(module, nn.Flatten):
            return None
    return None


class MaxPool(nn.Module):
    """`nn.MaxPool2d` without padding, for images with or without a replica axis.

    Args:
        size: height and width of a pool, and its stride.
    """

    @typed
    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = whole(size, "size", 1, 2**31 - 1)

    def forward(self, x: Tensor) -> Tensor:
        """The largest value of every pool.

        Args:
            x: [B, C, H, W] or [R, B, C, H, W].

        Returns:
            [B, C, H', W'] or [R, B, C, H', W'].

        Raises:
            ValueError: if x is no dense tensor of numbers of that rank, or smaller than a pool.
        """
        fits = isinstance(x, Tensor) and x.ndim in (3, 4, 5) and x.layout == torch.strided
        if not fits or x.dtype == torch.bool or x.is_complex() or min(x.shape[-2:]) < self.size:
            raise ValueError(
                f"x must be a dense tensor [B, C, H, W] or [R, B, C, H, W] with H and W of at least {self.size}, "
                f"got {shown(x)}."
            )
        if x.ndim < 5:
            return F.max_pool2d(x, self.size)
        # As a convolution left them in memory, replicas or examples outermost: so nothing is copied.
        if x.is_contiguous():
            out = F.max_pool2d(x.flatten(0, 1), self.size)
            return out.reshape(*x.shape[:3], *out.shape[2:])
        out = F.max_pool2d(x.transpose(0, 1).flatten(1, 2), self.size)
        return out.reshape(out.shape[0], x.shape[0], x.shape[2], *out.shape[2:]).transpose(0, 1)


class MultiHead(nn.Module):
    """A shared trunk with one output layer per task; the others stay out of a pass, and keep no gradient.

    Args:
        trunk: maps the input to features.
        heads: one module per task, from features to logits.
    """

    @typed
    def __init__(self, trunk: nn.Module, heads: Sequence[nn.Module]) -> None:
        super().__init__()
        require(len(heads) > 0, "expected at least one head, got none.")
        self.trunk = trunk
        self.heads = nn.ModuleList(heads)

    def forward(self, x: Tensor, head: int) -> Tensor:
        """Logits of one head.

        Args:
            x: inputs as the trunk takes them.
            head: index of the head.

        Returns:
            Logits [B, C] or [R, B, C].

        Raises:
            ValueError: if there is no such head.
        """
        if type(head) is not int:
            head = whole(head, "head", 0)
        if not 0 <= head < len(self.heads):
            raise ValueError(f"head must lie between 0 and {len(self.heads) - 1}, got {head}.")
        out: Tensor = self.heads[head](self.trunk(x))
        return out
