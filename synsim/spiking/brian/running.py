"""Running the exported network on given spikes: examples and repeats as copies side by side, and as windows in turn."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import pooch
import torch
import xarray
from numpy.typing import ArrayLike
from torch import Tensor

from synsim._checks import array, require, whole
from synsim._doors import typed
from synsim._progress import bar
from synsim.spiking.brian import equations
from synsim.spiking.brian.network import BrianNetwork, build, identifier
from synsim.spiking.brian.plan import Array, Plan
from synsim.spiking.brian.targets import brian2, patience, using
from synsim.spiking.readout import READOUTS

SYNAPSES = 250_000
"""Synapses of all copies together; more copies make fewer steps, but leave the cache."""

LAST_SEED = 2**32 - 1
"""The largest seed that NumPy's generator, from which Brian2 draws, can be given."""


@dataclass(frozen=True)
class Run:
    """What a run leaves behind: axes repeat, image, time (ms, start of the step) and neuron.

    Attributes:
        spikes: population that fires -> whether a neuron fired in a step.
        membranes: population -> v at the end of each step.
        releases: layer -> sites released in a step at the synapses of a postsynaptic neuron; only layers that draw.
        logits: [repeat, image, class].
    """

    spikes: dict[str, xarray.DataArray]
    membranes: dict[str, xarray.DataArray]
    releases: dict[str, xarray.DataArray]
    logits: xarray.DataArray


