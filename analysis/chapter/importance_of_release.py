"""Fig. 4.2a, c and d: what reliable synapses cost and know."""

from collections.abc import Mapping

from analysis.chapter.decay import DECAY_UNKNOWN
from synsim.outcomes import Key, Sample
from synsim.papers.schug2021 import DECAY
from synsim.report import Grid, Item, Limit, Note, Order, Shown

# Importances that are accumulated along training: a run holds all of them, or none.
ALONG = "si"


def without_training(samples: Mapping[Key, Sample]) -> str:
    """Whether the correlations with p leave out the importances that are accumulated along training.

    Args:
        samples: of importance_of_release runs, with ("correlation", importance, kind).

    Returns:
        What is left out, and how to get it; empty if nothing is.
    """
    names = {key[1] for key in samples if key[0] == "correlation"}
    if not names or ALONG in names:
        return ""
    return (
        "Reduced: the correlations of p leave out the importances that are accumulated along training (SI and its "
        "variants, SOS, the online absolute Fisher information, path integrals). `--along` trains once more and takes "
        "them in."
    )


IMPORTANCE = Item(
    "Fig. 4.2a,c,d",
    "After learning few synapses have a high release probability (p ≥ 0.9); these spend more energy and have a larger "
    "Fisher information than the others. The values are in a picture only.",
    "importance_of_release",
    "python experiments/importance_of_release.py --preset paper",
    prefer={"decay": DECAY},
    claims=(
        Limit("synapses with p ≥ 0.9, %", ("share", "high"), "<", 50.0, "few: fewer than half"),
        Order("mean |w̄|: p ≥ 0.9 over p < 0.9", ("energy", "high"), ("energy", "low")),
        Order("mean Fisher information: p ≥ 0.9 over p < 0.9", ("fisher", "high"), ("fisher", "low")),
        Shown("correlation of p with the Fisher information (Pearson)", ("r", "fisher")),
    ),
    grids=(
        Grid(
            "Correlation of p with every importance in the run, all synapses, mean ± s.e.",
            "correlation", ("Pearson", "Spearman"), "importance",
        ),
    ),
    figure=("importance_of_release", "importance_of_release"),
    alt="Histogram of release probabilities before and after learning; bars of the mean synaptic energy and of the "
    "mean Fisher information of synapses with high and with low release probability.",
    notes=(
        DECAY_UNKNOWN,
        Note(
            "The Fisher information is the published code's: empirical, true labels, test set, all p set to 1.",
            always=True,
        ),
    ),
    remarks=(without_training,),
)  # fmt: skip

ITEMS = {2.0: IMPORTANCE}
