"""Views of a stochastic network, and the seeding of its streams. Views nest, and are undone in any case."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from torch import nn

from synsim import streams
from synsim._checks import is_whole, require, whole
from synsim._doors import typed
from synsim._kept import TURN
from synsim.synapses.addressed import PLAIN, Address, View, addressed
from synsim.synapses.finding import synapses


@typed
def seed(net: nn.Module, seed: int | Sequence[int]) -> None:
    """Restart the release streams of a network.

    Args:
        net: any module with stochastic layers.
        seed: one seed; with R replicas it stands for seed, seed + 1, …, seed + R − 1. Or R different seeds.

    Raises:
        ValueError: if there are not R seeds, or one is given twice, or is negative.
    """
    layers = addressed(net)
    counts = {layer.replicas for layer in layers.values()}
    require(len(counts) <= 1, f"all layers of a network must have the same replicas, got {counts}.")
    chosen = seeds_of(seed, counts.pop() if counts else None)
    for name, layer in layers.items():
        layer.seed(chosen, name)


@typed
def seeds_of(seed: int | Sequence[int], replicas: int | None, *, again: bool = False) -> tuple[int, ...]:
    """The seeds of all replicas.

    Args:
        seed: one seed, or one per replica.
        replicas: R, or None for a network without a replica axis.
        again: whether a seed may be given twice.

    Returns:
        R seeds (one without replicas).

    Raises:
        ValueError: if there are not R seeds, or one is given twice, or is negative.
    """
    if is_whole(seed):
        first = whole(seed, "seed", 0)
        return tuple(first + r for r in range(replicas or 1))
    require(
        isinstance(seed, Iterable) and not isinstance(seed, str | bytes) and getattr(seed, "ndim", 1) == 1,
        f"seed must be a whole number, or one per replica, got {seed!r}.",
    )
    chosen = tuple(whole(one, "seed", 0) for one in seed)  # type: ignore[union-attr]
    require(len(chosen) == (replicas or 1), f"expected {replicas or 1} seeds, one per replica, got {len(chosen)}.")
    twice = sorted({one for one in chosen if chosen.count(one) > 1})
    require(again or not twice, f"a seed must be given once, got {twice} twice: these replicas would be the same run.")
    return chosen


@contextmanager
@typed
def expected(net: nn.Module) -> Iterator[nn.Module]:
    """Mean field: every synapse transmits its expected strength, and no draw is consumed.

    Args:
        net: any module with stochastic layers.

    Yields:
        The network.

    Example:
        >>> import torch, synsim
        >>> net = synsim.mlp([4, 2], p=0.5)
        >>> x = torch.ones(1, 4)
        >>> with synsim.expected(net):
        ...     bool((net(x) == x @ net[0].weight.T).all())
        True
    """
    with _addresses(net, lambda address, draws: replace(address, mean=True)):
        yield net


@contextmanager
@typed
def frozen(net: nn.Module, draw: int | None = None) -> Iterator[nn.Module]:
    """Every forward pass uses one mask, and no draw is consumed.

    Args:
        net: any module with stochastic layers.
        draw: number of the draw; None for the one that each layer drew last (0 before the first).

    Yields:
        The network.

    Example:
        >>> import torch, synsim
        >>> net = synsim.mlp([4, 2], p=0.5)
        >>> with synsim.frozen(net):
        ...     bool((net(torch.ones(1, 4)) == net(torch.ones(1, 4))).all())
        True
    """
    if draw is not None:
        draw = whole(draw, "draw", 0, streams.WORD)

    def hold(address: Address, draws: int) -> Address:
        return replace(address, draw=max(draws - 1, 0) if draw is None else draw, mean=False)

    with _addresses(net, hold):
        yield net


@contextmanager
@typed
def held(net: nn.Module) -> Iterator[nn.Module]:
    """One mask for a loop over time written by hand: all passes inside are the steps of one pass.

        for x, y in batches:                       # x [T, B, I]
            with synsim.held(net):
                for now in x:
                    spikes, state = neuron(net(now), state)

    Each layer that is called takes its next draw, once, and keeps it until the end: its mask in batch scope, the masks
    of all examples in sample scope. With release per spike each pass is the next time step, with releases of its own
    at the address that `spiking_mlp` would give them. Gradients go through all passes, and `layer.mask` is that of the
    loop afterwards. A view that is in force already stays in force, so a loop that stands in a network's `forward` is
    measured like any other pass. A loop within a loop goes on with it.

    Args:
        net: any module with stochastic layers; dropout and encoders of this package are held likewise.

    Yields:
        The network.
    """
    before = [(layer, layer.stream.here.view) for layer in addressed(net).values()]
    fresh = [(layer, view) for layer, view in before if view is None or view.under is None]
    loops = []
    try:
        for layer, view in fresh:
            address = PLAIN if view is None else view.address
            loops.append(View(address, under=address))
            layer.stream.here.view = loops[-1]
        yield net
    finally:
        for (layer, view), loop in zip(fresh, loops, strict=False):
            layer.stream.here.view = view
            if loop.counts is not None:
                layer._note(loop.counts)
            if view is not None:
                view.asked = view.asked or loop.asked


@contextmanager
@typed
def evaluation(net: nn.Module, seed: int = 0) -> Iterator["Passes"]:
    """Streams of their own for measuring, which leave those of training as they are.

    A view that is already in force (`expected`, `frozen`) stays in force; a loop over time (`held`) is none. One thread
    at a time measures: the mode of a network (training or evaluation) is the same for all of them.

    Args:
        net: any module with stochastic layers.
        seed: another one gives other masks.

    Yields:
        A handle that sets the number of the pass and of the block.
    """
    seed = whole(seed, "seed", 0)

    def measure(address: Address, draws: int) -> Address:
        plain = address == Address()
        return Address(purpose=f"eval/{seed}", draw=0) if plain else address

    with TURN, _addresses(net, measure, outside=True):
        yield Passes(net)


class Passes:
    """Handle of an evaluation: which pass, and which block or example of the data, comes next.

    Attributes:
        shares: whether the images of a block share a mask in some layer.
    """

    @typed
    def __init__(self, net: nn.Module) -> None:
        self._layers = [layer for layer in addressed(net).values() if layer.address.purpose.startswith("eval/")]
        self.shares = any(not layer.per_example for layer in synapses(net).values())

    @typed
    def at(self, draw: int, block: int, example: int) -> None:
        """Set the address of the next forward pass.

        Args:
            draw: number of the pass over the data.
            block: index of the block of images that share a mask, where images do.
            example: index of the first image (where each has numbers of its own, as in encoders).

        Raises:
            RuntimeError: in another thread than the one that began the evaluation.
        """
        for layer in self._layers:
            where = example if layer.per_example else block
            # Past the attribute of the module, which is slow to set.
            view = layer.stream.here.view
            if view is None:
                raise RuntimeError("these passes belong to the thread that began them: go on with them there.")
            view.address = Address(view.address.purpose, draw, where, view.address.mean)


@contextmanager
def _addresses(net: nn.Module, change: Callable[[Address, int], Address], *, outside: bool = False) -> Iterator[None]:
    # For this thread: another one that uses the network sees nothing of it, and the mask of training stays.
    layers = list(addressed(net).values())
    before = [layer.stream.here.view for layer in layers]
    try:
        for layer, view in zip(layers, before, strict=True):
            address = view.under if outside and view is not None and view.under is not None else layer.address
            layer.stream.here.view = View(change(address, layer.draws))
        yield
    finally:
        for layer, view in zip(layers, before, strict=True):
            layer.stream.here.view = view
