"""Every importance under every consolidation, for plain and for stochastic networks, on Split MNIST.

Both networks learn by gradient descent at one rate; the stochastic one has plastic release probabilities, but neither
freezing nor rate modulation of its own, so that only the consolidation protects. Importances are divided by their
mean after the first task, and every kind of consolidation has one grid of strengths. The strength of a cell is
chosen on seeds of its own (`--selection`) and reported on `--seeds`; all of them are replicas of one program.

Two kinds of cells are left out, since there is nothing to compare in them: `uniform` under modulation, freezing and
masks, where all parameters tie and none stands out (three cells per network), and `release-probability` in plain
networks, where every p is 1, so that it is `uniform` again (four cells).
"""

from collections import Counter
from collections.abc import Mapping
from functools import partial
from itertools import product, starmap
from typing import Any

import torch
import xarray
from common import MEASURED, StepsConfig, importance_of, load, nested, remembered, shortened, some_of
from lines import OVER_ALL, rows_of
from torch import Tensor, nn

import synsim
from synsim import Sweep, consolidation, importance, outcomes, tables, tasks
from synsim.experiment import Experiment, Protection, Session, by_preset, option
from synsim.importance import Importance, Step
from synsim.papers.schug2021 import CONSTANTS, P_INITIAL

# The grid of each consolidation, and the name of its strength.
GRIDS = {
    "penalty": ("strength", (0.001, 0.01, 0.1, 1.0, 10.0)),
    "modulation": ("strength", (0.0625, 0.25, 1.0, 4.0, 16.0)),
    "freeze": ("share", (0.01, 0.05, 0.2, 0.5, 0.8)),
    "mask": ("share", (0.01, 0.03, 0.1, 0.3, 0.6)),
}


class Config(StepsConfig):
    hidden: tuple[int, ...] = by_preset("widths of the hidden layers", quick=(100, 100), full=(200, 200))
    selection: tuple[int, ...] = option((1, 2), "seeds on which strengths are chosen", chooses=True)
    importances: tuple[str, ...] = some_of(importance.available(), "importances")
    consolidations: tuple[str, ...] = some_of(GRIDS, "kinds of consolidation")
    kinds: tuple[str, ...] = some_of(("plain", "stochastic"), "networks")
    rate: float = option(0.01, "learning rate")
    batch: int = option(100, "examples per step")
    steps: int = by_preset("steps per task", quick=80, full=1200)
    images: int = by_preset("images for importances measured after a task", quick=500, full=1000)
    test_images: int = by_preset("test images per task", quick=500, full=2000)


def network(config: Config, kind: str, task: tasks.Task, sweep: Sweep) -> tuple[nn.Module, torch.optim.Optimizer]:
    """Network and optimiser of a kind; the rule of the stochastic one does not freeze."""
    plain, sizes = kind == "plain", [task.inputs, *config.hidden, task.classes]
    net = synsim.mlp(sizes, p=1.0 if plain else P_INITIAL, replicas=sweep, device=config.device)
    if plain:
        return net, torch.optim.SGD(net.parameters(), lr=config.rate)
    constants = {name: CONSTANTS[name] for name in ("p_up", "p_down", "g_lim", "p_min")}
    return net, synsim.PresynapticSGD(net, config.rate, **constants)


