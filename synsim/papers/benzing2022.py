"""Benzing 2022: importances (chapter 3 of the author's thesis) and gradient descent on neurons (its chapter 5).

Figures and tables are numbered as in the thesis (doi:10.3929/ethz-b-000572885). Its chapter 3 and appendix C are a
later version of "Unifying importance based regularisation methods for continual learning", AISTATS, PMLR 151; what only
an earlier version prints (arXiv:2006.06357) is taken from there. Permuted MNIST, three runs; errors are standard errors
of the mean. Chapter 5 is "Gradient descent on neurons and its link to approximate second-order optimization", ICML 2022
(arXiv:2201.12250), the appendix of which names the settings. Its curves are means of three runs, read off its figures,
which are vector graphics; the third digit is uncertain, and errors are not shown.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from synsim._checks import require
from synsim._doors import typed
from synsim.papers import Published


class Setting(NamedTuple):
    """What was published for an importance.

    Attributes:
        strength: c.
        fresh: whether the network is re-initialised for each task.
        importance: its name in `synsim.importance`.
        options: of the importance; the "alpha" of SOS is 0 where nothing is subtracted.
        large: whether the batch is the larger of the two.
    """

    strength: float
    fresh: bool
    importance: str
    options: Mapping[str, Any] = {}
    large: bool = False


_THOUSAND = {"images": 1000}
SETTINGS: Mapping[str, Setting] = {
    "si": Setting(0.2, True, "si"),
    "si-unbiased": Setting(2.0, True, "si-unbiased"),
    "si-bias": Setting(0.5, True, "si-bias"),
    "sos": Setting(1.0, True, "sos", {"alpha": 0.0}),
    "onaf": Setting(5e-5, True, "online-absolute-fisher"),
    "mas": Setting(500.0, False, "mas", _THOUSAND),
    "mas-max": Setting(200.0, False, "mas-max", _THOUSAND),
    "mas-logits": Setting(0.001, True, "mas", {**_THOUSAND, "of": "logits"}),
    "af": Setting(200.0, False, "absolute-fisher", _THOUSAND),
    "sqrt-fisher": Setting(2.0, False, "sqrt-fisher", _THOUSAND),
    "ewc": Setting(1e3, False, "fisher", _THOUSAND),
    "empirical": Setting(1e6, False, "fisher", {"images": 2000, "labels": "empirical"}),
    "batch-ef": Setting(5e5, False, "fisher-batched", {"images": 2000, "batch": 100, "convention": "scaled"}),
    "si-2048": Setting(1.0, True, "si", large=True),
    "sos-2048": Setting(10.0, True, "sos", {"alpha": 1.0}, large=True),
}
"""Method -> how it was run (Table C.1); "-2048" is with that batch size."""
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

MEASURES: Mapping[str, tuple[str, float]] = {
    "SI": ("si", 1.0),
    "SIU": ("si-unbiased", 1.0),
    "SIB": ("si-bias", 1.0),
    "SOS": ("sos", 1.0),
    "OnAF": ("online-absolute-fisher", 1.0),
    "MAS": ("mas", 1.0),
    "MASX": ("mas-max", 1.0),
    "AF": ("absolute-fisher", 1.0),
    "AF²": ("absolute-fisher", 2.0),
    "Fisher": ("fisher", 1.0),
    "√Fisher": ("fisher", 0.5),
}
"""Name in Fig. 3.1 and 3.2 -> the importance, and the power of it that is compared."""
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

# Chapter 5: descent on neurons.


class Descent(NamedTuple):
    """Settings of a rule that moves weights.

    Attributes:
        lr: learning rate.
        damping: λ; None for rules that have none. It counts inputs summed over the batch and output gradients averaged.
    """

    lr: float
    damping: float | None = None


DESCENT_HIDDEN, DESCENT_BATCH, DESCENT_EPOCHS = (1000, 1000, 1000), 100, 10
"""Network without biases, Kaiming's normal weights with a gain of √2 in every layer; batch and epochs."""
DESCENT_SCALE = "mnist"
"""The data set by whose mean and standard deviation the pixels of all are standardised."""
AVERAGE, WARMUP, MOMENTUM = 0.95, 50, 0.9
"""Decay m of the factors' averages, batches that fill them before the first step, and momentum of SGD+M."""
SUBSET, SUBSET_STEPS = 1000, 100
"""Images of the full-batch experiments, and their steps."""
LR_GRID, DAMPING_GRID = (1.0, 3.0), (1e-6, 1e-4, 1e-2, 1.0, 1e2, 1e4, 1e6)
"""Learning rates were searched among these times powers of ten, dampings among those; by training loss at the end."""

