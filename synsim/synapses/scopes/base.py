"""What a release scope is asked, and the table of those there are."""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from synsim._checks import require
from synsim.kernels import reference
from synsim.synapses.addressed import transformed
from synsim.synapses.scopes.course import Course

if TYPE_CHECKING:
    from synsim.synapses.base import StochasticLayer
    from synsim.synapses.conv import BernoulliConv2d
    from synsim.synapses.depletion import AtSpikes, Pass
    from synsim.synapses.linear import BernoulliLinear


class Scope:
    """For which events of a pass the synapses of a layer release anew. It holds no state: layers are given to it.

    Attributes:
        name: what users write, `scope="..."`.
        per_example: whether examples have masks of their own, so that the address of a pass counts examples; else all
            examples of a pass share one, and it counts blocks of them.
        mask_per_example: whether one mask holds for an example as a whole, its time steps and tokens included. Without
            one, gradients per example can be taken in the expected view alone.
        countable: whether single releases are drawn, which can be counted.
        per_spike: whether each spike is released or not by itself, as in a network of Brian2.
        scales_p: whether short-term plasticity scales the release probability at a spike; else it scales the inputs.
        facilitates: whether it may scale them by more than 1.
    """

    name: str = ""
    per_example: bool = True
    mask_per_example: bool = True
    countable: bool = True
    per_spike: bool = False
    scales_p: bool = False
    facilitates: bool = True

    def counts(self, p: Tensor, keys: Tensor, sites: int, rows: Tensor, draw: int) -> Tensor:
        """How many sites of each synapse release: what defines a scope, a function of the address alone.

        Args:
            p: release probabilities [R, *shape].
            keys: of the streams, int64 [R, 2].
            sites: release sites per synapse.
            rows: int64 [E], indices of examples; or [1], of the block, where examples share a mask.
            draw: number of the draw.

        Returns:
            uint8 [E, R, *shape], from 0 to `sites`; here every synapse by itself, anew for each index.
        """
        counts = reference.count_releases(p.flatten(1), keys, sites, rows, draw)
        return counts.reshape(len(rows), *p.shape)

    def strengths(self, layer: "StochasticLayer") -> Tensor:
        """Strengths that a layer transmits in a pass that is one event; a draw is consumed.

        Args:
            layer: the layer.

        Returns:
            Like its weight; a function of it for autograd.
        """
        drawn, p = layer._drawn(), layer.p
        if transformed():
            return layer._plain(1)[0]
        where = torch.tensor([layer.address.example], device=p.device)
        counts = self.counts(layer._lead(p), layer._key()[0], layer.sites, where, layer._next())
        count = counts[0].reshape(p.shape)
        layer._note(count)
        return drawn * layer._scale(count, p)

    def linear(self, layer: "BernoulliLinear", x: Tensor, steps: int, factor: Tensor | None) -> Tensor:
        """A pass of a linear layer.

        Args:
            layer: the layer.
            x: rows [T · B, I], or [R, T · B, I].
            steps: T.
            factor: like x: by how much short-term plasticity scales; None: 1.

        Returns:
            [T · B, O], or with replicas [R, T · B, O].

        Raises:
            NotImplementedError: if the scope has none.
        """
        raise NotImplementedError(f"{type(self).__name__} must say how a linear layer transmits.")

    def course(self, layer: "BernoulliLinear", batch: int) -> Course:
        """The same step by step, where what comes in depends on what was transmitted before.

        Args:
            layer: the layer.
            batch: number of examples.

        Returns:
            The steps of one pass; here a pass for each.
        """
        return Course(self, layer)

    def convolve(self, layer: "BernoulliConv2d", x: Tensor) -> Tensor:
        """A pass of a convolution.

        Args:
            layer: the layer.
            x: [B, C, H, W], or [R, B, C, H, W].

        Returns:
            [B, O, H', W'], or with replicas [R, B, O, H', W'].

        Raises:
            NotImplementedError: if the scope has none.
        """
        raise NotImplementedError(f"{type(self).__name__} must say how a convolution transmits.")

    def masks(self, p: Tensor, keys: Tensor, sites: int, examples: Tensor, draw: int) -> Tensor | None:
        """Factors k / (N p) of masks that hold for all steps, as short-term plasticity per synapse needs them.

        Args:
            p: release probabilities [R, O, I].
            keys: of the streams, int64 [R, 2].
            sites: release sites per synapse.
            examples: int64 [E], their indices; where they share a mask the first one is that of their block.
            draw: number of the draw.

        Returns:
            [R, E, I, O], or [R, 1, I, O] where examples share a mask; None where no mask holds.
        """
        rows = examples if self.per_example else examples[:1]
        scale = reference.scale_of(self.counts(p, keys, sites, rows, draw), p, sites)
        return scale.movedim(0, 1).transpose(2, 3).contiguous()

    def at_spikes(self, given: "Pass", spikes: "AtSpikes") -> Tensor:
        """Factors k / (N p) of the expected strengths at some spikes, where no mask holds.

        Args:
            given: address of the pass.
            spikes: of a step, and the probabilities of release there.

        Returns:
            [E, O].

        Raises:
            NotImplementedError: if the scope has masks, or none.
        """
        raise NotImplementedError(f"{type(self).__name__} must say what is released at a spike.")

    def mask(self, layer: "StochasticLayer", example: int, step: int) -> Tensor:
        """The mask of one example in the latest draw, recomputed from its address and the present p.

        Args:
            layer: the layer.
            example: index of the example in its batch; ignored where all share a mask.
            step: time step; ignored where a mask holds for all of them.

        Returns:
            Counts of releases like the weight, uint8.
        """
        where = layer.address.example + (example if self.per_example else 0)
        rows, lead = torch.tensor([where], device=layer.p.device), layer._lead(layer.p)
        return self.counts(lead, layer._key()[0], layer.sites, rows, layer.latest_draw)[0].reshape(layer.p.shape)

    def scales(self, layer: "StochasticLayer", rows: Tensor) -> Tensor:
        """Factors k / (N d) by which the latest draw scaled what a layer stores.

        Args:
            layer: the layer; d is its divisor, p in the model.
            rows: int64 [E], examples (blocks where all examples of a pass share a mask) counted from the address' own.

        Returns:
            [E, R, *shape]; R = 1 without replicas.
        """
        lead, where = layer._lead(layer.p.detach()), layer.address.example + rows
        return layer._scale(self.counts(lead, layer._key()[0], layer.sites, where, layer.latest_draw), lead)


