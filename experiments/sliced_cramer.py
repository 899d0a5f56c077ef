"""Sliced Cramér preservation beside EWC and MAS: permuted images, and an auto-encoder on one digit after another.

Protocol (Kolouri et al. 2020, Fig. 3 and 4): Permuted MNIST on 784-1024-512-256-10 with Adam 1e-4, strengths
10^-3 … 10^9; and a ReLU auto-encoder 784-1024-1024-1024-256 with mirrored decoder, cross-entropy plus ℓ1, 50 epochs per
digit in a random order. Batch size, epochs of the first and the weight of the moving average of importances are not
stated there; here 100, 10 and ½. MAS is read as that paper writes it, with squares and on the outputs.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
import xarray
from common import PresetConfig, Presets, finish, load, run
from torch import Tensor, nn

import synsim
from synsim import streams, tables, tasks
from synsim.networks import initialised
from synsim.papers.kolouri2020 import DIGIT_EPOCHS, ENCODER, EXPONENTS, HIDDEN, RATE, SLICES
from synsim.training import History, Protection, Session, fit
from synsim.training.command import option, parse
from synsim.training.session import PhaseStore

METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "scp": ("sliced-cramer", {"slices": SLICES}),
    "mas": ("mas", {"of": "logits", "squared": True, "images": 1000}),
    "ewc": ("fisher", {"images": 1000}),
}
PARTS = {"permuted": ("scp", "mas", "ewc"), "encoder": ("scp", "mas")}
AVERAGE = 0.5
BINS = np.linspace(-30, 10, 81)


@dataclass(frozen=True, kw_only=True)
class Config(PresetConfig):
    """Options of this experiment."""

    PRESETS: ClassVar[Presets] = {
        "quick": {
            "hidden": (256, 128), "tasks": 3, "epochs": 2, "rate": 1e-3, "digits": 5, "digit_epochs": 5,
            "encoder": (256, 32), "exponents": (-1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0),
        },
        "paper": {
            "hidden": HIDDEN, "tasks": 10, "epochs": 10, "rate": RATE, "digits": 10, "digit_epochs": DIGIT_EPOCHS,
            "encoder": ENCODER, "exponents": EXPONENTS,
        },
    }  # fmt: skip
    out: str = option("runs/sliced_cramer", "folder of the run")
    parts: tuple[str, ...] = option(tuple(PARTS), "which of the two experiments", tuple(PARTS), neutral=True)
    exponents: tuple[float, ...] = option((), "strengths as powers of ten (default: from the preset)")
    hidden: tuple[int, ...] = option((), "hidden layers of the classifier (default: from the preset)")
    encoder: tuple[int, ...] = option((), "layers of the encoder (default: from the preset)")
    tasks: int | None = option(None, "number of permuted tasks (default: from the preset)")
    digits: int | None = option(None, "number of digits of the auto-encoder (default: from the preset)")
    digit_epochs: int | None = option(None, "passes over each digit (default: from the preset)")
    rate: float | None = option(None, "rate of Adam (default: from the preset)")
    batch: int = option(100, "examples per step")


def log_histogram(strengths: Tensor) -> Any:
    """Measurement after a task: how log10(λ · importance) is spread, shares per bin, [R, bins]."""
    edges = torch.tensor(BINS[1:-1])

    def measure(net: nn.Module, task: tasks.Task, found: dict[str, dict[str, Tensor]]) -> Tensor:
        flat = torch.cat([value.double().flatten(1) for value in found["importance"].values()], dim=1).cpu()
        logs = (flat * strengths.reshape(-1, 1)).clamp(min=10.0 ** BINS[0]).log10()
        index = torch.bucketize(logs.contiguous(), edges)
        counts = torch.zeros(flat.shape[0], len(BINS) - 1, dtype=torch.float64)
        return counts.scatter_add_(1, index, torch.ones_like(logs)) / flat.shape[1]

    return measure


def protection(name: str, strengths: Tensor, images: int) -> Protection:
    """Importance and penalty of a method, one strength per replica."""
    kind, options = METHODS[name]
    if "images" in options:
        options = {**options, "images": min(options["images"], images)}
    return Protection(
        synsim.importance.make(kind, **options),
        synsim.consolidation.make("penalty", strength=strengths, accumulate="average", decay=AVERAGE),
        after_task={"log_importance": log_histogram(strengths)},
    )


def classifier(config: Config, name: str, seed: int, session: Session) -> xarray.Dataset:
    """Permuted images: one method and seed over all strengths."""
    data = load(config)
    sequence = tasks.permuted(data, tasks=config.tasks, seeds=seed, pixels="unit", device=config.device)
    return trained(config, f"permuted/{name}/{seed}", name, seed, sequence, [*config.hidden, data.classes], session)


def reproduction(output: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy plus ℓ1 between image and reproduction, mean over pixels, [R]."""
    target = x.expand(output.shape)
    each = F.binary_cross_entropy(output, target, reduction="none") + (output - target).abs()
    return each.mean((-1, -2))


