"""Energy that a network spends, under several named models."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from synsim._checks import require, warn
from synsim._doors import typed
from synsim._kept import TURN, kept
from synsim.inputs import Images, as_images, logits_of
from synsim.meters.coverage import PROBES, eager, plain_strengths, say_left_out, say_shared, shown
from synsim.meters.operations import HOROWITZ_45NM, OpCosts, op_budget, operations
from synsim.meters.passes import passes
from synsim.meters.physiology import RODENT_CORTEX, AtpConstants, atp_budget
from synsim.meters.transmission import transmission
from synsim.networks import replicas_of
from synsim.synapses import evaluation, synapses

KINDS = ("synaptic", "activity", "release", "atp", "synops", "macs", "pj")
RECTIFIERS = ("relu", "relu_")
OTHERS = (
    "celu", "elu", "gelu", "glu", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "logsigmoid", "mish", "prelu",
    "relu6", "rrelu", "selu", "sigmoid", "silu", "softplus", "softsign", "tanh", "threshold",
)  # fmt: skip
"""Activations whose units are none of those counted."""


@typed
def energy(
    net: nn.Module,
    kind: str = "synaptic",
    *,
    x: Any = None,
    samples: int = 10,
    block: int | None = 100,
    seed: int = 0,
    head: int | None = None,
    constants: AtpConstants = RODENT_CORTEX,
    costs: OpCosts = HOROWITZ_45NM,
) -> Tensor:
    """Energy per image.

    - "synaptic": Σ abs(w̄) over all synapses, biases left out; strength (Schug et al. 2021, Methods).
    - "activity": Σ of the outputs of all hidden units, mean over images and passes; rate (ibid., Fig. 4.6b).
    - "release": Σ abs(w̄) a, with a the input of each synapse, mean likewise: strength released; strength × rate.
    - "atp": spikes, vesicles and reversal of postsynaptic ion fluxes, mean likewise; ATP (`AtpConstants`).
    - "synops": synapses that release at inputs and strengths other than 0; effective operations.
    - "macs": multiply-accumulates of the same network where nothing is skipped; operations.
    - "pj": what "synops" cost, additions at spikes and multiply-accumulates at other inputs; pJ (`OpCosts`).

    The first is the mean strength transmitted if every presynaptic neuron spikes once: p · abs(m). The others need
    images; "release" and "atp" take the inputs of layers for spike rates and refuse negative ones, so standardised
    pixels too. `atp_budget` gives the terms of "atp" one by one. "pj" refuses negative inputs as well; "synops" and
    "macs" (`operations`) take any. Picojoules by a table rank networks and are no joules, as ATP is none of cells.

    Plain layers count as synapses that never fail: for "synaptic" all weights of `nn.Linear`, `nn.Bilinear`,
    convolutions, embeddings, recurrent layers and attention, for the last five what `transmission` counts. Gains
    of normalisations are no synapses. Weights that are not counted are named by a warning. A weight that layers share
    is one synapse to "synaptic", as the entry of a kernel is, and one in each of them to the others.

    Args:
        net: the network. Hidden units are, for "activity", all that is rectified (`nn.ReLU`, `F.relu`).
        kind: one of those above.
        x: images, as for `accuracy`; not needed for "synaptic".
        samples: stochastic passes.
        block: images that share a mask.
        seed: of the masks.
        head: index of the head, or None.
        constants: costs of the events and scales of the units, for "atp".
        costs: of the operations, for "pj".

    Returns:
        A number, or [R]; float64.

    Raises:
        ValueError: if the kind is unknown, images are missing or negative, or the network has no synapses or hidden
            units.

    Example:
        >>> import torch, synsim
        >>> net = synsim.mlp([4, 2], p=0.5)
        >>> _ = torch.nn.init.constant_(net[0].weight, -0.25)
        >>> synsim.meters.energy(net)
        tensor(2., dtype=torch.float64)
    """
    require(kind in KINDS, f"kind must be one of {', '.join(KINDS)}, got {kind!r}.")
    if kind == "synaptic":
        return _synaptic(net)
    if x is None:
        raise ValueError(f"the energy of kind {kind!r} needs images; give x.")
    if kind == "activity":
        return _activity(net, x, samples, block, seed, head)
    if kind == "release":
        return transmission(net, x, samples=samples, block=block, seed=seed, head=head).strength
    if kind in ("synops", "macs"):
        made = operations(net, x, samples=samples, block=block, seed=seed, head=head)
        return made.dense if kind == "macs" else made.accumulates + made.multiply_accumulates
    if kind == "pj":
        terms = op_budget(net, x, costs, samples=samples, block=block, seed=seed, head=head)
    else:
        terms = atp_budget(net, x, constants, samples=samples, block=block, seed=seed, head=head)
    return torch.stack(list(terms.values())).sum(0)


def _synaptic(net: nn.Module) -> Tensor:
    stochastic = {id(layer._parameters.get("weight", layer)): layer for layer in reversed(synapses(net).values())}
    with kept(net), torch.no_grad():
        net.eval()
        plain, others = plain_strengths(net)
        terms = [layer.expected_strength.detach() for layer in reversed(stochastic.values())]
    require(bool(terms or plain), "expected a network with synapses, got none.")
    say_left_out(others, "the energy counts the weights of stochastic layers and of torch's own layers.")
    say_shared(net, "the energy counts it once.")
    lead = (replicas_of(net) or 1, -1)
    sums = [term.reshape(lead).abs().sum(1, dtype=torch.float64) for term in terms]
    total = torch.stack(sums).sum(0) if sums else torch.zeros(1, dtype=torch.float64, device="cpu")
    for weight in plain:
        total = total.to(weight.device) + weight.abs().sum(dtype=torch.float64)
    return total if replicas_of(net) is not None else total[0]


class _Rectified(TorchFunctionMode):
    # Hears every rectification, by a module or by a function, and which other activations there are.
    def __init__(self, note: Callable[[int, Tensor], None]) -> None:
        super().__init__()
        self._note, self.count = note, 0
        self.others: set[str] = set()

    @contextmanager
    def modules(self, net: nn.Module) -> Iterator[None]:
        # The same without a look at every function: for networks that rectify by modules alone.
        def hook(module: nn.Module, inputs: object, output: Tensor) -> None:
            self._note(self.count, output)
            self.count += 1

        handles = [one.register_forward_hook(hook, prepend=True) for one in net.modules() if isinstance(one, nn.ReLU)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        if name in RECTIFIERS:
            # At once, for what comes next may work in place.
            self._note(self.count, out)
            self.count += 1
        elif name.rstrip("_") in OTHERS:
            self.others.add(name.rstrip("_"))
        return out


def _activity(
    net: nn.Module, x: Tensor | Images, samples: int, block: int | None, seed: int, head: int | None
) -> Tensor:
    replicas, images = replicas_of(net), as_images(net, x)
    lead, others, modules = _with_replicas(net, images, seed, head)
    found: list[Tensor] = []

    def add(index: int, output: Tensor) -> None:
        rows = output.reshape(replicas if lead[index] and replicas else 1, -1).sum(1, dtype=torch.float64)
        found.append(rows.expand(replicas or 1))

    total, count = torch.zeros(replicas or 1, dtype=torch.float64, device="cpu"), 0
    heard = _Rectified(add)
    with TURN, eager(), heard.modules(net) if modules else heard:
        for _, part, _ in passes(net, images, samples=samples, block=block, seed=seed, head=head):
            total = total.to(found[0].device) + torch.stack(found).sum(0)
            count += part.stop - part.start
            heard.count = 0
            found.clear()
    if others:
        warn(
            f"the activity is that of rectified units (ReLU); this network also has units with {', '.join(others)}, "
            "which are left out.",
        )
    total = total / count
    return total if replicas is not None else total[0]


def _with_replicas(net: nn.Module, images: Images, seed: int, head: int | None) -> tuple[list[bool], list[str], bool]:
    # Whether each rectified output has an axis of replicas, one that is as long whatever is shown; other activations;
    # and whether all that rectifies is certain to be a module.
    shapes: list[list[torch.Size]] = []
    calls: list[object] = []
    called = _Rectified(lambda index, output: calls.append(None))
    with torch.no_grad(), evaluation(net, seed), kept(net), eager():
        net.eval()
        for times in PROBES:
            shapes.append([])
            with called.modules(net), _Rectified(lambda index, output: shapes[-1].append(output.shape)) as heard:
                logits_of(net, shown(net, images, times), head)
    require(bool(shapes[0]), "expected a network with ReLU units, got none: no hidden activity can be measured.")
    replicas = replicas_of(net)
    lead = [all(len(one) > 1 and one[0] == replicas for one in pair) for pair in zip(*shapes, strict=True)]
    modules = len(calls) == sum(map(len, shapes)) and not any(map(_foreign, net.modules()))
    return lead, sorted(heard.others), modules


def _foreign(module: nn.Module) -> bool:
    # Whether a module runs code of the user's, which may rectify in some passes and not in others.
    known = type(module).__module__.partition(".")[0] in ("torch", __name__.partition(".")[0])
    return not known or bool(module._forward_hooks or module._forward_pre_hooks)
