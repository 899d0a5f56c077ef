"""Options that several experiments have."""

from collections.abc import Iterable
from typing import Any, ClassVar

from synsim.experiment import PresetConfig, by_preset, option


class NetworkConfig(PresetConfig):
    """Options of an experiment with layered networks."""

    hidden: tuple[int, ...] = option((200, 200), "widths of the hidden layers")
    batch: int = option(100, "examples per step")


class StepsConfig(PresetConfig):
    """Options of an experiment whose tasks last a number of steps, and not of epochs."""

    epochs: int | None = option(None, "see --steps", unused=True)


class PermutedConfig(NetworkConfig):
    """Options of an experiment on permuted tasks in sequence."""

    tasks: int = by_preset("number of permuted tasks", quick=4, paper=10)
    epochs: int = by_preset("passes over each task", quick=2, paper=10)


class ScenarioConfig(PermutedConfig):
    """Options of an experiment on split or permuted tasks."""

    SHORT: ClassVar[tuple[str, ...]] = ("split",)
    scenario: str = option(
        "split", "split: pairs of classes, parity label; permuted: pixel orders", ("split", "permuted"), neutral=True
    )
    tasks: int = by_preset("number of permuted tasks", of=("scenario", ("permuted",)), quick=4, paper=10)
    bias: bool = option(False, "layers have biases, as in the published code (the paper has none)", neutral=True)

    def protocol(self) -> dict[str, Any]:
        """The published protocol; the number of permutations says nothing about split tasks."""
        found = super().protocol()
        return found if self.scenario == "permuted" else {k: v for k, v in found.items() if k != "tasks"}


def some_of(
    choices: Iterable[str], text: str, default: Iterable[str] | None = None, *, quick: Iterable[str] | None = None
) -> Any:
    """An option that chooses which of several independent phases are run: all, or a default, or few if it is quick."""
    every = tuple(choices)
    if quick is not None:
        return by_preset(text, every, neutral=True, phases=True, quick=tuple(quick), paper=every)
    return option(every if default is None else tuple(default), text, every, neutral=True, phases=True)
