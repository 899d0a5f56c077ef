"""Two simulators of one network held against each other: z, Hotelling's T², and the rows of the table."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray
from scipy import stats

from synsim import tables

WORLDS = ("torch", "Brian2")
BOTH = ("world", "replica")
AXES = {
    "readout": (*BOTH, "repeat", "image", "class"),
    "releases": (*BOTH, "repeat", "layer", "image"),
    "membrane": (*BOTH, "repeat", "time", "class"),
    "raster": (*BOTH, "time", "neuron"),
    "mean_readout": (*BOTH, "image", "class"),
    "mean_spikes": (*BOTH, "image", "time", "neuron"),
    "mean_membrane": (*BOTH, "image", "time", "class"),
    "releases_mean": ("replica", "image"),
    "releases_variance": ("replica", "image"),
    "input_raster": ("replica", "time", "input"),
    "label": ("image",),
}
LIMIT = 3.0
KEPT = 0.0027
"""Level of Hotelling's test, that of three standard errors."""
ROUNDING = 1e-9
"""Readouts and their differences up to this are sums in another order, not releases."""
Array = np.ndarray[Any, Any]


def labelled(arrays: Mapping[str, Array], layers: Sequence[str], dt: float) -> xarray.Dataset:
    """What both worlds have made, with names of the axes; dt is the time step in ms."""
    dataset = xarray.Dataset({name: (AXES[name], values) for name, values in arrays.items()})
    time = "time", dt * np.arange(dataset.sizes["time"]), {"units": "ms"}
    return dataset.assign_coords(world=list(WORLDS), layer=list(layers), time=time)


def tested(dataset: xarray.Dataset) -> xarray.Dataset:
    """Adds z of the readouts and releases, z of the releases against the closed form, and p of Hotelling's test."""
    dataset["winner"] = dataset.mean_readout.sel(world="torch").argmax("class")
    dataset["z"] = standardised(dataset.readout)
    dataset["z_releases"] = standardised(dataset.releases)
    first = dataset.releases.isel(layer=0, drop=True)
    off = np.sqrt(dataset.releases_variance / dataset.sizes["repeat"])
    dataset["z_closed_form"] = (first.mean("repeat") - dataset.releases_mean) / off
    series = dataset.readout.transpose("replica", "image", "world", "repeat", "class").values
    dataset["hotelling_p"] = (("replica", "image"), hotelling(series[:, :, 0], series[:, :, 1]))
    return dataset


def standardised(values: xarray.DataArray) -> xarray.DataArray:
    """Difference of the means over repeats in units of its standard error; 0 where there is no difference at all."""
    mean, n = values.mean("repeat"), values.sizes["repeat"]
    error = np.sqrt(values.var("repeat", ddof=1).sum("world") / n)
    difference = mean.sel(world="torch", drop=True) - mean.sel(world="Brian2", drop=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        return (difference / error).where(~(abs(difference) <= ROUNDING), 0.0)


def hotelling(a: Array, b: Array) -> Array:
    """P values of Hotelling's T² for equal mean vectors; a and b are [..., repeat, class].

    Classes without variance have nothing to test: they must be equal, and are left out of T² and of its k.
    """
    n = a.shape[-2]
    difference = a.mean(-2) - b.mean(-2)
    spread = sum(np.einsum("...rc,...rd->...cd", c, c) for c in (one - one.mean(-2, keepdims=True) for one in (a, b)))
    spread = spread / (2 * n - 2)
    varies = np.diagonal(spread, axis1=-2, axis2=-1) > ROUNDING**2
    spread = np.where(varies[..., None] & varies[..., None, :], spread, 0.0)
    # Two classes may vary only together: T² is then of fewer numbers than classes.
    k = np.linalg.matrix_rank(spread, hermitian=True, rtol=1e-12)
    inverse = np.linalg.pinv(spread, hermitian=True, rcond=1e-12)
    t2 = n / 2 * np.einsum("...c,...cd,...d->...", difference, inverse, difference)
    some = np.maximum(k, 1)
    p = stats.f.sf(t2 * (2 * n - 1 - k) / (some * (2 * n - 2)), some, 2 * n - 1 - k)
    apart = ((abs(difference) > ROUNDING) & ~varies).any(-1)
    found: Array = np.where(apart, 0.0, np.where(k == 0, 1.0, p))
    return found


def share(values: xarray.DataArray) -> Array:
    """How much of it is true, in percent, per replica."""
    found: Array = 100 * values.mean([axis for axis in values.dims if axis != "replica"]).values
    return found


def table(dataset: xarray.Dataset) -> list[tables.Row]:
    """What each of the two worlds finds, and how they agree."""
    first = str(dataset.layer.values[0])
    rows = []
    for world in WORLDS:
        one = dataset.sel(world=world)
        found = {
            "accuracy, expected strengths, %": share(one.mean_readout.argmax("class") == dataset.label),
            "accuracy, release per spike, %": share(one.readout.argmax("class") == dataset.label),
        }
        for layer in dataset.layer.values:
            counts = one.releases.sel(layer=layer).mean(("repeat", "image"))
            found[f"sites released per image, {layer}"] = counts.values
        known = one.releases.isel(layer=0).var("repeat", ddof=1) / one.releases_variance
        found[f"mean sites within 3 s.e. of the closed form, {first}, % of images"] = share(within(one.z_closed_form))
        found[f"variance of sites over that of the closed form, {first}"] = known.mean("image").values
        rows += [tables.row(world, metric, values) for metric, values in found.items()]
    known = dataset.releases_mean.mean("image").values
    rows.append(tables.row("closed form", f"sites released per image, {first}", known))
    return rows + agreement(dataset)


def within(z: xarray.DataArray) -> xarray.DataArray:
    """Whether a difference is of three standard errors at most."""
    return abs(z) <= LIMIT


def agreement(dataset: xarray.Dataset) -> list[tables.Row]:
    """The rows that compare the two worlds."""
    here, there = (dataset.sel(world=world, drop=True) for world in WORLDS)
    winning, n = dataset.z.isel({"class": dataset.winner}), dataset.sizes["repeat"]
    # Where nothing is drawn that the winner feels, there is nothing to test; such images count as equal above.
    size = np.sqrt((winning**2).where(winning != 0).mean("image"))
    off = abs(here.mean_membrane - there.mean_membrane).max(("image", "time", "class"))
    same = here.mean_readout.argmax("class") == there.mean_readout.argmax("class")
    found = {
        "expected strengths: same prediction, % of images": share(same),
        "expected strengths: same spike train, % of images × neurons": share(
            (here.mean_spikes == there.mean_spikes).all("time")
        ),
        "expected strengths: largest difference of an output membrane": off.values,
        "release per spike: mean readout of the winner within 3 s.e., % of images": share(within(winning)),
        "release per spike: mean readout within 3 s.e., % of images × classes": share(within(dataset.z)),
        "release per spike: root mean square z of the winner, 1 if equal": size.values,
        f"release per spike: all classes, T² not beyond {100 * KEPT:.2g} %, % of images": share(
            dataset.hotelling_p > KEPT
        ),
        "release per spike: mean sites released within 3 s.e., % of images × layers": share(within(dataset.z_releases)),
    }
    chance = np.full(dataset.sizes["replica"], 100 * (1 - 2 * stats.t.sf(LIMIT, 2 * n - 2)))
    rows = [tables.row("agreement", metric, values) for metric, values in found.items()]
    return [*rows, tables.row("by chance", "within 3 s.e. were both the same (Student's t), %", chance)]
