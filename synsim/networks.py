"""Networks made of Bernoulli synapses: plain modules."""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from synsim._checks import require, whole
from synsim.synapses import BernoulliLinear, StochasticLayer, synapses
from synsim.synapses.views import seeds_of


def mlp(
    sizes: Sequence[int],
    *,
    p: float | Tensor | Sequence[float] = 0.25,
    bias: bool = False,
    sites: int = 1,
    scope: str = "batch",
    replicas: int | None = None,
    seed: int | Sequence[int] = 0,
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
        replicas: R independent networks in one.
        seed: of weights and releases; with R replicas an int s means s, s + 1, …. `mlp(seed=s)` alone equals the
            replica of a batched network that has the seed s.
        device: where the tensors live.
        dtype: their floating-point type.

    Returns:
        A Sequential; its synapses are called "0", "2", "4", ….

    Raises:
        ValueError: if there are fewer than two sizes, or an argument does not fit.
    """
    sizes = [whole(size, "every entry of sizes") for size in sizes]
    require(len(sizes) >= 2, f"sizes must name at least an input and an output width, got {sizes}.")
    modules: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes):
        layer = BernoulliLinear(
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
        modules += [layer, nn.ReLU()]
    return initialised(nn.Sequential(*modules[:-1]), seed)


def initialised(net: nn.Sequential, seeds: int | Sequence[int], *, sweep: bool = False) -> nn.Sequential:
    """Seed a network and draw its parameters anew from these seeds.

    Args:
        net: a network of stochastic layers.
        seeds: one seed, or one per replica.
        sweep: allow a seed for several replicas, which then start alike and differ by their settings.

    Returns:
        The same network.
    """
    chosen = seeds_of(seeds, replicas_of(net), again=sweep)
    for name, layer in synapses(net).items():
        layer.seed(chosen, name)
        layer.reset_parameters()
    return net


def replicas_of(net: nn.Module) -> int | None:
    """The number of replicas of a network, None if it has no replica axis.

    Args:
        net: any module.

    Returns:
        R or None.
    """
    return next((layer.replicas for layer in synapses(net).values()), None)


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


class MultiHead(nn.Module):
    """A shared trunk with one output layer per task; the others stay out of a pass, and keep no gradient.

    Args:
        trunk: maps the input to features.
        heads: one module per task, from features to logits.
    """

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
        if not 0 <= head < len(self.heads):
            raise ValueError(f"head must lie between 0 and {len(self.heads) - 1}, got {head}.")
        out: Tensor = self.heads[head](self.trunk(x))
        return out