@typed
def run(
    there: BrianNetwork,
    spikes: Tensor | ArrayLike,
    *,
    repeats: int = 1,
    seed: int = 0,
    copies: int | None = None,
    progress: bool = True,
    record_spikes: Sequence[str] | None = None,
    record_membranes: Sequence[str] | None = None,
    record_releases: Sequence[str] | None = None,
    directory: str | Path | None = None,
) -> Run:
    """Run the network on given spikes; every example starts from rest.

    A twin of the network is built with the present w and p, so that the objects of `there` keep their state, and the
    same seed gives the same numbers again. On NumPy and Cython these also depend on `copies`.

    Args:
        there: from `to_brian2`.
        spikes: 0 or 1, [T, B, I]; `net.encode(images)` makes them.
        repeats: how often every example is shown, with releases of its own.
        seed: of the releases.
        copies: networks side by side; None: as many as are fast.
        progress: whether to show it, and a line where a program has to be compiled first.
        record_spikes: populations whose spikes are kept; None: all that fire.
        record_membranes: populations whose membranes are kept; None: all.
        record_releases: layers whose releases are kept; None: all that draw.
        directory: of the C++ project of the target "cpp_standalone"; None: one in the cache of this package, in which
            compiled code is found again.

    Returns:
        Spikes, membranes, releases and logits.

    Raises:
        ValueError: if the spikes do not fit, or an argument does not.
    """
    plan = there.present()
    given = _checked(plan, spikes)
    steps, images, _ = given.shape
    jobs = whole(repeats, "repeats") * images
    seed = whole(seed, "seed", 0)
    require(seed <= LAST_SEED, f"seed must be below 2**32, got {seed}.")
    if copies is None:
        copies = max(1, SYNAPSES // max(1, sum(one.p.size for one in plan.projections)))
    copies = min(whole(copies, "copies"), jobs)
    windows = -(-jobs // copies)
    firing = [one.name for one in plan.populations if one.threshold is not None]
    drawing = [one.name for one in plan.projections if one.draws]
    last = plan.populations[-1].name
    kept = _Kept(
        _chosen(record_spikes, firing, "record_spikes"),
        _chosen(record_membranes, [one.name for one in plan.populations[1:]], "record_membranes"),
        _chosen(record_releases, drawing, "record_releases"),
    )
    needed = kept.with_output(last, spikes=last in firing)
    size = (copies, windows, steps, needed)
    with (
        _folder(there.target, directory, plan, size) as folder,
        patience(there.target, folder, shown=progress) as begin,
        using(there.target, folder) as engine,
    ):
        made = build(engine, plan, copies=copies, window=steps * plan.dt)
        index, times = _events(given, jobs, copies)
        made.input.set_spikes(index, times * (plan.dt * engine.ms), sorted=True)
        monitors = _monitors(engine, made, needed)
        made.network.add(*(one for each in monitors.values() for one in each.values()))
        engine.seed(seed)
        _run(engine, made, windows * steps * plan.dt, there.target, progress, begin)
        shape = _Shape(repeats, images, copies, windows, steps, plan.dt)
        found = _collected(plan, monitors, shape)
    read = found["spikes" if last in firing else "membranes"][last]
    series = torch.from_numpy(read.transpose("time", "repeat", "image", "neuron").values.astype(np.float64))
    logits = READOUTS[plan.readout](series.flatten(1, 2)) * plan.gain
    labelled = xarray.DataArray(logits.reshape(repeats, images, -1).numpy(), dims=("repeat", "image", "class"))
    return Run(
        {name: found["spikes"][name] for name in kept.spikes},
        {name: found["membranes"][name] for name in kept.membranes},
        {name: found["releases"][name] for name in kept.releases},
        labelled,
    )


@dataclass(frozen=True)
class _Kept:
    spikes: tuple[str, ...]
    membranes: tuple[str, ...]
    releases: tuple[str, ...]

    def with_output(self, last: str, *, spikes: bool) -> "_Kept":
        more = (self.spikes if spikes else self.membranes) + (last,)
        chosen = tuple(dict.fromkeys(more))
        return _Kept(chosen, self.membranes, self.releases) if spikes else _Kept(self.spikes, chosen, self.releases)


@dataclass(frozen=True)
class _Shape:
    repeats: int
    images: int
    copies: int
    windows: int
    steps: int
    dt: float

    def labelled(self, values: Array, unit: str) -> xarray.DataArray:
        # [copies · n, windows · steps] -> [repeat, image, time, neuron].
        laid = values.reshape(self.copies, -1, self.windows, self.steps).transpose(2, 0, 3, 1)
        laid = laid.reshape(self.windows * self.copies, self.steps, -1)[: self.repeats * self.images]
        return xarray.DataArray(
            laid.reshape(self.repeats, self.images, self.steps, -1),
            dims=("repeat", "image", "time", "neuron"),
            coords={"time": ("time", self.dt * np.arange(self.steps), {"units": "ms"})},
            attrs={"units": unit},
        )


def _checked(plan: Plan, spikes: Tensor | ArrayLike) -> Array:
    given = array(spikes, "spikes")
    width = plan.populations[0].size
    require(
        given.ndim == 3 and given.shape[-1] == width and given.size > 0,
        f"spikes must be [T, B, {width}], with time before the examples, got {list(given.shape)}. "
        "Of a network with replicas give the spikes of one.",
    )
    require(
        plan.steps is None or given.shape[0] == plan.steps or given.shape[1] != plan.steps,
        f"spikes must have time before the examples; {list(given.shape)} looks like examples before the {plan.steps} "
        "steps of this network's encoder. Transpose them.",
    )
    binary = bool(((given == 0) | (given == 1)).all())
    require(
        binary, "spikes must be 0 or 1, got other values. Encode images with net.encode(x) outside of expected(net)."
    )
    return given


def _chosen(given: Sequence[str] | None, there: Sequence[str], what: str) -> tuple[str, ...]:
    if given is None:
        return tuple(there)
    unknown = [name for name in given if name not in there]
    require(not unknown, f"{what} must be of {', '.join(there) or 'none'}, got {', '.join(unknown)}.")
    return tuple(given)


def _events(given: Array, jobs: int, copies: int) -> tuple[Array, Array]:
    # Neuron and step of every input spike of all windows, in the order of time.
    steps, images, width = given.shape
    at, image, neuron = (axis.astype(np.int64) for axis in np.nonzero(given))
    rounds = np.arange(-(-jobs // images)).reshape(-1, 1)
    job = (rounds * images + image).ravel()
    step = (job // copies) * steps + np.tile(at, rounds.size)
    index = (job % copies) * width + np.tile(neuron, rounds.size)
    order = np.lexsort((index, step))
    return index[order].astype(np.int32), step[order]


def _monitors(engine: Any, made: BrianNetwork, kept: _Kept) -> dict[str, dict[str, Any]]:
    named = {one.name: one for one in made.plan.projections}

    def state(population: str, variable: str) -> Any:
        group = made.populations[population]
        name = f"{variable}_of_{identifier(population)}"
        return engine.StateMonitor(group, variable, record=True, when="end", dt=made.plan.dt * engine.ms, name=name)

    return {
        "spikes": {
            name: engine.SpikeMonitor(made.populations[name], name=f"spikes_of_{identifier(name)}")
            for name in kept.spikes
        },
        "membranes": {name: state(name, "v") for name in kept.membranes},
        "releases": {name: state(named[name].target, named[name].counter) for name in kept.releases},
    }


def _run(
    engine: Any, made: BrianNetwork, duration: float, target: str, progress: bool, begin: Callable[[], None]
) -> None:
    if target == "cpp_standalone":
        made.network.run(duration * engine.ms, report="text" if progress else None)
        return
    with bar(total=100, desc="Brian2", unit="%", shown=progress, leave=False) as shown:

        def report(elapsed: Any, completed: float, start: Any, whole: Any) -> None:
            begin()
            shown.update(round(100 * completed, 1) - shown.n)

        made.network.run(duration * engine.ms, report=report if progress else None, report_period=engine.second)


def _collected(
    plan: Plan, monitors: dict[str, dict[str, Any]], shape: _Shape
) -> dict[str, dict[str, xarray.DataArray]]:
    sizes, counters = (
        {one.name: one.size for one in plan.populations},
        {one.name: one.counter for one in plan.projections},
    )
    found: dict[str, dict[str, xarray.DataArray]] = {"spikes": {}, "membranes": {}, "releases": {}}
    for name, monitor in monitors["spikes"].items():
        fired = np.zeros((shape.copies * sizes[name], shape.windows * shape.steps), dtype=bool)
        step = np.rint(np.asarray(monitor.t) * 1000 / shape.dt).astype(np.int64)
        fired[np.asarray(monitor.i), step] = True
        found["spikes"][name] = shape.labelled(fired, "1")
    for name, monitor in monitors["membranes"].items():
        found["membranes"][name] = shape.labelled(np.asarray(monitor.v), "1")
    for name, monitor in monitors["releases"].items():
        so_far = shape.labelled(np.asarray(getattr(monitor, counters[name])), "sites")
        first = so_far.isel(time=slice(0, 1))
        each = np.concatenate([first.values, np.diff(so_far.values, axis=2)], axis=2)
        found["releases"][name] = so_far.copy(data=np.rint(each).astype(np.int32))
    return found


@contextmanager
def _folder(target: str, given: str | Path | None, plan: Plan, size: object) -> Iterator[Path | None]:
    # The C++ project: one folder per program, so that its compiled code is found again. Another process may be using
    # it; then a folder of our own serves.
    if target != "cpp_standalone":
        yield None
        return
    if given is not None:
        yield Path(given)
        return
    base = Path(pooch.os_cache("synsim")) / "brian2" / _program(plan, size)
    base.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(f"{base}.lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)
        return
    try:
        yield base
    finally:
        lock.release()


def _program(plan: Plan, size: object) -> str:
    texts: list[object] = [brian2().__version__, plan.populations, plan.short_term, plan.dt, size]
    for one in plan.projections:
        texts += [
            one.source,
            one.target,
            one.p.shape,
            equations.synapses(one, None),
            equations.on_spike(one, plan.short_term),
        ]
        texts.append(one.bias is None)
    return blake2b(repr(texts).encode(), digest_size=8).hexdigest()
