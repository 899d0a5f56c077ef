"""Powerpropagated synapses that fail at random: a study of ours."""

from synsim.report import Study

STUDY = Study(
    "Powerpropagated synapses that fail at random",
    "What does a bit cost, whole and pruned, if plastic and deterministic synapses grow by a power and φ decays, and "
    "how much of that is due to the penalty (L1 of a plain network), how much to the power?",
    "power_synapses",
    "python experiments/power_synapses.py --preset paper --data mnist",
    alt="Mutual information against synaptic energy for plastic and deterministic networks, a point per strength of "
    "the penalty; accuracy against bits per energy, whole and pruned; release probabilities after learning; accuracy "
    "against the share of synapses kept by weight and by release probability.",
)

STUDIES = {1.0: STUDY}
