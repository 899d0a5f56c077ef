"""Configs with presets: the whole protocol of a paper, and a quick form that says what it reduced."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from synsim._checks import require
from synsim._doors import typed
from synsim.training.options import RunConfig, option

WHOLE = ("paper", "full")
"""Presets that are the whole protocol."""


@typed
def by_preset(
    text: str,
    choices: Sequence[Any] | None = None,
    *,
    neutral: bool = False,
    phases: bool = False,
    chooses: bool = False,
    least: float | None = None,
    of: tuple[str, Sequence[Any]] | None = None,
    **values: Any,
) -> Any:
    """A field of a config with a value in every preset, which it has where the command line gives none.

    Args:
        text: what `--help` says ahead of the values.
        choices: as for `option`.
        neutral: as for `option`.
        phases: as for `option`.
        chooses: as for `option`.
        least: as for `option`.
        of: as for `option`.
        values: preset -> value. A preset that is left out, or has None, leaves the option unset.

    Returns:
        The field.

    Raises:
        ValueError: if there is no value.

    Example:
        >>> from dataclasses import dataclass
        >>> from synsim.experiment import PresetConfig, by_preset
        >>> @dataclass(frozen=True, kw_only=True)
        ... class Config(PresetConfig):
        ...     epochs: int = by_preset("passes over each task", quick=3, paper=10)
        >>> Config(preset="paper").epochs, Config().reduced()
        (10, 'epochs 3 (published: 10)')
    """
    require(len(values) > 0, "expected a value for one preset at least, such as quick=3, got none.")
    unset = () if any(isinstance(value, tuple) for value in values.values()) else None
    made = option(unset, text, choices, neutral=neutral, phases=phases, chooses=chooses, least=least, of=of)
    return field(default=unset, metadata={**made.metadata, "presets": values})


@dataclass(frozen=True, kw_only=True)
class PresetConfig(RunConfig):
    """Options of an experiment with presets: what is not given on the command line comes from the preset.

    Attributes:
        SHORT: scenarios that are so short that every preset runs them in full.
    """

    SHORT: ClassVar[tuple[str, ...]] = ()
    preset: str = option(
        "quick",
        "quick: minutes on two cores; paper (or full): the whole protocol",
        ("quick", "paper", "full"),
        neutral=True,
    )
    epochs: int | None = option(None, "passes over each task")

    def __post_init__(self) -> None:
        """Fill in the preset.

        Raises:
            ValueError: if there is no such preset.
        """
        presets = self.presets()
        require(self.preset in presets, f"preset must be one of {', '.join(presets)}, got {self.preset!r}.")
        short = getattr(self, "scenario", None) in self.SHORT
        for name, value in presets["paper" if short else self.preset].items():
            if getattr(self, name) in (None, ()):
                object.__setattr__(self, name, value)
        super().__post_init__()

    @classmethod
    def presets(cls) -> dict[str, dict[str, Any]]:
        """What every preset sets.

        Returns:
            Preset -> option -> value.
        """
        found: dict[str, dict[str, Any]] = {}
        for name, says in cls.says().items():
            for preset, value in says.get("presets", {}).items():
                found.setdefault(preset, {})[name] = value
        return found

    def protocol(self) -> dict[str, Any]:
        """What the whole protocol sets.

        Returns:
            Option -> value, of the preset or else the default of the option.
        """
        default = {field.name: field.default for field in fields(self) if field.name not in self._neutral()}
        presets = self.presets()
        return {**default, **next((presets[name] for name in WHOLE if name in presets), {})}

    def reduced(self) -> str:
        """What differs from the whole protocol, for the table.

        Returns:
            Text; empty if nothing does.
        """
        source = "published" if "paper" in self.presets() else "full"
        parts = [
            f"{name} {_short(getattr(self, name))} ({source}: {_short(value)})"
            for name, value in self.protocol().items()
            if name not in self._neutral() and getattr(self, name) != value
        ]
        return "; ".join(parts)

    def _neutral(self) -> set[str]:
        # What the base says of an option holds for those who only give it another default.
        both = (*PresetConfig.says().items(), *self.says().items())
        return {name for name, says in both if says.get("neutral")}


def _short(value: object) -> str:
    return "default" if value in (None, ()) else str(value)
