"""Why KFAC works: how close its steps are to descent on neurons (Benzing 2022, Fig. 5.3B–D and 5.4C).

KFAC learns with several dampings, and on its path its move is set beside that of FOOF with the damping λ_A of KFAC's
inputs: cosines in the product of A Aᵀ, and how much of a batch's loss one step takes away where every move has the norm
of KFAC's in each layer. Standard damping is there twice: as it follows from its formula, and as the published code has
it, with the eigenvectors of the outputs transposed. Whether standard damping makes KFAC like gradient descent is then
asked of networks that learn with either, rates and dampings chosen on `--selection`, all as replicas of one program.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import torch
import xarray
from common import choice, paired, some_of, swept
from descent_common import Windows, layers, published, smooth, standardised
from torch import Tensor, nn
from torch.optim import Optimizer

import synsim
from synsim import Sweep, streams, tables, tasks
from synsim.descent.blocks import Block, blocks_of
from synsim.descent.factors import eigen, inverse, split
from synsim.experiment import Experiment, PresetConfig, Session, by_preset, option
from synsim.losses import replica_cross_entropy
from synsim.papers import benzing2022 as paper

# KFAC's own setting of Fig. 5.1A first, then those of Fig. 5.3.
PATHS = (paper.DESCENT["5.1A"]["kfac"], *(paper.DESCENT["5.3C"][f"kfac {damping:g}"] for damping in (0.01, 1e-4, 1e-6)))
KINDS = ("heuristic", "standard", "published code", "gradient")
MOVES = ("foof", *KINDS)
COSINES = {"fashion-mnist": paper.COSINES["5.3B"], "mnist": paper.COSINES["5.8B"]}
LOSSES = {**paper.CURVES["5.3C"], "kfac 0.01": paper.CURVES["5.3A"]["kfac-low"], **paper.CURVES["5.3D"]}
FORMS = ("heuristic", "standard", "published code", "sgd-momentum")
PAIRS = (("standard", "sgd-momentum"), ("published code", "sgd-momentum"), ("heuristic", "standard"),
         ("standard", "published code"))  # fmt: skip
STEPS = (50, 100, 600, 1200, 1800, 3000, 6000)
Moves = dict[str, dict[str, Tensor]]


class Config(PresetConfig):
    data: str = option("fashion-mnist", "data set: fashion-mnist, or mnist for the twins; or another", neutral=True)
    parts: tuple[str, ...] = some_of(("paths", "forms", "toy"), "what is measured")
    hidden: tuple[int, ...] = by_preset(
        "widths of the hidden layers", quick=(300, 300, 300), paper=paper.DESCENT_HIDDEN
    )
    batch: int = option(paper.DESCENT_BATCH, "examples per step")
    epochs: int = by_preset("passes over the data", quick=3, paper=paper.DESCENT_EPOCHS)
    period: int = by_preset("steps from one inversion to the next", quick=10, paper=1)
    rare: int = option(100, "the same for standard damping, which needs eigenvectors")
    every: int = option(50, "steps from one measurement to the next")
    selection: tuple[int, ...] = option((101,), "seeds that choose rates and dampings", chooses=True)


class PublishedCode(synsim.KFAC):
    """Standard damping as the published code has it: U_E stands where U_Eᵀ belongs, and the other way round."""

    def _inverted(self, block: Block) -> dict[str, Tensor]:
        found = super()._inverted(block)
        return {**found, "outputs_vectors": found["outputs_vectors"].mT.contiguous()}


def preconditioned(gradient: Tensor, inputs: Tensor, outputs: Tensor, damping: Tensor) -> dict[str, Tensor]:
    """A layer's gradient [R, O, I] as every kind of damping turns it, and FOOF with the damping λ_A of KFAC."""
    left, right = split(inputs, outputs, damping)
    foof = gradient @ inverse(inputs, left)
    (s_a, u_a), (s_e, u_e) = eigen(inputs), eigen(outputs)
    sizes = s_e.unsqueeze(-1) * s_a.unsqueeze(-2) + damping
    return {
        "foof": foof,
        "heuristic": inverse(outputs, right) @ foof,
        "standard": u_e @ ((u_e.mT @ gradient @ u_a) / sizes) @ u_a.mT,
        "published code": u_e.mT @ ((u_e @ gradient @ u_a) / sizes) @ u_a.mT,
        "gradient": gradient,
    }


