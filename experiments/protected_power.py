"""Protection of weights that grow rich: EWC and SI on θ and on φ, θ = φ|φ|^(α−1), on permuted tasks in sequence.

Protected in φ, a weight near 0 is free, however steep the loss is in θ, since its importance is that of θ times the
square of the slope: so small weights are left for what comes later (S004 says so of a generative network, Table 3, here
it is asked of a classifier). Learned by Adam, whose moves of θ become moves of φ. Rates and strengths were chosen on
seed 11 (docs/searches.md); several `--strengths` or another `--rate` are a search.
"""

from itertools import product
from typing import Any, NamedTuple

import numpy as np
import xarray
from common import Pair, PermutedConfig, by_setting, importance_of, load, models, paired, some_of
from lines import FINAL, FIRST, rows_of
from torch import nn, optim

import synsim
from synsim import Sweep, consolidation, forgetting, outcomes, tables, tasks
from synsim.experiment import Experiment, Protection, Session, by_preset, option

IMPORTANCES = {"none": None, "ewc": "fisher", "si": "si"}
SPACES = {"theta": "θ", "phi": "φ"}
# The λ of EWC counts half the squared distance, as in its paper, the c of SI the whole.
FACTORS = {"ewc": 0.5, "si": 1.0}
RATES = {1.0: 3e-3, 1.5: 1e-2, 2.0: 1e-2}
# The same in both spaces: a search on one seed could not tell them apart.
STRENGTHS = {"ewc": {1.0: 20.0, 1.5: 20.0, 2.0: 20.0}, "si": {1.0: 0.3, 1.5: 1.0, 2.0: 3.0}}
GAINS = {"φ": "protection of φ against that of θ", "α": "powers against the plain network, protected alike"}


class Config(PermutedConfig):
    epochs: int = by_preset("passes over each task", quick=1, paper=10)
    tasks: int = by_preset("number of permuted tasks", quick=5, paper=10)
    hidden: tuple[int, ...] = by_preset("widths of the hidden layers", quick=(100, 100), paper=(200, 200))
    methods: tuple[str, ...] = some_of(IMPORTANCES, "protections")
    spaces: tuple[str, ...] = some_of(SPACES, "spaces in which weights are held")
    alphas: tuple[float, ...] = option(tuple(RATES), "powers α; 1 is the plain network", neutral=True, phases=True)
    rate: float | None = option(None, "learning rate of Adam (default: what was chosen for the power)")
    strengths: tuple[float, ...] = option((), "strengths of all protections (default: what was chosen for each)")

    def __post_init__(self) -> None:
        """Check that something was chosen for what is asked."""
        super().__post_init__()
        unknown = [alpha for alpha in self.alphas if alpha not in RATES and (self.rate is None or not self.strengths)]
        if unknown:
            raise ValueError(f"nothing was chosen for α in {unknown}: give --rate and --strengths.")


class Cell(NamedTuple):
    """A power under a protection in a space."""

    alpha: float
    method: str
    space: str

    def __str__(self) -> str:
        held = "" if self.method == "none" else f" on {SPACES[self.space]}"
        return f"α = {self.alpha:g}, {self.method}{held}"


def cells(config: Config) -> list[Cell]:
    """All that there are: with α = 1 φ is θ, and where nothing is protected there is no space."""
    found = []
    for alpha, method, space in product(config.alphas, config.methods, config.spaces):
        one = Cell(alpha, method, "theta" if method == "none" or alpha == 1 else space)
        found += [one] if one not in found else []
    return found


def sweep_of(config: Config, cell: Cell) -> Sweep:
    """The strengths of a cell with all seeds."""
    if cell.method == "none":
        return Sweep({"strength": (0.0,)}, config.seeds)
    return Sweep({"strength": config.strengths or (STRENGTHS[cell.method][cell.alpha],)}, config.seeds)


