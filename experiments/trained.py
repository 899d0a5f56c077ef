"""The plastic network of the energy experiments, trained once for the scripts that look into it."""

from typing import Any

from common import NetworkConfig, probes, single
from torch import Tensor, nn

import synsim
from synsim import records, tasks
from synsim.experiment import by_preset, option
from synsim.papers.schug2021 import DECAY, ENERGY_CONSTANTS, ENERGY_RATES, P_INITIAL
from synsim.training import Phase, Session
from synsim.training.command import resolved

PHASE = "plastic"
# What makes two of these networks the same.
SAME = ("data", "seeds", "epochs", "hidden", "batch", "decay")


class TrainedConfig(NetworkConfig):
    """Options of a script that looks into the trained network."""

    epochs: int = by_preset("passes over each task", quick=5, paper=50)
    decay: float = option(DECAY, "weight decay (the default of the published code)", neutral=True)
    source: str | None = option(
        None, "run folder of another of these scripts whose trained network is taken", neutral=True
    )


def untrained(config: TrainedConfig, task: tasks.Task) -> nn.Module:
    """The network before learning, one replica per seed."""
    sizes = [task.inputs, *config.hidden, task.classes]
    return synsim.mlp(sizes, p=P_INITIAL, replicas=synsim.Sweep({}, config.seeds), device=config.device)


def learning(config: TrainedConfig, net: nn.Module) -> synsim.PresynapticSGD:
    """Its rule."""
    return synsim.PresynapticSGD(net, ENERGY_RATES["plastic"], weight_decay=config.decay, **ENERGY_CONSTANTS)


def trained(config: TrainedConfig, session: Session) -> tuple[nn.Module, tasks.Task, Phase]:
    """The trained network, its task and the measurements of its training."""
    task = single(config)
    net = untrained(config, task)
    if config.source is not None and session.stored(PHASE) is None:
        session.store(PHASE, *_of(config))
    phase = session.fit(
        PHASE,
        net,
        learning(config, net),
        [task],
        epochs=config.epochs,
        batch=config.batch,
        test_every_epoch=False,
        probes=probes("energy"),
    )
    return net, task, phase


def remarks(config: TrainedConfig, dataset: object) -> list[str]:
    """What the paper leaves open."""
    return [f"weight decay {config.decay:g} (published: not stated for these figures)"]


def _of(config: TrainedConfig) -> tuple[dict[str, Tensor], dict[str, Any]]:
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