@dataclass
class OnPath:
    """Measured on KFAC's path, on a batch for each place: cosines with FOOF, and how much a step takes off the loss."""

    rule: synsim.KFAC
    task: tasks.Task
    batch: int
    seeds: Sequence[int]
    at: int = -1

    def probes(self) -> dict[str, Callable[[nn.Module, tasks.Task], Tensor]]:
        """What `fit` measures after every window."""
        names = [f"cosine {kind}" for kind in KINDS] + [f"decrease {kind}" for kind in MOVES]
        return {name: partial(self.look, name) for name in names}

    def look(self, name: str, net: nn.Module, task: tasks.Task) -> Tensor:
        """One of the measurements, [R]."""
        if self.rule.steps != self.at:
            self.found, self.at = self.measured(net), self.rule.steps
        return self.found[name]

    def measured(self, net: nn.Module) -> dict[str, Tensor]:
        """All of them, for a batch drawn at random."""
        keys = streams.keys("order", self.seeds, "on path")
        rows = (streams.uniform(keys, self.batch, self.rule.steps) * len(self.task.train)).long()
        x, y = self.task.batch(rows.to(next(net.parameters()).device))
        with synsim.expected(net), self.rule.watch():
            logits = net(x)
        losses = replica_cross_entropy(logits, y)
        self.rule.zero_grad()
        self.rule.backward(losses, logits, tolerant=True)
        moves, products = self.moves(net)
        over_layers = {pair: torch.stack([layer[pair] for layer in products]).sum(0) for pair in products[0]}
        sizes = {kind: (over_layers[kind, kind] * over_layers["foof", "foof"]).sqrt() for kind in KINDS}
        found = {f"cosine {kind}": over_layers[kind, "foof"] / sizes[kind] for kind in KINDS}
        lr = torch.as_tensor(self.rule.param_groups[0]["lr"]).to(logits).reshape(-1, 1, 1)
        for kind in MOVES:
            after = stepped(net, moves[kind], moves["heuristic"], lr, x, y)
            found[f"decrease {kind}"] = 1 - after / losses.detach()
        self.rule.zero_grad()
        return found

    @torch.no_grad()
    def moves(self, net: nn.Module) -> tuple[Moves, list[dict[tuple[str, str], Tensor]]]:
        """Kind -> layer -> move [R, O, I]; and for every layer the products of two kinds, tr(X A Aᵀ Yᵀ), [R]."""
        moves: Moves = {kind: {} for kind in MOVES}
        products = []
        damping = torch.as_tensor(self.rule.param_groups[0]["damping"])
        averages = self.rule.averages()
        for name, block in blocks_of(net).items():
            inputs, outputs = averages[name]
            assert block.weight.grad is not None
            gradient = block.matrix(block.weight.grad, None)
            each = preconditioned(gradient, inputs, outputs, damping.to(gradient).reshape(-1, 1, 1))
            seen = {kind: move @ inputs for kind, move in each.items()}
            pairs = [(kind, "foof") for kind in each] + [(kind, kind) for kind in KINDS]
            products.append({(a, b): (seen[a].double() * each[b].double()).sum((-2, -1)) for a, b in pairs})
            for kind, move in each.items():
                moves[kind][name] = move
        return moves, products


@torch.no_grad()
def stepped(
    net: nn.Module, moves: Mapping[str, Tensor], like: Mapping[str, Tensor], lr: Tensor, x: Tensor, y: Tensor
) -> Tensor:
    """Loss of a batch after one step, each layer's move of the norm of another one, [R]; the network stays."""
    blocks = blocks_of(net)
    before = {name: block.weight.detach().clone() for name, block in blocks.items()}
    for name, move in moves.items():
        norms = [torch.linalg.vector_norm(each, dim=(-2, -1), keepdim=True) for each in (like[name], move)]
        blocks[name].weight.sub_(lr * move * norms[0] / norms[1])
    with synsim.expected(net):
        found = replica_cross_entropy(net(x), y)
    for name, weight in before.items():
        blocks[name].weight.copy_(weight)
    return found


