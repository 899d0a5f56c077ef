"""Schug, Benzing & Steger 2021, eLife 10: e69884, doi:10.7554/eLife.69884.

"Presynaptic stochasticity improves energy efficiency and helps alleviate the stability-plasticity dilemma".
Figures and tables are numbered as in chapter 4 of Benzing's thesis (2022, doi:10.3929/ethz-b-000572885), which holds
the same text. "Code" is the published one (smonsays/presynaptic-stochasticity). Three runs unless said otherwise; their
errors are standard errors of the mean.
"""

from collections.abc import Mapping
from typing import Any

from synsim.papers import Published

# Protocols.

CONSTANTS: Mapping[str, Any] = {"p_up": 0.0520, "p_down": 0.0516, "g_lim": 0.001, "p_min": 0.25, "p_freeze": 0.9353}
"""Of lifelong learning, as in the code; the paper prints p_up and p_down the other way round, and no p_freeze."""
RATES: Mapping[str, float] = {"split": 0.001, "permuted": 0.01}
"""Learning rates of lifelong learning, by the scenario."""
P_INITIAL = 0.25
"""Where plastic release probabilities start."""
UNPROTECTED: Mapping[tuple[str, str], tuple[str, float]] = {
    ("split", "mnist"): ("adam", 1e-6),
    ("split", "fashion-mnist"): ("sgd", 1e-4),
    ("permuted", "mnist"): ("sgd", 1e-3),
    ("permuted", "fashion-mnist"): ("adam", 1e-6),
}
"""(scenario, data) -> optimiser and learning rate of the network without consolidation, in the code only."""
JOINT_RATE = 1e-3
"""Learning rate of Adam in joint training, in the code only."""

ENERGY_CONSTANTS: Mapping[str, Any] = {"p_up": 0.07, "p_down": 0.07, "g_lim": 0.001, "p_min": 0.25}
"""Of the energy experiments."""
ENERGY_RATES: Mapping[str, float] = {"plastic": 0.05, "deterministic": 0.08, "fixed": 0.05}
"""Learning rates by the model; that of the deterministic network is in the code only."""
ENERGY_INITIAL: Mapping[str, float] = {"plastic": P_INITIAL, "deterministic": 1.0, "fixed": 0.4}
"""Release probabilities at the start, by the model."""
DECAYS = (0.0, 0.001, 0.005, 0.01, 0.05, 0.1)
"""Weight decays of Fig. 4.1."""
DECAY = 0.01
"""The code's default weight decay; the paper does not say which one Fig. 4.2, 4.3 and 4.7 have."""
IMPORTANT = 0.9
"""Release probability from which a synapse counts as important."""

SEARCHED: Mapping[str, Mapping[str, float]] = {
    "lifelong": {name: CONSTANTS[name] for name in ("p_up", "p_down", "p_freeze")},
    "energy": {**{name: ENERGY_CONSTANTS[name] for name in ("p_up", "p_down")}, "weight_decay": DECAY},
}
"""Objective of a random search -> the constants that it looked for, with the values in the code."""
SEARCH_RANGES: Mapping[str, tuple[float, float]] = {"p_up": (0.01, 0.1), "p_down": (0.01, 0.1), "p_freeze": (0.9, 0.96)}
"""Ranges from which constants were drawn, in the code only; for energy p_up and p_down were drawn as one."""
SEARCH_DECAYS = (0.001, 0.005, 0.01, 0.05)
"""Weight decays among which the search of the energy experiments drew."""

ABLATION_CONSTANTS: Mapping[str, Mapping[str, Mapping[str, float]]] = {
    "full": {
        "split": {"p_down": 0.0624703, "p_up": 0.05835393, "p_freeze": 0.94452875},
        "permuted": {"p_down": 0.04021639, "p_up": 0.04460148, "p_freeze": 0.94791622},
    },
    "no freezing": {
        "split": {"p_down": 0.08590142, "p_up": 0.06543912, "p_freeze": 1.0},
        "permuted": {"p_down": 0.04378614, "p_up": 0.04522727, "p_freeze": 1.0},
    },
    "no modulation": {
        "split": {"p_down": 0.0506991, "p_up": 0.04199989, "p_freeze": 0.94187781},
        "permuted": {"p_down": 0.03559312, "p_up": 0.08535058, "p_freeze": 0.92272659},
    },
    "neither": {
        "split": {"p_down": 0.09587958, "p_up": 0.01798108, "p_freeze": 1.0},
        "permuted": {"p_down": 0.02954858, "p_up": 0.09202317, "p_freeze": 1.0},
    },
    "ghost": {
        "split": {"p_down": 0.09833934, "p_up": 0.09764242, "p_freeze": 0.9466155},
        "permuted": {"p_down": 0.05188978, "p_up": 0.0571483, "p_freeze": 0.92943784},
    },
    "not normalised": {
        "split": {"p_down": 0.02838338, "p_up": 0.09717001, "p_freeze": 0.9499824},
        "permuted": {"p_down": 0.02752443, "p_up": 0.09712197, "p_freeze": 0.91279887},
    },
}
"""Variant -> scenario -> what the authors' random search found for it; in the code only."""

