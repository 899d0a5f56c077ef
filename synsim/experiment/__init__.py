"""An experiment: a config, what is measured, and the rows of its table; everything between is the frame's."""

from synsim.experiment.frame import Experiment as Experiment
from synsim.experiment.presets import PresetConfig as PresetConfig
from synsim.experiment.presets import by_preset as by_preset
from synsim.training import Protection as Protection
from synsim.training import Session as Session
from synsim.training.options import RunConfig as RunConfig
from synsim.training.options import UnreadOptionWarning as UnreadOptionWarning
from synsim.training.options import option as option

__all__ = [
    "Experiment",
    "PresetConfig",
    "Protection",
    "RunConfig",
    "Session",
    "UnreadOptionWarning",
    "by_preset",
    "option",
]
