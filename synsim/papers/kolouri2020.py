"""Kolouri, Ketz, Soltoggio & Pilly 2020, "Sliced Cramér synaptic consolidation", ICLR.

The whole title: "Sliced Cramér synaptic consolidation for preserving deeply learned representations".
Its results are curves only: there are constants here, and no published value.
"""

from collections.abc import Mapping
from typing import Any

HIDDEN = (1024, 512, 256)
"""Widths of the classifier's hidden layers (Fig. 3)."""
ENCODER = (1024, 1024, 1024, 256)
"""Layers of the encoder; the decoder mirrors them (Fig. 4)."""
RATE = 1e-4
"""Learning rate of Adam, in both."""
EXPONENTS = tuple(float(exponent) for exponent in range(-3, 10))
"""Strengths that are tried, as powers of ten."""
DIGIT_EPOCHS = 50
"""Passes over each digit of the auto-encoder."""
SLICES = 100
"""Random directions of an estimate."""
METHODS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "scp": ("sliced-cramer", {"slices": SLICES}),
    "mas": ("mas", {"of": "logits", "squared": True, "images": 1000}),
    "ewc": ("fisher", {"images": 1000}),
}
"""Method -> its importance, and the options of that; how many images it takes is not stated: 1000 are ours."""
