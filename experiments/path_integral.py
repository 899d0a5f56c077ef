"""What the path integrals add up to, and how noisy a batch's gradient is (Fig. 3.1 top left, Fig. 3.3).

One task of Permuted MNIST, trained with Adam. At every step SI, SIU and the path integral of the full gradient grow;
their sums over all parameters are compared with the drop of the loss on the whole training set. Every `every` steps
the full gradient g gives the noise of the batch gradient ĝ: ‖ĝ − g‖² / ‖g‖².
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
import xarray
from common import NetworkConfig
from importance_common import permuted, total
from torch import Tensor

import synsim
from synsim import importance, tables, tasks
from synsim._progress import bar
from synsim.experiment import Experiment, Session, by_preset, option
from synsim.importance.path import Accumulated
from synsim.papers.benzing2022 import BATCHES, NOISE, SI_OVER_SIU, SIU_OVER_FULL, SIU_OVER_LOSS
from synsim.training.gradients import full_gradient, gradients_at_hand
from synsim.training.state import pack, unpack
from synsim.training.step import forward_backward

INTEGRALS = {"SI": "si", "SIU": "si-unbiased", "full gradient": "path-integral"}
Gradients = Mapping[str, Tensor]


class Config(NetworkConfig):
    hidden: tuple[int, ...] = by_preset("widths of the hidden layers", quick=(400, 400), paper=(2000, 2000))
    batch: int = option(BATCHES[False][0], "examples per step")
    epochs: int = by_preset("passes over the task", quick=5, paper=20)
    every: int = by_preset("steps between full gradients", quick=50, paper=20)


class Path:
    """The run: network, optimiser, the three integrals, and what was measured."""

    def __init__(self, config: Config) -> None:
        self.config, self.step = config, 0
        (self.task,), self.net = permuted(config, 1, synsim.Sweep({}, config.seeds))
        self.optimiser = torch.optim.Adam(self.net.parameters(), lr=BATCHES[False][1])
        self.integrals = {label: self.integral(kind) for label, kind in INTEGRALS.items()}
        self.per_epoch = len(self.task.train) // config.batch
        self.total = config.epochs * self.per_epoch
        shape = (len(config.seeds), -(-self.total // config.every))
        names = (*INTEGRALS, "drop of the loss", "noise", "signal")
        self.measured = {name: torch.full(shape, torch.nan, dtype=torch.float64) for name in names}
        self.first_loss = torch.zeros(len(config.seeds), dtype=torch.float64)

    def integral(self, kind: str) -> Accumulated:
        """A path integral as it is, neither clipped nor divided by the displacement."""
        every = {"every": self.config.every} if kind == "path-integral" else {}
        integral = importance.make(kind, rescale=False, clip=False, **every)
        assert isinstance(integral, Accumulated)
        integral.start(self.net)
        return integral

    def orders(self, make: Callable[[Sequence[int], int, int, int], Tensor]) -> Iterator[Tensor]:
        """Batches of all epochs from the present step on."""
        begun, within = divmod(self.step, self.per_epoch)
        for epoch in range(begun, self.config.epochs):
            order = make(self.config.seeds, 0, epoch, len(self.task.train)).to(self.config.device)
            yield from tasks.batches(order, self.config.batch, within if epoch == begun else 0)

    def gradients(self, rows: Tensor) -> Gradients:
        """Gradients of a batch."""
        forward_backward(self.net, self.optimiser, *self.task.batch(rows))
        return gradients_at_hand(self.net)

    def advance(self, rows: Tensor, other: Tensor) -> None:
        """One step on a batch, with another one beside it."""
        extra = {"independent": self.gradients(other)}
        gradient = self.gradients(rows)
        if self.step % self.config.every == 0:
            extra["full"] = full_gradient(self.net, self.task.train, self.task.train.y, self.task.head)
            self.measure(gradient, extra["full"])
        before = {name: p.detach().clone() for name, p in self.net.named_parameters()}
        self.optimiser.step()
        delta = {name: p.detach() - before[name] for name, p in self.net.named_parameters()}
        for integral in self.integrals.values():
            integral.observe(self.net, synsim.Step(self.step, gradient, delta, before, extra))
        self.step += 1

    def measure(self, batch: Gradients, full: Gradients) -> None:
        """Sums so far, the drop of the loss, and the noise of this batch."""
        column, loss = self.step // self.config.every, self.loss()
        if column == 0:
            self.first_loss = loss
        for label, integral in self.integrals.items():
            self.measured[label][:, column] = total(integral.sums).cpu()
        self.measured["drop of the loss"][:, column] = self.first_loss - loss
        self.measured["noise"][:, column] = squares({name: batch[name] - full[name] for name in full})
        self.measured["signal"][:, column] = squares(full)

    @torch.no_grad()
    def loss(self) -> Tensor:
        """Mean loss on the training set, [R]."""
        mean = torch.zeros(len(self.config.seeds), dtype=torch.float64, device=self.config.device)
        train, count = self.task.train, len(self.task.train)
        for start in range(0, count, 1000):
            rows = slice(start, min(count, start + 1000))
            loss = synsim.losses.replica_cross_entropy(self.net(train[rows]), train.y[rows])
            mean = mean + loss.double() * (rows.stop - rows.start) / count
        return mean.cpu()

    def save(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """State, for a checkpoint."""
        tensors, numbers = pack(self.net, self.optimiser)
        for label, integral in self.integrals.items():
            tensors |= {f"{label}//{name}": value for name, value in integral.state_dict().items()}
        tensors |= {f"measured//{name}": value for name, value in self.measured.items()}
        return {**tensors, "first": self.first_loss}, {"numbers": numbers, "step": self.step}

    def load(self, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        unpack(self.net, self.optimiser, tensors, meta["numbers"])
        for label, integral in self.integrals.items():
            lead = f"{label}//"
            state = {name.removeprefix(lead): value for name, value in tensors.items() if name.startswith(lead)}
            integral.load_state_dict(state)
        self.measured = {name: tensors[f"measured//{name}"].clone() for name in self.measured}
        self.first_loss, self.step = tensors["first"].clone(), int(meta["step"])


def squares(values: Gradients) -> Tensor:
    """Sum of the squares over all parameters, [R]."""
    return total({name: value.double().square() for name, value in values.items()}).cpu()


def measure(config: Config, session: Session) -> xarray.Dataset:
    """Train on one task, and follow the integrals."""
    path, store = Path(config), session.open("path")
    saved = store.load()
    if saved is not None:
        path.load(*saved)
    pairs = zip(path.orders(tasks.epoch_order), path.orders(tasks.independent_order), strict=True)
    for rows, other in bar(pairs, initial=path.step, total=path.total, shown=not config.quiet):
        path.advance(rows, other)
        if store.due():
            store.save(*path.save())
    store.save(*path.save())
    return xarray.Dataset(
        {name: (("replica", "step"), value.numpy()) for name, value in path.measured.items()},
        {"step": range(0, path.total, config.every), "seed": ("replica", list(config.seeds))},
    )


def rows(config: Config, dataset: xarray.Dataset) -> list[tables.Row]:
    """The sums at the end, their ratios, and the noise of a batch."""
    last, made = dataset.isel(step=-1), list[tables.Row]()
    for name in (*INTEGRALS, "drop of the loss"):
        made.append(tables.row(name, f"sum after {int(last.step)} steps, nats", last[name].values))
    ratios = (
        ("SI", "SIU", "ratio of the sums", SI_OVER_SIU),
        ("SIU", "full gradient", "ratio of the sums", SIU_OVER_FULL),
        ("SIU", "drop of the loss", "ratio", SIU_OVER_LOSS),
    )
    for over, under, metric, published in ratios:
        made.append(tables.row(f"{over} / {under}", metric, (last[over] / last[under]).values, published))
    noise = (dataset.noise / dataset.signal).median("step")
    return [*made, tables.row("noise", "median of ‖ĝ − g‖² / ‖g‖² over steps", noise.values, NOISE)]


EXPERIMENT = Experiment(Config, measure, rows, __doc__)

if __name__ == "__main__":
    EXPERIMENT.main()
