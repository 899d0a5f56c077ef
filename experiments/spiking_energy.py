"""Bits per unit of energy of rate networks against spiking ones, with plastic, deterministic and fixed release.

The paper's networks are rate-based. Here a rate network and a leaky integrate-and-fire one of the same widths learn the
same images (pixels from 0 to 1) by the same rule, the spiking one by back-propagation through time or by a local
three-factor rule (--rules). Weight decays and seeds are replicas of one program per model. None of this is published.

Energy is the synaptic one (Σ|w̄|), or ATP per image. For the rate network an activity of 1 is as many spikes n as a
pixel of 1 becomes in the spiking one, each with 1 / n of the strength. Of spike trains (--data spikes.npz) the rate
network learns the counts: n is the largest one of a neuron in a training example.
"""

from dataclasses import replace
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import torch
import xarray
from common import models, probes, with_measured
from lines import BITS, Line, differences
from spiking_common import NETWORK, SpikingConfig, entrance, images_or_spikes, sliced
from torch import Tensor, nn

import synsim
from synsim import meters, outcomes, tables, tasks
from synsim.experiment import Experiment, Session, by_preset, option
from synsim.papers.schug2021 import ENERGY_CONSTANTS, ENERGY_INITIAL, ENERGY_RATES
from synsim.spiking import SpikingMLP, events, local, spikes_per_neuron, spiking_mlp
from synsim.synapses import evaluation

METHODS = ("plastic", "deterministic", "fixed")
RULES = ("backprop", "local")
RATES = {"rate": ENERGY_RATES["plastic"], "spiking": 0.03}


class Config(SpikingConfig):
    epochs: int = by_preset("passes over each task", quick=3, full=10)
    hidden: tuple[int, ...] = by_preset("widths of the hidden layers", quick=(100,), full=(200,))
    images: int | None = by_preset("training images (per task), the first ones", quick=20000, full=60000)
    tested: int | None = by_preset("test images (per task), the first ones", quick=2000, full=10000)
    samples: int = by_preset("stochastic passes per test", quick=1, full=10)
    networks: tuple[str, ...] = option(tuple(RATES), "kinds of network", tuple(RATES))
    methods: tuple[str, ...] = option(METHODS, "what releases do", METHODS, neutral=True)
    rules: tuple[str, ...] = by_preset("how the spiking network assigns credit", RULES, quick=RULES, full=RULES)
    decays: tuple[float, ...] = by_preset("weight decays", quick=(0.0, 0.01), full=(0.0, 0.001, 0.005, 0.01, 0.05))
    window: float = by_preset("how long an image is shown, ms (spike trains: their own)", quick=25.0, full=50.0)
    learning_rate: float | None = option(None, "of all networks (default: 0.05 for rates, 0.03 for spikes)")
    dt: float = option(1.0, "time step, ms (spike trains have their own)")
    rate: float = option(100.0, "Poisson rate of a pixel of 1, Hz")
    scope: str = option(
        "batch", "release of the spiking network: per pass, example or spike", ("batch", "sample", "event")
    )
    feedback: float = option(3.0, "scale of the fixed random feedback of the local rule")
    shown: int = option(0, "test image whose spikes are kept for the figure")
    batch: int = option(100, "examples per step")


class Model(NamedTuple):
    """One program: a kind of network, what its releases do, and how credit is assigned."""

    network: str
    method: str
    rule: str = "backprop"

    def __str__(self) -> str:
        return f"{self.network} {self.method}" + (", local" if self.rule == "local" else "")


class Shown(NamedTuple):
    """The data, the tasks made of them by the kind of network, and n, the spikes that an activity of 1 stands for."""

    data: synsim.data.Dataset
    tasks: dict[str, tasks.Task]
    spikes: float


