"""Accuracy of the trained network as synapses are silenced (Fig. 4.2b), and as their release probabilities are changed.

Lesions: the lowest of p, abs(w̄), p · abs(w̄) or any importance that is measured in a trained network (the Fisher
information, MAS, …) go first, or any at random, pooled over the layers; p itself stays, and every lesion starts from
the intact network. Importances are those of the mean field, of training images, so that no order has seen what it is
tested on; those of the Fisher family take true labels (the published one for Fig. 4.2d is of test images). Changed
probabilities: all p set to their mean or to 1, or shuffled within each layer, where a synapse keeps its expected
strength w̄, or its strength when released m = w̄ / p.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import xarray
from common import Presets, finish, flat_p, run
from torch import Tensor, nn
from trained import TrainedConfig, trained

from synsim import importance, lesions, statistics, tables
from synsim.meters import accuracy, energy, mutual_information
from synsim.tasks import Task
from synsim.training import Session
from synsim.training.command import option, parse

FISHER = "fisher"
# Equal everywhere, it orders nothing.
NO_ORDER = "uniform"
MEASURED = tuple(k for k in importance.available() if k != NO_ORDER and not importance.make(k).accumulated)
TRUE_LABELS = {kind: {"labels": "empirical"} for kind in (FISHER, "sqrt-fisher", "absolute-fisher")}
SHOWN = (0.5, 0.9)
CLAIM = "above 0: low p first hurts far less (curve not printed)"
VARIANTS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "intact": lambda net: net,
    "mean p, w̄ kept": lambda net: set_to_mean(net, "expected"),
    "mean p, m kept": lambda net: set_to_mean(net, "strength"),
    "p = 1, w̄ kept": lambda net: lesions.clamp_p(net, 1.0, 1.0, keep="expected"),
    "p = 1, m kept": lambda net: lesions.clamp_p(net, 1.0, 1.0, keep="strength"),
    "p shuffled, w̄ kept": lambda net: lesions.shuffle_p(net, keep="expected"),
    "p shuffled, m kept": lambda net: lesions.shuffle_p(net, keep="strength"),
}


@dataclass(frozen=True, kw_only=True)
class Config(TrainedConfig):
    """Options of this experiment."""

    PRESETS: ClassVar[Presets] = {"quick": {"epochs": 5, "images": 2000}, "paper": {"epochs": 50, "images": 10_000}}
    out: str = option("runs/lesions", "folder of the run")
    orders: tuple[str, ...] = option(
        (*lesions.ORDERS, FISHER), "orders of the lesions", (*lesions.ORDERS, *MEASURED), neutral=True
    )
    fractions: tuple[float, ...] = option(lesions.FRACTIONS, "shares of all synapses that are silenced")
    images: int | None = option(None, "test images, and training images for importances (default: from the preset)")
    samples: int = option(10, "stochastic passes per measurement")
    memory: int = option(64, "MiB that the lesioned copies of one pass may take", neutral=True)


def set_to_mean(net: nn.Module, keep: str) -> nn.Module:
    """The network with all p at their mean."""
    mean = flat_p(net).double().mean(1)
    return lesions.clamp_p(net, mean, mean, keep=keep)


def part(session: Session, name: str, measure: Callable[[], dict[str, Tensor]]) -> tuple[dict[str, Tensor], float]:
    """A measurement and its seconds, from the checkpoint if it is there."""
    store = session.open(name)
    saved = store.load()
    if saved is None:
        start = time.perf_counter()
        store.save(measure(), {"seconds": time.perf_counter() - start})
        saved = store.load()
        assert saved is not None
    return saved[0], saved[1]["seconds"]


def lesioned(config: Config, net: nn.Module, task: Task, order: str) -> dict[str, Tensor]:
    """Accuracy for every fraction in one order, [R, F]."""
    scores: str | dict[str, Tensor] = order
    if order in MEASURED:
        kind = importance.make(order, **TRUE_LABELS.get(order, {}))
        count = min(config.images, len(task.train))
        scores = kind.estimate(net, task.train[0:count], task.train.y[..., :count])
    x, y = shown(config, task)
    _, curve = lesions.lesion_curve(net, x, y, scores, config.fractions, config.samples, memory=config.memory)
    return {"accuracy": curve}


def changed(config: Config, net: nn.Module, task: Task, variant: str) -> dict[str, Tensor]:
    """Accuracy, energy and information of the network with other probabilities, [R] each."""
    other, (x, y) = VARIANTS[variant](net), shown(config, task)
    return {
        "accuracy": accuracy(other, x, y, samples=config.samples),
        "energy": energy(other),
        "information": mutual_information(other, x, y),
    }


def shown(config: Config, task: Task) -> tuple[Tensor, Tensor]:
    """Test images and labels."""
    count = min(config.images, len(task.test))
    return task.test[0:count], task.test.y[..., :count]


def order_rows(config: Config, dataset: xarray.Dataset) -> list[tables.Row]:
    """Accuracies of the lesioned networks, and every order against chance."""
    curves = 100 * dataset.lesion_accuracy
    places = {
        f"with {100 * share:g} % of synapses silenced": curves.sel(fraction=share)
        for share in SHOWN
        if share in config.fractions
    }
    places["on average over all fractions"] = curves.mean("fraction", skipna=False)
    rows = [
        tables.row(order, f"accuracy {place}, %", values.sel(order=order).values)
        for place, values in places.items()
        for order in config.orders
    ]
    others = [order for order in config.orders if order != "random"]
    for place, values in places.items() if "random" in config.orders else ():
        each = {order: (values.sel(order=order) - values.sel(order="random")).values for order in others}
        tested = {order: against_zero(differences) for order, differences in each.items()}
        corrected = statistics.holm([found.p if found else np.nan for found in tested.values()])
        for (order, found), p in zip(tested.items(), corrected, strict=True):
            text = f"; paired t-test p = {found.p:.2g} (Holm {p:.2g}), g = {found.hedges_g:.2g}" if found else ""
            claim = CLAIM if order == "p" else None
            rows.append(tables.row(f"{order} − random", f"points {place}{text}", each[order], claim))
    return rows


def against_zero(values: np.ndarray) -> statistics.Comparison | None:
    """A paired t-test of differences against 0, if there are enough."""
    if np.isfinite(values).sum() < 2:
        return None
    return statistics.compare(values, np.zeros_like(values), paired=True)


def variant_rows(dataset: xarray.Dataset) -> list[tables.Row]:
    """What the network with other probabilities can do, and what it costs."""
    rows = []
    for variant in dataset.variant.values:
        here = dataset.sel(variant=variant)
        rows.append(tables.row(variant, "accuracy, %", 100 * here.accuracy.values))
        rows.append(tables.row(variant, "synaptic energy Σ|w̄|, strength", here.energy.values))
        rows.append(tables.row(variant, "10⁻³ bits per energy", 1000 * (here.information / here.energy).values))
    return rows


def experiment(config: Config, session: Session) -> None:
    """Train, lesion and change the network, print and keep the results."""
    net, task, phase = trained(config, session)
    curves = [
        part(session, f"lesions/{order}", lambda order=order: lesioned(config, net, task, order))
        for order in config.orders
    ]
    others = [part(session, f"variant/{name}", lambda name=name: changed(config, net, task, name)) for name in VARIANTS]
    lesion_accuracy = torch.stack([found["accuracy"] for found, _ in curves]).numpy()
    seconds = np.array([time_taken for _, time_taken in curves])
    variables = {
        name: (("variant", "replica"), torch.stack([found[name] for found, _ in others]).numpy())
        for name in ("accuracy", "energy", "information")
    }
    dataset = xarray.Dataset(
        {**variables, "lesion_accuracy": (("order", "replica", "fraction"), lesion_accuracy)},
        coords={
            "order": list(config.orders),
            "fraction": list(config.fractions),
            "variant": list(VARIANTS),
            "replica": phase.dataset.replica.values,
            "seed": phase.dataset.seed,
        },
    ).where(~phase.dataset.failed)
    dataset = dataset.assign(seconds=("order", seconds), failed=phase.dataset.failed, loss=phase.dataset.loss)
    copies = f"{len(config.orders)} orders × {len(config.fractions)} fractions × {len(config.seeds)} seeds"
    label = f"s: {copies} × {config.samples} passes over {len(shown(config, task)[1])} images"
    rows = [*order_rows(config, dataset), *variant_rows(dataset), tables.row("lesion study", label, [seconds.sum()])]
    finish(session, dataset, rows)
    if config.reduced():
        print(f"reduced: {config.reduced()}")


if __name__ == "__main__":
    run(parse(Config, __doc__ or ""), experiment)  # type: ignore[arg-type]