def pixel_error(net: nn.Module, task: tasks.Task) -> Tensor:
    """Mean ℓ1 error per pixel on the test images, [R]."""
    with torch.no_grad():
        x = task.test[0 : len(task.test)]
        return (net(x) - x).abs().mean((-1, -2))


def encoder(config: Config, name: str, seed: int, session: Session) -> xarray.Dataset:
    """Single digits in an order of the seed: one method and seed over all strengths."""
    data = load(config)
    order = streams.permutation(streams.keys("order", [seed], "digits"), data.classes)[0, : config.digits].tolist()
    sequence = tasks.by_class(data, order=order, device=config.device)
    inputs = sequence[0].train[0:1].shape[-1]
    layers = [*config.encoder, *config.encoder[-2::-1], inputs]
    return trained(config, f"encoder/{name}/{seed}", name, seed, sequence, layers, session, reconstruct=True)


def trained(
    config: Config,
    phase: str,
    name: str,
    seed: int,
    sequence: list[tasks.Task],
    layers: list[int],
    session: Session,
    reconstruct: bool = False,
) -> xarray.Dataset:
    """Train one replica per strength; the first has none."""
    strengths = torch.tensor([0.0, *(10.0**e for e in config.exponents)], dtype=torch.float64)
    inputs = sequence[0].train[0:1].shape[-1]
    net = synsim.mlp([inputs, *layers], p=1.0, bias=True, replicas=len(strengths), device=config.device)
    if reconstruct:
        net = net.append(nn.Sigmoid())
    initialised(net, (seed,) * len(strengths), sweep=True)

    def go(store: PhaseStore) -> History:
        return fit(
            net,
            torch.optim.Adam(net.parameters(), lr=config.rate),
            sequence,
            seeds=(seed,) * len(strengths),
            epochs=config.digit_epochs if reconstruct else config.epochs,
            batch=config.batch,
            samples=1,
            protection=protection(name, strengths, min(len(task.train) for task in sequence)),
            objective=reproduction if reconstruct else None,
            tested_by=pixel_error if reconstruct else None,
            store=store,
            test_every_epoch=False,
            progress=None if config.quiet else phase,
        )

    found = session.phase(phase, net, go, keep=False, sweep=True).dataset[["accuracy", "failed", "log_importance"]]
    places = np.arange(len(sequence))
    found = found.drop_vars(["seed", "replica"]).rename(replica="strength", log_importance_0="bin")
    return found.assign_coords(
        strength=strengths.numpy(), task=places, after_task=places, test_task=places, bin=(BINS[1:] + BINS[:-1]) / 2
    )


def experiment(config: Config, session: Session) -> None:
    """Run both parts, print and keep the results."""
    make = {"permuted": classifier, "encoder": encoder}
    parts, rows = {}, []
    for part in config.parts:
        models = [
            xarray.concat(
                [make[part](config, name, seed, session) for seed in config.seeds],
                dim=xarray.Variable("seed", list(config.seeds)),
            )
            for name in PARTS[part]
        ]
        found = xarray.concat(models, dim=xarray.Variable(f"{part}_model", list(PARTS[part])))
        sizes = {"task": f"{part}_task", "after_task": f"{part}_after_task", "test_task": f"{part}_test_task"}
        parts[part] = found.rename({**sizes, **{name: f"{part}_{name}" for name in found.data_vars}})
        rows += rows_of(part, found.rename({f"{part}_model": "model"}))
    finish(session, xarray.merge(parts.values()), rows)
    print(
        "The paper shows curves only; its order is SCP best on permuted images, and SCP slightly before MAS on digits."
    )
    if config.reduced():
        print(f"reduced: {config.reduced()}; published: 10 repetitions")


def rows_of(part: str, found: xarray.Dataset) -> list[tables.Row]:
    """The best strength of every method, and no protection."""
    scale, what = (100, "accuracy over all tasks, %") if part == "permuted" else (1000, "ℓ1 error per pixel, 10⁻³")
    final = scale * found.accuracy.where(~found.failed).isel(after_task=-1).mean("test_task", skipna=False)
    rows = [tables.row("none", f"{part}: {what}", final.isel(model=0).sel(strength=0.0).values)]
    for name in found.model.values:
        curve = final.sel(model=name).isel(strength=slice(1, None))
        mean = curve.mean("seed", skipna=False)
        best = float((mean.idxmax if part == "permuted" else mean.idxmin)("strength"))
        rows.append(tables.row(str(name), f"{part}: {what}, best λ = {best:g}", curve.sel(strength=best).values))
    return rows


if __name__ == "__main__":
    run(parse(Config, __doc__ or ""), experiment)  # type: ignore[arg-type]
