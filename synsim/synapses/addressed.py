"""Modules that draw random numbers from an address: seeds, a name, a purpose, and the number of the draw."""

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from synsim import kernels, streams
from synsim._checks import require, whole
from synsim._doors import check_fields, typed

LAST_DRAW = 2**32 - 1
LAST_SEED = 2**63 - 1


class Stream:
    """Where a module stands: its next draw, and the counts of releases of the latest one.

    Apart from the module, whose own attributes are slow to set.
    """

    __slots__ = ("arrays", "counts", "draw", "reliable")

    def __init__(self) -> None:
        self.draw = 0
        self.counts: Tensor | None = None
        self.arrays = kernels.Arrays()
        self.reliable: tuple[int, int] | None = None

    def __deepcopy__(self, memo: object) -> "Stream":
        """A stream that goes on alike; views of the old memory stay behind.

        Args:
            memo: of `copy.deepcopy`.

        Returns:
            The copy.
        """
        twin = Stream()
        twin.draw, twin.counts = self.draw, None if self.counts is None else self.counts.clone()
        return twin


@dataclass(frozen=True)
class Address:
    """Where a module takes its random bits from.

    Attributes:
        purpose: purpose of the stream; part of the key.
        draw: number of the draw, or None to count on from the module's own counter.
        example: index of the first example (bits of each example's own) or of the block (batch scope).
        mean: True for the mean field: every synapse transmits its expected strength, and nothing is drawn.
    """

    purpose: str = "train"
    draw: int | None = None
    example: int = 0
    mean: bool = False

    def __post_init__(self) -> None:
        check_fields(self)


class Addressed(nn.Module):
    """Base of the modules that draw: stochastic layers, and encoders of images as spikes.

    Attributes:
        replicas: R, or None for a module without a replica axis.
        address: where the next numbers come from; views replace it.
        per_example: whether each example has numbers of its own, rather than all of a pass the same.

    Args:
        replicas: R, or None.
    """

    per_example: bool = True
    family: str = ""
    """Put before the name, so that modules of another kind draw other numbers under the same name."""

    @typed
    def __init__(self, replicas: int | None) -> None:
        super().__init__()
        self.replicas = None if replicas is None else whole(replicas, "replicas")
        self.address = Address()
        self.stream = Stream()
        self._keys: dict[tuple[str, torch.device], tuple[Tensor, np.ndarray]] = {}
        self._name = ""
        # Replicas of a module built by hand differ, as those of a seeded one do.
        first = secrets.randbits(62)
        self._seeds = tuple(first + r for r in range(self.replicas or 1))

    @typed
    def seed(self, seeds: Sequence[int], name: str) -> None:
        """Restart the streams of this module.

        Args:
            seeds: one seed per replica (one seed without replicas).
            name: name of the module in its network; modules of other names have other streams.
        """
        require(
            len(seeds) == (self.replicas or 1),
            f"expected {self.replicas or 1} seeds, one per replica, got {len(seeds)}.",
        )
        seeds = tuple(whole(one, "seed", 0) for one in seeds)
        require(max(seeds) <= LAST_SEED, f"seed must be below 2**63, got {max(seeds)}.")
        self._seeds, self._name, self.stream = seeds, name, Stream()
        self._keys.clear()

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of the streams, one per replica."""
        return self._seeds

    @property
    def draws(self) -> int:
        """How many draws were consumed since the streams were seeded."""
        return self.stream.draw

    def _latest(self) -> int:
        return max(self.stream.draw - 1, 0) if self.address.draw is None else self.address.draw

    def _next(self) -> int:
        if self.address.draw is not None:
            return self.address.draw
        draw = self.stream.draw
        if draw > LAST_DRAW:
            raise OverflowError("this layer has made 2**32 draws; give it another seed with synsim.seed.")
        self.stream.draw = draw + 1
        return draw

    def _key_on(self, purpose: str, device: torch.device) -> tuple[Tensor, np.ndarray]:
        at = (purpose, device)
        found = self._keys.get(at)
        if found is None:
            # Meters make up purposes as they go; without a bound the cache would grow with them.
            if len(self._keys) > 16:
                self._keys.clear()
            keys = streams.keys(purpose, self._seeds, self.family + self._name)
            found = self._keys[at] = (keys.to(device), keys.numpy().astype(np.uint32))
        return found

    def get_extra_state(self) -> Tensor:
        """All that the streams need.

        Returns:
            Seeds, name and number of draws as UTF-8 JSON, a uint8 tensor.
        """
        state = {"seeds": list(self._seeds), "name": self._name, "draw": self.stream.draw}
        return torch.tensor(list(json.dumps(state).encode()), dtype=torch.uint8, device="cpu")

    @typed
    def set_extra_state(self, state: Tensor) -> None:
        """Continue the streams of a saved module.

        Args:
            state: what `get_extra_state` returned.

        Raises:
            ValueError: if the state is of a module with another number of replicas.
        """
        read = json.loads(bytes(state.cpu().tolist()).decode())
        if len(read["seeds"]) != (self.replicas or 1):
            raise ValueError(
                f"expected a state of {self.replicas or 1} replicas, got one of {len(read['seeds'])}. "
                "Build the network with the replicas it was saved with."
            )
        self.seed(read["seeds"], read["name"])
        self.stream.draw = read["draw"]


@typed
def addressed(net: nn.Module) -> dict[str, Addressed]:
    """Every module of a network that draws, by its name: stochastic layers and encoders.

    Args:
        net: any module.

    Returns:
        Module name -> module, in the order of `named_modules`.
    """
    return {name: module for name, module in net.named_modules() if isinstance(module, Addressed)}


def transformed() -> bool:
    """Whether a torch.func transform (grad, vmap, jvp, functionalize) is active.

    Returns:
        True inside a transform.
    """
    # There is no public question for this; the answer decides which of two equal paths is taken.
    return torch._C._functorch.peek_interpreter_stack() is not None  # type: ignore[no-any-return,attr-defined,unused-ignore]


def rows_of(x: Tensor, count: int) -> Tensor:
    """Indices of the examples of a tensor: 0 … count − 1, and inside `vmap` over examples each one's place in it.

    Args:
        x: a tensor whose examples are meant.
        count: how many examples it shows.

    Returns:
        int64 [count].
    """
    functorch = torch._C._functorch  # type: ignore[attr-defined,unused-ignore]
    index, inner = torch.arange(count, device=x.device), _bare(x)
    if count != 1 or not functorch.is_batchedtensor(inner):
        return index
    size = functorch.get_unwrapped(inner).shape[functorch.maybe_get_bdim(inner)]
    places = _bare(torch.arange(size, device=x.device))
    return index + functorch._add_batch_dim(places, 0, functorch.maybe_get_level(inner))


def _bare(x: Tensor) -> Tensor:
    # A tensor without the wrappers that `grad` puts around it.
    functorch = torch._C._functorch  # type: ignore[attr-defined,unused-ignore]
    while functorch.is_gradtrackingtensor(x):
        x = functorch.get_unwrapped(x)
    return x
