"""In which state a network is measured: evaluation mode, the mean field or sampled masks, and chunks of images."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace

from torch import nn

from synsim._checks import require, whole
from synsim.synapses import Address, addressed, evaluation, expected
from synsim.synapses.views import Passes

VIEWS = ("expected", "sampled")


class Measurement:
    """Passes over the images, chunk by chunk.

    Attributes:
        draws: passes over all images; each has masks of its own.
        draw: number of the present pass.
    """

    def __init__(self, draws: int, block: int | None, passes: Passes | None, net: nn.Module) -> None:
        self.draws, self.draw, self._passes = draws, 0, passes
        # In a view that was in force before, the masks of single examples go on from where its address stands.
        self._following = [] if passes is not None else [
            (layer, layer.address) for layer in addressed(net).values()
            if layer.per_example and not layer.address.mean
        ]  # fmt: skip
        shared = passes is not None and "batch" in passes.scopes
        self._limit = block if shared else None

    def rows(self, count: int, size: int) -> Iterator[slice]:
        """Chunks of images; the masks of each are set before it is given.

        Args:
            count: images.
            size: images that fit into memory.

        Yields:
            Slices that cover all images once per pass.
        """
        block = count if self._limit is None else self._limit
        for draw in range(self.draws):
            self.draw = draw
            for start in range(0, count, block):
                for low in range(start, min(count, start + block), size):
                    if self._passes is not None:
                        self._passes.at(draw, low // block if self._limit else 0, low)
                    for layer, address in self._following:
                        layer.address = replace(address, example=address.example + low)
                    yield slice(low, min(count, start + block, low + size))


@contextmanager
def measured(
    net: nn.Module, view: str = "expected", samples: int = 10, block: int = 100, seed: int = 0
) -> Iterator[Measurement]:
    """Put a network into the state in which its curvature is measured; it is left as it was.

    A view that is already in force (`expected`, `frozen`) stays in force.

    Args:
        net: any module.
        view: "expected": every synapse transmits its expected strength; "sampled": masks are drawn.
        samples: passes over all images in the sampled view.
        block: images that share a mask (batch scope) in the sampled view.
        seed: of the masks.

    Yields:
        The passes to make.

    Raises:
        ValueError: if the view is unknown, or a module mixes examples.
    """
    require(view in VIEWS, f"view must be one of {', '.join(VIEWS)}, got {view!r}.")
    samples, block = whole(samples, "samples"), whole(block, "block")
    _refuse_mixing(net)
    layers = addressed(net).values()
    free = any(layer.address == Address() for layer in layers)
    training = {module: module.training for module in net.modules()}
    before = {layer: layer.address for layer in layers}
    net.eval()
    try:
        if free and view == "sampled":
            with evaluation(net, seed) as passes:
                yield Measurement(samples, block, passes, net)
        else:
            with expected(net) if free else nullcontext():
                yield Measurement(1, None, None, net)
    finally:
        for layer, address in before.items():
            layer.address = address
        for module, mode in training.items():
            module.training = mode


def _refuse_mixing(net: nn.Module) -> None:
    for name, module in net.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            mixing = module.training or not module.track_running_stats
            require(
                not mixing,
                f"module {name!r} ({type(module).__name__}) normalises with the statistics of the batch, so that no "
                "example has a gradient of its own. Call net.eval() first, or use GroupNorm or LayerNorm.",
            )
