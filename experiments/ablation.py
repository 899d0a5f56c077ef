"""What presynaptic consolidation needs: the model without each of its parts, and with ghost probabilities (Fig. 4.5a).

Split MNIST or Permuted MNIST; every variant has the metaplasticity constants that the authors found for it. A ghost
network releases with a fixed probability of 0.5 and learns, freezes and modulates by other, "ghost" probabilities p̃. In
"ghost (expected)" a released synapse transmits w̄ / 0.5, so that its mean is w̄; in "ghost (code)" it transmits w̄ / p̃, as
in the published code, so that its mean is 0.5 w̄ / p̃. The published difference is that of the code.
"""

from dataclasses import dataclass

import xarray
from common import ScenarioConfig, consolidated, load, models, scenario, some_of
from lines import FINAL

import synsim
from synsim import controls, outcomes, tables, tasks
from synsim.experiment import Experiment, Session
from synsim.papers.schug2021 import ABLATION_CONSTANTS, CONSTANTS, GHOST, P_INITIAL, RATES


@dataclass(frozen=True)
class Variant:
    """A key of `ABLATION_CONSTANTS`, whether (1 − p) scales the rate, and a kind of `synsim.controls`, if it is one."""

    constants: str
    modulate: bool = True
    control: str | None = None


VARIANTS = {
    "full": Variant("full"),
    "no freezing": Variant("no freezing"),
    "no modulation": Variant("no modulation", modulate=False),
    "neither": Variant("neither", modulate=False),
    "ghost (expected)": Variant("ghost", control="ghost-expected"),
    "ghost (code)": Variant("ghost", control="ghost-code"),
    "not normalised": Variant("not normalised", control="unnormalised"),
}


class Config(ScenarioConfig):
    variants: tuple[str, ...] = some_of(VARIANTS, "variants to compare")


def train(config: Config, name: str, sequence: list[tasks.Task], session: Session) -> xarray.Dataset:
    """Train one variant on all tasks, one replica per seed."""
    variant, sizes = VARIANTS[name], [sequence[0].inputs, *config.hidden, sequence[0].classes]
    count, seeds, device = len(config.seeds), config.seeds, config.device
    if variant.control is None:
        net = synsim.mlp(sizes, p=P_INITIAL, bias=config.bias, replicas=count, seed=seeds, device=device)
    else:
        net = controls.mlp(sizes, variant.control, bias=config.bias, replicas=count, seed=seeds, device=device)
    constants = {**CONSTANTS, **ABLATION_CONSTANTS[variant.constants][config.scenario]}
    rate = RATES[config.scenario]
    rule = synsim.PresynapticSGD(net, rate, modulate_lr=variant.modulate, train_bias=False, **constants)
    return session.fit(
        name,
        net,
        rule,
        sequence,
        seeds=config.seeds,
        epochs=config.epochs,
        batch=config.batch,
        test_every_epoch=False,
        test_ahead=False,
        probes=consolidated(constants["p_freeze"], controls.learned),
    ).dataset


def measure(config: Config, session: Session) -> xarray.Dataset:
    """Train all variants; their measurements."""
    sequence = scenario(config, load(config), config.seeds)
    return models({name: train(config, name, sequence, session) for name in config.variants})


def rows(config: Config, dataset: xarray.Dataset) -> list[tables.Row]:
    """Accuracy of every variant, and the differences; the sign of t is theirs (the paper has the larger mean first)."""
    final = outcomes.final(dataset)
    made = [tables.row(name, FINAL, final.sel(model=name)) for name in config.variants]
    published = {("ghost (code)", "full"): GHOST[config.scenario]} if config.data == "mnist" else {}
    for (_, one), (_, other), gap, test in outcomes.differences("ablation", dataset):
        made.append(tables.row(f"{one} − {other}", "points", gap, published.get((one, other)), test=test))
    return made


def remarks(config: Config, dataset: xarray.Dataset) -> list[str]:
    """What the tests are."""
    return ["t-tests as published (independent samples, equal variances); errors of differences are those over seeds."]


EXPERIMENT = Experiment(Config, measure, rows, __doc__, remarks)

if __name__ == "__main__":
    EXPERIMENT.main()
