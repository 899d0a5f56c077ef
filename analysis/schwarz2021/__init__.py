"""The paper on Powerpropagation beside our runs, and studies of ours about sparse weights.

One module per experiment, as in `analysis/chapter`. The paper's figures are images without numbers, so that its orders
can be compared and its values only shown.
"""

from analysis import placed
from synsim.report import Item, Study

TITLE = "Powerpropagation: what was published and what we find"
INTRODUCTION = (
    "Made by `python analysis/report.py RUNS... --markdown docs/reproduction/sparse.md --figures "
    "docs/reproduction/sparse` from the folders of finished runs. The paper is Schwarz et al. 2021, on weights "
    "θ = φ|φ|^(α−1) that grow the faster the larger they are. Its figures are images without numbers: orders are "
    "compared, values are only shown. Means are over seeds, with their standard error (s.e.); n is the number of seeds."
)

ITEMS: tuple[Item, ...] = placed(__name__, "ITEMS")
"""Figures and tables in the order of the paper."""
STUDIES: tuple[Study, ...] = placed(__name__, "STUDIES")
"""What is ours and not the paper's."""
