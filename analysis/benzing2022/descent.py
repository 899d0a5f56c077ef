"""Fig. 5.1 to 5.4 on Fashion-MNIST and 5.6 to 5.9 on MNIST, as far as they are training losses of mini-batches."""

import math
from typing import Any

from synsim.papers import Published
from synsim.papers.benzing2022 import BETTER_THAN_NATURAL, CURVES, DESCENT, NATURAL_DAMPING
from synsim.report import Item, Limit, Note, Order, Value

FACTOR = 1.5
EARLY, END = 1800, 6000
NAMES = {
    "sgd-momentum": "SGD with momentum",
    "adam": "Adam",
    "natural": "natural gradients",
    "natural-1000": "natural gradients of 1,000 images",
    "natural-4000": "natural gradients of 4,000 images",
    "natural-blocks": "block-diagonal natural gradients",
    "kfac": "KFAC",
    "kfac-subsampled": "KFAC with m = 0",
    "kfac-standard": "KFAC, standard damping",
    "kfac-low": "KFAC, heuristic damping of 0.01",
    "foof-1": "FOOF, T = 1",
    "foof-100": "FOOF, T = 100",
}
ALT = (
    "Training loss over steps on a logarithmic scale, one curve per rule with a band of one standard error, in panels "
    "by question; the published curves are open marks."
)
PERIOD = Note("Published KFAC inverts at every step; a quick run does so every 50 steps.", always=True)
SMOOTHED = Note(
    "Published curves are smoothed in an unknown way; ours are means of the hundred steps before. All fall with every "
    "new epoch, and were read just before it.",
    always=True,
)


def loss(step: int) -> str:
    """Name of the rows with the training loss at a step."""
    return f"training loss at step {step}"


def values(figure: str, *rules: str) -> tuple[Value, ...]:
    """The curves of a figure where they were read."""
    made = []
    for rule in rules or tuple(CURVES[figure]):
        curve = CURVES[figure][rule]
        for step in curve.steps:
            at = curve.at(step)
            digits = 2 - math.floor(math.log10(at.mean))
            made.append(Value(f"{NAMES[rule]} at step {step}", (loss(step), rule), at, digits, FACTOR))
    return tuple(made)


def orders(pairs: tuple[tuple[tuple[str, str], tuple[str, str]], ...]) -> tuple[Order, ...]:
    """Pairs of curves, (figure, rule) each, in their order after three epochs and at the end."""
    made = []
    for step in (EARLY, END):
        for pair in pairs:
            (_, larger), (_, smaller) = sorted(pair, key=lambda one: -CURVES[one[0]][one[1]].at(step).mean)
            label = f"step {step}: {NAMES[larger]} over {NAMES[smaller]}"
            made.append(Order(label, (loss(step), larger), (loss(step), smaller)))
    return tuple(made)


def ratio(figure: str, first: str, second: str, step: int) -> Value:
    """How many times the loss of one rule that of another is."""
    one, two = (CURVES[figure if rule in CURVES[figure] else "5.1A"][rule].at(step) for rule in (first, second))
    label = f"{NAMES[first]} over {NAMES[second]} at step {step}, times"
    published = Published(one.mean / two.mean, source=one.source)
    return Value(label, (f"{loss(step)}, ratio", f"{first} / {second}"), published, 2, FACTOR)


def times(figure: str) -> float:
    """How many times lower than natural gradients KFAC is plotted at the end."""
    curves = CURVES[figure]
    return curves["natural"].at(END).mean / curves["kfac"].at(END).mean


FASHION: dict[str, Any] = {
    "experiment": "descent",
    "data": "fashion-mnist",
    "figure": ("descent", "descent"),
    "alt": ALT,
}
MNIST = {**FASHION, "data": "mnist"}
COMMAND = "python experiments/descent.py --preset paper"
TWIN = f"{COMMAND} --data mnist"
TEXT = Note(
    f"The text says {BETTER_THAN_NATURAL} for both data sets; the plotted curves are {times('5.1A'):.0f} times apart "
    f"on Fashion-MNIST and {times('5.6A'):.1f} times on MNIST.",
    always=True,
)
OF_FASHION = Note("The published constants of MNIST are not known: those of Fashion-MNIST were taken.", always=True)


def natural(figure: str) -> tuple[Value, Limit]:
    """By how much KFAC is better than natural gradients, as plotted and as said."""
    plotted = ratio(figure, "natural", "kfac", END)
    said = Limit(f"{plotted.label}, as the text has it", plotted.key, ">", 10.0, BETTER_THAN_NATURAL)
    return plotted, said