def protection(cell: Cell, sequence: list[tasks.Task], sweep: Sweep) -> Protection:
    """EWC or SI around the weights after the latest task, in the space of the cell."""
    kind = IMPORTANCES[cell.method]
    if kind is None:
        return Protection(reset_optimiser=True)
    measured = importance_of(kind, sequence, **({"images": 1000} if kind == "fisher" else {}))
    within: dict[str, Any] = {"space": "phi", "alpha": cell.alpha} if cell.space == "phi" else {}
    strength = sweep.column("strength")
    held = consolidation.make("penalty", strength=strength, factor=FACTORS[cell.method], **within)
    return Protection(measured, held, reset_optimiser=True)


def learner(config: Config, cell: Cell, task: tasks.Task, sweep: Sweep) -> tuple[nn.Module, synsim.Powerpropagation]:
    """A network of synapses that never fail, and Adam, whose moves are turned into those of φ."""
    sizes = [task.inputs, *config.hidden, task.classes]
    net = synsim.mlp(sizes, p=1.0, replicas=sweep, device=config.device)
    adam = optim.Adam(net.parameters(), lr=RATES[cell.alpha] if config.rate is None else config.rate)
    return net, synsim.Powerpropagation(adam, cell.alpha, net=net)


def train(config: Config, session: Session, cell: Cell) -> dict[str, xarray.Dataset]:
    """Learn all tasks; what was measured with each strength, by what it is called in the table."""
    sweep = sweep_of(config, cell)
    sequence = tasks.permuted(load(config), tasks=config.tasks, seeds=sweep.seeds, device=config.device)
    net, rule = learner(config, cell, sequence[0], sweep)
    phase = session.fit(
        str(cell),
        net,
        rule,
        sequence,
        seeds=sweep.seeds,
        keep=False,
        tolerant=len(sweep) > 1,
        epochs=config.epochs,
        batch=config.batch,
        test_every_epoch=False,
        test_ahead=False,
        protection=protection(cell, sequence, sweep),
    )
    strengths = [float(setting["strength"]) for setting in sweep.settings]
    names = [str(cell), *(f"{cell} {strength:g}" for strength in strengths)]
    return by_setting(phase.dataset, sweep, names[1:] if len(sweep) > 1 else names[:1])


def measure(config: Config, session: Session) -> xarray.Dataset:
    """All cells, along the axis `model`."""
    found: dict[str, xarray.Dataset] = {}
    for cell in cells(config):
        found |= train(config, session, cell)
    return models(found)


def kept(one: xarray.Dataset) -> dict[str, np.ndarray]:
    """What a cell keeps and learns, [replica]."""
    found = {FINAL: outcomes.final(one).values, FIRST: outcomes.first(one).values}
    if one.sizes["test_task"] > 1:
        accuracy = outcomes.accuracies(one).values
        found["accuracy on each task right after it, %"] = forgetting.learning_accuracy(accuracy)
        found["backward transfer, points"] = forgetting.backward_transfer(accuracy)
    return found


def gains(config: Config, final: dict[str, np.ndarray]) -> list[tables.Row]:
    """What protection of φ gains over that of θ, and a power over the plain network, under one protection."""
    pairs: dict[str, dict[str, Pair]] = {name: {} for name in GAINS}
    for cell in cells(config):
        plain, theta = Cell(1.0, cell.method, "theta"), cell._replace(space="theta")
        others = {"φ": theta, "α": plain} if cell.space == "phi" else {"α": plain}
        for name, other in others.items():
            if cell != other and str(cell) in final and str(other) in final:
                pairs[name][f"{cell} − {other}"] = final[str(cell)], final[str(other)]
    return [row for name, family in GAINS.items() for row in paired(family, "points", pairs[name])]


def rows(config: Config, dataset: xarray.Dataset) -> list[tables.Row]:
    """What every cell keeps and learns, φ against θ, and powers against the plain network."""
    made, final = [], {}
    for cell in cells(config):
        for strength in sweep_of(config, cell).settings:
            label = str(cell)
            if label not in dataset.model.values:
                label = f"{cell} {strength['strength']:g}"
            found = kept(dataset.sel(model=label))
            final[label] = found[FINAL]
            setting = {"alpha": cell.alpha, "strength": float(strength["strength"])}
            made += rows_of(label, found, setting=setting)
    return [*made, *gains(config, final)]


EXPERIMENT = Experiment(Config, measure, rows, __doc__)

if __name__ == "__main__":
    EXPERIMENT.main()
