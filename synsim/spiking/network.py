"""Spiking networks of Bernoulli synapses that take images and return logits, like `synsim.mlp`."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from synsim._checks import require, whole, within
from synsim._doors import typed
from synsim.networks import LayerFactory, Seeded, initialised, spelled
from synsim.spiking.encoding import Encoder, PoissonRates
from synsim.spiking.neurons import LIF, Leaky, decay, leaky, lif
from synsim.spiking.readout import fires, read
from synsim.spiking.recurrent import Back
from synsim.spiking.recurrent import recurrent as run_recurrent
from synsim.spiking.short_term import ShortTerm, factor_of
from synsim.spiking.surrogate import Surrogate, surrogate
from synsim.synapses import BernoulliLinear, addressed
from synsim.synapses.addressed import Addressed, transformed
from synsim.synapses.scopes import SCOPES

BYTES = 1 << 26
"""Memory that spikes and membranes of one pass without gradients may take; longer batches go in parts."""


@dataclass(frozen=True)
class Record:
    """What a run of a network leaves behind; [T, B, n] or [R, T, B, n] each.

    Attributes:
        spikes: "input", "hidden 1", …, and "output" where the last population fires: 0 or 1.
        membranes: "hidden 1", …, "output": v at the end of each step.
        logits: [B, C] or [R, B, C].
    """

    spikes: dict[str, Tensor]
    membranes: dict[str, Tensor]
    logits: Tensor


class SpikingMLP(nn.Module):
    """Layers of Bernoulli synapses between populations of leaky integrate-and-fire neurons.

    All steps of one layer are computed before those of the next, since no spike travels back to an earlier one: a mask
    of batch scope serves all steps of a pass, and the input layer is one product over T · B rows. Hidden populations
    may have synapses to themselves; a spike then arrives in the step in which it was fired, as at other synapses, and
    acts on spikes from the next one on. Built by `spiking_mlp`.

    Compiled, its encoder, its synapses and the loops over time of its neurons are breaks of the graph.

    Attributes:
        encoder: images -> spikes.
        layers: layers of synapses, called "layers.0", "layers.1", ….
        recurrent: those from each hidden population to itself, called "recurrent.0", …; without elements if there are
            none.
        neurons: parameters of the hidden populations, and of the last one where it fires.
        output: parameters of the leaky readout, or None where the last population fires.
        dt: time step, ms.
        gain: factor from the readout to logits.

    Args:
        encoder: images -> spikes; None for a network that is only given spikes (`run`).
        layers: synapses, from input to output.
        neurons: parameters of the populations that fire.
        output: parameters of the leaky readout.
        readout: "mean" or "max" of the membrane, "count" of the spikes, or "first" spike.
        surrogate: of the gradient.
        dt: time step, ms.
        gain: factor from the readout to logits.
        short_term: short-term plasticity of all synapses, or None.
        recurrent: synapses from each hidden population to itself, in order; none: no recurrence.

    Raises:
        ValueError: if an argument does not fit.
    """

    @typed
    def __init__(
        self,
        encoder: Encoder | None,
        layers: Sequence[BernoulliLinear],
        neurons: LIF,
        output: Leaky,
        *,
        readout: str,
        surrogate: Surrogate,
        dt: float,
        gain: float,
        short_term: ShortTerm | None,
        recurrent: Sequence[BernoulliLinear] = (),
    ) -> None:
        super().__init__()
        require(len(layers) > 0, "layers must hold one layer at least, got none.")
        for one, other in itertools.pairwise(layers):
            require(
                one.out_features == other.in_features,
                f"every layer must have as many inputs as the one before has outputs, got {other.in_features} after "
                f"{one.out_features}.",
            )
        require(encoder is None or encoder.dt == dt, "the encoder must have the network's dt.")
        widths = [layer.out_features for layer in layers[:-1]]
        squares = [(layer.in_features, layer.out_features) for layer in recurrent]
        require(
            not squares or squares == [(width, width) for width in widths],
            f"recurrent must hold a layer for each hidden population, of {widths} neurons to themselves, got layers of "
            f"{squares}.",
        )
        self.encoder = encoder
        self.layers, self.recurrent = nn.ModuleList(layers), nn.ModuleList(recurrent)
        self.neurons, self.readout, self.surrogate = neurons, readout, surrogate
        self.output = None if fires(readout) else output
        self.dt, self.gain, self.short_term = float(dt), within(gain, "gain", "(-inf, inf)"), short_term
        neurons.decay(dt)
        neurons.hold(dt)
        if self.output is not None:
            decay(output.tau, dt, "tau_readout")
        if short_term is not None:
            short_term.decays(dt)
            facilitates = short_term.tau_facilitation > 0 or short_term.per_synapse
            require(
                not facilitates or all(SCOPES[layer.scope].facilitates for layer in (*layers, *recurrent)),
                'scope="event-gaussian" does not know how a facilitated release probability saturates. Use '
                'scope="event", or depression of whole neurons alone (tau_facilitation=0, a number for U).',
            )

    def populations(self) -> list[str]:
        """Names of the populations, from input to output.

        Returns:
            "input", "hidden 1", …, "output".
        """
        return ["input", *(f"hidden {k}" for k in range(1, len(self.layers))), "output"]

    @typed
    def forward(self, x: Tensor) -> Tensor:
        """Logits of images.

        Args:
            x: pixels in [0, 1], [B, I] or, with replicas, also [R, B, I].

        Returns:
            [B, C] or [R, B, C].
        """
        encoder = self._encoder()
        batch = x.shape[-2] if x.ndim > 1 else 0
        if torch.is_grad_enabled() or transformed() or batch < 2:
            return self._through(encoder(x), record=False).logits
        width = sum(3 * layer.out_features + layer.in_features for layer in self._synapses())
        each = encoder.steps * width * x.element_size() * (encoder.replicas or 1)
        size = max(1, BYTES // each)
        parts, steps = [], {module: module.address.step for module in addressed(self).values()}
        for low in range(0, batch, size):
            with self._from(low, steps):
                parts.append(self._through(encoder(x[..., low : low + size, :]), record=False).logits)
        return parts[0] if len(parts) == 1 else torch.cat(parts, -2)

    @typed
    def encode(self, x: Tensor) -> Tensor:
        """The spikes that images become; a draw of the encoder is consumed as in `forward`.

        Args:
            x: pixels in [0, 1], [B, I] or [R, B, I].

        Returns:
            Spikes [T, B, I] or [R, T, B, I], for `run`.

        Raises:
            ValueError: if the images do not fit, or the network has no encoder.
        """
        encoder = self._encoder()
        width = encoder.pixels(self._synapses()[0].in_features)
        require(
            x.ndim > 0 and x.shape[-1] == width,
            f"images must have {width} pixels, as many as fit the network's inputs, got {list(x.shape)}.",
        )
        found: Tensor = encoder(x)
        return found

    @typed
    def run(self, spikes: Tensor) -> Record:
        """Run the network on given spikes.

        Args:
            spikes: 0 or 1 in the type of the weights, [T, B, I], or with replicas also [R, T, B, I].

        Returns:
            Spikes and membranes of every population, and the logits.

        Raises:
            ValueError: if the axes do not fit, or an entry is neither 0 nor 1.
        """
        first = self._synapses()[0]
        lead = "" if first.replicas is None else f" or [{first.replicas}, T, B, {first.in_features}]"
        shared = spikes.ndim == 3
        own = spikes.ndim == 4 and first.replicas is not None and spikes.shape[0] == first.replicas
        if not (shared or own) or spikes.shape[-1] != first.in_features or 0 in spikes.shape:
            raise ValueError(
                f"spikes must be [T, B, {first.in_features}]{lead}, with time before the examples, "
                f"got {list(spikes.shape)}."
            )
        steps = None if self.encoder is None else self.encoder.steps
        require(
            steps is None or spikes.shape[-3] == steps or spikes.shape[-2] != steps,
            f"spikes must have time before the examples; {list(spikes.shape)} looks like examples before the {steps} "
            "steps of this network's encoder. Transpose them.",
        )
        require(not spikes.is_complex(), f"spikes must be 0 or 1, got {spikes.dtype}.")
        if not transformed() and not bool(((spikes == 0) | (spikes == 1)).all()):
            raise ValueError("spikes must be 0 or 1, got other values. Images go through net(x) or net.encode(x).")
        return self._through(spikes.to(first.p.dtype), record=True)

    def _through(self, spikes: Tensor, *, record: bool) -> Record:
        layers, names = self._synapses(), self.populations()
        fired, membranes = {"input": spikes}, {}
        now = spikes
        for index, layer in enumerate(layers):
            current = self._transmit(layer, now)
            name = names[index + 1]
            if index == len(layers) - 1 and self.output is not None:
                membranes[name] = leaky(current, self.output, self.dt)
                break
            now, v = self._fire(current, index, record)
            fired[name] = now
            if v is not None:
                membranes[name] = v
        series = membranes["output"] if self.output is not None else fired["output"]
        logits = read(self.readout, series) * self.gain
        return Record(fired, membranes, logits) if record else Record({}, {}, logits)

    def _fire(self, current: Tensor, index: int, membrane: bool) -> tuple[Tensor, Tensor | None]:
        if index >= len(self.recurrent):
            spikes, v, _ = lif(current, self.neurons, self.dt, surrogate=self.surrogate, membrane=membrane)
            return spikes, v
        layer = cast(BernoulliLinear, self.recurrent[index])
        back = Back(layer, self.neurons, self.dt, self.surrogate, self.short_term)
        return run_recurrent(current, back, membrane=membrane)

    def _transmit(self, layer: BernoulliLinear, spikes: Tensor) -> Tensor:
        steps = spikes.shape[-3]
        factor = factor_of(self.short_term, spikes, self.dt)
        rows: Tensor = layer(spikes.flatten(-3, -2), steps=steps, factor=factor)
        return rows.reshape(*rows.shape[:-2], steps, -1, rows.shape[-1])

    @contextmanager
    def _from(self, low: int, steps: Mapping[Addressed, int]) -> Iterator[None]:
        # Parts of a batch take the numbers that they have in the whole batch, and one draw serves all of them.
        modules = list(addressed(self).values()) if low else []
        before = [module.address for module in modules]
        try:
            for module in modules:
                example = module.address.example + (low if module.per_example else 0)
                step = steps[module]
                module.address = replace(module.address, draw=module.latest_draw, example=example, step=step)
            yield
        finally:
            for module, address in zip(modules, before, strict=True):
                module.address = address

    def _synapses(self) -> list[BernoulliLinear]:
        return cast(list[BernoulliLinear], list(self.layers))

    def _encoder(self) -> Encoder:
        if self.encoder is None:
            raise ValueError("this network has no encoder; give it spikes with net.run(spikes).")
        return self.encoder

    def extra_repr(self) -> str:
        """What `print(net)` shows beside the modules.

        Returns:
            Neurons, readout and time step.
        """
        return f"neurons={self.neurons}, output={self.output}, readout={self.readout!r}, dt={self.dt:g} ms"


@typed
def spiking_mlp(
    sizes: Sequence[int],
    *,
    p: float | Tensor | Sequence[float] = 0.25,
    bias: bool = False,
    sites: int = 1,
    scope: str = "batch",
    replicas: int | Seeded | None = None,
    seed: int | Sequence[int] = 0,
    dt: float = 1.0,
    window: float = 50.0,
    tau: float = 10.0,
    threshold: float = 1.0,
    reset: str = "rest",
    refractory: float = 0.0,
    tau_readout: float | None = None,
    recurrent: bool = False,
    rate: float = 100.0,
    encoder: Encoder | None = None,
    readout: str = "mean",
    gain: float = 1.0,
    surrogate: str | Surrogate = "fast-sigmoid",
    short_term: ShortTerm | None = None,
    layer: LayerFactory = BernoulliLinear,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> SpikingMLP:
    """Spiking network of Bernoulli synapses; it takes images with pixels in [0, 1] and returns logits.

    Everything made for `synsim.mlp` works on it: `PresynapticSGD`, `training.fit`, meters, lesions, importances.

    Args:
        sizes: width of the input, of each hidden population and of the output, such as [784, 200, 10].
        p: release probability at the start: a number, or [R].
        bias: whether the layers have biases: constant currents, in units of v per step.
        sites: release sites per synapse.
        scope: "batch": one mask for all examples and steps of a pass; "sample": one per example; "event": each spike is
            released or not at each synapse; "event-gaussian": an approximation of that.
        replicas: R independent networks in one, or a `synsim.Sweep`, which brings their seeds.
        seed: of weights, releases and spikes, as for `synsim.mlp`.
        dt: time step, ms.
        window: how long an image is shown, ms.
        tau: membrane time constant, ms.
        threshold: of the membrane, in units of v.
        reset: "rest" or "subtract".
        refractory: refractory period, ms.
        tau_readout: time constant of the leaky readout, ms; None: tau.
        recurrent: whether each hidden population has synapses to itself, from every neuron to every one, without
            biases.
        rate: of a pixel of 1 under Poisson rates, Hz.
        encoder: another encoder than Poisson rates, with the same dt and replicas; it is seeded here.
        readout: "mean" or "max" of the membrane of a leaky readout; "count" or "first" spike of one that fires.
        gain: factor from the readout to logits.
        surrogate: "fast-sigmoid", "arctan", "triangle" or a `Surrogate`.
        short_term: short-term plasticity of all synapses, or None.
        layer: makes the layers: `BernoulliLinear`, or a class or function with its arguments that gives such layers.
        device: where the tensors live.
        dtype: their floating-point type.

    Returns:
        The network; its synapses are called "layers.0", "layers.1", …, and those within a population "recurrent.0", ….

    Raises:
        ValueError: if an argument does not fit.

    Example:
        >>> import torch, synsim
        >>> net = spiking_mlp([4, 3, 2], p=0.5, window=10.0, rate=100.0, scope="event")
        >>> net(torch.ones(5, 4)).shape
        torch.Size([5, 2])
    """
    replicas, seed, again = spelled(replicas, seed)
    sizes = [whole(size, "every entry of sizes") for size in sizes]
    require(len(sizes) >= 2, f"sizes must name at least an input and an output width, got {sizes}.")
    neurons = LIF(tau, threshold, reset, refractory)
    shown = PoissonRates(rate, window=window, dt=dt, replicas=replicas) if encoder is None else encoder
    require(shown.replicas == replicas, f"the encoder must have replicas={replicas}, got {shown.replicas}.")
    require(not recurrent or len(sizes) > 2, f"a recurrent network needs a hidden population, got sizes={sizes}.")
    kind: dict[str, Any] = {
        "p": p,
        "sites": sites,
        "scope": scope,
        "replicas": replicas,
        "device": device,
        "dtype": dtype,
    }
    layers = [layer(inputs, outputs, bias=bias, **kind) for inputs, outputs in itertools.pairwise(sizes)]
    within_populations = [layer(width, width, bias=False, **kind) for width in sizes[1:-1]] if recurrent else []
    net = SpikingMLP(
        shown,
        cast(list[BernoulliLinear], layers),
        neurons,
        Leaky(tau if tau_readout is None else tau_readout),
        readout=readout,
        surrogate=_surrogate(surrogate),
        dt=dt,
        gain=gain,
        short_term=short_term,
        recurrent=cast(list[BernoulliLinear], within_populations),
    )
    return initialised(net, seed, sweep=again)


_surrogate = surrogate
