"""One trained spiking network in two simulators: plastic synapses in torch, then the same network in Brian2.

Both are shown the same input spikes. With expected strengths (p = 1 in effect) everything must be the same, spike by
spike. With release per spike the two draw different numbers, and are compared by their means over repeats:
z = (mean in torch − mean in Brian2) / s.e. of the difference, one z per image for the class that wins with expected
strengths, whose |z| exceeds 3 by chance in 0.3 % of the images; Hotelling's T² compares all classes of an image at
once. How many sites the first layer releases is known in closed form, and compared in both worlds.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import xarray
from agreement import WORLDS, table, tested
from common import PresetConfig, Presets, finish, load, run
from spiking_common import NETWORK
from torch import Tensor
from torch.func import functional_call

import synsim
from synsim import tasks
from synsim.meters import energy
from synsim.spiking import SpikingMLP, brian, spiking_mlp
from synsim.synapses import BernoulliLinear, evaluation
from synsim.training import History, Session, fit
from synsim.training.command import option, parse
from synsim.training.session import PhaseStore

# The figure is that of the analysis script, which lies beside this folder.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from analysis import brian2_check as brian2_figures

# Found by hand on the digits: a third of the release probabilities rise to 1, the others stay low.
RULE = {"lr": 0.1, "p_up": 0.07, "p_down": 0.07, "g_lim": 3e-3}
AT_ONCE = 5
"""Repeats in one run of Brian2, whose releases in every step take memory."""
Array = np.ndarray[Any, Any]


@dataclass(frozen=True, kw_only=True)
class Config(PresetConfig):
    """Options of this experiment."""

    PRESETS: ClassVar[Presets] = {"quick": {"epochs": 20, "repeats": 50}, "full": {"epochs": 20, "repeats": 200}}
    preset: str = option("quick", "quick: minutes on one core; full: more runs per image", ("quick", "full"))
    out: str = option("runs/brian2_check", "folder of the run")
    data: str = option("digits", "data set: digits, mnist or fashion-mnist")
    seeds: tuple[int, ...] = option((2019,), "one network per seed")
    hidden: tuple[int, ...] = option((100,), "widths of the hidden populations")
    batch: int = option(20, "examples per step")
    window: float = option(50.0, "how long an image is shown, ms")
    rate: float = option(200.0, "Poisson rate of a pixel of 1, Hz")
    sites: int = option(1, "release sites per synapse")
    images: int = option(360, "test images, the first ones")
    repeats: int | None = option(None, "runs per image, at least 6 (default: from the preset)")
    target: str | None = option(None, "of Brian2 (default: Cython where there is a compiler)", brian.TARGETS)

    def __post_init__(self) -> None:
        """Check what can be checked without the data."""
        super().__post_init__()
        if self.repeats is None or 2 * self.repeats - 10 - 1 < 1:
            raise ValueError(f"repeats must be at least 6, for a test of ten classes, got {self.repeats}.")


def trained(config: Config, task: tasks.Task, session: Session) -> tuple[SpikingMLP, xarray.Dataset]:
    """The network, one replica per seed, after learning; in float64, on the CPU."""
    sizes = [task.train[0:1].shape[-1], *config.hidden, task.classes]
    net = spiking_mlp(
        sizes,
        replicas=len(config.seeds),
        seed=config.seeds,
        window=config.window,
        sites=config.sites,
        scope="event",
        rate=config.rate,
        device=config.device,
        **NETWORK,
    )

    def go(store: PhaseStore) -> History:
        return fit(
            net,
            synsim.PresynapticSGD(net, **RULE),
            [task],
            seeds=config.seeds,
            epochs=config.epochs,
            batch=config.batch,
            test_every_epoch=False,
            probes={"energy": lambda net, task: energy(net)},
            store=store,
            progress=None if config.quiet else "plastic",
        )

    phase = session.phase("plastic", net, go)
    return net.double().cpu(), phase.dataset


def sites_released(layer: BernoulliLinear, spikes: Tensor) -> Tensor:
    """Sites that a layer releases per image in the present draw, [R, B]: with w̄ = N p it transmits their number."""
    counting = {"weight": layer.p * layer.sites}
    counts = functional_call(layer, counting, (spikes.flatten(-3, -2),), {"steps": spikes.shape[-3]})
    return counts.unflatten(1, (spikes.shape[-3], -1)).sum((1, 3))


@torch.no_grad()
def in_torch(config: Config, net: SpikingMLP, x: Tensor) -> tuple[Tensor, dict[str, Array]]:
    """The spikes shown, [R, T, B, I], and what torch makes of them."""
    draws: dict[str, list[Array]] = {"readout": [], "releases": [], "membrane": [], "raster": []}
    with evaluation(net) as passes:
        passes.at(0, 0, 0)
        spikes = net.encode(x).expand(len(config.seeds), -1, -1, -1)
        for repeat in range(config.repeats or 0):
            passes.at(repeat, 0, 0)
            record = net.run(spikes)
            draws["readout"].append(record.logits.numpy())
            fired = list(record.spikes.values())
            counts = [sites_released(layer, one) for layer, one in zip(net.layers, fired, strict=False)]
            draws["releases"].append(torch.stack(counts, 1).numpy())
            draws["membrane"].append(record.membranes["output"][:, :, 0].numpy())
            if repeat == 0:
                draws["raster"].append(record.spikes["hidden 1"][:, :, 0].bool().numpy())
        with synsim.expected(net):
            mean = net.run(spikes)
    found = {name: np.stack(values, 1) for name, values in draws.items()}
    found["raster"] = found["raster"][:, 0]
    found["mean_readout"] = mean.logits.numpy()
    found["mean_spikes"] = mean.spikes["hidden 1"].transpose(1, 2).bool().numpy()
    found["mean_membrane"] = mean.membranes["output"].transpose(1, 2).numpy()
    return spikes, found


def in_brian2(config: Config, net: SpikingMLP, replica: int, spikes: Tensor) -> dict[str, Array]:
    """What Brian2 makes of the same spikes, one replica."""
    shown = {"progress": not config.quiet}
    with synsim.expected(net):
        there = brian.to_brian2(net, replica=replica, target=config.target)
    mean = brian.run(there, spikes, **shown)
    there = brian.to_brian2(net, replica=replica, target=config.target)
    parts = []
    for low in range(0, config.repeats or 0, AT_ONCE):
        # Seeds of replicas and parts must not meet.
        seed = (config.seeds[replica] * 1_000 + low // AT_ONCE) % 2**32
        repeats = min(AT_ONCE, (config.repeats or 0) - low)
        one = brian.run(
            there, spikes, repeats=repeats, seed=seed, record_spikes=["hidden 1"], record_membranes=["output"], **shown
        )
        counts = [one.releases[name].sum(("time", "neuron")).values for name in one.releases]
        parts.append(
            {
                "readout": one.logits.values,
                "releases": np.stack(counts, 1),
                "membrane": one.membranes["output"].values[:, 0],
                "raster": one.spikes["hidden 1"].values[:, 0],
            }
        )
    found = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    found["releases"] = found["releases"].astype(float)
    found["raster"] = found["raster"][0]
    found["mean_readout"] = mean.logits.values[0]
    found["mean_spikes"] = mean.spikes["hidden 1"].values[0]
    found["mean_membrane"] = mean.membranes["output"].values[0]
    return found


def compared(config: Config, net: SpikingMLP, x: Tensor, session: Session) -> xarray.Dataset:
    """Both worlds, over world and replica."""
    store = session.open("both worlds")
    saved = store.load()
    if saved is None:
        spikes, here = in_torch(config, net, x)
        there = [in_brian2(config, net, r, spikes[r]) for r in range(len(config.seeds))]
        both = {name: np.stack([values, np.stack([one[name] for one in there])]) for name, values in here.items()}
        # Of the first layer, whose input is given, mean and variance of the releases are known.
        sent, p = spikes.sum(1), net.layers[0].p
        both["releases_mean"] = (config.sites * sent * p.sum(1).unsqueeze(1)).sum(-1).numpy()
        both["releases_variance"] = (config.sites * sent * (p * (1 - p)).sum(1).unsqueeze(1)).sum(-1).numpy()
        both["input_raster"] = spikes[:, :, 0].bool().numpy()
        tensors = {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in both.items()}
        store.save(tensors, {})
        saved = tensors, {}
    axes = {
        "readout": ("repeat", "image", "class"), "releases": ("repeat", "layer", "image"),
        "membrane": ("repeat", "time", "class"), "raster": ("time", "neuron"), "mean_readout": ("image", "class"),
        "mean_spikes": ("image", "time", "neuron"), "mean_membrane": ("image", "time", "class"),
    }  # fmt: skip
    variables: dict[str, Any] = {name: (("world", "replica", *axes[name]), saved[0][name].numpy()) for name in axes}
    variables |= {name: (("replica", "image"), saved[0][name].numpy()) for name in saved[0] if "releases_" in name}
    variables["input_raster"] = (("replica", "time", "input"), saved[0]["input_raster"].numpy())
    layers = [f"layers.{k}" for k in range(len(net.layers))]
    time = net.dt * np.arange(saved[0]["raster"].shape[2])
    dataset = xarray.Dataset(variables, coords={"world": list(WORLDS), "layer": layers, "time": ("time", time)})
    dataset.time.attrs["units"] = "ms"
    return tested(dataset)


def experiment(config: Config, session: Session) -> None:
    """Train, run in both worlds, print and keep the results, draw the figure."""
    try:
        brian.targets.brian2()
        brian.targets.chosen(config.target)
    except (ImportError, RuntimeError) as error:
        # Known before training, and a message rather than a traceback.
        raise ValueError(str(error)) from error
    (task,) = tasks.single(load(config), pixels="unit", device=config.device)
    net, learning = trained(config, task, session)
    count = min(config.images, len(task.test))
    found = compared(config, net, task.test[0:count].double().cpu(), session)
    dataset = xarray.merge([learning, found], combine_attrs="drop_conflicts", compat="override")
    finish(session, dataset, table(found, task.test.y[:count].cpu().numpy()))
    files = brian2_figures.draw(dataset, Path(config.out) / "figures")
    print("figure:", *[str(file) for file in files if file.suffix == ".png"])


if __name__ == "__main__":
    run(parse(Config, __doc__ or ""), experiment)  # type: ignore[arg-type]
