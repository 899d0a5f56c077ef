"""How sparse powerpropagated networks are by themselves: accuracy against the share of weights kept (S004, Fig. 1).

LeNet-300-100 with θ = φ|φ|^(α−1), trained by SGD on MNIST's first 55,000 training images and pruned by abs(θ) without
retraining (one-shot); and trained with few weights from the start (TopKAST) or ever fewer (gradual). Powers and seeds
are replicas of one program; a seed has the same first weights and batches for every power.
"""

import itertools
import math
from dataclasses import dataclass

import numpy as np
import torch
import xarray
from common import kept, load
from torch import Tensor, nn

import synsim
from synsim import Sweep, lesions, statistics, streams, tables, tasks
from synsim.experiment import Experiment, PresetConfig, Session, by_preset, option
from synsim.papers import schwarz2021 as paper

SHARES = (0.01, 0.05, 0.1, 0.2, 0.5)
SCATTERED = 10_000
FEW, TENTH = 0.05, 0.1
SCHEDULES = ("one-shot", "gradual", "topkast")


@dataclass(frozen=True, kw_only=True)
class Config(PresetConfig):
    alphas: tuple[float, ...] = option(paper.ALPHAS, "powers α; 1 is the plain network")
    steps: int | None = by_preset("steps of SGD", quick=10_000, paper=paper.STEPS)
    epochs: int | None = option(None, "not used: see --steps", neutral=True)
    keep: tuple[float, ...] = option(lesions.KEEP, "shares of the weights that are kept")
    hidden: tuple[int, ...] = option(paper.HIDDEN, "widths of the hidden layers")
    batch: int = option(paper.BATCH, "examples per step")
    lr: float = option(paper.RATE, "learning rate")
    schedules: tuple[str, ...] = option(
        SCHEDULES, "how weights become few", choices=SCHEDULES, neutral=True, phases=True
    )
    density: float = option(FEW, "share of each layer that stays in the end, whatever the schedule")