def programs(config: Config) -> list[Model]:
    """The programs of a run."""
    made = [Model("rate", method) for method in config.methods if "rate" in config.networks]
    rules = config.rules if "spiking" in config.networks else ()
    return made + [Model("spiking", method, rule) for rule in rules for method in config.methods]


def show(config: Config) -> Shown:
    """The data, and the tasks made of them."""
    data = sliced(images_or_spikes(config), config.images, config.tested)
    (task,) = tasks.single(data, pixels="unit", device=config.device)
    if data.dt is None:
        return Shown(data, {"rate": task, "spiking": task}, config.rate * config.window / 1000)
    most = data.x_train.sum(1, dtype=torch.float32).max()

    def counts(part: tasks.Examples) -> tasks.Examples:
        return replace(part, images=part.images.sum(1, dtype=torch.float32), scale=most)

    rates = replace(task, train=counts(task.train), test=counts(task.test))
    return Shown(data, {"rate": rates, "spiking": task}, float(most))


def network(config: Config, model: Model, seen: Shown, sweep: synsim.Sweep) -> nn.Module:
    """One replica per decay and seed."""
    widths = [*config.hidden, seen.data.classes]
    shared: dict[str, Any] = {"p": ENERGY_INITIAL[model.method], "replicas": sweep, "device": config.device}
    if model.network == "rate":
        return synsim.mlp([seen.tasks["rate"].inputs, *widths], **shared)
    inputs, shown = entrance(seen.data, config.window, config.dt, config.rate, sweep.replicas)
    net = spiking_mlp([inputs, *widths], **shared, **shown, scope=config.scope, **NETWORK)
    return local.LocalMLP(net, local.random_feedback(net, config.feedback)) if model.rule == "local" else net


def train(config: Config, model: Model, seen: Shown, session: Session) -> tuple[xarray.Dataset, nn.Module]:
    """Train one program; its measurements over decay and seed, and the trained network."""
    sweep = synsim.Sweep({"decay": config.decays}, config.seeds)
    net, task = network(config, model, seen, sweep), seen.tasks[model.network]
    rate = RATES[model.network] if config.learning_rate is None else config.learning_rate
    decays, plastic = sweep.column("decay"), model.method == "plastic"
    rule = synsim.PresynapticSGD(net, rate, plastic=plastic, weight_decay=decays, **ENERGY_CONSTANTS)
    phase = session.fit(
        str(model),
        net,
        rule,
        [task],
        sweep=sweep,
        epochs=config.epochs,
        batch=config.batch,
        samples=config.samples,
        test_every_epoch=False,
        probes=probes("energy", "mean_p"),
    )
    return with_measured(phase.dataset, sweep, measured(net, task, seen.spikes)), net


def measured(net: nn.Module, task: tasks.Task, n: float) -> dict[str, Tensor]:
    """Information, events, ATP and operations per image of the trained network, [R] each."""
    x = task.test
    if isinstance(net, SpikingMLP):
        spikes, vesicles, released = events(net, x)
        per_neuron = spikes_per_neuron(net, x)
        hidden = torch.stack([per_neuron[name].sum(-1) for name in net.populations()[1:-1]]).sum(0)
    else:
        # The same input code: an activity of 1 is n spikes, of which each brings 1 / n of the strength.
        sent = meters.transmission(net, x, samples=1)
        spikes, vesicles, released = n * sent.spikes, n * sent.vesicles, sent.strength
        hidden = n * meters.energy(net, "activity", x=x, samples=1)
    costs = meters.HOROWITZ_45NM
    added, multiplied, dense = meters.operations(net, x, samples=1)
    return {
        "information": meters.mutual_information(net, x, x.y),
        "hidden_spikes": hidden,
        "spikes": spikes,
        "vesicles": vesicles,
        "released": released,
        "synops": added + multiplied,
        "macs": dense,
        "picojoules": costs.accumulate * added + costs.multiply_accumulate * multiplied,
        **{f"atp_{term}": value for term, value in meters.atp_of_events(spikes, vesicles, released).items()},
    }


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


