"""Rules of learning: what moves strengths and release probabilities, each a torch Optimizer.

A loop knows no rule by name: it asks the questions of `synsim.rules.base`, which torch's optimisers answer as they are.
"""

from synsim.rules.base import Traits, traits
from synsim.rules.bgd import BGD
from synsim.rules.plasticity import Plasticity, plastic
from synsim.rules.presynaptic import PresynapticSGD
from synsim.rules.steps import probability_step
from synsim.rules.suggest import suggest_g_lim

__all__ = ["BGD", "Plasticity", "PresynapticSGD", "Traits", "plastic", "probability_step", "suggest_g_lim", "traits"]
