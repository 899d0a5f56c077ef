"""Gradients per example of any module: sums of their squares or absolute values, and gradients of mean responses."""

from synsim.curvature.case import case_of
from synsim.curvature.examples import sum_over_examples
from synsim.curvature.layers import Convolution, Handler, Linear, register
from synsim.curvature.means import batch_gradients, mean_response_gradients
from synsim.curvature.measuring import measured
from synsim.curvature.meeting import refuse_meeting
from synsim.curvature.products import wide
from synsim.curvature.sums import Score, Term

__all__ = [
    "Convolution",
    "Handler",
    "Linear",
    "Score",
    "Term",
    "batch_gradients",
    "case_of",
    "mean_response_gradients",
    "measured",
    "refuse_meeting",
    "register",
    "sum_over_examples",
    "wide",
]
