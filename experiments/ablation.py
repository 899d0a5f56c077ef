"""What presynaptic consolidation needs: the model without each of its parts, and with ghost probabilities (Fig. 4.5a).

Split MNIST or Permuted MNIST; every variant has the metaplasticity constants that the authors found for it. A ghost
network releases with a fixed probability of 0.5 and learns, freezes and modulates by other, "ghost" probabilities p̃. In
"ghost (expected)" a released synapse transmits w̄ / 0.5, so that its mean is w̄; in "ghost (code)" it transmits w̄ / p̃, as
in the published code, so that its mean is 0.5 w̄ / p̃. The published difference is that of the code.
"""

import itertools
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import xarray
from common import PresetConfig, Presets, combine, finish, load, run
from torch import Tensor, nn

import synsim
from synsim import controls, statistics, tables, tasks
from synsim.meters import energy
from synsim.training import History, Phase, Session, fit
from synsim.training.command import option, parse
from synsim.training.session import PhaseStore


@dataclass(frozen=True)
class Variant:
    """A network and its rule.

    Attributes:
        constants: scenario -> p_down, p_up, p_freeze, as the authors found them by random search for this variant.
        modulate: whether the learning rate is scaled by (1 − p).
        control: the kind of control network (`synsim.controls`), or None for the model itself.
    """

    constants: dict[str, tuple[float, float, float]]
    modulate: bool = True
    control: str | None = None


GHOST = {"split": (0.09833934, 0.09764242, 0.9466155), "permuted": (0.05188978, 0.0571483, 0.92943784)}
VARIANTS = {
    "full": Variant(
        {"split": (0.0624703, 0.05835393, 0.94452875), "permuted": (0.04021639, 0.04460148, 0.94791622)},
    ),
    "no freezing": Variant(
        {"split": (0.08590142, 0.06543912, 1.0), "permuted": (0.04378614, 0.04522727, 1.0)},
    ),
    "no modulation": Variant(
        {"split": (0.0506991, 0.04199989, 0.94187781), "permuted": (0.03559312, 0.08535058, 0.92272659)},
        modulate=False,
    ),
    "neither": Variant(
        {"split": (0.09587958, 0.01798108, 1.0), "permuted": (0.02954858, 0.09202317, 1.0)},
        modulate=False,
    ),
    "ghost (expected)": Variant(GHOST, control="ghost-expected"),
    "ghost (code)": Variant(GHOST, control="ghost-code"),
    "not normalised": Variant(
        {"split": (0.02838338, 0.09717001, 0.9499824), "permuted": (0.02752443, 0.09712197, 0.91279887)},
        control="unnormalised",
    ),
}
RATES = {"split": 0.001, "permuted": 0.01}
P_INITIAL, G_LIM = 0.25, 0.001
# Ghost minus full in points, on MNIST.
PUBLISHED = {"split": "−1.4 (t = 3.44, p < 0.05)", "permuted": "−5.6 (t = 6.72, p < 0.01)"}
FIRST = "full"


@dataclass(frozen=True, kw_only=True)
class Config(PresetConfig):
    """Options of this experiment."""

    CHOICES: ClassVar[tuple[str, ...]] = ("variants",)
    SHORT: ClassVar[tuple[str, ...]] = ("split",)
    PRESETS: ClassVar[Presets] = {"quick": {"tasks": 4, "epochs": 2}, "paper": {"tasks": 10, "epochs": 10}}
    out: str = option("runs/ablation", "folder of the run")
    scenario: str = option(
        "split", "split: pairs of classes, parity label; permuted: pixel orders", tuple(RATES), neutral=True
    )
    variants: tuple[str, ...] = option(tuple(VARIANTS), "variants to compare", tuple(VARIANTS), neutral=True)
    tasks: int | None = option(None, "number of permuted tasks (default: from the preset)")
    hidden: tuple[int, ...] = option((200, 200), "widths of the hidden layers")
    batch: int = option(100, "examples per step")
    bias: bool = option(
        False, "layers have fixed random biases, as in the published code (the paper has none)", neutral=True
    )


