"""Energy in a physiologist's unit: what spikes, vesicles and released strength cost in molecules of ATP."""

from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor, nn

from synsim import _checks
from synsim._doors import check_fields, typed
from synsim.meters.transmission import transmission


@dataclass(frozen=True)
class AtpConstants:
    """What the events of an excitatory cortical synapse cost in ATP molecules, and what the network's units mean.

    In ATP, per event and with its source:

    - spike, 1.2e8: action potential along the whole axon; 3.8e8 (a), about 30 % of it since (b, c).
    - calcium, 1.2e4 a vesicle: extrusion of presynaptic Ca²⁺ (a).
    - recycling, 1.1e4 a vesicle: uptake, conversion and packing of glutamate (a).
    - cycling, 800 a vesicle: exocytosis and endocytosis (a).
    - reversal, 1.4e5 a vesicle of average strength: reversal of postsynaptic ion fluxes (a).

    What a network's units mean:

    - spikes_per_rate, 1: a rate of 1 (a white pixel, a hidden output of 1) is one spike per image.
    - quanta_per_strength, 1: a vesicle of strength m = 1 opens as many channels as the average cortical one.

    The scales are assumptions, not measurements: replace them by your own. With them, ratios between networks of one
    kind are worth two digits, absolute numbers an order of magnitude. Not counted: resting potentials and upkeep,
    which go with time, not with images. Negative strengths cost what positive ones cost, although inhibition is
    cheaper. A vesicle costs its presynaptic terms whatever the strength; of N sites each has the strength m / N. The
    spike is that of a neuron with some 8,000 boutons (a); a unit here has as many as it has outgoing synapses, usually
    fewer, so spikes dominate unless `spike` is scaled down with them.

    Sources:
        (a) Attwell & Laughlin 2001, J Cereb Blood Flow Metab 21: 1133-1145; rodent, 37 °C.
        (b) Harris, Jolivet & Attwell 2012, Neuron 75: 762-777.
        (c) Howarth, Gleeson & Attwell 2012, J Cereb Blood Flow Metab 32: 1222-1232. It gives shares of the cortical
            budget, 21 % for spikes and 50 % for postsynaptic receptors, where (a) had 47 % and 34 %; if the latter
            cost what they did, a spike costs (21 / 50) / (47 / 34) = 30 % of what it did.

    Raises:
        ValueError: if a constant is negative or not finite.
    """

    spike: float = 1.2e8
    calcium: float = 1.2e4
    recycling: float = 1.1e4
    cycling: float = 800.0
    reversal: float = 1.4e5
    spikes_per_rate: float = 1.0
    quanta_per_strength: float = 1.0

    def __post_init__(self) -> None:
        check_fields(self)
        for field in fields(self):
            _checks.constant(getattr(self, field.name), field.name, None)


RODENT_CORTEX = AtpConstants()


@typed
def atp_of_events(
    spikes: Tensor, vesicles: Tensor, strength: Tensor, constants: AtpConstants = RODENT_CORTEX
) -> dict[str, Tensor]:
    """ATP molecules that counted, or expected, events cost.

    Args:
        spikes: number of action potentials, any shape.
        vesicles: number of vesicles released, of the same shape.
        strength: sum of the strengths (abs(m) / N for N sites) of these vesicles, of the same shape.
        constants: the costs; `spikes_per_rate` is not used here, as spikes are counted already.

    Returns:
        "spikes", "release" (presynaptic) and "reversal" (postsynaptic), each of that shape.

    Raises:
        ValueError: if there are fewer events than none, or the shapes differ.
    """
    given = {"spikes": spikes, "vesicles": vesicles, "strength": strength}
    for name, value in given.items():
        _checks.require(
            bool((_checks.numeric(value, name) >= 0).all()), f"{name} must be at least 0, got {float(value.min()):g}."
        )
    shapes = [list(value.shape) for value in given.values()]
    _checks.require(
        shapes[0] == shapes[1] == shapes[2], f"spikes, vesicles and strength must have one shape, got {shapes}."
    )
    return {
        "spikes": constants.spike * spikes,
        "release": (constants.calcium + constants.recycling + constants.cycling) * vesicles,
        "reversal": constants.reversal * constants.quanta_per_strength * strength,
    }


@typed
def atp_budget(
    net: nn.Module,
    x: Any,
    constants: AtpConstants = RODENT_CORTEX,
    *,
    samples: int = 10,
    block: int | None = 100,
    seed: int = 0,
    head: int | None = None,
) -> dict[str, Tensor]:
    """ATP molecules per image, by what they are spent on; the sum is `energy(net, "atp", x=x)`.

    Args:
        net: the network.
        x: images whose pixels are rates, at least 0; as for `accuracy`.
        constants: the costs, their sources and assumptions.
        samples: stochastic passes.
        block: images that share a mask.
        seed: of the masks.
        head: index of the head, or None.

    Returns:
        "spikes", "release" and "reversal": numbers, or [R]; float64.
    """
    rates = transmission(net, x, samples=samples, block=block, seed=seed, head=head)
    spikes, vesicles, strength = (constants.spikes_per_rate * term for term in rates)
    return atp_of_events(spikes, vesicles, strength, constants)
