"""The chapter on presynaptic stochasticity beside our runs: every figure and table of the paper, and studies of ours.

One module per experiment says what is claimed: `ITEMS`, place on the page -> figure or table, and `STUDIES`, place ->
study of ours. A module that lies here is on the page. The values are the paper's (Schug, Benzing & Steger 2021); those
of its code are from one run of the published code with its own settings.
"""

from analysis import placed
from synsim.report import Item, Study

TITLE = "Presynaptic stochasticity: what was published and what we find"
INTRODUCTION = (
    "This page is made by `python analysis/report.py RUNS... --markdown REPRODUCTION.md` from the folders of finished "
    "runs; no number on it is typed in but the published ones. The paper is chapter 4 on presynaptic stochasticity "
    "(Schug, Benzing & Steger 2021). Means are over seeds, with their standard error (s.e.); n is the number of "
    "seeds. In commands DIR is the folder that holds the data sets."
)

ITEMS: tuple[Item, ...] = placed(__name__, "ITEMS")
"""Figures and tables in the order of the paper."""
STUDIES: tuple[Study, ...] = placed(__name__, "STUDIES")
"""What is ours and not the paper's."""