DESCENT: Mapping[str, Mapping[str, Descent]] = {
    "5.1A": {
        "sgd-momentum": Descent(0.01),
        "adam": Descent(1e-4),
        "natural": Descent(1e-5, 1e-4),
        "kfac": Descent(0.3, 1.0),
    },
    "5.1B": {"kfac-subsampled": Descent(0.3, 1.0)},
    "5.1C": {"natural-1000": Descent(3e-4, 0.01), "natural-4000": Descent(1e-3, 0.01)},
    "5.1D": {
        "sgd-momentum": Descent(0.03),
        "natural": Descent(0.1, 1.0),
        "natural-full": Descent(100.0, 100.0),
        "kfac-subsampled": Descent(0.1, 1e-4),
    },
    "5.2A": {
        "sgd": Descent(0.03),
        "sgd-momentum": Descent(0.03),
        "natural": Descent(0.01, 0.01),
        "natural-full": Descent(100.0, 100.0),
        "kfac-subsampled": Descent(100.0, 1.0),
    },
    "5.2B": {"natural-blocks": Descent(10.0, 100.0)},
    "5.2C": {
        "natural-blocks": Descent(0.1, 1.0),
        "natural-blocks-full": Descent(30.0, 100.0),
        "kfac-subsampled": Descent(0.1, 1e-4),
    },
    "5.3A": {"kfac-standard": Descent(0.1, 1.0), "kfac-low": Descent(0.01, 0.01)},
    "5.3C": {"kfac 1e-06": Descent(1e-6, 1e-6), "kfac 0.0001": Descent(1e-4, 1e-4), "kfac 0.01": Descent(0.01, 0.01)},
    "5.4B": {"foof-1": Descent(30.0, 100.0), "foof-100": Descent(30.0, 100.0)},
}
"""Figure -> rule -> settings, on Fashion-MNIST; those of MNIST are not known.

The code behind the figures scales the full Fisher otherwise than the one that is public."""


@dataclass(frozen=True)
class Curve:
    """A curve read off a figure.

    Attributes:
        figure: its number.
        steps: where it was read.
        values: what was read there.
    """

    figure: str
    steps: tuple[int, ...]
    values: tuple[float, ...]

    @typed
    def at(self, step: int) -> Published:
        """The curve at a step.

        Args:
            step: one of those where it was read.

        Returns:
            The mean of three runs.

        Raises:
            ValueError: if it was not read there.
        """
        require(step in self.steps, f"Fig. {self.figure} was read at steps {list(self.steps)}, got {step}.")
        value = self.values[self.steps.index(step)]
        return Published(value, n=3, source=f"Fig. {self.figure}", text="" if value >= 1e-3 else f"{value:.2g}")


def _curve(figure: str, steps: tuple[int, ...], *values: float) -> Curve:
    return Curve(figure, steps, values)


