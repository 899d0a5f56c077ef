"""What a network costs and what it knows: functions of a network and data, per replica, on the device."""

from synsim.meters.energy import energy
from synsim.meters.information import information_per_energy, mutual_information
from synsim.meters.passes import accuracy, class_probabilities

__all__ = ["accuracy", "class_probabilities", "energy", "information_per_energy", "mutual_information"]
