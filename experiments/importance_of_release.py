"""What reliable synapses cost and know: energy, Fisher information and every importance against p (Fig. 4.2a, c, d).

The network is the plastic one of the energy experiment. Its Fisher information is the empirical one (true labels) of
the mean field on the test set, as published; all other importances are measured on `images` of the training set, and
those accumulated along the way (SI, SOS, …) in a second training, which they watch without any influence on it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray
from common import BINS, finish, flat_p, histogram, run
from torch import Tensor, nn
from trained import TrainedConfig, trained, untrained

import synsim
from synsim import importance, statistics, tables, tasks
from synsim.meters import sparsity
from synsim.papers.schug2021 import ENERGY_CONSTANTS, ENERGY_RATES, IMPORTANT
from synsim.training import History, Protection, Session, fit
from synsim.training.command import option, parse
from synsim.training.session import PhaseStore

WATCHED = "watched"
# Readings of an importance that has several, and how a figure calls them.
READINGS: dict[str, dict[str, dict[str, Any]]] = {
    "fisher": {
        ", exact": {"labels": "exact"},
        ", sampled labels": {"labels": "sampled"},
        ", empirical": {"labels": "empirical"},
        ", empirical, over masks": {"labels": "empirical", "view": "sampled"},
    },
    "mas": {", probabilities": {}, ", logits": {"of": "logits"}},
    "sliced-cramer": {"": {"slices": None}},
}
# They say nothing beside p: p itself, and the same number everywhere.
LEFT_OUT = ("release-probability", "uniform")
LEFT_OUT_ALONG = "importances accumulated along the way (--along trains once more and takes them in)"
GROUPS = ("high", "low")
MEASURED = {"energy": "mean |w̄|", "fisher": "mean Fisher"}


@dataclass(frozen=True, kw_only=True)
class Config(TrainedConfig):
    """Options of this experiment."""

    out: str = option("runs/importance_of_release", "folder of the run")
    images: int = option(1000, "training images for the importances measured after training")
    along: bool = option(
        False, "train once more, to correlate p with the importances accumulated along the way too", neutral=True
    )


def flat(net: nn.Module, found: dict[str, Tensor]) -> dict[str, Tensor]:
    """An importance per weight matrix and over all synapses, each [R, n]."""
    parts = {
        f"matrix {k}": found[f"{name}.weight"].detach().flatten(1)
        for k, name in enumerate(synsim.synapses(net), start=1)
    }
    return {**parts, "all": torch.cat(list(parts.values()), 1)}


def p_of(net: nn.Module) -> dict[str, Tensor]:
    """Release probabilities, laid out like an importance."""
    return flat(net, importance.make("release-probability").estimate(net))


def by_group(net: nn.Module, found: dict[str, Tensor]) -> np.ndarray:
    """Mean over the synapses with high and with low p, [group, layer, R]; NaN where there are none."""
    p, values = p_of(net), flat(net, found)
    high = [p[name] >= IMPORTANT for name in values]
    means = [
        [(value.double() * mask).sum(1) / mask.sum(1) for value, mask in zip(values.values(), masks, strict=True)]
        for masks in (high, [~mask for mask in high])
    ]
    return torch.stack([torch.stack(group) for group in means]).cpu().numpy()


def correlations(net: nn.Module, found: dict[str, Tensor]) -> Tensor:
    """Correlation of an importance with p: Pearson's and Spearman's per layer, [R, layer, 2]."""
    pairs = list(zip(p_of(net).values(), flat(net, found).values(), strict=True))
    found_both = [[sparsity.correlation(*pair, ranks=ranks).cpu() for ranks in (False, True)] for pair in pairs]
    return torch.stack([torch.stack(both, -1) for both in found_both], 1)


def measured_after(config: Config, task: tasks.Task) -> Iterator[tuple[str, importance.Importance]]:
    """Every importance that is measured after training, in every reading."""
    images = min(config.images, len(task.train))
    for kind in importance.available():
        if kind in LEFT_OUT or importance.make(kind).accumulated:
            continue
        for label, options in READINGS.get(kind, {"": {}}).items():
            given = {} if kind == "magnitude" else {"images": images, **options}
            yield kind + label, importance.make(kind, **given)


def watch_training(config: Config, task: tasks.Task, session: Session) -> xarray.DataArray:
    """Train once more, watched by every importance that is accumulated: their correlations with p."""
    steps = len(task.train) // config.batch
    options = {"path-integral": {"every": steps}}
    kinds = [kind for kind in importance.available() if importance.make(kind).accumulated]
    net = untrained(config, task)

    def go(store: PhaseStore) -> History:
        return fit(
            net,
            synsim.PresynapticSGD(net, ENERGY_RATES["plastic"], weight_decay=config.decay, **ENERGY_CONSTANTS),
            [task],
            seeds=config.seeds,
            epochs=config.epochs,
            batch=config.batch,
            test_every_epoch=False,
            protection=Protection(
                watch={kind: importance.make(kind, **options.get(kind, {})) for kind in kinds},
                after_task={
                    "r": lambda net, task, found: torch.stack([correlations(net, found[kind]) for kind in kinds], 1)
                },
            ),
            store=store,
            progress=None if config.quiet else WATCHED,
        )

    found = session.phase(WATCHED, net, go, keep=False).dataset.r.isel(task=0, drop=True)
    return found.rename(r_0="importance", r_1="layer", r_2="kind").assign_coords(importance=kinds).drop_vars("seed")


def measure(config: Config, net: nn.Module, task: tasks.Task) -> xarray.Dataset:
    """Everything that is measured in the trained network."""
    names = list(p_of(net))
    fisher = importance.make("fisher", labels="empirical").estimate(net, task.test, task.test.y)
    size = importance.make("magnitude").estimate(net)
    found = {"fisher, empirical, test set": correlations(net, fisher)}
    for label, one in measured_after(config, task):
        found[label] = correlations(net, one.estimate(net, task.train, task.train.y))
    high = torch.stack([(p >= IMPORTANT).double().mean(1) for p in p_of(net).values()])
    histograms = [histogram(flat_p(one)).numpy() for one in (untrained(config, task), net)]
    return xarray.Dataset(
        {
            "p_histogram": (("when", "replica", "bin"), np.stack(histograms)),
            "share": (("layer", "replica"), high.cpu().numpy()),
            "energy_mean": (("group", "layer", "replica"), by_group(net, size)),
            "fisher_mean": (("group", "layer", "replica"), by_group(net, fisher)),
            "r": (("importance", "replica", "layer", "kind"), torch.stack(list(found.values())).numpy()),
        },
        coords={
            "when": ["before", "after"],
            "bin": ((BINS[1:] + BINS[:-1]) / 2).double().numpy(),
            "group": list(GROUPS),
            "layer": names,
            "importance": list(found),
            "kind": ["Pearson", "Spearman"],
        },
    )


def tests(dataset: xarray.Dataset) -> dict[str, statistics.Comparison | None]:
    """High against low p over seeds, pooled over the layers; None where too few seeds have both groups."""
    found: dict[str, statistics.Comparison | None] = {}
    for name in MEASURED:
        groups = [dataset[f"{name}_mean"].sel(group=group, layer="all").values for group in GROUPS]
        enough = min(np.isfinite(group).sum() for group in groups) > 1
        found[name] = statistics.compare(*groups) if enough else None
    return found


def table(dataset: xarray.Dataset) -> list[tables.Row]:
    """Both groups, their tests, and the correlations with p."""
    sound, rows = dataset.where(~dataset.failed), []
    share = sound.share.sel(layer="all")
    rows.append(tables.row("p ≥ 0.9", "share of the synapses, %", 100 * share.values, "few"))
    high, low = (sound.energy_mean.sel(layer="all", group=group) for group in GROUPS)
    spent = 100 * share * high / (share * high + (1 - share) * low)
    rows.append(tables.row("p ≥ 0.9", "share of the energy Σ|w̄|, %", spent.values))
    compared = tests(sound)
    corrected = statistics.holm([np.nan if one is None else one.p for one in compared.values()])
    for (name, label), p in zip(MEASURED.items(), corrected, strict=True):
        for layer in dataset.layer.values:
            for group, method in zip(GROUPS, ("p ≥ 0.9", "p < 0.9"), strict=True):
                values = sound[f"{name}_mean"].sel(layer=layer, group=group).values
                larger = "larger" if group == "high" and layer == "all" else None
                rows.append(tables.row(method, f"{label}, {layer}", values, larger))
        one = compared[name]
        if one is not None:
            rows.append(tables.row("p ≥ 0.9 – p < 0.9", f"{label}, t test, p (Holm)", [p]))
            rows.append(tables.row("p ≥ 0.9 – p < 0.9", f"{label}, Hedges g", [one.hedges_g]))
    for kind in dataset.kind.values:
        for name in dataset.importance.values:
            values = sound.r.sel(importance=name, layer="all", kind=kind).values
            rows.append(tables.row(name, f"correlation with p ({kind})", values))
    return rows


def experiment(config: Config, session: Session) -> None:
    """Train, measure, print and keep the results."""
    if not config.along:
        session.notes["left_out"] = LEFT_OUT_ALONG
    net, task, phase = trained(config, session)
    found = measure(config, net, task)
    if config.along:
        r = watch_training(config, task, session).assign_coords(layer=found.layer.values, kind=found.kind.values)
        r = r.transpose(*found.r.dims).assign_coords(replica=np.arange(r.sizes["replica"]))
        both = xarray.concat([found.r.assign_coords(replica=r.replica), r], dim="importance")
        found = found.drop_vars(["r", "importance"]).assign(r=both)
    dataset = xarray.merge([phase.dataset, found], combine_attrs="drop_conflicts")
    finish(session, dataset, table(dataset))
    if config.reduced():
        print(f"reduced: {config.reduced()}")
    print(f"weight decay {config.decay:g} (published: not stated for these figures)")
    if not config.along:
        print(f"left out: {LEFT_OUT_ALONG}")


if __name__ == "__main__":
    run(parse(Config, __doc__ or ""), experiment)  # type: ignore[arg-type]
