"""Lesions, and other probabilities of release: what a trained network owes to p. The model given is never edited."""

from synsim.lesions.curves import FRACTIONS, lesion_curve, lesion_curves
from synsim.lesions.orders import ORDERS, lesion_masks, lesion_ranks, lesion_scores
from synsim.lesions.probabilities import clamp_p, shuffle_p

__all__ = [
    "FRACTIONS",
    "ORDERS",
    "clamp_p",
    "lesion_curve",
    "lesion_curves",
    "lesion_masks",
    "lesion_ranks",
    "lesion_scores",
    "shuffle_p",
]
