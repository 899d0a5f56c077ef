"""Fig. 4.5b and c: the lifelong perceptron."""

from collections.abc import Mapping

from synsim import statistics
from synsim.outcomes import Key, Sample
from synsim.papers.schug2021 import PERCEPTRON_AVERAGE, PERCEPTRON_TASK_1, PERCEPTRON_TEST
from synsim.report import Item, Note, Order, Value, words


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


PERCEPTRON = Item(
    "Fig. 4.5b,c",
    "The lifelong perceptron remembers its first task better with presynaptic consolidation (b), and all five on "
    "average (c). Published are ten seeds; the gap shrinks as the load nears the capacity of 2N patterns.",
    "perceptron",
    "python experiments/perceptron.py --preset paper",
    data="patterns",
    config={"inputs": 1000, "patterns": 100},
    claims=(
        *(
            Value(f"accuracy over five tasks, {name} (c)", ("average", name), one, 4)
            for name, one in PERCEPTRON_AVERAGE.items()
        ),
        Order("accuracy over five tasks: presynaptic over standard (c)", ("average", "presynaptic"),
              ("average", "standard"), f"larger, {PERCEPTRON_TEST}"),
        *(
            Value(f"accuracy on task 1 after task {k}, {name} (b)", ("task 1", name, str(k)), one, 3)
            for name, each in PERCEPTRON_TASK_1.items()
            for k, one in enumerate(each[1:], start=2)
        ),
        Order("gap at 25 % of the capacity over the gap at 100 %", ("gap", "25%"), ("gap", "100%"), "shrinks"),
    ),
    figure=("perceptron", "perceptron"),
    alt="Accuracy on the first task after each task, bars of the average over five tasks, and the average against the "
    "number of patterns learned, for the standard and the presynaptic perceptron.",
    notes=(
        Note(
            "As in the published code each pattern has its mask, the update carries the mask but not 1/p, both steps "
            "are scaled by 1 − p, and p is clipped at 0.9. Its standard errors have divisor n, and those per task are "
            "divided by √10 twice, so that they are not used here."
        ),
    ),
    remarks=(reversal,),
)  # fmt: skip

ITEMS = {5.2: PERCEPTRON}
