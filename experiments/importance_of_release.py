"""What reliable synapses cost and know: energy, Fisher information and every importance against p (Fig. 4.2a, c, d).

The network is the plastic one of the energy experiment. Its Fisher information is the empirical one (true labels) of
the mean field on the test set, as published; all other importances are measured on `images` of the training set, and
those accumulated along the way (SI, SOS, …) in a second training, which they watch without any influence on it.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
import xarray
from common import flat_p, histograms
from lines import Line, differences, told
from torch import Tensor, nn
from trained import TrainedConfig, learning, remarks, trained, untrained

import synsim
from synsim import importance, meters, outcomes, tables, tasks
from synsim.experiment import Experiment, Protection, Session, option
from synsim.papers.schug2021 import IMPORTANT

Importances = Mapping[str, Tensor]
LEFT_OUT_ALONG = "importances accumulated along the way (--along trains once more and takes them in)"


class Config(TrainedConfig):
    images: int = option(1000, "training images for the importances measured after training")
    along: bool = option(
        False, "train once more, to correlate p with the importances accumulated along the way too", neutral=True
    )


def flat(net: nn.Module, values: Importances) -> dict[str, Tensor]:
    """An importance per weight matrix and over all synapses, each [R, n]."""
    parts = {
        f"matrix {k}": values[f"{name}.weight"].detach().flatten(1)
        for k, name in enumerate(synsim.synapses(net), start=1)
    }
    return {**parts, "all": torch.cat(list(parts.values()), 1)}


def p_of(net: nn.Module) -> dict[str, Tensor]:
    """Release probabilities, laid out like an importance."""
    return flat(net, importance.plain.ReleaseProbability().estimate(net))


def by_group(net: nn.Module, values: Importances) -> Tensor:
    """Mean over the synapses with high and with low p, [group, layer, R]; NaN where there are none."""
    each = list(flat(net, values).values())
    high = [p >= IMPORTANT for p in p_of(net).values()]
    groups = [
        [(value.double() * mask).sum(1) / mask.sum(1) for value, mask in zip(each, masks, strict=True)]
        for masks in (high, [~mask for mask in high])
    ]
    return torch.stack([torch.stack(group) for group in groups]).cpu()


def correlations(net: nn.Module, values: Importances) -> Tensor:
    """Correlation of an importance with p: Pearson's and Spearman's per layer, [R, layer, 2]."""
    pairs = list(zip(p_of(net).values(), flat(net, values).values(), strict=True))
    both = [[meters.sparsity.correlation(*pair, ranks=ranks).cpu() for ranks in (False, True)] for pair in pairs]
    return torch.stack([torch.stack(kinds, -1) for kinds in both], 1)


def measured_after(config: Config, task: tasks.Task) -> Iterator[tuple[str, importance.Importance]]:
    """Every importance that is measured after training, in every reading, as a figure calls it."""
    readings: dict[str, dict[str, dict[str, Any]]] = {
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
    left_out = ("release-probability", "uniform")
    images = min(config.images, len(task.train))
    for kind in importance.available():
        if kind in left_out or importance.make(kind).accumulated:
            continue
        for label, options in readings.get(kind, {"": {}}).items():
            given = {} if kind == "magnitude" else {"images": images, **options}
            yield kind + label, importance.make(kind, **given)


def watched(config: Config, task: tasks.Task, session: Session) -> dict[str, Tensor]:
    """Train once more, watched by every importance that is accumulated: their correlations with p."""
    net, options = untrained(config, task), {"path-integral": {"every": len(task.train) // config.batch}}
    kinds = [kind for kind in importance.available() if importance.make(kind).accumulated]

    def r(net: nn.Module, task: tasks.Task, values: Mapping[str, Importances]) -> Tensor:
        return torch.stack([correlations(net, values[kind]) for kind in kinds], 1)

    watch = {kind: importance.make(kind, **options.get(kind, {})) for kind in kinds}
    phase = session.fit(
        "watched",
        net,
        learning(config, net),
        [task],
        keep=False,
        epochs=config.epochs,
        batch=config.batch,
        test_every_epoch=False,
        protection=Protection(watch=watch, after_task={"r": r}),
    )
    each = phase.dataset.r.isel(task=0).transpose("r_0", "replica", "r_1", "r_2").values
    return dict(zip(kinds, torch.from_numpy(each), strict=True))


def measure(config: Config, session: Session) -> xarray.Dataset:
    """Train, and measure everything in the trained network."""
    net, task, phase = trained(config, session)
    fisher = importance.make("fisher", labels="empirical").estimate(net, task.test, task.test.y)
    size = importance.plain.Magnitude().estimate(net)
    r = {"fisher, empirical, test set": correlations(net, fisher)}
    for label, one in measured_after(config, task):
        r[label] = correlations(net, one.estimate(net, task.train, task.train.y))
    if config.along:
        r |= watched(config, task, session)
    else:
        session.notes["left_out"] = LEFT_OUT_ALONG
    share = torch.stack([(p >= IMPORTANT).double().mean(1) for p in p_of(net).values()]).cpu()
    return phase.dataset.assign(
        p_histogram=histograms(flat_p(untrained(config, task)), flat_p(net)),
        share=(("layer", "replica"), share),
        energy_mean=(("group", "layer", "replica"), by_group(net, size)),
        fisher_mean=(("group", "layer", "replica"), by_group(net, fisher)),
        r=(("importance", "replica", "layer", "kind"), torch.stack(list(r.values()))),
    ).assign_coords(group=["high", "low"], layer=list(p_of(net)), importance=list(r), kind=["Pearson", "Spearman"])


def rows(config: Config, dataset: xarray.Dataset) -> list[tables.Row]:
    """Both groups, their tests, and the correlations with p."""
    samples = outcomes.of("importance_of_release", dataset)
    words = {"high": "p ≥ 0.9", "low": "p < 0.9"}
    lines = {
        "share": Line(("group",), "{group}", "share of the synapses, %", words),
        "spent": Line(("group",), "{group}", "share of the energy Σ|w̄|, %", words),
        "energy of a layer": Line(("layer", "group"), "{group}", "mean |w̄|, {layer}", words),
        "fisher of a layer": Line(("layer", "group"), "{group}", "mean Fisher, {layer}", words),
        "correlation": Line(("importance", "kind"), "{importance}", "correlation with p ({kind})"),
    }
    compared = {
        "energy": Line(("one", "other"), "{one} – {other}", "mean |w̄|, all, difference", words),
        "fisher": Line(("one", "other"), "{one} – {other}", "mean Fisher, all, difference", words),
    }
    published: dict[outcomes.Key, str] = {("share", "high"): "few"}
    published |= {(f"{name} of a layer", "all", "high"): "larger" for name in compared}
    return told(samples, lines, published) + differences("importance_of_release", dataset, compared)


def notes(config: Config, dataset: xarray.Dataset) -> list[str]:
    """What the paper leaves open, and what the run leaves out."""
    return remarks(config, dataset) + ([] if config.along else [f"left out: {LEFT_OUT_ALONG}"])


EXPERIMENT = Experiment(Config, measure, rows, __doc__, notes)

if __name__ == "__main__":
    EXPERIMENT.main()
