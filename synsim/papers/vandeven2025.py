"""van de Ven 2025, "On the computation of the Fisher information in continual learning", ICLR Blogposts.

arXiv:2502.11756.
Split MNIST with separate heads, ten seeds, at the best strength of each variant; errors are standard errors of the
mean.
"""

from collections.abc import Mapping
from typing import Any

from synsim.papers import Published

RATE = 1e-3
"""Learning rate of Adam."""
BATCH, ITERATIONS = 128, 2000
"""Examples per step, and steps per task."""

VARIANTS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "exact": ("fisher", {"labels": "exact"}),
    "exact-500": ("fisher", {"labels": "exact", "images": 500}),
    "sample": ("fisher", {"labels": "sampled"}),
    "empirical": ("fisher", {"labels": "empirical"}),
    "batched": ("fisher-batched", {"batch": BATCH, "convention": "mean"}),
}
"""Variant -> its importance, and the options of that."""
ACCURACY: Mapping[str, Published] = {
    name: Published(mean, sem, 10, "Split MNIST")
    for name, (mean, sem) in {
        "exact": (99.25, 0.08),
        "exact-500": (99.11, 0.10),
        "sample": (99.16, 0.08),
        "empirical": (99.19, 0.07),
        "batched": (99.21, 0.09),
        "none": (88.15, 1.05),
    }.items()
}
"""Variant -> accuracy over all tasks, in per cent."""
