"""Settings × seeds as replicas of one program, with names: R is spelled out once, and labelled axes come back."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
import xarray
from torch import Tensor

from synsim._checks import is_whole, number, require, whole
from synsim._doors import typed

AXES = ("replica", "seed", "setting")
"""Names of axes, which no constant of a sweep can have."""


class Sweep:
    """Every setting with every seed, one replica each: first all seeds of the first setting, then the next.

    A grid is a mapping name -> values and holds all combinations; a sequence of mappings holds just these settings.

    Args:
        settings: the grid, or the settings; {} is a single setting without a name.
        seeds: different seeds, the same for every setting.

    Attributes:
        settings: name -> value, for each setting.
        axes: name -> values, for a grid; empty for a sequence of settings.
        own: the seeds, each once.

    Raises:
        ValueError: if there is no setting or seed, one is there twice, or the settings have different names.

    Example:
        >>> sweep = Sweep({"lr": (0.01, 0.1), "decay": (0.0, 0.001)}, seeds=(1, 2, 3))
        >>> sweep.replicas, sweep.column("lr").tolist()[:4]
        (12, [0.01, 0.01, 0.01, 0.01])
    """

    @typed
    def __init__(self, settings: Mapping[str, Any] | Sequence[Mapping[str, Any]], seeds: Sequence[int]) -> None:
        self.axes = _grid(settings) if isinstance(settings, Mapping) else {}
        self.settings = _combined(self.axes) if isinstance(settings, Mapping) else _listed(settings)
        self.own = tuple(whole(seed, "every seed", 0) for seed in seeds)
        require(len(self.own) > 0, "expected at least one seed, got none.")
        require(len(set(self.own)) == len(self.own), f"a seed must be given once, got {list(self.own)}.")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the constants that the settings set."""
        return tuple(self.settings[0])

    @property
    def replicas(self) -> int:
        """R = settings × seeds."""
        return len(self.settings) * len(self.own)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of the replicas, [R]: each seed once per setting."""
        return self.own * len(self.settings)

    def __len__(self) -> int:
        """Number of settings.

        Returns:
            Without the seeds.
        """
        return len(self.settings)

    def __repr__(self) -> str:
        """What is swept, and how many replicas that makes.

        Returns:
            One line.
        """
        swept = {name: len(values) for name, values in self.axes.items()}
        grid = " × ".join(f"{count} {name}" for name, count in swept.items()) or f"{len(self)} settings"
        return f"Sweep({grid} × {len(self.own)} seeds = {self.replicas} replicas)"

    @typed
    def column(self, constant: str | Callable[[Mapping[str, Any]], float]) -> Tensor:
        """A constant of the rule, one number per replica.

        Args:
            constant: its name, or what gives it for a setting.

        Returns:
            float64 [R].

        Raises:
            ValueError: if no setting has the name, or the values are no numbers.
        """
        values = self.each(constant)
        numbers = all(isinstance(value, int | float | np.number) or _single(value) for value in values)
        require(
            numbers,
            f"{constant!r} must have a number in every setting, got {values[0]!r}. What is no number can't be a "
            "constant per replica: make separate programs of it, with programs(...).",
        )
        return torch.tensor([float(value) for value in values], dtype=torch.float64, device="cpu")

    @typed
    def each(self, constant: str | Callable[[Mapping[str, Any]], Any]) -> tuple[Any, ...]:
        """A value of the settings for every replica, whatever its type.

        Args:
            constant: its name, or what gives it for a setting.

        Returns:
            R values.

        Raises:
            ValueError: if no setting has the name.
        """
        if isinstance(constant, str):
            name = constant
            require(name in self.names, f"expected one of {', '.join(self.names) or 'no names'}, got {name!r}.")
            values = [setting[name] for setting in self.settings]
        else:
            values = [constant(setting) for setting in self.settings]
        return tuple(value for value in values for _ in self.own)

    @typed
    def replicas_of(self, setting: int) -> slice:
        """The replicas of a setting.

        Args:
            setting: its number.

        Returns:
            A slice of the axis of replicas.
        """
        setting, count = whole(setting, "setting", 0, len(self) - 1), len(self.own)
        return slice(setting * count, (setting + 1) * count)

    @typed
    def unfold(self, dataset: xarray.Dataset) -> xarray.Dataset:
        """Measurements of the program with axes of their own for settings and seeds, in place of that of replicas.

        Args:
            dataset: with an axis "replica" of R, such as `History.dataset()`.

        Returns:
            For a grid one axis per name and "seed"; for a sequence of settings "setting" and "seed", where every name
            is a coordinate of "setting". What has no axis of replicas stays.

        Raises:
            ValueError: if the dataset is of another program, or has an axis of that name already.
        """
        size = dataset.sizes.get("replica")
        require(size == self.replicas, f"expected a dataset with {self.replicas} replicas, got {size}.")
        axes: dict[str, Any] = {name: list(values) for name, values in self.axes.items()}
        axes = axes or {"setting": np.arange(len(self))}
        taken = sorted(set(axes) & set(map(str, dataset.dims)))
        require(not taken, f"the dataset has axes {', '.join(taken)} already; call these constants otherwise.")
        lead = tuple(axes)
        shape = (*(len(values) for values in axes.values()), len(self.own))

        def laid(variable: xarray.Variable) -> xarray.Variable:
            moved = variable.transpose("replica", ...)
            values = moved.values.reshape(*shape, *moved.shape[1:])
            return xarray.Variable((*lead, "seed", *moved.dims[1:]), values, moved.attrs)

        bare = dataset.drop_vars(["replica", "seed"], errors="ignore")
        variables = {
            name: laid(variable) if "replica" in variable.dims else variable
            for name, variable in bare.variables.items()
        }
        named = {} if self.axes else {name: ("setting", self._values(name)) for name in self.names}
        kept = {name: variables.pop(name) for name in bare.coords}
        return xarray.Dataset(variables, {**kept, **axes, **named, "seed": list(self.own)}, dataset.attrs)

    def _values(self, name: str) -> np.ndarray:
        values = [setting[name] for setting in self.settings]
        plain = all(isinstance(value, str | int | float | np.generic) for value in values)
        return np.array(values if plain else [str(value) for value in values])

    @typed
    def best(
        self, by: Tensor | np.ndarray | Sequence[float], *, chosen_on: Sequence[int] | None = None, most: bool = True
    ) -> int:
        """The setting with the best mean over seeds.

        Args:
            by: a measurement of every replica, [R]; NaN, of a replica that failed, makes its setting the last choice.
            chosen_on: the seeds that choose; none of these should be reported. None: all.
            most: whether more is better.

        Returns:
            Number of the setting; of equal ones the first.

        Raises:
            ValueError: if the measurement does not fit, a seed is not of this sweep, or all settings failed.
        """
        values = np.asarray(by.detach().cpu() if isinstance(by, Tensor) else by, dtype=np.float64)
        require(
            values.shape == (self.replicas,), f"expected one number per replica ({self.replicas}), got {values.shape}."
        )
        seeds = self.own if chosen_on is None else tuple(chosen_on)
        strange = [seed for seed in seeds if seed not in self.own]
        require(len(seeds) > 0 and not strange, f"chosen_on must name seeds of {list(self.own)}, got {list(seeds)}.")
        table = values.reshape(len(self), len(self.own))[:, [self.own.index(seed) for seed in seeds]]
        means = table.mean(axis=1)
        require(bool(np.isfinite(means).any()), "every setting has a replica that failed on these seeds.")
        return int(np.nanargmax(means) if most else np.nanargmin(means))

    @typed
    def programs(self, *separate: str, memory: float | None = None, each: float | None = None) -> Iterator["Program"]:
        """The sweep as programs: settings that differ in what can't be a replica are programs of their own.

        Widths, scenarios and batch sizes are the same for all replicas of a program; rates and strengths need not be.

        Args:
            separate: names whose values separate programs.
            memory: MiB that the replicas of a program may take together; None: no limit.
            each: MiB that one replica takes.

        Yields:
            The programs, in the order of their first settings.

        Raises:
            ValueError: if there is no such name, or one replica takes more memory than there is.
        """
        for name in separate:
            require(name in self.names, f"expected one of {', '.join(self.names) or 'no names'}, got {name!r}.")
        require((memory is None) == (each is None), "give both memory and each, or neither.")
        most = len(self)
        if memory is not None and each is not None:
            room, share = number(memory, "memory", above=True), number(each, "each", above=True)
            most = int(min(most, room / share / len(self.own)))
        require(most >= 1, f"{len(self.own)} seeds of one setting take more than memory={memory} MiB.")
        groups: dict[tuple[str, ...], list[int]] = {}
        for place, setting in enumerate(self.settings):
            groups.setdefault(tuple(repr(setting[name]) for name in separate), []).append(place)
        for numbers in groups.values():
            for start in range(0, len(numbers), most):
                part = numbers[start : start + most]
                settings = [self.settings[place] for place in part]
                common = {name: settings[0][name] for name in separate}
                yield Program(common, tuple(part), Sweep(settings, self.own))


@dataclass(frozen=True)
class Program:
    """Settings that run as replicas of one program.

    Attributes:
        common: what separates it from other programs: name -> value.
        numbers: numbers of its settings in the whole sweep.
        sweep: its settings and seeds.
    """

    common: Mapping[str, Any]
    numbers: tuple[int, ...]
    sweep: Sweep


def _grid(settings: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    for name, values in settings.items():
        _name(name)
        many = isinstance(values, Sequence | np.ndarray | Tensor) and not isinstance(values, str | bytes)
        # Arrays without an axis have no length.
        many = many and getattr(values, "ndim", 1) > 0
        require(many, f"{name} must have a list of values, got {values!r}. A single one is ({values!r},).")
        require(len(values) > 0, f"{name} must have one value at least, got none.")
    return {name: tuple(_plain(value) for value in values) for name, values in settings.items()}


def _combined(axes: Mapping[str, tuple[Any, ...]]) -> tuple[dict[str, Any], ...]:
    for name, values in axes.items():
        _once(values, name)
    return tuple(dict(zip(axes, chosen, strict=True)) for chosen in product(*axes.values()))


def _listed(settings: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], ...]:
    require(len(settings) > 0, "expected at least one setting, got none.")
    for setting in settings:
        require(isinstance(setting, Mapping), f"a setting must be a mapping name -> value, got {setting!r}.")
        require(
            setting.keys() == settings[0].keys(),
            f"all settings must have the same names, got {sorted(settings[0])} and {sorted(setting)}.",
        )
    for name in settings[0]:
        _name(name)
    found = tuple({name: _plain(value) for name, value in setting.items()} for setting in settings)
    _once(found, "the settings")
    return found


def _name(name: object) -> None:
    require(
        isinstance(name, str) and name.isidentifier() and name not in AXES,
        f"a constant needs a name like that of a variable, and none of {', '.join(AXES)}, got {name!r}.",
    )


def _once(values: Sequence[Any], what: str) -> None:
    seen: set[str] = set()
    for value in values:
        require(repr(value) not in seen, f"{what}: {value!r} is there twice; its replicas would be the same run.")
        seen.add(repr(value))


def _single(value: Any) -> bool:
    return isinstance(value, Tensor) and value.numel() == 1


def _plain(value: Any) -> Any:
    # NumPy's and torch's numbers as Python's, so that equal settings look equal.
    if isinstance(value, np.generic) or _single(value):
        return value.item()
    return int(value) if is_whole(value) else value
