"""Bits per unit of energy of rate networks against spiking ones, with plastic, deterministic and fixed release.

The paper's networks are rate-based. Here a rate network and a leaky integrate-and-fire one of the same widths learn the
same images (pixels from 0 to 1) by the same rule, the spiking one by back-propagation through time or by a local
three-factor rule (--rules). Weight decays and seeds are replicas of one program per model. None of this is published.

Energy is the synaptic one (Σ|w̄|), or ATP per image. For the rate network an activity of 1 is as many spikes n as a
pixel of 1 becomes in the spiking one, each with 1 / n of the strength. Of spike trains (--data spikes.npz) the rate
network learns the counts: n is the largest one of a neuron in a training example.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
import xarray
from common import PresetConfig, Presets, combine, finish, load, mean_p, run
from spiking_common import NETWORK, entrance, sliced
from torch import Tensor, nn

import synsim
from synsim import statistics, tables, tasks
from synsim.data import Dataset
from synsim.meters import atp_of_events, energy, mutual_information, transmission
from synsim.networks import initialised
from synsim.papers.schug2021 import ENERGY_CONSTANTS, ENERGY_INITIAL, ENERGY_RATES
from synsim.spiking import SpikingMLP, events, spikes_per_neuron, spiking_mlp
from synsim.spiking.local import LocalMLP, random_feedback
from synsim.synapses import evaluation
from synsim.training import History, Session, fit
from synsim.training.command import option, parse
from synsim.training.session import PhaseStore

NETWORKS = ("rate", "spiking")
METHODS = ("plastic", "deterministic", "fixed")
RULES = ("backprop", "local")
RATES = {"rate": ENERGY_RATES["plastic"], "spiking": 0.03}
FEEDBACK = 3.0
TERMS = ("spikes", "release", "reversal")
PERCENT, GIGA, MILLI = 100.0, 1e-9, 1000.0


@dataclass(frozen=True, kw_only=True)
class Config(PresetConfig):
    """Options of this experiment."""

    PRESETS: ClassVar[Presets] = {
        "quick": {"epochs": 3, "decays": (0.0, 0.01), "hidden": (100,), "window": 25.0, "images": 20000,
                  "tested": 2000, "samples": 1, "rules": RULES},
        "full": {"epochs": 10, "decays": (0.0, 0.001, 0.005, 0.01, 0.05), "hidden": (200,), "window": 50.0,
                 "images": 60000, "tested": 10000, "samples": 10, "rules": RULES},
    }  # fmt: skip
    preset: str = option("quick", "quick: minutes on one core; full: all images, wider, longer", ("quick", "full"))
    out: str = option("runs/spiking-energy", "folder of the run")
    networks: tuple[str, ...] = option(NETWORKS, "kinds of network", NETWORKS)
    methods: tuple[str, ...] = option(METHODS, "what releases do", METHODS, neutral=True)
    rules: tuple[str, ...] = option((), "how the spiking network assigns credit (default: from the preset)", RULES)
    decays: tuple[float, ...] = option((), "weight decays (default: from the preset)")
    hidden: tuple[int, ...] = option((), "widths of the hidden layers (default: from the preset)")
    window: float | None = option(
        None, "how long an image is shown, ms (default: from the preset; spike trains have their own)"
    )
    learning_rate: float | None = option(
        None, "learning rate of all networks (default: 0.05 for rates, 0.03 for spikes)"
    )
    dt: float = option(1.0, "time step, ms (spike trains have their own)")
    rate: float = option(100.0, "Poisson rate of a pixel of 1, Hz")
    scope: str = option("batch", "release of the spiking network: per pass, example or spike",
                        ("batch", "sample", "event"))  # fmt: skip
    feedback: float = option(FEEDBACK, "scale of the fixed random feedback of the local rule")
    images: int | None = option(None, "training images, the first ones (default: from the preset)")
    tested: int | None = option(None, "test images, the first ones (default: from the preset)")
    samples: int | None = option(None, "stochastic passes per test (default: from the preset)")
    shown: int = option(0, "test image whose spikes are kept for the figure")
    batch: int = option(100, "examples per step")


@dataclass(frozen=True)
class Model:
    """One program: a kind of network, what its releases do, and how credit is assigned.

    Attributes:
        network: "rate" or "spiking".
        method: "plastic", "deterministic" or "fixed".
        rule: "backprop" or "local".
    """

    network: str
    method: str
    rule: str = "backprop"

    @property
    def name(self) -> str:
        """What it is called in tables and records."""
        return f"{self.network} {self.method}" + (", local" if self.rule == "local" else "")


@dataclass(frozen=True)
class Shown:
    """The data as the networks see them.

    Attributes:
        data: the data set.
        task: for spiking networks; and for rate networks, where the data are images.
        rates: for rate networks.
        spikes: n, the spikes that an activity of 1 of a rate network stands for.
    """

    data: Dataset
    task: tasks.Task
    rates: tasks.Task
    spikes: float


@dataclass(frozen=True)
class Named:
    """What `combine` asks of a phase."""

    name: str
    dataset: xarray.Dataset


def models(config: Config) -> list[Model]:
    """The programs of a run."""
    found = [Model("rate", method) for method in config.methods if "rate" in config.networks]
    rules = config.rules if "spiking" in config.networks else ()
    return found + [Model("spiking", method, rule) for rule in rules for method in config.methods]


def show(config: Config) -> Shown:
    """The data, and the tasks made of them."""
    data = sliced(load(config, spikes=True), config.images, config.tested)
    (task,) = tasks.single(data, pixels="unit", device=config.device)
    if data.dt is None:
        return Shown(data, task, task, config.rate * (config.window or 0.0) / 1000)
    most = data.x_train.sum(1, dtype=torch.float32).max()

    def counts(part: tasks.Examples) -> tasks.Examples:
        return replace(part, images=part.images.sum(1, dtype=torch.float32), scale=most)

    rates = replace(task, train=counts(task.train), test=counts(task.test))
    return Shown(data, task, rates, float(most))


def network(config: Config, model: Model, seen: Shown) -> nn.Module:
    """One replica per decay and seed."""
    widths = [*config.hidden, seen.data.classes]
    seeds = config.seeds * len(config.decays)
    shared = {"p": ENERGY_INITIAL[model.method], "replicas": len(seeds), "device": config.device}
    if model.network == "rate":
        pixels = seen.rates.train[0:1].shape[-1]
        return initialised(synsim.mlp([pixels, *widths], **shared), seeds, sweep=True)
    assert config.window is not None
    inputs, timed = entrance(seen.data, config.window, config.dt, config.rate, len(seeds))
    net = spiking_mlp([inputs, *widths], **shared, **timed, scope=config.scope, **NETWORK)
    initialised(net, seeds, sweep=True)
    return LocalMLP(net, random_feedback(net, config.feedback)) if model.rule == "local" else net


def train(config: Config, model: Model, seen: Shown, session: Session) -> tuple[xarray.Dataset, nn.Module]:
    """Train one program; its measurements over decay and seed, and the trained network."""
    net = network(config, model, seen)
    task = seen.rates if model.network == "rate" else seen.task
    decays = torch.tensor(config.decays, dtype=torch.float64).repeat_interleave(len(config.seeds))
    plastic = model.method == "plastic"
    rate = RATES[model.network] if config.learning_rate is None else config.learning_rate
    rule = synsim.PresynapticSGD(net, rate, plastic=plastic, weight_decay=decays, **ENERGY_CONSTANTS)

    def go(store: PhaseStore) -> History:
        return fit(
            net,
            rule,
            [task],
            seeds=config.seeds * len(config.decays),
            epochs=config.epochs,
            batch=config.batch,
            samples=config.samples or 1,
            test_every_epoch=False,
            probes={"energy": lambda net, task: energy(net), "mean_p": mean_p},
            store=store,
            progress=None if config.quiet else model.name,
        )

    found = session.phase(model.name, net, go).dataset
    for name, value in measured(net, task, seen.spikes).items():
        found[name] = ("replica", value.cpu().double().numpy())
    index = np.arange(len(config.decays)).repeat(len(config.seeds))
    laid = found.drop_vars(["replica", "seed"]).assign_coords(
        decay=("replica", index), run=("replica", np.tile(config.seeds, len(config.decays)))
    )
    shaped = laid.set_index(replica=["decay", "run"]).unstack("replica").rename(run="seed")
    return shaped.assign_coords(decay=list(config.decays)), net


def measured(net: nn.Module, task: tasks.Task, n: float) -> dict[str, Tensor]:
    """Information, events and ATP per image of the trained network, [R] each."""
    x = task.test
    found = {"information": mutual_information(net, x, x.y)}
    if isinstance(net, SpikingMLP):
        counted = events(net, x)
        per_neuron = spikes_per_neuron(net, x)
        hidden = sum(per_neuron[name].sum(-1) for name in net.populations()[1:-1])
    else:
        # The same input code: an activity of 1 is n spikes, of which each brings 1 / n of the strength.
        sent = transmission(net, x, samples=1)
        counted = (n * sent.spikes, n * sent.vesicles, sent.strength)
        hidden = n * energy(net, "activity", x=x, samples=1)
    atp = atp_of_events(*counted)
    found.update({"hidden_spikes": hidden, "spikes": counted[0], "vesicles": counted[1], "released": counted[2]})
    return found | {f"atp_{term}": value for term, value in atp.items()}


def atp(dataset: xarray.Dataset) -> xarray.DataArray:
    """ATP per image."""
    return sum((dataset[f"atp_{term}"] for term in TERMS[1:]), dataset[f"atp_{TERMS[0]}"])


def columns(dataset: xarray.Dataset) -> dict[str, xarray.DataArray]:
    """What the table shows, over model, decay and seed, by metric; NaN for replicas that failed."""
    last = dataset.isel(epoch=-1, task=0).where(~dataset.failed)
    accuracy = dataset.accuracy.isel(after_task=0, test_task=0).where(~dataset.failed)
    found = {
        "10⁻³ bits per energy": MILLI * last.information / last.energy,
        "bits per 10⁹ ATP": last.information / (GIGA * atp(last)),
        "accuracy, %": PERCENT * accuracy,
        "information, bits": last.information,
        "synaptic energy Σ|w̄|": last.energy,
        "hidden spikes per image": last.hidden_spikes,
        "vesicles per image": last.vesicles,
        "released strength per image": last.released,
    }
    return found | {f"10⁹ ATP per image, {term}": GIGA * last[f"atp_{term}"] for term in TERMS}


def table(config: Config, dataset: xarray.Dataset) -> list[tables.Row]:
    """Bits per energy of every model and decay; everything else at each model's best decay, and tests."""
    found, rows, best = columns(dataset), [], {}
    first = next(iter(found))
    names = [str(name) for name in dataset.model.values]
    for name in names:
        means = found[first].sel(model=name).mean("seed")
        best[name] = float(means.idxmax("decay"))
        for decay in config.decays:
            marked = " (best)" if decay == best[name] else ""
            rows.append(tables.row(name, f"{first}, decay {decay:g}{marked}",
                                   found[first].sel(model=name, decay=decay).values))  # fmt: skip
    for name in names:
        for metric, values in list(found.items())[1:]:
            shown = f"{metric}, decay {best[name]:g}"
            rows.append(tables.row(name, shown, values.sel(model=name, decay=best[name]).values))
    for name in names:
        top = found["accuracy, %"].sel(model=name)
        decay = float(top.mean("seed").idxmax("decay"))
        rows.append(tables.row(name, f"best accuracy, %, decay {decay:g}", top.sel(decay=decay).values))
    return rows + tests(config, found[first], best)


