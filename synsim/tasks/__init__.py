"""Tasks of continual learning: images stay as stored on the device, and a batch is an index."""

from synsim.tasks.continuous import Transition, continuous
from synsim.tasks.examples import Examples
from synsim.tasks.joining import joint
from synsim.tasks.order import Stream, batches, epoch_order, independent_order
from synsim.tasks.scenarios import by_class, permuted, single, split
from synsim.tasks.task import Task

__all__ = [
    "Examples",
    "Stream",
    "Task",
    "Transition",
    "batches",
    "by_class",
    "continuous",
    "epoch_order",
    "independent_order",
    "joint",
    "permuted",
    "single",
    "split",
]
