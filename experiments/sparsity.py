"""How sparse powerpropagated networks are by themselves: accuracy against the share of weights kept (S004, Fig. 1).

LeNet-300-100 with θ = φ|φ|^(α−1), trained by SGD on MNIST's first 55,000 training images and pruned by abs(θ) without
retraining. Powers and seeds are replicas of one program; a seed has the same first weights and batches for every power.
"""

import itertools
import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import xarray
from common import kept, load
from torch import Tensor, nn

import synsim
from synsim import Sweep, lesions, statistics, streams, tables, tasks
from synsim.experiment import Experiment, PresetConfig, Presets, option
from synsim.papers.schwarz2021 import ALPHAS, BATCH, HELD_OUT, HIDDEN, OUTPUT, RATE, STEPS, TRUNCATED
from synsim.training import Session

SHARES = (0.01, 0.05, 0.1, 0.2, 0.5)
SCATTERED = 10_000
FEW = 0.05


@dataclass(frozen=True, kw_only=True)
class Config(PresetConfig):
    """Options of this experiment."""

    PRESETS: ClassVar[Presets] = {"quick": {"steps": 10_000}, "paper": {"steps": STEPS}}
    out: str = option("runs/sparsity", "folder of the run")
    alphas: tuple[float, ...] = option(ALPHAS, "powers α; 1 is the plain network")
    steps: int | None = option(None, "steps of SGD (default: from the preset)")
    epochs: int | None = option(None, "not used: see --steps", neutral=True)
    keep: tuple[float, ...] = option(lesions.KEEP, "shares of the weights that are kept")
    hidden: tuple[int, ...] = option(HIDDEN, "widths of the hidden layers")
    batch: int = option(BATCH, "examples per step")
    lr: float = option(RATE, "learning rate")


def task_of(config: Config) -> tasks.Task:
    """Pixels in [0, 1]; the last training images are held out, as in the published notebook."""
    data = load(config)
    held_out = min(HELD_OUT, len(data.x_train) // 10)
    return tasks.single(data, pixels="unit", validation=held_out, device=config.device)[0]


def network(config: Config, task: tasks.Task, sweep: Sweep) -> nn.Module:
    """Weights from a normal distribution cut at two standard deviations, of variance 1 / fan-in; biases of 0."""
    sizes = [task.inputs, *config.hidden, task.classes]
    net = synsim.mlp(sizes, p=1.0, bias=True, replicas=sweep, device=config.device)
    low = 0.5 * math.erfc(math.sqrt(2))
    for name, layer in synsim.synapses(net).items():
        drawn = streams.uniform(streams.keys("init", sweep.seeds, f"{name}.truncated"), layer.weight[0].numel())
        normal = torch.special.ndtri(low + (1 - 2 * low) * drawn.double()) / TRUNCATED
        with torch.no_grad():
            layer.weight.copy_((normal / math.sqrt(layer.weight.shape[-1])).reshape(layer.weight.shape))
            if layer.bias is not None:
                layer.bias.zero_()
    return net


def weights(net: nn.Module) -> dict[str, Tensor]:
    """The weights of all layers as they are now."""
    return {name: layer.weight.detach().clone() for name, layer in synsim.synapses(net).items()}


def overlaps(before: dict[str, Tensor], after: dict[str, Tensor], share: float) -> Tensor:
    """Share of the weights that are kept at the end which would have been kept at the start too, [R]."""
    replicas = len(next(iter(before.values())))
    first, last = (
        lesions.kept(
            lesions.lesion_ranks({name: value.abs() for name, value in each.items()}, replicas, "layer"),
            share, replicas, "layer", OUTPUT,
        )
        for each in (before, after)
    )  # fmt: skip
    both = torch.stack([(first[name] & last[name]).flatten(1).sum(1) for name in first]).sum(0)
    return both / torch.stack([mask.flatten(1).sum(1) for mask in last.values()]).sum(0)


def measures(net: nn.Module, task: tasks.Task, before: dict[str, Tensor], config: Config) -> dict[str, np.ndarray]:
    """Curves of accuracy over the shares kept, overlaps of masks, and how the weights have changed."""
    after = weights(net)
    first, last = (torch.cat([each.flatten(1) for each in one.values()], dim=1).double() for one in (before, after))
    curves = {
        scope: synsim.pruning_curve(net, task.test, task.test.y, config.keep, scope=scope, output=OUTPUT)[1]
        for scope in ("layer", "network")
    }
    centred = last - last.mean(1, keepdim=True)
    found = {
        "pruned": torch.stack(list(curves.values()), 1),
        "overlap": torch.stack([overlaps(before, after, share) for share in SHARES], 1),
        "flipped": (first.sign() != last.sign()).double().mean(1),
        "kurtosis": (centred**4).mean(1) / (centred**2).mean(1) ** 2,
        "energy": synsim.meters.energy(net),
        "before": first[:, :: max(1, first.shape[1] // SCATTERED)],
        "after": last[:, :: max(1, last.shape[1] // SCATTERED)],
    }
    return {name: value.cpu().double().numpy() for name, value in found.items()}


def measure(config: Config, session: Session) -> xarray.Dataset:
    """Train all powers and seeds at once, and prune what they have become."""
    task = task_of(config)
    sweep = Sweep({"alpha": config.alphas}, config.seeds)
    net = network(config, task, sweep)
    before = weights(net)
    rule = synsim.Powerpropagation(torch.optim.SGD(net.parameters(), lr=config.lr), sweep.column("alpha"), net=net)
    # That a large power diverges is its result.
    phase = session.fit("powers", net, rule, [task], sweep=sweep, steps=config.steps, batch=config.batch, tolerant=True)
    arrays = kept(session, "pruned", lambda: measures(net, task, before, config))
    axes = {"pruned": ("replica", "scope", "keep"), "overlap": ("replica", "share")}
    axes |= {"before": ("replica", "weight"), "after": ("replica", "weight")}
    found = xarray.Dataset({name: (axes.get(name, ("replica",)), values) for name, values in arrays.items()})
    found = found.assign_coords(scope=["layer", "network"], keep=list(config.keep), share=list(SHARES))
    return phase.dataset.isel(task=0, after_task=0, test_task=0, drop=True).assign(sweep.unfold(found))


def rows(config: Config, dataset: xarray.Dataset) -> list[tables.Row]:
    """Accuracy of every power, dense and pruned, against that of the plain network; overlap of masks; sign changes."""
    pruned = 100 * dataset.pruned.where(~dataset.failed)
    places = [(scope, keep) for scope in pruned.scope.values for keep in pruned.keep.values]
    pairs = {
        (alpha, *place): (pruned.sel(alpha=alpha, scope=place[0], keep=place[1]).values, plain.values)
        for place in places
        if 1 in config.alphas and place[0] == "layer" and place[1] <= FEW
        for plain in [pruned.sel(alpha=1, scope=place[0], keep=place[1])]
        for alpha in config.alphas
        if alpha != 1
    }
    tests = statistics.family("accuracy with few weights kept by layer, against α = 1", pairs, paired=True)
    made = []
    for alpha in config.alphas:
        one, name = dataset.sel(alpha=alpha).where(~dataset.failed.sel(alpha=alpha)), f"α = {alpha:g}"
        made.append(tables.row(name, "test accuracy, %", 100 * one.accuracy.values, setting={"alpha": alpha}))
        for scope, keep in places:
            setting = {"alpha": alpha, "scope": str(scope), "keep": float(keep)}
            metric = f"test accuracy with {keep:.1%} kept by {scope}, %"
            values = pruned.sel(alpha=alpha, scope=scope, keep=keep).values
            made.append(tables.row(name, metric, values, setting=setting, test=tests.get((alpha, scope, keep))))
        for share in SHARES:
            metric = f"overlap of first and last masks at {share:.0%} kept"
            made.append(tables.row(name, metric, one.overlap.sel(share=share).values, setting={"alpha": alpha}))
        made.append(tables.row(name, "weights whose sign changed, %", 100 * one.flipped.values))
        made.append(tables.row(name, "kurtosis of the weights", one.kurtosis.values))
        made.append(tables.row(name, "synaptic energy Σ|θ|", one.energy.values))
    return made


def remarks(config: Config, dataset: xarray.Dataset) -> list[str]:
    """Where a higher power is no better at few weights, as the paper says it always is."""
    mean = 100 * dataset.pruned.sel(scope="layer").mean("seed")
    few = [keep for keep in config.keep if keep <= FEW]
    if 1 not in config.alphas or not few:
        return []
    worse = []
    for alpha, keep in itertools.product(config.alphas, few):
        ours, plain = (float(mean.sel(alpha=each, keep=keep)) for each in (alpha, 1))
        if alpha != 1 and not ours > plain:
            worse.append(f"α = {alpha:g} at {keep:.1%} kept: {ours:.1f} against {plain:.1f} %")
    what = f"at {FEW:.0%} kept and less, by layer, every α > 1 is better than α = 1"
    return [f"{what}, but for: {'; '.join(worse)}." if worse else f"{what}."]


EXPERIMENT = Experiment(Config, measure, rows, __doc__, remarks)

if __name__ == "__main__":
    EXPERIMENT.main()