_STEPS, _FULL = (600, 1200, 1800, 3000, 6000), (20, 50, 75, 99)
CURVES: Mapping[str, Mapping[str, Curve]] = {
    "5.1A": {
        "kfac": _curve("5.1A", _STEPS, 0.326, 0.195, 0.126, 0.057, 0.0072),
        "adam": _curve("5.1A", _STEPS, 0.390, 0.295, 0.251, 0.205, 0.114),
        "sgd-momentum": _curve("5.1A", _STEPS, 0.387, 0.301, 0.265, 0.220, 0.144),
        "natural": _curve("5.1A", _STEPS, 0.403, 0.309, 0.279, 0.245, 0.191),
    },
    "5.1B": {"kfac-subsampled": _curve("5.1B", _STEPS, 0.346, 0.234, 0.182, 0.131, 0.062)},
    "5.1C": {
        "natural-1000": _curve("5.1C", _STEPS, 0.402, 0.296, 0.273, 0.240, 0.165),
        "natural-4000": _curve("5.1C", _STEPS, 0.377, 0.291, 0.278, 0.228, 0.178),
    },
    "5.1D": {
        "kfac-subsampled": _curve("5.1D", _FULL, 5.4e-3, 2.2e-6, 9.5e-7, 4.7e-7),
        "natural-full": _curve("5.1D", _FULL, 0.125, 0.0153, 0.0053, 0.0029),
        "natural": _curve("5.1D", _FULL, 0.300, 0.103, 0.056, 0.037),
        "sgd-momentum": _curve("5.1D", _FULL, 0.507, 0.125, 0.031, 0.013),
    },
    "5.2A": {
        "kfac-subsampled": _curve("5.2A", _FULL, 0.084, 0.016, 0.0073, 0.0042),
        "natural-full": _curve("5.2A", _FULL, 0.38, 0.147, 0.098, 0.073),
        "natural": _curve("5.2A", _FULL, 0.65, 0.320, 0.190, 0.125),
        "sgd-momentum": _curve("5.2A", _FULL, 0.65, 0.271, 0.190, 0.155),
        "sgd": _curve("5.2A", _FULL, 1.06, 0.72, 0.65, 0.56),
    },
    "5.2B": {"natural-blocks": _curve("5.2B", _STEPS, 0.413, 0.306, 0.275, 0.233, 0.161)},
    "5.2C": {
        "natural-blocks": _curve("5.2C", _FULL, 0.302, 0.106, 0.057, 0.037),
        "natural-blocks-full": _curve("5.2C", _FULL, 0.193, 0.0385, 0.0176, 0.0107),
    },
    "5.3A": {
        "kfac-standard": _curve("5.3A", _STEPS, 0.383, 0.281, 0.243, 0.200, 0.118),
        "kfac-low": _curve("5.3A", _STEPS, 0.325, 0.171, 0.100, 0.049, 0.037),
    },
    "5.3C": {
        "kfac 1e-06": _curve("5.3C", _STEPS, 0.514, 0.432, 0.399, 0.357, 0.303),
        "kfac 0.0001": _curve("5.3C", (*_STEPS[:4], 5271), 0.353, 0.222, 0.172, 0.103, 0.027),
    },
    "5.3D": {
        "foof 1e-06": _curve("5.3D", _STEPS[:3], 0.423, 0.265, 0.210),
        "foof 0.0001": _curve("5.3D", _STEPS[:3], 0.321, 0.152, 0.080),
        "foof 0.01": _curve("5.3D", _STEPS[:3], 0.331, 0.179, 0.104),
    },
    "5.4B": {
        "foof-1": _curve("5.4B", _STEPS, 0.333, 0.203, 0.141, 0.044, 0.0021),
        "foof-100": _curve("5.4B", _STEPS, 0.323, 0.194, 0.136, 0.038, 0.0019),
    },
    "5.6A": {
        "kfac": _curve("5.6A", _STEPS, 0.105, 0.047, 0.017, 0.0036, 1.2e-4),
        "sgd-momentum": _curve("5.6A", _STEPS, 0.119, 0.062, 0.034, 0.013, 2.2e-4),
        "natural": _curve("5.6A", _STEPS, 0.126, 0.062, 0.038, 0.010, 8.3e-4),
        "adam": _curve("5.6A", _STEPS, 0.149, 0.076, 0.046, 0.021, 1.1e-2),
    },
    "5.6D": {
        "kfac-subsampled": _curve("5.6D", (20, 50, 99), 8.6e-7, 1.7e-7, 7.8e-8),
        "natural-full": _curve("5.6D", (20, 50, 99), 0.0048, 6.7e-4, 2.4e-4),
        "natural": _curve("5.6D", (20, 50, 99), 0.076, 0.0107, 3.6e-3),
        "sgd-momentum": _curve("5.6D", (20, 50, 99), 0.193, 0.023, 8.0e-3),
    },
    "5.8A": {
        "kfac-standard": _curve("5.8A", _STEPS, 0.126, 0.056, 0.033, 0.0087, 7.4e-4),
        "kfac-low": _curve("5.8A", _STEPS, 0.103, 0.025, 0.0065, 0.00043, 9.1e-5),
        "sgd-momentum": _curve("5.8A", _STEPS, 0.127, 0.068, 0.030, 0.018, 1.5e-4),
    },
    "5.9B": {
        "foof-1": _curve("5.9B", _STEPS, 0.136, 0.058, 0.013, 4.9e-4, 5.9e-5),
        "foof-100": _curve("5.9B", _STEPS, 0.099, 0.023, 0.0028, 2.5e-4, 9.5e-5),
        "kfac": _curve("5.9B", _STEPS, 0.081, 0.040, 0.017, 3.9e-3, 1.1e-4),
    },
}
"""Figure -> rule -> training loss of the batches (smoothed), or in 5.1D, 5.2A, 5.2C and 5.6D of all images.

5.1 to 5.4 are on Fashion-MNIST, 5.6 to 5.9 on MNIST."""
FIGURES: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("fashion-mnist", "batches"): ("5.1A", "5.1B", "5.1C", "5.2B", "5.3A", "5.4B"),
    ("fashion-mnist", "layers"): ("5.1D", "5.2C"),
    ("fashion-mnist", "logistic"): ("5.2A",),
    ("mnist", "batches"): ("5.6A", "5.8A", "5.9B"),
    ("mnist", "layers"): ("5.6D",),
}
"""(data, what the losses are of: "batches", or 1000 images under "layers" or "logistic" regression) -> figures."""


