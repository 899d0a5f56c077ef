"""Modules that draw random numbers from an address: seeds, a name, a purpose, and the number of the draw."""

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from threading import local
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch._compile import _disable_dynamo

from synsim import kernels, streams
from synsim._checks import MOST_REPLICAS, require, whole
from synsim._doors import check_fields, typed
from synsim._names import named_modules
from synsim.kernels import events
from synsim.synapses import recomputation
from synsim.synapses.door import door as _door

LAST_DRAW = 2**32 - 1
LAST_SEED = 2**63 - 1


@dataclass(frozen=True)
class Address:
    """Where a module takes its random bits from.

    Attributes:
        purpose: purpose of the stream; part of the key.
        draw: number of the draw, or None to count on from the module's own counter.
        example: index of the first example (bits of each example's own) or of the block (batch scope).
        mean: True for the mean field: every synapse transmits its expected strength, and nothing is drawn.
        step: index of the first time step of a pass, for releases per spike.
    """

    purpose: str = "train"
    draw: int | None = None
    example: int = 0
    mean: bool = False
    step: int = 0

    def __post_init__(self) -> None:
        check_fields(self)


PLAIN = Address()


class View:
    """What one thread sees of a module: an address, and the counts of releases drawn at it last.

    Args:
        address: where the numbers of this thread come from.
        tied: whether it holds for one pass alone, whose repetition in a backward pass it is or will be tied to.
        under: for a loop over time (`held`) the address that it began with, else None: the first draw of a loop is kept
            for all of its passes, and each pass is a later step.

    Attributes:
        asked: whether the module has drawn at this address.
    """

    __slots__ = ("address", "asked", "counts", "tied", "under")

    def __init__(self, address: Address, tied: bool = False, under: Address | None = None) -> None:
        self.address, self.tied, self.under = address, tied, under
        self.counts: Tensor | None = None
        self.asked = False


class Here(local):
    """The view that the present thread has of a module; None: none."""

    view: View | None = None


class Stream:
    """Where a module stands: its next draw, and the counts of releases of the latest one.

    Apart from the module, whose own attributes are slow to set.
    """

    __slots__ = ("arrays", "counts", "draw", "here", "keys", "reliable")

    def __init__(self) -> None:
        self.draw = 0
        self.keys: dict[tuple[str, torch.device], tuple[Tensor, np.ndarray]] = {}
        self.counts: Tensor | None = None
        self.arrays = kernels.Arrays()
        self.reliable = False
        self.here = Here()

    def __deepcopy__(self, memo: object) -> "Stream":
        # A copy made inside a view stays in it, for this thread; one that travels (a pickle) does not.
        twin, view = Stream(), self.here.view
        twin.draw, twin.counts = self.draw, None if self.counts is None else self.counts.clone()
        if view is not None and not view.tied:
            twin.here.view = View(view.address, under=view.under)
            twin.here.view.counts = view.counts
        return twin

    def __getstate__(self) -> dict[str, object]:
        # Views of memory and keys on a device stay behind: a copy's tensors lie elsewhere.
        return {"draw": self.draw, "counts": self.counts}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__()  # type: ignore[misc]
        self.draw, self.counts = state["draw"], state["counts"]


