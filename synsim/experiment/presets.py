"""Configs with presets: the whole protocol of a paper, and a quick form that says what it reduced."""

from dataclasses import dataclass, fields
from typing import Any, ClassVar

from synsim.training.command import RunConfig, option

Presets = dict[str, dict[str, Any]]


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
        "quick",
        "quick: minutes on two cores; paper (or full): the whole protocol",
        ("quick", "paper", "full"),
        neutral=True,
    )
    epochs: int | None = option(None, "passes over each task (default: from the preset)")

    def __post_init__(self) -> None:
        """Fill in the preset.

        Raises:
            ValueError: if there is no such preset.
        """
        if self.preset not in self.PRESETS:
            raise ValueError(f"preset must be one of {', '.join(self.PRESETS)}, got {self.preset!r}.")
        short = getattr(self, "scenario", None) in self.SHORT
        for name, value in self.PRESETS["paper" if short else self.preset].items():
            if getattr(self, name) in (None, ()):
                object.__setattr__(self, name, value)
        super().__post_init__()

    def protocol(self) -> dict[str, Any]:
        """What the whole protocol sets.

        Returns:
            Option -> value, of the preset or else the default of the option.
        """
        default = {field.name: field.default for field in fields(self) if field.name not in self._neutral()}
        return {**default, **(self.PRESETS.get("paper") or self.PRESETS.get("full", {}))}

    def reduced(self) -> str:
        """What differs from the whole protocol, for the table.

        Returns:
            Text; empty if nothing does.
        """
        source = "published" if "paper" in self.PRESETS else "full"
        parts = [
            f"{name} {_short(getattr(self, name))} ({source}: {_short(value)})"
            for name, value in self.protocol().items()
            if name not in self._neutral() and getattr(self, name) != value
        ]
        return "; ".join(parts)

    def _neutral(self) -> set[str]:
        # What the base says of an option holds for those who only give it another default.
        return {field.name for kind in (PresetConfig, self) for field in fields(kind) if field.metadata.get("neutral")}


def _short(value: object) -> str:
    return "default" if value in (None, ()) else str(value)
