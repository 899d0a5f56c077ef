"""Energy that a network spends, under several named models."""

import torch
from torch import Tensor, nn

from synsim._checks import require
from synsim.inputs import Images
from synsim.meters.passes import passes
from synsim.networks import replicas_of
from synsim.synapses import synapses

KINDS = ("synaptic", "activity")


def energy(
    net: nn.Module,
    kind: str = "synaptic",
    *,
    x: Tensor | Images | None = None,
    samples: int = 10,
    block: int | None = 100,
    seed: int = 0,
) -> Tensor:
    """Energy per image.

    | kind | meaning | unit | source |
    |---|---|---|---|
    | "synaptic" | Σ abs(w̄) over all synapses, biases left out | strength | Schug et al. 2021, Methods |
    | "activity" | Σ of the outputs of all hidden units, mean over images and passes | rate | ibid., Fig. 4.6b |

    The first is the mean strength transmitted if every presynaptic neuron spikes once: p · abs(m). The second needs
    images. Plain `nn.Linear` and `nn.Conv2d` layers count as synapses that never fail.

    Args:
        net: the network. Hidden units are the outputs of its `nn.ReLU` modules.
        kind: "synaptic" or "activity".
        x: images, for "activity".
        samples: stochastic passes, for "activity".
        block: images that share a mask, for "activity".
        seed: of the masks, for "activity".

    Returns:
        A number, or [R]; float64.

    Raises:
        ValueError: if the kind is unknown, images are missing, or the network has no synapses or hidden units.
    """
    require(kind in KINDS, f"kind must be one of {', '.join(KINDS)}, got {kind!r}.")
    if kind == "synaptic":
        return _synaptic(net)
    if x is None:
        raise ValueError("the energy of activity needs images; give x.")
    return _activity(net, x, samples, block, seed)


def _synaptic(net: nn.Module) -> Tensor:
    stochastic = list(synapses(net).values())
    plain = [module for module in net.modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    require(bool(stochastic or plain), "expected a network with synapses, got none.")
    lead = (replicas_of(net) or 1, -1)
    terms = [layer.weight.detach().reshape(lead).abs().sum(1, dtype=torch.float64) for layer in stochastic]
    total = torch.stack(terms).sum(0) if terms else torch.zeros(1, dtype=torch.float64)
    for module in plain:
        total = total.to(module.weight.device) + module.weight.detach().abs().sum(dtype=torch.float64)
    return total if replicas_of(net) is not None else total[0]


def _activity(net: nn.Module, x: Tensor | Images, samples: int, block: int | None, seed: int) -> Tensor:
    units = [module for module in net.modules() if isinstance(module, nn.ReLU)]
    require(bool(units), "expected a network with nn.ReLU modules, got none: no hidden activity can be measured.")
    lead = replicas_of(net) or 1
    found: list[Tensor] = []

    def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        found.append(output.reshape(lead, -1).sum(1, dtype=torch.float64))

    handles = [module.register_forward_hook(add) for module in units]
    total, images = torch.zeros(lead, dtype=torch.float64), 0
    try:
        for _, part, _ in passes(net, x, samples=samples, block=block, seed=seed):
            total = total.to(found[0].device) + torch.stack(found).sum(0)
            images += part.stop - part.start
            found.clear()
    finally:
        for handle in handles:
            handle.remove()
    total = total / images
    return total if replicas_of(net) is not None else total[0]
