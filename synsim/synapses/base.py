"""What every stochastic layer has in common: expected strength, release probability, and the address of its draws."""

import math
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from synsim import kernels, streams
from synsim._checks import affordable, available_device, require, whole
from synsim._doors import explained, shown, typed
from synsim.kernels import events, reference
from synsim.synapses.addressed import PLAIN, Addressed, rows_of, transformed
from synsim.synapses.scopes import MEAN_FIELD, SCOPES, Scope
from synsim.synapses.stored import probabilities_like, solved, strengths

TILES = 2**32 // 16
_LIVING: "weakref.WeakSet[StochasticLayer]" = weakref.WeakSet()


class StochasticLayer(Addressed):
    """Base of the layers whose synapses release at random (Schug, Benzing & Steger 2021, eq. 4.1).

    The layer stores expected strengths w̄ = p · m. In a forward pass each of the N sites of a synapse releases with
    probability p; with k sites released it transmits m · k / N. Unreleased synapses have gradient 0.

    Attributes:
        weight: Parameter, expected strengths w̄, `[*shape]` or `[R, *shape]`.
        p: buffer like `weight`, release probabilities in (0, 1].
        bias: Parameter [O] or [R, O], or None.
        sites: release sites N per synapse.
        scope: name of the release scope: "batch" (one mask per forward pass), "sample" (one per example), or "event"
            (one per spike; layers that know it). What a scope can do is asked of `release`.
        replicas: R, or None for a layer without a replica axis.
    """

    weight: nn.Parameter
    p: Tensor
    bias: nn.Parameter | None
    example_ndim: int
    """Axes of one input example."""
    scopes: tuple[str, ...] = ("batch", "sample")
    """Scopes of release that this kind of layer knows."""
    direct: bool = True
    """Whether masks and the divisor are applied to `weight` itself, drawn and transmitted as this class does."""
    divides: bool = False
    """Whether the class has a divisor of its own."""

    def __init_subclass__(cls, **options: Any) -> None:
        """A layer that stores something else overrides `expected_strength`, and `transmitted` if it draws otherwise.

        Args:
            options: of the class.
        """
        super().__init_subclass__(**options)
        cls.divides = cls.divisor is not StochasticLayer.divisor
        if "direct" in vars(cls):
            return
        # A class that changes neither is what the one before it is; parametrizations make such classes.
        before = next(base for base in cls.__mro__[1:] if issubclass(base, StochasticLayer))
        cls.direct = before.direct if _transmits_as(cls, before) else _transmits_as(cls, StochasticLayer)

    def __new__(cls, *args: Any, **options: Any) -> Self:  # noqa: D102
        # Copies and pickles come by here too.
        layer = super().__new__(cls)
        _LIVING.add(layer)
        return layer

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
        super().__init__(replicas)
        self.sites = whole(sites, "sites")
        require(self.sites <= 255, f"sites must be at most 255, got {sites}.")
        require(scope in self.scopes, f"scope must be one of {', '.join(self.scopes)}, got {scope!r}.")
        self.scope = scope
        dtype = dtype or torch.get_default_dtype()
        require(dtype.is_floating_point, f"dtype must be a float type, got {dtype}.")
        place = available_device(device)
        require(math.prod(shape) < TILES * 8, f"a layer of shape {list(shape)} has more synapses than addresses.")
        lead = () if self.replicas is None else (self.replicas,)
        if place.type == "cpu":  # weights, probabilities, and the counts of a mask
            affordable(math.prod((*lead, *shape)) * (2 * dtype.itemsize + 1), f"a layer of shape {[*lead, *shape]}")
        self.weight = nn.Parameter(torch.empty(*lead, *shape, device=place, dtype=dtype))
        offsets = nn.Parameter(torch.empty(*lead, shape[0], device=place, dtype=dtype)) if bias else None
        self.register_parameter("bias", offsets)
        probabilities = probabilities_like(p, self.weight, self.replicas)
        self.register_buffer("p", probabilities.to(place).clone())
        # On the meta device p has no values; they come with its memory (`to_empty`, `skip_init`).
        self._awaited = probabilities if place.type == "meta" else None
        self.reset_parameters()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        was_empty = self.p.is_meta
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if was_empty and not self.p.is_meta and self._awaited is not None:
            with torch.no_grad():
                self.p.copy_(self._awaited)
        return self

    @typed
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

    @property
    def release(self) -> Scope:
        """How the synapses release at present, as an object: that of `scope`, or of the mean field in that view."""
        view = self.stream.here.view
        return MEAN_FIELD if view is not None and view.address.mean else SCOPES[self.scope]

    @property
    def per_example(self) -> bool:
        """Whether each example has a mask of its own, rather than all of a pass the same."""
        return SCOPES[self.scope].per_example

    @property
    def expected_strength(self) -> Tensor:
        """What the synapse transmits on average, w̄ = p m, shaped like `weight`; here the weight itself."""
        return self.weight

    @property
    def strength(self) -> Tensor:
        """Strength when released, w / d, shaped like `weight`; in the model m = w̄ / p."""
        return self._drawn() / self.divisor()

    def divisor(self) -> Tensor:
        """What released synapses are divided by, so that w̄ = p w / d for the weight w.

        Returns:
            d, shaped like `weight`; here p, so that w̄ = w.
        """
        p = self._buffers.get("p")
        return self.p if p is None else p

    @property
    def learned(self) -> Tensor:
        """The probabilities that a rule moves, shaped like `weight`; here those of release."""
        return self.p

    @torch.no_grad()
    @typed
    def set_expected(self, value: Tensor) -> None:
        """Write what the synapses transmit on average; their release probabilities stay.

        A layer that stores something else is solved for it, entry by entry.

        Args:
            value: w̄, shaped like `weight`.

        Raises:
            ValueError: if the weight is computed from other parameters, the value does not fit, or no weight found
                gives these strengths.
        """
        strengths(value, self.weight)
        where = f"layer {self._name or type(self).__name__!r}"
        require(
            self._parameters.get("weight") is not None,
            f"expected {where} to hold its weight, which is computed from other parameters there. Make it permanent "
            "first (torch.nn.utils.parametrize.remove_parametrizations, torch.nn.utils.prune.remove).",
        )
        if type(self).expected_strength is StochasticLayer.expected_strength:
            self.weight.copy_(value)
        else:
            require(
                solved(self.weight, lambda: self.expected_strength, value),
                f"found no weight with which {where} transmits these strengths on average. "
                f"Give {type(self).__name__} a method `set_expected`.",
            )

    @property
    def mask(self) -> Tensor | None:
        """The mask drawn last, shaped like `weight`: bool, or with several sites the uint8 count of releases.

        None before the first forward pass, and for the other scopes, where `draw_mask` recomputes masks. In the mean
        field all synapses transmit.
        """
        if self.address.mean:
            return self.draw_mask()
        counts = self._noted()
        if counts is None:
            return None
        mask = counts.to(self.p.device).reshape(self.p.shape)
        return mask.bool() if self.sites == 1 else mask

    @typed
    def draw_mask(self, example: int = 0, step: int = 0) -> Tensor:
        """The mask of one example in the latest draw, from its address and the present release probabilities.

        Args:
            example: index of the example in its batch; ignored where all examples share a mask.
            step: time step; ignored but for `scope="event"`.

        Returns:
            bool like `weight`; with several sites the uint8 count of releases. In the event scope those that a spike
            of every input would release.

        Raises:
            ValueError: for `scope="event-gaussian"`, which has no masks.
        """
        example = whole(example, "example", 0, streams.WORD)
        count = self.release.mask(self, example, whole(step, "step", 0, events.LAST_STEP - 1))
        return count.bool() if self.sites == 1 else count

    def _lead(self, tensor: Tensor) -> Tensor:
        return tensor if self.replicas is not None else tensor.unsqueeze(0)

    def _key(self, purpose: str | None = None) -> tuple[Tensor, np.ndarray]:
        return self._key_on(self.address.purpose if purpose is None else purpose, self.p.device)

    def _stored(self) -> Tensor:
        # Where pruning or a parametrization makes the weight anew, it is an attribute and no parameter. Looked up in
        # the table of the module: its attributes are slow to read, and this runs at every pass.
        weight = self._parameters.get("weight")
        return self.weight if weight is None else weight

    def _drawn(self) -> Tensor:
        # What masks and the divisor are applied to.
        return self._stored() if self.direct else self.expected_strength

    def _offsets(self) -> Tensor | None:
        # None is a bias that a layer has not; where the table has no entry, it is made anew as a weight may be.
        return self._parameters["bias"] if "bias" in self._parameters else self.bias  # noqa: SIM401

    def _leading(self) -> tuple[Tensor, Tensor]:
        # Strengths and probabilities with an axis of replicas, for passes that are not drawn in batch scope.
        weight, p = self.expected_strength, self.p
        kernels.fit.layer(weight, p, self.replicas or 1)
        if not transformed():
            self.stream.arrays.look(weight, p, self.replicas or 1)
        return self._lead(weight), self._lead(p)

    def transmitted(self) -> Tensor:
        """Strengths of one pass in which all examples share a mask: draw it, or take the one that the view prescribes.

        Returns:
            Strengths transmitted, shaped like `weight`; a function of `weight` for autograd.
        """
        return self.release.strengths(self)

    @explained
    def draw(self, weight: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Draw the masks of one pass in batch scope, or take those that the view prescribes.

        Args:
            weight: the layer's weight, where it is at hand: one that is computed (parametrizations) is asked for once
                a pass. None: as it is.

        Returns:
            Strengths transmitted, apart from autograd, and counts of releases (uint8), both like `weight`; None in
            place of the counts if every synapse releases always, so that nothing had to be drawn.
        """
        weight = self._stored() if weight is None else weight
        p, stream = self._buffers.get("p"), self.stream
        p = self.p if p is None else p
        divisor = self.divisor() if self.divides else p
        # Asked now and then only, as long as the answer is no: most networks learn when to fail.
        if self.sites == 1 and (stream.reliable or not stream.draw & 15):
            stream.reliable = kernels.certain(weight, p, self.replicas or 1, stream.arrays)
            if stream.reliable:
                self._next()
                self._note(torch.ones((), dtype=torch.uint8, device=weight.device).expand(weight.shape))
                if divisor is p:
                    return weight.detach(), None
                # Every synapse releases, but what it transmits, and its gradient, have a factor still.
                return weight.detach() * p / divisor, torch.ones_like(weight, dtype=torch.uint8)
        view = stream.here.view
        address = PLAIN if view is None else view.address
        at = address.purpose, weight.device
        keys, words = stream.keys.get(at) or self._key_on(*at)
        strength, count = kernels.release(
            weight, p, keys, words, self.sites, address.example, self._next(), stream.arrays
        )
        if view is None:
            stream.counts = count
        else:
            self._note(count)
        if divisor is not p:
            # What was drawn is this pass's alone: times p, and by d in place of p.
            strength.mul_(p).div_(divisor)
        return strength, count

    def _plain(self, examples: int, x: Tensor | None = None) -> Tensor:
        # Inside a torch.func transform: torch operations only, one frozen mask, no trace left on the layer. With inputs
        # that have masks of their own, those of the examples that they are.
        drawn = self._drawn()
        rows = torch.arange(examples, device=self.p.device) if x is None else rows_of(x, examples)
        return self._scales_of(rows).reshape(examples, *drawn.shape) * drawn

    @typed
    def scales(self, examples: int = 1) -> Tensor:
        """Factors k / (N d) by which the latest draw scaled the weights, from their address and present p; d = p here.

        Args:
            examples: how many masks of successive examples (blocks where examples share a mask), the address' own
                first.

        Returns:
            `[examples, R, *shape]`; R = 1 without replicas.

        Raises:
            ValueError: in the event scopes, where no mask holds for a whole example.
        """
        examples = whole(examples, "examples")
        affordable(40 * examples * self.p.numel(), f"masks of {examples} examples")
        return self._scales_of(torch.arange(examples, device=self.p.device))

    def _scales_of(self, rows: Tensor) -> Tensor:
        # Those of given examples, counted from the address' own; a view that is in force changes nothing.
        return SCOPES[self.scope].scales(self, rows)

    def _scale(self, count: Tensor, p: Tensor) -> Tensor:
        factor = reference.scale_of(count, p, self.sites)
        return factor * (p / self._lead(self.divisor()).reshape(p.shape)) if self.divides else factor

    def extra_repr(self) -> str:
        """What `print(layer)` shows inside the brackets.

        Returns:
            Shape and settings.
        """
        shape = "×".join(str(n) for n in self.p.shape)
        return f"{shape}, sites={self.sites}, scope={self.scope!r}, bias={self.bias is not None}"

    def check_input(self, x: Tensor, width: int) -> None:
        """Refuse inputs of the wrong rank, width, type or place.

        Args:
            x: `[B, *example]`, or with replicas also `[R, B, *example]`.
            width: size expected of the first axis of an example.

        Raises:
            ValueError: if x does not fit.
        """
        # What fits, as nearly every input does, is told by a few comparisons; words are made for the rest.
        weight = self._parameters.get("weight")
        own = self.p if weight is None else weight
        shape = x.shape if isinstance(x, Tensor) else ()
        axes = self.example_ndim
        free = len(shape) - axes
        if (
            (free == 1 or (free == 2 and self.replicas is not None and shape[0] == self.replicas))
            and shape[-axes] == width
            and x.dtype == own.dtype
            and x.layout == torch.strided
            and x.is_meta == own.is_meta
        ):
            return
        self._refuse_input(x, width)

    def _shape_of_inputs(self, width: int) -> str:
        form = "B, " + ", ".join([str(width), "height", "width"][: self.example_ndim])
        return f"[{form}]" + ("" if self.replicas is None else f" or [{self.replicas}, {form}]")

    @explained
    def _refuse_input(self, x: Tensor, width: int) -> None:
        where = f"layer {self._name or type(self).__name__!r}"
        free = x.ndim - self.example_ndim
        fits = free == 1 or (free == 2 and self.replicas is not None and x.shape[0] == self.replicas)
        if not fits or x.shape[-self.example_ndim] != width:
            raise ValueError(f"{where} expects inputs of shape {self._shape_of_inputs(width)}, got {_shaped(x, self)}")
        if isinstance(x, Tensor) and (x.layout != torch.strided or (x.is_meta and not self.p.is_meta)):
            raise ValueError(f"{where} expects a dense tensor, got {shown(x)}.")
        weight = self._parameters.get("weight")
        dtype = (self.p if weight is None else weight).dtype
        if x.dtype != dtype and not _mixed(x):
            raise ValueError(
                f"{where} expects {dtype}, got {x.dtype}. "
                + (
                    "Convert the inputs with x.to(dtype), scaled as for training."
                    if isinstance(x, Tensor)
                    else "Make a tensor of them first: torch.as_tensor(x, dtype=…)."
                )
            )


def _mixed(x: Tensor) -> bool:
    # Under autocast, inputs come in another type.
    return isinstance(x, Tensor) and x.is_floating_point() and torch.is_autocast_enabled(x.device.type)


def _shaped(x: Tensor, layer: StochasticLayer) -> str:
    flatten = layer.example_ndim == 1 and x.ndim > 2
    return f"{list(x.shape)}." + (" Flatten the images first (x.flatten(1))." if flatten else "")


def _transmits_as(one: type[StochasticLayer], other: type[StochasticLayer]) -> bool:
    return one.expected_strength is other.expected_strength and one.transmitted is other.transmitted


def living() -> list[StochasticLayer]:
    """Every stochastic layer there is, of whatever network: a parameter does not know its layer.

    Returns:
        The layers, in no order.
    """
    return [layer for layer in list(_LIVING) if "_parameters" in vars(layer)]
