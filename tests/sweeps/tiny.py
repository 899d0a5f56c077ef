"""An experiment that takes no time: a walk of random steps, saved after each."""

import time
from dataclasses import dataclass

import numpy as np
import torch
import xarray

from synsim import tables
from synsim.experiment import Experiment, RunConfig, option


@dataclass(frozen=True, kw_only=True)
class Config(RunConfig):
    """Options."""

    out: str = option("runs/tiny", "folder of the run")
    seeds: tuple[int, ...] = option((1, 2), "one replica per seed")
    rate: float = option(1.0, "length of a step")
    widths: tuple[int, ...] = option((2,), "numbers in a walk")
    kind: str = option("plain", "kind", ("plain", "broken", "rare"))
    steps: int = option(3, "steps")
    pause: float = option(0.0, "seconds per step")
    flag: bool = option(False, "a flag")
    limit: int | None = option(None, "a limit")


def measure(config, session):
    if config.kind == "broken":
        raise ValueError("this kind is broken")
    store = session.open("walk")
    saved = store.load()
    place = torch.zeros(len(config.seeds), dtype=torch.float64, device="cpu") if saved is None else saved[0]["place"]
    for step in range(0 if saved is None else saved[1]["step"], config.steps):
        draws = [np.random.default_rng((seed, step)).random(config.widths).sum() for seed in config.seeds]
        place = place + config.rate * torch.tensor(draws, device="cpu")
        time.sleep(config.pause)
        store.save({"place": place}, {"step": step + 1})
    return xarray.Dataset({"place": ("replica", place.numpy())}, {"seed": ("replica", list(config.seeds))})


def rows(config, dataset):
    return [tables.row("walk", "place at the end", dataset.place.values)]


EXPERIMENT = Experiment(Config, measure, rows)