class Scaled(Importance):
    """An importance divided by its mean over all parameters after the first task, so that one grid fits all."""

    def __init__(self, inner: Importance) -> None:
        self.inner, self.accumulated, self.needs = inner, inner.accumulated, inner.needs
        self.accumulate = inner.accumulate
        self._mean: Tensor | None = None

    def _scaled(self, net: nn.Module, importance: dict[str, Tensor]) -> dict[str, Tensor]:
        lead = synsim.networks.replicas_of(net) or 1
        if self._mean is None:
            flat = torch.cat([value.reshape(lead, -1) for value in importance.values()], dim=1)
            mean = flat.double().mean(1)
            # Where a task left no importance at all there is no scale to take.
            self._mean = torch.where(mean > 1e-15, mean, torch.ones_like(mean))
        divisors = {name: self._mean.to(value) for name, value in importance.items()}
        return {name: value / divisors[name].reshape(-1, *[1] * (value.ndim - 1)) for name, value in importance.items()}

    def wants(self, index: int) -> frozenset[str]:
        """As the importance inside."""
        return self.inner.wants(index)

    def estimate(
        self, net: nn.Module, x: Any, y: Tensor | None = None, *, head: int | None = None
    ) -> dict[str, Tensor]:
        """As the importance inside, divided."""
        return self._scaled(net, self.inner.estimate(net, x, y, head=head))

    def start(self, net: nn.Module) -> None:
        """As the importance inside."""
        self._net = net
        self.inner.start(net)

    def observe(self, net: nn.Module, step: Step) -> None:
        """As the importance inside."""
        self.inner.observe(net, step)

    def value(self) -> dict[str, Tensor]:
        """As the importance inside, divided."""
        return self._scaled(self._net, self.inner.value())

    def state_dict(self) -> dict[str, Any]:
        """That of the importance inside, and the mean."""
        own = {} if self._mean is None else {"mean": self._mean}
        return {**{f"inner/{name}": value for name, value in self.inner.state_dict().items()}, **own}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state."""
        self._mean = state.get("mean")
        inside = {name[6:]: value for name, value in state.items() if name.startswith("inner/")}
        if inside:
            self.inner.load_state_dict(inside)


def protection(config: Config, name: str, how: str, sequence: list[tasks.Task], strengths: Tensor) -> Protection:
    """Protection of a cell, one strength per replica."""
    options: dict[str, Any] = {"images": config.images} if name in MEASURED else {}
    if name == "path-integral":
        options["every"] = 20
    inner, more = importance_of(name, sequence, **options), {}
    if name == "release-probability":
        # Probabilities are on a scale of their own: (1 − p) is the factor of the paper, and the latest ones count. The
        # penalty adds them up as it does all others.
        last = {"accumulate": "last"}
        more = {"penalty": {"accumulate": "sum"}, "modulation": {**last, "scale": "none"}, "freeze": last}.get(how, {})
    scaled = inner if name == "release-probability" and how != "penalty" else Scaled(inner)
    return Protection(scaled, consolidation.make(how, **{GRIDS[how][0]: strengths}, **more))


def tested(net: nn.Module, task: tasks.Task) -> Tensor:
    """Accuracy with expected strengths, [R]."""
    with synsim.expected(net):
        return synsim.meters.accuracy(net, task.test, task.test.y, samples=1)


def trained(config: Config, session: Session, kind: str, name: str | None, how: str) -> xarray.Dataset:
    """One cell (without a name, no protection): accuracy, learning and forgetting at the strength that was chosen."""
    split = tasks.split(load(config), device=config.device)
    sequence = [shortened(task, None, config.test_images) for task in split]
    sweep = Sweep({"strength": GRIDS[how][1] if name else (0.0,)}, (*config.selection, *config.seeds))
    net, optimiser = network(config, kind, sequence[0], sweep)
    phase = session.fit(
        f"{kind}, {name}, {how}" if name else f"{kind}, none",
        net,
        optimiser,
        sequence,
        sweep=sweep,
        keep=False,
        tolerant=True,
        steps=config.steps,
        batch=config.batch,
        protection=protection(config, name, how, sequence, sweep.column("strength")) if name else None,
        tested_by=tested,
        test_every_epoch=False,
    )
    measured = phase.dataset
    chosen_on = outcomes.final(measured).sel(seed=list(config.selection)).mean("seed", skipna=False)
    best, count = int(chosen_on.fillna(-1.0).argmax("strength")), measured.sizes["strength"]
    own = remembered(measured.isel(strength=best, drop=True).sel(seed=list(config.seeds)))
    return own.assign(chosen=float(best), edge=float(count > 1 and best in (0, count - 1)))


def left_out(kind: str, name: str, how: str) -> str | None:
    """Why a cell is left out; None if it is not."""
    if name == "uniform" and how != "penalty":
        return "uniform under modulation, freeze and mask: all parameters tie, none stands out"
    if name == "release-probability" and kind == "plain":
        return "release-probability in plain networks: every p is 1, which is uniform again"
    return None


def measure(config: Config, session: Session) -> xarray.Dataset:
    """All cells that there are, [kind, importance, consolidation, seed], and both networks without protection."""
    none = nested(partial(trained, config, session, name=None, how="penalty"), kind=config.kinds)

    def made(kind: str, importance: str, consolidation: str) -> xarray.Dataset:
        if left_out(kind, importance, consolidation):
            return xarray.full_like(none.isel(kind=0, drop=True), torch.nan)
        return trained(config, session, kind, importance, consolidation)

    axes = {"kind": config.kinds, "importance": config.importances, "consolidation": config.consolidations}
    alone = none[["final", "learned", "forgotten"]]
    return nested(made, **axes).merge(alone.rename({name: f"none_{name}" for name in alone}))


def rows(config: Config, dataset: xarray.Dataset) -> list[tables.Row]:
    """Accuracy of every cell at its strength, and what it forgets and learns beside no protection."""
    made = []
    for kind in config.kinds:
        of_kind = dataset.sel(kind=kind)
        none = {"kind": kind, "importance": None}
        made.append(tables.row(f"{kind}, none", OVER_ALL, of_kind.none_final, setting=none))
        for name, how in product(config.importances, config.consolidations):
            if left_out(kind, name, how):
                continue
            one = of_kind.sel(importance=name, consolidation=how)
            argument, grid = GRIDS[how]
            setting = {"kind": kind, "importance": name, "consolidation": how, argument: grid[int(one.chosen)]}
            setting["edge"] = bool(one.edge)
            values = {
                OVER_ALL: one.final,
                "forgets more than without protection, points": one.forgotten - one.none_forgotten,
                "learns more than without protection, points": one.learned - one.none_learned,
            }
            made += rows_of(f"{kind}, {name}, {how}", values, setting=setting)
    return made


def remarks(config: Config, dataset: xarray.Dataset) -> list[str]:
    """What was chosen how, and what is left out."""
    cells = product(config.kinds, config.importances, config.consolidations)
    without = Counter(why for why in starmap(left_out, cells) if why is not None)
    chosen, edges = int(dataset.chosen.notnull().sum()), int((dataset.edge == 1).sum())
    return [
        f"{config.steps} steps per task at rate {config.rate:g}; strengths chosen on seeds {list(config.selection)} of "
        f"{len(GRIDS['penalty'][1])} per consolidation. Nobody has published this table.",
        f"{edges} of {chosen} strengths are at an end of their grid.",
        *(f"Left out ({count} cells): {why}." for why, count in without.items()),
    ]


EXPERIMENT = Experiment(Config, measure, rows, __doc__, remarks)

if __name__ == "__main__":
    EXPERIMENT.main()
