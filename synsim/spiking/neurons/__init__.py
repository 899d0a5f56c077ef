"""Leaky integrate-and-fire neurons: parameters, a state, a pure step, and the whole course of time at once.

Within a step things happen in the order of Brian2's default schedule:

1. state update: v ← v · exp(−dt / τ), exactly; a refractory neuron keeps its v (`unless refractory`);
2. threshold: a spike where v > θ, unless refractory;
3. synapses: v ← v + input of this step, also in refractory neurons and in those that just fired;
4. reset where it fired: to rest, v ← 0, which erases the input of this step; or by subtraction, v ← v − θ.

So a spike at step t acts on its targets' spikes from step t + 1 on. A neuron that fires at step t is refractory during
the steps t + 1 … t + n − 1, with n the refractory period in steps, and may fire again at t + n.
"""

from synsim.spiking.neurons.course import check_spikes, check_time_axis, leaky, lif
from synsim.spiking.neurons.parameters import LIF, RESETS, Leaky, State, at_rest, decay
from synsim.spiking.neurons.step import arrive, fire, lif_step

__all__ = [
    "LIF",
    "RESETS",
    "Leaky",
    "State",
    "arrive",
    "at_rest",
    "check_spikes",
    "check_time_axis",
    "decay",
    "fire",
    "leaky",
    "lif",
    "lif_step",
]
