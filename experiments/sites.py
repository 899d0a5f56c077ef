"""Bits per energy with several release sites per synapse, and with one mask per batch or per image (a study of ours).

With N sites a synapse transmits the share k / N of its strength, k ~ Binomial(N, p): the same mean, and 1 / N of the
variance. "fixed" keeps p, so that the mean release is equal by construction; "plastic" lets it be learned.
"""

from itertools import product

import xarray
from common import NetworkConfig, end, nested, probes, single
from lines import BITS, rows_of

import synsim
from synsim import outcomes, tables
from synsim.experiment import Experiment, Session, by_preset, option
from synsim.papers.schug2021 import DECAY, ENERGY_CONSTANTS, ENERGY_INITIAL, ENERGY_RATES

MODELS, SCOPES = ("fixed", "plastic"), ("batch", "sample")


class Config(NetworkConfig):
    epochs: int = by_preset("passes over each task", quick=2, paper=50)
    sites: tuple[int, ...] = option((1, 2, 5, 10), "release sites N per synapse")
    scopes: tuple[str, ...] = option(SCOPES, "one mask per batch, or per image", SCOPES)
    models: tuple[str, ...] = option(MODELS, "release probabilities fixed, or plastic", MODELS)
    decay: float = option(DECAY, "weight decay")
    hidden: tuple[int, ...] = by_preset("widths of the hidden layers", quick=(100, 100), paper=(200, 200))


def measure(config: Config, session: Session) -> xarray.Dataset:
    """Train all networks, with the seeds as replicas; what each is at its end, over model, scope and sites."""
    task, seeds = single(config), synsim.Sweep({}, config.seeds)
    sizes = [task.inputs, *config.hidden, task.classes]

    def trained(model: str, scope: str, sites: int) -> xarray.Dataset:
        initial = ENERGY_INITIAL[model]
        net = synsim.mlp(sizes, p=initial, sites=sites, scope=scope, replicas=seeds, device=config.device)
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
    tests, made = outcomes.tests("sites", outcomes.of("sites", dataset)), []
    for model, scope, sites in product(config.models, config.scopes, config.sites):
        setting = {"model": model, "scope": scope, "sites": sites}
        net = dataset.where(~dataset.failed).sel(setting)
        first = (model, config.scopes[0], str(config.sites[0]))
        found = {
            BITS: outcomes.bits_per(dataset).sel(setting),
            "accuracy, one pass, %": 100 * net.accuracy,
            "mean release probability": net.mean_p,
        }
        test = tests.between("bits", (model, scope, str(sites)), first)
        made += rows_of(f"{model}, mask per {scope}, N = {sites}", found, setting=setting, tests={BITS: test})
    return made


EXPERIMENT = Experiment(Config, measure, rows, __doc__)

if __name__ == "__main__":
    EXPERIMENT.main()