class _Known(dict[str, Scope]):
    def __missing__(self, name: str) -> Scope:
        raise ValueError(f"no scope is called {name!r}: known are {', '.join(self)}. Enter others by scopes.register.")


SCOPES: dict[str, Scope] = _Known()
"""Every scope by its name."""

S = TypeVar("S", bound=Scope)


def register(*kinds: "type[StochasticLayer]") -> Callable[[type[S]], type[S]]:
    """Enter a scope under its name, as a decorator of its class: `@register(BernoulliLinear)`.

    Args:
        kinds: classes of layers that take its name from now on.

    Returns:
        What enters a class, and gives it back.

    Raises:
        ValueError: if a class is none of layers.
    """
    for kind in kinds:
        fits = isinstance(kind, type) and isinstance(getattr(kind, "scopes", None), tuple)
        require(fits, f"register takes classes of stochastic layers, got {kind!r}. Write @register(BernoulliLinear).")

    def enter(scope: type[S]) -> type[S]:
        name = scope.name
        require(bool(name) and name not in SCOPES, f"a scope needs a name of its own, got {name!r}.")
        SCOPES[name] = scope()
        for kind in kinds:
            kind.scopes = (*kind.scopes, name)
        return scope

    return enter


def in_own_precision(
    layer: "StochasticLayer", run: Callable[[Tensor, Tensor | None], Tensor], x: Tensor, factor: Tensor | None
) -> Tensor:
    """Run a pass in a layer's own type: kernels know no mixed precision.

    Under autocast they get and give what an ordinary layer would.

    Args:
        layer: the layer.
        run: (x, factor) -> the result.
        x: inputs.
        factor: like x, or None.

    Returns:
        The result, in the type of autocast where that is on.
    """
    kind = x.device.type
    if not torch.is_autocast_enabled(kind):
        return run(x, factor)
    dtype = layer.p.dtype
    with torch.autocast(kind, enabled=False):
        out = run(x.to(dtype), None if factor is None else factor.to(dtype))
    return out.to(torch.get_autocast_dtype(kind))
