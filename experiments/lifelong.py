"""Learning tasks in sequence with and without presynaptic consolidation (Table 4.1, Fig. 4.4 and 4.8 of the paper).

Two cores need about one minute for each method on Split MNIST with three seeds, and a quarter of an hour on
Permuted MNIST.
"""

from dataclasses import dataclass
from functools import partial

import torch
import xarray
from common import combine, finish, mean_p, run, share_above
from torch import nn
from torch.optim import Optimizer

import synsim
from synsim import tables, tasks
from synsim.meters import energy
from synsim.training import History, Phase, Session, fit
from synsim.training.command import RunConfig, option, parse
from synsim.training.session import PhaseStore

METHODS = ("presynaptic", "none", "joint")

# The published code's constants; the paper prints p_up and p_down the other way round.
CONSTANTS = {"p_up": 0.0520, "p_down": 0.0516, "g_lim": 0.001, "p_min": 0.25, "p_freeze": 0.9353}
P_INITIAL = 0.25
RATES = {"split": 0.001, "permuted": 0.01}

# Optimisers of the published code for the network without protection.
UNPROTECTED = {
    ("split", "mnist"): ("adam", 1e-6),
    ("split", "fashion-mnist"): ("sgd", 1e-4),
    ("permuted", "mnist"): ("sgd", 1e-3),
    ("permuted", "fashion-mnist"): ("adam", 1e-6),
}

# Mean and standard error of three runs, in per cent (Table 4.1).
PUBLISHED = {
    ("split", "mnist"): {"presynaptic": "82.90 ± 0.01", "none": "77.68 ± 0.31", "joint": "98.55 ± 0.10"},
    ("split", "fashion-mnist"): {"presynaptic": "91.98 ± 0.12", "none": "88.76 ± 0.45", "joint": "97.67 ± 0.09"},
    ("permuted", "mnist"): {"presynaptic": "86.14 ± 0.67", "none": "79.60 ± 0.43", "joint": "97.33 ± 0.08"},
    ("permuted", "fashion-mnist"): {"presynaptic": "75.92 ± 0.37", "none": "72.13 ± 0.75", "joint": "87.33 ± 0.07"},
}
# One run of the published code with its own settings.
CODE = {("split", "mnist"): {"none": "80.3", "presynaptic": "83.1"}, ("permuted", "mnist"): {"presynaptic": "86.8"}}


@dataclass(frozen=True, kw_only=True)
class Config(RunConfig):
    """Options of this experiment."""

    out: str = option("runs/lifelong", "folder of the run")
    scenario: str = option("split", "split: pairs of classes, parity label; permuted: ten pixel orders", tuple(RATES))
    methods: tuple[str, ...] = option(METHODS, "methods to compare", METHODS)
    tasks: int = option(10, "number of permuted tasks")
    hidden: tuple[int, ...] = option((200, 200), "widths of the hidden layers")
    batch: int = option(100, "examples per step")
    lr: float | None = option(
        None, "learning rate of the presynaptic network, and of an unprotected one for which none is published"
    )
    bias: bool = option(False, "layers have biases, as in the published code (the paper has none)")


def learning_rate(config: Config) -> float:
    """The published rate of the scenario, unless another one is asked for."""
    return RATES[config.scenario] if config.lr is None else config.lr


def network(config: Config, inputs: int, classes: int, p: float) -> nn.Module:
    """The paper's network, one replica per seed."""
    sizes = [inputs, *config.hidden, classes]
    return synsim.mlp(sizes, p=p, bias=config.bias, replicas=len(config.seeds), seed=config.seeds, device=config.device)


def method(config: Config, name: str, inputs: int, classes: int) -> tuple[nn.Module, Optimizer]:
    """Network and optimiser of a method."""
    if name == "presynaptic":
        net = network(config, inputs, classes, P_INITIAL)
        rule = synsim.PresynapticSGD(net, learning_rate(config), modulate_lr=True, train_bias=False, **CONSTANTS)
        return net, rule
    net = network(config, inputs, classes, 1.0)
    if name == "joint":
        return net, torch.optim.Adam(net.parameters(), lr=1e-3)
    # Where nothing is published, the rate of the presynaptic network.
    kind, rate = UNPROTECTED.get((config.scenario, config.data), ("sgd", learning_rate(config)))
    optimisers = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}
    return net, optimisers[kind](net.parameters(), lr=rate)


def train(config: Config, name: str, sequence: list[tasks.Task], session: Session) -> Phase:
    """Train one method on all tasks."""
    net, optimiser = method(config, name, sequence[0].train[0:1].shape[-1], sequence[0].classes)

    def go(store: PhaseStore) -> History:
        return fit(
            net,
            optimiser,
            tasks.joint(sequence) if name == "joint" else sequence,
            test=sequence,
            seeds=config.seeds,
            epochs=config.epochs,
            batch=config.batch,
            test_every_epoch=name != "joint",
            probes={
                "mean_p": mean_p,
                "frozen_share": share_above(CONSTANTS["p_freeze"]),
                "energy": lambda net, task: energy(net),
            },
            store=store,
            progress=None if config.quiet else name,
        )

    return session.phase(name, net, go)


def experiment(config: Config, session: Session) -> None:
    """Run all methods, print and keep the results."""
    finish(session, *measure(config, session))


def measure(config: Config, session: Session) -> tuple[xarray.Dataset, list[tables.Row]]:
    """Train all methods; their measurements and the rows of the table."""
    data = synsim.data.load(config.data, config.data_dir)
    make = {
        "split": tasks.split,
        "permuted": partial(tasks.permuted, tasks=config.tasks, seeds=config.seeds),
    }
    sequence = make[config.scenario](data, device=config.device)
    phases = [train(config, name, sequence, session) for name in config.methods]
    key = (config.scenario, config.data)
    rows = []
    for phase in phases:
        accuracy = 100 * phase.dataset.accuracy.isel(after_task=-1).where(~phase.dataset.failed)
        published = PUBLISHED.get(key, {}).get(phase.name)
        code = CODE.get(key, {}).get(phase.name)
        shown = f"{published} (its code: {code})" if code else published
        mean = accuracy.mean("test_task", skipna=False).values
        rows.append(tables.row(phase.name, "accuracy over all tasks at the end, %", mean, shown))
        first = accuracy.isel(test_task=0).values
        rows.append(tables.row(phase.name, "accuracy on the first task at the end, %", first))
    return combine(phases), rows


if __name__ == "__main__":
    run(parse(Config, __doc__ or ""), experiment)  # type: ignore[arg-type]