def tests(config: Config, bits: xarray.DataArray, best: dict[str, float]) -> list[tables.Row]:
    """Two-sample t-tests of plastic release against the others of the same kind of network, in bits per energy."""
    samples = {name: bits.sel(model=name, decay=decay).values for name, decay in best.items()}
    pairs = []
    for model in models(config):
        ours = Model(model.network, "plastic", model.rule).name
        if model.method != "plastic" and ours in samples:
            pairs.append((ours, model.name))
    pairs = [pair for pair in pairs if all(np.isfinite(samples[name]).sum() > 1 for name in pair)]
    found = [statistics.compare(samples[a], samples[b]) for a, b in pairs]
    corrected = statistics.holm([one.p for one in found])
    return [
        tables.row(f"{a} − {b}", f"10⁻³ bits per energy; t = {one.t:.2f}, p = {one.p:.2g} (Holm: {holm:.2g}), "
                   f"Hedges g = {one.hedges_g:.1f}", samples[a] - samples[b])
        for (a, b), one, holm in zip(pairs, found, corrected, strict=True)
    ]  # fmt: skip


def raster(config: Config, net: SpikingMLP, task: tasks.Task, replica: int) -> xarray.Dataset:
    """Spikes and membranes of one network that sees one test image."""
    if not 0 <= config.shown < len(task.test):
        raise ValueError(f"--shown must be below the {len(task.test)} test images, got {config.shown}.")
    with torch.no_grad(), evaluation(net) as passes:
        passes.at(0, 0, config.shown)
        record = net.run(net.encode(task.test[config.shown : config.shown + 1]))

    def one(tensor: Tensor) -> np.ndarray:
        return (tensor[replica] if tensor.ndim == 4 else tensor)[:, 0].cpu().numpy()

    spikes, image = one(record.spikes["input"]), task.test[config.shown : config.shown + 1][0].cpu().numpy()
    found = xarray.Dataset(
        {
            # Of a spike train, the share of the steps in which each neuron fires.
            "raster_image": ("pixel", image if image.size == spikes.shape[1] else spikes.mean(0)),
            "raster_input": (("time", "pixel"), spikes.astype(np.uint8)),
            "raster_output": (("time", "class"), one(record.membranes["output"])),
        },
        coords={"time": net.dt * np.arange(record.spikes["input"].shape[-3])},
        attrs={"raster_label": int(task.test.y[config.shown]), "raster_threshold": net.neurons.threshold},
    )
    for name in net.populations()[1:-1]:
        short = name.replace("hidden ", "hidden_")
        found[f"raster_{short}"] = (("time", f"neuron_{short}"), one(record.spikes[name]).astype(np.uint8))
        found[f"membrane_{short}"] = (("time", f"neuron_{short}"), one(record.membranes[name]))
    return found


def measure(config: Config, session: Session) -> tuple[xarray.Dataset, list[tables.Row]]:
    """Train and measure all models; the record and the rows of the table."""
    seen = show(config)
    phases, shown = [], None
    for model in models(config):
        found, net = train(config, model, seen, session)
        phases.append(Named(model.name, found))
        if isinstance(net, SpikingMLP) and shown is None:
            bits = (found.information / found.energy.isel(epoch=-1, task=0)).mean("seed")
            best = config.decays.index(float(bits.idxmax("decay")))
            shown = raster(config, net, seen.task, best * len(config.seeds)).assign_attrs(raster_model=model.name)
    dataset = combine(phases)
    rows = table(config, dataset)
    return (dataset if shown is None else xarray.merge([dataset, shown], combine_attrs="no_conflicts")), rows


def experiment(config: Config, session: Session) -> None:
    """Run all models, print and keep the results."""
    finish(session, *measure(config, session))
    if config.reduced():
        print(f"reduced: {config.reduced()}")


if __name__ == "__main__":
    run(parse(Config, __doc__ or ""), experiment)  # type: ignore[arg-type]
