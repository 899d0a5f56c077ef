"""Powerpropagated synapses that fail at random: what a bit costs, whole and pruned, and what the power adds to it.

Plastic and deterministic networks with θ = φ|φ|^(α−1), under three penalties: L2 (decay of θ), φ-decay (decay of φ, the
penalty ρ/2 Σ|θ|^(2/α), which for α = 2 is ρ/2 times the synaptic energy), and as a control L1, that energy as the
penalty of a plain network (α = 1). What φ-decay has over L2 but not over L1 is due to its penalty, the rest to the
power: both are compared at the energy, and at the bits, of φ-decay. Settings × seeds are replicas of one program.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise, product
from typing import Any, NamedTuple

import numpy as np
import torch
import xarray
from common import HISTOGRAMS, NetworkConfig, end, flat_p, histograms, kept, labelled, nested, probes, single, some_of
from lines import BITS, against, rows_of
from torch import Tensor, nn

import synsim
from synsim import Sweep, meters, sparse, statistics, tables, tasks
from synsim.experiment import Experiment, Session, by_preset, option
from synsim.papers.schug2021 import DECAYS, ENERGY_CONSTANTS, ENERGY_INITIAL, ENERGY_RATES

MODELS = ("plastic", "deterministic")
SCARCE = (0.02, 0.05)
L2, L1, PHI = "L2", "L1", "φ-decay"


class Family(NamedTuple):
    """Networks of one power and one kind of penalty, of any strength, at the usual rate of the power or another one."""

    alpha: float
    penalty: str
    rate: float | None = None

    def __str__(self) -> str:
        return f"α = {self.alpha:g}, {self.penalty}" + ("" if self.rate is None else f", rate {self.rate:g}")


# (metric, model, family, plain family beside it, strength of the first)
Key = tuple[str, str, Family, Family, float]
METRICS = ("points of accuracy at the same energy", "bits at the same energy", f"{BITS} at the same bits")
PLAIN, CONTROL = Family(1.0, L2), Family(1.0, L1)


class Config(NetworkConfig):
    epochs: int = by_preset("passes over each task", quick=3, paper=50)
    models: tuple[str, ...] = some_of(MODELS, "networks")
    alphas: tuple[float, ...] = by_preset("powers α", quick=(1.0, 2.0), paper=(1.0, 2.0, 3.0))
    l2: tuple[float, ...] = by_preset("decays of θ, for every power", quick=(0.0, 0.005, 0.01, 0.02), paper=DECAYS)
    l1: tuple[float, ...] = by_preset(
        "strengths of L1, for α = 1", quick=(3e-4, 6e-4, 1e-3, 3e-3), paper=(3e-5, 1e-4, 3e-4, 6e-4, 1e-3, 3e-3, 0.01)
    )
    phi: tuple[float, ...] = by_preset(
        "decays of φ, for every other power", quick=(0.001, 0.003), paper=(0.0001, 0.0003, 0.001, 0.003, 0.01)
    )
    keep: tuple[float, ...] = option((0.01, *SCARCE, 0.1, 0.2, 0.5), "shares of all synapses that are kept")
    passes: int = by_preset("stochastic passes per accuracy of a pruned network", least=1, quick=1, paper=10)
    # Below this rate powers above 1 learn too slowly, and at 1 they diverge; α = 1 has the published rate of its model.
    rate: float = option(0.3, "learning rate of powers above 1")
    plain_rate: float | None = option(None, "learning rate of α = 1 (default: the published one of each model)")
    # docs/searches.md: powers would else be the only ones whose rate was chosen.
    control_rate: float = option(0.1, "another learning rate of L1, chosen for it as that of the powers was")


def settings(config: Config) -> list[dict[str, Any]]:
    """Family and strength of every setting; without any penalty (0) L2 stands for all."""
    found = []
    for alpha in config.alphas:
        grids = {Family(alpha, L2): config.l2}
        grids |= dict.fromkeys(controls(config), config.l1) if alpha == 1 else {Family(alpha, PHI): config.phi}
        for family, strengths in grids.items():
            found += [{"family": family, "strength": one} for one in strengths]
    return found


def controls(config: Config) -> tuple[Family, Family]:
    """L1 at the published rate of plain networks, and at its own."""
    return CONTROL, CONTROL._replace(rate=config.control_rate)


def rate_of(config: Config, model: str, family: Family) -> float:
    """Learning rate of a family of a model."""
    if family.rate is not None:
        return family.rate
    plain = ENERGY_RATES[model] if config.plain_rate is None else config.plain_rate
    return plain if family.alpha == 1 else config.rate


def column(sweep: Sweep, penalty: str) -> Tensor:
    """Strengths of one kind of penalty, 0 where a setting has another one, [R]."""
    return sweep.column(lambda one: one["strength"] if one["family"].penalty == penalty else 0.0)


def shrinkage(net: nn.Module, strength: Tensor, rate: Tensor) -> Callable[[], dict[str, Tensor]]:
    """The gradient of strength · Σ|θ| that takes no weight beyond 0, where it would else swing to and fro."""
    weights = {f"{name}.weight": layer.weight.detach() for name, layer in synsim.synapses(net).items()}
    pulls = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    held = [(r, float(most), float(rate[r])) for r, most in enumerate(strength) if most > 0]

    def gradient() -> dict[str, Tensor]:
        for name, (r, most, step) in product(weights, held):
            torch.clamp(weights[name][r] / step, -most, most, out=pulls[name][r])
        return pulls

    return gradient


def pruned(net: nn.Module, task: tasks.Task, keep: float, passes: int) -> dict[str, Tensor]:
    """The network with only its strongest synapses, and how well it does with only its most reliable ones, [R] each."""
    x, y = task.test, task.test.y
    with synsim.masked(net, sparse.masks(net, keep)):
        found = {
            "pruned_accuracy": meters.accuracy(net, x, y, samples=passes),
            "pruned_information": meters.mutual_information(net, x, y),
            "pruned_energy": meters.energy(net),
        }
    if bool((flat_p(net) < 1).any()):
        with synsim.masked(net, sparse.masks(net, keep, "p")):
            found["accuracy_by_p"] = meters.accuracy(net, x, y, samples=passes)
    else:
        found["accuracy_by_p"] = torch.full_like(found["pruned_accuracy"], torch.nan)
    return found


def measures(config: Config, net: nn.Module, task: tasks.Task, before: Tensor) -> dict[str, np.ndarray]:
    """What is left of a trained network when it is pruned, how its weights are spread, and where its p have gone."""
    each = [pruned(net, task, keep, config.passes) for keep in config.keep]
    found = {name: torch.stack([one[name].double() for one in each], 1) for name in each[0]}
    theta = torch.cat([layer.weight.detach().flatten(1) for layer in synsim.synapses(net).values()], 1).double().abs()
    found["spread"] = theta.sum(1) ** 2 / (theta.shape[1] * (theta**2).sum(1))
    found["small"] = (theta < 1e-3).double().mean(1)
    made = {name: value.cpu().numpy() for name, value in found.items()}
    return {**made, "p_histogram": histograms(before, flat_p(net)).transpose("replica", "when", "bin").values}


def train(config: Config, session: Session, model: str) -> xarray.Dataset:
    """Train one model under every setting, and prune what it has become."""
    task, sweep = single(config), Sweep(settings(config), config.seeds)
    sizes = [task.inputs, *config.hidden, task.classes]
    net = synsim.mlp(sizes, p=ENERGY_INITIAL[model], replicas=sweep, device=config.device)
    rate = sweep.column(lambda one: rate_of(config, model, one["family"]))
    inner = synsim.PresynapticSGD(
        net, rate, weight_decay=column(sweep, L2), plastic=model == "plastic", **ENERGY_CONSTANTS
    )
    alphas = sweep.column(lambda one: one["family"].alpha)
    rule = synsim.Powerpropagation(inner, alphas, net=net, weight_decay=column(sweep, PHI))
    before = flat_p(net).clone()
    phase = session.fit(
        model,
        net,
        rule,
        [task],
        sweep=sweep,
        epochs=config.epochs,
        batch=config.batch,
        penalty=shrinkage(net, column(sweep, L1), rate),
        test_every_epoch=False,
        probe_every=config.epochs,
        probes=probes("energy", "information", "mean_p"),
    )
    arrays = kept(session, f"{model}, pruned", lambda: measures(config, net, task, before))
    axes = dict.fromkeys(arrays, ("keep",)) | {"p_histogram": ("when", "bin"), "spread": (), "small": ()}
    found = labelled(arrays, axes, keep=config.keep, **HISTOGRAMS)
    return end(phase.dataset).assign(sweep.unfold(found))


def measure(config: Config, session: Session) -> xarray.Dataset:
    """Both models."""
    return nested(lambda model: train(config, session, model), model=config.models)


class Curve(NamedTuple):
    """A family of one model, from its weakest penalty to its strongest: strengths [K], and values [K, S] over seeds."""

    strengths: np.ndarray
    accuracy: np.ndarray
    bits: np.ndarray
    cost: np.ndarray

    def at_energy(self, cost: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Accuracy and bits at some energy of every seed, between the strengths around it; NaN beyond them."""
        accuracy, bits = (between(np.log(cost), np.log(self.cost), each) for each in (self.accuracy, self.bits))
        return accuracy, bits

    def at_bits(self, bits: np.ndarray) -> np.ndarray:
        """Energy at some bits of every seed, likewise."""
        found: np.ndarray = np.exp(between(bits, self.bits, np.log(self.cost)))
        return found


