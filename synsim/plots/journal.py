"""How figures look in a journal: colours, markers, sizes, fonts."""

from contextlib import AbstractContextManager

import matplotlib as mpl

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Of Okabe & Ito (2008)."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
COLUMN = 3.35
"""Width of one column of a journal, in inches."""
INCHES, PANELS = "(0, 200]", 50
"""Sizes of a figure, and panels in a row or column, that are drawn."""
STYLE = {
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "legend.fontsize": 7,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "legend.frameon": False,
    "pdf.fonttype": 42,
    "savefig.dpi": 300,
    "figure.dpi": 150,
}


def style() -> AbstractContextManager[None]:
    """Settings of a paper figure, for a `with` statement; nothing global stays changed.

    Returns:
        A context manager.
    """
    return mpl.rc_context(STYLE)  # type: ignore[arg-type,unused-ignore]
