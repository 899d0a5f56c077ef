"""Continuous Permuted MNIST, of the text."""

from analysis.chapter.lifelong import METHODS, OVER_ALL, RULE
from synsim.papers import schug2021
from synsim.report import Item, Note, Shown, Value

CONTINUOUS = Item(
    "Continuous Permuted MNIST (text)",
    "Permuted tasks that pass into one another, without boundaries: mean accuracy "
    f"{schug2021.CONTINUOUS['mnist', 'presynaptic']} %. The network without consolidation is ours.",
    "continuous",
    "python experiments/continuous.py --preset paper",
    claims=(
        Value(
            f"{OVER_ALL}: presynaptic consolidation",
            ("final", "presynaptic"),
            schug2021.CONTINUOUS["mnist", "presynaptic"],
        ),
        Shown(f"{OVER_ALL}: no consolidation (ours)", ("final", "none")),
        Shown(f"{OVER_ALL}: BGD (ours)", ("final", "bgd")),
    ),
    models=METHODS,
    figure=("continuous", "continuous"),
    alt="Accuracy on the tasks met so far, accuracy on every task at the end, and the fate of the release "
    "probabilities.",
    notes=(
        Note(
            "The published sampler is not seeded, draws with replacement and never draws the last image of a task; "
            "ours draws with replacement from all images."
        ),
        RULE,
    ),
)

ITEMS = {11.0: CONTINUOUS}