class Addressed(nn.Module):
    """Base of the modules that draw: stochastic layers, and encoders of images as spikes.

    Under `torch.compile` each of them is a break of the graph: it runs between the graphs as it always does, with the
    same draws. Only in the mean field is there no break (`fullgraph=True`); tracers that can't leave out a module are
    refused. Under `torch.utils.checkpoint`, of either kind, the repetition of a pass finds its draws again. Inside a
    transform of torch.func nothing is drawn anew: the latest draw holds.

    Attributes:
        replicas: R, or None for a module without a replica axis.
        address: where the next numbers come from; views replace it, each for its own thread.

    Args:
        replicas: R, or None.
    """

    family: str = ""
    """Put before the name, so that modules of another kind draw other numbers under the same name."""

    @typed
    def __init__(self, replicas: int | None) -> None:
        super().__init__()
        self.replicas = None if replicas is None else whole(replicas, "replicas", most=MOST_REPLICAS)
        self.stream = Stream()
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
        here = self.stream.here
        self._seeds, self._name, self.stream = seeds, name, Stream()
        self.stream.here = here

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "forward" in cls.__dict__:
            cls.forward = _door(cls.__dict__["forward"])

    @property
    def address(self) -> Address:
        """Where the next numbers come from, for this thread."""
        view = self.stream.here.view
        return PLAIN if view is None else view.address

    @address.setter
    def address(self, address: Address) -> None:
        here = self.stream.here
        if address == PLAIN:
            here.view = None
        elif here.view is not None:
            here.view.address = address
        else:
            here.view = View(address)

    def idle(self) -> bool:
        """Whether a pass would draw nothing: the mean field is in force.

        Returns:
            True in the mean field.
        """
        return self.address.mean

    @property
    def per_example(self) -> bool:
        """Whether each example has numbers of its own, rather than all of a pass the same."""
        return True

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of the streams, one per replica."""
        return self._seeds

    @property
    def stream_name(self) -> str:
        """Name under which its streams run, that of the module in its network; "" before they were seeded."""
        return self._name

    @property
    def draws(self) -> int:
        """How many draws were consumed since the streams were seeded."""
        return self.stream.draw

    @property
    def latest_draw(self) -> int:
        """Number of the draw made last, or of the one that the view holds; 0 before the first."""
        address = self.address
        return max(self.stream.draw - 1, 0) if address.draw is None else address.draw

    def _note(self, counts: Tensor) -> None:
        # The mask of a view is no mask of training.
        view = self.stream.here.view
        if view is None:
            self.stream.counts = counts
        else:
            view.counts = counts

    def _noted(self) -> Tensor | None:
        view = self.stream.here.view
        return self.stream.counts if view is None or view.counts is None else view.counts

    def _next(self) -> int:
        view = self.stream.here.view
        if view is not None and view.address.draw is not None:
            view.asked = True
            return view.address.draw
        if torch.is_grad_enabled() and recomputation.suspected():
            # Drawn past `forward`, where no door stands.
            return recomputation.number(self)
        return self.count_on()

    def count_on(self) -> int:
        """Consume a draw of the module's own stream.

        Returns:
            Its number.

        Raises:
            OverflowError: after 2**32 draws.
        """
        draw = self.stream.draw
        if draw > LAST_DRAW:
            raise OverflowError("this layer has made 2**32 draws; give it another seed with synsim.seed.")
        self.stream.draw = draw + 1
        view = self.stream.here.view
        if view is not None and view.under is not None:
            view.address = replace(view.address, draw=draw)
        return draw

    def _begin(self, steps: int) -> int:
        # Index of the first step of a pass: in a loop over time it begins where the pass before it ended.
        view = self.stream.here.view
        if view is None:
            return 0
        first = view.address.step
        if view.under is not None:
            if first + steps > events.LAST_STEP:
                raise OverflowError("a loop over time has 2**24 steps at most; begin another one (synsim.held).")
            view.address = replace(view.address, step=first + steps)
        return first

    def _key_on(self, purpose: str, device: torch.device) -> tuple[Tensor, np.ndarray]:
        at, known = (purpose, device), self.stream.keys
        found = known.get(at)
        if found is None:
            # Meters make up purposes as they go; without a bound the cache would grow with them.
            if len(known) > 16:
                known.clear()
            words = np.array([streams.key(purpose, seed, self.family + self._name) for seed in self._seeds], np.uint32)
            # A transform of torch.func wraps what is made inside of it, and the keys outlive it.
            found = known[at] = (_bare(torch.from_numpy(words.astype(np.int64)).to(device)), words)
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
            ValueError: if the state is of a module with another number of replicas, or is none.
        """
        try:
            read = json.loads(bytes(state.cpu().tolist()).decode())
            read["seeds"], read["name"], read["draw"] = list(read["seeds"]), str(read["name"]), int(read["draw"])
        except (ValueError, TypeError, KeyError, RuntimeError) as error:
            raise ValueError(
                f"expected what get_extra_state returns (uint8, JSON), got {state.dtype} of shape {list(state.shape)}. "
                "Load the state_dict of such a network."
            ) from error
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
    return {name: module for name, module in named_modules(net) if isinstance(module, Addressed)}


def transformed() -> bool:
    """Whether a torch.func transform (grad, vmap, jvp, functionalize) is active.

    Returns:
        True inside a transform.
    """
    if torch.compiler.is_dynamo_compiling():
        return bool(_asked_apart())
    # There is no public question for this; the answer decides which of two equal paths is taken.
    return bool(torch._C._functorch.peek_interpreter_stack() is not None)  # type: ignore[attr-defined,unused-ignore]


@_disable_dynamo
def _asked_apart() -> bool:
    # A compiler that traces would answer for its own stack.
    return transformed()


def rows_of(x: Tensor, count: int) -> Tensor:
    """Indices of the examples of a tensor: 0 … count − 1, and inside `vmap` over examples each one's place in it.

    Args:
        x: a tensor whose examples are meant.
        count: how many examples it shows.

    Returns:
        int64 [count].
    """
    size = examples_of(x, count)
    index = torch.arange(count, device=x.device)
    if size == count:
        return index
    functorch = torch._C._functorch  # type: ignore[attr-defined,unused-ignore]
    places = _bare(torch.arange(size, device=x.device))
    return index + functorch._add_batch_dim(places, 0, functorch.maybe_get_level(_bare(x)))


def examples_of(x: Tensor, count: int) -> int:
    """How many examples there are: those that a tensor shows, and inside `vmap` over single examples all of them.

    Args:
        x: a tensor whose examples are meant.
        count: how many examples it shows.

    Returns:
        Their number.
    """
    functorch, inner = torch._C._functorch, _bare(x)  # type: ignore[attr-defined,unused-ignore]
    if count != 1 or not functorch.is_batchedtensor(inner):
        return count
    return int(functorch.get_unwrapped(inner).shape[functorch.maybe_get_bdim(inner)])


def _bare(x: Tensor) -> Tensor:
    # A tensor without the wrappers that `grad` puts around it.
    functorch = torch._C._functorch  # type: ignore[attr-defined,unused-ignore]
    while functorch.is_gradtrackingtensor(x):
        x = functorch.get_unwrapped(x)
    return x
