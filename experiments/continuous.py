"""Permuted tasks that pass into one another without boundaries (continuous Permuted MNIST of the paper).

No method is told when a task ends. Two cores need about a quarter of an hour for the presynaptic network with three
seeds and the whole protocol.
"""

from dataclasses import dataclass
from typing import ClassVar

import lifelong
import xarray
from common import PresetConfig, Presets, combine, finish, load, mean_p, run, share_above

from synsim import tables, tasks
from synsim.meters import energy
from synsim.papers.schug2021 import CONSTANTS, CONTINUOUS
from synsim.training import History, Phase, Session, fit
from synsim.training.command import option, parse
from synsim.training.session import PhaseStore

# Methods that need no boundaries between tasks.
METHODS = ("presynaptic", "none", "bgd")
DEFAULT = ("presynaptic", "none")


@dataclass(frozen=True, kw_only=True)
class Config(PresetConfig):
    """Options of this experiment."""

    CHOICES: ClassVar[tuple[str, ...]] = ("methods",)
    PRESETS: ClassVar[Presets] = {"quick": {"epochs": 2, "tasks": 4}, "paper": {"epochs": 10, "tasks": 10}}
    out: str = option("runs/continuous", "folder of the run")
    epochs: int | None = option(None, "passes' worth of draws per task (default: from the preset)")
    methods: tuple[str, ...] = option(DEFAULT, "methods to compare", METHODS, neutral=True)
    tasks: int | None = option(None, "number of permuted tasks (default: from the preset)")
    transition: float = option(0.25, "share of the draws of a task in transitions")
    hidden: tuple[int, ...] = option((200, 200), "widths of the hidden layers")
    batch: int = option(100, "examples per step")


def assembly(config: Config) -> lifelong.Config:
    """The same network and constants as for permuted tasks with boundaries."""
    names = ("data", "data_dir", "seeds", "device", "epochs", "tasks", "hidden", "batch", "methods")
    return lifelong.Config(scenario="permuted", **{name: getattr(config, name) for name in names})


def train(config: Config, name: str, session: Session) -> Phase:
    """Train one method on the whole stream."""
    data = load(config)
    sequence = tasks.continuous(
        data,
        tasks=config.tasks,
        epochs=config.epochs,
        transition=config.transition,
        seeds=config.seeds,
        device=config.device,
    )
    net, optimiser, _ = lifelong.method(assembly(config), name, sequence)

    def go(store: PhaseStore) -> History:
        return fit(
            net,
            optimiser,
            sequence,
            seeds=config.seeds,
            epochs=config.epochs,
            batch=config.batch,
            test_every_epoch=False,
            test_ahead=False,
            probes={
                "mean_p": mean_p,
                "frozen_share": share_above(CONSTANTS["p_freeze"]),
                "energy": lambda net, task: energy(net),
            },
            store=store,
            progress=None if config.quiet else name,
        )

    return session.phase(name, net, go)


def measure(config: Config, session: Session) -> tuple[xarray.Dataset, list[tables.Row]]:
    """Train all methods; their measurements and the rows of the table."""
    phases = [train(config, name, session) for name in config.methods]
    rows = []
    for phase in phases:
        accuracy = 100 * phase.dataset.accuracy.isel(after_task=-1).where(~phase.dataset.failed)
        mean = accuracy.mean("test_task", skipna=False).values
        published = CONTINUOUS.get((config.data, phase.name))
        rows.append(tables.row(phase.name, "accuracy over all tasks at the end, %", mean, published))
        rows.append(
            tables.row(phase.name, "accuracy on the first task at the end, %", accuracy.isel(test_task=0).values)
        )
    return combine(phases), rows


def experiment(config: Config, session: Session) -> None:
    """Run all methods, print and keep the results."""
    finish(session, *measure(config, session))
    if config.reduced():
        print(f"reduced: {config.reduced()}")


if __name__ == "__main__":
    run(parse(Config, __doc__ or ""), experiment)  # type: ignore[arg-type]
