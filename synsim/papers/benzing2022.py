"""Benzing 2022, "Unifying importance based regularisation methods for continual learning", AISTATS, PMLR 151.

Figures and tables are numbered as in chapter 3 and appendix C of the author's thesis (2022,
doi:10.3929/ethz-b-000572885), which holds a later version; what only an earlier version prints (arXiv:2006.06357) is
taken from there. Permuted MNIST, three runs; errors are standard errors of the mean.
"""

from collections.abc import Mapping
from typing import NamedTuple

from synsim.papers import Published


class Setting(NamedTuple):
    """What was published for an importance.

    Attributes:
        strength: c.
        fresh: whether the network is re-initialised for each task.
    """

    strength: float
    fresh: bool


SETTINGS: Mapping[str, Setting] = {
    "si": Setting(0.2, True),
    "si-unbiased": Setting(2.0, True),
    "si-bias": Setting(0.5, True),
    "sos": Setting(1.0, True),
    "onaf": Setting(5e-5, True),
    "mas": Setting(500.0, False),
    "mas-max": Setting(200.0, False),
    "mas-logits": Setting(0.001, True),
    "af": Setting(200.0, False),
    "sqrt-fisher": Setting(2.0, False),
    "ewc": Setting(1e3, False),
    "empirical": Setting(1e6, False),
    "batch-ef": Setting(5e5, False),
    "si-2048": Setting(1.0, True),
    "sos-2048": Setting(10.0, True),
}
"""Method -> strength c and re-initialisation (Table C.1); "-2048" is with that batch size."""
BATCHES: Mapping[bool, tuple[int, float]] = {False: (256, 1e-3), True: (2048, 8e-3)}
"""Whether the batch is large -> its size, and the learning rate of Adam."""
BIAS = 0.1
"""Biases at the start; in the code only."""


def _accuracy(mean: float, sem: float) -> Published:
    return Published(mean, sem, 3, "Table 3.1")


BELOW: Mapping[str, float] = {"magnitude": 95.0}
"""Method -> what its accuracy stays below, in per cent."""
ACCURACY: Mapping[str, Published | str] = {
    "si": _accuracy(97.2, 0.1),
    "si-unbiased": _accuracy(96.3, 0.1),
    "si-bias": _accuracy(97.2, 0.1),
    "sos": _accuracy(97.3, 0.1),
    "onaf": _accuracy(97.3, 0.1),
    "mas": _accuracy(97.3, 0.1),
    "mas-max": _accuracy(97.4, 0.2),
    "mas-logits": _accuracy(97.2, 0.1),
    "af": _accuracy(97.4, 0.1),
    "sqrt-fisher": _accuracy(97.1, 0.2),
    "ewc": _accuracy(97.1, 0.2),
    "empirical": _accuracy(97.1, 0.1),
    "batch-ef": _accuracy(97.1, 0.1),
    "magnitude": f"< {BELOW['magnitude']:g}",
    "uniform": Published(88.0),
    "si-2048": _accuracy(96.2, 0.1),
    "sos-2048": _accuracy(97.1, 0.1),
    "onaf-2048": _accuracy(97.0, 0.1),
}
"""Method -> accuracy over all tasks at the end, in per cent."""

CORRELATIONS: Mapping[tuple[str, str], str] = {
    ("SI", "SOS"): "≈ 1",
    ("SIB", "SOS"): "≈ 1",
    ("SIU", "SOS"): "clearly lower",
    ("MAS", "MASX"): "0.95–0.99",
    ("MASX", "AF"): "> 0.98",
    ("MAS", "AF"): "0.90–0.97",
    ("MAS", "√Fisher"): "≈ 0.9",
    ("AF²", "Fisher"): "0.86–0.96",
    ("AF", "OnAF"): "0.73–0.87",
}
"""Pairs of importances -> Pearson's r over all parameters at the end of a task (Fig. 3.1, 3.2)."""
SI_OVER_SIU = "5–6"
"""Ratio of the summed importances of SI and of its unbiased version (Fig. 3.1)."""
SIU_OVER_FULL = "≈ 1"
"""Ratio of the sum of the unbiased SI and that with the full gradient (Fig. 3.1)."""
SIU_OVER_LOSS = "> 1"
"""Ratio of the sum of the unbiased SI and the drop of the loss (Fig. 3.1)."""
NOISE = "≫ 1"
"""‖ĝ − g‖² / ‖g‖² of a batch's gradient ĝ and the full one g (Fig. 3.3)."""
