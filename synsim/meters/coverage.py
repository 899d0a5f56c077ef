"""What a meter of synapses sees of a network, and what it has to say that it does not see."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from synsim._checks import warn
from synsim._kept import kept
from synsim._names import named_parameters
from synsim.inputs import Images, has_replicas, logits_of, tensor_of
from synsim.networks import MultiHead
from synsim.synapses import StochasticLayer, evaluation, synapses

GAINS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, _NormBase)
"""Modules whose weights scale units; they connect none."""
MATRICES = (nn.Linear, _ConvNd, nn.Bilinear, nn.Embedding, nn.EmbeddingBag)
"""Plain modules with one weight, every entry of which is a synapse that never fails."""
SEVERAL = (nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention)
"""Plain modules with several such weights of their own."""
PROBES = (2, 3)
"""Images of the passes that tell which axis counts the examples."""


def plain_strengths(net: nn.Module) -> tuple[list[Tensor], list[str]]:
    """The weights of plain modules that are synapses; a weight with two owners once.

    Args:
        net: any module, in a state of its own that may be refreshed.

    Returns:
        The weights as they enter a pass, and the names of parameters with at least two axes that are neither such
        weights, nor those of stochastic layers, nor gains of a normalisation.
    """
    strengths: list[Tensor] = []
    seen: set[int] = set()
    for module in net.modules():
        if isinstance(module, (StochasticLayer, *GAINS)):
            seen |= {id(parameter) for parameter in module.parameters()}
            continue
        if isinstance(module, MATRICES):
            parts = {id(parameter) for name, parameter in module.named_parameters() if "bias" not in name}
            if not parts <= seen:
                _refresh(module)
                strengths.append(module.weight.detach())
            seen |= parts
        elif isinstance(module, SEVERAL):
            for name, parameter in module.named_parameters(recurse=False):
                if "weight" in name and id(parameter) not in seen:
                    strengths.append(parameter.detach())
                    seen.add(id(parameter))
    return strengths, [name for name, p in named_parameters(net) if p.ndim > 1 and id(p) not in seen]


def _refresh(module: nn.Module) -> None:
    # Weights that hooks compute are as old as the last pass.
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, BasePruningMethod | WeightNorm | SpectralNorm):
            hook(module, ())


def say_left_out(names: list[str], what: str) -> None:
    """One warning that names what a number leaves out.

    Args:
        names: of parameters; without any nothing is said.
        what: the number, where it looks, and what follows.
    """
    if names:
        more = f" and {len(names) - 4} more" if len(names) > 4 else ""
        warn(f"{what} Left out: {', '.join(names[:4])}{more}.")


def say_reliable(net: nn.Module, what: str) -> None:
    """One warning that names the weights of a network that never fail, if it has any.

    Args:
        net: any module with stochastic layers.
        what: what is done with the others.
    """
    failing = {parameter for layer in synapses(net).values() for parameter in layer.parameters()}
    names = [name for name, parameter in _weights(net).items() if parameter not in failing]
    say_left_out(names, f"{what} Weights of other layers have no release probabilities.")


def say_shared(net: nn.Module, what: str) -> None:
    """One warning if stochastic layers share a weight.

    Args:
        net: any module.
        what: how they count.
    """
    owners: dict[int, list[str]] = {}
    for name, layer in synapses(net).items():
        held = layer._parameters.get("weight")
        owners.setdefault(id(layer if held is None else held), []).append(name)
    for names in owners.values():
        if len(names) > 1:
            warn(
                f"the stochastic layers {', '.join(map(repr, names))} share one weight, each with release "
                f"probabilities of its own: {what}",
            )


BYPASSED = (
    "{layers} of the network drew no mask in these passes, but the weights reach its output: something uses them "
    "without calling the layer, so that these synapses never fail. nn.MultiheadAttention does so with out_proj, and "
    "nn.TransformerEncoderLayer with its linear layers in evaluation mode without gradients "
    "(torch.backends.mha.set_fastpath_enabled(False) turns that off)."
)


def say_bypassed(net: nn.Module, images: Images, head: int | None) -> None:
    """One warning that names the stochastic layers whose weights were used without a release, after passes in a view.

    A layer that drew nothing may rest, as the heads of other tasks do; one that does not is found by its weight,
    without which the output changes.

    Args:
        net: the network, in the view and the mode of its passes, which are over.
        images: the images.
        head: index of the head, or None.
    """
    resting = {
        other
        for module in net.modules()
        if isinstance(module, MultiHead) and head is not None
        for index, branch in enumerate(module.heads)
        if index != head
        for other in branch.modules()
    }
    names = [name for name, layer in synapses(net).items() if layer not in resting and _unasked(layer)]
    if not names:
        return
    x = shown(net, images, PROBES[0])
    before = logits_of(net, x, head)
    if not torch.equal(before, logits_of(net, x, head)):
        return  # with noise of its own no change tells anything
    bypassed = [name for name in names if not torch.equal(before, _with_others(net, name, x, head))]
    if bypassed:
        layers = ("layer " if len(bypassed) == 1 else "layers ") + ", ".join(map(repr, bypassed))
        warn(BYPASSED.format(layers=layers))


def _unasked(layer: StochasticLayer) -> bool:
    view = layer.stream.here.view
    fails = view is not None and not view.address.mean and not view.asked
    return fails and bool((layer.p < 1).any())


def _with_others(net: nn.Module, name: str, x: Tensor, head: int | None) -> Tensor:
    # The output with other parameters in one layer; no multiple of its own, which a normalisation would hide.
    others = {
        f"{name}.{part}" if name else part: torch.linspace(-1, 2, p.numel(), device=p.device).reshape(p.shape).to(p)
        for part, p in synapses(net)[name].named_parameters()
    }
    return tensor_of(functional_call(net, others, (x,), {} if head is None else {"head": head}))


class Probe:
    """What small passes tell about a network.

    Attributes:
        outside: names of weights (parameters with at least two axes) that reach the output on another way than through
            the layers listened to.
        inputs: name of a layer -> shapes of its inputs, of two images and then of three.
    """

    def __init__(self) -> None:
        self.outside: list[str] = []
        self.inputs: dict[str, list[torch.Size]] = {}

    def lead(self, name: str, replicas: int | None) -> bool:
        """Whether the inputs of a layer have an axis of replicas: one that is as long whatever is shown.

        Args:
            name: of the layer.
            replicas: R, or None.

        Returns:
            The answer.
        """
        shapes = self.inputs.get(name, [])
        return replicas is not None and all(len(shape) > 1 and shape[0] == replicas for shape in shapes)


def probe(net: nn.Module, images: Images, layers: Mapping[str, nn.Module], seed: int, head: int | None) -> Probe:
    """Ask a network, in two small passes, what its layers see and what goes around them.

    Args:
        net: the network; it is left as it was.
        images: the images.
        layers: those that a meter listens to, by name.
        seed: of the masks.
        head: index of the head, or None.

    Returns:
        What was found.
    """
    found = Probe()
    with torch.enable_grad(), evaluation(net, seed), kept(net), eager():
        weights = _weights(net)
        trained = {parameter: parameter.requires_grad for parameter in net.parameters()}
        net.eval()
        try:
            for parameter in weights.values():
                parameter.requires_grad_(True)
            with _listening(layers, found.inputs, set(weights.values())):
                out, _ = (logits_of(net, shown(net, images, count), head) for count in PROBES)
            if out.requires_grad:
                reached = torch.autograd.grad(out.sum(), list(weights.values()), allow_unused=True)
                found.outside = [name for name, one in zip(weights, reached, strict=True) if one is not None]
        finally:
            for parameter, asked in trained.items():
                parameter.requires_grad_(asked)
    return found


def _weights(net: nn.Module) -> dict[str, nn.Parameter]:
    gains = {parameter for module in net.modules() if isinstance(module, GAINS) for parameter in module.parameters()}
    return {
        name: parameter
        for name, parameter in named_parameters(net)
        if parameter.ndim > 1
        and parameter.is_floating_point()
        and parameter not in gains
        and not parameter.is_inference()
    }


@contextmanager
def _listening(
    layers: Mapping[str, nn.Module], shapes: dict[str, list[torch.Size]], weights: set[nn.Parameter]
) -> Iterator[None]:
    # While a layer works, its weights are out of autograd: what reaches the output all the same goes around it.
    def before(name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Any, ...], options: dict[str, Any]) -> None:
            shapes.setdefault(name, []).append(input_of(inputs, options).shape)
            for parameter in module.parameters():
                parameter.requires_grad_(False)

        return hook

    def after(module: nn.Module, inputs: object, output: object) -> None:
        for parameter in module.parameters():
            parameter.requires_grad_(parameter in weights)

    # First of all hooks: those of pruning and norms compute the weight of a call.
    handles = [
        layer.register_forward_pre_hook(before(name), with_kwargs=True, prepend=True) for name, layer in layers.items()
    ]
    handles += [layer.register_forward_hook(after) for layer in layers.values()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def input_of(inputs: tuple[Any, ...], options: Mapping[str, Any]) -> Tensor:
    """What a layer was called with, by position or by keyword.

    Args:
        inputs: given by position.
        options: given by keyword.

    Returns:
        The first input.
    """
    found: Tensor = inputs[0] if inputs else options["input" if "input" in options else "x"]
    return found


def shown(net: nn.Module, images: Images, count: int) -> Tensor:
    """The first image, several times over.

    Args:
        net: the network.
        images: the images.
        count: how many times.

    Returns:
        Images of one pass.
    """
    first = images[0:1]
    return torch.cat([first] * count, 1 if has_replicas(net, first) else 0)


@contextmanager
def eager() -> Iterator[None]:
    """Compiled networks run as they were written meanwhile, so that hooks are heard."""
    # Without the compiler's module nothing is compiled, and importing it takes a second.
    if "torch._dynamo" not in sys.modules:
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield
