"""Every importance under every consolidation, for plain and for stochastic networks, on Split MNIST.

Both networks learn by gradient descent at one rate; the stochastic one has plastic release probabilities, but neither
freezing nor rate modulation of its own, so that only the consolidation protects. Importances are divided by their
mean after the first task, and every kind of consolidation has one grid of strengths. The strength of a cell is
chosen on seeds of its own (`--selection`) and reported on `--seeds`; all of them are replicas of one program.

Two kinds of cells are left out, since there is nothing to compare in them: `uniform` under modulation, freezing and
masks, where all parameters tie and none stands out (three cells per network), and `release-probability` in plain
networks, where every p is 1, so that it is `uniform` again (four cells).
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
import xarray
from common import MEASURED, PresetConfig, Presets, finish, load, run
from torch import Tensor, nn
from torch.optim import Optimizer

import synsim
from synsim import consolidation, importance, statistics, tables, tasks
from synsim.importance import Importance, Step
from synsim.networks import initialised, replicas_of
from synsim.papers.schug2021 import CONSTANTS, P_INITIAL
from synsim.training import History, Protection, Session, fit
from synsim.training.command import option, parse
from synsim.training.session import PhaseStore

KINDS = ("plain", "stochastic")
# The grid of each consolidation, and the name of its strength.
GRIDS = {
    "penalty": ("strength", (0.001, 0.01, 0.1, 1.0, 10.0)),
    "modulation": ("strength", (0.0625, 0.25, 1.0, 4.0, 16.0)),
    "freeze": ("share", (0.01, 0.05, 0.2, 0.5, 0.8)),
    "mask": ("share", (0.01, 0.03, 0.1, 0.3, 0.6)),
}
RATE = 0.01
# The rule without freezing.
STEPS = {name: CONSTANTS[name] for name in ("p_up", "p_down", "g_lim", "p_min")}
TINY = 1e-15


@dataclass(frozen=True, kw_only=True)
class Config(PresetConfig):
    """Options of this experiment."""

    CHOICES: ClassVar[tuple[str, ...]] = ("importances", "consolidations", "kinds")
    PRESETS: ClassVar[Presets] = {
        "quick": {"steps": 80, "hidden": (100, 100), "test_images": 500, "images": 500},
        "full": {"steps": 1200, "hidden": (200, 200), "test_images": 2000, "images": 1000},
    }
    out: str = option("runs/combinations", "folder of the run")
    importances: tuple[str, ...] = option(importance.available(), "importances", importance.available(), neutral=True)
    consolidations: tuple[str, ...] = option(tuple(GRIDS), "kinds of consolidation", tuple(GRIDS), neutral=True)
    kinds: tuple[str, ...] = option(KINDS, "networks", KINDS, neutral=True)
    selection: tuple[int, ...] = option((1, 2), "seeds on which strengths are chosen; they are not reported")
    hidden: tuple[int, ...] = option((), "widths of the hidden layers (default: from the preset)")
    batch: int = option(100, "examples per step")
    rate: float = option(RATE, "learning rate")
    steps: int | None = option(None, "steps per task (default: from the preset)")
    images: int | None = option(None, "images for importances measured after a task (default: from the preset)")
    test_images: int | None = option(None, "test images per task (default: from the preset)")

    def __post_init__(self) -> None:
        """Check what this experiment asks besides."""
        super().__post_init__()
        both = sorted(set(self.selection) & set(self.seeds))
        if both:
            raise ValueError(
                f"seeds {both} are in --selection and in --seeds; a strength must be chosen on other seeds."
            )


class Scaled(Importance):
    """An importance divided by its mean over all parameters after the first task, so that one grid fits all."""

    def __init__(self, inner: Importance) -> None:
        self.inner, self.accumulated, self.needs = inner, inner.accumulated, inner.needs
        self.accumulate = inner.accumulate
        self._mean: Tensor | None = None

    def _scaled(self, net: nn.Module, found: dict[str, Tensor]) -> dict[str, Tensor]:
        lead = replicas_of(net) or 1
        if self._mean is None:
            flat = torch.cat([value.reshape(lead, -1) for value in found.values()], dim=1)
            mean = flat.double().mean(1)
            # Where a task left no importance at all there is no scale to take.
            self._mean = torch.where(mean > TINY, mean, torch.ones_like(mean))
        return {
            name: value / self._mean.to(value).reshape(-1, *[1] * (value.ndim - 1)) for name, value in found.items()
        }

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


def network(
    config: Config, kind: str, seeds: tuple[int, ...], inputs: int, classes: int
) -> tuple[nn.Module, Optimizer]:
    """Network and optimiser of a kind."""
    plain = kind == "plain"
    net = synsim.mlp(
        [inputs, *config.hidden, classes], p=1.0 if plain else P_INITIAL, replicas=len(seeds), device=config.device
    )
    initialised(net, seeds, sweep=True)
    if plain:
        return net, torch.optim.SGD(net.parameters(), lr=config.rate)
    return net, synsim.PresynapticSGD(net, config.rate, **STEPS)


def protection(config: Config, name: str, how: str, repeats: int, images: int) -> tuple[Protection, tuple[float, ...]]:
    """Protection of a cell, one strength per replica, and the grid."""
    argument, grid = GRIDS[how]
    options: dict[str, Any] = {"images": min(config.images, images)} if name in MEASURED else {}
    if name == "path-integral":
        options["every"] = 20
    inner = importance.make(name, **options)
    each = torch.tensor(grid, dtype=torch.float64).repeat_interleave(repeats)
    more: dict[str, Any] = {}
    if name == "release-probability":
        # Probabilities are on a scale of their own: (1 − p) is the factor of the paper, and the latest ones count. The
        # penalty adds them up as it does all others.
        last = {"accumulate": "last"}
        more = {"penalty": {"accumulate": "sum"}, "modulation": {**last, "scale": "none"}, "freeze": last}.get(how, {})
    scaled = inner if name == "release-probability" and how != "penalty" else Scaled(inner)
    return Protection(scaled, consolidation.make(how, **{argument: each}, **more)), grid


def sequence_of(config: Config) -> list[tasks.Task]:
    """Split tasks with a shared head, tested on the first test images of each."""
    data = load(config)
    found = []
    for task in tasks.split(data, device=config.device):
        test = replace(
            task.test, images=task.test.images[: config.test_images], labels=task.test.labels[: config.test_images]
        )
        found.append(replace(task, test=test))
    return found


def train(config: Config, kind: str, name: str | None, how: str, session: Session) -> xarray.Dataset:
    """One cell over the grid and all seeds; without a name, no protection."""
    sequence = sequence_of(config)
    seeds = (*config.selection, *config.seeds)
    guard, grid = None, (0.0,)
    if name is not None:
        guard, grid = protection(config, name, how, len(seeds), min(len(task.train) for task in sequence))
    net, optimiser = network(config, kind, seeds * len(grid), sequence[0].train[0:1].shape[-1], sequence[0].classes)
    phase = f"{kind}, {name}, {how}" if name else f"{kind}, none"

    def tested(net: nn.Module, task: tasks.Task) -> Tensor:
        with synsim.expected(net):
            return synsim.meters.accuracy(net, task.test, task.test.y, samples=1)

    def go(store: PhaseStore) -> History:
        return fit(
            net,
            optimiser,
            sequence,
            seeds=seeds * len(grid),
            steps=config.steps,
            batch=config.batch,
            protection=guard,
            tested_by=tested,
            store=store,
            test_every_epoch=False,
            progress=None if config.quiet else phase,
        )

    found = session.phase(phase, net, go, keep=False, sweep=True).dataset
    matrix = found.accuracy.where(~found.failed).values
    matrix = matrix.reshape(len(grid), len(seeds), *matrix.shape[1:])
    places = range(len(sequence))
    return xarray.Dataset(
        {"accuracy": (("strength", "seed", "after_task", "test_task"), matrix)},
        coords={"strength": np.arange(len(grid)), "seed": list(seeds), "after_task": places, "test_task": places},
    )


def cell(config: Config, found: xarray.Dataset) -> xarray.Dataset:
    """The chosen strength of a cell, and what it does on the reported seeds: accuracy, learning and forgetting."""
    final = found.accuracy.isel(after_task=-1).mean("test_task", skipna=False)
    score = final.sel(seed=list(config.selection)).mean("seed", skipna=False).fillna(-1.0)
    best = int(score.argmax("strength"))
    own = found.accuracy.isel(strength=best).sel(seed=list(config.seeds))
    steps = own.after_task.values
    learned = xarray.concat([own.sel(after_task=k, test_task=k, drop=True) for k in steps], dim="task").mean(
        "task", skipna=False
    )
    kept = xarray.concat(
        [
            own.sel(after_task=k, test_task=k, drop=True) - own.isel(after_task=-1).sel(test_task=k, drop=True)
            for k in steps[:-1]
        ],
        dim="task",
    ).mean("task", skipna=False)
    edge = best in (0, found.sizes["strength"] - 1) and found.sizes["strength"] > 1
    return xarray.Dataset(
        {
            "final": 100 * own.isel(after_task=-1, drop=True).mean("test_task", skipna=False),
            "learned": 100 * learned,
            "forgotten": 100 * kept,
            "chosen": best,
            "edge": edge,
        }
    ).drop_vars(["strength", "after_task", "test_task"], errors="ignore")


def left_out(kind: str, name: str, how: str) -> str | None:
    """Why a cell is left out; None if it is not."""
    if name == "uniform" and how != "penalty":
        return "uniform under modulation, freeze and mask: all parameters tie, none stands out"
    if name == "release-probability" and kind == "plain":
        return "release-probability in plain networks: every p is 1, which is uniform again"
    return None


def experiment(config: Config, session: Session) -> None:
    """Run all cells, print and keep the results."""
    grid: dict[tuple[str, str, str], xarray.Dataset] = {}
    none = {kind: cell(config, train(config, kind, None, "", session)) for kind in config.kinds}
    without: dict[str, int] = {}
    for kind, name, how in itertools.product(config.kinds, config.importances, config.consolidations):
        why = left_out(kind, name, how)
        if why is None:
            grid[kind, name, how] = cell(config, train(config, kind, name, how, session))
        else:
            without[why] = without.get(why, 0) + 1
    rows = []
    for kind in config.kinds:
        rows.append(tables.row(f"{kind}, none", "accuracy over all tasks, %", none[kind].final.values))
        for (k, name, how), found in grid.items():
            if k == kind:
                argument, values = GRIDS[how]
                rows.append(
                    tables.row(
                        f"{kind}, {name}, {how}", describe(found, none[kind], argument, values), found.final.values
                    )
                )
    axes = {
        "kind": list(config.kinds),
        "importance": list(config.importances),
        "consolidation": list(config.consolidations),
    }
    template = next(iter(grid.values()))
    variables = {}
    for variable in template.data_vars:
        full = np.full([*(len(v) for v in axes.values()), *template[variable].shape], np.nan)
        for (kind, name, how), found in grid.items():
            at = [list(axes[a]).index(v) for a, v in zip(axes, (kind, name, how), strict=True)]
            full[tuple(at)] = found[variable].values
        variables[variable] = ((*axes, *template[variable].dims), full)
    for variable in ("final", "learned", "forgotten"):
        variables[f"none_{variable}"] = (("kind", "seed"), np.stack([none[k][variable].values for k in config.kinds]))
    finish(session, xarray.Dataset(variables, coords={**axes, "seed": list(config.seeds)}), rows)
    if config.reduced():
        print(f"reduced: {config.reduced()}")
    print(
        f"{config.steps} steps per task at rate {config.rate:g}; strengths chosen on seeds {list(config.selection)} of "
        f"{len(next(iter(GRIDS.values()))[1])} per consolidation; * marks a choice at the edge of the grid. "
        "Nobody has published this table."
    )
    for why, count in without.items():
        print(f"Left out ({count} cells): {why}.")


def describe(found: xarray.Dataset, none: xarray.Dataset, argument: str, values: tuple[float, ...]) -> str:
    """What a cell does beside no protection, with standard errors over seeds."""
    parts = []
    for variable, label in (("forgotten", "forgets"), ("learned", "learns")):
        change = statistics.summary(found[variable].values - none[variable].values)
        parts.append(f"{label} {change.mean:+.1f} ± {change.sem:.1f}")
    return f"accuracy, %; {argument} {values[int(found.chosen)]:g}{'*' if found.edge else ''}; {', '.join(parts)}"


if __name__ == "__main__":
    run(parse(Config, __doc__ or ""), experiment)  # type: ignore[arg-type]