class Course:
    """What a network learns from: the task in windows of `every` steps, and how many there are."""

    def __init__(self, config: Config) -> None:
        self.config, task = config, standardised(config)
        windows = Windows.of(task, config.batch, config.every)
        self.every = windows.count // config.batch
        self.task = tasks.Task(task.name, task.train, task.test, task.classes, stream=windows)
        self.windows = config.epochs * windows.per_epoch

    def network(self, sweep: Sweep) -> nn.Module:
        """Without biases, Kaiming's normal weights."""
        return layers(self.task, self.config.hidden, sweep)

    def fit(
        self, session: Session, name: str, net: nn.Module, rule: Optimizer, sweep: Sweep, windows: int = 0, **more: Any
    ) -> xarray.Dataset:
        """Learn, and measure after every window: [setting, seed, step]."""
        phase = session.fit(
            name, net, rule, [self.task], sweep=sweep, keep=False, tolerant=True, epochs=windows or self.windows,
            batch=self.config.batch, test_every_epoch=False, test_ahead=False, test=[], **more,
        )  # fmt: skip
        found = phase.dataset.isel(task=0, drop=True).rename(epoch="step")
        found = found.drop_vars(["accuracy", "test_accuracy", "train_accuracy", "seconds"], errors="ignore")
        found = found.where(~found.failed).drop_dims(["after_task", "test_task"], errors="ignore")
        return found.assign_coords(step=self.every * np.arange(1, found.sizes["step"] + 1))


def kfac(kind: str, config: Config, net: nn.Module, sweep: Sweep) -> synsim.KFAC:
    """KFAC with one form of damping, rate and damping of every replica its own."""
    often = config.rare if kind in ("standard", "published code") else config.period
    rule = PublishedCode if kind == "published code" else synsim.KFAC
    damp = {"published code": "standard", "foof": "left"}.get(kind, kind)
    return rule(
        net, sweep.column("lr"), sweep.column("damping"), damp=damp, match="rate" if kind == "foof" else None,
        period=often, average=paper.AVERAGE, warmup=paper.WARMUP,
    )  # fmt: skip


def paths(config: Config, session: Session, course: Course) -> xarray.Dataset:
    """KFAC with several dampings, measured along its path; and FOOF with its λ_A on paths of its own."""
    sweep = Sweep([{"lr": each.lr, "damping": each.damping} for each in PATHS], config.seeds)
    net = course.network(sweep)
    rule = kfac("heuristic", config, net, sweep)
    probes = OnPath(rule, course.task, config.batch, sweep.seeds).probes()
    found = course.fit(session, "KFAC", net, rule, sweep, probes=probes)
    own = Sweep(sweep.settings[1:], config.seeds)
    net = course.network(own)
    foof = course.fit(session, "FOOF with λ_A", net, kfac("foof", config, net, own), own)
    measures = {"cosine": ("kind", KINDS), "decrease": ("move", MOVES)}
    made = {
        name: xarray.concat([found[f"{name} {kind}"] for kind in kinds], xarray.Variable(axis, list(kinds)))
        for name, (axis, kinds) in measures.items()
    }
    made |= {"loss": found.loss, "foof_loss": foof.loss}
    return xarray.Dataset({
        name: one.swap_dims(setting="damping").drop_vars(["lr", "setting"], errors="ignore")
        for name, one in made.items()
    })  # fmt: skip


def grid(form: str) -> list[dict[str, float]]:
    """What is tried of a form."""
    if form == "sgd-momentum":
        return [{"lr": lr, "damping": np.nan} for lr in (0.003, 0.01, 0.03)]
    return [{"lr": damping * ratio, "damping": damping} for damping, ratio in product((0.1, 1.0, 10.0), (0.1, 0.3))]


