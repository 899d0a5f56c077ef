"""Kinds of arguments: how a valid one is made, what makes sense in its place, and what does not.

`POOL` holds values that come to any door. A kind says which of them are sensible for it (NumPy's 3 is a 3) and adds
nonsense of its own: valid values that were spoiled, such as a tensor of another rank.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

Make = Callable[["Scene"], Any]
Sensible = Callable[[Any], bool]


@dataclass
class Scene:
    """One set of arguments: random choices, a folder to write into, and things that fit each other, made once."""

    rng: random.Random
    folder: Path
    made: dict[str, Any] = field(default_factory=dict)

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        if name not in self.made:
            self.made[name] = make()
        return self.made[name]


@dataclass(frozen=True)
class Kind:
    """A kind of argument.

    Attributes:
        make: a valid one.
        sensible: whether a value of the pool would be one too.
        spoils: nonsense made from the valid one.
    """

    make: Make
    sensible: Sensible = lambda value: False
    spoils: tuple[Callable[[Any], Any], ...] = ()

    def nonsense(self, scene: Scene) -> Any:
        """A value that makes no sense here.

        Args:
            scene: of the set.

        Returns:
            One from the pool, or a spoiled one.
        """
        if self.spoils and scene.rng.random() < 0.5:
            return scene.rng.choice(self.spoils)(self.make(scene))
        while True:
            value = POOL[scene.rng.choice(NAMES)]()
            if not self.makes_sense(value):
                return value

    def makes_sense(self, value: Any) -> bool:
        try:
            return bool(self.sensible(value))
        except (TypeError, ValueError, RuntimeError):  # an array compared with something else
            return False


class Other:
    """An object that nobody knows."""


POOL: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "True": lambda: True,
    "False": lambda: False,
    "text 'False'": lambda: "False",
    "text '12'": lambda: "12",
    "text ''": lambda: "",
    "text": lambda: "no such thing",
    "bytes": lambda: b"12",
    "nan": lambda: float("nan"),
    "inf": lambda: float("inf"),
    "-inf": lambda: float("-inf"),
    "-1": lambda: -1,
    "0": lambda: 0,
    "-0.5": lambda: -0.5,
    "1.9": lambda: 1.9,
    "1e300": lambda: 1e300,
    "2**31": lambda: 2**31,
    "2**63": lambda: 2**63,
    "10**30": lambda: 10**30,
    "1j": lambda: 1j,
    "np.int64(3)": lambda: np.int64(3),
    "np.float32(0.5)": lambda: np.float32(0.5),
    "np.float64(nan)": lambda: np.float64("nan"),
    "np.bool_": lambda: np.True_,
    "array": lambda: np.array([0.5, 1.5]),
    "array of text": lambda: np.array(["a", "b"]),
    "array of objects": lambda: np.array([None, Other()], dtype=object),
    "array of no numbers": lambda: np.empty((0, 3)),
    "tensor(3)": lambda: torch.tensor(3),
    "tensor of nan": lambda: torch.full((2, 3), float("nan")),
    "tensor of 5 axes": lambda: torch.zeros(1, 1, 1, 1, 1),
    "tensor of no numbers": lambda: torch.empty(0),
    "tensor of bool": lambda: torch.ones(2, 3, dtype=torch.bool),
    "tensor of complex": lambda: torch.ones(2, 3, dtype=torch.complex64),
    "meta tensor": lambda: torch.empty(2, 3, device="meta"),
    "sparse tensor": lambda: torch.eye(3).to_sparse(),
    "list": list,
    "list of None": lambda: [None],
    "list of text": lambda: ["1", "x"],
    "list of -1": lambda: [-1, -2],
    "list of 1.9": lambda: [1.9, 2.9],
    "list of nan": lambda: [float("nan")],
    "ragged list": lambda: [[1], [1, 2]],
    "list of True": lambda: [True, False],
    "tuple": lambda: (),
    "dict": dict,
    "dict of numbers": lambda: {"no such name": 1},
    "dict by number": lambda: {1: torch.zeros(2)},
    "set": lambda: {1, 2},
    "generator": lambda: (number for number in (1, 2)),
    "lambda": lambda: lambda: None,
    "class": lambda: Other,
    "object": Other,
    "Ellipsis": lambda: Ellipsis,
    "module without parameters": nn.Identity,
    "module of other widths": lambda: nn.Linear(7, 2),
    "class of modules": lambda: nn.Linear,
    "device": lambda: torch.device("cpu"),
    "dtype of whole numbers": lambda: torch.int32,
    "range": lambda: range(3),
    "slice": lambda: slice(0, 2),
    "path": lambda: Path("nowhere"),
    "exception": ValueError,
}
NAMES = tuple(POOL)


def is_whole(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.ndim == 0 and not (value.is_floating_point() or value.is_complex() or value.dtype == torch.bool)
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    if isinstance(value, Tensor | np.ndarray) and value.ndim > 0:
        return False
    return is_whole(value) or isinstance(value, float | np.floating)


def constant(value: Any) -> Make:
    return lambda scene: value


def whole(make: Any, least: int = 0, most: int = 10**6) -> Kind:
    def sensible(value: Any) -> bool:
        return is_whole(value) and least <= int(value) <= most

    return Kind(make if callable(make) else constant(make), sensible)


def number(value: float, low: float = 0.0, high: float = 1e308, above: bool = False, odd: bool = False) -> Kind:
    """A finite number; with `odd` NaN and infinity mean something, too."""

    def sensible(other: Any) -> bool:
        if not is_number(other):
            return False
        inside = low <= float(other) <= high and not (above and float(other) == low)
        return inside or (odd and not np.isfinite(float(other)))

    return Kind(constant(value), sensible)


def flag(value: bool) -> Kind:
    return Kind(constant(value), lambda other: isinstance(other, bool | np.bool_))


def choice(*names: str) -> Kind:
    return Kind(lambda scene: scene.rng.choice(names), lambda other: isinstance(other, str) and other in names)


def text(value: str) -> Kind:
    return Kind(constant(value), lambda other: isinstance(other, str))


def optional(kind: Kind) -> Kind:
    return Kind(kind.make, lambda value: value is None or kind.sensible(value), kind.spoils)


def either(first: Kind, *others: Kind) -> Kind:
    kinds = (first, *others)
    return Kind(first.make, lambda value: any(kind.sensible(value) for kind in kinds), first.spoils)


def rows(kind: Kind, count: int, least: int = 0) -> Kind:
    """A sequence of things of one kind."""

    def make(scene: Scene) -> list[Any]:
        return [kind.make(scene) for _ in range(count)]

    def sensible(value: Any) -> bool:
        if isinstance(value, np.ndarray | Tensor) and value.ndim == 0:
            return False
        if not isinstance(value, list | tuple | range | np.ndarray | Tensor):
            return False
        return len(value) >= least and all(kind.sensible(each) for each in value)

    def with_one(scene_value: list[Any]) -> list[Any]:
        return [*scene_value[:-1], Other()]

    return Kind(make, sensible, (with_one, lambda value: dict(enumerate(value)), lambda value: iter(value)))


def of_class(make: Make, *classes: type) -> Kind:
    return Kind(make, lambda value: isinstance(value, classes))


def call(make: Make) -> Kind:
    return Kind(make, callable)


def _spoil(name: str, value: Tensor) -> Any:
    spoils: dict[str, Callable[[], Any]] = {
        "rank": lambda: value[None, None, None],
        "flat": lambda: value.reshape(-1)[0],
        "size": lambda: torch.cat([value, value[..., :1]], -1),
        "count": lambda: torch.cat([value, value[:1]]),
        "empty": lambda: value[:0],
        "nan": lambda: torch.full(value.shape, float("nan")),
        "inf": lambda: torch.full(value.shape, float("inf")),
        "complex": lambda: value.to(torch.complex64),
        "bool": lambda: value.bool(),
        "float": lambda: value + 0.9,
        "negative": lambda: -value.long() - 1 if not value.is_floating_point() else -value.abs() - 0.5,
        "large": lambda: value + 1000,
        "meta": lambda: torch.empty(value.shape, dtype=value.dtype, device="meta"),
        "text": lambda: [str(each) for each in value.reshape(-1).tolist()],
        "sparse": lambda: value.to_sparse(),
    }
    return spoils[name]()


TYPES = ("complex", "meta", "text", "sparse")


def tensor(
    make: Make, spoils: Sequence[str] = (), sensible: Sensible = lambda value: False, types: Sequence[str] = TYPES
) -> Kind:
    """A tensor; `spoils` are those of `_spoil` that make no sense, beside `types`."""
    every = tuple((lambda value, name=name: _spoil(name, value)) for name in (*types, *spoils))
    return Kind(make, sensible, every)


def mapping(make: Make, *, empty: bool = False, of_any: bool = False) -> Kind:
    """Names and tensors.

    Args:
        make: a valid one.
        empty: whether no names at all make sense.
        of_any: whether tensors of any type and shape do.

    Returns:
        The kind.
    """

    def spoiled(change: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def spoil(value: dict[str, Any]) -> Any:
            first = next(iter(value), "none")
            return {**value, first: change(value.get(first))}

        return spoil

    spoils = (
        spoiled(lambda one: None),
        spoiled(lambda one: "text"),
        lambda value: list(value.items()),
        lambda value: dict(enumerate(value.values())) or {1: 2},
    )
    if not of_any:
        spoils = (*spoils, spoiled(lambda one: torch.zeros(1, 2, 1, 2, 1, 2, dtype=torch.complex64)))
    return Kind(make, lambda value: empty and isinstance(value, dict) and not value, spoils)
