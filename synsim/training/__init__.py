"""One training step and one loop over tasks, which serve every experiment."""

from synsim.training.history import Failure, History
from synsim.training.loop import Probe, TrainingFailedError, TrainingStoppedError, fit
from synsim.training.protection import Protection
from synsim.training.session import Phase, Session
from synsim.training.step import train_step

__all__ = [
    "Failure",
    "History",
    "Phase",
    "Probe",
    "Protection",
    "Session",
    "TrainingFailedError",
    "TrainingStoppedError",
    "fit",
    "train_step",
]
