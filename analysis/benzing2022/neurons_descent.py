"""Fig. 5.3B–D and 5.4C on Fashion-MNIST and 5.8B on MNIST: how close KFAC is to descent on neurons."""

import math
from typing import Any

from synsim.papers import Published
from synsim.papers.benzing2022 import COSINES, CURVES, DECREASES
from synsim.report import Item, Limit, Note, Order, Study, Value

FACTOR = 1.5
PATH = "on KFAC's path"
AHEAD = "steps in which it decreases the loss as much as KFAC or more, %"
DAMPINGS = (0.01, 1e-4, 1e-6)
ALT = (
    "Six panels over steps: cosine with FOOF for heuristic and for standard damping, as it follows from the formula "
    "and as the published code has it, a curve per damping; relative decrease of the loss by one step on KFAC's path; "
    "and training losses over dampings and of the forms of damping. The published values are open marks."
)
CODE = Note(
    "The paper does not say which damping its one curve of standard damping has. The published code has U_E where the "
    "formula has its transpose; both are measured.",
    always=True,
)
SMALL = Note("Quick runs have three hidden layers of 300 in place of 1,000.", always=True)
SHARED: dict[str, Any] = {
    "experiment": "neurons_descent",
    "figure": ("neurons_descent", "neurons_descent"),
    "alt": ALT,
}
FASHION = {**SHARED, "data": "fashion-mnist", "command": "python experiments/neurons_descent.py --preset paper"}
MNIST = {**SHARED, "data": "mnist", "command": "python experiments/neurons_descent.py --preset paper --data mnist"}


def value(label: str, metric: str, method: str, published: Published) -> Value:
    """A value that was read off a figure."""
    return Value(label, (metric, method), published, 2 - math.floor(math.log10(published.mean)), FACTOR)


def cosine(kind: str, damping: float, step: int) -> tuple[str, str]:
    """Where a cosine is."""
    return f"cosine with FOOF at step {step}", f"{kind}, damping {damping:g}"


def cosines(figure: str) -> tuple[Value | Order, ...]:
    """The published cosines, and heuristic over standard damping."""
    made: list[Value | Order] = []
    for damping in DAMPINGS:
        curve = COSINES[figure][f"heuristic {damping:g}"]
        for step in curve.steps:
            metric, method = cosine("heuristic", damping, step)
            made.append(value(f"heuristic damping {damping:g} at step {step}", metric, method, curve.at(step)))
    standard = COSINES[figure]["standard"]
    for kind, damping in ((kind, damping) for kind in ("standard", "published code") for damping in (1.0, *DAMPINGS)):
        metric, method = cosine(kind, damping, standard.steps[-1])
        named = "standard damping" if kind == "standard" else "standard damping as in the published code"
        label = f"{named}, {damping:g}, at step {standard.steps[-1]}"
        made.append(value(label, metric, method, standard.at(standard.steps[-1])))
    for damping in DAMPINGS:
        larger, smaller = (cosine(kind, damping, standard.steps[-1]) for kind in ("heuristic", "standard"))
        made.append(Order(f"damping {damping:g}: heuristic over standard, cosine", larger, smaller))
    return tuple(made)


def dampings() -> tuple[Value, ...]:
    """Training losses over dampings where the curves were read."""
    made = []
    for rule, figure in (("kfac", "5.3C"), ("foof", "5.3D")):
        for damping in DAMPINGS:
            curve = CURVES[figure].get(f"{rule} {damping:g}", CURVES["5.3A"]["kfac-low"])
            for step in curve.steps:
                label = f"{rule.upper()}, damping {damping:g}, at step {step}"
                metric = f"training loss at step {step}"
                made.append(value(label, metric, f"{rule}, damping {damping:g}", curve.at(step)))
    return tuple(made)


def decreases() -> tuple[Value | Order | Limit, ...]:
    """What one step takes off the loss on KFAC's path."""
    made: list[Value | Order | Limit] = []
    for rule, method in (("kfac", "heuristic"), ("foof", "foof")):
        for step in DECREASES[rule].steps:
            metric = f"relative decrease of the batch's loss at step {step}"
            label = f"{'KFAC' if rule == 'kfac' else 'FOOF with λ_A'} at step {step}"
            made.append(value(label, metric, f"{method}, {PATH}", DECREASES[rule].at(step)))
    made.append(Limit("steps in which FOOF is ahead, %", (AHEAD, f"foof, {PATH}"), ">", 80.0, "nearly all"))
    return tuple(made)


SIMILAR = Item(
    "Fig. 5.3B",
    "Heuristic damping makes KFAC's step like FOOF's, the more so the larger it is; standard damping does not.",
    claims=cosines("5.3B"),
    notes=(CODE, SMALL),
    **FASHION,
)
DAMPED = Item(
    "Fig. 5.3C,D",
    "KFAC needs a larger damping than FOOF with the same λ_A.",
    claims=dampings(),
    notes=(SMALL,),
    **FASHION,
)
DECREASE = Item(
    "Fig. 5.4C",
    "On KFAC's own path, without its second factor and with the same norm, a step takes more off the loss.",
    claims=decreases(),
    notes=(SMALL,),
    **FASHION,
)
TWIN = Item("Fig. 5.8B", "Fig. 5.3B on MNIST.", claims=cosines("5.8B"), notes=(CODE, SMALL), **MNIST)
FORMS = Study(
    "Standard damping by its formula",
    "The paper finds that with standard damping KFAC is no better than SGD, and so that it owes all to its heuristic. "
    "Its code has a matrix in place of its transpose. How is it with the formula, each at its best setting?",
    "neurons_descent",
    "python experiments/neurons_descent.py --preset paper",
    alt=ALT,
)

ITEMS = {3.2: SIMILAR, 3.3: DAMPED, 4.3: DECREASE, 8.2: TWIN}
STUDIES = {2.0: FORMS}
