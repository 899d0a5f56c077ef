"""Spiking networks of the same synapses: neurons, surrogate gradients, encoders, readouts, and a network of them."""

from synsim.spiking.encoding import Encoder, GivenSpikes, Latency, PoissonRates, RegularRates
from synsim.spiking.meters import Events, events, spikes_per_neuron
from synsim.spiking.network import Record, SpikingMLP, spiking_mlp
from synsim.spiking.neurons import LIF, Leaky, State, leaky, lif, lif_step
from synsim.spiking.poisson import poisson_spikes
from synsim.spiking.readout import READOUTS, first_spike, max_membrane, mean_membrane, spike_count
from synsim.spiking.short_term import ShortTerm
from synsim.spiking.surrogate import SURROGATES, Arctan, FastSigmoid, Surrogate, Triangle

__all__ = [
    "LIF",
    "READOUTS",
    "SURROGATES",
    "Arctan",
    "Encoder",
    "Events",
    "FastSigmoid",
    "GivenSpikes",
    "Latency",
    "Leaky",
    "PoissonRates",
    "Record",
    "RegularRates",
    "ShortTerm",
    "SpikingMLP",
    "State",
    "Surrogate",
    "Triangle",
    "events",
    "first_spike",
    "leaky",
    "lif",
    "lif_step",
    "max_membrane",
    "mean_membrane",
    "poisson_spikes",
    "spike_count",
    "spikes_per_neuron",
    "spiking_mlp",
]
