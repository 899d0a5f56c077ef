"""Fig. 4.2b: what silencing synapses does."""

from analysis.chapter.decay import DECAY_UNKNOWN
from synsim.papers.schug2021 import DECAY
from synsim.report import Item, Order, Shown

LESIONS = Item(
    "Fig. 4.2b",
    "Silencing synapses with low release probability first hurts far less than silencing them at random. The curves "
    "are in a picture only; the orders beside these two are ours.",
    "lesions",
    "python experiments/lesions.py --preset paper",
    prefer={"decay": DECAY},
    claims=(
        Order("accuracy, mean over all fractions, %: low p first over random", ("mean", "p"), ("mean", "random")),
        Order("accuracy with 50 % silenced, %: low p first over random", ("50 %", "p"), ("50 %", "random")),
        *(
            Shown(f"accuracy, mean over all fractions, %: {text} first (ours)", ("mean", name))
            for name, text in (("weight", "low |w̄|"), ("p*weight", "low p·|w̄|"), ("fisher", "low Fisher"))
        ),
        Shown("time of the lesion study without training, s (ours)", ("seconds", "study")),
    ),
    figure=("lesions", "lesions"),
    alt="Accuracy against the share of silenced synapses, one curve per order; bars of accuracy and of bits per energy "
    "of the network with other release probabilities.",
    notes=(DECAY_UNKNOWN,),
)

ITEMS = {2.1: LESIONS}
