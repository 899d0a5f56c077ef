"""What a note can only say after a look at the runs: its numbers are computed, never typed in."""

from collections.abc import Mapping

from synsim import statistics
from synsim.outcomes import Key, Sample
from synsim.report import words

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


def reversal(samples: Mapping[Key, Sample]) -> str:
    """Whether the gap between the perceptrons turns round as the load grows.

    Args:
        samples: of a perceptron run; the keys ("gap", load) are in the order of the load.

    Returns:
        From which load on the standard perceptron is ahead; empty if at the highest load it is not, by two standard
        errors.
    """
    gaps = [(key[1], statistics.summary(one.values)) for key, one in samples.items() if key[0] == "gap"]
    if not gaps or not gaps[-1][1].mean + 2 * gaps[-1][1].sem < 0:
        return ""
    first = len(gaps)
    while first and gaps[first - 1][1].mean < 0:
        first -= 1
    load, last = gaps[first][0], gaps[-1]
    size = words.mean(-float(last[1].mean), float(last[1].sem))
    return (
        f"The gap does not only shrink: it reverses at high load. From {load.replace('%', ' %')} of the capacity on "
        f"the standard perceptron is ahead, at {last[0].replace('%', ' %')} by {size}."
    )
