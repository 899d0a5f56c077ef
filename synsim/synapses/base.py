"""What every stochastic layer has in common: expected strength, release probability, and the address of its draws."""

import json
import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from synsim import kernels, streams
from synsim._checks import available_device, require, whole
from synsim.kernels import reference
from synsim.synapses.release import release

SCOPES = ("batch", "sample")
LAST_DRAW = 2**32 - 1
LAST_SEED = 2**63 - 1
TILES = 2**32 // 16


class Stream:
    """Where a layer stands: its next draw, and the counts of releases of the latest one.

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
    """Where a layer takes its release bits from.

    Attributes:
        purpose: purpose of the stream; part of the key.
        draw: number of the draw, or None to count on from the layer's own counter.
        example: index of the first example (sample scope) or of the block (batch scope).
        mean: True for the mean field: every synapse transmits its expected strength, and nothing is drawn.
    """

    purpose: str = "train"
    draw: int | None = None
    example: int = 0
    mean: bool = False


class StochasticLayer(nn.Module):
    """Base of the layers whose synapses release at random (Schug, Benzing & Steger 2021, eq. 4.1).

    The layer stores expected strengths w̄ = p · m. In a forward pass each of the N sites of a synapse releases with
    probability p; with k sites released it transmits m · k / N. Unreleased synapses have gradient 0.

    Attributes:
        weight: Parameter, expected strengths w̄, [*shape] or [R, *shape].
        p: buffer like `weight`, release probabilities in (0, 1].
        bias: Parameter [O] or [R, O], or None.
        sites: release sites N per synapse.
        scope: "batch" (one mask per forward pass) or "sample" (one per example).
        replicas: R, or None for a layer without a replica axis.
    """

    weight: nn.Parameter
    p: Tensor
    bias: nn.Parameter | None
    example_ndim: int
    """Axes of one input example."""

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        p: float | Tensor | Sequence[float],
        bias: bool,
        sites: int,
        scope: str,
        replicas: int | None,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
    ) -> None:
        super().__init__()
        self.sites = whole(sites, "sites")
        require(self.sites <= 255, f"sites must be at most 255, got {sites}.")
        require(scope in SCOPES, f"scope must be one of {', '.join(SCOPES)}, got {scope!r}.")
        self.scope = scope
        self.replicas = None if replicas is None else whole(replicas, "replicas")
        dtype = dtype or torch.get_default_dtype()
        require(dtype.is_floating_point, f"dtype must be a float type, got {dtype}.")
        place = available_device(device)
        require(math.prod(shape) < TILES * 8, f"a layer of shape {list(shape)} has more synapses than addresses.")
        lead = () if replicas is None else (replicas,)
        self.weight = nn.Parameter(torch.empty(*lead, *shape, device=place, dtype=dtype))
        offsets = nn.Parameter(torch.empty(*lead, shape[0], device=place, dtype=dtype)) if bias else None
        self.register_parameter("bias", offsets)
        self.register_buffer("p", _probabilities(p, self.weight, self.replicas))
        self.address = Address()
        self.stream = Stream()
        self._keys: dict[tuple[str, torch.device], tuple[Tensor, np.ndarray]] = {}
        self._name = ""
        # Replicas of a layer built by hand differ, as those of a seeded one do.
        first = secrets.randbits(62)
        self._seeds = tuple(first + r for r in range(self.replicas or 1))
        self.reset_parameters()

    def reset_parameters(self, draw: int = 0) -> None:
        """Draw expected strengths and biases anew from U(−1/√fan_in, 1/√fan_in), from the layer's seed and name.

        This is torch's default for linear and convolution layers; the same values come on every device and in every
        precision. Release probabilities stay as they are.

        Args:
            draw: number of the draw; another one gives other values.
        """
        shape = self.weight.shape if self.replicas is None else self.weight.shape[1:]
        bound = 1 / math.sqrt(math.prod(shape[1:]))
        for parameter, name in ((self.weight, self._name), (self.bias, f"{self._name}.bias")):
            if parameter is not None:
                count = parameter.numel() // len(self._seeds)
                drawn = streams.uniform(streams.keys("init", self._seeds, name), count, draw)
                with torch.no_grad():
                    parameter.copy_(((2 * drawn - 1) * bound).reshape(parameter.shape))

    def seed(self, seeds: Sequence[int], name: str) -> None:
        """Restart the release streams of this layer.

        Args:
            seeds: one seed per replica (one seed without replicas).
            name: name of the layer in its network; layers of other names have other streams.
        """
        require(
            len(seeds) == (self.replicas or 1),
            f"expected {self.replicas or 1} seeds, one per replica, got {len(seeds)}.",
        )
        for one in seeds:
            whole(one, "seed", 0)
            require(one <= LAST_SEED, f"seed must be below 2**63, got {one}.")
        self._seeds, self._name, self.stream = tuple(seeds), name, Stream()
        self._keys.clear()

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of the release streams, one per replica."""
        return self._seeds

    @property
    def draws(self) -> int:
        """How many draws were consumed since the streams were seeded."""
        return self.stream.draw

    @property
    def strength(self) -> Tensor:
        """Strength when released, m = w̄ / p, shaped like `weight`."""
        return self.weight / self.p

    @property
    def mask(self) -> Tensor | None:
        """The mask drawn last, shaped like `weight`: bool, or with several sites the uint8 count of releases.

        None before the first forward pass, and for `scope="sample"`, where `draw_mask` recomputes masks.
        """
        counts = self.stream.counts
        if counts is None:
            return None
        mask = counts.to(self.weight.device).reshape(self.weight.shape)
        return mask.bool() if self.sites == 1 else mask

    def draw_mask(self, example: int = 0) -> Tensor:
        """The mask of one example in the latest draw, from its address and the present release probabilities.

        Args:
            example: index of the example in its batch; ignored for `scope="batch"`.

        Returns:
            bool like `weight`; with several sites the uint8 count of releases.
        """
        address = self.address
        if address.mean:
            full = torch.full_like(self.weight, self.sites, dtype=torch.uint8)
            return full.bool() if self.sites == 1 else full
        where = address.example + (whole(example, "example", 0) if self.scope == "sample" else 0)
        keys, _ = self._key(address.purpose)
        index = torch.tensor([where], device=self.weight.device)
        count = reference.count_releases(self._flat(self.p), keys, self.sites, index, self._latest())[0]
        count = count.reshape(self.weight.shape)
        return count.bool() if self.sites == 1 else count

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

    def _flat(self, tensor: Tensor) -> Tensor:
        return tensor.reshape(self.replicas or 1, -1)

    def _key(self, purpose: str, device: torch.device | None = None) -> tuple[Tensor, np.ndarray]:
        at = (purpose, device or self.weight.device)
        found = self._keys.get(at)
        if found is None:
            # Meters make up purposes as they go; without a bound the cache would grow with them.
            if len(self._keys) > 16:
                self._keys.clear()
            keys = streams.keys(purpose, self._seeds, self._name)
            found = self._keys[at] = (keys.to(at[1]), keys.numpy().astype(np.uint32))
        return found

    def transmitted(self) -> Tensor:
        """Strengths of one pass in batch scope: draw a mask, or take the one that the view prescribes.

        Returns:
            Strengths transmitted, shaped like `weight`; a function of `weight` for autograd.
        """
        address = self.address
        if address.mean:
            self.stream.counts = torch.full_like(self.weight, self.sites, dtype=torch.uint8, requires_grad=False)
            return self.weight
        if transformed():
            return self._plain(1)[0]
        strength, count = self.draw()
        return self.weight if count is None else release(self.weight, strength, self.p, count, self.sites)

    def draw(self) -> tuple[Tensor, Tensor | None]:
        """Draw the masks of one pass in batch scope, or take those that the view prescribes.

        Returns:
            Strengths transmitted, apart from autograd, and counts of releases (uint8), both like `weight`; None in
            place of the counts if every synapse releases always, so that nothing had to be drawn.
        """
        # Looked up in the tables of the module: its attributes are slow to read, and this runs at every pass.
        weight, p, stream, address = self._parameters["weight"], self._buffers["p"], self.stream, self.address
        assert weight is not None
        assert p is not None
        # Asked now and then only, as long as the answer is no: most networks learn when to fail.
        if self.sites == 1 and (stream.reliable or not stream.draw & 15) and self._reliable(weight, p):
            self._next()
            stream.counts = torch.ones((), dtype=torch.uint8, device=weight.device).expand(weight.shape)
            return weight.detach(), None
        keys, words = self._key(address.purpose, weight.device)
        strength, count = kernels.release(
            weight, p, keys, words, self.sites, address.example, self._next(), stream.arrays
        )
        stream.counts = count
        return strength, count

    def _reliable(self, weight: Tensor, p: Tensor) -> bool:
        # Whether p = 1 everywhere. A plastic p moves at every step; but for rare cases its first value tells then.
        at = (p.data_ptr(), p._version)
        if self.stream.reliable == at:
            return True
        # The views below keep the memory of p, so that no other tensor can come to its address unnoticed.
        self.stream.reliable = None
        if kernels.path(weight) != "numba" or not p.is_contiguous():
            return False
        if self.stream.arrays.of(weight, p, self.replicas or 1)[1][0, 0] != 1 or not bool((p == 1).all()):
            return False
        self.stream.reliable = at
        return True

    def _plain(self, examples: int) -> Tensor:
        # Inside a torch.func transform: torch operations only, one frozen mask, no trace left on the layer.
        return self.scales(examples).reshape(examples, *self.weight.shape) * self.weight

    def scales(self, examples: int = 1) -> Tensor:
        """Factors k / (N p) by which the latest draw scaled the expected strengths, from their address and present p.

        Args:
            examples: how many masks of successive examples (blocks in batch scope), the address' own first.

        Returns:
            [examples, R, *shape]; R = 1 without replicas.
        """
        address, p = self.address, self._flat(self.p.detach())
        keys, _ = self._key(address.purpose)
        index = address.example + torch.arange(examples, device=self.weight.device)
        count = reference.count_releases(p, keys, self.sites, index, self._latest())
        shape = self.weight.shape if self.replicas is None else self.weight.shape[1:]
        return reference.scale_of(count, p, self.sites).reshape(examples, -1, *shape)

    def get_extra_state(self) -> Tensor:
        """All that the streams need.

        Returns:
            Seeds, name and number of draws as UTF-8 JSON, a uint8 tensor.
        """
        state = {"seeds": list(self._seeds), "name": self._name, "draw": self.stream.draw}
        return torch.tensor(list(json.dumps(state).encode()), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """Continue the streams of a saved layer.

        Args:
            state: what `get_extra_state` returned.

        Raises:
            ValueError: if the state is of a layer with another number of replicas.
        """
        read = json.loads(bytes(state.cpu().tolist()).decode())
        if len(read["seeds"]) != (self.replicas or 1):
            raise ValueError(
                f"expected a state of {self.replicas or 1} replicas, got one of {len(read['seeds'])}. "
                "Build the network with the replicas it was saved with."
            )
        self.seed(read["seeds"], read["name"])
        self.stream.draw = read["draw"]

    def extra_repr(self) -> str:
        """What `print(layer)` shows inside the brackets.

        Returns:
            Shape and settings.
        """
        shape = "×".join(str(n) for n in self.weight.shape)
        return f"{shape}, sites={self.sites}, scope={self.scope!r}, bias={self.bias is not None}"

    def check_input(self, x: Tensor, width: int) -> None:
        """Refuse inputs of the wrong rank, width, type or place.

        Args:
            x: [B, *example], or with replicas also [R, B, *example].
            width: size expected of the first axis of an example.

        Raises:
            ValueError: if x does not fit.
        """
        free = x.ndim - self.example_ndim
        form = "B, " + ", ".join([str(width), "height", "width"][: self.example_ndim])
        allowed = f"[{form}]" + ("" if self.replicas is None else f" or [{self.replicas}, {form}]")
        fits = free == 1 or (free == 2 and self.replicas is not None and x.shape[0] == self.replicas)
        if not fits or x.shape[-self.example_ndim] != width:
            raise ValueError(
                f"layer {self._name or type(self).__name__!r} expects inputs of shape {allowed}, "
                f"got {list(x.shape)}."
                + (" Flatten the images first (x.flatten(1))." if self.example_ndim == 1 and x.ndim > 2 else "")
            )
        weight = self._parameters["weight"]
        if weight is not None and x.dtype != weight.dtype:
            raise ValueError(
                f"layer {self._name or type(self).__name__!r} expects {self.weight.dtype}, got {x.dtype}. "
                "Convert the inputs with x.to(dtype), scaled as for training."
            )


def transformed() -> bool:
    """Whether a torch.func transform (grad, vmap, jvp, functionalize) is active.

    Returns:
        True inside a transform.
    """
    # There is no public question for this; the answer decides which of two equal paths is taken.
    return torch._C._functorch.peek_interpreter_stack() is not None  # type: ignore[no-any-return,attr-defined,unused-ignore]


def synapses(net: nn.Module) -> dict[str, StochasticLayer]:
    """Every stochastic layer of a network by its module name.

    Args:
        net: any module.

    Returns:
        Module name -> layer, in the order of `named_modules`; "" if the network is itself such a layer.
    """
    return {name: module for name, module in net.named_modules() if isinstance(module, StochasticLayer)}


def _probabilities(p: float | Tensor | Sequence[float], weight: Tensor, replicas: int | None) -> Tensor:
    given = torch.as_tensor(p, dtype=weight.dtype).detach().to(weight.device)
    if given.ndim == 1 and replicas is not None:
        if given.shape[0] != replicas:
            raise ValueError(f"p must have one entry per replica ({replicas}), got {given.shape[0]}.")
        given = given.reshape(-1, *[1] * (weight.ndim - 1))
    elif given.ndim != 0 and given.shape != weight.shape:
        raise ValueError(
            f"p must be a number, one number per replica, or shaped like the weight {list(weight.shape)}, "
            f"got shape {list(given.shape)}."
        )
    if not bool(((given > 0) & (given <= 1)).all()):
        raise ValueError(
            f"p must lie in (0, 1], got values from {float(given.min()):g} to {float(given.max()):g}. "
            "A synapse that never releases can't learn; leave it out by a weight of 0."
        )
    return given.expand(weight.shape).clone()
