"""Every importance under one quadratic penalty on Permuted MNIST, batch 256 and 2,048 (Tables 3.1 and C.1).

Protocol: ten permutations, [0, 1] pixels, 784-2000-2000-10 with Glorot weights and biases 0.1, Adam 0.001 (its state
reset per task; 0.008 with batch 2,048), 20 epochs, L + c Σ λ (w − w*)² with summed importances around the latest task.
Strengths c and re-initialisation per method are those of the published searches, made for the full protocol; only the
c of magnitude, uniform and onaf-2048 are ours, since none are published. In the quick preset they do not fit: it never
re-initialises, and chooses every method's c among powers of ten times it, on seeds that are not reported.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
import xarray
from common import ChosenConfig, combine, final, importance_of, load

import synsim
from synsim import Sweep, consolidation, statistics, tables, tasks
from synsim.experiment import Experiment, Presets, option
from synsim.networks import redraw
from synsim.papers.benzing2022 import ACCURACY, BATCHES, BIAS, SETTINGS, Setting
from synsim.training import Phase, Protection, Session


@dataclass(frozen=True)
class Method:
    """An importance with its options, and whether the batch is 2,048."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    large: bool = False


METHODS = {
    "si": Method("si"),
    "si-unbiased": Method("si-unbiased"),
    "si-bias": Method("si-bias"),
    "sos": Method("sos", {"alpha": 0.0}),
    "onaf": Method("online-absolute-fisher"),
    "mas": Method("mas", {"images": 1000}),
    "mas-max": Method("mas-max", {"images": 1000}),
    "mas-logits": Method("mas", {"images": 1000, "of": "logits"}),
    "af": Method("absolute-fisher", {"images": 1000}),
    "sqrt-fisher": Method("sqrt-fisher", {"images": 1000}),
    "ewc": Method("fisher", {"images": 1000}),
    "empirical": Method("fisher", {"images": 2000, "labels": "empirical"}),
    "batch-ef": Method("fisher-batched", {"images": 2000, "batch": 100, "convention": "scaled"}),
    "magnitude": Method("magnitude"),
    "uniform": Method("uniform"),
    "none": Method("uniform"),
    "si-2048": Method("si", large=True),
    "sos-2048": Method("sos", {"alpha": 1.0}, large=True),
    "onaf-2048": Method("online-absolute-fisher", large=True),
}
OURS = {
    "magnitude": Setting(0.01, False),
    "uniform": Setting(0.01, False),
    "none": Setting(0.0, False),
    "onaf-2048": Setting(5e-4, True),
}
# Differences that the chapter rests on: (minuends, subtrahends). The last two are falls with the batch size.
DIFFERENCES = (
    (("si-unbiased",), ("si",)),
    (("si-bias",), ("si",)),
    (("sos",), ("si",)),
    (("si", "sos-2048"), ("si-2048", "sos")),
    (("si", "onaf-2048"), ("si-2048", "onaf")),
)


@dataclass(frozen=True, kw_only=True)
class Config(ChosenConfig):
    """Options of this experiment."""

    CHOICES: ClassVar[tuple[str, ...]] = ("methods",)
    PRESETS: ClassVar[Presets] = {
        "quick": {"hidden": (100, 100), "tasks": 5, "epochs": 5, "selection": (1, 2), "exponents": (-2, -1, 0, 1, 2),
                  "reinitialise": "never"},
        "paper": {"hidden": (2000, 2000), "tasks": 10, "epochs": 20, "selection": (), "exponents": (0,),
                  "reinitialise": "published"},
    }  # fmt: skip
    out: str = option("runs/importances", "folder of the run")
    methods: tuple[str, ...] = option(tuple(METHODS), "methods to compare", tuple(METHODS), neutral=True)
    hidden: tuple[int, ...] = option((), "widths of the hidden layers (default: from the preset)")
    tasks: int | None = option(None, "number of permuted tasks (default: from the preset)")
    batch: int | None = option(None, "examples per step, also for the methods with large batches")
    exponents: tuple[int, ...] = option((), "c is chosen among 10^k times that of the method")
    reinitialise: str | None = option(None, "never, or as published (SI and its relatives)", ("never", "published"))

    def __post_init__(self) -> None:
        """Check what this experiment asks besides."""
        super().__post_init__()
        if len(self.exponents) > 1 and not self.selection:
            raise ValueError("several --exponents need --selection, seeds on which c is chosen.")


def setting_of(config: Config, name: str) -> Setting:
    """The published c of a method, or ours, and whether its network starts anew with each task."""
    setting = (SETTINGS | OURS)[name]
    return Setting(setting.strength, setting.fresh and config.reinitialise == "published")


def learned(config: Config, session: Session, name: str, phase: str, sweep: Sweep) -> Phase:
    """A method with some strengths c and seeds, trained on permuted tasks; every seed has pixel orders of its own."""
    method = METHODS[name]
    data = load(config)
    sequence = tasks.permuted(data, tasks=config.tasks, seeds=sweep.seeds, pixels="unit", device=config.device)
    sizes = [sequence[0].inputs, *config.hidden, sequence[0].classes]
    draw = partial(redraw, scheme="glorot", bias=BIAS)
    net = draw(synsim.mlp(sizes, p=1.0, bias=True, replicas=sweep, device=config.device))
    batch, rate = BATCHES[method.large]
    protection = Protection(
        importance_of(method.name, sequence, **method.options),
        consolidation.make("penalty", strength=sweep.column("strength")),
        reset_optimiser=True,
        reinitialise=(lambda net, task: draw(net, draw=task)) if setting_of(config, name).fresh else None,
    )
    return session.fit(
        phase,
        net,
        torch.optim.Adam(net.parameters(), lr=rate),
        sequence,
        sweep=sweep,
        keep=False,
        epochs=config.epochs,
        batch=config.batch or batch,
        samples=1,
        protection=protection,
        test_every_epoch=False,
    )
