"""Fig. 5.1D, 5.2A and 5.2C on Fashion-MNIST and 5.6D on MNIST: a thousand images, full batches, exact curvature."""

import math
from typing import Any

from synsim.papers.benzing2022 import CURVES
from synsim.report import Item, Note, Order, Value

FACTOR, LAST = 1.5, 99
NAMES = {
    "sgd": "gradient descent",
    "sgd-momentum": "SGD with momentum",
    "natural": "natural gradients, sampled labels",
    "natural-full": "natural gradients, exact",
    "natural-blocks": "block-diagonal natural gradients, sampled labels",
    "natural-blocks-full": "block-diagonal natural gradients, exact",
    "kfac-subsampled": "KFAC",
}
ALT = (
    "Training loss of all images over full-batch steps on a logarithmic scale, one curve per rule with a band of one "
    "standard error, a panel for the network with hidden layers and one for logistic regression; the published values "
    "are open marks."
)
SUMS = Note(
    "Rates and dampings are the published ones, but for KFAC with hidden layers, which is slower with those. Those of "
    "exact Fishers and of KFAC are divided by 1,000: they belong to sums over images, and curvature is a mean over "
    "images here.",
    always=True,
)


def key(network: str, rule: str, step: int) -> tuple[str, str]:
    """Where the loss of a rule at a step is."""
    return f"training loss at step {step}", f"{rule}, {network}"


def values(figure: str, network: str) -> tuple[Value, ...]:
    """The curves of a figure where they were read."""
    made = []
    for rule, curve in CURVES[figure].items():
        for step in curve.steps:
            at = curve.at(step)
            digits = min(12, 2 - math.floor(math.log10(at.mean)))
            made.append(Value(f"{NAMES[rule]} at step {step}", key(network, rule, step), at, digits, FACTOR))
    return tuple(made)


def orders(network: str, *pairs: tuple[str, str]) -> tuple[Order, ...]:
    """Pairs of rules, the larger loss first, at the last step."""
    made = []
    for larger, smaller in pairs:
        label = f"step {LAST}: {NAMES[larger]} over {NAMES[smaller]}"
        made.append(Order(label, key(network, larger, LAST), key(network, smaller, LAST)))
    return tuple(made)


SHARED: dict[str, Any] = {
    "experiment": "descent_subset",
    "figure": ("descent_subset", "descent_subset"),
    "alt": ALT,
    "notes": (SUMS,),
}
FASHION = {**SHARED, "data": "fashion-mnist", "command": "python experiments/descent_subset.py --preset paper"}
MNIST = {**SHARED, "data": "mnist", "command": "python experiments/descent_subset.py --preset paper --data mnist"}
LAYERS = (("sgd-momentum", "natural-full"), ("natural-full", "kfac-subsampled"), ("natural", "natural-full"))

SUBSET = Item(
    "Fig. 5.1D",
    "With gradient and Fisher exact, natural gradients are better than SGD, and KFAC is better than both.",
    claims=(*values("5.1D", "layers"), *orders("layers", *LAYERS)),
    **FASHION,
)
LOGISTIC = Item(
    "Fig. 5.2A",
    "So it is in logistic regression, where a block-diagonal Fisher is the whole one.",
    claims=(*values("5.2A", "logistic"), *orders("logistic", *LAYERS, ("sgd", "sgd-momentum"))),
    **FASHION,
)
BLOCKS = Item(
    "Fig. 5.2C",
    "Nor does a block-diagonal Fisher make natural gradients as good as KFAC.",
    claims=(
        *values("5.2C", "layers"),
        *orders("layers", ("natural-blocks", "kfac-subsampled"), ("natural-blocks-full", "kfac-subsampled")),
    ),
    **FASHION,
)
TWIN = Item(
    "Fig. 5.6D",
    "Fig. 5.1D on MNIST.",
    claims=(*values("5.6D", "layers"), *orders("layers", *LAYERS)),
    **MNIST,
)

ITEMS = {1.3: SUBSET, 2.1: LOGISTIC, 2.3: BLOCKS, 6.2: TWIN}