@typed
def descent(of: str) -> dict[str, Descent]:
    """What was published on Fashion-MNIST for every rule.

    Args:
        of: what the losses are of, as in `FIGURES`.

    Returns:
        Rule -> its settings.

    Raises:
        ValueError: if there are no such figures.
    """
    known = [name for data, name in FIGURES if data == "fashion-mnist"]
    require(of in known, f"of must be one of {known}, got {of!r}.")
    return {rule: setting for figure in FIGURES["fashion-mnist", of] for rule, setting in DESCENT[figure].items()}


NATURAL_DAMPING: Mapping[str, Mapping[float, float]] = {
    "independent": {1e-6: 0.188, 1e-4: 0.191, 1e-2: 0.191, 1.0: 0.185, 1e2: 0.153, 1e4: 0.154, 1e6: 0.156},
    "same": {1e-6: 0.467, 1e-4: 0.447, 1e-2: 0.314, 1.0: 0.211, 1e2: 0.144},
}
"""Batch of the Fisher -> damping -> training loss of natural gradients at the end on Fashion-MNIST.

Read off Fig. I.6 of the paper; learning rates were tuned for each."""
BETTER_THAN_NATURAL = "10–20 times"
"""How much lower KFAC's training loss is than that of natural gradients, in the text, for both data sets."""

COSINES: Mapping[str, Mapping[str, Curve]] = {
    "5.3B": {
        "standard": _curve("5.3B", (100, 600, 1800), 0.038, 0.084, 0.096),
        "heuristic 1e-06": _curve("5.3B", (100, 600, 1800), 0.475, 0.427, 0.440),
        "heuristic 0.0001": _curve("5.3B", (100, 600, 1800), 0.494, 0.626, 0.651),
        "heuristic 0.01": _curve("5.3B", (100, 600, 1800), 0.513, 0.652, 0.755),
    },
    "5.8B": {
        "standard": _curve("5.8B", (1800,), 0.186),
        "heuristic 1e-06": _curve("5.8B", (1800,), 0.547),
        "heuristic 0.0001": _curve("5.8B", (1800,), 0.772),
        "heuristic 0.01": _curve("5.8B", (1800,), 0.839),
    },
}
"""Figure -> KFAC's damping -> cosine of its move with FOOF's in the product of A Aᵀ."""
DECREASES: Mapping[str, Curve] = {
    "kfac": _curve("5.4C", (50, 600, 1800, 3000, 6000), 0.31, 0.46, 0.60, 0.63, 0.48),
    "foof": _curve("5.4C", (50, 600, 1800, 3000, 6000), 0.44, 0.59, 0.71, 0.69, 0.54),
}
"""Rule -> relative decrease of a batch's loss by one step on KFAC's path, FOOF with KFAC's λ_A and norm."""
EPOCH_SECONDS: Mapping[str, Published] = {
    "sgd": Published(1.57, source="Fig. 5.4A"),
    "foof-100": Published(2.07, source="Fig. 5.4A"),
    "kfac-100": Published(3.01, source="Fig. 5.4A"),
    "foof-10": Published(3.15, source="Fig. 5.4A"),
    "kfac-10": Published(4.99, source="Fig. 5.4A"),
    "foof-1": Published(14.3, source="Fig. 5.4A"),
    "kfac-1": Published(25.6, source="Fig. 5.4A"),
}
"""Rule and period of its inversions -> seconds per epoch on a GPU."""

AUTOENCODER_HIDDEN, AUTOENCODER_BATCH, AUTOENCODER_EPOCHS = (1000, 500, 250, 30, 250, 500, 1000), 1000, 200
"""Widths (tanh but for the code of 30), batch and epochs on MNIST."""
AUTOENCODER_PERIOD = 10
"""Steps from one inversion to the next."""
AUTOENCODER: Mapping[str, Published] = {
    "kfac": Published(0.046, n=3, source="Fig. 5.18"),
    "foof": Published(0.057, n=3, source="Fig. 5.18"),
    "adam": Published(0.060, n=3, source="Fig. 5.18"),
    "sgd-momentum": Published(0.094, n=3, source="Fig. 5.18"),
    "natural": Published(0.134, n=3, source="Fig. 5.11"),
    "kfac-standard": Published(0.097, n=3, source="Fig. 5.13"),
    "kfac-empirical": Published(0.050, n=3, source="Fig. 5.20"),
    "kfac-empirical-tuned": Published(0.035, n=3, source="Fig. 5.20"),
}
"""Rule -> training loss at the end on MNIST. Neither its loss nor its rates are stated."""
