"""What the experiment scripts share: opening a run, probes, and the end of a run."""

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import torch
import xarray
from torch import Tensor, nn

import synsim
from synsim import records, tables
from synsim._console import steady
from synsim.data import Dataset
from synsim.tasks import Task
from synsim.training import Phase, Session, TrainingFailedError, TrainingStoppedError
from synsim.training.command import RunConfig, fail, option, resolved
from synsim.training.stopping import Stop, StoppedError

# What a person can mend: their messages are for them, not for a traceback.
EXPECTED = (ValueError, OSError, MemoryError, torch.OutOfMemoryError, TrainingFailedError, TrainingStoppedError)


Presets = dict[str, dict[str, Any]]

# Options that choose what is run, where, and from where; they take nothing away from a protocol.
NEUTRAL = {
    "data", "data_dir", "device", "threads", "out", "resume", "overwrite", "checkpoint_every", "quiet", "preset",
    "source", "memory", "scenario", "objective", "bias", "standardised_by", "decay", "methods", "parts", "variants",
    "orders", "along", "probe_every", "importances", "consolidations", "kinds",
}  # fmt: skip

# Importances that are measured on a chosen number of images after a task.
MEASURED = ("fisher", "sqrt-fisher", "absolute-fisher", "mas", "mas-max")


@dataclass(frozen=True, kw_only=True)
class PresetConfig(RunConfig):
    """Options of an experiment with presets: what is not given on the command line comes from the preset.

    Attributes:
        PRESETS: name -> option -> value.
        SHORT: scenarios that are so short that every preset runs them in full.
    """

    PRESETS: ClassVar[Presets] = {}
    SHORT: ClassVar[tuple[str, ...]] = ()
    preset: str = option(
        "quick", "quick: minutes on two cores; paper (or full): the whole protocol", ("quick", "paper", "full")
    )
    epochs: int | None = option(None, "passes over each task (default: from the preset)")

    def __post_init__(self) -> None:
        """Fill in the preset."""
        if self.preset not in self.PRESETS:
            raise ValueError(f"preset must be one of {', '.join(self.PRESETS)}, got {self.preset!r}.")
        short = getattr(self, "scenario", None) in self.SHORT
        for name, value in self.PRESETS["paper" if short else self.preset].items():
            if getattr(self, name) in (None, ()):
                object.__setattr__(self, name, value)
        super().__post_init__()

    def protocol(self) -> dict[str, Any]:
        """What the whole protocol sets: option -> value, of the preset or else the default of the option."""
        default = {field.name: field.default for field in fields(self) if field.name not in NEUTRAL}
        return {**default, **(self.PRESETS.get("paper") or self.PRESETS.get("full", {}))}

    def reduced(self) -> str:
        """What differs from the whole protocol, for the table; empty if nothing does."""
        source = "published" if "paper" in self.PRESETS else "full"
        parts = [
            f"{name} {_short(getattr(self, name))} ({source}: {_short(value)})"
            for name, value in self.protocol().items()
            if name not in NEUTRAL and getattr(self, name) != value
        ]
        return "; ".join(parts)


def _short(value: object) -> str:
    return "default" if value in (None, ()) else str(value)


def run(config: RunConfig, experiment: Callable[[RunConfig, Session], None]) -> None:
    """Run an experiment in its folder, and turn errors that a person can mend into messages.

    The folder is made when the training begins, so that a run that can't begin bars no other. A run that ends before
    its time says so in its folder.
    """
    with steady(), Stop() as stop:
        folder = None
        try:
            try:
                folder = records.create(
                    config.out,
                    resolved(config),
                    overwrite=config.overwrite,
                    resume=config.resume,
                    choices=config.CHOICES,
                    wait=True,
                )
                stop.saves = lambda: folder.started
                session = Session(folder, config.checkpoint_every, lambda: stop.asked)
                session.notes["reduced"] = config.reduced() if isinstance(config, PresetConfig) else ""
                experiment(config, session)
            except BaseException:
                # A second signal may come in right here; whatever it makes of the error, it comes no further than this.
                stop.leave()
                raise
        except BaseException as error:
            code = stop.leave()
            stopped = has_stopped(error)
            note(folder, "stopped" if stopped else "interrupted")
            if isinstance(error, KeyboardInterrupt):
                print(f"\n{ending(folder, stopped)}", file=sys.stderr)
                sys.exit(code)
            if isinstance(error, EXPECTED):
                fail(error)
            raise


def load(config: RunConfig, *, spikes: bool = False) -> Dataset:
    """The data set of a run; one of spike trains only for experiments that take them."""
    data = synsim.data.load(config.data, config.data_dir)
    if data.dt is not None and not spikes:
        raise ValueError(
            f"{config.data} holds spike trains, and this experiment takes images. spiking_energy.py and "
            "spiking_lifelong.py take spike trains."
        )
    return data


def has_stopped(error: BaseException) -> bool:
    """Whether a run ended because it was asked to, with its state saved, be it that a second signal came meanwhile."""
    return any(isinstance(one, StoppedError | TrainingStoppedError) for one in (error, error.__context__))


def note(folder: records.RunFolder | None, status: str) -> None:
    """Note in the folder of a run, if it came to that, that it has ended before its time; let others write to it."""
    if folder is None:
        return
    with suppress(OSError, ValueError):  # what ended it may be that nothing can be written
        if folder.started and folder.run["status"] == "running":
            folder.finish(status)
    folder.leave()


def ending(folder: records.RunFolder | None, stopped: bool) -> str:
    """What is said to somebody who stopped a run."""
    if folder is None or not folder.started:
        return "interrupted before it began; nothing was saved"
    how = "stopped" if stopped else "interrupted at once, without saving"
    return f"{how}; go on with --resume --out {folder.path}"


def finish(session: Session, dataset: xarray.Dataset, rows: Sequence[tables.Row]) -> None:
    """Write record and summary, then print the table; it is printed too if they can't be written."""
    try:
        session.finish(dataset, list(rows))
    finally:
        print(tables.text(rows))
    print(f"\nrun folder: {session.folder.path}")


def combine(phases: Sequence[Phase]) -> xarray.Dataset:
    """The datasets of all phases along a new axis `model`."""
    return xarray.concat(
        [phase.dataset for phase in phases],
        dim=xarray.Variable("model", [phase.name for phase in phases]),
        join="outer",
        data_vars="all",
        coords="minimal",
        compat="equals",
        combine_attrs="drop_conflicts",
    )


def flat_p(net: nn.Module) -> Tensor:
    """Release probabilities of all synapses, [R, n]."""
    layers = synsim.synapses(net).values()
    return torch.cat([layer.p.reshape(layer.replicas or 1, -1) for layer in layers], dim=1)


def mean_p(net: nn.Module, task: Task) -> Tensor:
    """Mean release probability, [R]."""
    return flat_p(net).mean(1)


def share_above(limit: float) -> Callable[[nn.Module, Task], Tensor]:
    """Probe: share of synapses whose release probability is at least `limit`."""
    return lambda net, task: (flat_p(net) >= limit).double().mean(1)


BINS = torch.linspace(0, 1, 51)


def histogram(p: Tensor) -> Tensor:
    """Share of synapses per bin of release probability, [R, 50]."""
    # The top edge is 1 itself; float rounding may leave a value just above the last but one edge.
    index = torch.bucketize(p.contiguous(), BINS[1:-1].to(p), right=True)
    counts = torch.zeros(p.shape[0], len(BINS) - 1, dtype=torch.float64)
    counts.scatter_add_(1, index.cpu(), torch.ones(p.shape, dtype=torch.float64))
    return counts / p.shape[1]
