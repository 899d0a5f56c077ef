"""Every figure and table of the paper's chapter on presynaptic stochasticity, with what is published there.

The values are the paper's (Schug, Benzing & Steger 2021); those of its code are from one run of the published code with
its own settings. Values of three runs unless said otherwise.
"""

from synsim.papers.schug2021 import GHOST, PERCEPTRON_AVERAGE, PERCEPTRON_TASK_1, PERCEPTRON_TEST, RECORDED
from synsim.report import verdict
from synsim.report.claims import Apart, Claim, Difference, Item, Note, Order, Shown, Value
from synsim.report.energy_items import (
    ENERGY,
    IMPORTANCE,
    LESIONS,
    LESS_DECAY,
    NEURONS,
    RELEASE,
    ROBUST,
    SIDES_ITEM,
    START,
    SWEEP,
)  # fmt: skip
from synsim.report.lifelong_items import CONTINUOUS, FIRST_TASK, PER_TASK, PROBABILITIES, TABLE
from synsim.report.remarks import reversal

SCHEMA = Item("Fig. 4.4a", "A drawing of the tasks of Split MNIST: nothing is measured.", verdict=verdict.SCHEMATIC)

VARIANTS = ("full", "no freezing", "no modulation", "neither", "ghost (code)", "ghost (expected)", "not normalised")


def ablation(scenario: str) -> Item:
    """Fig. 4.5a for one scenario.

    Args:
        scenario: "split" or "permuted".

    Returns:
        The item; the published error is rebuilt from the printed t.
    """
    printed = GHOST[scenario].text.partition(" ")[2]
    orders = [("full", "ghost (code)", f"larger {printed}"), ("full", "neither", "larger, p < 0.05")]
    claims: list[Claim] = [
        Difference(f"{ghost} − full, points", ("final", ghost), ("final", "full"), GHOST[scenario], 1)
        for ghost in ("ghost (code)", "ghost (expected)")
    ]
    claims += [Order(f"accuracy: {a} over {b}", ("final", a), ("final", b), text) for a, b, text in orders]
    claims.append(
        Apart(
            "accuracy: ghost (code) against neither", ("final", "ghost (code)"), ("final", "neither"),
            "different, p < 0.05; which is larger is in a picture only",
        )
    )  # fmt: skip
    tested = {name for order in orders for name in order[:2]}
    claims += [
        Apart(f"accuracy: full against {name}", ("final", "full"), ("final", name))
        for name in VARIANTS
        if name not in tested
    ]
    claims += [Shown(f"accuracy over all tasks, %: {name}", ("final", name)) for name in VARIANTS]
    return Item(
        f"Fig. 4.5a, {scenario.capitalize()} MNIST",
        "Without consolidation, and with ghost probabilities instead of presynaptic plasticity, the network forgets "
        "more. The paper prints the differences of the ghost; the accuracies are in a picture only, and of the "
        "variants here it shows the full model, the one with neither freezing nor modulation, and the ghost, all "
        "significantly different from one another.",
        "ablation",
        f"python experiments/ablation.py --preset paper --scenario {scenario}",
        config={"scenario": scenario, "bias": False},
        claims=tuple(claims),
        figure=("ablation", "ablation"),
        alt="Bars of the accuracy over all tasks of every variant, and its difference from the full model.",
        notes=(
            Note(
                "The paper says that the ghost releases with p = 0.5; its code divides what is released by the ghost "
                "probability instead of 0.5, so that the mean is not the expected strength. `ghost (code)` does that, "
                "`ghost (expected)` divides by 0.5.",
                always=True,
            ),
            Note("The published networks have fixed random biases (`--bias`), which the paper does not mention."),
        ),
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
SYNAPSES = Item(
    "Fig. 4.9",
    "In recorded cortical synapses the expected strength changes less where the initial release probability is higher: "
    f"{RECORDED}. The numbers need the recordings (Sjöström et al. 2001, as published by Costa et "
    "al. 2017, doi:10.5061/dryad.p286g), which are not ours to ship. "
    "`python analysis/recorded_synapses.py FILE.csv` does the analysis on them.",
    verdict=verdict.DATA,
)

CHAPTER = (
    ENERGY, IMPORTANCE, LESIONS, NEURONS, LESS_DECAY[0], SCHEMA, FIRST_TASK, ablation("split"), ablation("permuted"),
    PERCEPTRON, SWEEP, RELEASE, START, ROBUST, SIDES_ITEM, LESS_DECAY[1], PER_TASK, PROBABILITIES, SYNAPSES, *TABLE,
    CONTINUOUS,
)  # fmt: skip
"""In the order of the paper."""
