"""Checks of arguments, with messages that say what was expected, what came, and what to do."""

from synsim._checks.examples import IGNORED, Labels, class_labels, images, labels
from synsim._checks.machine import affordable, available_device
from synsim._checks.numbers import (
    LARGEST,
    MOST_REPLICAS,
    MOST_SAMPLES,
    Number,
    constant,
    index,
    is_whole,
    number,
    times,
    whole,
    within,
)
from synsim._checks.options import choice, flag, options_of
from synsim._checks.tensors import NotFiniteError, array, dense, finite, numeric, tensor
from synsim._checks.words import require, warn

__all__ = [
    "IGNORED",
    "LARGEST",
    "MOST_REPLICAS",
    "MOST_SAMPLES",
    "Labels",
    "NotFiniteError",
    "Number",
    "affordable",
    "array",
    "available_device",
    "choice",
    "class_labels",
    "constant",
    "dense",
    "finite",
    "flag",
    "images",
    "index",
    "is_whole",
    "labels",
    "number",
    "numeric",
    "options_of",
    "require",
    "tensor",
    "times",
    "warn",
    "whole",
    "within",
]
