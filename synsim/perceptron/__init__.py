"""The lifelong perceptron: one output neuron that memorises random patterns, task after task, without gradients.

Source: Schug, Benzing & Steger 2021, §4.6.3 and Fig. 4.5b, c, in the form of the published code, which departs from the
rule of the networks (`synsim.rules`): each pattern has a mask of its own, the update carries the mask but is not
divided by p, the strength step has a factor (1 − p) as well as the p-step, and p is clipped to p_freeze.
"""

from synsim.perceptron.model import BLOCK, MODELS, Perceptron
from synsim.perceptron.refusals import DTYPES, LARGEST
from synsim.perceptron.steps import (
    INPUTS,
    PATTERNS,
    activation,
    direction,
    majority,
    patterns,
    presynaptic_step,
    released,
    standard_step,
)

__all__ = [
    "BLOCK",
    "DTYPES",
    "INPUTS",
    "LARGEST",
    "MODELS",
    "PATTERNS",
    "Perceptron",
    "activation",
    "direction",
    "majority",
    "patterns",
    "presynaptic_step",
    "released",
    "standard_step",
]
