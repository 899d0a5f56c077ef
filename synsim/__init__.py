"""Neural networks whose synapses fail at random and learn when to fail."""

__version__ = "0.1.0"

from importlib import import_module
from types import ModuleType

from synsim import consolidation as consolidation
from synsim import data as data
from synsim import importance as importance
from synsim import meters as meters
from synsim import tasks as tasks
from synsim.bgd import BGD as BGD
from synsim.importance import Step as Step
from synsim.lesions import clamp_p as clamp_p
from synsim.lesions import lesion_curve as lesion_curve
from synsim.lesions import lesion_curves as lesion_curves
from synsim.lesions import shuffle_p as shuffle_p
from synsim.losses import cross_entropy as cross_entropy
from synsim.networks import MultiHead as MultiHead
from synsim.networks import mlp as mlp
from synsim.plasticity import PresynapticSGD as PresynapticSGD
from synsim.plasticity import probability_step as probability_step
from synsim.synapses import BernoulliConv2d as BernoulliConv2d
from synsim.synapses import BernoulliLinear as BernoulliLinear
from synsim.synapses import expected as expected
from synsim.synapses import frozen as frozen
from synsim.synapses import seed as seed
from synsim.synapses import synapses as synapses

_LATER = ("figures", "forgetting", "perceptron", "plots", "records", "spiking", "statistics", "tables", "training")


def __getattr__(name: str) -> ModuleType:
    """The rooms that need heavier libraries come with their first use.

    Args:
        name: of an attribute.

    Returns:
        The room.

    Raises:
        AttributeError: if there is no such room.
    """
    if name in _LATER:
        return import_module(f"synsim.{name}")
    raise AttributeError(f"module 'synsim' has no attribute {name!r}")
