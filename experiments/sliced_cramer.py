"""Sliced Cramér preservation beside EWC and MAS: permuted images, and an auto-encoder on one digit after another.

Protocol (Kolouri et al. 2020, Fig. 3 and 4): Permuted MNIST on 784-1024-512-256-10 with Adam 1e-4, strengths
10^-3 … 10^9; and a ReLU auto-encoder 784-1024-1024-1024-256 with mirrored decoder, cross-entropy plus ℓ1, 50 epochs per
digit in a random order. Batch size, epochs of the first and the weight of the moving average of importances are not
stated there; here 100, 10 and ½. MAS is read as that paper writes it, with squares and on the outputs.
"""

from functools import partial
from typing import Any

import numpy as np
import torch
import xarray
from common import choice, importance_of, load, nested, prefixed
from importance_common import placed
from lines import OVER_ALL
from torch import Tensor, nn

import synsim
from synsim import Sweep, consolidation, outcomes, streams, tables, tasks
from synsim.experiment import Experiment, PresetConfig, Protection, Session, by_preset, option
from synsim.papers import kolouri2020 as paper

PARTS = {"permuted": ("scp", "mas", "ewc"), "encoder": ("scp", "mas")}
BINS = np.linspace(-30, 10, 81)


class Config(PresetConfig):
    epochs: int = by_preset("passes over each task", quick=2, paper=10)
    parts: tuple[str, ...] = option(tuple(PARTS), "which of the two experiments", tuple(PARTS), neutral=True)
    exponents: tuple[float, ...] = by_preset(
        "strengths as powers of ten", quick=(-1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0), paper=paper.EXPONENTS
    )
    hidden: tuple[int, ...] = by_preset("hidden layers of the classifier", quick=(256, 128), paper=paper.HIDDEN)
    encoder: tuple[int, ...] = by_preset("layers of the encoder", quick=(256, 32), paper=paper.ENCODER)
    tasks: int = by_preset("number of permuted tasks", quick=3, paper=10)
    digits: int = by_preset("number of digits of the auto-encoder", quick=5, paper=10)
    digit_epochs: int = by_preset("passes over each digit", quick=5, paper=paper.DIGIT_EPOCHS)
    rate: float = by_preset("rate of Adam", quick=1e-3, paper=paper.RATE)
    batch: int = option(100, "examples per step")


def sequence_of(config: Config, part: str, seed: int) -> list[tasks.Task]:
    """Permuted images, or single digits in an order of the seed."""
    data = load(config)
    if part == "permuted":
        return tasks.permuted(data, tasks=config.tasks, seeds=seed, pixels="unit", device=config.device)
    order = streams.permutation(streams.keys("order", [seed], "digits"), data.classes)[0, : config.digits].tolist()
    return tasks.by_class(data, order=order, device=config.device)


def network(config: Config, part: str, task: tasks.Task, sweep: Sweep) -> nn.Sequential:
    """The classifier, or the auto-encoder with its mirrored decoder; all strengths start alike."""
    kind: dict[str, Any] = {"p": 1.0, "bias": True, "replicas": sweep, "device": config.device}
    if part == "permuted":
        return synsim.mlp([task.inputs, *config.hidden, task.classes], **kind)
    mirrored = [task.inputs, *config.encoder, *config.encoder[-2::-1], task.inputs]
    return synsim.mlp(mirrored, **kind).append(nn.Sigmoid())


