"""Lesions, and other probabilities of release: what a trained network owes to p. The model given is never edited."""

from synsim.lesions.curves import FRACTIONS, lesion_curve, lesion_curves
from synsim.lesions.orders import ORDERS, kept, lesion_masks, lesion_ranks, lesion_scores
from synsim.lesions.probabilities import clamp_p, shuffle_p
from synsim.lesions.pruning import KEEP, pruning_curve

__all__ = [
    "FRACTIONS",
    "KEEP",
    "ORDERS",
    "clamp_p",
    "kept",
    "lesion_curve",
    "lesion_curves",
    "lesion_masks",
    "lesion_ranks",
    "lesion_scores",
    "pruning_curve",
    "shuffle_p",
]
