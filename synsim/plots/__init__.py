"""Figures from numbers: every function draws into the axes it is given, and returns them.

Colours are those of Okabe & Ito (2008), which people with any colour vision can tell apart.
"""

from synsim.plots.annotations import STARS, bracket, explain_stars, legend_above, legend_over, letter
from synsim.plots.canvas import SHOWN, SUFFIXES, figure, panels, save
from synsim.plots.curves import curve, histogram
from synsim.plots.journal import COLOURS, COLUMN, INCHES, MARKERS, PANELS, STYLE, style
from synsim.plots.matrix import heatmap
from synsim.plots.samples import bars, dots
from synsim.plots.spikes import membranes, raster, release

__all__ = [
    "COLOURS",
    "COLUMN",
    "INCHES",
    "MARKERS",
    "PANELS",
    "SHOWN",
    "STARS",
    "STYLE",
    "SUFFIXES",
    "bars",
    "bracket",
    "curve",
    "dots",
    "explain_stars",
    "figure",
    "heatmap",
    "histogram",
    "legend_above",
    "legend_over",
    "letter",
    "membranes",
    "panels",
    "raster",
    "release",
    "save",
    "style",
]
