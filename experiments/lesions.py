"""Accuracy of the trained network as synapses are silenced (Fig. 4.2b), and as their release probabilities are changed.

Lesions: the lowest of p, abs(w̄), p · abs(w̄) or any importance that is measured in a trained network (the Fisher
information, MAS, …) go first, or any at random, pooled over the layers; p itself stays, and every lesion starts from
the intact network. Importances are those of the mean field, of training images, so that no order has seen what it is
tested on; those of the Fisher family take true labels (the published one for Fig. 4.2d is of test images). Changed
probabilities: all p set to their mean or to 1, or shuffled within each layer, where a synapse keeps its expected
strength w̄, or its strength when released m = w̄ / p.
"""

from functools import partial

import xarray
from common import flat_p, shortened, study
from lines import BITS, Line, differences, told
from torch import Tensor, nn
from trained import TrainedConfig, trained

from synsim import importance, lesions, outcomes, tables, tasks
from synsim.experiment import Experiment, Session, by_preset, option
from synsim.meters import accuracy, energy, mutual_information

# Uniform importance, which is equal everywhere, orders nothing.
MEASURED = tuple(k for k in importance.available() if k != "uniform" and not importance.make(k).accumulated)
KEPT = {"w̄ kept": "expected", "m kept": "strength"}
VARIANTS = ("intact", *(f"{what}, {kept}" for what in ("mean p", "p = 1", "p shuffled") for kept in KEPT))


class Config(TrainedConfig):
    epochs: int = by_preset("passes over each task", quick=5, paper=50)
    orders: tuple[str, ...] = option(
        (*lesions.ORDERS, "fisher"), "orders of the lesions", (*lesions.ORDERS, *MEASURED), neutral=True
    )
    fractions: tuple[float, ...] = option(lesions.FRACTIONS, "shares of all synapses that are silenced")
    images: int | None = by_preset("test images, and training images for importances", quick=2000, paper=10_000)
    samples: int = option(10, "stochastic passes per measurement")
    memory: int = option(64, "MiB that the lesioned copies of one pass may take", neutral=True)


def lesioned(config: Config, net: nn.Module, task: tasks.Task, order: str) -> dict[str, Tensor]:
    """Accuracy for every fraction in one order, [R, F]."""
    scores: str | dict[str, Tensor] = order
    if order in MEASURED:
        true_labels = {"labels": "empirical"} if order in ("fisher", "sqrt-fisher", "absolute-fisher") else {}
        kind = importance.make(order, **true_labels)
        scores = kind.estimate(net, task.train, task.train.y)
    x, y, samples = task.test, task.test.y, config.samples
    _, curve = lesions.lesion_curve(net, x, y, scores, config.fractions, samples, memory=config.memory)
    return {"accuracy": curve}


def changed(config: Config, net: nn.Module, task: tasks.Task, variant: str) -> dict[str, Tensor]:
    """Accuracy, energy and information of the network as it is, with all p at their mean or at 1, or shuffled, [R]."""
    other, x, y, (what, _, kept) = net, task.test, task.test.y, variant.partition(", ")
    if what == "p shuffled":
        other = lesions.shuffle_p(net, keep=KEPT[kept])
    elif what != "intact":
        p: Tensor | float = 1.0 if what == "p = 1" else flat_p(net).double().mean(1)
        other = lesions.clamp_p(net, p, p, keep=KEPT[kept])
    return {
        "accuracy": accuracy(other, x, y, samples=config.samples),
        "energy": energy(other),
        "information": mutual_information(other, x, y),
    }


def measure(config: Config, session: Session) -> xarray.Dataset:
    """Train, lesion and change the network."""
    net, task, phase = trained(config, session)
    task = shortened(task, config.images, config.images)
    training = phase.dataset[["failed", "loss"]]
    lesion, change = (partial(made, config, net, task) for made in (lesioned, changed))
    curves = study(session, "lesions", lesion, ("replica", "fraction"), order=config.orders)
    variants = study(session, "variant", change, ("replica",), variant=VARIANTS)
    dataset = variants.assign(lesion_accuracy=curves.accuracy).assign_coords(training.coords)
    dataset = dataset.assign_coords(fraction=list(config.fractions)).where(~training.failed)
    return dataset.assign(training).assign(seconds=curves.seconds).assign_attrs(images=len(task.test))


def rows(config: Config, dataset: xarray.Dataset) -> list[tables.Row]:
    """Accuracy of the lesioned networks, every order against chance, and what other probabilities cost and yield."""
    samples = outcomes.of("lesions", dataset)
    places = {share: f"with {share} of synapses silenced" for share in ("50 %", "90 %")}
    places["mean"] = "on average over all fractions"
    order, variant, both = ("order",), ("variant",), ("order", "other")
    lines = {
        **{lead: Line(order, "{order}", f"accuracy {place}, %") for lead, place in places.items()},
        "accuracy": Line(variant, "{variant}", "accuracy, %"),
        "energy": Line(variant, "{variant}", "synaptic energy Σ|w̄|, strength"),
        "bits": Line(variant, "{variant}", BITS),
    }
    against_chance = {lead: Line(both, "{order} − {other}", f"points {place}") for lead, place in places.items()}
    claim = "above 0: low p first hurts far less (curve not printed)"
    claims: dict[outcomes.Pair, str] = {((lead, "p"), (lead, "random")): claim for lead in places}
    compared = differences("lesions", dataset, against_chance, claims)
    label = f"s: {samples['seconds', 'study'].note} × {config.samples} passes over {dataset.attrs['images']} images"
    return [*told(samples, lines), *compared, tables.row("lesion study", label, samples["seconds", "study"].values)]


EXPERIMENT = Experiment(Config, measure, rows, __doc__)

if __name__ == "__main__":
    EXPERIMENT.main()
