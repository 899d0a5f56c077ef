"""Fig. 4: tasks that own synapses of one network, on Permuted MNIST."""

from synsim.papers.schwarz2021 import AFTER_ALL, EFFICIENT_GAMMA
from synsim.report import Item, Limit, Note, Order, Shown, Value

COMMAND = "python experiments/owned.py --preset paper --data mnist"
KNOWN = "accuracy over all tasks at the end, task known, %"
USED = "synapses used at the end, %"
MOVED = "largest change of an old task, points"
PACKNET = "packnet"


def efficient(alpha: int) -> str:
    """Name of EfficientPackNet with a power."""
    return f"efficient-packnet α = {alpha}, γ = {EFFICIENT_GAMMA:g}"


PLAIN, HIGHER = efficient(1), tuple(efficient(alpha) for alpha in (2, 3))
FAR = Item(
    "Fig. 4",
    "EfficientPackNet on Permuted MNIST, 300 tasks in one network with one output layer, γ = 0.9: higher α give higher "
    "accuracy and use fewer weights, and PackNet with its fixed share of less than 0.4 % per task fails. The curves "
    "are in a picture only.",
    "owned",
    COMMAND,
    claims=(
        *(Value(f"accuracy, %: {name}", (KNOWN, name), AFTER_ALL, 1) for name in HIGHER),
        Shown(f"accuracy, %: {PLAIN}", (KNOWN, PLAIN)),
        *(Order(f"accuracy: {name} over {PLAIN}", (KNOWN, name), (KNOWN, PLAIN)) for name in HIGHER),
        *(Order(f"synapses used: {PLAIN} over {name}", (USED, PLAIN), (USED, name)) for name in HIGHER),
        *(Order(f"accuracy: {name} over PackNet", (KNOWN, name), (KNOWN, PACKNET)) for name in HIGHER),
        *(
            Limit(f"largest change of an old task, points: {name}", (MOVED, name), "<", 1e-9, "none: they stay")
            for name in (PLAIN, *HIGHER)
        ),
        Shown("accuracy, %: a network of its own for every task", (KNOWN, "single")),
    ),
    figure=("owned", "owned"),
    alt="Mean accuracy over the tasks learned so far, and share of the synapses used, against the number of tasks: one "
    "curve per power of EfficientPackNet, and those of PackNet, of one network trained on, and of single networks.",
    notes=(
        Note("Nothing brakes the algorithm: once no synapse is free, the accuracy of the dense network is chance, "
             "which any mask keeps, and every later task is dead. A small network is full after some ten tasks (the "
             "table of the run says when), where PackNet still divides.", always=True),
        Note("The paper prints neither powers, rates, densities nor the network; hidden layers of 1000 units, Adam and "
             "ten passes are those of the protocol that it follows. Larger powers have ten times the learning rate, "
             "tuned on one task."),
        Note("The published accuracy is read after 300 tasks; that of a run with fewer stands beside it for its size "
             "only.", always=True),
        Note("With an epoch of retraining, which these lines do not have, α = 3 loses at that rate what α = 1 and 2 "
             "gain: its claimed weights grow until new tasks are not learned beside them. Where tasks retrain at a "
             "tenth of the rate (--retrain-factor 0.1), they are.", always=True),
    ),
)  # fmt: skip

ITEMS = {4.0: FAR}