def method(config: Config, name: str, sequence: list[tasks.Task]) -> tuple[nn.Module, synsim.PresynapticSGD]:
    """Network and rule of a variant, one replica per seed."""
    variant = VARIANTS[name]
    sizes = [sequence[0].train[0:1].shape[-1], *config.hidden, sequence[0].classes]
    replicas, seeds = len(config.seeds), config.seeds
    if variant.control is None:
        net = synsim.mlp(sizes, p=P_INITIAL, bias=config.bias, replicas=replicas, seed=seeds, device=config.device)
    else:
        net = controls.mlp(
            sizes, variant.control, bias=config.bias, replicas=replicas, seed=seeds, device=config.device
        )
    down, up, freeze = variant.constants[config.scenario]
    rule = synsim.PresynapticSGD(
        net,
        RATES[config.scenario],
        p_up=up,
        p_down=down,
        g_lim=G_LIM,
        p_min=P_INITIAL,
        p_freeze=freeze,
        modulate_lr=variant.modulate,
        train_bias=False,
    )
    return net, rule


def train(config: Config, name: str, sequence: list[tasks.Task], session: Session) -> Phase:
    """Train one variant on all tasks."""
    net, rule = method(config, name, sequence)
    freeze = VARIANTS[name].constants[config.scenario][2]

    def learned(net: nn.Module, task: tasks.Task) -> Tensor:
        return controls.learned(net).mean(1)

    def frozen(net: nn.Module, task: tasks.Task) -> Tensor:
        return (controls.learned(net) >= freeze).double().mean(1)

    def go(store: PhaseStore) -> History:
        return fit(
            net,
            rule,
            sequence,
            seeds=config.seeds,
            epochs=config.epochs,
            batch=config.batch,
            test_every_epoch=False,
            test_ahead=False,
            probes={"mean_p": learned, "frozen_share": frozen, "energy": lambda net, task: energy(net)},
            store=store,
            progress=None if config.quiet else name,
        )

    return session.phase(name, net, go)


def scenario(config: Config) -> list[tasks.Task]:
    """The tasks; every seed has pixel orders of its own."""
    data = load(config)
    if config.scenario == "split":
        return tasks.split(data, device=config.device)
    return tasks.permuted(data, tasks=config.tasks, seeds=config.seeds, device=config.device)


def final(phase: Phase) -> np.ndarray:
    """Mean test accuracy over all tasks after the last, in per cent, [seed]."""
    matrix = 100 * phase.dataset.accuracy.isel(after_task=-1).where(~phase.dataset.failed)
    return matrix.mean("test_task", skipna=False).values


Pair = tuple[str, str]


def compared(values: dict[str, np.ndarray], pairs: list[Pair]) -> dict[Pair, tuple[statistics.Comparison, float]]:
    """Two-sample t-test of each pair as in the paper, and its p value corrected for all of them (Holm)."""
    enough = [pair for pair in pairs if min(np.isfinite(values[name]).sum() for name in pair) > 1]
    tests = [statistics.compare(values[one], values[other]) for one, other in enough]
    corrected = statistics.holm([test.p for test in tests])
    return {pair: (test, float(p)) for pair, test, p in zip(enough, tests, corrected, strict=True)}


def differences(config: Config, values: dict[str, np.ndarray]) -> list[tables.Row]:
    """Every variant minus the full model, and neighbours in the order of the means."""
    rows = []
    means = {name: float(statistics.summary(each).mean) for name, each in values.items()}
    order = sorted((name for name in means if np.isfinite(means[name])), key=lambda name: -means[name])
    families = {
        "": [(name, FIRST) for name in values if name != FIRST and FIRST in values],
        "neighbours in the order, ": list(itertools.pairwise(order)),
    }
    for label, pairs in families.items():
        for (one, other), (test, corrected) in compared(values, pairs).items():
            # The paper has the larger mean first; here the sign of t is that of the difference.
            text = f"{label}points; t = {test.t:.2f}, p = {test.p:.2g}, Holm {corrected:.2g}, g = {test.hedges_g:.1f}"
            ghost = other == FIRST and one == "ghost (code)" and config.data == "mnist" and not label
            published = PUBLISHED[config.scenario] if ghost else None
            rows.append(tables.row(f"{one} − {other}", text, values[one] - values[other], published))
    return rows


def experiment(config: Config, session: Session) -> None:
    """Run all variants, print and keep the results."""
    sequence = scenario(config)
    phases: list[Phase] = [train(config, name, sequence, session) for name in config.variants]
    values = {phase.name: final(phase) for phase in phases}
    rows = [tables.row(name, "accuracy over all tasks at the end, %", each) for name, each in values.items()]
    dataset: xarray.Dataset = combine(phases)
    finish(session, dataset, rows + differences(config, values))
    print("t-tests as published (independent samples, equal variances); errors of differences are those over seeds.")
    if config.reduced():
        print(f"reduced: {config.reduced()}")


if __name__ == "__main__":
    run(parse(Config, __doc__ or ""), experiment)  # type: ignore[arg-type]
