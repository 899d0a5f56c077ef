"""Studies of ours of spiking networks: no paper of the same question is beside them.

One module per experiment, as in `analysis/chapter`.
"""

from analysis import placed
from synsim.report import Item, Study

TITLE = "Spiking networks: what we find"
INTRODUCTION = (
    "Made by `python analysis/report.py RUNS... --markdown docs/reproduction/spiking.md --figures "
    "docs/reproduction/spiking` from the folders of finished runs; no number is typed in. Means are over seeds, with "
    "their standard error (s.e.); n is the number of seeds."
)

ITEMS: tuple[Item, ...] = placed(__name__, "ITEMS")
"""None: nothing here was published."""
STUDIES: tuple[Study, ...] = placed(__name__, "STUDIES")
"""What is ours."""
