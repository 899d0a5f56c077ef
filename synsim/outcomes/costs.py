"""Samples of the runs that ask what a bit costs, and of those that look into the trained network."""

from itertools import product

import scipy
import xarray

from synsim._doors import typed
from synsim.outcomes.measures import at_end, best, bits_per
from synsim.outcomes.sample import Samples, sample
from synsim.papers.schug2021 import DECAY

PARTS = (0.5, 0.9)
"""Shares of silenced synapses at which lesions are compared."""


@typed
def part(dataset: xarray.Dataset, name: str) -> xarray.Dataset | None:
    """A part of an energy run under its usual names.

    Args:
        dataset: record of the run.
        name: of the part, such as "fixed".

    Returns:
        The part; None if the run does not have it.
    """
    lead = f"{name}_"
    found = dataset[[v for v in dataset.data_vars if str(v).startswith(lead)]]
    if not found.data_vars:
        return None
    names = {v: str(v)[len(lead) :] for v in [*found.variables, *found.dims] if str(v).startswith(lead)}
    return found.rename(names)


def energy(dataset: xarray.Dataset) -> Samples:
    """Bits per energy and per activity over the decays, at the best, and the other parts of the run.

    Args:
        dataset: record of an energy run.

    Returns:
        Samples; ratios in 10⁻³ bits per unit.
    """
    found: Samples = {}
    if "model" in dataset.dims:
        end, bits, activity = at_end(dataset), bits_per(dataset), bits_per(dataset, "activity")
        default = dataset.decay.sel(decay=DECAY, method="nearest").item()
        for name in map(str, dataset.model.values):
            one = bits.sel(model=name)
            decay = best(one, "decay")
            found["best", name] = sample(one.sel(decay=decay), f"decay {decay:g}")
            found["best per activity", name] = sample(activity.sel(model=name, decay=decay), f"decay {decay:g}")
            if "accuracy" in dataset:
                correct = end.accuracy.sel(model=name, decay=decay).isel(after_task=0, test_task=0)
                found["best accuracy", name] = sample(100 * correct, f"decay {decay:g}")
            found["cost", name] = sample(end.energy.sel(model=name, decay=default), f"decay {default:g}")
            for decay in dataset.decay.values:
                found["per energy", f"{decay:g}", name] = sample(one.sel(decay=decay))
                found["per activity", f"{decay:g}", name] = sample(activity.sel(model=name, decay=decay))
    return found | _fixed(dataset) | _start(dataset) | _robust(dataset)


def _fixed(dataset: xarray.Dataset) -> Samples:
    found: Samples = {}
    own = part(dataset, "fixed")
    if own is not None:
        bits = bits_per(own)
        for p in own.probability.values:
            rate = best(bits.sel(probability=p), "rate")
            found["fixed release", f"{p:g}"] = sample(bits.sel(probability=p, rate=rate), f"rate {rate:g}")
    return found


def _start(dataset: xarray.Dataset) -> Samples:
    found: Samples = {}
    own = part(dataset, "start")
    if own is not None:
        end = at_end(own)
        for name in own.start.values:
            found["start mean p", str(name)] = sample(end.mean_p.sel(start=name))
            found["start share", str(name)] = sample(100 * end.important_share.sel(start=name))
            found["start bits", str(name)] = sample(bits_per(own).sel(start=name))
    return found


def _robust(dataset: xarray.Dataset) -> Samples:
    found: Samples = {}
    own = part(dataset, "robust")
    if own is not None:
        bits = bits_per(own)
        for name in own.steps.values:
            found["robust", str(name)] = sample(bits.sel(steps=name))
    return found


def sites(dataset: xarray.Dataset) -> Samples:
    """Bits per energy of every network.

    Args:
        dataset: record of a sites run.

    Returns:
        Samples ("bits", model, scope, sites), in 10⁻³ bits per unit.
    """
    bits, found = bits_per(dataset), Samples()
    axes = ("model", "scope", "sites")
    for place in product(*(bits[axis].values for axis in axes)):
        found["bits", *map(str, place)] = sample(bits.sel(dict(zip(axes, place, strict=True))))
    return found


def spiking_energy(dataset: xarray.Dataset) -> Samples:
    """Bits per synaptic energy of every model at its best decay.

    Args:
        dataset: record of a spiking_energy run.

    Returns:
        Samples ("best", model), in 10⁻³ bits per unit.
    """
    names = [str(name) for name in dataset.data_vars if "model" in dataset[name].dims]
    bits, found = bits_per(dataset[names]), Samples()
    for name in map(str, dataset.model.values):
        decay = best(bits.sel(model=name), "decay")
        found["best", name] = sample(bits.sel(model=name, decay=decay), f"decay {decay:g}")
    return found


