"""One training step and one loop over tasks, which serve every experiment."""

from synsim.training.checkpoints import TrainingStoppedError
from synsim.training.failing import TrainingFailedError
from synsim.training.guard import Guard, attach
from synsim.training.history import Failure, History
from synsim.training.loop import fit
from synsim.training.observers import Probe
from synsim.training.protection import Protection
from synsim.training.session import Phase, Session
from synsim.training.step import train_step

__all__ = [
    "Failure",
    "Guard",
    "History",
    "Phase",
    "Probe",
    "Protection",
    "Session",
    "TrainingFailedError",
    "TrainingStoppedError",
    "attach",
    "fit",
    "train_step",
]
