"""Bits per energy with several release sites per synapse, and with one mask per batch or per image (a study of ours).

With N sites a synapse transmits the share k / N of its strength, k ~ Binomial(N, p): the same mean, and 1 / N of the
variance. "fixed" keeps p, so that the mean release is equal by construction; "plastic" lets it be learned.
"""

import itertools
from dataclasses import dataclass
from typing import Any

import xarray
from common import NetworkConfig, end, nested, probes, single
from lines import BITS
from torch import nn

import synsim
from synsim import outcomes, tables, tasks
from synsim.experiment import Experiment, Session, by_preset, option
from synsim.papers.schug2021 import DECAY, ENERGY_CONSTANTS, ENERGY_INITIAL, ENERGY_RATES

INITIAL = {name: ENERGY_INITIAL[name] for name in ("fixed", "plastic")}
SCOPES = ("batch", "sample")


@dataclass(frozen=True, kw_only=True)
class Config(NetworkConfig):
    epochs: int = by_preset("passes over each task", quick=2, paper=50)
    sites: tuple[int, ...] = option((1, 2, 5, 10), "release sites N per synapse")
    scopes: tuple[str, ...] = option(SCOPES, "one mask per batch, or per image", SCOPES)
    models: tuple[str, ...] = option(tuple(INITIAL), "release probabilities fixed, or plastic", tuple(INITIAL))
    decay: float = option(DECAY, "weight decay")
    hidden: tuple[int, ...] = by_preset("widths of the hidden layers", quick=(100, 100), paper=(200, 200))


def network(config: Config, task: tasks.Task, model: str, scope: str, sites: int) -> nn.Module:
    """One network, with all seeds as replicas."""
    sizes = [task.inputs, *config.hidden, task.classes]
    seeds = synsim.Sweep({}, config.seeds)
    return synsim.mlp(sizes, p=INITIAL[model], sites=sites, scope=scope, replicas=seeds, device=config.device)


def measure(config: Config, session: Session) -> xarray.Dataset:
    """Train all networks; what each is at its end, over model, scope and sites."""
    task = single(config)

    def trained(model: str, scope: str, sites: int) -> xarray.Dataset:
        net = network(config, task, model, scope, sites)
        rule = synsim.PresynapticSGD(
            net, ENERGY_RATES[model], plastic=model == "plastic", weight_decay=config.decay, **ENERGY_CONSTANTS
        )
        phase = session.fit(
            f"{model}, {scope}, N = {sites}",
            net,
            rule,
            [task],
            epochs=config.epochs,
            batch=config.batch,
            samples=1,
            test_every_epoch=False,
            probes=probes("energy", "information", "mean_p"),
            probe_every=config.epochs,
        )
        return end(phase.dataset)

    return nested(trained, model=config.models, scope=config.scopes, sites=config.sites)


def rows(config: Config, dataset: xarray.Dataset) -> list[tables.Row]:
    """Bits per energy, accuracy and mean p of every network, each against the first network of its model."""
    good = dataset.where(~dataset.failed)
    bits = outcomes.bits_per(dataset)
    first = {"scope": config.scopes[0], "sites": config.sites[0]}
    settings = [
        {"model": model, "scope": scope, "sites": sites}
        for model, scope, sites in itertools.product(config.models, config.scopes, config.sites)
    ]
    tests = outcomes.tests("sites", outcomes.of("sites", dataset))
    made = []
    for one in settings:
        name, net = label(one), good.sel(one)
        test = tests.between("bits", *(tuple(map(str, setting.values())) for setting in (one, one | first)))
        made += [
            tables.row(name, BITS, bits.sel(one).values, setting=one, test=test),
            tables.row(name, "accuracy, one pass, %", 100 * net.accuracy.values, setting=one),
            tables.row(name, "mean release probability", net.mean_p.values, setting=one),
        ]
    return made


def label(setting: dict[str, Any]) -> str:
    """What a network is called in the table."""
    return "{model}, mask per {scope}, N = {sites}".format(**setting)


EXPERIMENT = Experiment(Config, measure, rows, __doc__)

if __name__ == "__main__":
    EXPERIMENT.main()
