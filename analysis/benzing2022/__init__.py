"""The chapter on curvature and gradient descent beside our runs.

One module per experiment, as in `analysis/chapter`; the rule and the words of verdicts are those of the page.
"""

from analysis import placed
from synsim.report import Item, Study

TITLE = "Gradient descent on neurons: what was published and what we find"
INTRODUCTION = (
    "Made by `python analysis/report.py RUNS... --markdown docs/reproduction/descent.md --figures "
    "docs/reproduction/descent` from the folders of finished runs. The paper is chapter 5 of Benzing's thesis (2022), "
    "on why approximations of second-order optimisation work. Its curves were read off the figures, without errors: "
    "such a value and ours are 'within a factor of 1.5' of each other, or it 'differs'; beside it stands ours as a "
    "multiple of it. Means are over seeds, with their standard error (s.e.); n is the number of seeds."
)

ITEMS: tuple[Item, ...] = placed(__name__, "ITEMS")
"""Figures and tables in the order of the paper."""
STUDIES: tuple[Study, ...] = placed(__name__, "STUDIES")
"""What is ours and not the paper's."""