def lesions(dataset: xarray.Dataset) -> Samples:
    """Accuracy of lesioned networks, on average over the fractions and with a share of the synapses silenced.

    Args:
        dataset: record of a lesions run.

    Returns:
        Samples, in per cent; the seconds of the whole study are one number.
    """
    found: Samples = {}
    curves = 100 * dataset.lesion_accuracy
    for name in map(str, dataset.order.values):
        one = curves.sel(order=name)
        found["mean", name] = sample(one.mean("fraction", skipna=False))
        for share in PARTS:
            if share in dataset.fraction.values:
                found[f"{100 * share:g} %", name] = sample(one.sel(fraction=share))
    for name in map(str, dataset.variant.values) if "variant" in dataset.dims else ():
        one = dataset.sel(variant=name)
        found["accuracy", name], found["energy", name] = sample(100 * one.accuracy), sample(one.energy)
        found["bits", name] = sample(1000 * (one.information / one.energy))
    if "seconds" in dataset:
        parts = (("order", "orders"), ("fraction", "fractions"), ("replica", "seeds"))
        size = " × ".join(f"{dataset.sizes[dim]} {name}" for dim, name in parts)
        found["seconds", "study"] = sample(dataset.seconds.sum(), size)
    return found


def importance_of_release(dataset: xarray.Dataset) -> Samples:
    """Share, energy and Fisher information of synapses with high and low p, and correlations with p.

    Args:
        dataset: record of an importance_of_release run.

    Returns:
        Samples; shares in per cent.
    """
    sound = dataset.where(~dataset.failed)
    share = sound.share.sel(layer="all")
    high, low = (sound.energy_mean.sel(layer="all", group=group) for group in ("high", "low"))
    spent = 100 * share * high / (share * high + (1 - share) * low)
    found: Samples = {("share", "high"): sample(100 * share), ("spent", "high"): sample(spent)}
    for name, group in product(("energy", "fisher"), map(str, dataset.group.values)):
        mean = sound[f"{name}_mean"].sel(group=group)
        found[name, group] = sample(mean.sel(layer="all"))
        for layer in map(str, dataset.layer.values):
            found[f"{name} of a layer", layer, group] = sample(mean.sel(layer=layer))
    fisher = [str(name) for name in dataset.importance.values if str(name).endswith("test set")]
    if fisher:
        found["r", "fisher"] = sample(sound.r.sel(importance=fisher[0], layer="all", kind="Pearson"))
    for name in map(str, dataset.importance.values):
        for kind in map(str, dataset.kind.values):
            found["correlation", name, kind] = sample(sound.r.sel(importance=name, layer="all", kind=kind))
    return found


def neurons(dataset: xarray.Dataset) -> Samples:
    """Kolmogorov-Smirnov tests per side, classes of neurons and correlations of inputs with outputs.

    Args:
        dataset: record of a neurons run.

    Returns:
        Samples; shares in per cent; D and p are medians over the shuffles; "p of r" is that of no correlation.
    """
    sound = dataset.where(~dataset.failed)
    found: Samples = {}
    middle = sound[["ks", "ks_p"]].median("shuffle")
    for side in map(str, dataset.side.values):
        found["D", side] = sample(middle.ks.sel(side=side))
        found["p", side] = sample(middle.ks_p.sel(side=side))
        for kind in map(str, dataset.kind.values):
            one = sound.neuron_class.sel(side=side, kind=kind)
            for name, sign in (("highly", 1), ("lowly", -1)):
                share = 100 * (one == sign).sum("neuron") / one.notnull().sum("neuron")
                found[name, side, kind] = sample(share)
    for name in map(str, dataset.hidden.values):
        r = sound.pearson.sel(hidden=name)
        count = int(dataset.neuron_class.isel(replica=0, kind=0).sel(side=f"{name} inputs").notnull().sum())
        found["r", name] = sample(r)
        if "spearman" in sound:
            found["rho", name] = sample(sound.spearman.sel(hidden=name))
        # What scipy.stats.pearsonr gives for so many pairs.
        t = abs(r) * ((count - 2) / (1 - r**2)) ** 0.5
        found["p of r", name] = sample(xarray.apply_ufunc(scipy.stats.t.sf, t, count - 2) * 2)
    return found