def task_of(config: Config) -> tasks.Task:
    """Pixels in [0, 1]; the last training images are held out, as in the published notebook."""
    data = load(config)
    held_out = min(paper.HELD_OUT, len(data.x_train) // 10)
    return tasks.single(data, pixels="unit", validation=held_out, device=config.device)[0]


def network(config: Config, task: tasks.Task, sweep: Sweep) -> nn.Module:
    """Weights from a normal distribution cut at two standard deviations, of variance 1 / fan-in; biases of 0."""
    sizes = [task.inputs, *config.hidden, task.classes]
    net = synsim.mlp(sizes, p=1.0, bias=True, replicas=sweep, device=config.device)
    low = 0.5 * math.erfc(math.sqrt(2))
    for name, layer in synsim.synapses(net).items():
        drawn = streams.uniform(streams.keys("init", sweep.seeds, f"{name}.truncated"), layer.weight[0].numel())
        normal = torch.special.ndtri(low + (1 - 2 * low) * drawn.double()) / paper.TRUNCATED
        with torch.no_grad():
            layer.weight.copy_((normal / math.sqrt(layer.weight.shape[-1])).reshape(layer.weight.shape))
            if layer.bias is not None:
                layer.bias.zero_()
    return net


def weights(net: nn.Module) -> dict[str, Tensor]:
    """The weights of all layers as they are now."""
    return {name: layer.weight.detach().clone() for name, layer in synsim.synapses(net).items()}


def sparse_by(schedule: str, config: Config, steps: int) -> synsim.sparse.Sparsity:
    """Masks that change along the way."""
    if schedule == "topkast":
        return synsim.sparse.TopKast(config.density, max(paper.BACKWARD, config.density), output=paper.OUTPUT)
    first, last = round(paper.PRUNED_FROM * steps), round(paper.PRUNED_UNTIL * steps)
    return synsim.sparse.Gradual(config.density, first, last, max(1, steps // 100), output=paper.OUTPUT)


def stay(size: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    """The largest weights of each layer, [R, ...]."""
    replicas = len(next(iter(size.values())))
    return lesions.kept(lesions.lesion_ranks(size, replicas, "layer"), share, replicas, "layer", paper.OUTPUT)


def sizes(each: dict[str, Tensor]) -> dict[str, Tensor]:
    """Absolute values."""
    return {name: value.abs() for name, value in each.items()}


def overlaps(before: dict[str, Tensor], after: dict[str, Tensor], share: float) -> Tensor:
    """Share of the weights that are kept at the end which would have been kept at the start too, [R]."""
    first, last = (stay(sizes(each), share) for each in (before, after))
    both = torch.stack([(first[name] & last[name]).flatten(1).sum(1) for name in first]).sum(0)
    return both / torch.stack([mask.flatten(1).sum(1) for mask in last.values()]).sum(0)


def risen(before: dict[str, Tensor], after: dict[str, Tensor]) -> Tensor:
    """Share of the tenth that is kept at the end which began smaller than the median of its layer, [R]."""
    last = stay(sizes(after), TENTH)
    small = {name: value < value.flatten(1).median(1)[0][:, None, None] for name, value in sizes(before).items()}
    both = torch.stack([(small[name] & last[name]).flatten(1).sum(1) for name in last]).sum(0)
    return both / torch.stack([mask.flatten(1).sum(1) for mask in last.values()]).sum(0)


def measures(net: nn.Module, task: tasks.Task, before: dict[str, Tensor], config: Config) -> dict[str, np.ndarray]:
    """Curves of accuracy over the shares kept, overlaps of masks, and how the weights have changed."""
    after = weights(net)
    first, last = (torch.cat([each.flatten(1) for each in one.values()], dim=1).double() for one in (before, after))
    curves = {
        scope: synsim.pruning_curve(net, task.test, task.test.y, config.keep, scope=scope, output=paper.OUTPUT)[1]
        for scope in ("layer", "network")
    }
    centred = last - last.mean(1, keepdim=True)
    found = {
        "pruned": torch.stack(list(curves.values()), 1),
        "overlap": torch.stack([overlaps(before, after, share) for share in SHARES], 1),
        "risen": risen(before, after),
        "one_shot": synsim.pruning_curve(net, task.test, task.test.y, (config.density,), output=paper.OUTPUT)[1][:, 0],
        "flipped": (first.sign() != last.sign()).double().mean(1),
        "kurtosis": (centred**4).mean(1) / (centred**2).mean(1) ** 2,
        "energy": synsim.meters.energy(net),
        "before": first[:, :: max(1, first.shape[1] // SCATTERED)],
        "after": last[:, :: max(1, last.shape[1] // SCATTERED)],
    }
    return {name: value.cpu().double().numpy() for name, value in found.items()}


def trained(
    name: str, config: Config, session: Session, task: tasks.Task, sweep: Sweep, sparsity: synsim.sparse.Sparsity | None
) -> tuple[nn.Module, xarray.Dataset]:
    """A network per power and seed, and what was measured of it."""
    net = network(config, task, sweep)
    rule = synsim.Powerpropagation(torch.optim.SGD(net.parameters(), lr=config.lr), sweep.column("alpha"), net=net)
    # That a large power diverges is its result.
    phase = session.fit(
        name, net, rule, [task], sweep=sweep, sparsity=sparsity, steps=config.steps, batch=config.batch, tolerant=True
    )
    return net, phase.dataset.isel(task=0, after_task=0, test_task=0, drop=True)


def measure(config: Config, session: Session) -> xarray.Dataset:
    """Train all powers and seeds at once, and prune what they have become; and train them with few weights."""
    task, steps = task_of(config), config.steps or paper.STEPS
    sweep = Sweep({"alpha": config.alphas}, config.seeds)
    before = weights(network(config, task, sweep))
    net, dense = trained("powers", config, session, task, sweep, None)
    arrays = kept(session, "pruned", lambda: measures(net, task, before, config))
    axes = {"pruned": ("replica", "scope", "keep"), "overlap": ("replica", "share")}
    axes |= {"before": ("replica", "weight"), "after": ("replica", "weight")}
    found = xarray.Dataset({name: (axes.get(name, ("replica",)), values) for name, values in arrays.items()})
    found = found.assign_coords(scope=["layer", "network"], keep=list(config.keep), share=list(SHARES))
    found = sweep.unfold(found)
    few = {"one-shot": found.one_shot.where(~dense.failed)}
    for schedule in SCHEDULES[1:]:
        if schedule in config.schedules:
            one = trained(schedule, config, session, task, sweep, sparse_by(schedule, config, steps))[1]
            few[schedule] = one.accuracy.where(~one.failed)
    chosen = [name for name in config.schedules if name in few]
    scheduled = xarray.concat([few[name] for name in chosen], "schedule", coords="minimal", compat="override")
    return dense.assign(found).assign(scheduled=scheduled.assign_coords(schedule=chosen))


def against_plain(values: xarray.DataArray, family: str) -> dict[tuple[object, ...], statistics.Test]:
    """Every power against α = 1, paired by seed, at each place that the other axes but the seed make."""
    if 1 not in values.alpha.values:
        return {}
    axes = [str(name) for name in values.dims if name not in ("alpha", "seed")]
    flat = values.stack(place=axes).transpose("place", "alpha", "seed")
    pairs = {
        (float(alpha), *place): (flat.sel(place=place, alpha=alpha).values, flat.sel(place=place, alpha=1).values)
        for alpha in values.alpha.values
        for place in flat.place.values.tolist()
        if alpha != 1
    }
    return statistics.family(family, pairs, paired=True)


def rows(config: Config, dataset: xarray.Dataset) -> list[tables.Row]:
    """Accuracy of every power, dense and with few weights, against that of the plain network; masks; sign changes."""
    pruned, scheduled = 100 * dataset.pruned.where(~dataset.failed), 100 * dataset.scheduled
    few = pruned.sel(scope=["layer"], keep=[keep for keep in pruned.keep.values if keep <= FEW])
    tests = against_plain(few, "accuracy with few weights kept by layer, against α = 1")
    schedule_tests = against_plain(scheduled, f"accuracy with {config.density:.1%} kept, against α = 1")
    made = []
    for alpha in config.alphas:
        one, name = dataset.sel(alpha=alpha).where(~dataset.failed.sel(alpha=alpha)), f"α = {alpha:g}"
        told = {"test accuracy, %": 100 * one.accuracy}
        told |= {f"overlap of first and last masks at {s:.0%} kept": one.overlap.sel(share=s) for s in SHARES}
        told[f"of {TENTH:.0%} kept, began smaller than the median, %"] = 100 * one.risen
        told["weights whose sign changed, %"] = 100 * one.flipped
        told |= {"kurtosis of the weights": one.kurtosis, "synaptic energy Σ|θ|": one.energy}
        made += [tables.row(name, metric, values.values, setting={"alpha": alpha}) for metric, values in told.items()]
        for scope, keep in itertools.product(pruned.scope.values, pruned.keep.values):
            setting = {"alpha": alpha, "scope": str(scope), "keep": float(keep)}
            metric = f"test accuracy with {keep:.1%} kept by {scope}, %"
            values = pruned.sel(alpha=alpha, scope=scope, keep=keep).values
            made.append(tables.row(name, metric, values, setting=setting, test=tests.get((alpha, scope, keep))))
        for schedule in scheduled.schedule.values.tolist():
            metric, test = f"test accuracy with {config.density:.1%} kept, %", schedule_tests.get((alpha, schedule))
            values = scheduled.sel(alpha=alpha, schedule=schedule).values
            made.append(tables.row(f"{name}, {schedule}", metric, values, setting={"alpha": alpha}, test=test))
    return made


def remarks(config: Config, dataset: xarray.Dataset) -> list[str]:
    """Where a higher power is no better at few weights, as the paper says it always is."""
    pruned, scheduled = dataset.pruned.where(~dataset.failed).sel(scope="layer"), dataset.scheduled
    places = {f"{keep:.1%} kept": pruned.sel(keep=keep) for keep in config.keep if keep <= FEW}
    places |= {f"{config.density:.1%} kept, {name}": scheduled.sel(schedule=name) for name in scheduled.schedule.values}
    if 1 not in config.alphas:
        return []
    worse = []
    for place, values in places.items():
        means = (100 * values).mean("seed")
        for alpha in config.alphas:
            ours, plain = float(means.sel(alpha=alpha)), float(means.sel(alpha=1))
            if alpha != 1 and not ours > plain:
                worse.append(f"α = {alpha:g} at {place}: {ours:.1f} against {plain:.1f} %")
    what = f"at {FEW:.0%} kept and less, by layer, every α > 1 is better than α = 1"
    return [f"{what}, but for: {'; '.join(worse)}." if worse else f"{what}."]


EXPERIMENT = Experiment(Config, measure, rows, __doc__, remarks)

if __name__ == "__main__":
    EXPERIMENT.main()
