"""One trained spiking network in two simulators: plastic synapses in torch, then the same network in Brian2.

Both are shown the same input spikes. With expected strengths (p = 1 in effect) everything must be the same, spike by
spike. With release per spike the two draw different numbers, and are compared by their means over repeats:
z = (mean in torch − mean in Brian2) / s.e. of the difference, one z per image for the class that wins with expected
strengths, whose |z| exceeds 3 by chance in 0.3 % of the images; Hotelling's T² compares all classes of an image at
once. How many sites the first layer releases is known in closed form, and compared in both worlds.
"""

from typing import Any

import numpy as np
import torch
import xarray
from agreement import labelled, table, tested
from common import kept, load, probes
from spiking_common import NETWORK
from torch import Tensor

import synsim
from synsim import tables, tasks
from synsim.experiment import Experiment, PresetConfig, Session, by_preset, option
from synsim.spiking import SpikingMLP, brian, spiking_mlp
from synsim.synapses import StochasticLayer, evaluation

AT_ONCE = 5
"""Repeats in one run of Brian2, whose releases in every step take memory."""
Arrays = dict[str, np.ndarray[Any, Any]]


class Config(PresetConfig):
    epochs: int = by_preset("passes over each task", quick=20, full=20)
    preset: str = option("quick", "quick: minutes on one core; full: more runs per image", ("quick", "full"))
    data: str = option("digits", "data set: digits, mnist or fashion-mnist")
    seeds: tuple[int, ...] = option((2019,), "one network per seed")
    hidden: tuple[int, ...] = option((100,), "widths of the hidden populations")
    batch: int = option(20, "examples per step")
    window: float = option(50.0, "how long an image is shown, ms")
    rate: float = option(200.0, "Poisson rate of a pixel of 1, Hz")
    sites: int = option(1, "release sites per synapse")
    images: int = option(360, "test images, the first ones")
    repeats: int = by_preset("runs per image, at least 6", least=6, quick=50, full=200)
    target: str | None = option(
        None, "of Brian2 (default: Cython where there is a compiler)", brian.TARGETS, neutral=True
    )


def trained(config: Config, task: tasks.Task, session: Session) -> tuple[SpikingMLP, xarray.Dataset]:
    """The network, one replica per seed, after learning; in float64, on the CPU."""
    net = spiking_mlp(
        [task.inputs, *config.hidden, task.classes],
        replicas=synsim.Sweep({}, config.seeds),
        window=config.window,
        sites=config.sites,
        scope="event",
        rate=config.rate,
        device=config.device,
        **NETWORK,
    )
    # Found by hand on the digits: a third of the release probabilities rise to 1, the others stay low.
    rule = synsim.PresynapticSGD(net, 0.1, p_up=0.07, p_down=0.07, g_lim=3e-3)
    phase = session.fit(
        "plastic",
        net,
        rule,
        [task],
        seeds=config.seeds,
        epochs=config.epochs,
        batch=config.batch,
        test_every_epoch=False,
        probes=probes("energy"),
    )
    return net.double().cpu(), phase.dataset


def sites_released(layer: StochasticLayer, spikes: Tensor) -> Tensor:
    """Sites that a layer releases per image in the present draw, [R, B]: with w̄ = N p it transmits their number."""
    counting = {"weight": layer.p * layer.sites}
    counts: Tensor = torch.func.functional_call(layer, counting, (spikes.flatten(-3, -2),), {"steps": spikes.shape[-3]})
    return counts.reshape(*spikes.shape[:-1], -1).sum((1, 3))


@torch.no_grad()
def in_torch(config: Config, net: SpikingMLP, x: Tensor) -> tuple[Tensor, Arrays]:
    """The spikes shown, [R, T, B, I], and what torch makes of them."""
    draws = []
    with evaluation(net) as passes:
        passes.at(0, 0, 0)
        spikes = net.encode(x).expand(len(config.seeds), -1, -1, -1)
        for repeat in range(config.repeats):
            passes.at(repeat, 0, 0)
            record = net.run(spikes)
            fired = zip(synsim.synapses(net).values(), record.spikes.values(), strict=False)
            draws.append(
                {
                    "readout": record.logits,
                    "releases": torch.stack([sites_released(layer, one) for layer, one in fired], 1),
                    "membrane": record.membranes["output"][:, :, 0],
                    "raster": record.spikes["hidden 1"][:, :, 0].bool(),
                }
            )
        with synsim.expected(net):
            mean = net.run(spikes)
    shown = {name: torch.stack([draw[name] for draw in draws], 1).numpy() for name in draws[0]}
    return spikes, {
        **shown,
        "raster": shown["raster"][:, 0],
        "mean_readout": mean.logits.numpy(),
        "mean_spikes": mean.spikes["hidden 1"].transpose(1, 2).bool().numpy(),
        "mean_membrane": mean.membranes["output"].transpose(1, 2).numpy(),
    }


