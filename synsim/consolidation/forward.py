"""Forward masks of tasks, kept in bits, and the networks that can have some."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from synsim._checks import require
from synsim._doors import shown
from synsim.sparse.masks import packed, unpacked
from synsim.synapses import synapses

Masks = dict[str, Tensor]
"""Name of the layer -> bool, shaped like its weight."""


class ForwardMasks:
    """The masks of tasks in the order in which they came: three hundred of two million synapses are 75 MB.

    Attributes:
        shapes: name of the layer -> shape of its masks; empty before the first task.
    """

    def __init__(self) -> None:
        self._bits: list[Masks] = []
        self.shapes: dict[str, tuple[int, ...]] = {}

    def __len__(self) -> int:
        """Number of tasks.

        Returns:
            Those that were added.
        """
        return len(self._bits)

    def add(self, mask: Masks) -> None:
        """Keep the mask of one more task.

        Args:
            mask: of all layers.
        """
        self.shapes = {name: tuple(each.shape) for name, each in mask.items()}
        self._bits.append({name: packed(each) for name, each in mask.items()})

    def of(self, tasks: Iterable[int], net: nn.Module) -> Masks:
        """The synapses in the mask of at least one of several tasks.

        Args:
            tasks: their indices.
            net: the network, for the layers and their devices.

        Returns:
            Masks; all false for no task.
        """
        found = {name: torch.zeros_like(layer.p, dtype=torch.bool) for name, layer in synapses(net).items()}
        for task in tasks:
            for name, total in found.items():
                total |= unpacked(self._bits[task][name], self.shapes[name]).to(total.device)
        return found

    def tensors(self) -> dict[str, Tensor]:
        """All of it, for a checkpoint.

        Returns:
            Name -> tensor.
        """
        found = {f"shape/{name}": torch.tensor(shape, device="cpu") for name, shape in self.shapes.items()}
        for task, bits in enumerate(self._bits):
            found |= {f"mask/{task}/{name}": each for name, each in bits.items()}
        return found

    def load(self, state: Mapping[str, Any], tasks: int) -> None:
        """Go on with saved masks.

        Args:
            state: of `tensors`, among others.
            tasks: how many there were.

        Raises:
            ValueError: if masks are missing, or of other sizes.
        """
        shapes = {
            key.removeprefix("shape/"): tuple(int(size) for size in value.tolist())
            for key, value in state.items()
            if key.startswith("shape/") and isinstance(value, Tensor) and value.ndim == 1
        }
        bits = [{name: state.get(f"mask/{task}/{name}") for name in shapes} for task in range(tasks)]
        for task, each in enumerate(bits):
            for name, value in each.items():
                require(
                    _fits(value, shapes[name]),
                    f"expected the bits of a mask of shape {list(shapes[name])} for task {task}, layer {name!r}, got "
                    f"{shown(value)}.",
                )
        require(bool(shapes) or not tasks, f"the state says nothing of the masks of its {tasks} tasks.")
        self.shapes = shapes
        self._bits = [{name: value.cpu().clone() for name, value in each.items()} for each in bits]  # type: ignore[union-attr]


def _fits(value: Any, shape: tuple[int, ...]) -> bool:
    return isinstance(value, Tensor) and value.dtype == torch.uint8 and value.shape == (-(-math.prod(shape) // 8),)


def check_synapses(net: nn.Module, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse a network whose synapses can't have forward masks.

    Args:
        net: the network.
        shapes: of the masks that there are; empty before the first one.

    Raises:
        ValueError: if it has no stochastic layer, a layer's weight is shared or re-parametrised, batch normalisation
            would go on moving, or the masks are those of another network.
    """
    layers = synapses(net)
    require(
        bool(layers),
        "tasks own the synapses of stochastic layers, and this network has none. Build it with synsim.mlp(..., p=1.0), "
        "or turn it into one with synsim.convert(net, p=1.0): with p = 1 no synapse fails.",
    )
    for name, module in net.named_modules():
        require(
            not (isinstance(module, _NormBase) and module.running_mean is not None),
            f"module {name!r} ({type(module).__name__}) keeps running means of the task at hand, so that old tasks "
            "would change. Leave batch normalisation out, or use track_running_stats=False.",
        )
    weights = [vars(layer)["_parameters"].get("weight") for layer in layers.values()]
    require(
        all(weight is not None for weight in weights),
        "a layer's weight is re-parametrised, so that no synapse of it can be held. Make it permanent first.",
    )
    require(
        len({id(weight) for weight in weights}) == len(weights),
        "layers share a weight: a synapse would have two masks. Give every layer its own.",
    )
    now = {name: tuple(layer.p.shape) for name, layer in layers.items()}
    require(
        not shapes or now == shapes,
        f"these masks are those of another network: its layers are {dict(shapes)}, here they are {now}.",
    )


def share_of(masks: Mapping[str, Tensor], replicas: int | None) -> Tensor:
    """Share of synapses at which masks are true.

    Args:
        masks: name of the layer -> bool.
        replicas: R or None.

    Returns:
        Float64 [R], or a number; exact.
    """
    lead = replicas or 1
    counts = torch.stack([mask.reshape(lead, -1).sum(1) for mask in masks.values()]).sum(0)
    found = counts.double() / (sum(mask.numel() for mask in masks.values()) // lead)
    return found if replicas else found[0]
