"""What holds for all figures of the trained network of the energy experiment."""

from synsim.papers.schug2021 import DECAY
from synsim.report import Note

DECAY_UNKNOWN = Note(
    f"The paper does not say which weight decay underlies this figure; {DECAY} is the default of its code "
    "(`--decay` sets another).",
    always=True,
)
