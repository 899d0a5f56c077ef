"""Energy that a network spends, under several named models."""

import torch
from torch import Tensor, nn

from synsim._checks import require
from synsim.inputs import Images
from synsim.meters.passes import passes
from synsim.meters.physiology import RODENT_CORTEX, AtpConstants, atp_budget
from synsim.meters.transmission import transmission
from synsim.networks import replicas_of
from synsim.synapses import synapses

KINDS = ("synaptic", "activity", "release", "atp")


def energy(
    net: nn.Module,
    kind: str = "synaptic",
    *,
    x: Tensor | Images | None = None,
    samples: int = 10,
    block: int | None = 100,
    seed: int = 0,
    head: int | None = None,
    constants: AtpConstants = RODENT_CORTEX,
) -> Tensor:
    """Energy per image.

    | kind | meaning | unit | source |
    |---|---|---|---|
    | "synaptic" | Σ abs(w̄) over all synapses, biases left out | strength | Schug et al. 2021, Methods |
    | "activity" | Σ of the outputs of all hidden units, mean over images and passes | rate | ibid., Fig. 4.6b |
    | "release" | Σ abs(w̄) a, with a the input of each synapse, mean likewise: strength released | strength × rate | |
    | "atp" | spikes, vesicles and reversal of postsynaptic ion fluxes, mean likewise | ATP | `AtpConstants` |

    The first is the mean strength transmitted if every presynaptic neuron spikes once: p · abs(m). The others need
    images; "release" and "atp" take the inputs of layers for spike rates and refuse negative ones, so standardised
    pixels too. Plain `nn.Linear` and `nn.Conv2d` layers count as synapses that never fail. `atp_budget` gives the terms
    of "atp" one by one.

    Args:
        net: the network. Hidden units are, for "activity", the outputs of its `nn.ReLU` modules.
        kind: "synaptic", "activity", "release" or "atp".
        x: images; not needed for "synaptic".
        samples: stochastic passes.
        block: images that share a mask.
        seed: of the masks.
        head: index of the head, or None.
        constants: costs of the events and scales of the units, for "atp".

    Returns:
        A number, or [R]; float64.

    Raises:
        ValueError: if the kind is unknown, images are missing or negative, or the network has no synapses or hidden
            units.
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
    terms = atp_budget(net, x, constants, samples=samples, block=block, seed=seed, head=head)
    return torch.stack(list(terms.values())).sum(0)


def _synaptic(net: nn.Module) -> Tensor:
    stochastic = list(synapses(net).values())
    plain = [module for module in net.modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    require(bool(stochastic or plain), "expected a network with synapses, got none.")
    lead = (replicas_of(net) or 1, -1)
    terms = [layer.expected_strength.detach().reshape(lead).abs().sum(1, dtype=torch.float64) for layer in stochastic]
    total = torch.stack(terms).sum(0) if terms else torch.zeros(1, dtype=torch.float64)
    for module in plain:
        total = total.to(module.weight.device) + module.weight.detach().abs().sum(dtype=torch.float64)
    return total if replicas_of(net) is not None else total[0]


def _activity(
    net: nn.Module, x: Tensor | Images, samples: int, block: int | None, seed: int, head: int | None
) -> Tensor:
    units = [module for module in net.modules() if isinstance(module, nn.ReLU)]
    require(bool(units), "expected a network with nn.ReLU modules, got none: no hidden activity can be measured.")
    lead = replicas_of(net) or 1
    found: list[Tensor] = []

    def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        found.append(output.reshape(lead, -1).sum(1, dtype=torch.float64))

    handles = [module.register_forward_hook(add) for module in units]
    total, images = torch.zeros(lead, dtype=torch.float64), 0
    try:
        for _, part, _ in passes(net, x, samples=samples, block=block, seed=seed, head=head):
            total = total.to(found[0].device) + torch.stack(found).sum(0)
            images += part.stop - part.start
            found.clear()
    finally:
        for handle in handles:
            handle.remove()
    total = total / images
    return total if replicas_of(net) is not None else total[0]
