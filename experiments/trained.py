"""The plastic network of the energy experiments, trained once for the scripts that look into it."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from common import PresetConfig, Presets, load
from torch import nn

import synsim
from synsim import records, tasks
from synsim.meters import energy
from synsim.networks import initialised
from synsim.papers.schug2021 import DECAY, ENERGY_CONSTANTS, ENERGY_RATES, P_INITIAL
from synsim.training import History, Phase, Session, fit
from synsim.training.command import option, resolved
from synsim.training.session import PhaseStore

PHASE = "plastic"
# What makes two of these networks the same.
SAME = ("data", "seeds", "epochs", "hidden", "batch", "decay")


@dataclass(frozen=True, kw_only=True)
class TrainedConfig(PresetConfig):
    """Options of a script that looks into the trained network."""

    PRESETS: ClassVar[Presets] = {"quick": {"epochs": 5}, "paper": {"epochs": 50}}
    hidden: tuple[int, ...] = option((200, 200), "widths of the hidden layers")
    batch: int = option(100, "examples per step")
    decay: float = option(DECAY, "weight decay (the default of the published code)", neutral=True)
    source: str | None = option(
        None, "run folder of another of these scripts whose trained network is taken", neutral=True
    )


def untrained(config: TrainedConfig, task: tasks.Task) -> nn.Module:
    """The network before learning, one replica per seed."""
    sizes = [task.train[0:1].shape[-1], *config.hidden, task.classes]
    net = synsim.mlp(sizes, p=P_INITIAL, replicas=len(config.seeds), device=config.device)
    return initialised(net, config.seeds)


def trained(config: TrainedConfig, session: Session) -> tuple[nn.Module, tasks.Task, Phase]:
    """The trained network, its task and the measurements of its training."""
    (task,) = tasks.single(load(config), device=config.device)
    net = untrained(config, task)

    def go(store: PhaseStore) -> History:
        rule = synsim.PresynapticSGD(net, ENERGY_RATES["plastic"], weight_decay=config.decay, **ENERGY_CONSTANTS)
        return fit(
            net,
            rule,
            [task],
            seeds=config.seeds,
            epochs=config.epochs,
            batch=config.batch,
            test_every_epoch=False,
            probes={"energy": lambda net, task: energy(net)},
            store=store,
            progress=None if config.quiet else PHASE,
        )

    if config.source is not None and session.stored(PHASE) is None:
        session.store(PHASE, *_of(config))
    return net, task, session.phase(PHASE, net, go)


def _of(config: TrainedConfig) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    # The finished phase of another run, as its checkpoint holds it.
    other = records.open(str(config.source))
    tensors, meta = other.checkpoint()
    mine = resolved(config)
    wrong = [
        f"{name} {other.config.get(name)} (here: {mine[name]})" for name in SAME if other.config.get(name) != mine[name]
    ]
    if wrong or PHASE not in meta["phases"]:
        raise ValueError(
            f"{config.source} holds no network trained as this run asks for: {', '.join(wrong) or 'no such phase'}. "
            "Give the same options, or leave --source out to train one."
        )
    lead = f"{PHASE}//"
    return {key[len(lead) :]: value for key, value in tensors.items() if key.startswith(lead)}, meta["phases"][PHASE]
