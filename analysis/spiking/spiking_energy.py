"""Spiking networks: bits per energy: a study of ours."""

from synsim.report import Study

STUDY = Study(
    "Spiking networks: bits per energy",
    "What does a bit cost in a network of leaky integrate-and-fire neurons with the same synapses, beside the rate "
    "network of the same widths?",
    "spiking_energy",
    "python experiments/spiking_energy.py --data mnist",
    alt="Bits per energy of rate and spiking networks with plastic, deterministic and fixed release; spikes and "
    "membrane potentials of a spiking network that sees one image.",
)

STUDIES = {1.0: STUDY}