PERCEPTRON: Mapping[str, int] = {"inputs": 1000, "patterns": 100, "batch": 5, "epochs": 25}
"""Protocol of the lifelong perceptron."""
PERCEPTRON_TASKS = 5

# Published values.


def _table(values: Mapping[str, tuple[float, float]]) -> Mapping[str, Published]:
    return {name: Published(mean, sem, 3, "Table 4.1") for name, (mean, sem) in values.items()}


TABLE_4_1: Mapping[tuple[str, str], Mapping[str, Published]] = {
    ("split", "mnist"): _table(
        {
            "presynaptic": (82.90, 0.01),
            "none": (77.68, 0.31),
            "bgd": (80.44, 0.45),
            "ewc": (70.41, 4.20),
            "joint": (98.55, 0.10),
        }
    ),
    ("split", "fashion-mnist"): _table(
        {
            "presynaptic": (91.98, 0.12),
            "none": (88.76, 0.45),
            "bgd": (89.54, 0.88),
            "ewc": (76.89, 1.05),
            "joint": (97.67, 0.09),
        }
    ),
    ("permuted", "mnist"): _table(
        {
            "presynaptic": (86.14, 0.67),
            "none": (79.60, 0.43),
            "bgd": (89.73, 0.52),
            "ewc": (89.58, 0.53),
            "joint": (97.33, 0.08),
        }
    ),
    ("permuted", "fashion-mnist"): _table(
        {
            "presynaptic": (75.92, 0.37),
            "none": (72.13, 0.75),
            "bgd": (78.45, 0.15),
            "ewc": (77.44, 0.41),
            "joint": (87.33, 0.07),
        }
    ),
}
"""(scenario, data) -> method -> accuracy over all tasks at the end, in per cent."""
CODE_4_1: Mapping[tuple[str, str], Mapping[str, Published]] = {
    ("split", "mnist"): {"presynaptic": Published(83.1, n=1), "none": Published(80.3, n=1)},
    ("permuted", "mnist"): {"presynaptic": Published(86.8, n=1)},
}
"""The same from one run of the code with its own settings."""
CONTINUOUS: Mapping[tuple[str, str], Published] = {
    ("mnist", "presynaptic"): Published(85.39, 0.6, 3, "§4.6.4.4", text="85.39 ± 0.6"),
}
"""(data, method) -> accuracy over all tasks of continuous Permuted MNIST, in per cent."""


def _ghost(difference: float, t: float, p: float) -> Published:
    # The error is rebuilt from the printed t.
    text = f"{difference} (t = {t}, p < {p})".replace("-", "−")
    return Published(difference, abs(difference) / t, 3, "Fig. 4.5a", text)


GHOST: Mapping[str, Published] = {"split": _ghost(-1.4, 3.44, 0.05), "permuted": _ghost(-5.6, 6.72, 0.01)}
"""Scenario -> ghost minus full, in points, on MNIST."""

PERCEPTRON_AVERAGE: Mapping[str, Published] = {
    "standard": Published(0.8862, 0.0046, 10, "Fig. 4.5c"),
    "presynaptic": Published(0.9174, 0.0046, 10, "Fig. 4.5c"),
}
"""Model -> accuracy over five tasks."""
PERCEPTRON_TASK_1: Mapping[str, tuple[Published, ...]] = {
    model: tuple(Published(mean, n=10, source="Fig. 4.5b") for mean in means)
    for model, means in {
        "standard": (1.000, 0.927, 0.889, 0.850, 0.824),
        "presynaptic": (1.000, 0.989, 0.960, 0.924, 0.878),
    }.items()
}
"""Model -> accuracy on the first task after each of five."""
PERCEPTRON_TEST = "t = 4.54, p = 2.5e−4"
"""Of the difference of the averages, presynaptic minus standard."""

KS_D: Mapping[str, Published] = {"hidden 2 inputs": Published(0.505, n=1, source="Fig. 4.3a")}
"""Kolmogorov-Smirnov D of important synapses per neuron against shuffled ones, D = 101/200; of one run."""
KS_P: Mapping[str, str] = {"output inputs": "0.41"}
"""Its p value, which is below 0.01 on all other sides; D = 4/10 gives it (Fig. 4.7a)."""
KS_P_OTHERS = "< 0.01"
CORRELATION: Mapping[str, Published] = {
    "hidden 1": Published(0.9390, n=1, source="Fig. 4.3c"),
    "hidden 2": Published(0.7999, n=1, source="Fig. 4.7b"),
}
"""Pearson's r of important inputs and outputs, by the layer; of one run."""
RECORDED = Published(-0.4416, source="Fig. 4.9", text="Pearson r = −0.4416, p < 0.01")
"""Correlation in recorded synapses of the initial release probability and the change of the expected strength."""
