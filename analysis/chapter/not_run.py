"""Figures that no experiment is run for: a drawing, and recordings that are not ours to ship."""

from synsim.papers.schug2021 import RECORDED
from synsim.report import Item, verdict

SCHEMA = Item("Fig. 4.4a", "A drawing of the tasks of Split MNIST: nothing is measured.", verdict=verdict.SCHEMATIC)
SYNAPSES = Item(
    "Fig. 4.9",
    "In recorded cortical synapses the expected strength changes less where the initial release probability is higher: "
    f"{RECORDED}. The numbers need the recordings (Sjöström et al. 2001, as published by Costa et "
    "al. 2017, doi:10.5061/dryad.p286g), which are not ours to ship. "
    "`python analysis/recorded_synapses.py FILE.csv` does the analysis on them.",
    verdict=verdict.DATA,
)

ITEMS = {4.0: SCHEMA, 9.0: SYNAPSES}
