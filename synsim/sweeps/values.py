"""Values of a grid, by the types of the options that they are for."""

import math
import re
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from synsim._checks import choice, require, whole
from synsim.training.options import RunConfig

MADE = ("out", "resume", "overwrite", "seeds", "quiet")
"""Options that the sweep makes for every cell."""
OWN = (*MADE, "threads", "checkpoint_every", "data_dir")
"""Options that can't be an axis of a grid: they change no result, or are made by the sweep."""
_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
_FLAGS = {"true": True, "yes": True, "false": False, "no": False}


def seeds_of(words: Iterable[object]) -> tuple[int, ...]:
    """Seeds, and ranges of seeds.

    Args:
        words: seeds, or texts such as "7" and "1:20", which is 1, 2, ..., 20.

    Returns:
        Every seed, in the order given.

    Raises:
        ValueError: if a word is neither, a range runs backwards, or a seed is there twice.
    """
    seeds: list[int] = []
    for word in words:
        if isinstance(word, str):
            found = re.fullmatch(r"(\d+)(?::(\d+))?", word.strip())
            require(found is not None, f"a seed must be a whole number, or a range such as 1:20, got {word!r}.")
            assert found is not None
            first, last = int(found[1]), int(found[2] or found[1])
            require(first <= last, f"a range of seeds must run upwards, got {word!r}; did you mean {last}:{first}?")
            require(last - first < 10**6, f"expected at most a million seeds, got {word!r}.")
            seeds += range(first, last + 1)
        else:
            seeds.append(whole(word, "seed", 0))
    require(len(seeds) > 0, "expected at least one seed, got none.")
    twice = sorted({seed for seed in seeds if seeds.count(seed) > 1}) if len(set(seeds)) < len(seeds) else []
    require(not twice, f"a seed must be given once, got {twice} twice.")
    return tuple(seeds)


def grid_of(words: Iterable[str]) -> dict[str, list[str]]:
    """A grid in words, as on the command line.

    Args:
        words: such as "strengths=0.1,1,10".

    Returns:
        Name -> values, as texts.

    Raises:
        ValueError: if a word is of another form, or a name comes twice.
    """
    grid: dict[str, list[str]] = {}
    for word in words:
        name, equals, values = word.partition("=")
        name = name.strip().lstrip("-").replace("-", "_")
        listed = [value.strip() for value in values.split(",")]
        require(
            bool(equals and name) and all(listed),
            f"--grid must be NAME=VALUE,VALUE,..., such as lr=0.1,1; got {word!r}.",
        )
        require(name not in grid, f"--grid {name} is given twice; give all its values at once.")
        grid[name] = listed
    return grid


def typed_grid(kind: type[RunConfig], grid: Mapping[str, Sequence[object]]) -> dict[str, tuple[Any, ...]]:
    """A grid whose values are of the types of their options.

    Args:
        kind: class of the experiment's config.
        grid: name of an option -> values, or texts that say them. Several numbers for one option, such as the widths of
            the layers, are a sequence, or a text with blanks between: "200 200".

    Returns:
        Name -> values.

    Raises:
        ValueError: if there is no such option, it can't be swept, or a value is of another type.
    """
    hints = typing.get_type_hints(kind)
    known = sorted(set(kind.says()) - set(OWN))
    found = {}
    for name, values in grid.items():
        require(name != "seeds", "seeds are no axis of the grid: every setting has them all. Give --seeds 1:20.")
        require(name not in OWN, f"{name} changes no result, and can't be an axis of the grid.")
        choice(name, "an axis of the grid", known)
        listed = isinstance(values, Sequence | np.ndarray) and not isinstance(values, str)
        require(listed and len(values) > 0, f"{name} must have a list of values, got {values!r}.")
        choices = kind.says()[name].get("choices")
        found[name] = tuple(_of_type(value, hints[name], name, choices) for value in values)
    return found


def _of_type(value: object, hint: Any, name: str, choices: Sequence[Any] | None) -> Any:
    if typing.get_origin(hint) is tuple:
        inner = typing.get_args(hint)[0]
        if isinstance(value, str):
            value = value.split()
        parts = value if isinstance(value, list | tuple | np.ndarray) else [value]
        require(len(parts) > 0, f"{name} must have at least one value, got none.")
        return tuple(_of_type(part, inner, name, choices) for part in parts)
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if type(None) in kinds and (value is None or value == "None"):
        return None
    kind = next(each for each in kinds if each is not type(None))
    found = _single(value, kind)
    require(found is not None, f"{name} must be {_WORDS.get(kind, kind)}, got {value!r}.")
    if choices:
        require(found in choices, f"{name} must be one of {', '.join(map(str, choices))}, got {value!r}.")
    return found


def _single(value: object, kind: type) -> Any:
    # None where the value is not of the kind.
    if isinstance(value, np.generic):
        value = value.item()
    if kind is bool:
        return _FLAGS.get(value.lower()) if isinstance(value, str) else value if isinstance(value, bool) else None
    if isinstance(value, bool) or value is None:
        return None
    if kind is str:
        return value if isinstance(value, str) else None
    if not isinstance(value, str | int | float):
        return None
    try:
        number = kind(value)
    except (ValueError, OverflowError):
        return None
    if kind is int:
        return number if isinstance(value, str) or number == value else None
    return number if math.isfinite(number) else None
