"""The chapter on presynaptic stochasticity beside our runs: every figure and table of the paper, and studies of ours.

One module per experiment says what is claimed: `ITEMS`, place on the page -> figure or table, and `STUDIES`, place ->
study of ours. A module that lies here is on the page. The values are the paper's (Schug, Benzing & Steger 2021); those
of its code are from one run of the published code with its own settings.
"""

import importlib
import pkgutil
from collections.abc import Sequence
from typing import Any

from synsim.report import Item, Study

TITLE = "Presynaptic stochasticity: what was published and what we find"
INTRODUCTION = (
    "This page is made by `python analysis/report.py RUNS... --markdown REPRODUCTION.md` from the folders of finished "
    "runs; no number on it is typed in but the published ones. The paper is chapter 4 on presynaptic stochasticity "
    "(Schug, Benzing & Steger 2021). Means are over seeds, with their standard error (s.e.); n is the number of "
    "seeds. In commands DIR is the folder that holds the data sets."
)


def placed(name: str) -> Sequence[Any]:
    """What the modules of the chapter hold under a name, in the order of its places."""
    modules = [importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]
    each = [pair for module in modules for pair in getattr(module, name, {}).items()]
    places = [place for place, _ in each]
    if len(set(places)) < len(places):
        raise ValueError(f"{name} of the chapter must have places of their own, got {sorted(places)}.")
    return [one for _, one in sorted(each, key=lambda pair: pair[0])]


CHAPTER: tuple[Item, ...] = tuple(placed("ITEMS"))
"""Figures and tables in the order of the paper."""
STUDIES: tuple[Study, ...] = tuple(placed("STUDIES"))
"""What is ours and not the paper's."""
