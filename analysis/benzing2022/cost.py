"""Fig. 5.4A: what a step costs, which a benchmark measures and no run of an experiment."""

from synsim.papers.benzing2022 import EPOCH_SECONDS
from synsim.report import Item


def times(rule: str) -> str:
    """A published time as a multiple of that of SGD."""
    return f"{EPOCH_SECONDS[rule].mean / EPOCH_SECONDS['sgd'].mean:.1f}"


COST = Item(
    "Fig. 5.4A",
    "FOOF is faster than KFAC: on a GPU an epoch takes "
    + ", ".join(
        f"{times(f'foof-{period}')} and {times(f'kfac-{period}')} times as long as with SGD at T = {period}"
        for period in (1, 10, 100)
    )
    + ". `python experiments/bench_descent.py` measures these ratios on the machine at hand, and keeps no run folder.",
    verdict="a benchmark of its own",
)

ITEMS = {4.1: COST}
