"""What presynaptic consolidation needs: the model without each of its parts, and with ghost probabilities (Fig. 4.5a).

Split MNIST or Permuted MNIST; every variant has the metaplasticity constants that the authors found for it. A ghost
network releases with a fixed probability of 0.5 and learns, freezes and modulates by other, "ghost" probabilities p̃. In
"ghost (expected)" a released synapse transmits w̄ / 0.5, so that its mean is w̄; in "ghost (code)" it transmits w̄ / p̃, as
in the published code, so that its mean is 0.5 w̄ / p̃. The published difference is that of the code.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import xarray
from common import PresetConfig, Presets, combine, finish, load, run
from torch import Tensor, nn

import synsim
from synsim import controls, statistics, tables, tasks
from synsim.meters import energy
from synsim.papers.schug2021 import ABLATION_CONSTANTS, CONSTANTS, GHOST, P_INITIAL, RATES
from synsim.training import History, Phase, Session, fit
from synsim.training.command import option, parse
from synsim.training.session import PhaseStore


@dataclass(frozen=True)
class Variant:
    """A network and its rule.

    Attributes:
        constants: scenario -> p_down, p_up and p_freeze, as the authors found them for this variant.
        modulate: whether the learning rate is scaled by (1 − p).
        control: the kind of control network (`synsim.controls`), or None for the model itself.
    """

    constants: Mapping[str, Mapping[str, float]]
    modulate: bool = True
    control: str | None = None


VARIANTS = {
    "full": Variant(ABLATION_CONSTANTS["full"]),
    "no freezing": Variant(ABLATION_CONSTANTS["no freezing"]),
    "no modulation": Variant(ABLATION_CONSTANTS["no modulation"], modulate=False),
    "neither": Variant(ABLATION_CONSTANTS["neither"], modulate=False),
    "ghost (expected)": Variant(ABLATION_CONSTANTS["ghost"], control="ghost-expected"),
    "ghost (code)": Variant(ABLATION_CONSTANTS["ghost"], control="ghost-code"),
    "not normalised": Variant(ABLATION_CONSTANTS["not normalised"], control="unnormalised"),
}
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
    rule = synsim.PresynapticSGD(
        net,
        RATES[config.scenario],
        **{**CONSTANTS, **variant.constants[config.scenario]},
        modulate_lr=variant.modulate,
        train_bias=False,
    )
    return net, rule


def train(config: Config, name: str, sequence: list[tasks.Task], session: Session) -> Phase:
    """Train one variant on all tasks."""
    net, rule = method(config, name, sequence)
    freeze = VARIANTS[name].constants[config.scenario]["p_freeze"]

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
            published = GHOST[config.scenario] if ghost else None
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
