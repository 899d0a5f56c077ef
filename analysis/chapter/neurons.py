"""Fig. 4.3 and 4.7: how the important synapses are spread over neurons."""

from dataclasses import replace

from analysis.chapter.decay import DECAY_UNKNOWN
from synsim.papers.schug2021 import CORRELATION, DECAY, KS_D, KS_P
from synsim.report import Item, Limit, Note, Order, Value

NO_DIFFERENCE = f"p = {KS_P['output inputs']}"
SIDES = ("input outputs", "hidden 1 inputs", "hidden 1 outputs", "hidden 2 inputs", "hidden 2 outputs")
NEURON_NOTES = (
    DECAY_UNKNOWN,
    Note(
        "The published code has no script for this figure, and the paper reports one run against one shuffle; ours are "
        "medians over several shuffles. D moves in steps of one neuron."
    ),
)
NEURONS = Item(
    "Fig. 4.3a–c",
    "Some neurons have very many important inputs and others very few (a), more of both than with shuffled synapses "
    "(b); and neurons with many important inputs have many important outputs (c).",
    "neurons",
    "python experiments/neurons.py --preset paper",
    config={"decay": DECAY},
    claims=(
        Value("Kolmogorov-Smirnov D, inputs of hidden layer 2 (a)", ("D", SIDES[3]), KS_D[SIDES[3]], 3),
        Limit("its p value, in every run", ("p", SIDES[3]), "<", 0.01, "p < 0.01"),
        Order("highly important neurons, %: true over shuffled (b)", ("highly", SIDES[3], "true"),
              ("highly", SIDES[3], "shuffled")),
        Order("lowly important neurons, %: true over shuffled (b)", ("lowly", SIDES[3], "true"),
              ("lowly", SIDES[3], "shuffled")),
        Value("r of important inputs and outputs, hidden layer 1 (c)", ("r", "hidden 1"),
              CORRELATION["hidden 1"], 4),
        Limit("p of no correlation, layer 1, in every run (test of ours)", ("p of r", "hidden 1"), "<", 0.01, "–"),
    ),
    figure=("neurons", "neurons"),
    alt="Histogram of important inputs per neuron, true and shuffled; bars of lowly, average and highly important "
    "neurons; important outputs against important inputs of the hidden neurons.",
    notes=NEURON_NOTES,
)  # fmt: skip
SIDES_ITEM = Item(
    "Fig. 4.7a,b",
    "The same for all layers: important synapses per neuron differ from shuffled ones (p < 0.01) on every side but the "
    f"ten output neurons ({NO_DIFFERENCE}), and inputs correlate with outputs in both hidden layers.",
    "neurons",
    "python experiments/neurons.py --preset paper",
    config={"decay": DECAY},
    claims=(
        *(Limit(f"Kolmogorov-Smirnov p, {side}", ("p", side), "<", 0.01, "p < 0.01") for side in SIDES),
        Limit("Kolmogorov-Smirnov p, output inputs", ("p", "output inputs"), ">", 0.05,
              f"{NO_DIFFERENCE}: no difference"),
        Value("r of important inputs and outputs, hidden layer 1", ("r", "hidden 1"), CORRELATION["hidden 1"], 4),
        Value("r of important inputs and outputs, hidden layer 2", ("r", "hidden 2"), CORRELATION["hidden 2"], 4),
        Limit("p of no correlation, layer 2, in every run (test of ours)", ("p of r", "hidden 2"), "<", 0.01, "–"),
    ),
    figure=("neurons", "neurons_sides"),
    alt="Six histograms of important synapses per neuron, true and shuffled: inputs and outputs of every layer.",
    notes=(*NEURON_NOTES, Note("With ten output neurons D moves in steps of 0.1: 0.4 gives the published "
                               f"{NO_DIFFERENCE}, "
                               "and the next step, 0.5, gives p = 0.17.", always=True)),
)  # fmt: skip


def _less_decay(item: Item) -> Item:
    # The paper does not say which of its weight decays these figures have; 0.01 is the default of its code.
    return replace(
        item,
        name=f"{item.name}, weight decay 0.001",
        headline=f"{item.headline} The same with another weight decay: which one the figure has is not stated.",
        command=f"{item.command} --decay 0.001",
        config={"decay": 0.001},
    )


LESS_DECAY = tuple(_less_decay(item) for item in (NEURONS, SIDES_ITEM))

ITEMS = {3.0: NEURONS, 3.1: LESS_DECAY[0], 7.0: SIDES_ITEM, 7.1: LESS_DECAY[1]}
