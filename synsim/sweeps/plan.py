"""A grid as cells: one run folder each."""

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synsim._checks import require
from synsim.records import FREE, RunMismatchError, description
from synsim.records.files import RUN, canonical, replacing
from synsim.sweep import Sweep
from synsim.sweeps.source import Source, load
from synsim.sweeps.values import typed_grid
from synsim.training.command import resolved

SWEEP = "sweep.json"
FORMAT = "synsim sweep 1"
WORK = ".sweep"
"""Folder within that of the sweep where cells are until they are done."""
DONE = ("finished", "failed")
"""Status of a run that is not run again: its results are there, be it that some replicas failed."""
LONGEST = 120
"""Characters of the name of a folder, of the 255 that file systems have."""


@dataclass(frozen=True)
class Cell:
    """One setting with its seeds: a run of the experiment in a folder of its own.

    Attributes:
        source: where the experiment is.
        folder: of the run, when it is done.
        setting: name of an axis -> value.
        options: options of the experiment's config.
    """

    source: Source
    folder: Path
    setting: Mapping[str, Any]
    options: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.folder.name

    @property
    def seeds(self) -> tuple[int, ...]:
        """Its seeds, as replicas of one program."""
        return tuple(self.options["seeds"])

    def config(self) -> Any:
        """The config of the run.

        Returns:
            An instance of the experiment's Config; what it refuses is a ValueError.
        """
        own = {"out": str(self.folder), "resume": True, "overwrite": False, "quiet": True}
        return load(self.source).config(**{**self.options, **own})

    def message(self) -> dict[str, Any]:
        """The cell in JSON's types.

        Returns:
            What `cell_of` takes.
        """
        return {
            "source": dataclasses.asdict(self.source),
            "folder": str(self.folder),
            "setting": dict(self.setting),
            "options": dict(self.options),
        }


def cell_of(message: Mapping[str, Any]) -> Cell:
    """The cell that another process was told of.

    Args:
        message: from `Cell.message`.

    Returns:
        The cell.
    """
    return Cell(Source(**message["source"]), Path(message["folder"]), message["setting"], message["options"])


def cells(
    source: Source,
    grid: Mapping[str, Sequence[object]],
    seeds: Sequence[int],
    out: Path,
    *,
    options: Mapping[str, Any],
    seeds_per_cell: int,
) -> list[Cell]:
    """The cells of a sweep.

    Args:
        source: where the experiment is.
        grid: option -> values; {} is a single setting.
        seeds: of every setting.
        out: folder of the sweep.
        options: of the experiment, for every cell.
        seeds_per_cell: how many seeds a cell has as replicas of one program.

    Returns:
        The cells, each with a config that the experiment takes.

    Raises:
        ValueError: if the grid or a setting does not fit the experiment.
    """
    kind = load(source).config
    fields = {field.name for field in dataclasses.fields(kind)}
    unknown = sorted(set(options) - fields)
    require(not unknown, f"{source.title} has no options {', '.join(unknown)}.")
    sweep = Sweep(typed_grid(kind, grid), seeds)
    parts = [sweep.own[at : at + seeds_per_cell] for at in range(0, len(sweep.own), seeds_per_cell)]
    found: list[Cell] = []
    taken: set[str] = set()
    for setting in sweep.settings:
        for part in parts:
            words = [f"{name}={_label(value)}" for name, value in setting.items()]
            if len(parts) > 1 or not words:
                words.append(f"seeds={part[0]}" if len(part) == 1 else f"seeds={part[0]}-{part[-1]}")
            name = _folder(",".join(words), taken)
            cell = Cell(source, out / name, setting, {**options, **setting, "seeds": part})
            try:
                cell.config()
            except (ValueError, TypeError) as error:
                raise ValueError(f"{name}: {error}") from error
            found.append(cell)
    return found


def _label(value: object) -> str:
    return "+".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _folder(words: str, taken: set[str]) -> str:
    plain = re.sub(r"[^\w.+=,-]+", "-", words)[:LONGEST]
    name = plain
    while name.lower() in taken or name.startswith("."):
        name = f"{plain.lstrip('.')}~{len(taken)}"
    taken.add(name.lower())
    return name


def is_done(cell: Cell) -> bool:
    """Whether the results of a cell are there; those of another config are refused.

    Args:
        cell: a cell.

    Returns:
        False if there is nothing, or a run that has not come to its end.

    Raises:
        RunMismatchError: if the folder holds a run with another config.
    """
    if not (cell.folder / RUN).is_file():
        return False
    run = description.read(cell.folder / RUN)
    config, wanted = run["config"], resolved(cell.config())
    if _counting(config) != _counting(wanted):
        description.resumed(cell.folder / RUN, json.loads(canonical(wanted)), FREE)
        raise RunMismatchError(f"{cell.folder} holds a run with another config.")
    return run["status"] in DONE


def _counting(config: Mapping[str, Any]) -> str:
    return canonical({key: value for key, value in config.items() if key not in FREE})


def note(out: Path, told: Mapping[str, Any], settings: Mapping[str, Mapping[str, Any]]) -> None:
    """Write down what the sweep is, in its folder.

    Args:
        out: the folder.
        told: experiment, seeds, seeds per cell and options.
        settings: name of a cell -> its setting.
    """
    # As pairs, which keep their order.
    cells = [{"name": name, "setting": list(setting.items())} for name, setting in settings.items()]
    with replacing(out / SWEEP) as temporary:
        temporary.write_text(canonical({"format": FORMAT, **told, "cells": cells}, indent=1) + "\n", encoding="ascii")


def noted(out: Path) -> dict[str, Any] | None:
    """What the folder of a sweep says about it.

    Args:
        out: the folder.

    Returns:
        What `note` wrote; None without a sweep.

    Raises:
        ValueError: if the file is not such a note.
    """
    if not (out / SWEEP).is_file():
        return None
    try:
        told: dict[str, Any] = json.loads((out / SWEEP).read_text(encoding="utf-8"))
        known = told["format"] == FORMAT
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{out / SWEEP} can't be read as the note of a sweep ({error}).") from error
    require(known, f"{out / SWEEP} is of another version: {told['format']!r}.")
    return told


def flags(kind: type, options: Mapping[str, Any]) -> Iterator[str]:
    """Options as on the command line of the script, for those that differ from their defaults.

    Args:
        kind: class of the config.
        options: name -> value.

    Yields:
        Flags and values.
    """
    for field in dataclasses.fields(kind):
        value = options.get(field.name, field.default)
        if field.name in ("resume", "overwrite", "quiet"):
            continue
        if value is None or value == field.default or (isinstance(value, list) and tuple(value) == field.default):
            continue
        yield f"--{field.name.replace('_', '-')}"
        if not isinstance(value, bool):
            yield from map(str, value) if isinstance(value, list | tuple) else (str(value),)
