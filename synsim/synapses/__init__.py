"""Synapses that fail at random: layers, views of them, and their streams."""

from synsim.synapses.addressed import Address, Addressed, addressed
from synsim.synapses.base import StochasticLayer
from synsim.synapses.control import ControlLinear
from synsim.synapses.conv import BernoulliConv2d
from synsim.synapses.finding import synapses
from synsim.synapses.linear import BernoulliLinear
from synsim.synapses.views import evaluation, expected, frozen, held, seed

__all__ = [
    "Address",
    "Addressed",
    "BernoulliConv2d",
    "BernoulliLinear",
    "ControlLinear",
    "StochasticLayer",
    "addressed",
    "evaluation",
    "expected",
    "frozen",
    "held",
    "seed",
    "synapses",
]