def in_brian2(config: Config, net: SpikingMLP, replica: int, spikes: Tensor) -> Arrays:
    """What Brian2 makes of the same spikes, one replica."""
    # Many runs: compiled even where the network is small.
    progress, target = not config.quiet, brian.targets.chosen(config.target)
    with synsim.expected(net):
        there = brian.to_brian2(net, replica=replica, target=target)
    mean = brian.run(there, spikes, progress=progress)
    there = brian.to_brian2(net, replica=replica, target=target)
    recorded: dict[str, Any] = {"record_spikes": ["hidden 1"], "record_membranes": ["output"], "progress": progress}
    draws = []
    for low in range(0, config.repeats, AT_ONCE):
        # Seeds of replicas and parts must not meet.
        seed = (config.seeds[replica] * 1_000 + low // AT_ONCE) % 2**32
        one = brian.run(there, spikes, repeats=min(AT_ONCE, config.repeats - low), seed=seed, **recorded)
        draws.append(
            {
                "readout": one.logits,
                "releases": np.stack([sites.sum(("time", "neuron")) for sites in one.releases.values()], 1),
                "membrane": one.membranes["output"][:, 0],
                "raster": one.spikes["hidden 1"][:, 0],
            }
        )
    shown = {name: np.concatenate([draw[name] for draw in draws]) for name in draws[0]}
    return {
        **shown,
        "releases": shown["releases"].astype(float),
        "raster": shown["raster"][0],
        "mean_readout": mean.logits.values[0],
        "mean_spikes": mean.spikes["hidden 1"].values[0],
        "mean_membrane": mean.membranes["output"].values[0],
    }


def in_both(config: Config, net: SpikingMLP, x: Tensor) -> Arrays:
    """Both worlds, torch first; and what is known of the first layer, whose input is given."""
    spikes, here = in_torch(config, net, x)
    there = [in_brian2(config, net, replica, spikes[replica]) for replica in range(len(config.seeds))]
    both = {name: np.stack([values, np.stack([one[name] for one in there])]) for name, values in here.items()}
    first, sent = next(iter(synsim.synapses(net).values())), spikes.sum(1)
    p, sites = first.p, first.sites
    return {
        **both,
        "releases_mean": (sites * sent * p.sum(1).unsqueeze(1)).sum(-1).numpy(),
        "releases_variance": (sites * sent * (p * (1 - p)).sum(1).unsqueeze(1)).sum(-1).numpy(),
        "input_raster": spikes[:, :, 0].bool().numpy(),
    }


def measure(config: Config, session: Session) -> xarray.Dataset:
    """Train, run in both worlds, and hold one against the other."""
    try:
        brian.targets.brian2()
        brian.targets.chosen(config.target)
    except (ImportError, RuntimeError) as error:
        # Known before training, and a message rather than a traceback.
        raise ValueError(str(error)) from error
    (task,) = tasks.single(load(config), pixels="unit", device=config.device)
    net, learning = trained(config, task, session)
    count = min(config.images, len(task.test))
    both = kept(session, "both worlds", lambda: in_both(config, net, task.test[0:count].double().cpu()))
    both["label"] = task.test.y[:count].cpu().numpy()
    dataset = tested(labelled(both, list(synsim.synapses(net)), net.dt))
    return xarray.merge([learning, dataset], combine_attrs="drop_conflicts", compat="override")


def rows(config: Config, dataset: xarray.Dataset) -> list[tables.Row]:
    """What each of the two worlds finds, and how they agree."""
    return table(dataset)


EXPERIMENT = Experiment(Config, measure, rows, __doc__)

if __name__ == "__main__":
    EXPERIMENT.main()
