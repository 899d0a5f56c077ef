"""The same network in Brian2, an independent simulator (extra `spiking`: pip install synsim[spiking]).

In use::

    from synsim.spiking import brian

    there = brian.to_brian2(net)                    # Brian2 objects with readable equations; print(there) shows them
    found = brian.run(there, net.encode(images), repeats=50, seed=1)
    found.spikes["hidden 1"], found.membranes["output"], found.releases["layers.0"], found.logits
    brian.from_brian2(there, net)                   # expected strengths and release probabilities back

Brian2 is imported when the first of these functions is called, not before. Torch and Brian2 take their random numbers
from different sources: with releases they agree in distribution, without releases spike by spike.
"""

from synsim.spiking.brian.network import BrianNetwork, from_brian2, to_brian2
from synsim.spiking.brian.plan import Plan, Population, Projection, plan_of
from synsim.spiking.brian.running import Run, run
from synsim.spiking.brian.targets import TARGETS, compiler_problem

__all__ = [
    "TARGETS",
    "BrianNetwork",
    "Plan",
    "Population",
    "Projection",
    "Run",
    "compiler_problem",
    "from_brian2",
    "plan_of",
    "run",
    "to_brian2",
]
