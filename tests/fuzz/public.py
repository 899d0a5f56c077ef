"""What counts as public, found by walking the rooms, so that a new callable is found by itself.

Public is what a room names in `__all__` or, without that, defines under a name without leading underscore: functions,
classes, and the methods that a class of synsim defines under such a name (each once, though subclasses have it too).
Not public, and not tried here:

- `synsim.kernels`: arrays that its callers have checked, once per change and not once per step;
- named tuples and exceptions, and the classes in `RESULTS`: what functions hand out, which nobody need build;
- handlers of layers (`ASKED`): what curvature asks, with arguments that it has checked;
- command lines (`COMMANDS`), which end the program in words, and what they run;
- hooks that only torch calls, or `sweeps.run` (`HOOKS`), and `forward`, which is called as the module.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import synsim

INNER = ("synsim.kernels",)
EXTRA = ("synsim.spiking.local",)
"""Rooms within a room that are imported by their own name."""
RESULTS = (
    "synapses.addressed.Address",
    "inputs.images.Images",
    "tasks.order.Stream",
    "importance.base.Step",
    "records.reading.Record",
    "records.folder.RunFolder",
    "outcomes.families.Tests",
    "report.assess.Finding",
    "report.runs.Run",
    "spiking.network.Record",
    "rules.base.Traits",
    "statistics.families.Test",
    "sweep.Program",
    "sweeps.running.Swept",
    "training.history.Failure",
    "training.session.Phase",
    "training.guard.Guard",
    "rules.plasticity.Plasticity",
    "training.engine.Before",
    "curvature.sums.Term",
    "curvature.sums.Score",
)
ASKED = ("curvature.layers.Convolution", "curvature.layers.Handler", "curvature.layers.Linear")
COMMANDS = ("experiment.frame.Experiment.main", "experiment.frame.Experiment.parse", "experiment.frame.Experiment.run")
HOOKS = ("get_extra_state", "extra_repr", "execute", "probe", "close")


class Public(NamedTuple):
    """A public callable: its name without "synsim.", the object, and the class whose method it is."""

    name: str
    call: Callable[..., Any]
    of: type | None


def rooms() -> Iterator[Any]:
    names = [found.name for found in pkgutil.iter_modules(synsim.__path__, "synsim.")]
    for name in (*names, *EXTRA):
        if not name.rsplit(".", 1)[-1].startswith("_") and name not in INNER:
            yield importlib.import_module(name)


def callables() -> dict[str, Public]:
    """Every public callable by its name, such as "meters.passes.accuracy"."""
    found: dict[str, Public] = {}
    for room in rooms():
        named = getattr(room, "__all__", None)
        for name in named or [each for each in vars(room) if not each.startswith("_")]:
            value = getattr(room, name)
            where = getattr(value, "__module__", None) or ""
            if callable(value) and where.startswith(room.__name__ if named is None else "synsim."):
                _add(found, value)
    return dict(sorted(found.items()))


def _add(found: dict[str, Public], value: Any) -> None:
    if "._" in value.__module__ or _name(value) in ASKED:
        return
    if not inspect.isclass(value):
        if inspect.isroutine(value):
            _note(found, value, None)
        return
    if issubclass(value, BaseException) or hasattr(value, "_fields"):
        return
    if _name(value) not in RESULTS:
        _note(found, value, None)
    for base in value.__mro__:
        for name, method in vars(base).items():
            inner = inspect.unwrap(getattr(method, "__func__", method))
            public = inspect.isfunction(inner) and not name.startswith("_") and name not in HOOKS
            public = public and inner.__qualname__ != name  # a function that stands by itself is known already
            # The first instance of an optimizer has torch set a `step` on its class, though the class has none itself.
            public = public and (not hasattr(method, "hooked") or inner.__qualname__ == f"{base.__qualname__}.{name}")
            if public and base.__module__.startswith("synsim"):
                static = isinstance(method, staticmethod)
                # What a class inherits from a room that is not public is its own.
                of = value if "._" in base.__module__ else base
                _note(found, getattr(base, name) if static else inner, of, static=static)


def _note(found: dict[str, Public], value: Any, of: type | None, static: bool = False) -> None:
    name = _name(value) if of is None else f"{_name(of)}.{value.__name__}"
    if name in COMMANDS:
        return
    found.setdefault(name, Public(name, value, None if static else of))


def _name(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__}".removeprefix("synsim.")