def measure(config: Config, session: Session) -> xarray.Dataset:
    """Train and measure all models; what the first spiking one makes of a test image, at its best decay."""
    seen = show(config)
    trained: dict[str, xarray.Dataset] = {}
    shown = xarray.Dataset()
    for model in programs(config):
        trained[str(model)], net = train(config, model, seen, session)
        if isinstance(net, SpikingMLP) and not shown:
            best = config.decays.index(outcomes.best(outcomes.bits_per(trained[str(model)]), "decay"))
            image = raster(config, net, seen.tasks["spiking"], best * len(config.seeds))
            shown = image.assign_attrs(raster_model=str(model))
    return xarray.merge([models(trained), shown], combine_attrs="no_conflicts")


def quantities(dataset: xarray.Dataset) -> dict[str, xarray.DataArray]:
    """What the table shows, over model, decay and seed, by metric; NaN for replicas that failed."""
    # What the figure shows has other axes.
    last = outcomes.at_end(dataset.drop_dims(["time", "pixel"], errors="ignore"))
    atp = {term: last[f"atp_{term}"] for term in ("spikes", "release", "reversal")}
    shown = {
        "bits per 10⁹ ATP": last.information / (1e-9 * (atp["spikes"] + atp["release"] + atp["reversal"])),
        "accuracy, %": outcomes.final(dataset),
        "information, bits": last.information,
        "synaptic energy Σ|w̄|": last.energy,
        "hidden spikes per image": last.hidden_spikes,
        "vesicles per image": last.vesicles,
        "released strength per image": last.released,
    }
    shown |= {f"10⁹ ATP per image, {term}": 1e-9 * values for term, values in atp.items()}
    operations = {
        "effective operations at synapses per image": ("synops", 1),
        "multiply-accumulates of the dense network per image": ("macs", 1),
        "nJ of operations per image": ("picojoules", 1000),
    }
    # Older records have none.
    return shown | {metric: last[name] / scale for metric, (name, scale) in operations.items() if name in last}


def rows(config: Config, dataset: xarray.Dataset) -> list[tables.Row]:
    """Bits per energy of every model and decay; everything else at each model's best decay, and tests."""
    shown, bits = quantities(dataset), outcomes.bits_per(dataset.drop_dims(["time", "pixel"], errors="ignore"))
    names = [str(name) for name in dataset.model.values]
    best = {name: outcomes.best(bits.sel(model=name), "decay") for name in names}
    made, told = list[tables.Row](), []
    for name, decay in product(names, config.decays):
        metric = f"{BITS}, decay {decay:g}" + (" (best)" if decay == best[name] else "")
        told.append((name, metric, bits, decay))
    for name, (metric, values) in product(names, shown.items()):
        told.append((name, f"{metric}, decay {best[name]:g}", values, best[name]))
    for name in names:
        decay = outcomes.best(shown["accuracy, %"].sel(model=name), "decay")
        told.append((name, f"best accuracy, %, decay {decay:g}", shown["accuracy, %"], decay))
    for name, metric, values, decay in told:
        made.append(tables.row(name, metric, values.sel(model=name, decay=decay), setting={"decay": decay}))
    line = Line(("one", "other"), "{one} − {other}", BITS)
    return made + differences("spiking_energy", dataset, {"best": line})


def remarks(config: Config, dataset: xarray.Dataset) -> list[str]:
    """What the numbers are not."""
    costs = meters.HOROWITZ_45NM
    return [
        f"nJ count arithmetic alone, {costs.accumulate:g} pJ per addition and {costs.multiply_accumulate:g} pJ per "
        "multiply-accumulate (Horowitz 2014, 45 nm): such tables rank models, and are no joules.",
    ]


EXPERIMENT = Experiment(Config, measure, rows, __doc__, remarks)

if __name__ == "__main__":
    EXPERIMENT.main()