def protection(name: str, sequence: list[tasks.Task], strengths: Tensor) -> Protection:
    """Importance and penalty of a method, one strength per replica; and how log10(λ · importance) is spread."""
    edges = torch.tensor(BINS[1:-1])

    def spread(net: nn.Module, task: tasks.Task, found: Any) -> Tensor:
        """Share of parameters per bin, [R, bins]."""
        flat = torch.cat([value.double().flatten(1) for value in found["importance"].values()], dim=1).cpu()
        logs = (flat * strengths.reshape(-1, 1)).clamp(min=10.0 ** BINS[0]).log10()
        index = torch.bucketize(logs.contiguous(), edges)
        counts = torch.zeros(flat.shape[0], len(BINS) - 1, dtype=torch.float64)
        return counts.scatter_add_(1, index, torch.ones_like(logs)) / flat.shape[1]

    kind, options = paper.METHODS[name]
    return Protection(
        importance_of(kind, sequence, **options),
        consolidation.make("penalty", strength=strengths, accumulate="average", decay=0.5),
        after_task={"log_importance": spread},
    )


def reproduction(output: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy plus ℓ1 between image and reproduction, mean over pixels, [R]."""
    target = x.expand(output.shape)
    each = nn.functional.binary_cross_entropy(output, target, reduction="none") + (output - target).abs()
    return each.mean((-1, -2))


@torch.no_grad()
def pixel_error(net: nn.Module, task: tasks.Task) -> Tensor:
    """Mean ℓ1 error per pixel on the test images, [R]."""
    x = task.test[0 : len(task.test)]
    error: Tensor = (net(x) - x).abs().mean((-1, -2))
    return error


def trained(config: Config, session: Session, part: str, model: str, seed: int) -> xarray.Dataset:
    """One method and seed over all strengths; the first has none."""
    sequence = sequence_of(config, part, seed)
    sweep = Sweep({"strength": [0.0, *(10.0**exponent for exponent in config.exponents)]}, (seed,))
    net = network(config, part, sequence[0], sweep)
    digits: dict[str, Any] = {"epochs": config.digit_epochs, "objective": reproduction, "tested_by": pixel_error}
    phase = session.fit(
        f"{part}/{model}/{seed}",
        net,
        torch.optim.Adam(net.parameters(), lr=config.rate),
        sequence,
        sweep=sweep,
        keep=False,
        batch=config.batch,
        samples=1,
        protection=protection(model, sequence, sweep.column("strength")),
        test_every_epoch=False,
        **(digits if part == "encoder" else {"epochs": config.epochs}),
    )
    measured = placed(phase.dataset[["accuracy", "failed", "log_importance"]].isel(seed=0, drop=True))
    return measured.rename(log_importance_0="bin").assign_coords(bin=(BINS[1:] + BINS[:-1]) / 2)


def measure(config: Config, session: Session) -> xarray.Dataset:
    """Train both parts; each has tasks and methods of its own, and so axes of its own."""
    parts = []
    for part in config.parts:
        measured = nested(partial(trained, config, session, part), model=PARTS[part], seed=config.seeds)
        parts.append(prefixed(measured, part, but=("seed", "strength", "bin")))
    return xarray.merge(parts)


def rows(config: Config, dataset: xarray.Dataset) -> list[tables.Row]:
    """The best strength of every method, and no protection."""
    made = []
    for part in config.parts:
        measured, classifier = outcomes.part(dataset, part), part == "permuted"
        assert measured is not None
        # Errors in thousandths, as accuracies are in per cent.
        each = outcomes.final(measured) * (1 if classifier else 10)
        metric = f"{part}: {OVER_ALL if classifier else 'ℓ1 error per pixel, 10⁻³'}"
        made.append(tables.row("none", metric, each.isel(model=0).sel(strength=0.0).values))
        for name in PARTS[part]:
            curves = each.sel(model=name, strength=each.strength > 0)
            values = curves.isel(strength=choice(curves, most=classifier, over="strength"))
            setting = {"λ": float(values.strength)}
            made.append(tables.row(name, f"{metric}, best λ", values.values, setting=setting))
    return made


def remarks(config: Config, dataset: xarray.Dataset) -> list[str]:
    """What the paper shows."""
    return ["The paper shows curves only; its order is SCP best on permuted images, and slightly before MAS on digits."]


EXPERIMENT = Experiment(Config, measure, rows, __doc__, remarks)

if __name__ == "__main__":
    EXPERIMENT.main()
