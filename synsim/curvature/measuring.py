"""In which state a network is measured: evaluation mode, the mean field or sampled masks, and chunks of images."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import torch
from torch import nn

from synsim._checks import require, times, whole
from synsim._doors import typed
from synsim._kept import TURN, kept
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
        self._limit = block if passes is not None and passes.shares else None

    def start(self) -> None:
        """Set the masks of the first pass, as for its first example."""
        next(iter(self.rows(1, 1)))

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
@typed
def measured(
    net: nn.Module, view: str = "expected", samples: int = 10, block: int = 100, seed: int = 0
) -> Iterator[Measurement]:
    """Put a network into the state in which its curvature is measured; it is left as it was.

    A view that is already in force (`expected`, `frozen`) stays in force. A compiled network runs as it was written:
    compilers neither see hooks nor go inside torch.func.

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
    samples, block = times(samples, "samples"), whole(block, "block")
    with ExitStack() as stack:
        stack.enter_context(TURN)  # before anything is asked that another thread may have changed for its own
        _refuse_mixing(net)
        free = any(layer.address == Address() for layer in addressed(net).values())
        stack.enter_context(_ordinary(net))
        stack.enter_context(kept(net))
        net.eval()
        if free and view == "sampled":
            passes = stack.enter_context(evaluation(net, seed))
            yield Measurement(samples, block, passes, net)
        else:
            if free:
                stack.enter_context(expected(net))
            yield Measurement(1, None, None, net)


@contextmanager
def _ordinary(net: nn.Module) -> Iterator[None]:
    # Modes of torch under which gradients could not be taken.
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        if "torch._dynamo" in sys.modules:
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        recurrent = any(isinstance(module, nn.RNNBase) for module in net.modules())
        if recurrent and any(parameter.is_cuda for parameter in net.parameters()):
            # cuDNN has no gradients of recurrent layers in evaluation mode.
            stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        yield


def _refuse_mixing(net: nn.Module) -> None:
    for name, module in net.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            mixing = module.training or not module.track_running_stats
            require(
                not mixing,
                f"module {name!r} ({type(module).__name__}) normalises with the statistics of the batch, so that no "
                "example has a gradient of its own. Call net.eval() first, or use GroupNorm or LayerNorm.",
            )
