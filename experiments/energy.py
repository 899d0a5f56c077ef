"""Bits per unit of energy of plastic, deterministic and fixed release (Fig. 4.1, 4.2a and 4.6a, b of the paper).

Weight decays and seeds are replicas of one program. The published protocol takes 50 epochs; the default here is 10,
and says so.
"""

from dataclasses import dataclass

import numpy as np
import torch
import xarray
from common import BINS, combine, finish, flat_p, histogram, mean_p, run, share_above
from torch import nn
from torch.optim import Optimizer

import synsim
from synsim import tables, tasks
from synsim.meters import energy, mutual_information
from synsim.networks import initialised
from synsim.training import History, Phase, Session, fit
from synsim.training.command import RunConfig, option, parse
from synsim.training.session import PhaseStore

METHODS = ("plastic", "deterministic", "fixed")
RATES = {"plastic": 0.05, "deterministic": 0.08, "fixed": 0.05}
INITIAL = {"plastic": 0.25, "deterministic": 1.0, "fixed": 0.4}
CONSTANTS = {"p_up": 0.07, "p_down": 0.07, "g_lim": 0.001, "p_min": 0.25}
IMPORTANT = 0.9


@dataclass(frozen=True, kw_only=True)
class Config(RunConfig):
    """Options of this experiment."""

    out: str = option("runs/energy", "folder of the run")
    methods: tuple[str, ...] = option(METHODS, "models to compare", METHODS)
    decays: tuple[float, ...] = option((0.005, 0.01, 0.05, 0.1), "weight decays")
    hidden: tuple[int, ...] = option((200, 200), "widths of the hidden layers")
    batch: int = option(100, "examples per step")


def method(config: Config, name: str, inputs: int, classes: int) -> tuple[nn.Module, Optimizer]:
    """Network and rule of a model: one replica per decay and seed."""
    decays = torch.tensor(config.decays, dtype=torch.float64).repeat_interleave(len(config.seeds))
    sizes = [inputs, *config.hidden, classes]
    net = synsim.mlp(sizes, p=INITIAL[name], replicas=len(decays), device=config.device)
    initialised(net, config.seeds * len(config.decays), sweep=True)
    rule = synsim.PresynapticSGD(net, RATES[name], plastic=name == "plastic", weight_decay=decays, **CONSTANTS)
    return net, rule


def train(config: Config, name: str, sequence: list[tasks.Task], session: Session) -> Phase:
    """Train one model with all decays and seeds."""
    (task,) = sequence
    net, rule = method(config, name, task.train[0:1].shape[-1], task.classes)
    before = histogram(flat_p(net))

    def go(store: PhaseStore) -> History:
        return fit(
            net,
            rule,
            sequence,
            seeds=config.seeds * len(config.decays),
            epochs=config.epochs,
            batch=config.batch,
            test_every_epoch=False,
            probes={
                "energy": lambda net, task: energy(net),
                "activity": lambda net, task: energy(net, "activity", x=task.test, samples=1),
                "information": lambda net, task: mutual_information(net, task.test, task.test.y),
                "mean_p": mean_p,
                "important_share": share_above(IMPORTANT),
            },
            store=store,
            progress=None if config.quiet else name,
        )

    phase = session.phase(name, net, go)
    histograms = np.stack([before.numpy(), histogram(flat_p(net)).numpy()])
    phase.dataset["p_histogram"] = (("when", "replica", "bin"), histograms)
    return phase


def by_decay(config: Config, dataset: xarray.Dataset) -> xarray.Dataset:
    """Replicas laid out as decay × seed."""
    index = [np.repeat(config.decays, len(config.seeds)), np.tile(config.seeds, len(config.decays))]
    bare = dataset.drop_vars(["replica", "seed"])
    laid = bare.assign_coords(decay=("replica", index[0]), run=("replica", index[1]))
    shaped = laid.set_index(replica=["decay", "run"]).unstack("replica").rename(run="seed")
    centres = ((BINS[1:] + BINS[:-1]) / 2).double().numpy()
    return shaped.assign_coords(bin=centres, when=["before", "after"])


def table(config: Config, dataset: xarray.Dataset) -> list[tables.Row]:
    """Bits per energy of every model and decay, and the accuracy at each model's best decay."""
    last = dataset.isel(epoch=-1, task=0)
    ratio = 1000 * (last.information / last.energy).where(~dataset.failed)
    rows, best = [], {}
    for name in config.methods:
        best[name] = float(ratio.sel(model=name).mean("seed").idxmax("decay"))
        for decay in config.decays:
            marked = " (best)" if decay == best[name] else ""
            values = ratio.sel(model=name, decay=decay).values
            rows.append(tables.row(name, f"10⁻³ bits per energy, decay {decay:g}{marked}", values))
    for name in config.methods:
        accuracy = dataset.accuracy.isel(after_task=0, test_task=0).sel(model=name, decay=best[name])
        rows.append(tables.row(name, f"accuracy at decay {best[name]:g}, %", 100 * accuracy.values))
    return rows


def measure(config: Config, session: Session) -> tuple[xarray.Dataset, list[tables.Row]]:
    """Train all models; their measurements and the rows of the table."""
    data = synsim.data.load(config.data, config.data_dir)
    sequence = tasks.single(data, device=config.device)
    dataset = by_decay(config, combine([train(config, name, sequence, session) for name in config.methods]))
    return dataset, table(config, dataset)


def experiment(config: Config, session: Session) -> None:
    """Run all models, print and keep the results."""
    finish(session, *measure(config, session))
    print(f"{config.epochs} epochs (published: 50). The paper prints an order only: plastic, deterministic, fixed.")


if __name__ == "__main__":
    run(parse(Config, __doc__ or ""), experiment)  # type: ignore[arg-type]
