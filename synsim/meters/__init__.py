"""What a network costs and what it knows: functions of a network and data, per replica, on the device."""

from synsim.meters.energy import energy
from synsim.meters.information import information_per_energy, mutual_information
from synsim.meters.operations import HOROWITZ_45NM, OpCosts, Operations, op_budget, operations
from synsim.meters.passes import accuracy, class_probabilities
from synsim.meters.physiology import RODENT_CORTEX, AtpConstants, atp_budget, atp_of_events
from synsim.meters.sparsity import (
    correlation,
    importance_class,
    important,
    important_counts,
    shuffle_test,
    shuffled,
)
from synsim.meters.transmission import Transmission, transmission
from synsim.meters.uncertainty import InformationInterval, information_interval

__all__ = [
    "HOROWITZ_45NM",
    "RODENT_CORTEX",
    "AtpConstants",
    "InformationInterval",
    "OpCosts",
    "Operations",
    "Transmission",
    "accuracy",
    "atp_budget",
    "atp_of_events",
    "class_probabilities",
    "correlation",
    "energy",
    "importance_class",
    "important",
    "important_counts",
    "information_interval",
    "information_per_energy",
    "mutual_information",
    "op_budget",
    "operations",
    "shuffle_test",
    "shuffled",
    "transmission",
]
