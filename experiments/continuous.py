"""Permuted tasks that pass into one another without boundaries (continuous Permuted MNIST of the paper).

No method is told when a task ends. Two cores need about a quarter of an hour for the presynaptic network with three
seeds and the whole protocol.
"""

import lifelong
import xarray
from common import PermutedConfig, consolidated, load, models, some_of
from lines import FINAL, FIRST, rows_of

from synsim import outcomes, tables, tasks
from synsim.experiment import Experiment, Session, option
from synsim.papers.schug2021 import CONSTANTS, CONTINUOUS


class Config(PermutedConfig):
    # Methods that need no boundaries between tasks.
    methods: tuple[str, ...] = some_of(("presynaptic", "none", "bgd"), "methods to compare", ("presynaptic", "none"))
    transition: float = option(0.25, "share of the draws of a task in transitions")


def train(config: Config, name: str, session: Session) -> xarray.Dataset:
    """Train one method on the whole stream; an epoch is as many draws as a task has images.

    Network and constants are those for permuted tasks with boundaries.
    """
    stream = tasks.continuous(
        load(config),
        tasks=config.tasks,
        epochs=config.epochs,
        transition=config.transition,
        seeds=config.seeds,
        device=config.device,
    )
    shared = ("data", "data_dir", "seeds", "device", "epochs", "tasks", "hidden", "batch", "methods")
    bounded = lifelong.Config(scenario="permuted", **{option: getattr(config, option) for option in shared})
    net, optimiser, _ = lifelong.method(bounded, name, stream)
    return session.fit(
        name,
        net,
        optimiser,
        stream,
        seeds=config.seeds,
        epochs=config.epochs,
        batch=config.batch,
        test_every_epoch=False,
        test_ahead=False,
        probes=consolidated(CONSTANTS["p_freeze"]),
    ).dataset


def measure(config: Config, session: Session) -> xarray.Dataset:
    """Train all methods; their measurements."""
    return models({name: train(config, name, session) for name in config.methods})


def rows(config: Config, dataset: xarray.Dataset) -> list[tables.Row]:
    """Accuracy at the end of the stream."""
    final, first, made = outcomes.final(dataset), outcomes.first(dataset), []
    for name in config.methods:
        found = {FINAL: final.sel(model=name), FIRST: first.sel(model=name)}
        made += rows_of(name, found, published={FINAL: CONTINUOUS.get((config.data, name))})
    return made


EXPERIMENT = Experiment(Config, measure, rows, __doc__)

if __name__ == "__main__":
    EXPERIMENT.main()
