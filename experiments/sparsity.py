"""How sparse powerpropagated networks are by themselves: accuracy against the share of weights kept (S004, Fig. 1).

LeNet-300-100 with θ = φ|φ|^(α−1), trained by SGD on MNIST's first 55,000 training images and pruned by abs(θ) without
retraining (one-shot); and trained with few weights from the start (TopKAST) or ever fewer (gradual). Powers and seeds
are replicas of one program; a seed has the same first weights and batches for every power.
"""

import math
from itertools import product

import numpy as np
import torch
import xarray
from common import StepsConfig, kept, labelled, load, some_of
from lines import against, rows_of
from torch import Tensor, nn

import synsim
from synsim import Sweep, lesions, streams, tables, tasks
from synsim.experiment import Experiment, Session, by_preset, option
from synsim.papers import schwarz2021 as paper

SHARES, SCOPES = (0.01, 0.05, 0.1, 0.2, 0.5), ("layer", "network")
FEW, TENTH = 0.05, 0.1
SCHEDULES = ("one-shot", "gradual", "topkast")


class Config(StepsConfig):
    alphas: tuple[float, ...] = option(paper.ALPHAS, "powers α; 1 is the plain network")
    steps: int = by_preset("steps of SGD", least=1, quick=10_000, paper=paper.STEPS)
    keep: tuple[float, ...] = option(lesions.KEEP, "shares of the weights that are kept")
    hidden: tuple[int, ...] = option(paper.HIDDEN, "widths of the hidden layers")
    batch: int = option(paper.BATCH, "examples per step")
    lr: float = option(paper.RATE, "learning rate")
    schedules: tuple[str, ...] = some_of(SCHEDULES, "how weights become few")
    density: float = option(FEW, "share of each layer that stays in the end, whatever the schedule")


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


def stay(each: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    """The largest weights of each layer, [R, ...]."""
    size, replicas = {name: value.abs() for name, value in each.items()}, len(next(iter(each.values())))
    return lesions.kept(lesions.lesion_ranks(size, replicas, "layer"), share, replicas, "layer", paper.OUTPUT)


def small(each: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights below the median of their layer, [R, ...]."""
    return {name: value.abs() < value.abs().flatten(1).median(1)[0][:, None, None] for name, value in each.items()}


def share_of(masks: dict[str, Tensor], last: dict[str, Tensor]) -> Tensor:
    """Share of the weights that are kept at the end which are in other masks too, [R]."""
    both = torch.stack([(masks[name] & last[name]).flatten(1).sum(1) for name in last]).sum(0)
    return both / torch.stack([mask.flatten(1).sum(1) for mask in last.values()]).sum(0)


def measures(net: nn.Module, task: tasks.Task, before: dict[str, Tensor], config: Config) -> dict[str, np.ndarray]:
    """Curves of accuracy over the shares kept, overlaps of masks, and how the weights have changed."""
    after = weights(net)
    first, last = (torch.cat([each.flatten(1) for each in one.values()], dim=1).double() for one in (before, after))
    curves = {
        scope: synsim.pruning_curve(net, task.test, task.test.y, config.keep, scope=scope, output=paper.OUTPUT)[1]
        for scope in SCOPES
    }
    overlaps = [share_of(stay(before, share), stay(after, share)) for share in SHARES]
    centred = last - last.mean(1, keepdim=True)
    found = {
        "pruned": torch.stack(list(curves.values()), 1),
        "overlap": torch.stack(overlaps, 1),
        "risen": share_of(small(before), stay(after, TENTH)),
        "one_shot": synsim.pruning_curve(net, task.test, task.test.y, (config.density,), output=paper.OUTPUT)[1][:, 0],
        "flipped": (first.sign() != last.sign()).double().mean(1),
        "kurtosis": (centred**4).mean(1) / (centred**2).mean(1) ** 2,
        "energy": synsim.meters.energy(net),
        # For the figure: about ten thousand of them.
        **{name: one[:, :: max(1, one.shape[1] // 10_000)] for name, one in (("before", first), ("after", last))},
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
    data, steps, sweep = load(config), config.steps, Sweep({"alpha": config.alphas}, config.seeds)
    # The last training images are held out, as in the published notebook.
    held_out = min(paper.HELD_OUT, len(data.x_train) // 10)
    (task,) = tasks.single(data, pixels="unit", validation=held_out, device=config.device)
    before = weights(network(config, task, sweep))
    net, dense = trained("powers", config, session, task, sweep, None)
    arrays = kept(session, "pruned", lambda: measures(net, task, before, config))
    axes = {"pruned": ("scope", "keep"), "overlap": ("share",), "before": ("weight",), "after": ("weight",)}
    found = sweep.unfold(labelled(arrays, axes, scope=SCOPES, keep=config.keep, share=SHARES))
    few = {"one-shot": found.one_shot.where(~dense.failed)}
    for schedule in SCHEDULES[1:]:
        if schedule in config.schedules:
            one = trained(schedule, config, session, task, sweep, sparse_by(schedule, config, steps))[1]
            few[schedule] = one.accuracy.where(~one.failed)
    chosen = [name for name in config.schedules if name in few]
    scheduled = xarray.concat([few[name] for name in chosen], "schedule", coords="minimal", compat="override")
    return dense.assign(found).assign(scheduled=scheduled.assign_coords(schedule=chosen))


def rows(config: Config, dataset: xarray.Dataset) -> list[tables.Row]:
    """Accuracy of every power, dense and with few weights, against that of the plain network; masks; sign changes."""
    pruned, scheduled = 100 * dataset.pruned.where(~dataset.failed), 100 * dataset.scheduled
    few = pruned.sel(scope=["layer"], keep=[keep for keep in pruned.keep.values if keep <= FEW])
    tests = against(few, "alpha", 1, "accuracy with few weights kept by layer, against α = 1")
    schedule_tests = against(scheduled, "alpha", 1, f"accuracy with {config.density:.1%} kept, against α = 1")
    made = []
    for alpha in config.alphas:
        one, name = dataset.sel(alpha=alpha).where(~dataset.failed.sel(alpha=alpha)), f"α = {alpha:g}"
        told = {"test accuracy, %": 100 * one.accuracy}
        told |= {f"overlap of first and last masks at {s:.0%} kept": one.overlap.sel(share=s) for s in SHARES}
        told[f"of {TENTH:.0%} kept, began smaller than the median, %"] = 100 * one.risen
        told["weights whose sign changed, %"] = 100 * one.flipped
        told |= {"kurtosis of the weights": one.kurtosis, "synaptic energy Σ|θ|": one.energy}
        made += rows_of(name, told, setting={"alpha": alpha})
        for scope, keep in product(SCOPES, config.keep):
            setting, test = {"alpha": alpha, "scope": scope, "keep": keep}, tests.get((alpha, scope, keep))
            metric = f"test accuracy with {keep:.1%} kept by {scope}, %"
            made.append(tables.row(name, metric, pruned.sel(setting), setting=setting, test=test))
        for values in scheduled.sel(alpha=alpha).transpose("schedule", "seed"):
            schedule, metric = values.schedule.item(), f"test accuracy with {config.density:.1%} kept, %"
            test = schedule_tests.get((alpha, schedule))
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
