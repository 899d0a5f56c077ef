"""How the importances relate: all of them along one run of SI, compared parameter by parameter (Fig. 3.1, 3.2).

Training is protected by SI (c = 0.2, re-initialised per task); every other measure is accumulated or measured beside
it without any influence. Pearson correlations over all parameters are taken at the end of each task. Sums along the
path are raw: before clipping and before division by the displacement.
"""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from common import PresetConfig, Presets, finish, load, run
from torch import Tensor, nn

import synsim
from synsim import importance, tables, tasks
from synsim.networks import initialised, redraw
from synsim.papers.benzing2022 import BATCHES, BIAS, CORRELATIONS, SETTINGS, SI_OVER_SIU
from synsim.training import History, Protection, Session, fit
from synsim.training.command import option, parse
from synsim.training.session import PhaseStore

RAW = {"rescale": False, "clip": False}
# Name in the figures -> (from which importance, function of it).
MEASURES = {
    "SI": ("si", None),
    "SIU": ("si-unbiased", None),
    "SIB": ("si-bias", None),
    "SOS": ("sos", None),
    "OnAF": ("online-absolute-fisher", None),
    "MAS": ("mas", None),
    "MASX": ("mas-max", None),
    "AF": ("absolute-fisher", None),
    "AF²": ("absolute-fisher", torch.square),
    "Fisher": ("fisher", None),
    "√Fisher": ("fisher", torch.sqrt),
}
POINTS = 10_000


@dataclass(frozen=True, kw_only=True)
class Config(PresetConfig):
    """Options of this experiment."""

    PRESETS: ClassVar[Presets] = {
        "quick": {"hidden": (400, 400), "tasks": 2, "epochs": 10},
        "paper": {"hidden": (2000, 2000), "tasks": 10, "epochs": 20},
    }
    out: str = option("runs/importance_relations", "folder of the run")
    hidden: tuple[int, ...] = option((), "widths of the hidden layers (default: from the preset)")
    tasks: int | None = option(None, "number of permuted tasks (default: from the preset)")
    batch: int = option(BATCHES[False][0], "examples per step")
    images: int = option(1000, "images for the measures taken after a task")
    strength: float = option(SETTINGS["si"].strength, "strength c of SI")
    lr: float = option(BATCHES[False][1], "rate of Adam")


def flat(found: dict[str, dict[str, Tensor]]) -> Tensor:
    """All measures as [M, R, n]."""
    rows = []
    for source, function in MEASURES.values():
        values = torch.cat([value.flatten(1) for value in found[source].values()], dim=1)
        rows.append(values if function is None else function(values))
    return torch.stack(rows)


def correlations(net: nn.Module, task: tasks.Task, found: dict[str, dict[str, Tensor]]) -> Tensor:
    """Pearson correlation of every two measures over all parameters, [R, M, M]."""
    values = flat(found).transpose(0, 1).double()
    return torch.stack([torch.corrcoef(one) for one in values])


def sums(net: nn.Module, task: tasks.Task, found: dict[str, dict[str, Tensor]]) -> Tensor:
    """Sum of every measure over all parameters, [R, M]."""
    return flat(found).double().sum(-1).t()


def points(net: nn.Module, task: tasks.Task, found: dict[str, dict[str, Tensor]]) -> Tensor:
    """Every measure at the same evenly spaced parameters, [R, M, points]."""
    values = flat(found).transpose(0, 1)
    place = torch.linspace(0, values.shape[-1] - 1, min(POINTS, values.shape[-1])).long()
    return values[..., place]


def train(config: Config, sequence: list[tasks.Task], session: Session) -> History:
    """The one run."""
    sizes = [sequence[0].train[0:1].shape[-1], *config.hidden, sequence[0].classes]
    net = synsim.mlp(sizes, p=1.0, bias=True, replicas=len(config.seeds), device=config.device)
    draw = partial(redraw, scheme="glorot", bias=BIAS)
    draw(initialised(net, config.seeds))
    after = {"images": min(config.images, *(len(task.train) for task in sequence))}
    watch = {
        "si": importance.make("si", **RAW),
        "si-unbiased": importance.make("si-unbiased", **RAW),
        "si-bias": importance.make("si-bias", **RAW),
        "sos": importance.make("sos"),
        "online-absolute-fisher": importance.make("online-absolute-fisher", **RAW),
        **{name: importance.make(name, **after) for name in ("mas", "mas-max", "absolute-fisher", "fisher")},
    }
    protection = Protection(
        importance.make("si", xi=0.1),
        synsim.consolidation.make("penalty", strength=config.strength),
        watch=watch,
        after_task={"correlation": correlations, "sum": sums, "points": points},
        reset_optimiser=True,
        reinitialise=lambda net, task: draw(net, draw=task),
    )

    def go(store: PhaseStore) -> History:
        return fit(
            net,
            torch.optim.Adam(net.parameters(), lr=config.lr),
            sequence,
            seeds=config.seeds,
            epochs=config.epochs,
            batch=config.batch,
            samples=1,
            protection=protection,
            store=store,
            test_every_epoch=False,
            progress=None if config.quiet else "si",
        )

    return session.phase("si", net, go)


def experiment(config: Config, session: Session) -> None:
    """Run, print and keep the results."""
    data = load(config)
    sequence = tasks.permuted(data, tasks=config.tasks, seeds=config.seeds, pixels="unit", device=config.device)
    found = train(config, sequence, session).dataset
    names = list(MEASURES)
    axes = {"correlation_0": "measure", "correlation_1": "other", "sum_0": "measure", "points_0": "measure"}
    dataset = found.rename({**axes, "points_1": "point"}).assign_coords(measure=names, other=names)
    rows = []
    for task in dataset.task.values[[0, -1]] if dataset.sizes["task"] > 1 else dataset.task.values:
        for (one, other), published in CORRELATIONS.items():
            values = dataset.correlation.sel(task=task, measure=one, other=other).values
            rows.append(tables.row(f"{one}–{other}", f"correlation after {task}", values, published))
        ratio = dataset["sum"].sel(task=task, measure="SI") / dataset["sum"].sel(task=task, measure="SIU")
        rows.append(tables.row("SI / SIU", f"ratio of sums after {task}", ratio.values, SI_OVER_SIU))
    finish(session, dataset, rows)
    if config.reduced():
        print(f"reduced: {config.reduced()}")


if __name__ == "__main__":
    run(parse(Config, __doc__ or ""), experiment)  # type: ignore[arg-type]