def between(at: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Values at a place of every seed [S], on the line through its points [K, S], in the order of x."""
    found = np.full(len(at), np.nan)
    for seed, place in enumerate(at):
        good = np.isfinite(x[:, seed]) & np.isfinite(y[:, seed])
        order = np.argsort(x[good, seed])
        if good.any():
            found[seed] = np.interp(place, x[good, seed][order], y[good, seed][order], np.nan, np.nan)
    return found


def curve(dataset: xarray.Dataset, model: str, family: Family) -> Curve:
    """A family of a model; without any penalty all families of a power are the same network, but for the rate."""
    free = (dataset.family == str(Family(family.alpha, L2))) & (dataset.strength == 0) & (family.rate is None)
    places = np.flatnonzero((dataset.family == str(family)) | free)
    one = dataset.sel(model=model).isel(setting=places).sortby("strength").transpose("setting", "seed", ...)
    one = one[["accuracy", "information", "energy"]].where(~one.failed)
    return Curve(one.strength.values, 100 * one.accuracy.values, one.information.values, one.energy.values)


def alone(config: Config, dataset: xarray.Dataset) -> Iterator[tables.Row]:
    """What every network can do, whole and pruned, and what it costs."""
    for model, place in product(config.models, range(dataset.sizes["setting"])):
        one = dataset.sel(model=model).isel(setting=place)
        one = one.where(~one.failed)
        method, setting = f"{model}, {one.family.item()}", {"strength": float(one.strength)}
        ratio = 1000 * one.pruned_information / one.pruned_energy
        found = {
            BITS: 1000 * one.information / one.energy,
            "mutual information, bits": one.information,
            "synaptic energy Σ|w̄|, strength": one.energy,
            "accuracy, %": 100 * one.accuracy,
            "weights below 10⁻³, %": 100 * one.small,
            "mean release probability": one.mean_p,
        }
        for share in [share for share in SCARCE if share in config.keep]:
            found[f"accuracy with {share:.0%} kept by weight, %"] = 100 * one.pruned_accuracy.sel(keep=share)
            found[f"10⁻³ bits per energy with {share:.0%} kept by weight"] = ratio.sel(keep=share)
            found[f"accuracy with {share:.0%} kept by p, %"] = 100 * one.accuracy_by_p.sel(keep=share)
        known = {metric: values for metric, values in found.items() if bool(values.notnull().any())}
        yield from rows_of(method, known, setting=setting)


def powered(config: Config) -> list[Family]:
    """φ-decay of every power that has a plain network to stand beside."""
    return [Family(alpha, PHI) for alpha in config.alphas if alpha != 1 and 1 in config.alphas]


def compared(config: Config, dataset: xarray.Dataset) -> dict[Key, tuple[np.ndarray, np.ndarray]]:
    """φ-decay at every strength beside the plain networks of its model, both over the seeds."""
    found: dict[Key, tuple[np.ndarray, np.ndarray]] = {}
    for model, mine, other in product(config.models, powered(config), (PLAIN, *controls(config))):
        plain = curve(dataset, model, other)
        for strength, right, bits, cost in zip(*curve(dataset, model, mine), strict=True):
            like = plain.at_energy(cost)
            each = (right, like[0]), (bits, like[1]), (1000 * bits / cost, 1000 * bits / plain.at_bits(bits))
            found |= {(metric, model, mine, other, strength): pair for metric, pair in zip(METRICS, each, strict=True)}
    return {key: pair for key, pair in found.items() if key[-1] > 0 and np.isfinite(pair[1]).any()}


def beside(config: Config, dataset: xarray.Dataset) -> Iterator[tables.Row]:
    """φ-decay against L2 and L1 at its own energy and at its own bits; those against L1 are tested."""
    samples = compared(config, dataset)
    tests: dict[Key, statistics.Test] = {}
    for metric in METRICS:
        control = {key: pair for key, pair in samples.items() if key[0] == metric and key[3] != PLAIN}
        tests |= statistics.family(f"{metric}, φ-decay against L1", control, paired=True)
    for key, (first, second) in samples.items():
        metric, model, mine, other, strength = key
        method, setting = f"{model}, {mine}", {"strength": float(strength)}
        yield tables.row(f"{model}, {other}, beside {mine}", metric, second, setting=setting)
        yield tables.row(
            f"{method} − {other}", f"{metric}, difference", first - second, setting=setting, test=tests.get(key)
        )


def released(config: Config, dataset: xarray.Dataset) -> Iterator[tables.Row]:
    """What plastic release adds to the bits per energy of every network."""
    if set(config.models) != set(MODELS):
        return
    ratio = (1000 * dataset.information / dataset.energy).where(~dataset.failed)
    tests = against(ratio, "model", "deterministic", "bits per energy, plastic against deterministic")
    gains = ratio.sel(model="plastic") - ratio.sel(model="deterministic")
    for place, gain in enumerate(gains.transpose("setting", "seed")):
        method, setting = f"plastic − deterministic, {gain.family.item()}", {"strength": float(gain.strength)}
        test = tests.get(("plastic", place))
        yield tables.row(method, f"{BITS}, difference", gain, setting=setting, test=test)


def rows(config: Config, dataset: xarray.Dataset) -> list[tables.Row]:
    """Every network, φ-decay against both penalties of plain networks, plastic against deterministic release."""
    return [*alone(config, dataset), *beside(config, dataset), *released(config, dataset)]


def remarks(config: Config, dataset: xarray.Dataset) -> list[str]:
    """What penalty, rate and power do to the energy of the same bits."""
    made, plain = [], (PLAIN, *controls(config))
    for model, mine in product(config.models, powered(config)):
        others = [curve(dataset, model, family) for family in plain]
        for strength, _, bits, cost in zip(*curve(dataset, model, mine), strict=True):
            energies = [*(other.at_bits(bits) for other in others), cost]
            steps = [statistics.summary(np.log(more / less)) for more, less in pairwise(energies)]
            if strength > 0 and all(step.n for step in steps):
                penalty, rate, power = (float(np.exp(step.mean)) for step in steps)
                made.append(
                    f"{model}, at the {np.nanmean(bits):.2f} bits of {mine} {strength:g}: L2 costs {penalty:.2f} times "
                    f"the energy of L1 (due to the penalty), that {rate:.2f} times the energy of L1 at rate "
                    f"{config.control_rate:g} (to the rate), and that {power:.2f} times the energy of φ-decay (to the "
                    "power)."
                )
    return [*made, "Where nothing is said, one of the plain networks has no strength with such bits."]


EXPERIMENT = Experiment(Config, measure, rows, __doc__, remarks)

if __name__ == "__main__":
    EXPERIMENT.main()