def learned(
    config: Config, session: Session, course: Course, form: str, settings: Sequence[Mapping[str, float]], choosing: bool
) -> xarray.Dataset:
    """Settings of a form, [setting, seed, step]; those that are to be chosen among learn for a third of the time."""
    windows = -(-course.windows // 3) if choosing else course.windows

    def run(sweep: Sweep, phase: str) -> xarray.Dataset:
        net = course.network(sweep)
        if form == "sgd-momentum":
            rule: Optimizer = torch.optim.SGD(net.parameters(), sweep.settings[0]["lr"], momentum=paper.MOMENTUM)
        else:
            rule = kfac(form, config, net, sweep)
        return course.fit(session, phase, net, rule, sweep, windows)[["loss"]]

    seeds, phase = (config.selection, f"{form}, chosen among") if choosing else (config.seeds, form)
    return swept(run, settings, seeds, *(("lr",) if form == "sgd-momentum" else ()), phase=phase)


def forms(config: Config, session: Session, course: Course) -> xarray.Dataset:
    """Every form with the setting that is best on other seeds, [form, seed, step]; and what all of them came to."""
    found, most = [], max(len(grid(form)) for form in FORMS)
    for form in FORMS:
        settings = grid(form)
        ends = learned(config, session, course, form, settings, True).loss.isel(step=-1).mean("seed", skipna=False)
        best = settings[choice(ends)]
        own = learned(config, session, course, form, [best], False).loss.isel(setting=0, drop=True)
        own = own.drop_vars(["lr", "damping"], errors="ignore")
        tried = np.pad(ends.values, (0, most - len(settings)), constant_values=np.nan)
        chosen = {"lr": best["lr"], "damping_chosen": best["damping"]}
        found.append(xarray.Dataset({"form_loss": own, "tried": ("number", tried), **chosen}))
    return xarray.concat(found, xarray.Variable("form", list(FORMS)))


def toy() -> xarray.Dataset:
    """Two conflicting examples (3, 1) → 1 and (1, 0) → −1: outputs after one step from 0, [toy, example]."""
    x, y, outputs = torch.tensor([[3.0, 1.0], [1.0, 0.0]]), torch.tensor([1.0, -1.0]), []
    for rule in ("foof", "sgd"):
        net = synsim.mlp([2, 1], p=1.0)
        nn.init.zeros_(next(net.parameters()))
        step: Optimizer = synsim.FOOF(net, 1.0, 1e-9, warmup=0, average=0.0, period=1) if rule == "foof" else (
            torch.optim.SGD(net.parameters(), lr=0.1))  # fmt: skip
        if isinstance(step, synsim.FOOF):
            with step.watch():
                out = net(x)
            step.backward((out[:, 0] - y).square().sum() / 2, out)
        else:
            ((net(x)[:, 0] - y).square().sum() / 2).backward()
        step.step()
        outputs.append(net(x)[:, 0].detach().double().numpy())
    return xarray.Dataset({"outputs": (("toy", "example"), np.stack(outputs))}, {"toy": ["foof", "sgd"]})


def measure(config: Config, session: Session) -> xarray.Dataset:
    """Paths, forms of damping, and the toy example."""
    course, made = Course(config), list[xarray.Dataset]()
    if "paths" in config.parts:
        made.append(paths(config, session, course))
    if "forms" in config.parts:
        made.append(forms(config, session, course))
    if "toy" in config.parts:
        made.append(toy())
    return xarray.merge(made)


def rows(config: Config, dataset: xarray.Dataset) -> list[tables.Row]:
    """Cosines, decreases, losses, and whether standard damping is like gradient descent."""
    there = dataset.step.values if "step" in dataset else ()
    steps, made = [step for step in STEPS if step in there] or [int(step) for step in there[-1:]], list[tables.Row]()
    if "cosine" in dataset:
        for part in (cosine_rows, decrease_rows, loss_rows):
            made += part(config, dataset, steps)
    if "form_loss" in dataset:
        made += form_rows(dataset, steps)
    return made + (toy_rows(dataset) if "outputs" in dataset else [])


def cosine_rows(config: Config, dataset: xarray.Dataset, steps: Sequence[int]) -> list[tables.Row]:
    """Cosines with FOOF, and heuristic against standard damping at the end."""
    made, pairs, last = [], {}, dataset.cosine.isel(step=-1)
    curves = [COSINES[config.data]] if config.data in COSINES else []
    for damping, kind in product(dataset.damping.values, KINDS):
        # The paper does not say which damping its one curve of standard damping has.
        shown, method = f"heuristic {damping:g}" if kind == "heuristic" else "", f"{kind}, damping {damping:g}"
        for step in steps:
            values = dataset.cosine.sel(damping=damping, kind=kind, step=step).values
            metric, theirs = f"cosine with FOOF at step {step}", published(curves, shown, step)
            made.append(tables.row(method, metric, values, theirs, setting={"damping": damping}))
        first, second = (last.sel(damping=damping, kind=each).values for each in ("heuristic", kind))
        if kind != "heuristic":
            pairs[f"heuristic − {method}"] = (first, second)
    family = "cosine with FOOF at the end: heuristic damping and others"
    return made + paired(family, "cosine with FOOF at the end, difference", pairs)


def decrease_rows(config: Config, dataset: xarray.Dataset, steps: Sequence[int]) -> list[tables.Row]:
    """What a step takes off the loss of its batch on KFAC's path, and how often the others take off more."""
    made, path = [], dataset.decrease.sel(damping=PATHS[0].damping)
    curves = [paper.DECREASES] if config.data == "fashion-mnist" else []
    for move, step in product(MOVES, steps):
        theirs = published(curves, {"heuristic": "kfac"}.get(move, move), step)
        metric = f"relative decrease of the batch's loss at step {step}"
        made.append(tables.row(f"{move}, on KFAC's path", metric, path.sel(move=move, step=step).values, theirs))
    for move in ("foof", *KINDS[1:]):
        ahead = (path.sel(move=move) >= path.sel(move="heuristic")).mean("step").values
        metric = "steps in which it decreases the loss as much as KFAC or more, %"
        made.append(tables.row(f"{move}, on KFAC's path", metric, 100 * ahead))
    return made


def loss_rows(config: Config, dataset: xarray.Dataset, steps: Sequence[int]) -> list[tables.Row]:
    """Training losses of KFAC and of FOOF with its λ_A over dampings."""
    made, curves = [], [LOSSES] if config.data == "fashion-mnist" else []
    for variable, rule, shown in (("loss", "kfac", PATHS), ("foof_loss", "foof", PATHS[1:])):
        for path, step in product(shown, steps):
            theirs = published(curves, f"{rule} {path.damping:g}", step)
            values = smooth(dataset[variable].sel(damping=path.damping), step).values
            metric = f"training loss at step {step}"
            made.append(tables.row(f"{rule}, damping {path.damping:g}", metric, values, theirs))
    return made


def form_rows(dataset: xarray.Dataset, steps: Sequence[int]) -> list[tables.Row]:
    """Losses of the forms of damping beside gradient descent, each at its best setting."""
    made = []
    for form in FORMS:
        one = dataset.sel(form=form)
        setting = {key: float(one[key]) for key in ("lr", "damping_chosen") if np.isfinite(one[key])}
        for step in steps:
            values = smooth(one.form_loss, step).values
            made.append(tables.row(f"{form}, best setting", f"training loss at step {step}", values, setting=setting))
    ends = {form: smooth(dataset.form_loss.sel(form=form), int(dataset.step[-1])).values for form in FORMS}
    pairs = {f"{a} − {b}": (ends[a], ends[b]) for a, b in PAIRS}
    family = "training loss at the end: forms of damping and gradient descent"
    return made + paired(family, "training loss at the end, difference", pairs)


def toy_rows(dataset: xarray.Dataset) -> list[tables.Row]:
    """Outputs after one step, where the targets are 1 and −1."""
    made = []
    for toy, (place, target) in product(dataset.toy.values, enumerate((1.0, -1.0))):
        value = float(dataset.outputs.sel(toy=toy).values[place])
        metric = f"output for example {place + 1} after one step"
        made.append(tables.row(f"{toy}, toy example", metric, [value], target))
    return made


def remarks(config: Config, dataset: xarray.Dataset) -> list[str]:
    """The settings that were chosen."""
    made = []
    for form in FORMS if "form_loss" in dataset else ():
        one = dataset.sel(form=form)
        made.append(f"{form}: lr {float(one.lr):g}, damping {float(one.damping_chosen):g} were chosen.")
    return made


EXPERIMENT = Experiment(Config, measure, rows, __doc__, remarks)

if __name__ == "__main__":
    EXPERIMENT.main()
