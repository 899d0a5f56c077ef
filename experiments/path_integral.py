"""What the path integrals add up to, and how noisy a batch's gradient is (Fig. 3.1 top left, Fig. 3.3).

One task of Permuted MNIST, trained with Adam. At every step SI, SIU and the path integral of the full gradient grow;
their sums over all parameters are compared with the drop of the loss on the whole training set. Every `every` steps
the full gradient g gives the noise of the batch gradient ĝ: ‖ĝ − g‖² / ‖g‖².
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import xarray
from common import PresetConfig, Presets, finish, load, run
from torch import Tensor
from tqdm import tqdm

import synsim
from synsim import importance, tables, tasks
from synsim.importance import Importance, Step
from synsim.losses import replica_cross_entropy
from synsim.networks import initialised, redraw
from synsim.papers.benzing2022 import BATCHES, BIAS, NOISE, SI_OVER_SIU, SIU_OVER_FULL, SIU_OVER_LOSS
from synsim.tasks import Task, batches, epoch_order, independent_order
from synsim.training import Session
from synsim.training.command import option, parse
from synsim.training.gradients import full_gradient
from synsim.training.state import pack, unpack
from synsim.training.step import forward_backward

RAW = {"rescale": False, "clip": False}
KINDS = {"SI": "si", "SIU": "si-unbiased", "full gradient": "path-integral"}
BATCH, RATE = BATCHES[False]


@dataclass(frozen=True, kw_only=True)
class Config(PresetConfig):
    """Options of this experiment."""

    PRESETS: ClassVar[Presets] = {
        "quick": {"hidden": (400, 400), "epochs": 5, "every": 50},
        "paper": {"hidden": (2000, 2000), "epochs": 20, "every": 20},
    }
    out: str = option("runs/path_integral", "folder of the run")
    hidden: tuple[int, ...] = option((), "widths of the hidden layers (default: from the preset)")
    every: int | None = option(None, "steps between full gradients (default: from the preset)")
    batch: int = option(BATCH, "examples per step")


class Path:
    """The run: network, optimiser, the three integrals, and what was measured."""

    def __init__(self, config: Config, task: Task) -> None:
        self.config, self.task = config, task
        sizes = [task.train[0:1].shape[-1], *config.hidden, task.classes]
        self.net = synsim.mlp(sizes, p=1.0, bias=True, replicas=len(config.seeds), device=config.device)
        redraw(initialised(self.net, config.seeds), scheme="glorot", bias=BIAS)
        self.optimiser = torch.optim.Adam(self.net.parameters(), lr=RATE)
        self.integrals: dict[str, Importance] = {
            label: importance.make(kind, **RAW, **({"every": config.every} if kind == "path-integral" else {}))
            for label, kind in KINDS.items()
        }
        for one in self.integrals.values():
            one.start(self.net)
        self.total = config.epochs * (len(task.train) // config.batch)
        count = -(-self.total // config.every)
        shape = (len(config.seeds), count)
        names = (*KINDS, "drop of the loss", "noise", "signal")
        self.measured = {name: torch.full(shape, torch.nan, dtype=torch.float64) for name in names}
        self.first_loss = torch.zeros(len(config.seeds), dtype=torch.float64)
        self.step = 0

    def orders(self, make: object) -> Iterator[Tensor]:
        """Batches of all epochs from the present step on."""
        per_epoch = len(self.task.train) // self.config.batch
        for epoch in range(self.step // per_epoch, self.config.epochs):
            order = make(self.config.seeds, 0, epoch, len(self.task.train)).to(self.config.device)
            first = self.step % per_epoch if epoch == self.step // per_epoch else 0
            yield from batches(order, self.config.batch, first)

    def gradients(self, rows: Tensor) -> dict[str, Tensor]:
        """Gradients of a batch."""
        x, y = self.task.batch(rows)
        forward_backward(self.net, self.optimiser, x, y)
        return {name: p.grad for name, p in self.net.named_parameters()}

    def advance(self, rows: Tensor, other: Tensor) -> None:
        """One step."""
        extra = {"independent": self.gradients(other)}
        gradient = self.gradients(rows)
        if self.step % self.config.every == 0:
            extra["full"] = full_gradient(self.net, self.task.train, self.task.train.y, self.task.head)
            self.measure(gradient, extra["full"])
        before = {name: p.detach().clone() for name, p in self.net.named_parameters()}
        self.optimiser.step()
        delta = {name: p.detach() - before[name] for name, p in self.net.named_parameters()}
        step = Step(self.step, gradient, delta, before, extra)
        for one in self.integrals.values():
            one.observe(self.net, step)
        self.step += 1

    def measure(self, batch: dict[str, Tensor], full: dict[str, Tensor]) -> None:
        """Sums so far, the drop of the loss, and the noise of this batch."""
        column, loss = self.step // self.config.every, mean_loss(self)
        if column == 0:
            self.first_loss = loss
        for label, one in self.integrals.items():
            self.measured[label][:, column] = squares(one.sums, lambda value: value)
        self.measured["drop of the loss"][:, column] = self.first_loss - loss
        self.measured["noise"][:, column] = squares({n: batch[n] - full[n] for n in full}, torch.square)
        self.measured["signal"][:, column] = squares(full, torch.square)

    def save(self) -> tuple[dict[str, Tensor], dict[str, object]]:
        """State, for a checkpoint."""
        tensors, numbers = pack(self.net, self.optimiser)
        for label, one in self.integrals.items():
            tensors |= {f"{label}//{name}": value for name, value in one.state_dict().items()}
        tensors |= {f"measured//{name}": value for name, value in self.measured.items()}
        return {**tensors, "first": self.first_loss}, {"numbers": numbers, "step": self.step}

    def load(self, tensors: dict[str, Tensor], meta: dict[str, object]) -> None:
        """Go on from a checkpoint."""
        unpack(self.net, self.optimiser, tensors, meta["numbers"])
        for label, one in self.integrals.items():
            lead = f"{label}//"
            one.load_state_dict({name[len(lead) :]: v for name, v in tensors.items() if name.startswith(lead)})
        self.measured = {name: tensors[f"measured//{name}"].clone() for name in self.measured}
        self.first_loss, self.step = tensors["first"].clone(), int(meta["step"])


def squares(values: dict[str, Tensor], function: object) -> Tensor:
    """Sum of a function over all parameters, [R]."""
    return sum(function(value.double()).flatten(1).sum(1) for value in values.values()).cpu()


def mean_loss(path: Path) -> Tensor:
    """Mean loss on the training set, [R]."""
    total, count, y = 0.0, len(path.task.train), path.task.train.y
    with torch.no_grad():
        for start in range(0, count, 1000):
            rows = slice(start, min(count, start + 1000))
            loss = replica_cross_entropy(path.net(path.task.train[rows]), y[rows])
            total = total + loss.double() * (rows.stop - rows.start) / count
    return total.cpu()


def experiment(config: Config, session: Session) -> None:
    """Run, print and keep the results."""
    data = load(config)
    (task,) = tasks.permuted(data, tasks=1, seeds=config.seeds, pixels="unit", device=config.device)
    path, store = Path(config, task), session.open("path")
    saved = store.load()
    if saved is not None:
        path.load(*saved)
    pairs = zip(path.orders(epoch_order), path.orders(independent_order), strict=True)
    with tqdm(total=path.total, initial=path.step, disable=config.quiet, unit="step") as bar:
        for rows, other in pairs:
            path.advance(rows, other)
            bar.update(1)
            if store.due():
                store.save(*path.save())
    store.save(*path.save())
    axes = ("replica", "step")
    dataset = xarray.Dataset(
        {name: (axes, value.numpy()) for name, value in path.measured.items()},
        coords={
            "step": np.arange(path.measured["SI"].shape[1]) * config.every,
            "seed": ("replica", list(config.seeds)),
        },
    )
    last = dataset.isel(step=-1)
    rows = [
        tables.row(name, f"sum after {int(last.step)} steps, nats", last[name].values)
        for name in list(path.measured)[:4]
    ]
    rows.append(tables.row("SI / SIU", "ratio of the sums", (last.SI / last.SIU).values, SI_OVER_SIU))
    rows.append(
        tables.row("SIU / full gradient", "ratio of the sums", (last.SIU / last["full gradient"]).values, SIU_OVER_FULL)
    )
    rows.append(
        tables.row("SIU / drop of the loss", "ratio", (last.SIU / last["drop of the loss"]).values, SIU_OVER_LOSS)
    )
    noise = (dataset.noise / dataset.signal).median("step")
    rows.append(tables.row("noise", "median of ‖ĝ − g‖² / ‖g‖² over steps", noise.values, NOISE))
    finish(session, dataset, rows)
    if config.reduced():
        print(f"reduced: {config.reduced()}")


if __name__ == "__main__":
    run(parse(Config, __doc__ or ""), experiment)  # type: ignore[arg-type]
