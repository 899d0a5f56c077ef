"""How the importances relate: all of them along one run of SI, compared parameter by parameter (Fig. 3.1, 3.2).

Training is protected by SI (c = 0.2, re-initialised per task); every other measure is accumulated or measured beside
it without any influence. Pearson correlations over all parameters are taken at the end of each task. Sums along the
path are raw: before clipping and before division by the displacement.
"""

from collections.abc import Mapping

import torch
import xarray
from common import NetworkConfig, importance_of
from importance_common import begin, permuted
from torch import Tensor, nn

from synsim import Sweep, consolidation, importance, tables, tasks
from synsim.experiment import Experiment, Protection, Session, by_preset, option
from synsim.papers.benzing2022 import BATCHES, CORRELATIONS, MEASURES, SETTINGS, SI_OVER_SIU

Importances = Mapping[str, Mapping[str, Tensor]]


class Config(NetworkConfig):
    hidden: tuple[int, ...] = by_preset("widths of the hidden layers", quick=(400, 400), paper=(2000, 2000))
    batch: int = option(BATCHES[False][0], "examples per step")
    epochs: int = by_preset("passes over each task", quick=10, paper=20)
    tasks: int = by_preset("number of permuted tasks", quick=2, paper=10)
    images: int = option(1000, "images for the measures taken after a task")
    strength: float = option(SETTINGS["si"].strength, "strength c of SI")
    lr: float = option(BATCHES[False][1], "rate of Adam")


def watched(config: Config, sequence: list[tasks.Task]) -> dict[str, importance.Importance]:
    """The importances that are observed beside the training, along the path and after each task."""
    raw = {"rescale": False, "clip": False}
    path = {name: importance.make(name, **raw) for name in ("si", "si-unbiased", "si-bias", "online-absolute-fisher")}
    after = ("mas", "mas-max", "absolute-fisher", "fisher")
    measured = {name: importance_of(name, sequence, images=config.images) for name in after}
    return {**path, "sos": importance.make("sos"), **measured}


def flat(importances: Importances) -> Tensor:
    """All measures, [R, M, n]."""
    measures = []
    for source, power in MEASURES.values():
        values = torch.cat([value.flatten(1) for value in importances[source].values()], dim=1)
        measures.append(values**power)
    return torch.stack(measures, dim=1)


def correlations(net: nn.Module, task: tasks.Task, importances: Importances) -> Tensor:
    """Pearson correlation of every two measures over all parameters, [R, M, M]."""
    return torch.stack([torch.corrcoef(values) for values in flat(importances).double()])


def points(net: nn.Module, task: tasks.Task, importances: Importances) -> Tensor:
    """Every measure at the same evenly spaced parameters, ten thousand at most, [R, M, points]."""
    values = flat(importances)
    place = torch.linspace(0, values.shape[-1] - 1, min(10_000, values.shape[-1])).long()
    return values[..., place]


def measure(config: Config, session: Session) -> xarray.Dataset:
    """Train under SI, and compare all measures at the end of each task."""
    sequence, net = permuted(config, config.tasks, Sweep({}, config.seeds))
    protection = Protection(
        importance.make("si", xi=0.1),
        consolidation.make("penalty", strength=config.strength),
        watch=watched(config, sequence),
        after_task={
            "correlation": correlations,
            "sum": lambda net, task, importances: flat(importances).double().sum(-1),
            "points": points,
        },
        reset_optimiser=True,
        reinitialise=begin,
    )
    phase = session.fit(
        "si",
        net,
        torch.optim.Adam(net.parameters(), lr=config.lr),
        sequence,
        epochs=config.epochs,
        batch=config.batch,
        samples=1,
        protection=protection,
        test_every_epoch=False,
    )
    axes = {"correlation_0": "measure", "correlation_1": "other", "sum_0": "measure", "points_0": "measure"}
    return phase.dataset.rename({**axes, "points_1": "point"}).assign_coords(measure=[*MEASURES], other=[*MEASURES])


def rows(config: Config, dataset: xarray.Dataset) -> list[tables.Row]:
    """Correlations after the first and after the last task, and the ratio of two sums."""
    made = []
    for task in dict.fromkeys(dataset.task.values[[0, -1]].tolist()):
        after = dataset.sel(task=task)
        for (one, other), published in CORRELATIONS.items():
            values = after.correlation.sel(measure=one, other=other).values
            made.append(tables.row(f"{one}–{other}", f"correlation after {task}", values, published))
        ratio = after["sum"].sel(measure="SI") / after["sum"].sel(measure="SIU")
        made.append(tables.row("SI / SIU", f"ratio of sums after {task}", ratio.values, SI_OVER_SIU))
    return made


EXPERIMENT = Experiment(Config, measure, rows, __doc__)

if __name__ == "__main__":
    EXPERIMENT.main()