KFAC = Item(
    "Fig. 5.1A",
    "KFAC, an approximation, has a far lower training loss than subsampled natural gradients, which are exact, and "
    "than Adam and SGD.",
    command=COMMAND,
    claims=(
        *values("5.1A"),
        *orders(tuple((("5.1A", other), ("5.1A", "kfac")) for other in ("natural", "adam", "sgd-momentum"))),
        *natural("5.1A"),
    ),
    notes=(SMOOTHED, PERIOD, TEXT),
    **FASHION,
)
DATA = Item(
    "Fig. 5.1B,C",
    "Nor is it the amount of data: KFAC without averages, of one batch, is better too, and larger batches do not help "
    "natural gradients.",
    command=COMMAND,
    claims=(
        *values("5.1B"),
        *values("5.1C"),
        *orders(((("5.1A", "natural"), ("5.1B", "kfac-subsampled")),)),
        *orders(tuple((("5.1C", other), ("5.1A", "kfac")) for other in ("natural-1000", "natural-4000"))),
    ),
    notes=(SMOOTHED,),
    **FASHION,
)
BLOCKS = Item(
    "Fig. 5.2B",
    "Nor is it the block-diagonal structure: natural gradients layer by layer stay far behind KFAC.",
    command=COMMAND,
    claims=(*values("5.2B"), *orders(((("5.2B", "natural-blocks"), ("5.1A", "kfac")),))),
    notes=(SMOOTHED,),
    **FASHION,
)
DAMPING = Item(
    "Fig. 5.3A",
    "It is the damping: with the standard one KFAC is no better than SGD.",
    command=COMMAND,
    claims=(
        *values("5.3A"),
        *orders(((("5.3A", "kfac-standard"), ("5.3A", "kfac-low")), (("5.3A", "kfac-standard"), ("5.1A", "kfac")))),
        *(ratio("5.3A", "kfac-standard", "sgd-momentum", step) for step in (EARLY, END)),
    ),
    notes=(
        SMOOTHED,
        Note("The published code has U_E where the formula of the standard damping has its transpose, so that its step "
             "is no damped inverse; the one here is.", always=True),
    ),
    **FASHION,
)  # fmt: skip
NEURONS = Item(
    "Fig. 5.4B",
    "Descent on neurons, FOOF, ends below KFAC, and loses nothing by inverting every hundred steps only.",
    command=COMMAND,
    claims=(
        *values("5.4B"),
        *orders(tuple((("5.4B", rule), ("5.1A", "kfac")) for rule in ("foof-1", "foof-100"))),
        *orders(tuple((("5.4B", "foof-100"), ("5.1A", other)) for other in ("adam", "sgd-momentum"))),
    ),
    notes=(SMOOTHED, PERIOD),
    **FASHION,
)


def on_choosing(step: int, damping: float, same: bool = False) -> tuple[str, str]:
    """Where the loss of natural gradients with a damping is, at the best rate."""
    return f"{loss(step)}, on the seeds that choose", f"natural{'-same' if same else ''}, damping {damping:g}"


def dampings() -> tuple[Value | Order, ...]:
    """What is published of the damping of natural gradients, at the end, and its orders earlier."""
    plotted = float(DESCENT["5.1A"]["natural"].damping or 0.0)
    best = min(NATURAL_DAMPING["independent"], key=lambda damping: NATURAL_DAMPING["independent"][damping])
    made: list[Value | Order] = []
    for batch, losses in NATURAL_DAMPING.items():
        for damping, value in losses.items():
            label = f"{batch} batch, damping {damping:g}, at step {END}"
            published = Published(value, n=3, source="Fig. I.6 of the paper")
            made.append(Value(label, on_choosing(END, damping, batch == "same"), published, 3, FACTOR))
    for step in (600, EARLY, END):
        plot, good, same = (on_choosing(step, each) for each in (plotted, best, plotted))
        same = on_choosing(step, plotted, same=True)
        made.append(Order(f"step {step}: the plotted damping, {plotted:g}, over the best, {best:g}", plot, good))
        made.append(Order(f"step {step}: same over independent batch, damping {plotted:g}", same, plot))
        made.append(Order(f"step {step}: {NAMES['natural']}, same over independent batch, as plotted",
                          (loss(step), "natural-same"), (loss(step), "natural")))  # fmt: skip
    return tuple(made)


PLOTTED = Item(
    "Fig. I.6 of the paper",
    "The damping of natural gradients in Fig. 5.1A is not the best of its own search, which is the limit of gradient "
    "descent; and a Fisher information of the gradient's own batch is worse where the damping is small.",
    command="python experiments/descent.py --preset paper --methods natural natural-same --rates 0.3 1 3 "
    "--dampings 1e-2 1 100 1e4 1e6",
    claims=dampings(),
    notes=(SMOOTHED,),
    **FASHION,
)
TWINS = (
    Item(
        "Fig. 5.6A",
        "Fig. 5.1A on MNIST: KFAC below natural gradients, SGD and Adam.",
        command=TWIN,
        claims=(
            *values("5.6A"),
            *orders(tuple((("5.6A", other), ("5.6A", "kfac")) for other in ("natural", "adam", "sgd-momentum"))),
            *natural("5.6A"),
        ),
        notes=(SMOOTHED, PERIOD, OF_FASHION, TEXT),
        **MNIST,
    ),
    Item(
        "Fig. 5.8A",
        "Fig. 5.3A on MNIST: with the standard damping KFAC ends above SGD.",
        command=TWIN,
        claims=(
            *values("5.8A"),
            *orders(tuple((("5.8A", "kfac-standard"), ("5.8A", other)) for other in ("kfac-low", "sgd-momentum"))),
        ),
        notes=(SMOOTHED, OF_FASHION),
        **MNIST,
    ),
    Item(
        "Fig. 5.9B",
        "Fig. 5.4B on MNIST: FOOF against KFAC.",
        command=TWIN,
        claims=(*values("5.9B"), *orders(tuple((("5.9B", rule), ("5.9B", "kfac")) for rule in ("foof-1", "foof-100")))),
        notes=(SMOOTHED, PERIOD, OF_FASHION),
        **MNIST,
    ),
)

ITEMS = {1.1: KFAC, 1.2: DATA, 2.2: BLOCKS, 3.1: DAMPING, 4.2: NEURONS, 4.9: PLOTTED}
ITEMS |= dict(zip((6.1, 8.1, 9.2), TWINS, strict=True))
