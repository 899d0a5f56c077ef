"""Neural networks whose synapses fail at random and learn when to fail."""

__version__ = "0.1.0"

from importlib import import_module
from typing import TYPE_CHECKING, Any

from synsim import consolidation as consolidation
from synsim import controls as controls
from synsim import conversion as conversion
from synsim import curvature as curvature
from synsim import data as data
from synsim import descent as descent
from synsim import dropout as dropout
from synsim import importance as importance
from synsim import inputs as inputs
from synsim import kernels as kernels
from synsim import lesions as lesions
from synsim import losses as losses
from synsim import meters as meters
from synsim import networks as networks
from synsim import rules as rules
from synsim import sparse as sparse
from synsim import streams as streams
from synsim import tasks as tasks
from synsim.conversion import convert as convert
from synsim.descent import FOOF as FOOF
from synsim.descent import KFAC as KFAC
from synsim.descent import NaturalGradient as NaturalGradient
from synsim.importance import Step as Step
from synsim.lesions import clamp_p as clamp_p
from synsim.lesions import lesion_curve as lesion_curve
from synsim.lesions import lesion_curves as lesion_curves
from synsim.lesions import pruning_curve as pruning_curve
from synsim.lesions import shuffle_p as shuffle_p
from synsim.losses import cross_entropy as cross_entropy
from synsim.networks import MultiHead as MultiHead
from synsim.networks import mlp as mlp
from synsim.rules import BGD as BGD
from synsim.rules import PresynapticSGD as PresynapticSGD
from synsim.rules import plastic as plastic
from synsim.rules import probability_step as probability_step
from synsim.rules import suggest_g_lim as suggest_g_lim
from synsim.sparse import Powerpropagation as Powerpropagation
from synsim.sparse import masked as masked
from synsim.synapses import BernoulliConv2d as BernoulliConv2d
from synsim.synapses import BernoulliLinear as BernoulliLinear
from synsim.synapses import expected as expected
from synsim.synapses import frozen as frozen
from synsim.synapses import held as held
from synsim.synapses import seed as seed
from synsim.synapses import synapses as synapses

# Rooms that need heavier libraries, which come with their first use.
_LATER = (
    "experiment",
    "figures",
    "forgetting",
    "outcomes",
    "papers",
    "perceptron",
    "plots",
    "records",
    "report",
    "spiking",
    "statistics",
    "sweep",
    "sweeps",
    "tables",
    "training",
)

_FROM = {"Sweep": "sweep", "attach": "training"}

if TYPE_CHECKING:
    # A type checker reads these lines in place of `__getattr__`, which would tell it that every name is a module.
    from synsim import experiment as experiment
    from synsim import figures as figures
    from synsim import forgetting as forgetting
    from synsim import outcomes as outcomes
    from synsim import papers as papers
    from synsim import perceptron as perceptron
    from synsim import plots as plots
    from synsim import records as records
    from synsim import report as report
    from synsim import spiking as spiking
    from synsim import statistics as statistics
    from synsim import sweep as sweep
    from synsim import sweeps as sweeps
    from synsim import tables as tables
    from synsim import training as training
    from synsim.sweep import Sweep as Sweep
    from synsim.training import attach as attach
else:

    def __getattr__(name: str) -> Any:
        """Import a room, or what stands in one, at its first use.

        Args:
            name: of an attribute.

        Returns:
            The room, or the function.

        Raises:
            AttributeError: if there is no such name.
        """
        if name in _LATER:
            return import_module(f"synsim.{name}")
        if name in _FROM:
            return getattr(import_module(f"synsim.{_FROM[name]}"), name)
        raise AttributeError(f"module 'synsim' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER, *_FROM})
